"""What the internet sends: each is refused by a typed 4xx, nothing hangs, and the server answers afterwards."""

import io
import json
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from glass_subjects import photograph
from served import JPEG, Served, encoded, form, parsed, photographs, request, save_model
from vgglass.server.refusals import RefusedError
from vgglass.server.routes.inference_protocol import PIXELS, REMEDY, parse
from vgglass.server.routes.predict import Upload, uploads

MEBI = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("hostile")
    with Served(folder, save_model(folder / "tiny.safetensors"), "--timeout", 4) as server:
        yield server
        assert not server.lines("error"), "nothing was our mistake"
        assert not any(line["status"] >= 500 for line in server.lines("request"))
        assert server.stop() == 0


@pytest.fixture(autouse=True)
def still_ready(server: Served) -> Iterator[None]:
    yield
    assert server.ask("GET", "/health/ready").status == 200
    assert server.predict(photographs(1)[0]).status == 200


def png_of(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds nearly nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


def bomb() -> bytes:
    """25 million pixels, within the limit, in some kilobytes: they are decoded."""
    file = io.BytesIO()
    Image.new("1", (5000, 5000)).save(file, "PNG")
    return file.getvalue()


PHOTOGRAPH = photographs(1)[0]
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
IMAGES = {
    "nothing": (b"", "the file is empty"),
    "zero bytes": (bytes(1000), "not an image that vgglass reads"),
    "truncated": (PHOTOGRAPH[: len(PHOTOGRAPH) // 2], "damaged"),
    "head alone": (PHOTOGRAPH[:20], "damaged (no frame is started"),
    "declared bomb": (png_of(50_000, 50_000), "declares 50000x50000 pixels: decoding would take"),
    "declared largest": (png_of(2**31 - 1, 2**31 - 1), "no side may be longer than 65,535"),
    "strip": (encoded(photograph(1, 65_000)), "too narrow to bring its shorter side to 64"),
    "SVG": (SVG, "not an image that vgglass reads"),
    "HTML": (b"<html><img src=x onerror=alert(1)>", "not an image that vgglass reads"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image that vgglass reads"),
    "ZIP before JPEG": (b"PK\x03\x04" + PHOTOGRAPH, "not an image that vgglass reads"),
    "PNG without pixels": (png_of(100, 100), "damaged"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_bad_images_are_told_why(server: Served, name: str) -> None:
    data, message = IMAGES[name]
    reply = server.predict(data)
    assert reply.status == 422
    assert message in reply.json["images"][0]["error"]["message"]
    looked = server.ask("POST", "/glass/images", data, JPEG)
    assert (looked.status, looked.json["type"]) == (422, "bad image")
    assert message in looked.json["error"]


def test_what_merely_looks_odd_is_decoded(server: Served) -> None:
    polyglot = PHOTOGRAPH + b"PK\x03\x04<script>alert(1)</script>"
    assert "top" in server.predict(polyglot).json["images"][0]
    assert "top" in server.ask("POST", "/predict", encoded(photograph(), "PNG"), JPEG).json["images"][0]
    assert "top" in server.predict(bomb()).json["images"][0]


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_over_the_limit(server: Served, chunked: bool) -> None:
    size = 33 * MEBI
    head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nConnection: close\r\n"
    if chunked:
        chunk = b"100000\r\n" + bytes(MEBI) + b"\r\n"
        data = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 33 + b"0\r\n\r\n"
    else:
        data = f"{head}Content-Length: {size}\r\n\r\n".encode() + bytes(size)
    reply = parsed(server.send(data))
    assert reply.status == 413
    assert "the body: more than 32,768 KiB, which is all that this server takes" in reply.json["error"]
    whole = server.predict(PHOTOGRAPH + bytes(31 * MEBI))
    assert whole.status == 200, "below the limit"


def test_ten_thousand_parts(server: Served) -> None:
    reply = server.ask("POST", "/predict", *form([(f"{index}.jpg", b"x") for index in range(10_000)]))
    assert reply.status == 413
    assert "the form: more than 64 parts; send at most 64 images in a request." in reply.json["error"]


PART = b'--a\r\nContent-Disposition: form-data; name="x"; filename="y"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"--a--", "multipart/form-data", "names no boundary"),
        (b"", "multipart/form-data; boundary=a", "ends before its last boundary"),
        (b"--a\r\n\r\n", "multipart/form-data; boundary=a", "Field name not found in Content-Disposition"),
        (
            b"--a\r\nX: 1\r\n\r\n\r\n--a--",
            "multipart/form-data; boundary=a",
            "the form: can't be read (Field name not found in Content-Disposition",
        ),
        (
            b"--a\r\nno end of headers\r\n--a--",
            "multipart/form-data; boundary=a",
            "the form: can't be read (Found invalid character",
        ),
        (b"\r\n" * MEBI, "multipart/form-data; boundary=a", "ends before its last boundary"),
        # What the parser would go through byte by byte.
        (PART + b"\r\n--aX" * 9, "multipart/form-data; boundary=a", "a boundary that neither begins a part nor ends"),
        (PART + b"\r\n--a" + b" " * MEBI, "multipart/form-data; boundary=a", "a boundary that neither begins a part"),
        (b"x", f"multipart/form-data; boundary={'a' * 300}", "can't be read (Boundary length 300 exceeds"),
    ],
)
def test_bad_forms(server: Served, body: bytes, kind: str, message: str) -> None:
    reply = server.ask("POST", "/predict", body, {"Content-Type": kind})
    assert reply.status == 400
    assert message in reply.json["error"]


TENSOR = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["AAAA"]}
BAD_REQUESTS = {
    "no JSON": (b"\xff\x00", "JSONDecodeError|UnicodeDecodeError"),
    "nothing": (b"", "JSONDecodeError"),
    "a list": (b"[]", "TypeError"),
    "deep": (b"[" * 100_000, "RecursionError|TypeError|JSONDecodeError"),
    "long number": (b'{"id":' + b"9" * 10_000 + b"}", "ValueError"),
    "no inputs": (b"{}", "KeyError"),
    "empty": (b'{"inputs": []}', "are not 'image' alone"),
}
BAD_TENSORS = {
    "shape": ({"shape": [2]}, "shape [2]: and 1 elements came"),
    "negative": ({"shape": [-1]}, "has a side that is no positive number"),
    "true": ({"shape": [True]}, "has a side that is no positive number"),
    "huge": ({"datatype": "UINT8", "shape": [10**6, 10**6, 10**6, 3], "data": [1]}, "and 1 numbers came"),
    "base64": ({"data": ["*"]}, "is not base64"),
    "numbers": ({"data": [1]}, "is no array of strings"),
    "too large a number": ({"datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [1, 2, 256]}, "data[2] = 256"),
    "datatype": ({"datatype": "FP32"}, "FP32[1]: is not an input of this model, which sees 3 channels"),
    "binary": ({"parameters": {"binary_data_size": 7}}, "binary_data_size 7: and 0 bytes follow the JSON"),
    "name": ({"name": "picture"}, "are not 'image' alone"),
}


@pytest.mark.parametrize("name", [*BAD_REQUESTS, *BAD_TENSORS])
def test_bad_inference_requests(server: Served, name: str) -> None:
    if name in BAD_REQUESTS:
        body, message = BAD_REQUESTS[name]
    else:
        changes, message = BAD_TENSORS[name]
        body = json.dumps({"inputs": [TENSOR | changes]}).encode()  # type: ignore[operator]
    reply = server.ask("POST", "/v2/models/tiny/infer", body)
    assert reply.status == 400
    assert any(part in reply.json["error"] for part in message.split("|"))
    assert any(remedy in reply.json["error"] for remedy in (REMEDY, PIXELS))


@pytest.mark.parametrize("length", ["-1", "99999", "x", "9" * 30, "0"])
def test_bad_lengths_of_the_inference_header(server: Served, length: str) -> None:
    body = json.dumps({"inputs": [TENSOR]}).encode()
    headers = {"Inference-Header-Content-Length": length}
    assert server.ask("POST", "/v2/models/tiny/infer", body, headers).status == 400


def test_more_images_than_the_queue_holds(server: Served) -> None:
    body = json.dumps({"inputs": [TENSOR | {"shape": [65], "data": ["AAAA"] * 65}]}).encode()
    reply = server.ask("POST", "/v2/models/tiny/infer", body)
    assert reply.status == 413
    assert "65 images: the queue holds 64; send at most 64 images in a request." in reply.json["error"]


FLOODS = {
    "many headers": b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    + b"".join(b"X-%d: 1\r\n" % i for i in range(10_000)),
    "a long header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * MEBI,
    "a long line": b"GET /" + b"a" * MEBI,
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "two lengths": b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("name", FLOODS)
def test_bad_heads_are_refused_and_the_connection_closed(server: Served, name: str) -> None:
    answer = server.send(FLOODS[name] + b"\r\n")
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))


def test_a_head_that_is_just_too_large(server: Served) -> None:
    reply = server.ask("GET", "/health/live", headers={f"X-{index}": "a" * 1000 for index in range(20)})
    assert reply.status == 431
    assert "the head of the request: more than 16 KiB; send fewer or shorter headers." in reply.json["error"]
    assert server.ask("GET", "/health/live", headers={f"X-{index}": "a" * 1000 for index in range(12)}).status == 200


@pytest.mark.slow
def test_a_slow_head_and_a_slow_body_are_given_up(server: Served) -> None:
    began = time.monotonic()
    reply = parsed(server.send(request(PHOTOGRAPH)[:-10]))
    assert reply.status == 408
    assert f"{len(PHOTOGRAPH) - 10} bytes of a body: did not arrive in time; send it faster" in reply.json["error"]
    assert server.send(b"POST /predict HTT") == b""
    assert time.monotonic() - began < 30


def test_a_client_that_waits_to_be_told_to_go_on(server: Served) -> None:
    answer = server.send(request(PHOTOGRAPH, "/predict", "Expect: 100-continue"))
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert parsed(answer.partition(b"\r\n\r\n")[2]).status == 200


def test_odd_names_come_back_as_text(server: Served) -> None:
    names = ["<img src=x onerror=alert(1)>", "../../etc/passwd", "猫.jpg", "\udcff", "a\x00b"]
    body, headers = form([("NAME", PHOTOGRAPH)])
    for name in names:
        reply = server.ask("POST", "/predict", body.replace(b"NAME", name.encode(errors="surrogateescape")), headers)
        assert reply.status == 200
        assert reply.headers["content-type"] == "application/json"
        assert reply.body.isascii()


def status(work: Callable[[], object]) -> int:
    """What a request would get by this part of the way: whatever else it raises is our mistake."""
    try:
        work()
    except RefusedError as error:
        return error.status
    return 200


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300), st.sampled_from(["a", '"a b"', "", "a; boundary=b"]), st.integers(1, 4))
def test_any_bytes_are_a_form_or_refused(noise: bytes, boundary: str, most: int) -> None:
    pieces = noise.replace(b"\x01", b"\r\n--a").replace(b"\x02", b"\r\n\r\n").replace(
        b"\x03", b'\r\nContent-Disposition: form-data; name="x"; filename="y"'
    )  # fmt: skip
    found: list[Upload] = []
    assert (
        status(lambda: found.extend(uploads(f"multipart/form-data; boundary={boundary}", b"--a" + pieces, most))) < 500
    )
    assert len(found) <= most


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "inputs", "shape", "data", "parameters", "datatype"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(["inputs", "outputs", "id", "parameters"], JSON)),
    JSON,
    st.binary(),
)
def test_any_json_is_an_inference_request_or_refused(asked: dict[str, object], values: object, tail: bytes) -> None:
    for inputs in (asked.get("inputs"), [values], [{**TENSOR, "data": values}], [{**TENSOR, "shape": values}]):
        text = json.dumps({**asked, "inputs": inputs}).encode()
        assert status(partial(parse, text + tail, str(len(text)), 3)) in (200, 400)


def test_multipart_keeps_every_byte_of_a_file() -> None:
    data = bytes(range(256)) * 4 + b"\r\n--limi\r\n--\r\n"
    body, headers = form([("a b.jpg", data), ("", b"")])
    first, second = uploads(headers["Content-Type"], body, 2)
    assert (first.name, first.data, second.name, second.data) == ("a b.jpg", data, "", b"")
    with pytest.raises(RefusedError, match="more than 1 parts"):
        uploads(headers["Content-Type"], body, 1)
