"""The glass: layers, arithmetic, receptive fields, fully connected layers as convolutions, ablation."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glass_subjects import CLASSES, model, photograph, subject
from vgglass import glass
from vgglass.architecture import Architecture, Box
from vgglass.data import sources
from vgglass.errors import UsageError
from vgglass.glass import Subject, ablation, dense
from vgglass.glass.steps import Arithmetic, Convolution, FullyConnected, MaxPooling, Share
from vgglass.preprocess import Fit, Preprocessing, placement

PAPER = Path(__file__).resolve().parents[2] / "shared" / "oracles" / "paper.json"


@pytest.fixture(scope="module")
def lrn() -> Subject:
    return subject("A-LRN")


@pytest.fixture(scope="module")
def normed() -> Subject:
    return subject("vgg11_bn", seed=3)


def test_walk_has_the_image_and_every_layer(lrn: Subject) -> None:
    views = list(glass.walk(lrn))
    assert [view.name for view in views] == ["image", *(layer.name for layer in lrn.layers)]
    assert views[0].shape == (64, 64, 3)
    assert views[1].shape == (64, 64, 8)
    assert np.array_equal(views[0].maps.transpose(1, 2, 0), lrn.square)
    with torch.no_grad():
        outputs = [step.output for step in lrn.network.walk(lrn.input)]
    for view, output in zip(views[1:], outputs, strict=True):
        assert np.array_equal(view.maps, output[0].reshape(view.maps.shape).numpy())
        assert view.minimum == pytest.approx(float(output.min()))
        assert view.mean == pytest.approx(float(output.mean()), abs=1e-6)
        assert view.maximum == pytest.approx(float(output.max()))
    grey = glass.open_subject(model("A", channels=1), photograph(channels=1))
    assert glass.walk(grey)[0].shape == (64, 64, 1)


def test_a_convolutions_map_keeps_its_negatives(lrn: Subject) -> None:
    convolved, rectified = list(glass.walk(lrn))[1:3]
    assert convolved.minimum < 0
    assert np.array_equal(rectified.maps, np.maximum(convolved.maps, 0))


def test_zeros_are_counted_by_channel_and_dead_ones_named(lrn: Subject) -> None:
    silenced = {view.name: view for view in glass.walk(lrn, {"conv1_1": [2, 5]})}
    view = silenced["relu1_1"]
    assert view.dead is not None
    assert {2, 5} <= set(view.dead)
    assert view.channel_zeros[2] == 1
    assert view.zeros == pytest.approx(float((view.maps == 0).mean()))
    assert silenced["conv1_1"].dead is None
    assert view.as_json()["dead"] == view.dead
    json.dumps(view.as_json())


def test_walks_side_by_side_leave_nothing_behind(lrn: Subject, normed: Subject) -> None:
    for first, second in zip(glass.walk(lrn), glass.walk(normed), strict=False):
        assert first.maps.size
        assert not torch.is_inference_mode_enabled()
        glass.effective_field(lrn, "conv1_1")  # gradients work in the middle of a loop
        assert second.maps.size
    assert all(parameter.requires_grad for parameter in lrn.network.parameters())


# One number's arithmetic


def by_hand(kind: str) -> Arithmetic:
    """A network of known weights: 32x32 grey input of ones (pixel 2, mean 1), 1 channel a layer."""
    file = model("A", image_size=32, channels=1, width=1 / 64, hidden=2, classes=2)
    weights = {name: np.zeros_like(array) for name, array in file.weights.items()}
    weights["conv1_1.weight"] = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    weights["conv1_1.bias"] = np.array([0.5], np.float32)
    weights["fc8.bias"] = np.array([0, np.log(3)], np.float32)
    record = replace(file.record, preprocessing=Preprocessing(32, 32, (1.0,), (1.0,), "L"))
    pixels = np.full((32, 32, 1), 2, np.uint8)
    here = glass.open_subject(replace(file, weights=weights, record=record), pixels)
    layer, channel, position = {"conv": ("conv1_1", 0, (0, 0)), "prob": ("prob", 1, (0, 0))}[kind]
    return glass.step(here, layer, channel, position)


def test_convolution_by_hand() -> None:
    # In the corner the first row and column hang over: what is left of 0..8 is 4 + 5 + 7 + 8 = 24, and the bias.
    found = by_hand("conv")
    assert isinstance(found.terms, Convolution)
    assert found.terms.seen.inside.tolist() == [[False] * 3, [False, True, True], [False, True, True]]
    assert found.terms.products[0].tolist() == [[0, 0, 0], [0, 4, 5], [0, 7, 8]]
    assert found.terms.channel_sums.tolist() == [24]
    assert found.recomputed == found.network == 24.5
    assert str(found) == "recomputed = 24.5  network = 24.5  difference = 0"


def test_softmax_by_hand() -> None:
    found = by_hand("prob")  # logits 0 and ln 3: shares 1/4 and 3/4
    assert isinstance(found.terms, Share)
    assert found.recomputed == pytest.approx(0.75)
    assert found.terms.exponentials == pytest.approx([1 / 3, 1])


def test_the_small_terms_by_hand() -> None:
    from vgglass.glass import steps

    assert steps.BatchNorm(5.0, 3.0, 4.0, 0.0, 10.0, 1.0).result == 11  # (5 - 3) / 2 * 10 + 1
    assert steps.BatchNorm(5.0, 3.0, 4.0, 0.0, 10.0, 1.0).magnitude == 41  # 25 + 15 + 1
    assert steps.LocalResponse(3.0, 0, np.array([100.0, 200.0])).squares == 50_000
    assert steps.LocalResponse(3.0, 0, np.array([100.0, 200.0])).divisor == pytest.approx(7**0.75)
    assert steps.Rectifier(-2.0).result == 0
    assert steps.Rectifier(2.0).result == 2
    connected = FullyConnected(np.array([1.0, 2, 3]), np.array([10.0, -20, 1]), 0.5)
    assert connected.products.tolist() == [10, -40, 3]
    assert connected.largest.tolist() == [1, 0, 2]
    assert connected.result == -26.5
    assert connected.magnitude == 53.5


def test_pooling_names_the_winner(lrn: Subject) -> None:
    found = glass.step(lrn, "pool2", 3, (4, 5))
    assert isinstance(found.terms, MaxPooling)
    window = found.terms.seen.values[0]
    assert window.shape == (2, 2)
    assert window[found.terms.winner] == window.max() == found.network


def _triples(here: Subject, count: int, seed: int) -> list[Arithmetic]:
    """Random (layer, channel, position): every kind of layer in turn, half of the positions on the border."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        layer = here.layers[int(generator.integers(len(here.layers)))]
        channels, height, width = layer.output_shape
        place = (int(generator.integers(height)), int(generator.integers(width)))
        if number % 2:
            place = (int(generator.choice([0, height - 1])), place[1])
        found.append(glass.step(here, layer.name, int(generator.integers(channels)), place))
    return found


def _digit() -> Subject:
    sample = sources.digits().split("test")[0]
    assert isinstance(sample.source, np.ndarray)
    return glass.open_subject(model("vgg11_bn", image_size=32, channels=1, seed=7), sample.source)


@pytest.mark.parametrize("name", ["digits", "normed", "lrn"])
def test_the_arithmetic_agrees_with_the_network(name: str, lrn: Subject, normed: Subject) -> None:
    here = _digit() if name == "digits" else {"normed": normed, "lrn": lrn}[name]
    for found in _triples(here, 60, seed=len(name)):
        assert found.agrees, f"{found.layer.name} {found.channel} {found.position}: {found}"
        assert found.bound <= 1e-5 * found.terms.magnitude + 1e-37


def test_every_kind_of_layer_agrees_somewhere(lrn: Subject, normed: Subject) -> None:
    for here in (lrn, normed):
        for layer in here.layers:
            found = glass.step(here, layer.name)
            assert found.agrees
            assert found.as_json()["difference"] == found.difference
            json.dumps(found.as_json())


@pytest.mark.slow
def test_the_arithmetic_agrees_with_a_full_vgg16() -> None:
    here = glass.open_subject(model("vgg16", image_size=224, width=1.0, hidden=4096), photograph(375, 500))
    assert all(found.agrees for found in _triples(here, 24, seed=5))


def test_a_wrong_number_is_noticed(lrn: Subject) -> None:
    found = glass.step(lrn, "conv3_2", 5, (3, 3))
    wrong = replace(found, network=found.network + 3 * found.bound)
    assert not wrong.agrees


def test_without_a_place_the_largest_output_is_taken(lrn: Subject) -> None:
    with torch.no_grad():
        output = next(step.output for step in lrn.network.walk(lrn.input) if step.name == "conv2_1")[0]
    assert glass.step(lrn, "conv2_1").network == float(output.max())
    assert glass.step(lrn, "conv2_1", channel=4).network == float(output[4].max())
    assert glass.step(lrn, "conv2_1", position=(1, 2)).network == float(output[:, 1, 2].max())


@pytest.mark.parametrize(
    ("layer", "channel", "position", "message"),
    [
        ("conv3_9", None, None, r"layer 'conv3_9': A-LRN has conv3_.*\(nearest\).*prob; did you mean conv3_"),
        ("conv3_2", 32, None, "channel 32 of conv3_2: it has 32, numbered 0 to 31; the nearest is 31"),
        ("conv3_2", -1, None, "the nearest is 0"),
        ("conv3_2", 0, (16, 3), "position 16,3 of conv3_2: its maps have rows 0 to 15 and .*; the nearest is 15,3"),
        ("fc8", 0, (0, 1), "rows 0 to 0 and columns 0 to 0; the nearest is 0,0"),
    ],
)
def test_what_is_not_there_is_named(
    lrn: Subject, layer: str, channel: int | None, position: tuple[int, int] | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        glass.step(lrn, layer, channel, position)


# Receptive fields


@pytest.mark.parametrize(
    ("name", "size", "jump", "first"),
    # By hand: conv1_1 sees 3 around its own pixel; pool1 joins two of 5 side by side, its centre between two pixels.
    [("conv1_1", 3, 1, 0.5), ("conv1_2", 5, 1, 0.5), ("pool1", 6, 2, 1.0), ("pool5", 212, 32, 16.0)],
)
def test_receptive_fields_by_hand(name: str, size: int, jump: int, first: float) -> None:
    found = glass.receptive_field(Architecture.named("vgg16"), name)
    assert (found.size, found.jump, found.first_centre) == (size, jump, first)


def test_receptive_fields_are_the_papers() -> None:
    if not PAPER.exists():
        pytest.skip(f"{PAPER} is not on this machine")
    for column, layers in json.loads(PAPER.read_text(encoding="utf-8"))["receptive_field"].items():
        for name, size in layers.items():
            assert glass.receptive_field(Architecture.named(column), name).size == size


def test_box_of_a_position() -> None:
    pool1 = glass.receptive_field(Architecture.named("vgg16"), "pool1")
    assert pool1.centre((2, 0)) == (5.0, 1.0)
    assert pool1.box((2, 0)) == Box(2.0, -2.0, 8.0, 4.0)
    assert Box(2.0, -2.0, 8.0, 4.0).clipped(7, 224) == Box(2.0, 0.0, 7.0, 4.0)


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        # 200 high, 100 wide to 32: resized to 64x32, 16 rows cut off above; a pixel is 3.125 of the original.
        ("crop", Box(50.0, 0.0, 62.5, 12.5)),
        # to 32x16 with 8 columns of border on each side; a pixel is 6.25, the left half of the box is border
        ("pad", Box(0.0, 0.0, 25.0, 0.0)),
        # 6.25 down, 3.125 across
        ("squash", Box(0.0, 0.0, 25.0, 12.5)),
    ],
)
def test_boxes_go_back_through_the_preprocessing(fit: Fit, expected: Box) -> None:
    file = model("A", image_size=32)
    record = replace(file.record, preprocessing=replace(file.record.preprocessing, fit=fit))
    here = glass.open_subject(replace(file, record=record), photograph(200, 100))
    assert glass.on_original(here, Box(-2.0, -2.0, 4.0, 4.0)) == expected


def test_a_box_on_the_original_is_where_the_pixels_come_from() -> None:
    """A white square drawn into the box of a position is what that position sees, and nothing else."""
    file = model("A", image_size=64)
    field = glass.receptive_field(file.record.architecture, "pool2")
    black = np.zeros((128, 192, 3), np.uint8)
    box = glass.on_original(glass.open_subject(file, black), field.box((8, 8)))
    white = black.copy()
    white[int(box.top) : int(box.bottom), int(box.left) : int(box.right)] = 255
    lit = np.argwhere(glass.open_subject(file, white).square[..., 0] > 127)
    inner = field.box((8, 8))
    assert lit.min(axis=0).tolist() == [inner.top, inner.left]
    assert (lit.max(axis=0) + 1).tolist() == [inner.bottom, inner.right]


def test_an_unknown_layer_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"layer 'conv9_1': vgg16 has conv.*\(nearest\).*prob; did you mean conv"):
        glass.receptive_field(Architecture.named("vgg16"), "conv9_1")


def test_boxes_of_a_jpeg_decoded_small_are_the_full_images(tmp_path: Path) -> None:
    """Decoding at some eighths of the size moves no box by more than the rounding of its sides."""
    file = model("A", image_size=32)
    Image.fromarray(photograph(1000, 701)).save(tmp_path / "large.jpg")
    record = replace(file.record, preprocessing=replace(file.record.preprocessing, jpeg_scaled=True))
    small = glass.open_subject(replace(file, record=record), tmp_path / "large.jpg")
    assert small.original.shape == (1000, 701, 3)
    assert small.place == placement(125, 88, record.preprocessing)  # 1/8 of the sides, rounded up
    box = glass.on_original(small, Box(0, 0, 32, 32))
    assert box.width == pytest.approx(701)
    assert (box.top + box.bottom) / 2 == pytest.approx(500, abs=1000 / 88)


def test_arrays_of_another_kind_are_refused() -> None:
    with pytest.raises(UsageError, match=r"an array of uint8 \(80, 100, 1\): this network takes uint8 \(H, W, 3\)"):
        glass.open_subject(model("A"), photograph(channels=1))
    with pytest.raises(UsageError, match="an array of float32"):
        glass.open_subject(model("A"), photograph().astype(np.float32))


def test_effective_field_lies_within_the_theoretical_one(normed: Subject) -> None:
    for name in ("conv1_1", "conv2_1", "pool2"):
        found = glass.effective_field(normed, name)
        box = found.theory.box(found.position)
        lit = np.argwhere(found.gradient > 0)
        assert (lit.min(axis=0) >= [box.top, box.left]).all()
        assert (lit.max(axis=0) < [box.bottom, box.right]).all()
        assert 0 < found.side <= found.theory.size
        assert 0 < found.share <= 1
    single = glass.effective_field(normed, "conv1_1")
    assert single.gradient[single.position] > 0
    assert normed.input.requires_grad is False


def test_effective_field_of_a_blur_by_hand() -> None:
    from vgglass.glass.receptive_field import _smallest_square

    field = np.zeros((9, 9), np.float32)
    field[4, 4], field[4, 5] = 95, 5
    assert _smallest_square(field, (4.5, 4.5)) == 1  # 95 % lie in the middle pixel
    field[4, 4] = 94
    assert _smallest_square(field, (4.5, 4.5)) == 3
    assert _smallest_square(np.zeros((3, 3), np.float32), (1.5, 1.5)) == 0


# Fully connected layers as convolutions


def test_the_notes_question() -> None:
    found = dense.preset()
    assert found.input_shape == (5, 3, 3)
    assert found.weights.shape == (4096, 45)
    assert found.connected.shape == found.convolved.shape == (4096,)
    assert found.largest_difference <= 1e-5 * found.largest_output
    assert found.connected[7] == pytest.approx(float(found.weights[7] @ found.inputs.ravel()), rel=1e-4)


def test_fc6_both_ways(lrn: Subject) -> None:
    found = glass.both_ways(lrn)
    assert found.input_shape == (64, 2, 2)
    assert found.largest_difference <= 1e-5 * found.largest_output
    network = next(view for view in glass.walk(lrn) if view.name == "fc6")
    assert found.connected == pytest.approx(network.maps.ravel(), abs=1e-5)


def test_score_map_is_the_classifier_at_every_place() -> None:
    file = model("A", image_size=64)
    picture = photograph(96, 128)
    found = glass.score_map(glass.open_subject(file, picture))
    assert found.logits.shape == (7, 2, 3)
    assert (found.side, found.step) == (64, 32)
    assert found.probabilities.sum(axis=0) == pytest.approx(np.ones((2, 3)))
    alone = glass.score_map(glass.open_subject(file, picture[:64, :64]))
    assert alone.logits[:, 0, 0] == pytest.approx(glass.open_subject(file, picture[:64, :64]).logits(), abs=1e-4)
    large = glass.score_map(glass.open_subject(file, photograph(400, 900)))
    assert large.image.shape[0] * large.image.shape[1] <= 1.01 * (3 * 64) ** 2


def test_an_image_too_small_for_the_score_map_says_the_least_size() -> None:
    with pytest.raises(UsageError, match=r"an image of 40x90: fc6 of this network spans 64 pixels.*at least 64x64"):
        glass.score_map(glass.open_subject(model("A"), photograph(40, 90)))
    long = glass.open_subject(model("A"), photograph(30, 4000))
    with pytest.raises(UsageError, match="an image of 30x4000: fc6 of this network"):
        glass.score_map(long)
    with pytest.raises(UsageError, match="an image of 70x9000: too long a strip to be scored whole; crop it first"):
        glass.score_map(glass.open_subject(model("A"), photograph(70, 9000)))


def test_a_score_map_shows_the_class_asked_for(lrn: Subject) -> None:
    found = glass.score_map(lrn, 3)
    assert found.target == 3
    assert found.probabilities.sum(axis=0) == pytest.approx(1)
    warm = replace(lrn, record=replace(lrn.record, temperature=3.0))
    expected = torch.softmax(torch.from_numpy(found.logits) / 3, dim=0).numpy()
    assert glass.score_map(warm).probabilities == pytest.approx(expected, abs=1e-6)
    with pytest.raises(UsageError, match="class 7: the classes are numbered 0 to 6"):
        glass.score_map(lrn, 7)


def test_a_score_maps_picture_by_hand() -> None:
    """Two places of 64 pixels, 32 apart: their centres are rows 32 and 64, so that they meet in row 48."""
    shares = np.array([[[0.0], [1.0]], [[1.0], [0.0]]])
    found = dense.ScoreMap(np.zeros((96, 64, 3), np.uint8), shares.astype(np.float32), shares, 0, 64, 32)
    picture = np.asarray(found.picture()).astype(int).sum(axis=2)
    assert (picture[:48] == picture[0, 0]).all()
    assert (picture[48:] == picture[-1, -1]).all()
    assert picture[-1, -1] > picture[0, 0] + 200
    faint = replace(found, probabilities=shares * 0.1)
    assert np.asarray(faint.picture()).astype(int).sum(axis=2).max() < picture[0, 0] + 120  # 0.1 is not drawn as 1


# Ablation


def test_silenced_channels_move_the_logits(lrn: Subject) -> None:
    weight = lrn.network.get_parameter("conv3_2.weight")
    kept, bias = weight.detach().clone(), lrn.network.get_parameter("conv3_2.bias").detach().clone()
    found = glass.ablate(lrn, {"conv3_2": [17]})
    with torch.no_grad():
        weight[17] = 0
        lrn.network.get_parameter("conv3_2.bias")[17] = 0
    expected = lrn.logits()
    with torch.no_grad():
        weight.copy_(kept)
        lrn.network.get_parameter("conv3_2.bias").copy_(bias)
    assert found.after == pytest.approx(expected, abs=1e-5)
    assert found.before == pytest.approx(lrn.logits())
    assert found.moves == pytest.approx(found.after - found.before)
    assert np.abs(found.moves).max() > 1e-4


@pytest.mark.parametrize("layer", ["conv2_1", "relu4_2", "fc7"])
def test_ranking_is_ablation_channel_by_channel(lrn: Subject, layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "BATCH_NUMBERS", 30_000)  # several batches
    ranking = glass.rank(lrn, layer)
    assert sorted(effect.channel for effect in ranking) == list(range(lrn.layer(layer).output_shape[0]))
    moves = [abs(effect.move) for effect in ranking]
    assert moves == sorted(moves, reverse=True)
    target = int(lrn.logits().argmax())
    for effect in ranking[:2] + ranking[-1:]:
        found = glass.ablate(lrn, {layer: [effect.channel]})
        assert effect.move == pytest.approx(found.moves[target], abs=1e-4)
        assert effect.winner == int(found.after.argmax())


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["conv3_2"], "--without conv3_2: is not LAYER:CHANNEL"),
        (["conv3_2:x"], "write it as conv3_2:17"),
        (["conv3_2:" + "9" * 5000], "is not LAYER:CHANNEL"),
        (["conv3_9:1"], "did you mean conv3_"),
        (["conv3_2:99"], "channel 99 of conv3_2: it has 32"),
        (["prob:1"], "layer prob: comes after the logits"),
    ],
)
def test_impossible_ablations_are_explained(lrn: Subject, texts: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        glass.ablate(lrn, ablation.parse(texts))


def test_channels_to_silence_are_read() -> None:
    assert ablation.parse(["conv3_2:1,5", "fc6:0", "conv3_2:7"]) == {"conv3_2": [1, 5, 7], "fc6": [0]}


def test_classes_are_as_given() -> None:
    assert subject("A").record.classes == CLASSES
