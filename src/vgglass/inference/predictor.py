"""Predict images in order, one row for each; decoding runs in parallel with inference.

N images, K classes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, tee
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.data.loader import prefetch
from vgglass.engines import Engine
from vgglass.errors import ImageError
from vgglass.images import File, Pixels
from vgglass.inference.views import View, show
from vgglass.isolation import DECODERS
from vgglass.modelfile import Mapped, Record
from vgglass.names import printable

LogProbabilities = NDArray[np.float64]

BATCH_PIXELS = 16 * 224**2  # per call to the engine: no engine gets faster beyond that
LARGEST_BATCH = 256
PATIENCE = 4  # sources, in batches, to collect at most until one batch of readable images is full
CHUNK = 4  # sources per task of a thread


@dataclass(frozen=True)
class Predictor:
    """A model's record, the views of an image to average over, and its engines, keyed by whether they are dense.

    about   a line on which engine was chosen and why
    mapped  the memory-mapped model file, checked for modification in place, which would change the weights
    """

    record: Record
    views: tuple[View, ...]
    engines: Mapping[bool, Engine]
    about: str = ""
    mapped: Mapped | None = None

    @property
    def settings(self) -> dict[str, str]:
        """The options besides the model that affect predictions, by their command line names."""
        engine = next(iter(self.engines.values()))
        views = "+".join(f"{view.name}@{view.scale}" for view in self.views)
        return {"engine": engine.name, "precision": engine.precision, "views": views}

    @property
    def window(self) -> int:
        """Number of images that fill a batch; more are not faster."""
        size = self.record.preprocessing.size
        return max(1, _batch_size((size, size)) // max(view.count for view in self.views))

    def stream(self, sources: Iterable[File | Pixels]) -> Iterator[LogProbabilities | ImageError]:
        """Log-probabilities (K,) of each source in order, or its ImageError. Memory is bounded."""
        window: list[list[Pixels] | ImageError] = []
        readable = 0
        remaining = iter(sources)
        chunks = iter(lambda: list(islice(remaining, CHUNK)), [])
        for chunk in prefetch(self._prepare, chunks, depth=2 + 2 * self.window // CHUNK):
            for stacks in chunk:
                window.append(stacks)
                readable += not isinstance(stacks, ImageError)
                # Unreadable files do not reduce the batch size, but must not delay the others for long.
                if readable == self.window or len(window) == PATIENCE * self.window:
                    yield from self._predict(window)
                    window, readable = [], 0
        yield from self._predict(window)

    def log_probabilities(self, shown: Sequence[list[Pixels]]) -> LogProbabilities:
        """Log of the softmax averaged over the views of each image (N, K).

        shown  for each image, the stack of each view
        """
        total = np.full((len(shown), len(self.record.classes)), -np.inf)
        for index, view in enumerate(self.views):
            by_shape: dict[tuple[int, ...], list[int]] = {}
            for image, stacks in enumerate(shown):
                by_shape.setdefault(stacks[index].shape, []).append(image)
            for members in by_shape.values():
                logits = self._logits(np.concatenate([shown[image][index] for image in members]), view)
                each = self.record.log_probabilities(logits).reshape(len(members), view.count, -1)
                mean = np.logaddexp.reduce(each, axis=1) - np.log(view.count)
                total[members] = np.logaddexp(total[members], mean + np.log(view.share))
        return total

    def _logits(self, images: Pixels, view: View) -> NDArray[np.float32]:
        """Logits (N, K); for a dense view the spatial mean."""
        parts = -(-len(images) // _batch_size(images.shape[1:3]))
        logits = np.concatenate([self.engines[view.is_dense](part) for part in np.array_split(images, parts)])
        return logits.mean(axis=(2, 3)) if view.is_dense else logits

    def _predict(self, window: Sequence[list[Pixels] | ImageError]) -> Iterator[LogProbabilities | ImageError]:
        shown = [stacks for stacks in window if not isinstance(stacks, ImageError)]
        answers = iter(self.log_probabilities(shown) if shown else ())
        if self.mapped:
            self.mapped.require_unchanged()
        for stacks in window:
            yield stacks if isinstance(stacks, ImageError) else next(answers)

    def _prepare(self, chunk: Sequence[File | Pixels]) -> list[list[Pixels] | ImageError]:
        return [self.shown(source) for source in chunk]

    def shown(self, source: File | Pixels) -> list[Pixels] | ImageError:
        """The stack of each view, or an ImageError without its traceback, which would keep large arrays alive."""
        record = self.record.preprocessing
        try:
            if isinstance(source, np.ndarray):
                return show(source, record, self.views)
            return DECODERS.show(source, record, self.views)
        except ImageError as error:
            return ImageError(error.value, error.rule, error.remedy)


def _batch_size(sides: tuple[int, ...]) -> int:
    height, width = sides
    return min(LARGEST_BATCH, max(1, BATCH_PIXELS // (height * width)))


@dataclass(frozen=True)
class Prediction:
    """The prediction of one image: (class name, probability) pairs in descending order, or an error.

    path    as given, so that it can be opened; `shown` is for display
    unsure  whether the top probability is below the model's reject threshold; None without a threshold
    """

    path: str
    top: tuple[tuple[str, float], ...] = ()
    error: str = ""
    unsure: bool | None = None

    def as_json(self) -> dict[str, Any]:
        top = [{"class": name, "probability": share} for name, share in self.top]
        unsure = {} if self.unsure is None else {"unsure": self.unsure}
        return {"path": self.shown} | ({"error": self.error} if self.error else {"top": top, **unsure})

    @property
    def shown(self) -> str:
        return printable(self.path)

    @property
    def label(self) -> str:
        return self.top[0][0] if self.top else ""

    @property
    def probability(self) -> float:
        return self.top[0][1] if self.top else 0.0


def predict(files: Iterable[File], predictor: Predictor, top: int = 5) -> Iterator[Prediction]:
    """Yield one row per file, in order; an unreadable file is a row with an error."""
    inputs, paths = tee(files)
    for path, answer in zip(paths, predictor.stream(inputs), strict=True):
        if isinstance(answer, ImageError):
            yield Prediction(str(path), error=answer.rule)
        else:
            shares, least = np.exp(answer), predictor.record.reject_threshold
            unsure = None if least is None else bool(shares.max() < least)
            yield Prediction(str(path), _top_classes(shares, predictor.record.classes, top), unsure=unsure)


def _top_classes(row: NDArray[np.float64], classes: Sequence[str], top: int) -> tuple[tuple[str, float], ...]:
    return tuple((classes[index], float(row[index])) for index in np.argsort(-row, kind="stable")[:top])
