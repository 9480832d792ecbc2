"""The served model, and reloading it without interrupting requests."""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vgglass import workflows
from vgglass.engines.artifact import Artifact
from vgglass.engines.verify import check
from vgglass.errors import ModelFileError, UsageError, UserError
from vgglass.inference.predictor import Predictor
from vgglass.modelfile import ModelFile
from vgglass.server import monitoring
from vgglass.server.monitoring import Metrics
from vgglass.server.refusals import RefusedError

LOOKING = 1.0  # seconds between two checks of the file
State = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Options:
    """Options of `workflows.predictor`; `parent` as `workflows.load_parent` takes it."""

    views: str | None = None
    engine: str = "auto"
    precision: str = "auto"
    parent: str | None = None


@dataclass(frozen=True)
class Opened:
    """A model, the predictor that runs it, and for a shrunk one the model that it came from, if it is there."""

    source: ModelFile | Artifact
    predictor: Predictor
    parent: ModelFile | None


class ModelStore:
    """A model file and the predictor last loaded from it. The constructor raises as `open_model` does."""

    def __init__(self, path: Path, options: Options, metrics: Metrics) -> None:
        self.path, self.options = path, options
        self._first, self._name = path, path.stem
        self._metrics = metrics
        self._reloading = asyncio.Lock()
        self._fingerprint = _fingerprint(path)
        self.opened = open_model(path, options)
        self._publish()

    @property
    def current(self) -> Predictor:
        return self.opened.predictor

    @property
    def name(self) -> str:
        return self._name

    async def open(self, path: Path, name: str) -> None:
        """Serve a copy of another model file, by a name of its own. Raises RefusedError where it can't be opened."""
        folder = tempfile.mkdtemp(prefix="vgglass-opened-")
        copy = Path(await asyncio.to_thread(shutil.copyfile, path, Path(folder) / path.name))
        try:
            await self._switch(copy, name)
        finally:  # what serves is the copy that `open_model` made
            await asyncio.to_thread(shutil.rmtree, folder)

    async def close(self) -> None:
        """Serve the first file again."""
        await self._switch(self._first, self._first.stem)

    async def _switch(self, path: Path, name: str) -> None:
        before = self.path, self._name
        self.path, self._name = path, name
        if not await self.reload():
            self.path, self._name = before
            raise RefusedError(503, "not opened", f"model {name!r}", "can't be opened", "see the server's log")

    async def reload(self) -> bool:
        """Load the file again and serve it; if that fails, log the error, keep the old model and return False."""
        async with self._reloading:
            self._fingerprint = _fingerprint(self.path)
            try:
                self.opened = await asyncio.to_thread(open_model, self.path, self.options)
            except (UserError, RuntimeError, MemoryError) as error:
                self._metrics.reloads.labels("refused").inc()
                monitoring.log("reload refused", error=str(error), serving=self.current.record.digest)
                return False
            self._metrics.reloads.labels("done").inc()
            self._publish()
            return True

    async def watch(self) -> None:
        """Reload whenever the file has changed and has been stable between two checks."""
        before = self._fingerprint
        while True:
            await asyncio.sleep(LOOKING)
            now = _fingerprint(self.path)
            if now and now != self._fingerprint and now == before:
                await self.reload()
            before = now

    def _publish(self) -> None:
        record = self.current.record
        self._metrics.model.info({"name": self.name, "digest": record.digest, **self.current.settings})
        monitoring.log(
            "model", path=str(self.path), digest=record.digest, classes=len(record.classes), about=self.current.about
        )


def open_model(path: Path, options: Options) -> Opened:
    """Open a model and verify its predictor on the file's golden inputs. Raises UserError or RuntimeError.

    It opens a copy of the file. Weights are memory-mapped: overwriting the file would change them under the engine, and
    truncating it would kill the process (SIGBUS). The copy is unlinked before it serves, so nobody can write to it, and
    its disk space is freed when it is closed.
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
    return Opened(source, predictor, _open_parent(source, options.parent))


def _open_parent(source: ModelFile | Artifact, given: str | None) -> ModelFile | None:
    """Load a copy of a shrunk model's parent, for what `open_model` says of copies. Raises UserError."""
    if not isinstance(source, ModelFile):
        if given is not None:
            rule = "is the parent of a model file, and an exported graph is served"
            raise UsageError(f"--parent {given}", rule, "serve the shrunk model's own file")
        return None
    path = workflows.parent_path(source.record, given)
    if path is None:
        return None
    with tempfile.TemporaryDirectory(prefix="vgglass-") as folder:
        copy = Path(shutil.copyfile(path, Path(folder) / path.name))
        return workflows.load(copy)


def _files(path: Path) -> list[Path]:
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


def _fingerprint(path: Path) -> State:
    """Return a fingerprint that changes with the file; () if there is no file."""
    try:
        found = [file.stat() for file in _files(path)]
    except OSError:
        return ()
    return tuple((each.st_ctime_ns, each.st_size, each.st_ino) for each in found)
