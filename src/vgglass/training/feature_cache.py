"""Features of the frozen convolutions, computed once an image: pool5's output, or its global average.

They are kept in the user's cache folder. n images, C channels, S side.
"""

import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray
from rich.filesize import decimal

from vgglass import modelfile
from vgglass.data.dataset import Sample
from vgglass.data.loader import Batch, evaluation_batches
from vgglass.data.store import VectorStore
from vgglass.data.training_loader import TrainingLoader
from vgglass.engines import Output
from vgglass.errors import TrainingError
from vgglass.files import abandoned, cache_folder, discard, replacing
from vgglass.images import Pixels
from vgglass.modelfile import ModelFile
from vgglass.training.checkpoint import Run
from vgglass.training.metrics_log import Display
from vgglass.training.recipe import Recipe

Extractor = Callable[[Pixels], NDArray[np.float32]]  # N S S C uint8 -> N C k k
Extractors = Callable[[ModelFile, str, str, Output], Extractor]  # of a model: engine, precision, which layer's output

SUFFIX = ".features.npy"
LARGEST = 20 << 30  # bytes, of all files together: the least recently used are removed
BATCH = 32
CHUNK = 16 << 20  # bytes read at once
CHECKSUM = 4  # bytes of CRC-32, after the array


class Cache:
    """pool5's output for one model, by images and augmentation.

    extractors  of a model file and the run's engine, what computes pool5; called only where features are missing
    """

    def __init__(
        self,
        model: ModelFile,
        run: Run,
        extractors: Extractors,
        workers: int | None,
        display: Display,
    ) -> None:
        self.model, self.run, self.extractors, self.workers, self.display = model, run, extractors, workers, display
        frozen = {name: array for name, array in model.weights.items() if not name.startswith("fc")}
        self._about = {
            "architecture": model.record.architecture.name,  # LRN has no weights
            "weights": modelfile.weights_digest(frozen),
            "preprocessing": run.preprocessing,
            "computed": [run.feature_engine, run.feature_precision],
        }

    def plain(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Of the images as in evaluation, without augmentation (n, C, k, k)."""
        record = self.model.record.preprocessing
        return self._mapped(samples, {}, lambda: evaluation_batches(samples, record, BATCH))

    def views(self, samples: Sequence[Sample], recipe: Recipe) -> list[NDArray[np.float32]]:
        """Those that a recipe trains on: epoch after epoch takes the next one."""
        return [self.training(samples, view) for view in range(recipe.feature_views)] or [self.plain(samples)]

    def training(self, samples: Sequence[Sample], view: int) -> NDArray[np.float32]:
        """Of the images as augmented in epoch `view` (n, C, k, k)."""
        recipe, record = self.run.recipe, self.model.record.preprocessing
        drawn = {
            "view": view,
            "augmentation": recipe.augmentation,
            "seed": recipe.seed,
            "colours": self.run.colours,
        }

        def batches() -> Iterator[Batch]:
            loader = TrainingLoader(
                samples, record, BATCH, recipe.augmentation, recipe.seed, colours=colours(self.run),
                workers=self.workers,
            )  # fmt: skip
            with loader:
                yield from loader.in_order(view)

        return self._mapped(samples, drawn, batches)

    def _mapped(
        self, samples: Sequence[Sample], drawn: dict[str, Any], batches: Callable[[], Iterable[Batch]]
    ) -> NDArray[np.float32]:
        """From the cache, or computed and cached. Raises TrainingError for more than LARGEST, and on a full disk."""
        layer = self.model.record.architecture.layer("pool5")
        shape = (len(samples), *layer.output_shape)
        images = [[sample.id, sample.digest.hex()] for sample in samples]
        about = self._about | drawn | {"images": images, "shape": shape}
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        path = cache_folder() / "features" / f"{key}{SUFFIX}"
        whole = path.is_file() and _is_whole(path, shape)
        if path.is_file() and not whole:
            self.display.warn(f"{path} is damaged: what it held is computed again")
        if whole:
            path.touch()  # used just now
        else:
            self.display.print(f"computing pool5 of {len(samples):,} images, once; kept in {path.parent}")
            extract = self.extractors(self.model, self.run.feature_engine, self.run.feature_precision, "pool5")
            with self.display.counting("pool5", len(samples)) as count:
                _write(path, shape, batches(), extract, count)
        return np.memmap(path, "<f4", "r", offset=len(_header(shape)), shape=shape)


def colours(run: Run) -> NDArray[np.float64] | None:
    """The principal components of a run's colours, for augmentations that shift along them."""
    return None if run.colours is None else np.array(run.colours)


def _header(shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether a file's length and checksum are right; this reads all of it, as the first epoch would."""
    header = _header(shape)
    left = len(header) + int(np.prod(shape)) * 4
    try:
        if path.stat().st_size != left + CHECKSUM:
            return False
        with path.open("rb") as file:
            checksum = _seed(path)
            while part := file.read(min(left, CHUNK)):
                checksum = zlib.crc32(part, checksum)
                left -= len(part)
            return file.read(CHECKSUM) == checksum.to_bytes(CHECKSUM)
    except OSError:
        return False  # a read error of the disk


def _seed(path: Path) -> int:
    """The start value of a checksum, so that it fails for a file that was renamed to this one."""
    return zlib.crc32(path.name.encode())


def _write(
    path: Path, shape: tuple[int, ...], batches: Iterable[Batch], extract: Extractor, count: Callable[[int], None]
) -> None:
    size = int(np.prod(shape)) * 4
    need = f"the features of {shape[0]:,} images take {decimal(size)}"
    if size > LARGEST:
        remedy = "take smaller images, fewer --set feature_views, or --train last-block, which keeps none"
        raise TrainingError(need, f"and the cache holds {decimal(LARGEST)}", remedy)
    path.parent.mkdir(parents=True, exist_ok=True)
    _make_room(path.parent, size)
    header = _header(shape)
    try:
        with replacing(path) as temporary:
            # Not a writable memory map: on a full disk that would end the process (SIGBUS), where a write raises.
            with temporary.open("wb") as file:
                file.write(header)
                written, checksum = 0, zlib.crc32(header, _seed(path))
                for batch in batches:
                    part = np.ascontiguousarray(extract(batch.images), "<f4").data.cast("B")
                    written += file.write(part)
                    checksum = zlib.crc32(part, checksum)
                    count(len(batch.labels))
                file.write(checksum.to_bytes(CHECKSUM))
            assert written == size
    except OSError as error:
        raise TrainingError(path, f"{need} and could not be written ({error.strerror})", "free space") from error


def _make_room(folder: Path, size: int) -> None:
    """Remove temporary files of killed runs, then the least recently used files until `size` more bytes fit."""
    for path in abandoned(folder / f"*{SUFFIX}"):
        discard(path)
    files = sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime)
    total = sum(path.stat().st_size for path in files)
    while files and total + size > LARGEST:
        oldest = files.pop(0)
        total -= oldest.stat().st_size
        oldest.unlink()


# pool5's global average: 2 KB an image.

AVERAGES_BATCH = 16
KEPT_EVERY = 8  # batches between two writes: a killed run loses no more


class Averages:
    """avgpool's output for one model with a pooled head, by images and augmentation.

    extractors  called only where features are missing
    """

    def __init__(
        self, model: ModelFile, run: Run, extractors: Extractors, workers: int | None, display: Display
    ) -> None:
        self.model, self.run, self.extractors, self.workers, self.display = model, run, extractors, workers, display
        self.channels = model.record.architecture.layer("avgpool").output_shape[0]
        self._about = {
            "architecture": model.record.architecture.name,  # LRN has no weights
            "weights": modelfile.weights_digest({n: a for n, a in model.weights.items() if not n.startswith("fc")}),
            "preprocessing": model.record.preprocessing.as_json(),
            "computed": [run.feature_engine, run.feature_precision],
        }

    def plain(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Of the images as in evaluation, without augmentation (n, C)."""
        record = self.model.record.preprocessing
        return self._of(
            samples, {}, lambda missing: (b.images for b in evaluation_batches(missing, record, AVERAGES_BATCH))
        )

    def drawn(self, samples: Sequence[Sample], view: int) -> NDArray[np.float32]:
        """Of the images as augmented in epoch `view` (n, C)."""
        recipe, record = self.run.recipe, self.model.record.preprocessing
        augmentation, seed = recipe.augmentation, recipe.seed

        def batches(missing: Sequence[Sample]) -> Iterator[Pixels]:
            loader = TrainingLoader(
                missing, record, AVERAGES_BATCH, augmentation, seed, colours=colours(self.run), workers=self.workers
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
        self.display.print(f"computing features of {len(missing):,} images, once; kept in {store.path.parent}")
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
    """The key of an image's vector. The sample's id seeds its augmentation, so it is part of an augmented one's."""
    about = json.dumps(drawn | {"id": sample.id}, sort_keys=True).encode() if drawn else b""
    return hashlib.sha256(sample.digest + about).digest()
