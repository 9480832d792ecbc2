"""The Open Inference Protocol v2, which KServe and Triton clients speak, with its binary tensor extension.

https://github.com/kserve/open-inference-protocol; the extension is Triton's:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
In: 'image', BYTES[N] of encoded files (in JSON as base64) or UINT8[N,H,W,C]. Out: 'probabilities', FP32[N,K].
"""

import asyncio
import base64
import binascii
import json
import math
import struct
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from vgglass import __version__
from vgglass.errors import ImageError
from vgglass.images import Pixels
from vgglass.server.admission import Row, Service
from vgglass.server.documentation import ERRORS, INFERENCE, INFERENCES
from vgglass.server.refusals import RefusedError, json_response

INPUT, OUTPUT, VERSION = "image", "probabilities", "1"
HEADER = "Inference-Header-Content-Length"
REMEDY = f"send one input {INPUT!r}, BYTES[N] or UINT8[N,H,W,C]"
PIXELS = "send pixels as UINT8, 0..255, as they were decoded: the server normalises them"
NAMES = {bool: "true or false", str: "a string", type(None): "null", list: "an array", dict: "an object"}  # as in JSON


@dataclass(frozen=True)
class Inference:
    """A parsed inference request.

    binary  whether to append the output as bytes after the JSON
    """

    id: str | None
    images: list[bytes | Pixels]
    binary: bool


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/v2", responses=ERRORS)

    @routes.get("", summary="What this server is")
    async def server() -> Response:
        return json_response({"name": "vgglass", "version": __version__, "extensions": ["binary_tensor_data"]})

    @routes.get("/models/{name}/versions/{version}", summary="What the model takes and gives", include_in_schema=False)
    @routes.get("/models/{name}", summary="What the model takes and gives")
    async def metadata(name: str, request: Request) -> Response:
        _require_model(request, service)
        classes = len(service.models.current.record.classes)
        return json_response(
            {
                "name": name,
                "versions": [VERSION],
                "platform": f"vgglass_{service.models.current.settings['engine']}",
                "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
                "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, classes]}],
            }
        )

    @routes.get("/models/{name}/versions/{version}/ready", summary="Whether the model answers", include_in_schema=False)
    @routes.get("/models/{name}/ready", summary="Whether the model answers")
    async def ready(name: str, request: Request) -> Response:
        _require_model(request, service)
        return json_response({"name": name, "ready": True})

    @routes.post("/models/{name}/versions/{version}/infer", summary="Probabilities of images", include_in_schema=False)
    @routes.post(
        "/models/{name}/infer", summary="Probabilities of images", openapi_extra=INFERENCE, responses=INFERENCES
    )
    async def infer(name: str, request: Request) -> Response:
        _require_model(request, service)
        body = await service.body(request)
        predictor = service.models.current
        channels = predictor.record.preprocessing.channels
        # In a thread: parsing a JSON list of millions of numbers would block the event loop.
        asked = await asyncio.to_thread(parse, body, request.headers.get(HEADER), channels)
        rows = await service.answer(request, predictor, asked.images)
        return answer(name, asked, np.stack([_probabilities(index, row) for index, row in enumerate(rows)]))

    return routes


def parse(body: bytes, header_length: str | None, channels: int) -> Inference:
    """Parse a request. Raises RefusedError."""
    try:
        length = len(body) if header_length is None else int(header_length[:20])
        if not 0 <= length <= len(body):
            raise _bad(f"{HEADER} {length}", f"is not within the {len(body)} bytes of the body")
        asked = json.loads(body[:length])
        tensor, binary = _tensor(asked), _wants_binary(asked)
        name = asked.get("id")
        images = _images(tensor, body[length:], channels)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, RefusedError):
            raise
        reason = f"{type(error).__name__}: {error}"[:100]
        raise _bad("the request", f"is not one of the Open Inference Protocol ({reason})") from error
    return Inference(None if name is None else str(name), images, binary)


def answer(name: str, asked: Inference, probabilities: NDArray[np.float32]) -> Response:
    output: dict[str, Any] = {"name": OUTPUT, "datatype": "FP32", "shape": probabilities.shape}
    head: dict[str, Any] = {"model_name": name, "model_version": VERSION, "outputs": [output]}
    if asked.id is not None:
        head["id"] = asked.id
    if not asked.binary:
        output["data"] = probabilities.ravel().tolist()
        return json_response(head)
    data = probabilities.astype("<f4").tobytes()
    output["parameters"] = {"binary_data_size": len(data)}
    text = json.dumps(head).encode()
    return Response(text + data, media_type="application/octet-stream", headers={HEADER: str(len(text))})


def _require_model(request: Request, service: Service) -> None:
    """Require the path's model, and its version if given, to be the served one. Raises RefusedError."""
    served, here = {"name": service.models.name, "version": VERSION}, request.path_params
    for key, given in here.items():
        if given != served[key]:
            value = f"{'model' if key == 'name' else key} {given[:100]!r}"
            raise RefusedError(404, "unknown model", value, "is not served here", f"ask for {served[key]!r}")


def _tensor(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the single input tensor. Raises RefusedError, or TypeError and the like for wrong types."""
    inputs = asked["inputs"]
    if len(inputs) != 1 or inputs[0]["name"] != INPUT:
        raise _bad("inputs", f"are not {INPUT!r} alone")
    for output in asked.get("outputs", []):
        if output["name"] != OUTPUT or "classification" in output.get("parameters", {}):
            raise _bad("outputs", f"are not {OUTPUT!r} as it is")
    tensor: dict[str, Any] = inputs[0]
    return tensor


def _wants_binary(asked: dict[str, Any]) -> bool:
    default = asked.get("parameters", {}).get("binary_data_output", False)
    outputs = asked.get("outputs") or [{}]
    return bool(outputs[0].get("parameters", {}).get("binary_data", default))


def _images(tensor: dict[str, Any], binary: bytes, channels: int) -> list[bytes | Pixels]:
    kind, shape = tensor["datatype"], tensor["shape"]
    size = tensor.get("parameters", {}).get("binary_data_size")
    if not all(type(side) is int and side > 0 for side in shape):
        raise _bad(f"shape {str(shape)[:100]}", "has a side that is no positive number")
    if size is None and binary:
        raise _bad("binary_data_size", f"is missing, and {len(binary)} bytes follow the JSON")
    if size is not None and size != len(binary):
        raise _bad(f"binary_data_size {str(size)[:20]}", f"and {len(binary)} bytes follow the JSON")
    if kind == "BYTES" and len(shape) == 1:
        files = _from_base64(tensor["data"]) if size is None else _from_binary(binary)
        if len(files) != shape[0]:
            raise _bad(f"shape {shape}", f"and {len(files)} elements came")
        return [*files]
    if kind == "UINT8" and len(shape) == 4 and shape[3] == channels:
        pixels = _from_numbers(tensor["data"], shape) if size is None else np.frombuffer(binary, np.uint8)
        if pixels.size != math.prod(shape):
            raise _bad(f"shape {shape}", f"and {pixels.size} numbers came", PIXELS)
        return [*pixels.reshape(shape)]
    rule = f"is not an input of this model, which sees {channels} channels, the last axis"
    raise _bad(f"{str(kind)[:20]}{str(shape)[:100]}", rule, f"{REMEDY}; {PIXELS}")


def _from_numbers(data: Any, shape: list[int]) -> Pixels:
    """Convert integers in 0..255, flat or nested as `shape`, to pixels. Raises RefusedError."""
    numbers = _flatten(data, shape)
    strange = set(map(type, numbers)) - {int, float}
    if strange:
        raise _bad("data", f"holds {NAMES[strange.pop()]} among its numbers", PIXELS)
    try:
        values = np.array(numbers, np.float64)
    except OverflowError:
        raise _bad("data", "holds a number far beyond 0..255", PIXELS) from None
    right = (values >= 0) & (values <= 255) & (values == np.trunc(values))
    if not right.all():
        index = int(np.argmin(right))
        value = f"data[{index}] = {str(numbers[index])[:20]}"
        raise _bad(value, "is no whole number of 0..255 (normalised already?)", PIXELS)
    return values.astype(np.uint8)


def _flatten(data: Any, shape: list[int]) -> list[Any]:
    """Flatten nested lists. Raises RefusedError if their nesting differs from `shape`."""
    if type(data) is list and list not in set(map(type, data)):
        return data
    level = [data]
    for side in shape:
        if set(map(type, level)) != {list} or set(map(len, level)) != {side}:
            raise _bad("data", f"is neither one row of numbers nor nested as the shape {shape}", PIXELS)
        level = list(chain.from_iterable(level))
    return level


def _from_base64(data: Any) -> list[bytes]:
    if type(data) is not list or set(map(type, data)) - {str}:
        raise _bad("data", "is no array of strings, a file in base64 each")
    try:
        return [base64.b64decode(text, validate=True) for text in data]
    except binascii.Error as error:
        raise _bad("data", "is not base64: JSON has no other way to hold a file") from error


def _from_binary(data: bytes) -> list[bytes]:
    """Split elements that are each prefixed with their length (4 bytes, little-endian). Raises RefusedError."""
    files = []
    start = 0
    while start < len(data):
        if len(data) < start + 4:
            raise _bad("BYTES", "end within the length of an element")
        end = start + 4 + struct.unpack_from("<I", data, start)[0]
        if len(data) < end:
            raise _bad("BYTES", "end within an element")
        files.append(data[start + 4 : end])
        start = end
    return files


def _probabilities(index: int, row: Row | ImageError) -> NDArray[np.float32]:
    """Return a row's probabilities. Raises RefusedError for an ImageError: the protocol has no partial results."""
    if isinstance(row, ImageError):
        raise RefusedError(400, "unreadable image", f"image {index}", row.rule, row.remedy)
    return row.probabilities.astype(np.float32)


def _bad(value: str, rule: str, remedy: str = REMEDY) -> RefusedError:
    return RefusedError(400, "bad inference request", value, rule, remedy)
