"""The images that people look at: decoded and walked once, the least recently used dropped.

Walks take far more memory than pictures (114 MB an image for VGG-16), so that fewer of them are kept.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import Request

from vgglass.modelfile import ModelFile
from vgglass.predictor import Predictor
from vgglass.preprocess import placement
from vgglass.serving.decoding import Whole
from vgglass.serving.models import Models
from vgglass.serving.refusals import RefusedError

if TYPE_CHECKING:
    from vgglass.glass import Subject
    from vgglass.glass.layers import LayerView
    from vgglass.model import VGG, Step

PICTURES = 64 << 20  # bytes of decoded pictures that are kept
WALKS = 2  # images whose every layer is kept: the one that is looked at, and the one before it, or another person's
WAITING = 32  # requests that may wait for a turn
EXTRA = ("torch", "matplotlib", "captum")

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Picture:
    """An image that was sent, under the digest of its bytes."""

    whole: Whole

    @property
    def bytes(self) -> int:
        return self.whole.original.nbytes + self.whole.square.nbytes


class Walk:
    """One image's way through the network: every layer's output, kept.

    subject  for what runs the network again quickly; `apart` for what takes seconds, on a twin of the network that
             shares its weights: Captum hangs its hooks on modules, and two threads would meet each other's
    """

    def __init__(self, subject: "Subject", apart: "Subject") -> None:
        from vgglass.glass import layers

        self.subject, self.apart = subject, apart
        self.steps: dict[str, Step] = {step.name: step for step in layers.steps(subject)}
        self.views: dict[str, LayerView] = {"image": layers.image(subject)} | {
            name: layers.view(step.layer, step.output) for name, step in self.steps.items()
        }


class Looked:
    """One model seen through the glass, and the images before it.

    A model's predecessor and everything that hung on it goes when the model is replaced.
    """

    def __init__(self, predictor: Predictor, file: ModelFile) -> None:
        self.predictor, self.file = predictor, file
        self._pictures: OrderedDict[str, Picture] = OrderedDict()
        self._walks: OrderedDict[str, Walk] = OrderedDict()

    @cached_property
    def networks(self) -> "tuple[VGG, VGG]":
        from vgglass.model import VGG

        pair = VGG.from_file(self.file, shared=True), VGG.from_file(self.file, shared=True)
        for network in pair:
            network.requires_grad_(False)
        return pair

    def prepare(self) -> None:
        """Build the networks, if they are not there yet."""
        assert self.networks

    def placement(self, whole: Whole) -> dict[str, int]:
        """Where a picture lies in the network's square, as `glass.receptive_field.on_original` reads it."""
        return vars(placement(*whole.fitted, self.file.record.preprocessing))

    def keep(self, body: bytes, whole: Whole) -> str:
        """The digest that the picture is known by from now on."""
        digest = hashlib.sha256(body).hexdigest()[:32]
        self._pictures[digest] = Picture(whole)
        self._pictures.move_to_end(digest)
        while len(self._pictures) > 1 and sum(each.bytes for each in self._pictures.values()) > PICTURES:
            dropped, _ = self._pictures.popitem(last=False)
            self._walks.pop(dropped, None)
        return digest

    def picture(self, digest: str) -> Picture:
        """Raises RefusedError where it was dropped, or never sent."""
        if digest not in self._pictures:
            raise RefusedError(404, "no image", f"image {digest[:40]!r}", "is not kept here any more", "send it again")
        self._pictures.move_to_end(digest)
        return self._pictures[digest]

    def walk(self, digest: str) -> Walk:
        """The walk of a picture; runs the network where it is not kept."""
        from vgglass.glass.subject import put

        picture = self.picture(digest)
        if digest not in self._walks:
            while len(self._walks) >= WALKS:  # before the next one is made: its memory is wanted
                self._walks.popitem(last=False)
            whole, record = picture.whole, self.file.record
            place = placement(*whole.fitted, record.preprocessing)
            pair = [put(network, record, digest, whole.original, place, whole.square) for network in self.networks]
            self._walks[digest] = Walk(pair[0], pair[1])
        self._walks.move_to_end(digest)
        return self._walks[digest]


class Subjects:
    """What the routes of the glass share: the model that serves now, and one thread each for quick and slow looks."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._looked: Looked | None = None
        self._threads = {slow: ThreadPoolExecutor(1, "glass") for slow in (False, True)}
        self._turns = {slow: asyncio.Lock() for slow in (False, True)}
        self._waiting = 0

    @property
    def missing(self) -> str | None:
        """Why this server has no glass: 'graph' for an exported one, else the package that is not there."""
        if not isinstance(self._models.source, ModelFile):
            return "graph"
        return next((package for package in EXTRA if not find_spec(package)), None)

    @property
    def looked(self) -> Looked:
        """Of the model that serves now. Raises RefusedError where it can't be looked into."""
        missing, predictor, source = self.missing, self._models.current, self._models.source
        if missing or not isinstance(source, ModelFile):
            rule = "is an exported graph" if missing == "graph" else f"needs {missing} to be looked into"
            remedy = "serve the model file" if missing == "graph" else "pip install 'vgglass[torch]'"
            raise RefusedError(501, "no glass", "the model", rule, remedy)
        if self._looked is None or self._looked.predictor is not predictor:
            self._looked = Looked(predictor, source)
        return self._looked

    async def run(self, request: Request, work: Callable[[], T], *, slow: bool = False) -> T:
        """`work` in its turn, unless the client has left by then. Raises RefusedError."""
        if self._waiting >= WAITING:
            rule = f"full: {self._waiting} looks wait"
            raise RefusedError(503, "glass full", "the glass", rule, "try again in 1 s", {"Retry-After": "1"})
        self._waiting += 1
        try:
            async with self._turns[slow]:
                if await request.is_disconnected():
                    raise RefusedError(499, "client left", "the client", "left before its turn", "stay")
                return await asyncio.get_running_loop().run_in_executor(self._threads[slow], work)
        finally:
            self._waiting -= 1

    async def each(self, request: Request, work: Iterator[T]) -> Any:
        """What a slow iterator yields, one by one, others' turns between."""
        while (found := await self.run(request, lambda: next(work, None), slow=True)) is not None:
            yield found

    def stop(self) -> None:
        for thread in self._threads.values():
            thread.shutdown(wait=False, cancel_futures=True)
