"""POST /predict: images as multipart form data or one as the raw body; returns class names and probabilities."""

import asyncio
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header
from starlette.responses import Response

from vgglass.errors import ImageError
from vgglass.inference.predictor import Predictor
from vgglass.locale.messages import translated
from vgglass.modelfile import Record
from vgglass.server.admission import Row, Service
from vgglass.server.documentation import PREDICTION, PREDICTIONS
from vgglass.server.refusals import RefusedError, asked_language, json_response

FORM = "multipart/form-data"
REMEDY = f"send {FORM} as curl -F image=@photo.jpg does"
IMAGES = ("image/", "application/octet-stream")
TEXT = frozenset({*b"\t\r\n", *range(0x20, 0x100)})  # the first bytes of every image format include others

logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # the error response reports the same


@dataclass(frozen=True)
class Upload:
    """An uploaded image.

    name  as given by the client: untrusted, to be shown only as text
    """

    name: str
    data: bytes


def router(service: Service) -> APIRouter:
    routes = APIRouter()

    @routes.post("/predict", summary="Name what is in images", openapi_extra=PREDICTION, responses=PREDICTIONS)
    async def predict(
        request: Request, top: Annotated[int, Query(ge=1, le=1000, description="Answers an image.")] = 5
    ) -> Response:
        """One row an image, in order. An image that can't be read has an 'error' in its row, and fails no other;
        where none can be read the status is 422."""
        began = time.perf_counter()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await service.body(request)
        received = time.perf_counter() - began
        if kind == FORM:  # in a thread: parsing megabytes would block the event loop
            form = request.headers["content-type"], body, service.batcher.capacity
            images = await asyncio.to_thread(uploads, *form)
        else:
            images = [_raw_upload(kind, body)]
        predictor = service.models.current
        lang = asked_language(request.scope)
        rows = await service.answer(request, predictor, [image.data for image in images])
        answer = {
            "model": _model_json(service.models.name, predictor),
            "images": [
                _image_json(image.name, row, predictor.record, top, lang)
                for image, row in zip(images, rows, strict=True)
            ],
            "timings": _timings(rows) | {"received": received, "total": time.perf_counter() - began},
        }
        return json_response(answer, 422 if all(isinstance(row, ImageError) for row in rows) else 200)

    return routes


def _raw_upload(kind: str, body: bytes) -> Upload:
    """Take the raw body as an image by its content, as curl and requests send a misleading Content-Type or none.

    Raises RefusedError.
    """
    if not kind.startswith(IMAGES) and TEXT.issuperset(body[:32]):
        remedy = "send one as curl -F image=@photo.jpg or curl --data-binary @photo.jpg does"
        raise RefusedError(415, "wrong type", f"the body, Content-Type {kind[:100]!r}", "is text, no image", remedy)
    return Upload("", body)


def uploads(content_type: str, body: bytes, most: int) -> list[Upload]:
    """Return the files of a form in order, ignoring other fields. Raises RefusedError.

    most  maximum number of parts, files and fields together
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise _bad("names no boundary", "Content-Type of the form")
    parts: list[Field | File] = []
    ended: list[bool] = []
    # Checked before parsing: the parser takes seconds for megabytes of boundaries or of near-boundaries.
    delimiter = b"\r\n--" + boundary
    if body.count(delimiter) > most + 1:  # one more than parts: the closing delimiter
        raise _too_many(most)
    if re.search(re.escape(delimiter) + rb"(?!\r\n|--)", body):
        raise _bad("has a boundary that neither begins a part nor ends the form")
    config = {"MAX_MEMORY_FILE_SIZE": len(body)}  # keep files in memory
    try:
        FormParser(FORM, parts.append, parts.append, lambda: ended.append(True), boundary, config=config).write(body)
    except FormParserError as error:
        raise _bad(f"can't be read ({str(error)[:100]})") from None
    if len(parts) > most:
        raise _too_many(most)
    if not ended:
        raise _bad("ends before its last boundary")
    files = [part for part in parts if isinstance(part, File)]
    if not files:
        raise _bad("holds no files")
    return [Upload((file.file_name or b"").decode(errors="replace"), _content(file)) for file in files]


def _too_many(most: int) -> RefusedError:
    rule = f"more than {most} parts"
    return RefusedError(413, "too many parts", "the form", rule, f"send at most {most} images in a request")


def _bad(rule: str, value: str = "the form") -> RefusedError:
    return RefusedError(400, "bad form", value, rule, REMEDY)


def _content(file: File) -> bytes:
    file.file_object.seek(0)
    return file.file_object.read()


def _model_json(name: str, predictor: Predictor) -> dict[str, Any]:
    record = predictor.record
    about = {"name": name, "architecture": record.architecture.name, "digest": record.digest, **predictor.settings}
    return about | ({} if record.reject_threshold is None else {"reject_threshold": record.reject_threshold})


def _image_json(name: str, row: Row | ImageError, record: Record, top: int, lang: str) -> dict[str, Any]:
    if isinstance(row, ImageError):
        message = translated(f"{row.rule}; {row.remedy}", lang)
        return {"name": name, "error": {"type": "ImageError", "message": message}}
    probabilities = row.probabilities
    ranked = np.argsort(-probabilities, kind="stable")[:top]
    answers = [{"class": record.classes[index], "probability": float(probabilities[index])} for index in ranked]
    return {"name": name, "top": answers, **row.answer.doubts(record)}


def _timings(rows: Sequence[Row | ImageError]) -> dict[str, float]:
    """Return the maximum over the images, which run in parallel, of each time in seconds."""
    known = [row for row in rows if isinstance(row, Row)]
    return {name: max((getattr(row, name) for row in known), default=0.0) for name in ("decoded", "waited", "computed")}
