"""The commands that teach and look, as a person types them: what they print, draw and refuse."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import ToTensor
from torchvision.utils import save_image

from glass_subjects import CLASSES, model, photograph
from vgglass import cli, modelfile

Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run one command in an empty folder; what it printed, errors last."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, status: int = 0) -> str:
        monkeypatch.setattr("sys.argv", ["vgglass", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        printed = capsys.readouterr()
        assert (exit_.value.code or 0) == status, printed
        return printed.out + printed.err

    return run


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("glass") / "small.safetensors"
    modelfile.save(model("vgg11_bn"), path)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "飞船 <i>.png"
    Image.fromarray(photograph()).save(path)
    return path


# The study note's script


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
@pytest.mark.parametrize("kind", ["max", "min", "avg"])
def test_pooling_is_the_notes_script_to_the_byte(run: Run, tmp_path: Path, kind: str, mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (37, 50, 4), dtype=np.uint8)
    picture = Image.fromarray(noise) if mode == "RGBA" else Image.fromarray(noise[..., :3]).convert(mode)
    picture.save(tmp_path / "spaceship.png")
    opened = ToTensor()(Image.open(tmp_path / "spaceship.png").convert("RGB"))[None]
    modules: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "max": nn.MaxPool2d(kernel_size=6, stride=2, padding=0),
        "min": lambda x: -nn.MaxPool2d(kernel_size=6, stride=2, padding=0)(-x),
        "avg": nn.AvgPool2d(kernel_size=6, stride=2, padding=0),
    }
    save_image(modules[kind](opened), tmp_path / "note.png")
    options = ("--kind", kind, "--kernel", 6, "--stride", 2, "--padding", 0, "--out", "o.png")
    printed = run("pool", "spaceship.png", *options)
    assert (tmp_path / "o.png").read_bytes() == (tmp_path / "note.png").read_bytes()
    assert "image: 1×3×37×50" in printed
    assert "output: 1×3×16×23" in printed
    said = "spaceship.png differs as the study note reads it: its alpha is dropped here" in printed
    assert said is (mode == "RGBA")


def test_pooling_shows_a_window(run: Run, tmp_path: Path) -> None:
    ramp = np.arange(16, dtype=np.uint8).reshape(4, 4, 1).repeat(3, axis=2)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    printed = run("pool", "ramp.png", "--kernel", 2, "--at", "1,0")
    assert "Output 1,0: rows 2 to 3 and columns 0 to 1 of the image" in printed
    assert f"maximum {13 / 255:.6g}, at row 3, column 1 of the image" in printed
    printed = run("pool", "ramp.png", "--kernel", 3, "--padding", 1, "--kind", "avg", "--at", "0,0", "--lang", "zh")
    terms = f"0 + 0 + 0 + 0 + 0 + {1 / 255:.5g} + 0 + {4 / 255:.5g} + {5 / 255:.5g}"
    assert f"({terms}) / 9 = {10 / 255 / 9:.6g}" in printed
    assert "输出 0,0：对应图像的第 -1 至 1 行" in printed
    assert (tmp_path / "avgpool.png").exists()


def test_padding_never_wins_and_says_so(run: Run, tmp_path: Path) -> None:
    Image.new("RGB", (6, 6), (200, 100, 50)).save(tmp_path / "flat.png")
    printed = run("pool", "flat.png", "--kind", "min", "--kernel", 3, "--padding", 1, "--at", "0,0")
    assert "(inf)" in printed
    assert "it never wins" in printed
    assert f"minimum {200 / 255:.6g}, at row 0, column 0 of the image" in printed
    assert "(-inf)" in run("pool", "flat.png", "--kernel", 3, "--padding", 1, "--at", "0,0")


def test_without_an_image_a_photograph_is_taken(run: Run) -> None:
    printed = run("pool")
    assert "No image given: a photograph that scikit-learn ships." in printed
    assert "image: 1×3×427×640" in printed


# Convolution


def test_convolution_shows_every_product(run: Run, tmp_path: Path) -> None:
    ramp = np.arange(16, dtype=np.uint8).reshape(4, 4, 1).repeat(3, axis=2)
    Image.fromarray(ramp * 15).save(tmp_path / "ramp.png")
    printed = run("conv", "ramp.png", "--kernel", "[[0,1],[0,-1]]", "--at", "0,0")
    # Each column falls by 4 * 15 / 255 a row; three channels.
    assert f"sum: {-60 / 255:.6g}" in printed
    assert f"= {-180 / 255:.6g}" in printed
    assert "does not flip the kernel" in printed
    assert "±0.706 white and black" in printed
    assert set(np.unique(np.asarray(Image.open(tmp_path / "conv.png")))) == {0}
    flipped = run("conv", "ramp.png", "--kernel", "[[0,1],[0,-1]]", "--at", "0,0", "--flip")
    assert f"= {180 / 255:.6g}" in flipped
    assert "turned by 180 degrees, as mathematics" in flipped


def test_gathering_and_scattering_are_both_shown(run: Run, image: Path, tmp_path: Path) -> None:
    options = ("conv", image, "--kernel", "sharpen", "--padding", 1, "--stride", 2, "--at", "3,4")
    gathered = run(*options)
    pictures = [(tmp_path / "conv.png").read_bytes()]
    scattered = run(*options, "--as", "scatter")
    pictures.append((tmp_path / "conv.png").read_bytes())
    assert pictures[0] == pictures[1]
    assert gathered.index("gather: a sum") < gathered.index("scatter: a response")
    assert scattered.index("scatter: a response") < scattered.index("gather: a sum")
    total = re.search(r"Sum over height, width and depth: .* = (\S+)", gathered)
    assert total is not None
    assert total.group() in scattered
    assert (
        len(re.findall(f" {re.escape(total.group(1))}$", gathered, re.MULTILINE)) == 3
    )  # in the table twice, and here
    assert "products" in gathered
    laid = re.findall(r"pixel (\d+),(\d+) lays down (\S+) × (\S+) = (\S+) here", scattered)
    assert len(laid) == 27
    # With stride 2 and padding 1 the window of 3,4 begins at row 5, column 7.
    assert [(int(row), int(column)) for row, column, *_ in laid[:4]] == [(5, 7), (5, 8), (5, 9), (6, 7)]
    assert float(laid[1][2]) == pytest.approx(photograph()[5, 8, 0] / 255, rel=1e-4)
    assert sum(float(product) for *_, product in laid) == pytest.approx(float(total.group(1)), abs=1e-3)
    assert "The response to a single 1" in scattered


def test_three_maps_on_request(run: Run, image: Path, tmp_path: Path) -> None:
    assert "output: 1×3×78×98" in run("conv", image, "--kernel", "identity", "--per-channel")
    with Image.open(tmp_path / "conv.png") as picture:
        assert np.array_equal(np.asarray(picture), photograph()[1:-1, 1:-1])


# ReLU and softmax


def test_relu_beside_tanh_and_sigmoid(run: Run, tmp_path: Path) -> None:
    values = np.array([[[-2.0, 0], [1, 3]]], np.float32)
    np.save(tmp_path / "map.npy", values)
    printed = run("relu", "map.npy", "--lang", "zh")
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line[:4] in ("relu", "tanh", "sigm")}
    assert rows["relu"][:4] == ["0", "1", "3", "50.00%"]
    assert rows["tanh"][:4] == ["-0.964", "0.1982", "0.9951", "25.00%"]
    assert rows["sigmoid"][3] == "0.00%"
    assert rows["relu"][5] == "1.0"
    with Image.open(tmp_path / "relu.png") as picture:
        assert picture.width > 600
    assert "true zeros" in run("relu")  # the sample photograph


def test_relu_by_depth_gives_each_claim_a_number_and_no_ratio_where_the_timings_disagree(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vgglass.glass import nonlinearities

    rounds = {"relu": (12.9, 12.9), "tanh": (13.0, 20.0), "sigmoid": (0.21, 12.0)}
    monkeypatch.setattr(nonlinearities, "_time_functions", lambda x: rounds)
    printed = run("relu")
    assert [line.split()[-1] for line in printed.splitlines() if line[:4] in ("relu", "tanh", "sigm")] == [
        "1.0",
        "—",
        "—",
    ]
    assert "No ratio where repeats of the timing disagree by more than a quarter: the machine is busy." in printed
    monkeypatch.setattr(nonlinearities, "STEPS", 2)
    printed = run("relu", "--depth")
    assert "1. Cheap (not settled: the timings disagree, the machine is busy): 12.90 ns a number" in printed
    assert "tanh 13.00, sigmoid 0.21." in printed
    assert "2. Sparse" in printed
    assert "3. Linear" in printed
    assert "4. Trains deep (does not hold here)" in printed  # after two steps
    assert "the same 2 steps" in printed
    assert "More than a guess: —." in printed
    layers = [line.split()[0] for line in printed.splitlines() if line.startswith(("conv", "fc"))]
    assert layers[-3:] == ["fc6", "fc7", "fc8"]
    assert (tmp_path / "relu.png").exists()


def test_softmax_with_every_term(run: Run) -> None:
    printed = run("softmax", 2.0, 1.0, -0.1, "--temperature", 2)
    numbers = torch.tensor([2.0, 1.0, -0.1]) / 2
    for share in numbers.double().softmax(0):
        assert f"{share:.6g}"[:6] in printed
    assert f"sum of exp = {float((numbers - 1).exp().sum()):.4g}"[:16] in printed
    assert "2    -0.1       -0.05" in printed


# Looking


def test_look_writes_its_folder(run: Run, small: Path, image: Path, tmp_path: Path) -> None:
    printed = run("look", "--model", small, image, "--out", "there", "--without", "conv3_1:0", "--rank", "conv4_1")
    assert re.search(r"conv1_1 +conv +64×64×8 ", printed)
    assert "Answer: " in printed
    assert "Without conv3_1:0" in printed
    assert "Figures with these channels silenced: conv3_1:0" in printed
    assert "Answer without conv3_1:0: " in printed
    assert "Channels of conv4_1 by what silencing one does" in printed
    assert (tmp_path / "there" / "index.html").exists()
    figures = json.loads(run("look", "--model", small, image, "--layers", "conv1_1,relu1_1,prob", "--json"))
    assert [layer["name"] for layer in figures["layers"]] == ["conv1_1", "relu1_1", "prob"]
    assert figures["layers"][0]["minimum"] < 0
    assert figures["top"][0]["class"] in CLASSES
    assert not (tmp_path / "look").exists()


def test_look_on_request(run: Run, small: Path, image: Path) -> None:
    printed = run(
        "look", "--model", small, image, "--sanity", "--dense", "--class-model", "--attribution", "all", "--lang", "zh",
        "--target", "狗", "--layers", "pool1",
    )  # fmt: skip
    assert "结果：" in printed
    assert re.search(r"integrated-gradients +-?\d\.\d+", printed)
    assert "把 fc6 至 fc8 当作卷积扫过整张 100×80 的图：2×1 个位置（宽×高）" in printed
    assert "；狗 的概率平均为 0." in printed
    assert "已写入：look/index.html" in printed


def test_step_prints_the_arithmetic(run: Run, small: Path, image: Path) -> None:
    for layer in ("conv2_1", "bn2_1", "relu2_1", "pool2", "fc6", "drop6", "fc8", "prob"):
        printed = run("step", "--model", small, image, "--layer", layer, "--channel", 1, "--at", "0,0")
        found = re.search(r"recomputed = (\S+)   network = (\S+)   difference = (\S+)   \(allowed (\S+) =", printed)
        assert found is not None, printed
        recomputed, network, difference, allowed = map(float, found.groups())
        assert abs(recomputed - network) <= allowed + 1e-8 * abs(network)
        assert difference <= allowed
    printed = run("step", "--model", small, image, "--layer", "conv2_1", "--channel", 1, "--at", "0,0", "--lang", "zh")
    assert "通道 1，第 0 行第 0 列；该层输出为 32×32×16" in printed
    assert "(0)" in printed  # the padding is marked
    every = run("step", "--model", small, image, "--layer", "conv2_1", "--channel", 1, "--at", "0,0", "--all")
    assert len(re.findall("input channel ", every)) == 8
    figures = json.loads(run("step", "--model", small, image, "--layer", "prob", "--json"))
    assert figures["difference"] <= figures["bound"]
    assert len(figures["terms"]["logits"]) == len(CLASSES)


def test_fully_connected_is_a_convolution(run: Run, small: Path, image: Path) -> None:
    printed = run("fc")
    assert "By 4096 kernels of 3×3×5" in printed
    assert "the same 184,320 weights" in printed
    printed = run("fc", image, "--model", small)
    assert "fc6: an input of 2×2×64 (H×W×C) becomes 1×24 by 24 kernels of the input's own size." in printed
    printed = run("fc", image, "--model", small, "--lang", "zh")
    assert "fc6：2×2×64（高×宽×通道）的输入经 24 个与输入同样大小的卷积核变成 1×24。" in printed


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readmes_example_runs(
    small: Path,
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    text = (Path(__file__).parent.parent / name).read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(from vgglass import glass\n.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {"runs/mine/best.safetensors": str(small), "photo.jpg": image.name}
    for there, here in names.items():
        assert there in block
        block = block.replace(there, here)
    exec(block, {})  # noqa: S102 (our own README)
    assert "recomputed = " in capsys.readouterr().out
    assert (tmp_path / "look" / "index.html").exists()


def test_mistakes_are_one_line(run: Run, small: Path, image: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "text.npy", np.array(["a"]))
    np.save(tmp_path / "endless.npy", np.array([[np.inf]]))
    (tmp_path / "empty.npy").touch()
    look, step = ("look", "--model", small, image), ("step", "--model", small, image)
    cases: list[tuple[tuple[object, ...], int, str]] = [
        (("pool", image, "--kernel", 90), 2, "kernel of 90×90 on an image of 80×100: output size = .* = -4, which"),
        (("pool", image, "--padding", 4), 2, r"padding 4: is more than half of the kernel 6.*floor\(\(80 \+ 2×4"),
        (("pool", image, "--at", "3"), 2, "--at 3: is not a position; write it as Y,X"),
        (("pool", image, "--at", "99,0"), 2, "position 99,0: the output has rows 0 to 37 and columns 0 to 47"),
        (("pool", image, "--out", "x.jpg"), 2, "--out x.jpg: pictures are written as PNG files; end it in .png"),
        (("relu", image, "--out", "x.jpg"), 2, "--out x.jpg: pictures are written as PNG files"),
        (("relu", "empty.npy"), 1, "empty.npy: can't be read as a map"),
        (("relu", "endless.npy"), 1, "endless.npy: holds numbers that are infinite or not a number"),
        (("pool", image, "--at", "-1,3"), 2, "position -1,3: the output has rows 0 to 37"),
        (("pool", image, "--at", "²,1"), 2, "--at ²,1: is not a position"),
        (("pool", "none.png"), 1, "none.png: No such file or directory; check the path"),
        (("conv", image, "--as", "magic"), 2, "--as magic: not one of gather, scatter"),
        (("conv", image, "--at", "78,0"), 2, "position 78,0: the output has rows 0 to 77"),
        (("relu", "text.npy"), 1, "text.npy: holds <U1 of shape 1, not real numbers"),
        (("relu", image, "--channel", 3), 2, "--channel 3: the map has channels 0 to 2"),
        (("softmax", 1, 2, "--temperature", 0), 2, "temperature 0.0: must be a positive number"),
        ((*look, "--layers", "conv9_9"), 2, r"layer 'conv9_9': vgg11_bn has .*\(nearest\).*did you mean"),
        ((*look, "--scale", "wide"), 2, "--scale wide: not one of map, layer, all"),
        ((*look, "--target", "鸟"), 2, r"--target 鸟: is none of the 7 classes \(nearest: <b>鸟</b>"),
        ((*look, "--without", "conv1_1:8"), 2, "channel 8 of conv1_1: it has 8, numbered 0 to 7; the nearest is 7"),
        ((*look, "--attribution", "lime"), 2, "attribution 'lime': not one of class-map, saliency"),
        ((*step, "--layer", "conv2_1", "--at", "40,1"), 2, "position 40,1 of conv2_1: its maps have rows 0 to 31"),
        (("look", "--model", small, tmp_path / "text.npy"), 1, "not an image that vgglass reads"),
    ]  # fmt: skip
    for arguments, status, message in cases:
        error = run(*arguments, status=status).splitlines()[-1]
        assert error.startswith("error: ")
        assert re.search(message, error), error
    assert not (tmp_path / "look").exists()


def test_too_small_an_image_for_the_score_map(run: Run, small: Path, tmp_path: Path) -> None:
    Image.fromarray(photograph(40, 90)).save(tmp_path / "small.png")
    error = run("look", "--model", small, tmp_path / "small.png", "--dense", status=2)
    assert "an image of 40x90: fc6 of this network spans 64 pixels a side; give it at least 64x64." in error


def test_options_reach_the_work(run: Run, small: Path, image: Path, tmp_path: Path) -> None:
    assert "output: 1×1×76×96" in run("conv", image, "--dilation", 2)
    Image.new("RGB", (8, 8), (124, 124, 124)).save(tmp_path / "grey.png")
    row = next(line.split() for line in run("relu", "grey.png").splitlines() if line.startswith("before"))
    assert float(row[1]) == pytest.approx(124 / 255 - 0.485, abs=1e-6)
    assert float(row[3]) == pytest.approx(124 / 255 - 0.406, abs=1e-5)
    options = ("--scale", "layer", "--order", "activation", "--layers", "pool2", "--at", "3,0", "--attribution", "none")
    run("look", "--model", small, image, *options)
    facts = json.loads(re.search(r"const facts = (.*);\n", (tmp_path / "look" / "index.html").read_text())[1])  # type: ignore[index]
    assert (facts["scale"], facts["order"]) == ("layer", "activation")
    assert facts["fields"][0]["position"] == [3, 0]
    assert facts["attributions"] == []
    figures = json.loads(run("look", "--model", small, image, "--dense", "--target", "狗", "--json"))
    assert figures["scores"]["class"] == "狗"
    assert np.array(figures["scores"]["probabilities"]).shape == (1, 2)


def test_the_rest_of_the_terms_adds_up(run: Run, small: Path, image: Path) -> None:
    printed = run("step", "--model", small, image, "--layer", "conv2_1", "--channel", 1, "--at", "9,9")
    sums = [float(text) for text in re.findall(r"their sum (\S+)", printed)]
    rest = float(re.search(r"the other 5 channels together: (\S+)", printed)[1])  # type: ignore[index]
    total, bias = map(float, re.search(r"sum of products = (\S+), bias = (\S+)", printed).groups())  # type: ignore[union-attr]
    assert sum(sums) + rest == pytest.approx(total, abs=1e-7)
    assert total + bias == pytest.approx(float(re.search(r"recomputed = (\S+)", printed)[1]), abs=1e-7)  # type: ignore[index]
    printed = run("step", "--model", small, image, "--layer", "fc7", "--channel", 2)
    products = [
        float(line.split()[3]) for line in printed.splitlines() if re.fullmatch(r" *\d+( +-?[\d.e-]+){3} *", line)
    ]
    rest = float(re.search(r"the other 16 together: (\S+)", printed)[1])  # type: ignore[index]
    total = float(re.search(r"sum of products = (\S+),", printed)[1])  # type: ignore[index]
    assert len(products) == 8
    assert sum(products) + rest == pytest.approx(total, abs=1e-4)


def test_step_says_where_it_looks(run: Run, small: Path, image: Path, tmp_path: Path) -> None:
    # 80x100 is cut to the middle 64x64 after a resize to 64x80: a pixel is 1.25 of the original, 8 columns are cut off.
    printed = run("step", "--model", small, image, "--layer", "conv1_1", "--channel", 0, "--at", "20,30")
    assert (
        "It sees 3×3 pixels of the input (distance between neighbours 1): rows 23 to 27 and columns 46 to 49" in printed
    )
    assert "input channel 0 (R)" in printed
    file = modelfile.load(small)
    padded = replace(file.record.preprocessing, fit="pad", channel_order="BGR")
    modelfile.save(
        replace(file, record=replace(file.record, preprocessing=padded, temperature=2.5)), tmp_path / "p.safetensors"
    )
    printed = run("step", "--model", "p.safetensors", image, "--layer", "conv1_1", "--channel", 0, "--at", "2,30")
    assert "It sees nothing but padding around the 100×80 image (3×3 pixels of the input)." in printed
    assert "input channel 0 (B)" in printed
    assert "divides the logits by its temperature 2.5" in run(
        "step", "--model", "p.safetensors", image, "--layer", "prob"
    )
    assert "divided by the model's temperature 2.5" in run("look", "--model", "p.safetensors", image)


def test_names_are_printed_as_they_are(run: Run, image: Path, tmp_path: Path) -> None:
    assert "Written: old[red]/[/tmp]a.png" in run("pool", image, "--out", "old[red]/[/tmp]a.png")
    assert (tmp_path / "old[red]" / "[" / "tmp]a.png").exists()


def test_a_place_that_cannot_be_written_is_one_line(run: Run, small: Path, image: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here already")
    error = run("pool", image, "--out", "file/o.png", status=1).splitlines()[-1]
    assert error.startswith("error: file")
    assert error.endswith("check that it can be written, or choose another place.")
    assert (
        run("look", "--model", small, image, "--out", "file", status=2)
        == "error: --out file: is a file; name a folder.\n"
    )
    assert "--model m: needs an image to look at" in run("fc", "--model", "m", status=2)
    assert (tmp_path / "file").read_text() == "here already"
