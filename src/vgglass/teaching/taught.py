"""The model file of a lesson: the starting model's convolutions, pool5's average, and the fitted head as fc8."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vgglass import __version__, familiarity
from vgglass.errors import UsageError
from vgglass.modelfile import ModelFile, Record, golden_images
from vgglass.teaching.judging import familiarity_of
from vgglass.teaching.lesson import Lesson
from vgglass.teaching.ridge import Features, Numbers

Run = Callable[[ModelFile], Callable[[NDArray[np.uint8]], Features]]  # of a model file, what computes its logits


def model_of(lesson: Lesson, start: ModelFile, run: Run) -> ModelFile:
    """The model as the page answers now. Raises UsageError for fewer than two classes with images."""
    learned = lesson.learned
    if learned.head is None:
        rule = f"has images of {len(learned.heard)} class{'es' * (len(learned.heard) != 1)}"
        raise UsageError("the folder", rule, "a model chooses among two or more: add images of another")
    architecture = replace(start.record.architecture, head="pooled", classes=len(learned.heard))
    weights = {name: array for name, array in start.weights.items() if not name.startswith("fc")}
    weights["fc8.weight"] = learned.head.weight.astype(np.float32)
    weights["fc8.bias"] = np.zeros(len(learned.heard), np.float32)
    taught = [item for item in learned.items if item.label is not None]
    about = {"images": len(taught), "classes": dict(Counter(item.label for item in taught))}
    metrics = {}
    if accuracy := learned.accuracy:
        share = {"top1": accuracy.right / accuracy.groups, "interval": list(accuracy.interval)}
        metrics = {"leave_one_out": share | {"images": len(taught), "groups": accuracy.groups}}
    record = Record(
        architecture, learned.heard, start.record.preprocessing, metrics=metrics, data=about,
        recipe={"taught": {"penalty": learned.head.penalty, "from": start.record.digest}},
        versions={"vgglass": __version__},
    )  # fmt: skip
    images = golden_images(record.preprocessing)
    model = ModelFile(record, weights, images, np.empty((0, 0), np.float32))
    model = replace(model, golden_logits=run(model)(images))
    known = familiarity_of(lesson.taught())
    if known is None:
        return model
    how = {"false_alarm_rate": familiarity.FALSE_ALARMS, "images": len(taught), "judged_on": "out of fold"}
    return familiarity.attach(model, known, **how)


@dataclass(frozen=True, eq=False)
class Why:
    """What speaks for a class at each place of pool5 (rows, columns): the sum of `scores` is the logit."""

    scores: Numbers
    logit: float


def why(lesson: Lesson, pool5: Features, label: int) -> Why:
    """The exact class map of one image's pool5 (D, side, side) (Zhou et al. 2016, Learning Deep Features)."""
    assert lesson.learned.head is not None
    scores = np.tensordot(lesson.learned.head.weight[label], pool5.astype(np.float64), 1) / pool5[0].size
    return Why(scores, float(scores.sum()))
