"""pool5's global average of every image, computed once: 2 KB an image. n images, C channels, S side."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass import modelfile
from vgglass.data.dataset import Sample
from vgglass.data.loader import evaluation_batches
from vgglass.data.store import VectorStore
from vgglass.data.training_loader import TrainingLoader
from vgglass.images import Pixels
from vgglass.modelfile import ModelFile
from vgglass.training.checkpoint import Run
from vgglass.training.display import Display
from vgglass.training.features import Extractors, colours

BATCH = 16
KEPT_EVERY = 8  # batches between two writes: what a kill -9 loses at most


class Averages:
    """avgpool of a model with a pooled head, from the cache or computed into it.

    extractors  called only where something is to be computed
    """

    def __init__(
        self, model: ModelFile, run: Run, extractors: Extractors, workers: int | None, display: Display
    ) -> None:
        self.model, self.run, self.extractors, self.workers, self.display = model, run, extractors, workers, display
        self.channels = model.record.architecture.layer("avgpool").output_shape[0]
        self._about = {
            "architecture": model.record.architecture.name,  # LRN has no weights that would tell
            "weights": modelfile.weights_digest({n: a for n, a in model.weights.items() if not n.startswith("fc")}),
            "preprocessing": model.record.preprocessing.as_json(),
            "computed": [run.feature_engine, run.feature_precision],
        }

    def plain(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Of the images as they are judged (n, C)."""
        record = self.model.record.preprocessing
        return self._of(samples, {}, lambda missing: (b.images for b in evaluation_batches(missing, record, BATCH)))

    def drawn(self, samples: Sequence[Sample], view: int) -> NDArray[np.float32]:
        """Of the images as the epoch `view` of a run would draw them (n, C)."""
        recipe, record = self.run.recipe, self.model.record.preprocessing
        augmentation, seed = recipe["augmentation"], recipe["seed"]

        def batches(missing: Sequence[Sample]) -> Iterator[Pixels]:
            loader = TrainingLoader(
                missing, record, BATCH, augmentation, seed, colours=colours(self.run), workers=self.workers
            )
            with loader:
                for batch in loader.in_order(view):
                    yield batch.images

        about = {"view": view, "augmentation": augmentation, "seed": seed, "colours": self.run.colours}
        return self._of(samples, about, batches)

    def _of(
        self,
        samples: Sequence[Sample],
        drawn: dict[str, Any],
        batches: Callable[[Sequence[Sample]], Iterator[Pixels]],
    ) -> NDArray[np.float32]:
        keys = [_key(sample, drawn) for sample in samples]
        with closing(VectorStore(self._about, self.channels)) as store:
            found = store.get(keys)
            first = {key: sample for key, sample in zip(keys, samples, strict=True) if key not in found}
            if first:
                found |= self._computed(store, first, batches)
        return np.stack([found[key] for key in keys])

    def _computed(
        self,
        store: VectorStore,
        missing: dict[bytes, Sample],
        batches: Callable[[Sequence[Sample]], Iterator[Pixels]],
    ) -> dict[bytes, NDArray[np.float32]]:
        self.display.say(f"computing features of {len(missing):,} images, once; kept in {store.path.parent}")
        extract = self.extractors(self.model, self.run.feature_engine, self.run.feature_precision, "avgpool")
        keys, done, waiting = list(missing), 0, []
        found: dict[bytes, NDArray[np.float32]] = {}
        with self.display.counting("features", len(missing)) as count:
            for number, images in enumerate(batches(list(missing.values())), 1):
                waiting.append(extract(images))
                count(len(images))
                if number % KEPT_EVERY == 0 or done + sum(map(len, waiting)) == len(keys):
                    vectors = np.concatenate(waiting)
                    part, waiting = keys[done : done + len(vectors)], []
                    done += len(vectors)
                    store.put(part, vectors)
                    found |= dict(zip(part, vectors, strict=True))
        return found


def _key(sample: Sample, drawn: dict[str, Any]) -> bytes:
    """What an image's vector is kept under: a drawn view hangs on the sample's id too, which seeds its randomness."""
    about = json.dumps(drawn | {"id": sample.id}, sort_keys=True).encode() if drawn else b""
    return hashlib.sha256(sample.digest + about).digest()
