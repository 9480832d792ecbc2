"""The images that people look at: decoded and walked once, the least recently used dropped.

Walks take far more memory than pictures (114 MB an image for VGG-16), so that fewer of them are kept.
"""

import asyncio
import hashlib
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import Request

from vgglass.inference.predictor import Predictor
from vgglass.modelfile import ModelFile
from vgglass.preprocess import placement
from vgglass.server import middleware
from vgglass.server.decoding import DecodedUpload
from vgglass.server.model_store import ModelStore
from vgglass.server.refusals import RefusedError

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

    whole: DecodedUpload

    @property
    def bytes(self) -> int:
        return self.whole.original.nbytes + self.whole.square.nbytes


class ForwardPass:
    """One image's way through the network: every layer's output, kept once (channels last they came out of it).

    subject  for what runs the network again quickly; `apart` for what takes seconds, on a twin of the network that
             shares its weights: Captum hangs its hooks on modules, and two threads would meet each other's
    """

    def __init__(self, subject: "Subject", apart: "Subject") -> None:
        import torch

        from vgglass.glass import layers

        self.subject, self.apart = subject, apart
        self.steps: dict[str, Step] = {}
        self.views: dict[str, LayerView] = {"image": layers.image(subject)}
        before = subject.input
        for step in layers.steps(subject):
            view = layers.view(step.layer, step.output)
            output = torch.from_numpy(view.maps).reshape(step.output.shape)
            self.steps[step.name] = replace(step, input=before.reshape(step.input.shape), output=output)
            self.views[step.name], before = view, output

    def view(self, name: str) -> "LayerView":
        """A layer's, or the image's. Raises UsageError for another name."""
        if name != "image":
            self.subject.layer(name)
        return self.views[name]


class ModelSession:
    """One model seen through the glass, and the images before it; all but `placement` is for the quick thread alone.

    A model's predecessor and everything that hung on it goes when the model is replaced.

    abandoned  set while nobody waits for what the slow thread computes
    """

    def __init__(self, predictor: Predictor, file: ModelFile, abandoned: threading.Event) -> None:
        self.predictor, self.file = predictor, file
        self._abandoned = abandoned
        self._pictures: OrderedDict[str, Picture] = OrderedDict()
        self._walks: OrderedDict[str, ForwardPass] = OrderedDict()

    @cached_property
    def networks(self) -> "tuple[VGG, VGG]":
        from vgglass.model import VGG

        pair = VGG.from_file(self.file, shared=True), VGG.from_file(self.file, shared=True)
        for network in pair:
            network.requires_grad_(False)
        pair[1].get_submodule("conv1_1").register_forward_pre_hook(self._require_wanted)
        return pair

    def _require_wanted(self, *_: object) -> None:
        """Each run of the network begins here; an occlusion, many of them, ends here when nobody waits for it."""
        if self._abandoned.is_set():
            raise middleware.ClientLeftError("before its answer")

    def prepare(self) -> None:
        """Build the networks, if they are not there yet."""
        assert self.networks

    def placement(self, whole: DecodedUpload) -> dict[str, int]:
        """Where a picture lies in the network's square, as `glass.receptive_field.on_original` reads it."""
        return vars(placement(*whole.fitted, self.file.record.preprocessing))

    def keep(self, body: bytes, whole: DecodedUpload) -> str:
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

    def subject(self, digest: str, *, apart: bool = False) -> "Subject":
        """A picture before the network, or before its twin in the slow thread."""
        from vgglass.glass.subject import put

        whole, record = self.picture(digest).whole, self.file.record
        place = placement(*whole.fitted, record.preprocessing)
        return put(self.networks[apart], record, digest, whole.original, place, whole.square)

    def walk(self, digest: str) -> ForwardPass:
        """The walk of a picture; runs the network where it is not kept."""
        if digest not in self._walks:
            pair = self.subject(digest), self.subject(digest, apart=True)
            while len(self._walks) >= WALKS:  # before the next one is made: its memory is wanted
                self._walks.popitem(last=False)
            self._walks[digest] = ForwardPass(*pair)
        self._walks.move_to_end(digest)
        self._pictures.move_to_end(digest)
        return self._walks[digest]


class Sessions:
    """What the routes of the glass share: the model that serves now, and one thread each for quick and slow looks."""

    def __init__(self, models: ModelStore) -> None:
        self._models = models
        self._looked: ModelSession | None = None
        self._threads = {slow: ThreadPoolExecutor(1, "glass") for slow in (False, True)}
        self._turns = {slow: asyncio.Lock() for slow in (False, True)}
        self._abandoned = threading.Event()
        self._waiting = 0
        self._taking: set[asyncio.Task[Any]] = set()  # the loop itself holds tasks weakly

    @property
    def missing(self) -> str | None:
        """Why this server has no glass: 'graph' for an exported one, else the package that is not there."""
        if not isinstance(self._models.source, ModelFile):
            return "graph"
        return next((package for package in EXTRA if not find_spec(package)), None)

    @property
    def looked(self) -> ModelSession:
        """Of the model that serves now. Raises RefusedError where it can't be looked into."""
        missing, predictor, source = self.missing, self._models.current, self._models.source
        if missing or not isinstance(source, ModelFile):
            rule = "is an exported graph" if missing == "graph" else f"needs {missing} to be looked into"
            remedy = "serve the model file" if missing == "graph" else "pip install 'vgglass[torch]'"
            raise RefusedError(501, "no glass", "the model", rule, remedy)
        if self._looked is None or self._looked.predictor is not predictor:
            self._looked = ModelSession(predictor, source, self._abandoned)
        return self._looked

    async def run(self, request: Request, work: Callable[[], T]) -> T:
        """`work` in the quick thread. Raises RefusedError where too many wait, or the client leaves."""
        self._require_room()
        return await self._turn(request, work)

    async def look(self, request: Request, digest: str, work: Callable[[ForwardPass], T]) -> T:
        """What `work` makes of an image's walk. Raises RefusedError, also for an image that is not kept."""
        looked = self.looked
        return await self.run(request, lambda: work(looked.walk(digest)))

    async def ponder(self, request: Request, digest: str, work: Callable[["Subject"], T]) -> T:
        """What `work` makes in the slow thread; only the picture is held till then, for a walk is large."""
        looked = self.looked
        subject = await self.run(request, lambda: looked.subject(digest, apart=True))
        return await self._turn(request, lambda: work(subject), slow=True)

    async def each(self, request: Request, work: Iterator[T]) -> AsyncIterator[T]:
        """What a slow iterator yields, others' turns between, until the client leaves.

        What has begun to be answered is never refused.
        """
        with suppress(middleware.ClientLeftError):
            while (found := await self._turn(request, lambda: next(work, None), slow=True)) is not None:
                yield found

    def stop(self) -> None:
        self._abandoned.set()
        for thread in self._threads.values():
            thread.shutdown(wait=False, cancel_futures=True)

    def _require_room(self) -> None:
        if self._waiting >= WAITING:
            rule = f"full: {self._waiting} looks wait"
            raise RefusedError(503, "glass full", "the glass", rule, "try again in 1 s", {"Retry-After": "1"})

    async def _turn(self, request: Request, work: Callable[[], T], *, slow: bool = False) -> T:
        """`work` when those before it are done. Raises RefusedError where the client has left by then."""
        # Shielded: where a response that had begun is cancelled, as its client left, the turn has still to be ended.
        turn = asyncio.create_task(self._taken(request, work, slow=slow))
        self._taking.add(turn)
        turn.add_done_callback(self._taking.discard)
        turn.add_done_callback(middleware.retrieve_exception)
        return await asyncio.shield(turn)

    async def _taken(self, request: Request, work: Callable[[], T], *, slow: bool) -> T:
        self._waiting += 1
        try:
            async with self._turns[slow]:
                if await request.is_disconnected():
                    raise middleware.ClientLeftError("before its turn")
                job = asyncio.get_running_loop().run_in_executor(self._threads[slow], work)
                return await (self._wanted(request, job) if slow else job)
        finally:
            self._waiting -= 1

    async def _wanted(self, request: Request, job: "asyncio.Future[T]") -> T:
        """A job of the slow thread, which ends early where its client leaves or the server stops."""
        left = asyncio.create_task(middleware.client_left(request))
        try:
            await asyncio.wait((job, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
            if not job.done():
                self._abandoned.set()
                await asyncio.wait((job,))
                self._abandoned.clear()
        return await job
