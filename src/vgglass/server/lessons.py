"""The lesson that a server holds: a thread for the folder and the head, one for the convolutions, and who listens."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vgglass.errors import ImageError
from vgglass.images import Pixels
from vgglass.server import monitoring
from vgglass.server.decoding import Decoders
from vgglass.server.refusals import RefusedError
from vgglass.teaching import choosing, judging
from vgglass.teaching.folder import Item

if TYPE_CHECKING:
    from vgglass.workflows import Classroom

AT_ONCE = 8  # images that wait are decoded and seen at once
SIDE, QUALITY = 112, 82  # of a thumbnail
IDLE = 0.4  # seconds without a change after which what is unfamiliar is judged
HEARTBEAT = 15.0  # seconds between two lines of a stream: a server that is gone is noticed

T = TypeVar("T")


class Lessons:
    """A classroom behind the server.

    version     grows with every change of what the page shows
    unreadable  numbers of images that can't be seen, with the reason
    """

    def __init__(self, classroom: "Classroom") -> None:
        self.classroom, self.version = classroom, 0
        self.unreadable: dict[int, str] = {}
        self._teaching, self._seeing = ThreadPoolExecutor(1, "teach"), ThreadPoolExecutor(1, "see")
        self._changes, self._learned, self._drawing = 0, 0, asyncio.Lock()
        self._curve: tuple[int, list[tuple[int, float]]] = 0, []
        self._dirty, self._news, self._closed = asyncio.Event(), asyncio.Event(), False

    async def run(self, decoders: Decoders) -> None:
        """Learn after every change, then see the images that wait, then judge what is unfamiliar; until cancelled."""
        self.changed()
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            changes = self._changes
            await self.do(self._learn)
            self._learned = changes
            self._tell()
            waiting = [item for item in await self.do(self.classroom.recall) if item.number not in self.unreadable]
            if waiting:
                await asyncio.gather(*(self._see_item(decoders, item) for item in waiting[:AT_ONCE]))
                self.changed()
                continue
            await asyncio.sleep(IDLE)
            if not self._dirty.is_set():
                await self._judge_familiarity()

    async def do(self, work: Callable[[], T]) -> T:
        """Run `work` on the folder and the lesson, in the order asked."""
        return await asyncio.get_running_loop().run_in_executor(self._teaching, work)

    def changed(self) -> None:
        """Learn anew."""
        self._changes += 1
        self._dirty.set()

    @property
    def current(self) -> bool:
        """Whether what was learned is of the folder as it is."""
        return self._learned == self._changes

    async def see(self, decoders: Decoders, data: bytes) -> tuple[Pixels, NDArray[np.float32]]:
        """The network's square (S, S, C) of an encoded image, and its pool5 (D, side, side). Raises ImageError."""
        room = self.classroom
        stacks = await decoders.decode(data, room.start.record.preprocessing, room.views)
        square = stacks[0]
        pool5 = await asyncio.get_running_loop().run_in_executor(self._seeing, room.see, square)
        return square[0], pool5[0]

    async def keep(self, digest: bytes, square: Pixels, pool5: NDArray[np.float32]) -> None:
        """Keep what was seen of an image: its features and its thumbnail."""
        average, picture = pool5.mean(axis=(1, 2)), choosing.small_picture(square)
        small = await asyncio.to_thread(jpeg, square, SIDE)
        await asyncio.to_thread(self.classroom.thumbnails.put, {digest: small})
        await self.do(lambda: self.classroom.keep(digest, average, picture))

    async def thumbnail(self, decoders: Decoders, item: Item) -> bytes:
        """Raises ImageError."""
        found = await asyncio.to_thread(self.classroom.thumbnails.get, [item.digest])
        if item.digest in found:
            return found[item.digest]
        square, pool5 = await self.see(decoders, await self.read(item))
        await self.keep(item.digest, square, pool5)
        return jpeg(square, SIDE)

    async def read(self, item: Item) -> bytes:
        """The bytes of an image's file. Raises ImageError where others have removed it."""
        path = self.classroom.lesson.folder.top / item.path
        try:
            return await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            raise ImageError(item.path, error.strerror or str(error), "it was moved or removed meanwhile") from error

    async def news(self, after: int) -> AsyncIterator[int]:
        """Versions as they come, and the same one again as a heartbeat, until the server stops."""
        while not self._closed:
            if self.version == after:
                news = self._news
                with suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), HEARTBEAT)
            if not self._closed:
                after = self.version
                yield after

    async def curve(self) -> list[tuple[int, float]]:
        """The learning curve, computed once a version and beside what a person does."""
        async with self._drawing:
            taught = await self.do(self.classroom.lesson.taught)
            if self._curve[0] != self._learned:
                self._curve = self._learned, await asyncio.to_thread(judging.curve, taught)
            return self._curve[1]

    async def _judge_familiarity(self) -> None:
        """Beside what a person does; while it is judged, what was judged before holds."""
        learned, lesson = self._learned, self.classroom.lesson
        known = None
        if lesson.learned.head is not None:
            known = await asyncio.to_thread(judging.familiarity_of, await self.do(lesson.taught))
        if learned == self._learned and (known is not None or lesson.familiarity is not None):
            lesson.familiarity = known
            await self.do(lesson.find_unfamiliar)
            self._tell()

    def close(self) -> None:
        """End the streams, so that the server can stop."""
        self._closed = True
        self._news.set()

    def stop(self) -> None:
        for thread in (self._teaching, self._seeing):
            thread.shutdown(wait=True, cancel_futures=True)
        self.classroom.close()

    def _learn(self) -> None:
        lesson = self.classroom.lesson
        self.classroom.recall()
        lesson.learn()
        lesson.find_unfamiliar()
        try:
            lesson.folder.write_manifest()
        except OSError as error:  # it is written again after the next change
            monitoring.log("manifest", error=str(error))

    async def _see_item(self, decoders: Decoders, item: Item) -> None:
        try:
            square, pool5 = await self.see(decoders, await self.read(item))
        except (ImageError, RefusedError) as error:
            self.unreadable[item.number] = error.rule
            return
        await self.keep(item.digest, square, pool5)

    def _tell(self) -> None:
        self.version += 1
        self._news.set()
        self._news = asyncio.Event()


def jpeg(square: Pixels, side: int) -> bytes:
    """The network's square as a picture of at most this side."""
    picture = Image.fromarray(square[..., 0] if square.shape[-1] == 1 else square)
    if picture.width > side:
        picture = picture.resize((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
