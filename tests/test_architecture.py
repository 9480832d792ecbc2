"""The paper's arithmetic: counts, shapes and receptive fields follow from Table 1 of arXiv 1409.1556v6."""

import ast
import sys
from pathlib import Path
from typing import Any

import pytest

from vgglass import architecture
from vgglass.architecture import COLUMNS, Architecture, multiplier, names, scaled_widths
from vgglass.errors import UsageError

# Computed from the paper's Table 1 by hand; its Table 2 rounds them to 133, 133, 134, 138 and 144 million.
PARAMETERS = {
    "A": 132863336,
    "A-LRN": 132863336,
    "B": 133047848,
    "C": 133638952,
    "D": 138357544,
    "E": 143667240,
}
GIGA_MULTIPLY_ADDS = {"A": 7.609, "A-LRN": 7.609, "B": 11.308, "C": 11.771, "D": 15.470, "E": 19.632}
WEIGHT_LAYERS = {"A": 11, "A-LRN": 11, "B": 13, "C": 16, "D": 16, "E": 19}
RECEPTIVE_FIELDS = {
    "A": {"conv5_2": 134, "pool5": 150, "fc6": 342},
    "A-LRN": {"conv5_2": 134, "pool5": 150, "fc6": 342},
    "B": {"conv5_2": 140, "pool5": 156, "fc6": 348},
    "C": {"conv5_3": 140, "pool5": 156, "fc6": 348},
    "D": {"conv1_1": 3, "conv1_2": 5, "pool1": 6, "conv5_3": 196, "pool5": 212, "fc6": 404, "prob": 404},
    "E": {"conv5_4": 252, "pool5": 268, "fc6": 460},
}


@pytest.mark.parametrize("column", COLUMNS)
def test_the_papers_numbers(column: str) -> None:
    network = Architecture(column)
    assert network.parameters == PARAMETERS[column]
    assert round(network.multiply_adds / 1e9, 3) == GIGA_MULTIPLY_ADDS[column]
    assert sum("weight" in layer.tensors for layer in network.layers()) == WEIGHT_LAYERS[column]
    sees = {layer.name: layer.receptive_field.size for layer in network.layers()}
    assert {name: sees[name] for name in RECEPTIVE_FIELDS[column]} == RECEPTIVE_FIELDS[column]


# One example of each oddity, written out: a batch norm after every convolution, LRN once, a 1x1 convolution third.
A_WITH_BATCH_NORM = """
    conv1_1 bn1_1 relu1_1 pool1
    conv2_1 bn2_1 relu2_1 pool2
    conv3_1 bn3_1 relu3_1 conv3_2 bn3_2 relu3_2 pool3
    conv4_1 bn4_1 relu4_1 conv4_2 bn4_2 relu4_2 pool4
    conv5_1 bn5_1 relu5_1 conv5_2 bn5_2 relu5_2 pool5
    fc6 relu6 drop6 fc7 relu7 drop7 fc8 prob
"""
A_WITH_LRN = """
    conv1_1 relu1_1 norm1 pool1
    conv2_1 relu2_1 pool2
    conv3_1 relu3_1 conv3_2 relu3_2 pool3
    conv4_1 relu4_1 conv4_2 relu4_2 pool4
    conv5_1 relu5_1 conv5_2 relu5_2 pool5
    fc6 relu6 drop6 fc7 relu7 drop7 fc8 prob
"""
C = """
    conv1_1 relu1_1 conv1_2 relu1_2 pool1
    conv2_1 relu2_1 conv2_2 relu2_2 pool2
    conv3_1 relu3_1 conv3_2 relu3_2 conv3_3 relu3_3 pool3
    conv4_1 relu4_1 conv4_2 relu4_2 conv4_3 relu4_3 pool4
    conv5_1 relu5_1 conv5_2 relu5_2 conv5_3 relu5_3 pool5
    fc6 relu6 drop6 fc7 relu7 drop7 fc8 prob
"""


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (Architecture("A", batch_norm=True), A_WITH_BATCH_NORM),
        (Architecture("A-LRN"), A_WITH_LRN),
        (Architecture("C"), C),
    ],
    ids=["A_bn", "A-LRN", "C"],
)
def test_layer_names_in_order(network: Architecture, expected: str) -> None:
    assert [layer.name for layer in network.layers()] == expected.split()


def test_one_network_by_hand() -> None:
    """A at 70 pixels, an eighth of the width: 70 -> 35 -> 17 -> 8 -> 4 -> 2, so fc6 spans 2x2 of 64 channels."""
    network = Architecture.named("A_bn", classes=10, channels=1, image_size=70, width=1 / 8, hidden=20)
    layers = {layer.name: layer for layer in network.layers()}
    assert network.head_kernel == 2

    first = layers["conv1_1"]
    assert (first.kind, first.kernel, first.stride, first.padding) == ("conv", 3, 1, 1)
    assert (first.input_shape, first.output_shape) == ((1, 70, 70), (8, 70, 70))
    assert first.tensors == {"weight": (8, 1, 3, 3), "bias": (8,)}
    assert first.parameters == 80
    assert first.multiply_adds == 8 * 70 * 70 * 9

    norm = layers["bn1_1"]
    assert norm.tensors == {"weight": (8,), "bias": (8,), "running_mean": (8,), "running_var": (8,)}
    assert (norm.parameters, norm.multiply_adds) == (16, 0)

    pool = layers["pool2"]
    assert (pool.kernel, pool.stride, pool.padding, pool.receptive_field.jump) == (2, 2, 0, 4)
    assert (pool.input_shape, pool.output_shape) == ((16, 35, 35), (16, 17, 17))

    fc6 = layers["fc6"]
    assert (fc6.kernel, fc6.input_shape, fc6.output_shape) == (2, (64, 2, 2), (20, 1, 1))
    assert fc6.tensors == {"weight": (20, 256), "bias": (20,)}
    assert (fc6.parameters, fc6.multiply_adds) == (5140, 5120)
    assert (fc6.receptive_field.jump, fc6.receptive_field.size) == (32, layers["pool5"].receptive_field.size + 32)
    assert (layers["fc7"].kernel, layers["prob"].output_shape) == (1, (10, 1, 1))

    tensors = network.tensors()
    assert tensors["conv1_1.weight"] == (8, 1, 3, 3)
    assert tensors["bn5_2.running_var"] == (64,)
    assert tensors["fc8.weight"] == (10, 20)
    assert "num_batches_tracked" not in " ".join(tensors)


def test_column_c_has_1x1_convolutions_without_padding() -> None:
    layers = {layer.name: layer for layer in Architecture("C").layers()}
    assert (layers["conv3_3"].kernel, layers["conv3_3"].padding) == (1, 0)
    assert layers["conv3_3"].tensors["weight"] == (256, 256, 1, 1)
    assert layers["conv3_3"].receptive_field == layers["conv3_2"].receptive_field


def test_a_tiny_width_leaves_one_channel() -> None:
    assert Architecture.named("A", width=0.001).layers()[0].output_shape == (1, 224, 224)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vgg11", Architecture("A")),
        ("vgg13", Architecture("B")),
        ("vgg16", Architecture("D")),
        ("vgg19", Architecture("E")),
        ("VGG16_BN", Architecture("D", batch_norm=True)),
        ("a-lrn", Architecture("A-LRN")),
        ("C_bn", Architecture("C", batch_norm=True)),
    ],
)
def test_aliases(name: str, expected: Architecture) -> None:
    assert Architecture.named(name) == expected


def test_every_name_leads_to_an_architecture_of_that_name() -> None:
    assert len(names()) == 20
    for name in names():
        network = Architecture.named(name, classes=7)
        assert network.classes == 7
        assert Architecture.named(network.name, classes=7) == network
    assert Architecture("D", batch_norm=True).name == "vgg16_bn"
    assert Architecture("C").name == "C"


def test_at_changes_the_head_alone() -> None:
    assert Architecture("D", classes=5).at(96) == Architecture("D", classes=5, image_size=96)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 31}, "image size 31: five 2x2 poolings leave nothing .* choose 32 or more"),
        ({"channels": 2}, r"2 channels: an image has 1 \(grey\) or 3 \(colour\); choose 1 or 3"),
        ({"classes": 1}, "1 classes: a classifier chooses among at least two; choose 2 or more"),
        ({"width": 0}, r"width 0: the channel multiplier lies in \(0, 64\]; 1.0 is the paper's"),
        ({"width": 64.5}, r"width 64.5: the channel multiplier lies in \(0, 64\]"),
        ({"width": float("nan")}, r"width nan: the channel multiplier lies in \(0, 64\]"),
        ({"widths": (8, 8)}, "2 widths: vgg16 has 13 convolutions; name one width for each"),
        ({"widths": (0,) + (8,) * 12}, "widths 0, 8, .*: each convolution has 1 to 64 times the paper's channels"),
        ({"widths": (4097,) + (8,) * 12}, "widths 4097, 8, .*: each convolution has 1 to 64 times"),
        ({"head": "none"}, "head 'none': not one of vgg, pooled; choose one of them"),
        ({"hidden": 0}, "fc6 of 0 outputs: fc6 and fc7 need outputs; 4096 is the paper's"),
        ({"dropout": 1}, r"dropout 1: a share to zero lies in \[0, 1\); 0.5 is the paper's"),
        ({"dropout": -0.1}, r"dropout -0.1: a share to zero lies in \[0, 1\)"),
    ],
)
def test_every_options_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Architecture.named("vgg16", **options)


def test_the_pooled_head_is_an_average_and_fc8() -> None:
    """512 K + K numbers in place of 120 million; its field is fc6's, for both span pool5."""
    pooled, paper = (Architecture.named("vgg16", head=head, classes=10) for head in ("pooled", "vgg"))
    after = [layer for layer in pooled.layers() if layer.name in ("pool5", "avgpool", "fc8", "prob")]
    assert [layer.output_shape for layer in after] == [(512, 7, 7), (512, 1, 1), (10, 1, 1), (10, 1, 1)]
    assert (pooled.layers()[-3].kind, pooled.layers()[-3].kernel) == ("avgpool", 7)
    assert sum(layer.parameters for layer in after) == 512 * 10 + 10
    assert pooled.layer("avgpool").receptive_field == paper.layer("fc6").receptive_field
    assert (pooled.hidden, pooled.embedding, pooled.head_layer) == ((0, 0), "avgpool", "avgpool")
    assert (paper.hidden, paper.embedding, paper.head_layer) == ((4096, 4096), "fc7", "fc6")


def test_every_convolution_has_a_width_of_its_own() -> None:
    network = Architecture("A", widths=(3, 5, 7, 11, 13, 17, 19, 23), image_size=32, head="pooled")
    outputs = [layer.output_shape[0] for layer in network.layers() if layer.kind == "conv"]
    assert outputs == [3, 5, 7, 11, 13, 17, 19, 23]
    assert network.tensors()["conv3_2.weight"] == (11, 7, 3, 3)
    assert network.tensors()["fc8.weight"] == (1000, 23)


@pytest.mark.parametrize("width", [1.0, 0.5, 2.0, 0.1, 53.4 / 512])
def test_a_multiplier_is_found_again(width: float) -> None:
    widths = scaled_widths("D", width)
    found = multiplier("D", widths)
    assert found is not None
    assert scaled_widths("D", found) == widths
    assert width not in (1.0, 0.5, 2.0) or found == width


def test_widths_of_no_multiplier() -> None:
    assert multiplier("A", (64, 128, 256, 255, 512, 512, 512, 512)) is None


def test_limits_are_allowed() -> None:
    assert Architecture.named("A", image_size=32, classes=2, width=64, hidden=1, dropout=0).head_kernel == 1


@pytest.mark.parametrize(
    ("name", "remedy"), [("vgg61", "did you mean .*vgg16"), ("D_bnn", "did you mean .*D_bn"), ("zzz", "see the list")]
)
def test_an_unknown_name(name: str, remedy: str) -> None:
    with pytest.raises(UsageError, match=rf"architecture '{name}': not one of A, A-LRN, .*vgg19_bn; {remedy}"):
        Architecture.named(name)
    with pytest.raises(UsageError, match=f"architecture '{name}'"):
        Architecture(name)


def test_standard_library_only() -> None:
    tree = ast.parse(Path(architecture.__file__).read_text(encoding="utf-8"))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    foreign = {module for module in modules if module.split(".")[0] not in sys.stdlib_module_names}
    assert foreign == {"vgglass.errors"}
