"""A network ready to answer: sources in, log-probabilities out, in order; decoding runs beside inference.

N images, K classes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from vgglass.data.loader import prefetch
from vgglass.engines import Engine
from vgglass.errors import ImageError
from vgglass.images import File, Pixels
from vgglass.inference.views import View, show
from vgglass.isolation import DECODERS
from vgglass.modelfile import Mapped, Record

LogProbabilities = NDArray[np.float64]

BATCH_PIXELS = 16 * 224**2  # of a call to the engine: beyond that none of them gets faster
LARGEST_BATCH = 256
PATIENCE = 4  # batches of files, readable or not, that one full batch is waited for
CHUNK = 4  # sources that one thread prepares in a turn


@dataclass(frozen=True)
class Predictor:
    """A model's record, the views it takes of an image, and its engines by whether they are dense.

    about   which engine it is and why, in a line
    mapped  the model's file, where its weights lie in it: written to in place, it would answer with others
    """

    record: Record
    views: tuple[View, ...]
    engines: Mapping[bool, Engine]
    about: str = ""
    mapped: Mapped | None = None

    @property
    def settings(self) -> dict[str, str]:
        """What an answer hangs on beside the model, by the names that a person gives."""
        engine = next(iter(self.engines.values()))
        views = "+".join(f"{view.name}@{view.scale}" for view in self.views)
        return {"engine": engine.name, "precision": engine.precision, "views": views}

    @property
    def window(self) -> int:
        """Images that fill a batch together: with more at a time it gets no faster."""
        size = self.record.preprocessing.size
        return max(1, _batch((size, size)) // max(view.count for view in self.views))

    def stream(self, sources: Iterable[File | Pixels]) -> Iterator[LogProbabilities | ImageError]:
        """What the network makes of each source (K,), in order; or why it can't be read. Memory stays bounded."""
        window: list[list[Pixels] | ImageError] = []
        readable = 0
        remaining = iter(sources)
        chunks = iter(lambda: list(islice(remaining, CHUNK)), [])
        for chunk in prefetch(self._prepared, chunks, depth=2 + 2 * self.window // CHUNK):
            for stacks in chunk:
                window.append(stacks)
                readable += not isinstance(stacks, ImageError)
                # Unreadable files leave no hole in a batch, but do not hold the others up for long.
                if readable == self.window or len(window) == PATIENCE * self.window:
                    yield from self._answered(window)
                    window, readable = [], 0
        yield from self._answered(window)

    def log_probabilities(self, shown: Sequence[list[Pixels]]) -> LogProbabilities:
        """Averages over the views of each image, taken at the softmax (N, K).

        shown  for each image the stack of each view
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
        """(N, K); of a dense view the mean over the places."""
        parts = -(-len(images) // _batch(images.shape[1:3]))
        logits = np.concatenate([self.engines[view.is_dense](part) for part in np.array_split(images, parts)])
        return logits.mean(axis=(2, 3)) if view.is_dense else logits

    def _answered(self, window: Sequence[list[Pixels] | ImageError]) -> Iterator[LogProbabilities | ImageError]:
        shown = [stacks for stacks in window if not isinstance(stacks, ImageError)]
        answers = iter(self.log_probabilities(shown) if shown else ())
        if self.mapped:
            self.mapped.require_unchanged()
        for stacks in window:
            yield stacks if isinstance(stacks, ImageError) else next(answers)

    def _prepared(self, chunk: Sequence[File | Pixels]) -> list[list[Pixels] | ImageError]:
        return [self.shown(source) for source in chunk]

    def shown(self, source: File | Pixels) -> list[Pixels] | ImageError:
        """The stack of each view, or why there is none; without the traceback, which would hold on to much."""
        record = self.record.preprocessing
        try:
            if isinstance(source, np.ndarray):
                return show(source, record, self.views)
            return DECODERS.show(source, record, self.views)
        except ImageError as error:
            return ImageError(error.value, error.rule, error.remedy)


def _batch(sides: tuple[int, ...]) -> int:
    height, width = sides
    return min(LARGEST_BATCH, max(1, BATCH_PIXELS // (height * width)))
