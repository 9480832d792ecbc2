"""Teaching by examples: the lesson of a folder with the convolutions that see for it, and what comes of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vgglass import modelfile
from vgglass.data.store import Store, VectorStore
from vgglass.errors import UserError
from vgglass.files import cache_folder
from vgglass.inference.views import View, parse
from vgglass.modelfile import ModelFile
from vgglass.teaching import taught
from vgglass.teaching.choosing import SMALL
from vgglass.teaching.folder import HIDDEN, Item, TaughtFolder
from vgglass.teaching.lesson import Lesson
from vgglass.weights import zoo
from vgglass.workflows.models import is_foreign, starting_model

if TYPE_CHECKING:
    from vgglass.engines import Engine

PREFERRED = ("vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "vgg13", "vgg13_bn", "vgg11", "vgg11_bn")


@dataclass(frozen=True)
class Classroom:
    """A lesson and what it needs of the disk and the engine.

    start       the model whose convolutions see, by `path`
    see         squares (n, S, S, C) to pool5 (n, D, side, side)
    vectors     pool5's averages and small pictures by SHA-256, in the user's cache
    thumbnails  JPEG by SHA-256, in the folder
    """

    lesson: Lesson
    start: ModelFile
    path: Path
    see: "Engine"
    views: tuple[View, ...]
    vectors: VectorStore
    thumbnails: Store

    def recall(self) -> list[Item]:
        """Take known images' features from the cache; the images that have to be seen."""
        lacking = self.lesson.lacking()
        found = self.vectors.get([item.digest for item in lacking])
        if found:
            self._know(list(found), np.stack(list(found.values())))
        return [item for item in lacking if item.digest not in found]

    def keep(self, digest: bytes, average: NDArray[np.float32], picture: NDArray[np.float32]) -> None:
        """Take an image's features (D,) and small picture, also into the cache."""
        vector = np.concatenate([average, picture])[None]
        self.vectors.put([digest], vector)
        self._know([digest], vector)

    def _know(self, digests: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        size = vectors.shape[1] - SMALL**2
        self.lesson.know(digests, vectors[:, :size], vectors[:, size:])

    def model(self) -> ModelFile:
        """The model that was taught. Raises UsageError for fewer than two classes."""
        from vgglass.engines.openvino import open_engine

        return taught.model_of(self.lesson, self.start, open_engine)

    def close(self) -> None:
        self.vectors.close()
        self.thumbnails.close()
        self.lesson.folder.close()


def cached_weights() -> str | None:
    """The first pretrained name whose weights are on this machine."""
    return next((name for name in PREFERRED if zoo.cached(name).exists()), None)


def classroom(folder: str | Path, source: str | Path, preprocessing: str | None = None) -> Classroom:
    """Open, or begin, a folder that is taught by. Neither torch nor scikit-learn is needed.

    source  the model, pretrained name or other framework's weights whose convolutions see
    Raises DataError, ModelFileError, WeightsError, UsageError.
    """
    from vgglass.engines.selection import choose, open_engine

    start = starting_model(source, preprocessing)
    path = _model_file(Path(source), start)
    size = start.record.architecture.layer("pool5").output_shape[0]
    lesson = Lesson(TaughtFolder(Path(folder)), size)
    choice = replace(choose(start, "openvino"), engine="openvino")
    frozen = {name: array for name, array in start.weights.items() if not name.startswith("fc")}
    about = {
        "pool5": start.record.architecture.name, "weights": modelfile.weights_digest(frozen),
        "preprocessing": start.record.preprocessing.as_json(), "computed": [choice.engine, choice.precision],
    }  # fmt: skip
    vectors = VectorStore(about | {"picture": SMALL}, size + SMALL**2)
    thumbnails = Store(Path(folder) / HIDDEN / "thumbnails.sqlite3")
    see = open_engine(start, choice, "pool5")
    return Classroom(lesson, start, path, see, parse("centre", start.record), vectors, thumbnails)


def _model_file(source: Path, start: ModelFile) -> Path:
    """The starting model as a file that the page can open: other frameworks' weights are kept converted."""
    if str(source) in zoo.names() and not source.exists():
        return zoo.cached(str(source))
    if not is_foreign(source):
        return source
    path = cache_folder() / "converted" / start.record.digest[:16] / f"{source.name.partition('.')[0]}.safetensors"
    try:
        modelfile.load_record(path)
    except UserError:
        from vgglass.engines.openvino import open_engine

        logits = open_engine(start)(start.golden_images)
        modelfile.save(replace(start, golden_logits=logits), path)
    return path


def files_of(folder: TaughtFolder) -> Iterator[tuple[str, Path]]:
    """Name in an archive and path of each labelled image, and of the manifest."""
    folder.write_manifest()
    for item in list(folder.items.values()):
        if item.label is not None:
            yield item.path, folder.top / item.path
    yield "manifest.csv", folder.top / "manifest.csv"
