"""A folder's labels reviewed: the suspects with their nearest images, and the page on which a person decides.

n images, D features, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass import locale, notebook, web
from vgglass.data.corrections import COLUMNS, DECISIONS, row_of
from vgglass.data.dataset import Sample
from vgglass.errors import ImageError
from vgglass.evaluation.labels import Judgement, LabelNoise
from vgglass.evaluation.report import nearest
from vgglass.files import replacing
from vgglass.isolation import DECODERS

NEIGHBOURS = 3  # of each side
SHOWN = 200  # suspects with pictures on the page; the list has all
SIDE = 160  # of a picture
DOUBTFUL = 0.75  # share of labels below which the judges are cautioned against
COARSE = 64  # below this side pictures are enlarged pixel by pixel


@dataclass(frozen=True)
class Suspect:
    """An image whose label is probably wrong.

    score           probability of its label minus that of the suggested one: -1 to 1, the lower the worse
    like_label      the nearest other images of its label
    like_suggested  the nearest images of the suggested class
    """

    sample: Sample
    label: str
    suggested: str
    score: float
    like_label: tuple[Sample, ...]
    like_suggested: tuple[Sample, ...]

    def row(self) -> tuple[str, ...]:
        """Its line in the list of suspects, without a decision."""
        return row_of(self.sample, self.label, self.suggested, self.score)


@dataclass(frozen=True)
class Confusion:
    """Images of one class that are labelled as another: their estimated number, and share of the label's images."""

    label: str
    true: str
    images: float
    share: float


@dataclass(frozen=True)
class LabelReview:
    """What a review of a data set's labels found.

    agreeing   images whose label is the most probable class out of fold
    penalty    scikit-learn's C of fitted heads; None for small networks that were trained
    suspects   from the lowest score up
    confusion  pairs of classes with at least half an image, most first
    """

    name: str
    classes: tuple[str, ...]
    images: int
    agreeing: int
    folds: int
    penalty: float | None
    suspects: tuple[Suspect, ...]
    confusion: tuple[Confusion, ...]

    @property
    def doubtful(self) -> bool:
        """Whether the judges are wrong so often that their suspicions say little."""
        return self.agreeing < DOUBTFUL * self.images

    def _repr_html_(self) -> str:
        rows = {
            "folder": self.name,
            "images": self.images,
            "agreeing": notebook.percent(self.agreeing / self.images),
            "suspects": len(self.suspects),
        }
        found = ([each.sample.id, each.label, each.suggested, each.score] for each in self.suspects)
        return notebook.panel("labels", rows, [["file", "label", "suggested", "score"], *found])

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "classes": self.classes,
            "images": self.images,
            "agreeing": self.agreeing,
            "folds": self.folds,
            "penalty": self.penalty,
            "doubtful": self.doubtful,
            "suspects": [
                {
                    "path": found.sample.id,
                    "label": found.label,
                    "suggested": found.suggested,
                    "score": found.score,
                    "sha256": found.sample.digest.hex(),
                    "like_label": [sample.id for sample in found.like_label],
                    "like_suggested": [sample.id for sample in found.like_suggested],
                }
                for found in self.suspects
            ],
            "confusion": [vars(pair) for pair in self.confusion],
        }


def review(
    name: str, classes: tuple[str, ...], samples: Sequence[Sample], vectors: NDArray[np.float32],
    judgement: Judgement, noise: LabelNoise,
) -> LabelReview:  # fmt: skip
    """Join what was found in features (n, D) of these samples."""
    labels = np.array([sample.label for sample in samples])
    near = [_nearest(vectors, noise.suspects, np.flatnonzero(labels == label)) for label in range(len(classes))]

    def suspect(place: int, index: int) -> Suspect:
        label, suggested = int(labels[index]), int(noise.suggested[index])
        alike = [
            tuple(samples[other] for other in near[side][place] if other != index)[:NEIGHBOURS]
            for side in (label, suggested)
        ]
        return Suspect(samples[index], classes[label], classes[suggested], float(noise.margins[index]), *alike)

    counts = np.bincount(labels, minlength=len(classes))
    pairs = [
        Confusion(
            classes[row],
            classes[column],
            float(noise.joint[row, column]),
            float(noise.joint[row, column] / counts[row]),
        )
        for row, column in np.argwhere(noise.joint >= 0.5)
        if row != column
    ]
    agreeing = int((judgement.probabilities.argmax(axis=1) == labels).sum())
    return LabelReview(
        name, classes, len(samples), agreeing, judgement.folds, judgement.penalty,
        tuple(suspect(place, int(index)) for place, index in enumerate(noise.suspects)),
        tuple(sorted(pairs, key=lambda pair: -pair.images)),
    )  # fmt: skip


def _nearest(
    vectors: NDArray[np.float32], images: NDArray[np.intp], members: NDArray[np.intp]
) -> NDArray[np.intp]:  # fmt: skip
    """The members of a class nearest to each image in feature space, by cosine: one more than is shown of each side."""
    places, _ = nearest(vectors[images], [vectors[members]], NEIGHBOURS + 1)
    return members[places]


def write_page(found: LabelReview, path: Path, lang: str = "en") -> None:
    """Write one self-contained HTML file, with texts in both languages, initially in `lang`. Raises OSError."""
    template = files("vgglass.evaluation").joinpath("labels.html").read_text(encoding="utf-8")
    page = web.filled(web.sealed(web.inlined(template)), locale.of_page("labels"), facts(found) | {"lang": lang})
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def facts(found: LabelReview) -> dict[str, Any]:
    """The data of the page: pictures by path, and every line of the list."""
    shown = found.suspects[:SHOWN]
    samples = {
        sample.id: sample
        for suspect in shown
        for sample in (suspect.sample, *suspect.like_label, *suspect.like_suggested)
    }
    pictures = {name: _picture(sample) for name, sample in samples.items()}
    return found.as_json() | {
        "shown": len(shown),
        "pictures": pictures,
        "coarse": all(max(_sides(sample)) < COARSE for sample in samples.values()),
        "columns": COLUMNS,
        "rows": [suspect.row() for suspect in found.suspects],
        "decisions": DECISIONS,
    }


def _sides(sample: Sample) -> tuple[int, int]:
    facts = sample.described()
    return facts.height, facts.width


def _picture(sample: Sample) -> str:
    """A JPEG as a data URI; '' for a file that was removed or changed since."""
    try:
        pixels = DECODERS.decode(sample.source, least=SIDE) if isinstance(sample.source, Path) else sample.source
    except ImageError:
        return ""
    return web.thumbnail(pixels, SIDE)
