"""Why this class: methods against their definitions, the network left alone, and whether maps mean anything."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from glass_subjects import model, photograph, subject
from vgglass import glass
from vgglass.architecture import Architecture
from vgglass.errors import UsageError
from vgglass.glass import Subject, attribution, preference, sanity
from vgglass.glass.attribution import methods
from vgglass.glass.subject import untouched

PAPER = Architecture.named("vgg11")


@pytest.fixture(scope="module")
def here() -> Subject:
    return subject("A", seed=11)


def _gradient(here: Subject, image: torch.Tensor, target: int) -> torch.Tensor:
    image = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(here.network(image)[:, target].sum(), image)
    return gradient


def test_saliency_is_the_largest_gradient_of_the_channels(here: Subject) -> None:
    found = glass.attribute(here, "saliency", target=3)
    assert found.map == pytest.approx(_gradient(here, here.input, 3)[0].abs().amax(dim=0).numpy(), abs=1e-6)
    assert glass.attribute(here, "saliency").target == int(here.logits().argmax())


def test_gradcam_is_maps_weighted_by_mean_gradients(here: Subject) -> None:
    found = glass.attribute(here, "gradcam", target=2, layer="conv4_1")
    image = here.input.clone().requires_grad_()
    maps = next(step.output for step in here.network.walk(image) if step.name == "conv4_1")
    score = here.network.after("conv4_1", maps)[0, 2]
    (gradient,) = torch.autograd.grad(score, maps)
    weighted = (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True).relu()
    expected = F.interpolate(weighted, (64, 64), mode="bilinear", align_corners=False)[0, 0]
    assert found.map == pytest.approx(expected.detach().numpy(), abs=1e-5)
    assert glass.attribute(here, "gradcam").name == "gradcam-relu5_2"


def test_occlusion_is_the_fall_of_the_score(here: Subject) -> None:
    found = glass.attribute(here, "occlusion", target=1)
    step, size = 64 // attribution.OCCLUSION_PLACES, 64
    hidden = here.input.clone()
    hidden[..., : 2 * step, : 2 * step] = 0
    with torch.no_grad():
        fall = float(here.network(here.input)[0, 1] - here.network(hidden)[0, 1])
    assert found.map[0, 0] == pytest.approx(fall, abs=1e-4)  # the corner lies under one patch alone
    second = here.input.clone()
    second[..., : 2 * step, step : 3 * step] = 0
    with torch.no_grad():
        other = float(here.network(here.input)[0, 1] - here.network(second)[0, 1])
    assert found.map[0, step] == pytest.approx((fall + other) / 2, abs=1e-4)  # and this place under two
    assert found.map.shape == (size, size)
    assert found.signed


def test_integrated_gradients_add_up_to_the_score_gained(here: Subject) -> None:
    found = glass.attribute(here, "integrated-gradients", target=1)
    with torch.no_grad():
        gained = float(here.network(here.input)[0, 1] - here.network(torch.zeros_like(here.input))[0, 1])
    assert float(found.map.sum()) == pytest.approx(gained, rel=0.05, abs=0.05)


def test_smoothgrad_tends_to_the_gradient_without_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)  # no ties for pooling to break
    here = glass.open_subject(model("A", seed=11), pixels)
    monkeypatch.setattr(attribution, "SMOOTHGRAD_NOISE", 1e-7)
    near = glass.attribute(here, "smoothgrad", target=3).map
    plain = glass.attribute(here, "saliency", target=3).map
    assert near == pytest.approx(plain, abs=1e-3)
    monkeypatch.undo()
    assert np.abs(glass.attribute(here, "smoothgrad", target=3).map - plain).mean() > 0.05 * plain.mean()


@pytest.mark.parametrize("method", methods(PAPER))
def test_maps_repeat_and_stay_finite(here: Subject, method: str) -> None:
    first, second = (glass.attribute(here, method, target=0) for _ in range(2))
    assert np.array_equal(first.map, second.map)
    assert first.map.shape == (64, 64)
    assert np.isfinite(first.map).all()
    assert np.ptp(first.map) > 0


def test_stages_come_nearer_to_the_whole(here: Subject) -> None:
    for method, count in (("smoothgrad", 8), ("occlusion", 2), ("integrated-gradients", 16)):
        maps = [stage.attribution.map for stage in attribution.stages(here, method, 2)]
        assert len(maps) == count
        distances = [float(np.abs(each - maps[-1]).sum()) for each in (maps[0], maps[count // 2])]
        assert distances[0] >= distances[1]
    assert np.array_equal(maps[-1], glass.attribute(here, "integrated-gradients", 2).map)
    with pytest.raises(UsageError, match="class 99: the classes are numbered"):
        attribution.stages(here, "smoothgrad", 99)


def test_an_image_made_for_a_channel_excites_it(here: Subject) -> None:
    """More than any of the photograph's places does; and it is as large as the field, or the square."""
    *before, last = preference.stages([here], "conv2_1", 4)
    assert [stage.done for stage in (*before, last)] == list(range(1, last.total + 1))
    assert all(stage.image is None for stage in before)
    assert last.patches
    made, (patch,) = np.asarray(last.image), last.patches
    side = glass.receptive_field(here.network.architecture, "conv2_1").size
    assert made.shape == (side, side, 3)
    maps = next(view for view in glass.walk(here) if view.name == "conv2_1").maps[4]
    assert patch.value == pytest.approx(float(maps.max()), rel=1e-4)
    assert maps[patch.position] == maps.max()
    with pytest.raises(UsageError, match="channel 99 of conv2_1"):
        preference.stages([here], "conv2_1", 99)
    square = np.full((64, 64, 3), 128, np.uint8)
    square[32 - side // 2 :, 32 - side // 2 :][:side, :side] = made
    excited = glass.open_subject(model("A", seed=11), square)
    assert next(view for view in glass.walk(excited) if view.name == "conv2_1").maps[4].max() > maps.mean()


WAYS: dict[str, Callable[[Subject], object]] = {
    **{method: partial(glass.attribute, method=method) for method in methods(PAPER)},
    "class model": lambda here: glass.class_model(here, 1),
    "sanity": lambda here: glass.check(here, glass.attribute(here, "saliency")),
    "effective field": lambda here: glass.effective_field(here, "pool2"),
    "ablation": lambda here: glass.ablate(here, {"conv1_1": [0]}),
    "ranking": lambda here: glass.rank(here, "conv4_1"),
    "step": lambda here: glass.step(here, "conv3_1"),
    "walk": lambda here: list(glass.walk(here)),
    "both ways": glass.both_ways,
    "score map": glass.score_map,
    "look": glass.look,
}


@pytest.mark.parametrize("way", WAYS)
def test_the_network_and_the_image_are_left_as_they_were(way: str) -> None:
    here = subject("vgg11_bn", seed=5)
    network = here.network
    network.get_submodule("drop6").train()  # an odd state that must survive
    network.get_parameter("conv1_1.weight").requires_grad_(False)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    image = here.input.clone()
    hooks = [(len(module._forward_hooks), len(module._backward_hooks)) for module in network.modules()]
    random = torch.get_rng_state()
    WAYS[way](here)
    assert network.get_submodule("drop6").training
    assert not network.get_submodule("conv1_1").training
    assert [name for name, parameter in network.named_parameters() if not parameter.requires_grad] == ["conv1_1.weight"]
    assert all(parameter.grad is None for parameter in network.parameters())
    assert [(len(module._forward_hooks), len(module._backward_hooks)) for module in network.modules()] == hooks
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(here.input, image)
    assert not here.input.requires_grad
    assert here.input.grad is None
    assert torch.equal(torch.get_rng_state(), random)


def test_an_error_inside_leaves_the_network_too(here: Subject) -> None:
    modes = [module.training for module in here.network.modules()]
    with pytest.raises(RuntimeError, match="stop"), untouched(here.network):
        raise RuntimeError("stop")
    assert [module.training for module in here.network.modules()] == modes
    assert all(parameter.requires_grad for parameter in here.network.parameters())


def test_the_class_model_raises_the_score(here: Subject) -> None:
    from vgglass.preprocess import normalise

    pixels = glass.class_model(here, 4)
    assert pixels.shape == (64, 64, 3)
    image = torch.from_numpy(normalise(pixels[None], here.record.preprocessing))
    with torch.no_grad():
        before, after = here.network(torch.zeros_like(image))[0, 4], here.network(image)[0, 4]
    assert after > before


def test_decay_keeps_the_class_model_near_the_mean_image(here: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    spread = {}
    for decay in (0.0, 1.0):
        monkeypatch.setattr(attribution, "DREAM_DECAY", decay)
        spread[decay] = glass.class_model(here, 4).std()
    assert spread[1.0] < 0.7 * spread[0.0]


def test_a_network_fed_bgr_is_explained_in_rgb() -> None:
    """The same network with its first kernels turned to RGB dreams the same picture."""
    file = model("A", seed=11)
    bgr = replace(file.record, preprocessing=replace(file.record.preprocessing, channel_order="BGR"))
    turned = file.weights | {"conv1_1.weight": np.ascontiguousarray(file.weights["conv1_1.weight"][:, ::-1])}
    ways = (replace(file, record=bgr), replace(file, weights=turned))
    pictures = [glass.class_model(glass.open_subject(way, photograph()), 2, steps=3).astype(int) for way in ways]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1
    assert np.ptp(pictures[0]) > 3


def test_sanity_checks(here: Subject) -> None:
    found = glass.attribute(here, "integrated-gradients")
    checked = glass.check(here, found)
    assert checked.deletion.shape == (sanity.CURVE_STEPS + 1,)
    with torch.no_grad():
        whole = float(here.network(here.input).softmax(dim=1)[0, found.target])
        empty = float(here.network(torch.zeros_like(here.input)).softmax(dim=1)[0, found.target])
    for curve in (checked.deletion, checked.random_deletion):
        assert (curve[0], curve[-1]) == pytest.approx((whole, empty), abs=1e-5)
    for curve in (checked.insertion, checked.random_insertion):
        assert (curve[0], curve[-1]) == pytest.approx((empty, whole), abs=1e-5)
    half = np.argsort(-found.map.ravel(), kind="stable")[: found.map.size // 2]
    kept = torch.zeros(found.map.size)
    kept[torch.from_numpy(half.copy())] = 1
    with torch.no_grad():
        share = float(here.network(here.input * kept.reshape(64, 64)).softmax(dim=1)[0, found.target])
    assert checked.insertion[sanity.CURVE_STEPS // 2] == pytest.approx(share, abs=1e-5)
    assert not np.array_equal(checked.randomised.map, found.map)
    assert checked.correlation is not None
    assert -1 <= checked.correlation <= 1
    assert checked.areas()["deletion"] == pytest.approx(checked.deletion.mean())


def test_spearman_by_hand() -> None:
    a = np.array([[1, 2], [3, 4]], np.float32)
    assert sanity._spearman(a, a**3) == pytest.approx(1)
    assert sanity._spearman(a, -a) == pytest.approx(-1)
    assert sanity._spearman(a, np.array([[1, 3], [2, 4]], np.float32)) == pytest.approx(0.8)  # 1 - 6*2/(4*15)
    assert sanity._spearman(a, np.ones((2, 2), np.float32)) is None  # nothing to compare


def test_random_weights_are_random_throughout() -> None:
    here = subject("vgg11_bn", seed=5)
    network = sanity._randomised(here).network
    assert float(network.get_buffer("bn1_1.running_mean").abs().max()) == 0
    assert not torch.equal(network.get_parameter("conv1_1.weight"), here.network.get_parameter("conv1_1.weight"))
    assert not network.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "lime"}, "attribution 'lime': not one of class-map, saliency"),
        ({"method": "saliency", "layer": "conv1_1"}, "saliency looks at the image alone"),
        ({"method": "gradcam", "layer": "fc7"}, "layer fc7: has no map for Grad-CAM to weigh"),
        ({"method": "gradcam", "layer": "relu6"}, "choose a layer before fc6"),
        ({"method": "gradcam", "layer": "conv9"}, "layer 'conv9': .*did you mean conv"),
        ({"method": "saliency", "target": 7}, "class 7: the classes are numbered 0 to 6"),
    ],
)
def test_impossible_attributions_are_explained(here: Subject, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        glass.attribute(here, **options)  # type: ignore[arg-type]
