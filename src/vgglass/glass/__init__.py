"""See every layer of a network at work on one image, and the arithmetic of every number.

subject = glass.open_subject("best.safetensors", "cat.jpg")
glass.look(subject)                                 layers, attribution, receptive fields: arrays and figures
glass.step(subject, "conv3_2", 5, (10, 12))         one number, term by term
glass.attribute(subject, "gradcam")                 why this class
glass.pool(image, "max", glass.Geometry((6, 6), 2)) one operation on one image (1, C, H, W), no model needed

They return arrays and plain dataclasses; a notebook displays those that have a picture as that picture.
"""

from vgglass.glass.ablation import ablate, rank
from vgglass.glass.attribution import attribute, class_map, class_model
from vgglass.glass.dense import both_ways, score_map
from vgglass.glass.importance import importance
from vgglass.glass.layers import walk
from vgglass.glass.look import Look, LookOptions, look
from vgglass.glass.nonlinearities import depth, respond
from vgglass.glass.operations import Geometry, gather, kernel, pool, scatter, softmax
from vgglass.glass.receptive_field import effective_field, on_original, receptive_field
from vgglass.glass.report import write
from vgglass.glass.sanity import check
from vgglass.glass.steps import step
from vgglass.glass.subject import Subject, open_subject

__all__ = [
    "Geometry",
    "Look",
    "LookOptions",
    "Subject",
    "ablate",
    "attribute",
    "both_ways",
    "check",
    "class_map",
    "class_model",
    "depth",
    "effective_field",
    "gather",
    "importance",
    "kernel",
    "look",
    "on_original",
    "open_subject",
    "pool",
    "rank",
    "receptive_field",
    "respond",
    "scatter",
    "score_map",
    "softmax",
    "step",
    "walk",
    "write",
]
