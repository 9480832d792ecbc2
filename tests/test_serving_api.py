"""What a client is told: /predict, the Open Inference Protocol by the real client, documents, metrics, log lines."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

import vgglass
from familiar_models import fitted
from glass_subjects import CLASSES, photograph
from served import JPEG, Served, encoded, form, photographs, save_model
from vgglass import modelfile
from vgglass.server.access import SECURITY_HEADERS
from vgglass.server.routes.predict import TEXT

THRESHOLD, APART = 0.24, 1.0  # of the probability, and of what is unfamiliar


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = save_model(tmp_path_factory.mktemp("api") / "tiny.safetensors", threshold=THRESHOLD)
    modelfile.save(fitted(modelfile.load(path), APART), path)
    return path


@pytest.fixture(scope="module")
def server(file: Path) -> Iterator[Served]:
    with Served(file.parent, file) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"localhost:{server.port}") as client:
        yield client


@pytest.fixture(scope="module")
def expected(file: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[tuple[str, float], ...]]:
    """What `vgglass.predict` says of the photographs."""
    folder = tmp_path_factory.mktemp("photographs")
    for index, image in enumerate(photographs(9)):
        (folder / f"{index}.jpg").write_bytes(image)
    return [row.top for row in vgglass.predict(file, [folder], top=len(CLASSES))]


def test_a_form_is_answered_as_predict_answers(server: Served, file: Path, expected: list) -> None:  # type: ignore[type-arg]
    images = photographs(9)
    answer = server.ask("POST", "/predict?top=7", *form([(f"{i}.jpg", image) for i, image in enumerate(images)])).json
    assert answer["model"]["digest"] == modelfile.load_record(file).digest
    assert [row["name"] for row in answer["images"]] == [f"{index}.jpg" for index in range(9)]
    for row, top in zip(answer["images"], expected, strict=True):
        assert [each["class"] for each in row["top"]] == [name for name, _ in top]
        assert [each["probability"] for each in row["top"]] == pytest.approx([share for _, share in top], rel=1e-5)
        assert row["unsure"] == (top[0][1] < THRESHOLD)
        assert row["unfamiliar"] == (row["distance"] > 1)
    assert {row["unsure"] for row in answer["images"]} == {True, False}, "the threshold divides these photographs"
    assert set(answer["timings"]) == {"decoded", "waited", "computed", "received", "total"}


def test_a_raw_body_is_one_image_whatever_it_is_called(server: Served, expected: list) -> None:  # type: ignore[type-arg]
    curl, httpie = "application/x-www-form-urlencoded", "application/json"
    for kind in ("image/jpeg", "application/octet-stream", "image/whatever; q=1", curl, httpie, "text/plain", None):
        headers = {} if kind is None else {"Content-Type": kind}
        answer = server.ask("POST", "/predict?top=1", photographs(1)[0], headers).json
        (row,) = answer["images"]
        assert row["top"] == [{"class": expected[0][0][0], "probability": pytest.approx(expected[0][0][1], rel=1e-5)}]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_no_image_begins_as_text(kind: str) -> None:
    assert not TEXT.issuperset(encoded(photograph(40, 50), kind)[:32])


def test_text_is_told_how_to_send_an_image(server: Served) -> None:
    for kind, body in (
        ("application/x-www-form-urlencoded", b"image=photo.jpg"), ("application/json", b'{"image": "aGk="}'),
        ("text/plain", "照片".encode()), ("text/html", b"<p>"), ("application/x-www-form-urlencoded", b""),
    ):  # fmt: skip
        reply = server.ask("POST", "/predict", body, {"Content-Type": kind})
        rule = "is text, no image; send one as curl -F image=@photo.jpg or curl --data-binary @photo.jpg does."
        assert (reply.status, reply.json["error"]) == (415, f"the body, Content-Type '{kind}': {rule}")


@pytest.mark.parametrize(
    "path", ["/predict", "/v2/models/tiny/infer", "/v2/models/tiny/versions/1/infer", "/glass/images"]
)
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "zstd"])
def test_an_encoded_body_is_refused_by_its_encoding(server: Served, path: str, encoding: str) -> None:
    reply = server.ask("POST", path, gzip.compress(b"{}"), JPEG | {"Content-Encoding": encoding})
    assert (reply.status, reply.headers["accept-encoding"]) == (415, "identity")
    assert reply.json["error"] == f"Content-Encoding '{encoding}': is not read; send the body as it is."


def test_one_unreadable_image_fails_no_other(server: Served) -> None:
    good = photographs(1)[0]
    reply = server.ask("POST", "/predict", *form([("a.jpg", good), ("<b>.jpg", b"no image"), ("c.jpg", good[:-400])]))
    first, second, third = reply.json["images"]
    assert reply.status == 200
    assert "top" in first
    assert second["name"] == "<b>.jpg"
    assert second["error"]["type"] == "ImageError"
    assert second["error"]["message"].startswith("not an image that vgglass reads (JPEG, PNG")
    assert "damaged" in third["error"]["message"]
    reply = server.predict(b"no image")
    assert reply.status == 422
    assert "error" in reply.json["images"][0]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "message"),
    [
        ("POST", "/predict?top=0", b"x", JPEG, 422, "top '0': Input should be greater than or equal to 1; see /docs."),
        ("POST", "/predict?top=x", b"x", JPEG, 422, "top 'x': Input should be a valid integer"),
        (
            "POST",
            "/predict",
            b"{}",
            {"Content-Type": "application/json"},
            415,
            "Content-Type 'application/json': is text",
        ),
        ("POST", "/predict", b"x", {}, 415, "the body, Content-Type '': is text, no image; send one as curl -F"),
        ("POST", "/predict", b"x", JPEG | {"Content-Encoding": "gzip"}, 415, "Content-Encoding 'gzip': is not read"),
        (
            "POST",
            "/predict",
            *form([]),
            400,
            "the form: holds no files; send multipart/form-data as curl -F image=@photo.jpg does.",
        ),
        ("GET", "/predict", None, {}, 405, "GET '/predict': Method Not Allowed; see /docs."),
        ("GET", "/nothing", None, {}, 404, "GET '/nothing': Not Found; see /docs."),
        ("GET", "/v2/models/other", None, {}, 404, "model 'other': is not served here; ask for 'tiny'."),
        ("GET", "/v2/models/tiny/versions/2", None, {}, 404, "version '2': is not served here; ask for '1'."),
        ("GET", "/v2/models/tiny/versions/2/ready", None, {}, 404, "version '2': is not served here; ask for '1'."),
        ("POST", "/v2/models/tiny/versions/x/infer", b"{}", {}, 404, "version 'x': is not served here; ask for '1'."),
        ("GET", "/v2/models/other/versions/1", None, {}, 404, "model 'other': is not served here; ask for 'tiny'."),
    ],
)
def test_refusals_name_value_rule_and_remedy(
    server: Served, method: str, path: str, body: bytes | None, headers: dict[str, str], status: int, message: str
) -> None:
    reply = server.ask(method, path, body, headers)
    assert reply.status == status
    assert message in reply.json["error"]
    assert set(reply.json) == {"error", "type"}


def test_refusals_are_chinese_where_that_is_asked_for(server: Served) -> None:
    chinese = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}
    for path, sentence in {
        "/nothing": "GET '/nothing'：不存在；请见 /docs。",
        "/v2/models/other": "模型 'other'：不在这里提供；请用 'tiny'。",
    }.items():
        reply = server.ask("GET", path, None, chinese)
        assert (reply.status, reply.json["error"]) == (404, sentence)
    foreign = server.ask(
        "POST", "/predict", b"x", JPEG | chinese | {"Sec-Fetch-Site": "cross-site"}
    )  # before any route
    assert foreign.json["error"] == "Sec-Fetch-Site: cross-site：来自其他网站的页面；请不要从页面访问。"
    parts = form([("a.jpg", photographs(1)[0]), ("b.jpg", b"\xff\xd8\xff\xe0")])
    told = server.ask("POST", "/predict", parts[0], {**parts[1], **chinese}).json["images"][1]["error"]["message"]
    assert told.startswith("已损坏（第一次扫描之前没有帧）；请替换或删除它")
    english = server.ask("GET", "/nothing", None, {"Accept-Language": "en-GB,zh;q=0.5"})
    assert english.json["error"] == "GET '/nothing': Not Found; see /docs."


def test_documents_ask_no_other_machine(server: Served) -> None:
    paths = set(server.ask("GET", "/openapi.json").json["paths"])
    assert {path for path in paths if not path.startswith(("/glass/", "/watch/"))} == {
        "/predict", "/v2", "/v2/models/{name}", "/v2/models/{name}/ready", "/v2/models/{name}/infer",
        "/health/live", "/health/ready", "/metrics", "/card",
    }  # fmt: skip
    for path in ("/", "/docs"):
        reply = server.ask("GET", path)
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        assert not re.search(rb"(src|href)=.?(http|//)|<script>|style=", reply.body)
    assert all(path.encode() in reply.body for path in paths)


def test_every_response_bears_the_headers_that_browsers_heed(server: Served) -> None:
    for reply in (server.ask("GET", "/"), server.ask("GET", "/no"), server.predict(b""), server.ask("PUT", "/metrics")):
        assert {name: reply.headers.get(name.lower()) for name in SECURITY_HEADERS} == SECURITY_HEADERS
        assert "server" not in reply.headers


def test_triton_reads_the_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert not client.is_model_ready("other")
    for version in client.get_model_metadata("tiny")["versions"]:
        assert client.is_model_ready("tiny", version)
        assert client.get_model_metadata("tiny", version) == client.get_model_metadata("tiny")
    assert not client.is_model_ready("tiny", "2")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    about = client.get_model_metadata("tiny")
    assert about["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert about["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, len(CLASSES)]}]


def ordered(top: tuple[tuple[str, float], ...]) -> list[float]:
    return [dict(top)[name] for name in CLASSES]


@pytest.mark.parametrize("binary", [True, False])
def test_triton_sends_files(client: triton.InferenceServerClient, expected: list, binary: bool) -> None:  # type: ignore[type-arg]
    tensor = triton.InferInput("image", [9], "BYTES")
    tensor.set_data_from_numpy(np.array(photographs(9), object), binary_data=True)
    outputs = [triton.InferRequestedOutput("probabilities", binary_data=binary)]
    for asked, version in ((outputs, ""), (None, "1")):
        found = client.infer("tiny", [tensor], version, outputs=asked, request_id="7")
        assert found.get_response()["id"] == "7"
        rows = found.as_numpy("probabilities")
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, [ordered(top) for top in expected], rtol=1e-5)


@pytest.mark.parametrize("binary", [True, False])
def test_triton_sends_pixels(client: triton.InferenceServerClient, server: Served, binary: bool) -> None:
    pixels = photograph(70, 90)[None]
    tensor = triton.InferInput("image", pixels.shape, "UINT8")
    tensor.set_data_from_numpy(pixels, binary_data=binary)
    rows = client.infer("tiny", [tensor]).as_numpy("probabilities")
    top = server.predict(encoded(pixels[0], "PNG"), "?top=7").json["images"][0]["top"]
    np.testing.assert_allclose(rows[0], ordered(tuple((x["class"], x["probability"]) for x in top)), rtol=1e-5)


def test_triton_is_told_what_is_wrong(client: triton.InferenceServerClient) -> None:
    tensor = triton.InferInput("image", [2], "BYTES")
    tensor.set_data_from_numpy(np.array([photographs(1)[0], b"no image"], object))
    with pytest.raises(InferenceServerException, match="image 1: not an image that vgglass reads"):
        client.infer("tiny", [tensor])
    pixels = triton.InferInput("image", [1, 4, 4, 1], "UINT8")
    pixels.set_data_from_numpy(np.zeros((1, 4, 4, 1), np.uint8))
    with pytest.raises(InferenceServerException, match="not an input of this model, which sees 3 channels"):
        client.infer("tiny", [pixels])
    with pytest.raises(InferenceServerException, match="Content-Encoding 'gzip': is not read; send the body as it is"):
        client.infer("tiny", [tensor], request_compression_algorithm="gzip")


def test_log_lines_and_metrics_tell_of_each_request_and_of_no_image(server: Served) -> None:
    before, image = server.metrics(), photographs(1)[0]
    server.predict(image)
    server.predict(b"no image")
    server.ask("POST", "/predict", b"x")
    server.ask("GET", "/v2/models/tiny")
    server.ask("GET", "/%0A%1B[31m")
    after = server.metrics()
    grown = {name: after[name] - before.get(name, 0) for name in after}
    for status in (200, 422, 415):
        assert grown[f'vgglass_requests_total{{method="POST",path="/predict",status="{status}"}}'] == 1
    assert grown['vgglass_refused_total{reason="wrong type"}'] == 1
    assert grown["vgglass_unreadable_images_total"] == 1
    assert grown["vgglass_batch_images_count"] == grown["vgglass_batch_images_sum"] == 1
    assert after["vgglass_queue_images"] == 0
    assert grown['vgglass_requests_total{method="GET",path="other",status="404"}'] == 1
    assert grown['vgglass_requests_total{method="GET",path="/v2/models/{name}",status="200"}'] == 1
    *_, good, bad, wrong, _, odd = [line for line in server.lines("request") if line["path"] != "/metrics"]
    assert (good["status"], good["images"], good["bytes"]) == (200, 1, len(image))
    assert (bad["status"], bad["images"], wrong["status"], wrong["reason"]) == (422, 1, 415, "wrong type")
    assert odd["path"] == "/\n\x1b[31m"
    raw = server.log.read_bytes()
    assert b"\x1b" not in raw
    assert all(json.loads(line) for line in raw.splitlines())
