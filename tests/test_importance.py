"""The importance of channels on one image, by hand and by finite differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from glass_subjects import model, photograph, subject
from vgglass import glass
from vgglass.architecture import Architecture, Layer
from vgglass.glass import sheets
from vgglass.glass.importance import importance, taylor
from vgglass.glass.subject import put, untouched
from vgglass.model import VGG
from vgglass.preprocess import Preprocessing, placement


def test_importance_by_hand() -> None:
    """Ones go through 1x1 identities to conv5_2, whose two maps are all 2 and all 3; fc8 weighs them by 1 and -2."""
    architecture = Architecture.named(
        "A", classes=2, channels=1, image_size=32, head="pooled", widths=(1, 1, 1, 1, 1, 1, 1, 2)
    )
    network = VGG(architecture).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for name in ("1_1", "2_1", "3_1", "3_2", "4_1", "4_2", "5_1"):
            network.get_parameter(f"conv{name}.weight")[0, 0, 1, 1] = 1
        network.get_parameter("conv5_2.weight")[:, 0, 1, 1] = torch.tensor([2.0, 3.0])
        network.get_parameter("fc8.weight")[:] = torch.tensor([[1.0, -2.0], [5.0, 0.0]])
    file = network.to_file(("cat", "dog"), Preprocessing(32, 32, (0.0,), (1.0,), "L"))
    square = np.ones((32, 32, 1), np.uint8)
    here = put(network, file.record, "ones", square, placement(32, 32, file.record.preprocessing), square)
    # pool5 takes one of the four places, where activation x gradient is 2 x 1 and 3 x -2: means 0.5 and -1.5.
    with untouched(network):
        worth = taylor(network, here.input, lambda logits: logits[:, 0].sum())
    assert worth["conv5_2"].tolist() == [[0.5, 1.5]]
    assert worth["conv5_1"].tolist() == [[abs(2 - 6) / 4]]
    shares = importance(here, 0)
    assert shares["pool5"].tolist() == shares["relu5_2"].tolist() == shares["conv5_2"].tolist() == [0.25, 0.75]
    assert shares["avgpool"].tolist() == [0.25, 0.75]
    assert importance(here, 1)["relu5_2"].tolist() == [1, 0]
    assert importance(here, 0, {"relu5_2": [0]})["relu5_2"].tolist() == [0, 1]
    assert importance(here, 0, {"relu5_2": [0, 1]})["relu5_2"].tolist() == [0, 0]
    assert "fc8" not in shares
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("options", [{}, {"ranks": (6, 5)}], ids=["whole", "factored"])
def test_a_channel_turned_down_a_little_moves_the_logit_by_its_importance(options: dict[str, object]) -> None:
    here = subject("A", **options)
    network, little, target = here.network.double(), 1e-6, 2
    here = replace(here, input=here.input.double())
    with untouched(network):
        worth = taylor(network, here.input, lambda logits: logits[:, target].sum())
    factored = "_2" if options else ""
    assert list(worth)[-2:] == [f"fc6{factored}", f"fc7{factored}"]
    for origin, relu in (("conv1_1", "relu1_1"), ("conv4_2", "relu4_2"), (f"fc6{factored}", "relu6")):
        area = np.prod(here.layer(relu).output_shape[1:])
        moves = []
        for channel in range(4):

            def turned(layer: Layer, output: Tensor, relu: str = relu, channel: int = channel) -> Tensor:
                if layer.name != relu:
                    return output
                scale = torch.ones(output.shape[1], dtype=output.dtype)
                scale[channel] -= little
                return output * scale.view(-1, *[1] * (output.ndim - 2))

            *_, last = network.walk(here.input, turned)
            moves.append(float(last.input[0, target].detach()))
        whole = float(network(here.input)[0, target].detach())
        assert worth[origin][0, :4].numpy() == pytest.approx(np.abs(np.array(moves) - whole) / little / area, rel=1e-3)


def test_maps_are_sorted_and_marked_by_importance() -> None:
    maps = np.zeros((3, 8, 8), np.float32)
    shares = np.array([0.25, 0.0, 0.75])
    sheet = sheets.grid(maps, "t", order="importance", importance=shares)
    assert sheet.channels == (2, 0, 1)
    assert "most important first" in sheet.legend
    assert "share of the layer's importance" in sheet.legend
    pixels = np.asarray(sheet.image)
    bars = [int((pixels[top - 3, left : left + 96] > sheets.WHITE).sum()) for left, top in sheet.corners]
    assert bars == [96, 32, 0]
    assert sheets.grid(maps, "t", order="importance").channels == (0, 1, 2)
    assert [sheets.percent(share) for share in (1.0, 0.12345, 0.0994, 0.0311, 0.0)] == [
        "100%", "12%", "9.9%", "3.1%", "0.0%",
    ]  # fmt: skip


def test_a_look_says_the_importance_of_its_layers() -> None:
    here = glass.open_subject(model("A-LRN"), photograph())
    seen = glass.look(here, glass.LookOptions(layers=("conv3_1", "relu3_1", "relu6"), attributions=(), target=4))
    told = seen.as_json()["importance"]
    assert list(told) == ["relu3_1", "relu6"]
    assert told["relu3_1"] == importance(here, 4)["conv3_1"].tolist()
    assert sum(told["relu6"]) == pytest.approx(1)
