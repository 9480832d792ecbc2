"""LRU caches of decoded images and of their forward passes, and the two threads that run requests on them.

A forward pass takes far more memory than a picture (114 MB an image for VGG-16), so fewer of them are kept.
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
from vgglass.server import middleware, samples
from vgglass.server.decoding import DecodedUpload
from vgglass.server.model_store import ModelStore
from vgglass.server.refusals import RefusedError

if TYPE_CHECKING:
    from vgglass.glass import Subject
    from vgglass.glass.layers import LayerView
    from vgglass.glass.preference import Stage as Preference
    from vgglass.model import VGG, Step

PICTURES = 64 << 20  # bytes of decoded pictures to keep
WALKS = 2  # images whose layer outputs are kept: the current one and the previous one, or another user's
PREFERENCES = 256  # channels of which to keep what they look for
WAITING = 32  # maximum requests queued for a thread
EXTRA = ("torch", "matplotlib", "captum")

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded upload."""

    whole: DecodedUpload

    @property
    def bytes(self) -> int:
        return self.whole.original.nbytes + self.whole.square.nbytes


class ForwardPass:
    """One image's forward pass: every layer's output, as contiguous maps whose memory `steps` and `views` share.

    subject  for quick reruns of the network
    apart    for slow computations in the other thread, on a second network that shares the weights: Captum registers
             hooks on modules, and two threads on one network would trigger each other's
    """

    def __init__(self, subject: "Subject", apart: "Subject") -> None:
        from vgglass.glass import layers

        self.subject, self.apart = subject, apart
        self.steps: dict[str, Step] = {}
        self.views: dict[str, LayerView] = {"image": layers.image(subject)}
        self._before = subject.input
        self._walk = subject.network.walk(subject.input)

    def advance(self) -> bool:
        """Compute the next layer; False if there was none left."""
        import torch

        from vgglass.glass import layers
        from vgglass.glass.subject import untouched

        with untouched(self.subject.network), torch.inference_mode():
            step = next(self._walk, None)
        if step is None:
            return False
        view = layers.view(step.layer, step.output)
        output = torch.from_numpy(view.maps).reshape(step.output.shape)
        self.steps[step.name] = replace(step, input=self._before.reshape(step.input.shape), output=output)
        self.views[step.name], self._before = view, output
        return True

    def complete(self) -> None:
        while self.advance():
            pass

    def as_computed(self) -> "Iterator[LayerView]":
        """Yield every layer's view, and compute what is not there yet: another request may compute it meanwhile."""
        for name in ("image", *(layer.name for layer in self.subject.layers)):
            while name not in self.views:
                self.advance()
            yield self.views[name]

    def view(self, name: str) -> "LayerView":
        """Return the view of a layer, or of the image ('image'). Raises UsageError for an unknown name."""
        if name != "image":
            self.subject.layer(name)
        return self.views[name]


class ModelSession:
    """One model's networks and cached images. Everything but `placement` must run in the quick thread.

    A reload of the model replaces the session, and its caches are freed.

    abandoned  set while no client waits for the slow thread's current job
    parent     the session of the model that this one was shrunk from, which sees the same pictures
    """

    def __init__(
        self, predictor: Predictor, file: ModelFile, abandoned: threading.Event, parent: ModelFile | None = None
    ) -> None:
        self.predictor, self.file = predictor, file
        self._abandoned = abandoned
        self._pictures: OrderedDict[str, Picture] = OrderedDict()
        self.parent: ModelSession | None = None
        if parent is not None:
            self.parent = ModelSession(predictor, parent, abandoned)
            self.parent._pictures = self._pictures
        self._walks: OrderedDict[str, ForwardPass] = OrderedDict()
        self._samples: list[Subject] = []
        self._preferences: OrderedDict[tuple[str, int], Preference] = OrderedDict()

    @cached_property
    def networks(self) -> "tuple[VGG, VGG]":
        from vgglass.model import VGG

        pair = VGG.from_file(self.file, shared=True), VGG.from_file(self.file, shared=True)
        for network in pair:
            network.requires_grad_(False)
        pair[1].get_submodule("conv1_1").register_forward_pre_hook(self._require_not_abandoned)
        return pair

    def _require_not_abandoned(self, *_: object) -> None:
        """Abort an abandoned job at its next forward pass: occlusion runs many. Raises ClientLeftError."""
        if self._abandoned.is_set():
            raise middleware.ClientLeftError("before its answer")

    def prepare(self) -> None:
        """Build the networks unless they exist."""
        assert self.networks

    def placement(self, whole: DecodedUpload) -> dict[str, int]:
        """Return where a picture lies in the network's square, as `glass.receptive_field.on_original` expects it."""
        return vars(placement(*whole.fitted, self.file.record.preprocessing))

    def keep(self, body: bytes, whole: DecodedUpload) -> str:
        """Cache a picture and return its key, the digest of `body`."""
        digest = hashlib.sha256(body).hexdigest()[:32]
        self._pictures[digest] = Picture(whole)
        self._pictures.move_to_end(digest)
        while len(self._pictures) > 1 and sum(each.bytes for each in self._pictures.values()) > PICTURES:
            dropped, _ = self._pictures.popitem(last=False)
            for session in filter(None, (self, self.parent)):
                session._walks.pop(dropped, None)
        return digest

    def picture(self, digest: str) -> Picture:
        """Return a cached picture. Raises RefusedError (404) if it was evicted or never sent."""
        if digest not in self._pictures:
            raise RefusedError(404, "no image", f"image {digest[:40]!r}", "is not kept here any more", "send it again")
        self._pictures.move_to_end(digest)
        return self._pictures[digest]

    def subject(self, digest: str, *, apart: bool = False) -> "Subject":
        """Return a picture as a Subject of the network, or with `apart` of the slow thread's second network."""
        from vgglass.glass.subject import put

        whole, record = self.picture(digest).whole, self.file.record
        place = placement(*whole.fitted, record.preprocessing)
        return put(self.networks[apart], record, digest, whole.original, place, whole.square)

    def preference(self, layer: str, channel: int) -> "Iterator[Preference]":
        """What a channel looks for, on the samples, step by step in the slow thread; the last step is kept."""
        from vgglass.glass.preference import stages
        from vgglass.glass.subject import open_subject

        if (layer, channel) in self._preferences:
            return iter([self._preferences[layer, channel]])
        if not self._samples:
            network = self.networks[True]
            for name in samples.names(self.file.record.classes):
                opened = open_subject(self.file, samples.read(name), network=network)
                self._samples.append(replace(opened, name=name))
        return self._keep_last((layer, channel), stages(self._samples, layer, channel))

    def _keep_last(self, key: tuple[str, int], found: "Iterator[Preference]") -> "Iterator[Preference]":
        for each in found:
            if each.done == each.total:
                self._preferences[key] = each
                while len(self._preferences) > PREFERENCES:
                    self._preferences.popitem(last=False)
            yield each

    def walk(self, digest: str) -> ForwardPass:
        """Return a picture's forward pass, from the cache or computed."""
        walk = self.begin(digest)
        walk.complete()
        return walk

    def begin(self, digest: str) -> ForwardPass:
        """Return a picture's forward pass, of which none, some or all layers are computed."""
        if digest not in self._walks:
            pair = self.subject(digest), self.subject(digest, apart=True)
            while len(self._walks) >= WALKS:  # evict first, to bound peak memory
                self._walks.popitem(last=False)
            self._walks[digest] = ForwardPass(*pair)
        self._walks.move_to_end(digest)
        self._pictures.move_to_end(digest)
        return self._walks[digest]


class Sessions:
    """State shared by the /glass routes: the current model's session, one thread for quick jobs and one for slow."""

    def __init__(self, models: ModelStore) -> None:
        self._models = models
        self._session: ModelSession | None = None
        self._threads = {slow: ThreadPoolExecutor(1, "glass") for slow in (False, True)}
        self._locks = {slow: asyncio.Lock() for slow in (False, True)}
        self._abandoned = threading.Event()
        self._waiting = 0
        self._tasks: set[asyncio.Task[Any]] = set()  # the event loop keeps only weak references to tasks

    @property
    def missing(self) -> str | None:
        """Why layers can't be shown: 'graph' for an exported graph, else the name of the missing package, else None."""
        if not isinstance(self._models.opened.source, ModelFile):
            return "graph"
        return next((package for package in EXTRA if not find_spec(package)), None)

    @property
    def session(self) -> ModelSession:
        """The session of the current model. Raises RefusedError (501) if its layers can't be shown."""
        missing, opened = self.missing, self._models.opened
        predictor, source = opened.predictor, opened.source
        if missing or not isinstance(source, ModelFile):
            rule = "is an exported graph" if missing == "graph" else f"needs {missing} to be looked into"
            remedy = "serve the model file" if missing == "graph" else "pip install 'vgglass[torch]'"
            raise RefusedError(501, "no glass", "the model", rule, remedy)
        if self._session is None or self._session.predictor is not predictor:
            self._session = ModelSession(predictor, source, self._abandoned, opened.parent)
        return self._session

    @property
    def parent(self) -> ModelSession:
        """The session of the current model's parent. Raises RefusedError (404) for a model that has none here."""
        if (parent := self.session.parent) is None:
            rule = "has no parent here: it was not shrunk, or its parent's file is not there"
            raise RefusedError(404, "no parent", "the model", rule, "serve a shrunk model with --parent")
        return parent

    async def run(self, request: Request, work: Callable[[], T]) -> T:
        """Run `work` in the quick thread. Raises RefusedError if the queue is full or the client disconnects."""
        self._require_room()
        return await self._enqueue(request, work)

    async def run_on_walk(
        self, request: Request, digest: str, work: Callable[[ForwardPass], T], *, parent: bool = False
    ) -> T:
        """Run `work` on an image's forward pass in the quick thread. Raises RefusedError, also for an evicted image.

        parent  the forward pass of the model's parent
        """
        session = self.parent if parent else self.session
        return await self.run(request, lambda: work(session.walk(digest)))

    async def run_slow(
        self, request: Request, digest: str, work: Callable[["Subject"], T], *, parent: bool = False
    ) -> T:
        """Run `work` in the slow thread. While queued it holds only the picture, not the far larger forward pass.

        parent  before the model's parent
        """
        session = self.parent if parent else self.session
        subject = await self.run(request, lambda: session.subject(digest, apart=True))
        return await self._enqueue(request, lambda: work(subject), slow=True)

    async def iterate(self, request: Request, work: Iterator[T], *, slow: bool = True) -> AsyncIterator[T]:
        """Yield from an iterator, other jobs interleaved between items, until the client disconnects.

        Never refused for a full queue: the response has already started.
        """
        with suppress(middleware.ClientLeftError):
            while (found := await self._enqueue(request, lambda: next(work, None), slow=slow)) is not None:
                yield found

    def stop(self) -> None:
        self._abandoned.set()
        for thread in self._threads.values():
            thread.shutdown(wait=False, cancel_futures=True)

    def _require_room(self) -> None:
        if self._waiting >= WAITING:
            rule = f"full: {self._waiting} looks wait"
            raise RefusedError(503, "glass full", "the glass", rule, "try again in 1 s", {"Retry-After": "1"})

    async def _enqueue(self, request: Request, work: Callable[[], T], *, slow: bool = False) -> T:
        """Run `work` in first-come order. Raises RefusedError if the client has disconnected by then."""
        # Shielded: a streaming response is cancelled when its client disconnects, but its job must still be cleaned up.
        task = asyncio.create_task(self._run_exclusive(request, work, slow=slow))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(middleware.retrieve_exception)
        return await asyncio.shield(task)

    async def _run_exclusive(self, request: Request, work: Callable[[], T], *, slow: bool) -> T:
        self._waiting += 1
        try:
            async with self._locks[slow]:
                if await request.is_disconnected():
                    raise middleware.ClientLeftError("before its turn")
                job = asyncio.get_running_loop().run_in_executor(self._threads[slow], work)
                return await (self._abortable(request, job) if slow else job)
        finally:
            self._waiting -= 1

    async def _abortable(self, request: Request, job: "asyncio.Future[T]") -> T:
        """Await a job of the slow thread; abort it if the client disconnects or the server stops."""
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
