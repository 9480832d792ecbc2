"""POST /predict: images in a form, or one as the body itself; class names and probabilities come back."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from vgglass.errors import ImageError
from vgglass.inference.predictor import Predictor
from vgglass.modelfile import Record
from vgglass.serving.documentation import PREDICTION, PREDICTIONS
from vgglass.serving.multipart import Part, parts
from vgglass.serving.refusals import RefusedError, json_response
from vgglass.serving.service import Row, Service

FORM = "multipart/form-data"
IMAGES = ("image/", "application/octet-stream")
TEXT = frozenset({*b"\t\r\n", *range(0x20, 0x100)})  # every image's first bytes hold others


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
        images = (
            _images(request.headers["content-type"], body, service.batcher.capacity)
            if kind == FORM
            else [_raw(kind, body)]
        )
        predictor = service.models.current
        rows = await service.answer(request, predictor, [image.data for image in images])
        answer = {
            "model": _model(service.models.name, predictor),
            "images": [_shown(image.name, row, predictor.record, top) for image, row in zip(images, rows, strict=True)],
            "timings": _timings(rows) | {"received": received, "total": time.perf_counter() - began},
        }
        return json_response(answer, 422 if all(isinstance(row, ImageError) for row in rows) else 200)

    return routes


def _raw(kind: str, body: bytes) -> Part:
    """An image that is the body itself, by content: curl calls it a form, requests nothing. Raises RefusedError."""
    if not kind.startswith(IMAGES) and TEXT.issuperset(body[:32]):
        remedy = "send one as curl -F image=@photo.jpg or curl --data-binary @photo.jpg does"
        raise RefusedError(415, "wrong type", f"the body, Content-Type {kind[:100]!r}", "is text, no image", remedy)
    return Part("", body)


def _images(content_type: str, body: bytes, most: int) -> list[Part]:
    images = parts(content_type, body, most)
    if not images:
        raise RefusedError(400, "bad form", "the form", "holds no files", "send them as curl -F image=@photo.jpg does")
    return images


def _model(name: str, predictor: Predictor) -> dict[str, Any]:
    record = predictor.record
    about = {"name": name, "architecture": record.architecture.name, "digest": record.digest, **predictor.settings}
    return about | ({} if record.reject_threshold is None else {"reject_threshold": record.reject_threshold})


def _shown(name: str, row: Row | ImageError, record: Record, top: int) -> dict[str, Any]:
    if isinstance(row, ImageError):
        return {"name": name, "error": {"type": "ImageError", "message": f"{row.rule}; {row.remedy}"}}
    ranked = np.argsort(-row.probabilities, kind="stable")[:top]
    answers = [{"class": record.classes[index], "probability": float(row.probabilities[index])} for index in ranked]
    unsure = {}
    if record.reject_threshold is not None:
        unsure = {"unsure": bool(row.probabilities.max() < record.reject_threshold)}
    return {"name": name, "top": answers, **unsure}


def _timings(rows: Sequence[Row | ImageError]) -> dict[str, float]:
    """The longest of the images, in seconds: they go side by side."""
    known = [row for row in rows if isinstance(row, Row)]
    return {name: max((getattr(row, name) for row in known), default=0.0) for name in ("decoded", "waited", "computed")}
