"""Predict images in order, one row for each; decoding runs in parallel with inference.

N images, K classes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, tee
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass import drift, notebook
from vgglass.data.loader import prefetch
from vgglass.drift import TrainingRecord
from vgglass.engines import Engine
from vgglass.errors import ImageError
from vgglass.familiarity import Familiarity
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
DOUBTS = ("unsure", "unfamiliar", "distance", "brightness", "sharpness")  # fields of a row, where the model can tell


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model answers to one image.

    log_probabilities  (K,)
    brightness, sharpness  of its first view, as `drift.look` gives them
    distance           from the training images, as `Familiarity.distances` gives it; None for a model that has none
    """

    log_probabilities: LogProbabilities
    brightness: float
    sharpness: float
    distance: float | None = None

    @property
    def unfamiliar(self) -> bool | None:
        """Whether the image is unlike the training images; None for a model that can't tell."""
        return None if self.distance is None else self.distance > 1

    def unsure(self, record: Record) -> bool | None:
        """Whether the top probability is below the model's reject threshold; None without a threshold."""
        least = record.reject_threshold
        return None if least is None else bool(np.exp(self.log_probabilities.max()) < least)

    @property
    def quantities(self) -> dict[str, float]:
        """What drift is told by; 'distance' only where there is one."""
        probability = float(np.exp(self.log_probabilities.max()))
        found = {"brightness": self.brightness, "sharpness": self.sharpness, "probability": probability}
        return found if self.distance is None else found | {"distance": self.distance}

    def doubts(self, record: Record) -> dict[str, bool | float]:
        """What there is of 'unsure', 'unfamiliar' and 'distance'."""
        found = {"unsure": self.unsure(record), "unfamiliar": self.unfamiliar, "distance": self.distance}
        return {name: said for name, said in found.items() if said is not None}


@dataclass(frozen=True)
class Predictor:
    """A model's record, the views of an image to average over, and its engines, keyed by whether they are dense.

    about        a line on which engine was chosen and why
    mapped       the memory-mapped model file, checked for modification in place, which would change the weights
    familiarity  by which images are judged unfamiliar; its engines then give 'fc8+average'
    training     the record that drift is told by, if the model has one
    """

    record: Record
    views: tuple[View, ...]
    engines: Mapping[bool, Engine]
    about: str = ""
    mapped: Mapped | None = None
    familiarity: Familiarity | None = None
    training: TrainingRecord | None = None

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
        for answer in self.answered(sources):
            yield answer if isinstance(answer, ImageError) else answer.log_probabilities

    def answered(self, sources: Iterable[File | Pixels]) -> Iterator[Answer | ImageError]:
        """The answer to each source in order, or its ImageError. Memory is bounded."""
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
        return np.stack([answer.log_probabilities for answer in self.answers(shown)])

    def answers(self, shown: Sequence[list[Pixels]]) -> list[Answer]:
        """The answer to each image: softmax and distance averaged over its views.

        shown  for each image, the stack of each view
        """
        classes = len(self.record.classes)
        total, distances = np.full((len(shown), classes), -np.inf), np.zeros(len(shown))
        for index, view in enumerate(self.views):
            by_shape: dict[tuple[int, ...], list[int]] = {}
            for image, stacks in enumerate(shown):
                by_shape.setdefault(stacks[index].shape, []).append(image)
            for members in by_shape.values():
                outputs = self._outputs(np.concatenate([shown[image][index] for image in members]), view)
                each = self.record.log_probabilities(outputs[:, :classes]).reshape(len(members), view.count, -1)
                mean = np.logaddexp.reduce(each, axis=1) - np.log(view.count)
                total[members] = np.logaddexp(total[members], mean + np.log(view.share))
                if self.familiarity:
                    apart = self.familiarity.distances(outputs[:, classes:]).reshape(len(members), view.count)
                    distances[members] += view.share * apart.mean(axis=1)
        looks = [drift.look(stacks[0][0]) for stacks in shown]
        known = distances.tolist() if self.familiarity else [None] * len(shown)
        return [Answer(row, *seen, distance) for row, seen, distance in zip(total, looks, known, strict=True)]

    def _outputs(self, images: Pixels, view: View) -> NDArray[np.float32]:
        """What the engine gives for each image (N, ·); for a dense view the spatial mean."""
        parts = -(-len(images) // _batch_size(images.shape[1:3]))
        outputs = np.concatenate([self.engines[view.is_dense](part) for part in np.array_split(images, parts)])
        return outputs.mean(axis=(2, 3)) if view.is_dense else outputs

    def _predict(self, window: Sequence[list[Pixels] | ImageError]) -> Iterator[Answer | ImageError]:
        shown = [stacks for stacks in window if not isinstance(stacks, ImageError)]
        answers = iter(self.answers(shown) if shown else ())
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
    unsure      whether the top probability is below the model's reject threshold; None without a threshold
    unfamiliar  whether it is unlike the training images: `distance`, in units of the threshold, above 1; None for a
                model that can't tell
    brightness, sharpness  as `drift.look` gives them; None for a model without a training record
    """

    path: str
    top: tuple[tuple[str, float], ...] = ()
    error: str = ""
    unsure: bool | None = None
    unfamiliar: bool | None = None
    distance: float | None = None
    brightness: float | None = None
    sharpness: float | None = None

    def _repr_html_(self) -> str:
        rows = {
            "image": self.shown, "error": self.error or None, "unsure": self.unsure, "unfamiliar": self.unfamiliar
        }  # fmt: skip
        top = [[name, notebook.percent(share)] for name, share in self.top]
        return notebook.panel("prediction", rows, [["class", "probability"], *top])

    def as_json(self) -> dict[str, Any]:
        """Without what the model can't tell."""
        if self.error:
            return {"path": self.shown, "error": self.error}
        doubts = {name: getattr(self, name) for name in DOUBTS}
        top = [{"class": name, "probability": share} for name, share in self.top]
        return {"path": self.shown, "top": top} | {name: said for name, said in doubts.items() if said is not None}

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
    for path, answer in zip(paths, predictor.answered(inputs), strict=True):
        if isinstance(answer, ImageError):
            yield Prediction(str(path), error=answer.rule)
        else:
            likeliest = _top_classes(np.exp(answer.log_probabilities), predictor.record.classes, top)
            unsure = answer.unsure(predictor.record)
            seen = (answer.brightness, answer.sharpness) if predictor.training else (None, None)
            yield Prediction(str(path), likeliest, "", unsure, answer.unfamiliar, answer.distance, *seen)


def _top_classes(row: NDArray[np.float64], classes: Sequence[str], top: int) -> tuple[tuple[str, float], ...]:
    return tuple((classes[index], float(row[index])) for index in np.argsort(-row, kind="stable")[:top])
