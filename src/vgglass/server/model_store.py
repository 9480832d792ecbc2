"""The model that serves, and how another takes its place while requests go on."""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vgglass import workflows
from vgglass.engines.artifact import Artifact
from vgglass.engines.verify import check
from vgglass.errors import ModelFileError, UserError
from vgglass.inference.predictor import Predictor
from vgglass.modelfile import ModelFile
from vgglass.server import monitoring
from vgglass.server.monitoring import Metrics

LOOKING = 1.0  # seconds between two looks at the file
State = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Options:
    """How a model is opened: `workflows.predictor` reads them."""

    views: str | None = None
    engine: str = "auto"
    precision: str = "auto"


class ModelStore:
    """A model's file, and what was made of it last; raises as `open_model` does for the first one."""

    def __init__(self, path: Path, options: Options, metrics: Metrics) -> None:
        self.path, self.options = path, options
        self._metrics = metrics
        self._reloading = asyncio.Lock()
        self._state = _state(path)
        self.source, self.current = open_model(path, options)
        self._tell()

    @property
    def name(self) -> str:
        return self.path.stem

    async def reload(self) -> bool:
        """Put the file as it is now in the place of the model that serves; a bad one changes nothing and is told."""
        async with self._reloading:
            self._state = _state(self.path)
            try:
                self.source, self.current = await asyncio.to_thread(open_model, self.path, self.options)
            except (UserError, RuntimeError, MemoryError) as error:
                self._metrics.reloads.labels("refused").inc()
                monitoring.log("reload refused", error=str(error), serving=self.current.record.digest)
                return False
            self._metrics.reloads.labels("done").inc()
            self._tell()
            return True

    async def watch(self) -> None:
        """Reload whenever the file has changed and has then been left alone between two looks."""
        before = self._state
        while True:
            await asyncio.sleep(LOOKING)
            now = _state(self.path)
            if now and now != self._state and now == before:
                await self.reload()
            before = now

    def _tell(self) -> None:
        record = self.current.record
        self._metrics.model.info({"name": self.name, "digest": record.digest, **self.current.settings})
        monitoring.log(
            "model", path=str(self.path), digest=record.digest, classes=len(record.classes), about=self.current.about
        )


def open_model(path: Path, options: Options) -> tuple[ModelFile | Artifact, Predictor]:
    """A model and its predictor that has proved itself on the file's golden inputs. Raises UserError or RuntimeError.

    It is made of a copy of the file. Weights are mapped, not read: a file that someone copies another onto would change
    under the engine, and one that is cut short would end the process (SIGBUS). The copy has no name any more when it
    serves, so that nobody can write to it, and what it takes on the disk is freed with it.
    """
    with tempfile.TemporaryDirectory(prefix="vgglass-") as folder:
        try:
            for file in _files(path):
                shutil.copyfile(file, Path(folder) / file.name)
        except OSError as error:
            rule = f"can't be copied to {folder} ({error.strerror or error})"
            raise ModelFileError(path, rule, "check the path, and the space there") from error
        try:
            source = workflows.open_source(Path(folder) / path.name)
        except ModelFileError as error:
            raise ModelFileError(
                path, error.rule, error.remedy.replace(str(Path(folder) / path.name), str(path))
            ) from error
        predictor = workflows.predictor(source, views=options.views, engine=options.engine, precision=options.precision)
        for dense, engine in predictor.engines.items():
            found = check(source, engine, dense=dense)
            if not found.passed:
                rule = f"its golden inputs come out wrong ({found})"
                raise ModelFileError(path, rule, "write or fetch the file again")
    return source, predictor


def _files(path: Path) -> list[Path]:
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


def _state(path: Path) -> State:
    """What changes when a file does; () where there is none."""
    try:
        found = [file.stat() for file in _files(path)]
    except OSError:
        return ()
    return tuple((each.st_ctime_ns, each.st_size, each.st_ino) for each in found)
