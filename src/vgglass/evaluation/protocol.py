"""How a figure came about, in the columns of the paper's Tables 3 to 6."""

from dataclasses import asdict, dataclass
from typing import Any

from vgglass.evaluation.judged import Judged
from vgglass.modelfile import Record
from vgglass.views import View

FIXED_SIZE = ("none", "flip", "shift", "shift-flip")  # augmentations that leave the training size as it is


@dataclass(frozen=True)
class Protocol:
    """networks  the column of the architecture, joined by + for an ensemble: D+E
    train     the shorter side of training images, S: 256, or 256-512; '' where it is no such number
    test      the shorter side of test images, Q: 256, or 224,256,288
    method    dense, crops, centre or what of them is averaged: dense+crops
    """

    networks: str
    train: str
    test: str
    method: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, judged: Judged) -> "Protocol":
        records, views = (judged.record, *judged.others), judged.views
        return cls(
            networks="+".join(map(_network, records)),
            train="+".join(dict.fromkeys(filter(None, map(_train_size, records)))),
            test=_test_sizes(views),
            method="+".join(dict.fromkeys(view.name for view in views)),
        )


def _network(record: Record) -> str:
    """The paper's column; with batch norm, which the paper has not, A_bn."""
    return record.architecture.column + "_bn" * record.architecture.batch_norm


def _train_size(record: Record) -> str:
    augmentation = record.recipe.get("augmentation")
    if str(augmentation).startswith("paper"):
        from vgglass.data.augment import PAPER_SCALE_256, PAPER_SCALE_384, PAPER_SCALES

        scales = {"paper": PAPER_SCALES, "paper-256": PAPER_SCALE_256, "paper-384": PAPER_SCALE_384}[str(augmentation)]
        return "-".join(dict.fromkeys(f"{scale * record.preprocessing.size:.0f}" for scale in scales))
    return str(record.preprocessing.resize) if augmentation in FIXED_SIZE else ""


def _test_sizes(views: tuple[View, ...]) -> str:
    """The sizes; where the methods differ in them, those of each."""
    sizes: dict[str, list[str]] = {}
    for view in views:
        sizes.setdefault(view.name, []).append(str(view.scale))
    return " + ".join(dict.fromkeys(",".join(each) for each in sizes.values()))
