"""The /teach routes, on a server that was started with a folder to teach by."""

import asyncio
import errno
import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Annotated, Literal, TypeVar, cast

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, Response, StreamingResponse

from vgglass import modelfile, workflows
from vgglass.errors import DataError, ImageError, ModelFileError
from vgglass.server.admission import Service
from vgglass.server.documentation import ERRORS
from vgglass.server.lessons import Lessons, jpeg
from vgglass.server.refusals import RefusedError, json_response
from vgglass.server.routes import teach_json
from vgglass.teaching.folder import MOST, Item
from vgglass.teaching.names import ClassNameError

Gesture = Annotated[str, Field(max_length=64)]
T = TypeVar("T")
SHOWN = 448  # side of the picture that a map lies on


class Action(BaseModel):
    """What a person does with classes and images.

    label    a class; null is the tray
    to       the new name, or the class that it is merged into
    gesture  actions that bear the same are undone together
    """

    model_config = ConfigDict(extra="forbid")
    what: Literal["move", "remove", "add-class", "rename", "merge", "delete-class"]
    images: Annotated[list[int], Field(max_length=MOST)] = []
    label: Annotated[str, Field(max_length=1000)] | None = None
    to: Annotated[str, Field(max_length=1000)] = ""
    gesture: Gesture = ""


def router(service: Service, lessons: Lessons) -> APIRouter:
    routes = APIRouter(prefix="/teach", responses=ERRORS, default_response_class=Response)
    _add_state(routes, lessons)
    _add_actions(routes, service, lessons)
    _add_images(routes, service, lessons)
    _add_downloads(routes, lessons)
    return routes


def _add_state(routes: APIRouter, lessons: Lessons) -> None:
    @routes.get("/state", summary="All classes and images, and what is known of them")
    async def state() -> Response:
        return json_response(await lessons.do(lambda: teach_json.state(lessons)))

    @routes.get("/events", summary="A line whenever the state has changed")
    async def events(after: Annotated[int, Query(ge=0)] = 0) -> Response:
        async def lines() -> AsyncIterator[str]:
            async for version in lessons.news(after):
                yield json.dumps({"version": version}) + "\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    @routes.get("/curve", summary="Accuracy by the number of images a class")
    async def curve() -> Response:
        points = await lessons.curve()
        return json_response({"points": [{"images": size, "accuracy": share} for size, share in points]})


def _add_actions(routes: APIRouter, service: Service, lessons: Lessons) -> None:
    folder = lessons.classroom.lesson.folder

    @routes.post("/actions", summary="Move, remove, and change classes")
    async def act(action: Action) -> Response:
        await _changing(lessons, lambda: _carry_out(lessons, action))
        return json_response({"done": action.what})

    @routes.post("/undo", summary="Take the last gesture back")
    async def undo() -> Response:
        undone = await _changing(lessons, folder.undo)
        return json_response({"undone": [{"what": entry.what, **entry.about} for entry in undone]})

    @routes.post("/rescan", summary="Look at the folder again, which others may have changed")
    async def rescan() -> Response:
        await _changing(lessons, folder.rescan)
        return json_response({"images": len(folder.items)})

    @routes.post("/images", summary="Put an image into a class, or the tray")
    async def add(
        request: Request,
        name: Annotated[str, Query(max_length=1000)] = "",
        label: Annotated[str | None, Query(max_length=1000)] = None,
        gesture: Annotated[str, Query(max_length=64)] = "",
    ) -> Response:
        """The body is the image. One that is there already is not put in again: 'present' says where it is."""
        if len(folder.items) >= MOST:
            rule = f"holds {MOST:,} images, which is all that can be taught by"
            raise RefusedError(413, "folder full", "the folder", rule, "remove some first")
        body = await service.body(request)
        digest = hashlib.sha256(body).digest()
        with _told():
            square, pool5 = await lessons.see(service.decoders, body)
        await lessons.keep(digest, square, pool5)

        def put() -> tuple[Item, bool]:
            known = next((item for item in folder.items.values() if item.digest == digest), None)
            return (known, True) if known else (folder.add(body, name, label, gesture), False)

        item, present = await _changing(lessons, put)
        return json_response({"number": item.number, "label": item.label, "present": present})


def _carry_out(lessons: Lessons, action: Action) -> None:
    folder = lessons.classroom.lesson.folder
    if action.what in ("move", "remove"):
        known = {item.number: item for item in folder.items.values()}
        items = [known[number] for number in dict.fromkeys(action.images) if number in known]
        if len(items) < len(set(action.images)):
            raise _gone("some of the images")
        folder.move(items, action.label, action.gesture) if action.what == "move" else folder.remove(
            items, action.gesture
        )
        return
    if action.label is None:
        raise RefusedError(422, "bad parameter", "label null", "names no class", "name one")
    if action.what == "add-class":
        folder.add_class(action.label, action.gesture)
    elif action.what == "delete-class":
        folder.delete_class(action.label, action.gesture)
    else:
        change = folder.rename_class if action.what == "rename" else folder.merge
        change(action.label, action.to, action.gesture)


def _gone(what: str) -> RefusedError:
    return RefusedError(404, "no image", what, "is not in the folder any more", "look at what is there now")


async def _changing(lessons: Lessons, work: Callable[[], T]) -> T:
    """Run what changes the folder; where the disk disagrees, look at the folder again. Raises RefusedError."""
    with _told():
        try:
            return await lessons.do(work)
        except FileNotFoundError as error:
            await lessons.do(lessons.classroom.lesson.folder.rescan)
            raise _gone(Path(error.filename or "a file").name) from None
        finally:
            lessons.changed()


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the disk, or an image, has against a request into a response. Raises RefusedError."""
    try:
        yield
    except ClassNameError as error:
        raise RefusedError(422, f"name {error.kind}", error.value, error.rule, error.remedy) from None
    except ImageError as error:
        raise RefusedError(422, "bad image", error.value, error.rule, error.remedy) from None
    except DataError as error:
        raise RefusedError(409, "bad folder", error.value, error.rule, error.remedy) from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        rule = "is full" if full else f"refuses it ({error.strerror or error})"
        remedy = "free space; nothing has changed" if full else "check its permissions; nothing has changed"
        raise RefusedError(507, "disk", "the folder's disk", rule, remedy) from None


def _add_images(routes: APIRouter, service: Service, lessons: Lessons) -> None:
    def found(number: int) -> Item:
        items = list(lessons.classroom.lesson.folder.items.values())
        if (item := next((item for item in items if item.number == number), None)) is None:
            raise _gone(f"image {number}")
        return item

    @routes.get("/images/{number}/thumbnail", summary="The square that the network sees, small")
    async def thumbnail(number: int) -> Response:
        with _told():
            data = await lessons.thumbnail(service.decoders, found(number))
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})

    @routes.get("/images/{number}/square", summary="The square that the network sees")
    async def square(number: int) -> Response:
        with _told():
            pixels, _ = await lessons.see(service.decoders, await lessons.read(found(number)))
        return Response(await asyncio.to_thread(jpeg, pixels, SHOWN), media_type="image/jpeg")

    @routes.get("/images/{number}/why", summary="What an image is taken for, and why")
    async def why(number: int, label: Annotated[str | None, Query(max_length=1000)] = None) -> Response:
        item = found(number)
        with _told():
            _, pool5 = await lessons.see(service.decoders, await lessons.read(item))
        return json_response(await lessons.do(lambda: teach_json.explained(lessons, pool5, label, item)))

    @routes.post("/answers", summary="What an image is taken for, and why, without keeping it")
    async def answers(request: Request, label: Annotated[str | None, Query(max_length=1000)] = None) -> Response:
        body = await service.body(request)
        with _told():
            _, pool5 = await lessons.see(service.decoders, body)
        return json_response(await lessons.do(lambda: teach_json.explained(lessons, pool5, label)))


def _add_downloads(routes: APIRouter, lessons: Lessons) -> None:
    @routes.get("/download/model", summary="The model file of what was taught")
    async def model() -> Response:
        return await _download(lessons, "taught.safetensors", lambda path: None)

    @routes.get("/download/onnx", summary="The same as ONNX")
    async def onnx() -> Response:
        return await _download(lessons, "taught.onnx", lambda path: _export(path))

    @routes.get("/download/folder", summary="The labelled images and their list, as a ZIP")
    async def folder() -> Response:
        files = await lessons.do(lambda: list(workflows.files_of(lessons.classroom.lesson.folder)))
        headers = {"Content-Disposition": 'attachment; filename="taught.zip"'}
        return StreamingResponse(_zipped(files), media_type="application/zip", headers=headers)


async def _download(lessons: Lessons, name: str, export: Callable[[Path], None]) -> Response:
    """The model file, or what `export` writes beside it, from a folder of its own."""
    model = await lessons.do(lessons.classroom.model)
    place = Path(tempfile.mkdtemp(prefix="vgglass-"))

    def write() -> None:
        modelfile.save(model, place / "taught.safetensors")
        export(place / "taught.safetensors")

    with ExitStack() as failed:
        failed.callback(shutil.rmtree, place, ignore_errors=True)
        try:
            await asyncio.to_thread(write)
        except ModelFileError as error:
            raise RefusedError(507, "disk", error.value, error.rule, error.remedy) from None
        failed.pop_all()
    removal = BackgroundTask(shutil.rmtree, place, ignore_errors=True)
    return FileResponse(place / name, media_type="application/octet-stream", filename=name, background=removal)


def _export(path: Path) -> None:
    workflows.export(path, path.with_suffix(".onnx"))


class _Pipe:
    """A file to write to whose bytes are taken out at once."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        return data


def _zipped(files: Iterable[tuple[str, Path]]) -> Iterator[bytes]:
    """A ZIP, file after file; what was moved since it was listed is left out."""
    pipe = _Pipe()
    with zipfile.ZipFile(cast(IO[bytes], pipe), "w") as archive:  # it can't go back: sizes follow the data
        for name, path in files:
            try:
                data = path.read_bytes()
            except OSError:
                continue
            archive.writestr(name, data)
            yield pipe.take()
    yield pipe.take()
