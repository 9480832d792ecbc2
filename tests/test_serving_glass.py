"""The glass over HTTP says what the glass itself says of the same file and image."""

import base64
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from glass_subjects import CLASSES, model, photograph
from served import JPEG, Reply, Served, encoded
from vgglass import glass, modelfile
from vgglass.architecture import Box
from vgglass.glass import Subject, preference, sheets
from vgglass.glass.steps import Convolution, FullyConnected, MaxPooling, Share
from vgglass.model import VGG
from vgglass.modelfile import ModelFile
from vgglass.server import samples
from vgglass.server.refusals import json_response
from vgglass.server.routes import glass_json, step_json

LAYERS = ["conv2_1", "pool2", "fc6", "fc8"]


def jpeg_scaled(file: ModelFile) -> ModelFile:
    """A JPEG much larger than the network's square is decoded at an eighth of its sides."""
    preprocessing = replace(file.record.preprocessing, jpeg_scaled=True)
    return replace(file, record=replace(file.record, preprocessing=preprocessing, temperature=1.7))


CASES = {
    "lrn": lambda: (model("A-LRN"), encoded(photograph())),
    "normed": lambda: (model("vgg11_bn", seed=3), encoded(photograph(90, 70), "PNG")),
    "grey": lambda: (jpeg_scaled(model("A", channels=1, seed=7)), encoded(photograph(1000, 701))),
}


@dataclass(frozen=True)
class Seen:
    """An image before a server, and before the same model here."""

    server: Served
    subject: Subject
    file: Path
    body: bytes
    put: Reply

    @property
    def id(self) -> str:
        return str(self.put.json["id"])

    def get(self, path: str) -> Reply:
        return self.server.ask("GET", f"/glass/images/{self.id}/{path}")

    def json(self, path: str) -> Any:
        reply = self.get(path)
        assert reply.status == 200, reply.body
        return reply.json

    def floats(self, path: str) -> NDArray[np.float32]:
        return np.frombuffer(self.get(path).body, "<f4")


@pytest.fixture(
    scope="module", params=["lrn", *(pytest.param(case, marks=pytest.mark.slow) for case in ("normed", "grey"))]
)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    file, body = CASES[request.param]()
    path = tmp_path_factory.mktemp("glass") / f"{request.param}.safetensors"
    modelfile.save(file, path)
    with Served(path.parent, path) as server:
        put = server.ask("POST", "/glass/images", body, JPEG)
        assert put.status == 200, put.body
        # Weights where the file has them, as the server's are: matrices at other addresses differ in the last bits.
        network = VGG.from_file(modelfile.load(path), shared=True)
        yield Seen(server, replace(glass.open_subject(path, body), network=network), path, body, put)
        assert not server.lines("error")
        assert server.stop() == 0


def drawn(picture: Mapping[str, Any]) -> tuple[NDArray[np.float64], float]:
    """The values of a picture (H, W), and half a level of it."""
    levels = np.frombuffer(base64.b64decode(picture["levels"]), np.int8).reshape(picture["height"], picture["width"])
    return levels * (picture["end"] / 127), picture["end"] / 254 * (1 + 1e-6)


def require_drawn(picture: Mapping[str, Any], values: NDArray[np.float32]) -> None:
    """Each level stands for its value to within half a level; values beyond the end are cut off there."""
    levels, half = drawn(picture)
    assert np.abs(levels - np.clip(values, -picture["end"], picture["end"])).max() <= half + 1e-5 * np.abs(values).max()


def test_an_image_is_answered_as_predict_answers(seen: Seen) -> None:
    answer, record = seen.put.json, seen.subject.record
    expected = seen.server.predict(seen.body).json
    assert [(row["class"], row["probability"]) for row in answer["top"]] == [
        (row["class"], row["probability"]) for row in expected["images"][0]["top"]
    ]
    assert [record.classes[row["index"]] for row in answer["top"]] == [row["class"] for row in answer["top"]]
    assert answer["digest"] == expected["model"]["digest"] == record.digest
    assert answer["id"] == hashlib.sha256(seen.body).hexdigest()[:32]
    assert (answer["height"], answer["width"]) == seen.subject.original.shape[:2]
    assert answer["placement"] == vars(seen.subject.place)


def test_the_model_is_told_layer_by_layer(seen: Seen) -> None:
    told = seen.server.ask("GET", "/glass/model").json
    assert told["glass"] is True
    assert told["classes"] == list(CLASSES)
    assert told["temperature"] == seen.subject.record.temperature
    assert [layer["name"] for layer in told["layers"]] == ["image", *(layer.name for layer in seen.subject.layers)]
    for layer, expected in zip(told["layers"], glass.walk(seen.subject), strict=True):
        assert layer["shape"] == list(expected.shape)
        assert (layer["kind"], layer["parameters"]) == (expected.kind, expected.parameters)
        field = expected.receptive_field
        assert [layer[name] for name in ("receptive_field", "jump", "first_centre")] == list(astuple(field))
    assert base64.b64decode(told["palettes"]["signed"]) == sheets.palette(signed=True)
    assert base64.b64decode(told["palettes"]["positive"]) == sheets.palette(signed=False)


def test_maps_are_the_networks_byte_for_byte(seen: Seen) -> None:
    """The image too: what a JPEG decoded small gives the network is what the page shows."""
    for view in glass.walk(seen.subject):
        assert seen.get(f"maps/{view.name}").body == view.maps.astype("<f4").tobytes(), view.name
        last = len(view.maps) - 1
        assert seen.get(f"maps/{view.name}?channel={last}").body == view.maps[last].astype("<f4").tobytes()


def test_figures_of_every_layer(seen: Seen) -> None:
    limit = 0.0
    for told, view in zip(seen.json("layers"), glass.walk(seen.subject), strict=True):
        thumbnail, one = told.pop("thumbnail"), seen.json(f"layers/{view.name}")
        assert {name: one[name] for name in told} == told
        assert told.pop("dead") == (None if view.dead is None else list(view.dead))
        strongest = int(view.maps.mean(axis=(1, 2)).argmax())
        figures = [view.minimum, view.mean, view.maximum, view.zeros, strongest]
        assert [told.pop(name) for name in ("minimum", "mean", "maximum", "zeros", "strongest")] == figures
        assert told == {"name": view.name}
        for name, expected in {
            "ends": sheets.reach(view.maps), "minima": view.maps.min(axis=(1, 2)),
            "means": view.maps.mean(axis=(1, 2), dtype=np.float64), "maxima": view.maps.max(axis=(1, 2)),
            "zeros_each": view.channel_zeros,
        }.items():  # fmt: skip
            np.testing.assert_allclose(one[name], expected, rtol=1e-5, err_msg=f"{view.name} {name}")
        means = np.take(one["means"], one["by_activation"])
        assert (np.diff(means) <= 0).all()
        assert sorted(one["by_activation"]) == list(range(len(view.maps)))
        assert max(thumbnail["height"], thumbnail["width"]) <= 56
        if max(view.maps.shape[1:]) <= 56 and view.maps.shape[1] > 1:
            require_drawn(thumbnail, view.maps[strongest])
        if view.kind not in ("image", "softmax"):
            limit = max(limit, float(sheets.reach(view.maps).max()))
    assert seen.json("limit") == {"limit": limit}


@pytest.mark.slow
def test_what_is_no_number_has_no_say_in_a_scale() -> None:
    maps = np.array([[[np.nan, 1, -2]], [[np.inf, -np.inf, 3]], [[np.nan, np.nan, np.inf]]], np.float32)
    assert sheets.reach(maps).tolist() == [2, 3, 1]
    told = glass_json.picture(maps[1], signed=True)
    assert np.frombuffer(base64.b64decode(told["levels"]), np.int8).tolist() == [127, -127, 127]
    assert glass_json.picture(maps[0], signed=True)["end"] == 2
    assert json.loads(bytes(json_response({"a": [np.float32("nan"), 1.5], "b": maps[0]}).body)) == {
        "a": [None, 1.5], "b": [[None, 1, -2]],
    }  # fmt: skip


def test_single_numbers_are_drawn_in_rows(seen: Seen) -> None:
    (fc6,) = (layer for layer in seen.json("layers") if layer["name"] == "fc6")
    expected = np.zeros(25, np.float32)  # 24 numbers in the smallest square that holds them
    expected[:24] = next(view for view in glass.walk(seen.subject) if view.name == "fc6").maps.ravel()
    require_drawn(fc6["thumbnail"], expected.reshape(5, 5))


def test_the_arithmetic_of_every_kind_of_layer(seen: Seen) -> None:
    """At the layer's largest number, and in a corner where windows hang over the border."""
    names = [layer.name for layer in seen.subject.layers]
    for name in names:
        largest = glass.step(seen.subject, name)
        for found in (largest, glass.step(seen.subject, name, largest.channel, (0, 0))):
            row, column = found.position
            told = seen.json(f"steps/{name}?channel={found.channel}&row={row}&column={column}")
            figures = ["channel", "recomputed", "network", "difference", "bound", "agrees"]
            assert [told[each] for each in figures] == [getattr(found, each) for each in figures]
            assert (told["layer"], told["kind"], told["position"]) == (name, found.layer.kind, [row, column])
            assert told["text"] == str(found)
            require_terms(told["terms"], found.terms, found.as_json()["terms"])
            following = names[names.index(name) + 1] if name != "prob" else ""
            if not following.startswith("relu"):
                assert told["after"] is None
                continue
            relu = glass.step(seen.subject, following, found.channel, found.position)
            assert told["after"] == {
                "layer": following, "recomputed": max(0.0, found.recomputed), "network": relu.network,
            }  # fmt: skip


def require_terms(told: dict[str, Any], terms: Any, expected: dict[str, Any]) -> None:
    if isinstance(terms, Convolution):
        assert {name: told[name] for name in expected["seen"]} == expected["seen"]
        assert (told["kernel"], told["bias"]) == (expected["kernel"], expected["bias"])
        assert told["products"] == terms.products.tolist()
        assert told["channel_sums"] == pytest.approx(np.sum(told["products"], axis=(1, 2)))
        assert told["sum"] + told["bias"] == terms.result
    elif isinstance(terms, MaxPooling):
        inside = np.array(expected["seen"]["values"][0])[expected["seen"]["inside"]]
        results = {kind: pooling["result"] for kind, pooling in told["poolings"].items()}
        assert results == {"max": inside.max(), "min": inside.min(), "avg": pytest.approx(inside.mean())}
        assert told["poolings"]["max"]["winner"] == list(terms.winner)
        row, column = told["poolings"]["min"]["winner"]
        assert told["values"][0][row][column] == inside.min()
        assert told["poolings"]["avg"]["winner"] is None
    elif isinstance(terms, FullyConnected):
        assert [row["index"] for row in told["largest"]] == terms.largest[:40].tolist()
        for row in told["largest"]:
            index = row["index"]
            assert (row["input"], row["weight"]) == (expected["inputs"][index], expected["weights"][index])
            assert row["product"] == row["input"] * row["weight"]
        assert told["count"] == len(terms.inputs)
        assert sum(row["product"] for row in told["largest"]) + told["rest"] == pytest.approx(told["sum"])
        assert told["positive"] + told["negative"] == pytest.approx(told["sum"])
        assert told["sum"] + told["bias"] == terms.result
    elif isinstance(terms, Share):
        assert told["exponential"] / told["total"] == terms.result
        assert (told["logit"], told["largest"]) == (expected["logits"][terms.index], max(expected["logits"]))
    else:
        assert {name: told[name] for name in expected} == expected
        assert all(np.array_equal(told[name], getattr(terms, name)) for name in told)


def test_contributions_to_fc6_are_where_they_stood_in_the_maps(seen: Seen) -> None:
    told = seen.json("steps/fc6?channel=5")["terms"]
    maps = next(view for view in glass.walk(seen.subject) if view.name == told["before"]).maps
    assert told["before"] == "pool5"
    assert [maps[row["channel"], row["row"], row["column"]] for row in told["largest"]] == [
        row["input"] for row in told["largest"]
    ]


def test_softmax_at_a_temperature(seen: Seen) -> None:
    logits = seen.subject.logits().tolist()
    for temperature in (1.0, 0.25, 40.0):
        expected = glass.softmax(logits, temperature)
        told = seen.json(f"softmax?temperature={temperature}&channel=6")
        assert (told["total"], told["largest"]) == (expected.total, expected.scaled.max())
        assert len(told["rows"]) == len(CLASSES)
        for row in told["rows"]:
            index = row["index"]
            assert row["class"] == CLASSES[index]
            assert (row["logit"], row["scaled"]) == (logits[index], expected.scaled[index])
            assert (row["shifted"], row["exponential"]) == (expected.shifted[index], expected.exponentials[index])
            assert row["probability"] == expected.probabilities[index]
        assert (np.diff([row["probability"] for row in told["rows"]]) <= 0).all()


@pytest.mark.parametrize("layer", LAYERS)
def test_effective_fields(seen: Seen, layer: str) -> None:
    expected = glass.effective_field(seen.subject, layer, (0, 0))
    told = seen.json(f"fields/{layer}?row=0&column=0")
    assert (told["side"], told["size"]) == (expected.side, expected.theory.size)
    require_drawn(told, np.sqrt(expected.gradient))


@pytest.mark.parametrize(
    ("path", "layer"),
    [
        ("saliency", None), ("smoothgrad", None), ("occlusion", None), ("integrated-gradients", None),
        ("gradcam", "relu5_2"), ("gradcam?layer=conv3_1", "conv3_1"), ("saliency?target=3", None),
    ],
)  # fmt: skip
def test_attributions(seen: Seen, path: str, layer: str | None) -> None:
    told = seen.json(f"attributions/{path}")
    target = 3 if "target" in path else int(seen.subject.logits().argmax())
    expected = glass.attribute(seen.subject, path.partition("?")[0], target, layer, places=8)
    assert (told["method"], told["layer"], told["target"]) == (expected.method, layer, target)
    assert (told["class"], told["signed"]) == (CLASSES[target], expected.signed)
    require_drawn(told, expected.map)


def test_the_walk_tells_layer_after_layer_what_all_layers_are(seen: Seen) -> None:
    reply = seen.get("walk")
    assert reply.headers["content-type"].startswith("application/x-ndjson")
    assert [layer for line in reply.body.splitlines() for layer in json.loads(line)] == seen.json("layers")


def test_an_attribution_in_stages_ends_as_the_whole(seen: Seen) -> None:
    for method in ("saliency", "smoothgrad", "occlusion", "integrated-gradients"):
        stages = [json.loads(line) for line in seen.get(f"attributions/{method}/stages?target=1").body.splitlines()]
        assert [stage["done"] for stage in stages] == sorted({stage["done"] for stage in stages})
        assert stages[-1]["done"] == stages[-1]["total"]
        last = {name: value for name, value in stages[-1].items() if name not in ("done", "total")}
        assert last == seen.json(f"attributions/{method}?target=1")


def test_what_a_channel_looks_for(seen: Seen) -> None:
    lines = [json.loads(line) for line in seen.get("preferences/conv3_1?channel=2").body.splitlines()]
    told = lines[-1]
    assert [line["done"] for line in lines] == list(range(1, told["total"] + 1))
    (again,) = seen.get("preferences/conv3_1?channel=2").body.splitlines()
    assert json.loads(again) == told, "it is kept"
    values = [patch["value"] for patch in told["patches"]]
    assert values == sorted(values, reverse=True)
    assert {patch["name"] for patch in told["patches"]} == set(samples.names(CLASSES))
    sample = told["patches"][0]
    there = replace(glass.open_subject(seen.file, samples.read(sample["name"])), network=seen.subject.network)
    maps = next(view for view in glass.walk(there) if view.name == "conv3_1").maps
    assert sample["value"] == pytest.approx(float(maps[2].max()), rel=1e-3)
    *_, last = preference.stages([seen.subject], "conv3_1", 2)
    assert last.image is not None
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(told["png"]))))
    assert shown.shape[:2] == last.image.shape[:2]
    assert seen.get("preferences/conv3_1?channel=9999").status == 422


def test_fc6_is_told_as_a_kernel_over_pool5(seen: Seen) -> None:
    terms = seen.json("steps/fc6?channel=5")["terms"]
    step = glass.step(seen.subject, "fc6", 5, (0, 0)).terms
    assert isinstance(step, FullyConnected)
    products = np.asarray(step.products).reshape(len(terms["channel_sums"]), *np.shape(terms["places"]))
    assert terms["channel_sums"] == pytest.approx(products.sum(axis=(1, 2)), abs=1e-6)
    assert np.ravel(terms["places"]) == pytest.approx(products.sum(axis=0).ravel(), abs=1e-6)
    sums = np.abs(terms["channel_sums"])
    assert [sums[window["channel"]] for window in terms["windows"]] == sorted(sums, reverse=True)[: step_json.WINDOWS]
    for window in terms["windows"]:
        assert np.multiply(window["values"], window["kernel"]) == pytest.approx(np.array(window["products"]), abs=1e-9)
    assert seen.json("steps/fc8?channel=1")["terms"]["windows"] is None


@pytest.mark.parametrize("layer", LAYERS)
def test_effects_are_the_ranking(seen: Seen, layer: str) -> None:
    reply = seen.get(f"effects/{layer}")
    assert reply.headers["content-type"].startswith("application/x-ndjson")
    told = [effect for line in reply.body.splitlines() for effect in json.loads(line)]
    assert [effect["channel"] for effect in told] == list(range(seen.subject.layer(layer).output_shape[0]))
    for expected in glass.rank(seen.subject, layer):
        effect = told[expected.channel]
        assert effect["move"] == pytest.approx(expected.move, abs=1e-5)
        assert effect["winner"] == expected.winner


def test_the_answer_without_channels(seen: Seen) -> None:
    told = seen.json("without?channels=conv2_1:1,5&channels=fc7:0")
    found, record = glass.ablate(seen.subject, {"conv2_1": [1, 5], "fc7": [0]}), seen.subject.record
    before, after = record.probabilities(found.before), record.probabilities(found.after)
    assert np.abs(before - after).max() > 1e-4
    assert [row["index"] for row in told["rows"]] == np.argsort(-np.maximum(before, after))[:5].tolist()
    for row in told["rows"]:
        assert row["class"] == CLASSES[row["index"]]
        assert row["before"] == pytest.approx(before[row["index"]], abs=1e-6)
        assert row["after"] == pytest.approx(after[row["index"]], abs=1e-6)
    assert [row["index"] for row in told["top"]] == np.argsort(-after)[:5].tolist()
    lines = seen.get("without/stages?channels=conv2_1:1,5&channels=fc7:0").body.splitlines()
    *before_it, last = (json.loads(line) for line in lines)
    layers = len(seen.subject.layers)
    assert before_it == [{"done": done, "total": layers} for done in range(1, layers)]
    assert (last["done"], last["total"]) == (layers, layers)
    assert [row["index"] for row in last["rows"]] == [row["index"] for row in told["rows"]]
    for row, whole in zip(last["rows"], told["rows"], strict=True):
        assert (row["before"], row["after"]) == pytest.approx((whole["before"], whole["after"]), abs=1e-6)


def test_scores_of_the_whole_image(seen: Seen) -> None:
    for query, target in (("", None), ("?target=2", 2)):
        told, expected = seen.json(f"scores{query}"), glass.score_map(seen.subject, target)
        assert (told["target"], told["class"]) == (expected.target, CLASSES[expected.target])
        assert (told["height"], told["width"]) == expected.image.shape[:2]
        assert (told["side"], told["step"]) == (expected.side, expected.step)
        shares = expected.probabilities[expected.target]
        np.testing.assert_allclose(told["probabilities"], shares, atol=1e-6)
        assert told["likeliest"] == expected.probabilities.argmax(axis=0).tolist()
        assert told["names"] == {str(k): CLASSES[k] for k in np.unique(expected.probabilities.argmax(axis=0))}
        assert (told["largest"], told["mean"]) == (pytest.approx(shares.max()), pytest.approx(shares.mean()))
        require_drawn(told["picture"], shares.astype(np.float32))
    both = glass.both_ways(seen.subject)
    assert (told["both"]["input"], told["both"]["outputs"]) == (list(both.input_shape), len(both.connected))
    assert told["both"]["largest"] == pytest.approx(both.largest_output)
    assert told["both"]["difference"] <= 1e-5 * both.largest_output


def test_the_picture_is_a_jpeg_of_the_image(seen: Seen) -> None:
    reply = seen.get("picture")
    assert reply.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(reply.body), formats=["JPEG"]) as picture:
        assert (picture.height, picture.width) == seen.subject.original.shape[:2]
        shown = np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(shown - seen.subject.original).mean() < 3


def test_a_large_picture_is_made_smaller_and_boxes_stay_right(seen: Seen) -> None:
    """A white square in a picture of 6 million pixels lies where the box of its place in the network's square says."""
    pixels = np.zeros((2000, 3000, 3), np.uint8)
    pixels[900:1100, 1400:1600] = 255
    body = encoded(pixels, "PNG")
    put = seen.server.ask("POST", "/glass/images", body, JPEG).json
    assert 3_990_000 < put["width"] * put["height"] <= 4_000_000
    large = replace(seen, put=Reply(200, {}, json.dumps(put).encode()))
    subject = glass.open_subject(seen.file, body)
    assert large.get("maps/image").body == subject.square.transpose(2, 0, 1).astype("<f4").tobytes()
    assert put["placement"] == vars(subject.place)
    size = subject.record.preprocessing.size
    full = glass.on_original(subject, Box(size / 4, size / 4, size / 2, size / 2))
    shown = np.zeros((put["height"], put["width"], 3), np.uint8)
    small = glass.on_original(replace(subject, original=shown), Box(size / 4, size / 4, size / 2, size / 2))
    assert small.left / put["width"] == pytest.approx(full.left / 3000)
    assert small.bottom / put["height"] == pytest.approx(full.bottom / 2000)
    with Image.open(io.BytesIO(large.get("picture").body)) as picture:
        lit = np.argwhere(np.asarray(picture.convert("L")) > 127)
    scale = put["width"] / 3000
    assert lit.min(axis=0).tolist() == pytest.approx([900 * scale, 1400 * scale], abs=2)
    assert lit.max(axis=0).tolist() == pytest.approx([1100 * scale, 1600 * scale], abs=2)


def test_samples_are_pictures_that_the_network_takes(seen: Seen) -> None:
    names = seen.server.ask("GET", "/glass/model").json["samples"]
    assert {"flower", "temple", "portrait", "shapes", "digit-3"} <= set(names)
    for name in names:
        picture = seen.server.ask("GET", f"/glass/samples/{name}")
        assert picture.status == 200
        assert seen.server.ask("POST", "/glass/images", picture.body, JPEG).status == 200
    reply = seen.server.ask("GET", "/glass/samples/none")
    assert (reply.status, reply.json["type"]) == (404, "no image")
    assert "sample 'none': is none; one of flower" in reply.json["error"]


# The playground


def play(seen: Seen, query: str) -> Any:
    reply = seen.server.ask("GET", f"/glass/playground{query}")
    assert reply.status == 200, reply.body
    return reply.json


def test_the_playgrounds_preset(seen: Seen) -> None:
    """The study note's 6/2/0 max pooling."""
    told = play(seen, "?row=3&column=99")
    values = np.array(told["values"])
    assert told["formula"] == "floor((12 + 2×0 − 1×(6 − 1) − 1) / 2) + 1 = 4"
    assert told["outputs"] == [[values[r : r + 6, c : c + 6].max() for c in (0, 2, 4, 6)] for r in (0, 2, 4, 6)]
    window = told["window"]
    assert (window["at"], window["top"], window["left"]) == ([3, 3], 6, 6)
    row, column = window["winner"]
    assert values[6 + row, 6 + column] == window["result"] == values[6:, 6:].max()
    assert (told["problem"], told["kernel"], window["products"]) == (None, None, None)


def test_the_playground_on_an_images_pixels(seen: Seen) -> None:
    told = play(seen, f"?size=8&operation=conv&kernel=3&stride=1&padding=1&image={seen.id}")
    grey = seen.subject.square.astype(float).mean(axis=2)
    side = len(grey) // 8
    means = grey.reshape(8, side, 8, side).mean(axis=(1, 3))
    assert np.abs(np.array(told["values"]) - means).max() <= 1
    assert np.sum(told["window"]["products"]) == pytest.approx(told["window"]["result"])
    missing = seen.server.ask("GET", f"/glass/playground?image={'0' * 32}")
    assert (missing.status, missing.json["type"]) == (404, "no image")


def test_impossible_windows_are_told_apart(seen: Seen) -> None:
    told = play(seen, "?size=4&kernel=3&dilation=2")
    assert (told["problem"], told["span"], told["room"], told["outputs"]) == ("window", 5, 4, [])
    assert "window" not in told
    assert play(seen, "?size=9&kernel=3&padding=2")["problem"] == "padding"
    assert play(seen, "?size=11&kernel=2&padding=1&dilation=12")["problem"] == "padding"
