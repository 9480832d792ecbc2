"""The pictures and the page of a look."""

import html.parser
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glass_subjects import CLASSES, model, photograph
from vgglass import glass, plotting
from vgglass.errors import UsageError
from vgglass.glass import Subject, attribution, sheets
from vgglass.locale import words


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    path = tmp_path_factory.mktemp("look") / "猫 <b>&.png"
    Image.fromarray(photograph()).save(path)
    return glass.open_subject(model("A-LRN"), path)


def test_a_sheet_has_every_channel_where_it_says() -> None:
    maps = np.stack([np.full((8, 8), value, np.float32) for value in (1, 4, 2)])
    sheet = sheets.grid(maps, "t", scale="layer")
    assert sheet.channels == (0, 1, 2)
    assert sheet.tile == (96, 96)
    pixels = np.asarray(sheet.image)
    tiles = [pixels[top : top + 96, left : left + 96] for left, top in sheet.corners]
    assert [int(tile[0, 0]) for tile in tiles] == [round(223 / 4), 223, round(223 / 2)]
    assert all((tile == tile[0, 0]).all() for tile in tiles)
    strongest = sheets.grid(maps, "t", order="activation")
    assert strongest.channels == (1, 2, 0)
    assert "activation" in strongest.legend


@pytest.mark.parametrize(
    ("count", "side", "tile"),
    [(1, 224, 224), (1, 32, 96), (64, 8, 96), (256, 8, 48), (512, 28, 56), (512, 7, 35), (4096, 1, 12)],
)
def test_small_maps_are_drawn_larger_where_there_is_room(count: int, side: int, tile: int) -> None:
    assert sheets.grid(np.zeros((count, side, side), np.float32), "t").tile == (tile, tile)


def test_scales() -> None:
    maps = np.stack([np.linspace(-1, 1, 64).reshape(8, 8), np.linspace(0, 5, 64).reshape(8, 8)]).astype(np.float32)
    corners = {}
    for scale in sheets.SCALES:
        sheet = sheets.grid(maps, "t", scale=scale, limit=10.0)  # type: ignore[arg-type]
        left, top = sheet.corners[1]
        corners[scale] = int(np.asarray(sheet.image)[top + 95, left + 95])
    # The brightest corner of the second map: the end of its own scale and of the layer's, the middle of all layers'.
    assert corners == {"map": 223, "layer": 223, "all": round((0.5 + 1) / 2 * 223)}


def test_zero_is_white_between_blue_and_red() -> None:
    blue, white, red = np.asarray(sheets.heat(np.array([[-1.0, 0, 1]], np.float32), signed=True).convert("RGB"))[0]
    assert min(white) > 240
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    black = np.asarray(sheets.heat(np.array([[0.0, 1]], np.float32)).convert("RGB"))[0, 0]
    assert max(black) < 10


def test_a_few_outliers_do_not_dim_a_map() -> None:
    values = np.ones((1, 40, 40), np.float32)
    values[0, 0, :4] = 1000
    assert sheets.reach(values).tolist() == [1.0]
    assert sheets.reach(np.zeros((1, 4, 4), np.float32)).tolist() == [1.0]
    lone = np.zeros((1, 40, 40), np.float32)
    lone[0, 3, 3] = 7
    assert sheets.reach(lone).tolist() == [7.0]


def test_kernels_are_coloured_by_their_weights() -> None:
    weights = np.zeros((2, 3, 3, 3), np.float32)
    weights[0, 0], weights[1, 2] = 1, -1
    sheet = sheets.kernels(weights, "k")
    left, top = sheet.corners[0]
    assert sheet.image.convert("RGB").getpixel((left, top)) == (255, 128, 128)
    left, top = sheet.corners[1]
    assert sheet.image.convert("RGB").getpixel((left, top)) == (128, 128, 0)


def test_numbers_are_written_without_exponents() -> None:
    assert [sheets.number(value) for value in (0.0123456, 12.345, 2570.4)] == ["0.0123", "12.3", "2,570"]


class Page(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]


def test_a_look_is_written(here: Subject, tmp_path: Path) -> None:
    wanted = glass.LookOptions(
        attributions=("saliency", "gradcam:conv4_1"), sanity=True, class_model=True, dense=True,
        without={"conv1_1": [3]}, ranked="conv5_1",
    )  # fmt: skip
    seen = glass.look(here, wanted)
    glass.write(seen, tmp_path, arrays=True, lang="zh")
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    facts = json.loads(re.search(r"const facts = (.*);\n", text).group(1))  # type: ignore[union-attr]
    assert facts["lang"] == "zh"
    assert facts["image"] == "猫 <b>&.png"
    assert [layer["name"] for layer in facts["layers"]][:3] == ["image", "conv1_1", "relu1_1"]
    for layer in facts["layers"]:
        with Image.open(tmp_path / "layers" / f"{layer['name']}.png") as sheet:
            assert list(sheet.size) == layer["sheet"]
        assert len(layer["corners"]) == len(layer["channels"]) == layer["shape"][2]
    names = [found["name"] for found in facts["attributions"]]
    assert names == ["saliency", "gradcam-conv4_1"]
    pictures = [*names, *(check["randomised"] for check in facts["curves"])]
    pictures += ["image", "square", "kernels", "class-model", "scores"]
    pictures += [f"field-{field['layer']}" for field in facts["fields"]]
    for name in pictures:
        with Image.open(tmp_path / f"{name}.png") as picture:
            picture.load()
    assert np.array_equal(np.load(tmp_path / "layers" / "conv1_1.npy"), seen.layers[1].maps)
    assert not seen.layers[1].maps[3].any()
    assert {row["class"] for row in facts["moves"]} == set(CLASSES)
    assert facts["ranked"] == "conv5_1"


def test_the_page_needs_no_network_and_no_name_becomes_markup(here: Subject, tmp_path: Path) -> None:
    glass.write(glass.look(here, glass.LookOptions(layers=("conv1_1",), attributions=())), tmp_path)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("script") == 1
    assert "b" in page.tags  # the two frames of the page's own
    assert page.tags.count("b") == 1
    assert page.links == ["image.png"]
    assert not re.search(r"(https?:)?//(?!www\.w3\.org/2000/svg)[a-z]", text)
    assert "<b>鸟" not in text
    assert "\\u003cb>鸟" in text
    assert "innerHTML" not in text


def test_the_page_says_all_that_there_is_to_say() -> None:
    page = (Path(glass.__file__).parent / "page.html").read_text(encoding="utf-8")
    used = set(re.findall(r"\bsay\.(\w+)", page)) | {"deletion", "random_deletion", "insertion", "random_insertion"}
    assert used == words("en", "glass").keys() - {"charts"}


def test_one_scale_over_all_layers_leaves_the_image_out(here: Subject, tmp_path: Path) -> None:
    seen = glass.look(here, glass.LookOptions(attributions=()))
    glass.write(seen, tmp_path, scale="all", order="activation")
    limit = max(float(sheets.reach(layer.maps).max()) for layer in seen.layers[1:])
    assert limit < 255
    layer = next(layer for layer in seen.layers if layer.name == "relu2_1")
    expected = sheets.grid(
        layer.maps, "relu2_1   32×32×16", scale="all", order="activation", limit=limit,
        importance=seen.importance["relu2_1"],
    ).image  # fmt: skip
    with Image.open(tmp_path / "layers" / "relu2_1.png") as drawn:
        assert np.array_equal(np.asarray(drawn), np.asarray(expected))


def test_single_numbers_share_their_layers_scale(here: Subject, tmp_path: Path) -> None:
    """With a scale of its own each, the likeliest class would be no brighter than the others."""
    seen = glass.look(here, glass.LookOptions(layers=("fc8", "prob"), attributions=()))
    glass.write(seen, tmp_path)
    for layer in seen.layers:
        expected = sheets.grid(layer.maps, f"{layer.name}   1×1×7", scale="layer").image
        with Image.open(tmp_path / "layers" / f"{layer.name}.png") as drawn:
            assert np.array_equal(np.asarray(drawn), np.asarray(expected))


def test_an_effective_field_glows_where_its_gradient_is(here: Subject, tmp_path: Path) -> None:
    seen = glass.look(here, glass.LookOptions(layers=("pool2",), attributions=(), position=(2, 13)))
    glass.write(seen, tmp_path)
    centre = [round(place) for place in seen.fields[0].theory.centre((2, 13))]
    with Image.open(tmp_path / "field-pool2.png") as picture:
        colours = np.ptp(np.asarray(picture.convert("RGB")).astype(int), axis=2)  # grey has none
    assert colours[centre[0] - 3 : centre[0] + 3, centre[1] - 3 : centre[1] + 3].max() > 50
    assert colours[40:, :20].max() < 5
    with pytest.raises(UsageError, match="position 20,1 of pool2: its maps have rows 0 to 15"):
        glass.look(here, glass.LookOptions(layers=("pool2",), position=(20, 1)))


def test_kernels_of_a_network_fed_bgr_are_drawn_in_rgb(tmp_path: Path) -> None:
    file = model("A")
    bgr = replace(file.record, preprocessing=replace(file.record.preprocessing, channel_order="BGR"))
    here = glass.open_subject(replace(file, record=bgr), photograph())
    glass.write(glass.look(here, glass.LookOptions(layers=("conv1_1",), attributions=())), tmp_path)
    expected = sheets.kernels(file.weights["conv1_1.weight"][:, ::-1], "conv1_1").image
    with Image.open(tmp_path / "kernels.png") as drawn:
        assert np.array_equal(np.asarray(drawn), np.asarray(expected))


def test_what_is_not_there_is_refused_before_the_work(here: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["vgglass.glass.look"], "walk", None)
    monkeypatch.setattr(attribution, "attribute", None)
    for wanted, message in (
        (glass.LookOptions(target=7), "class 7: the classes are numbered 0 to 6"),
        (glass.LookOptions(target=-1), "class -1"),
        (glass.LookOptions(without={"prob": [1]}), "layer prob: comes after the logits"),
        (glass.LookOptions(without={"conv1_1": [99]}), "channel 99 of conv1_1: it has 8"),
        (glass.LookOptions(attributions=("saliency", "lime")), "attribution 'lime': not one of class-map, saliency"),
        (glass.LookOptions(attributions=("gradcam:fc7",)), "layer fc7: has no map for Grad-CAM to weigh"),
        (glass.LookOptions(ranked="prob"), "layer prob: comes after the logits"),
        (glass.LookOptions(ranked="conv9_9"), "layer 'conv9_9'"),
    ):
        with pytest.raises(UsageError, match=message):
            glass.look(here, wanted)


def test_silenced_logits_are_those_of_the_ablation(here: Subject) -> None:
    seen = glass.look(here, glass.LookOptions(attributions=(), without={"conv3_1": [0, 5]}))
    assert seen.ablation is not None
    assert np.array_equal(seen.ablation.after, glass.ablate(here, {"conv3_1": [0, 5]}).after)


def test_only_the_layers_asked_for(here: Subject) -> None:
    seen = glass.look(here, glass.LookOptions(layers=("conv1_1", "pool3", "fc6"), attributions=()))
    assert [layer.name for layer in seen.layers] == ["conv1_1", "pool3", "fc6"]
    assert [field.layer for field in seen.fields] == ["conv1_1", "pool3"]
    with pytest.raises(UsageError, match="did you mean pool"):
        glass.look(here, glass.LookOptions(layers=("pool9",)))
    with pytest.raises(UsageError, match=r"--scale wide: not one of map, layer, all"):
        sheets.require_choice("scale", "wide", sheets.SCALES)


def test_top_answers_are_the_models(here: Subject) -> None:
    seen = glass.look(here, glass.LookOptions(layers=("prob",), attributions=()))
    shares = seen.layers[0].maps.ravel()
    assert [share for _, share in seen.top] == pytest.approx(sorted(shares, reverse=True)[:5], abs=1e-6)
    assert seen.top[0][0] == CLASSES[int(shares.argmax())]
    warm = replace(here, record=replace(here.record, temperature=4.0))
    cooled = np.exp(seen.logits.astype(float) / 4) / np.exp(seen.logits.astype(float) / 4).sum()
    assert glass.look(warm, glass.LookOptions(layers=("prob",), attributions=())).top[0][1] == pytest.approx(
        cooled.max()
    )


def test_a_notebook_shows_pictures(here: Subject) -> None:
    seen = glass.look(here, glass.LookOptions(layers=("conv1_1",), dense=True))
    for thing in (seen.layers[0], seen.attributions[0], seen.fields[0], seen.scores):
        assert thing is not None
        assert thing._repr_png_().startswith(b"\x89PNG")


def test_lettering_without_a_font_is_said_and_english_is_drawn(
    here: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plotting, "_fonts", list)
    assert plotting.missing_font(("汉字" * 9,)).startswith(
        "No font here can write 汉字汉字汉字汉字汉字汉字…: install a CJK font"
    )
    assert plotting.missing_font(()) == ""
    latin, chinese = frozenset(map(ord, "abc;")), frozenset(map(ord, "汉字"))
    monkeypatch.setattr(plotting, "_fonts", lambda: [(None, latin), (None, chinese)])
    assert plotting.unwritable(("abc", "汉字", "汉字;")) == ["汉字;"]  # a text is drawn in one font
    monkeypatch.undo()
    monkeypatch.setattr(plotting, "unwritable", lambda texts: [text for text in texts if not text.isascii()])
    seen = glass.look(here, glass.LookOptions(layers=("conv1_1",), attributions=()))
    assert glass.write(seen, tmp_path, lang="zh").startswith("No font here can write")
    english = sheets.grid(seen.layers[0].maps, "conv1_1   64×64×8", importance=seen.importance["conv1_1"]).image
    with Image.open(tmp_path / "layers" / "conv1_1.png") as drawn:
        assert np.array_equal(np.asarray(drawn), np.asarray(english))
    assert '"lang": "zh"' in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_chinese_legends_are_drawn_where_there_is_a_font(here: Subject, tmp_path: Path) -> None:
    if plotting.unwritable(("汉字",)):
        pytest.skip("no CJK font on this machine")
    sheet = sheets.grid(np.ones((1, 8, 8), np.float32), "t", lang="zh")
    assert "色标" in sheet.legend
    assert plotting.font("色标", 14).getname()[0] in plotting.CJK_FONTS
