"""See every layer of a network at work on one image, and the arithmetic of every number.

subject = glass.open_subject("best.safetensors", "cat.jpg")
glass.look(subject)                                 layers, attribution, receptive fields: arrays and figures
glass.step(subject, "conv3_2", 5, (10, 12))         one number, term by term
glass.attribute(subject, "gradcam")                 why this class
"""

from vgglass.glass.ablation import ablate, rank
from vgglass.glass.attribution import attribute, class_model
from vgglass.glass.dense import fc6, score_map
from vgglass.glass.layers import walk
from vgglass.glass.looking import Look, Wanted, look, write
from vgglass.glass.receptive_field import effective_field, on_original, receptive_field
from vgglass.glass.sanity import check
from vgglass.glass.steps import step
from vgglass.glass.subject import Subject, open_subject

__all__ = [
    "Look",
    "Subject",
    "Wanted",
    "ablate",
    "attribute",
    "check",
    "class_model",
    "effective_field",
    "fc6",
    "look",
    "on_original",
    "open_subject",
    "rank",
    "receptive_field",
    "score_map",
    "step",
    "walk",
    "write",
]
