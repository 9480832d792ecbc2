"""vgglass bench: the arithmetic of its figures by hand, and whole runs of small networks in little time."""

import json
import re
import sys
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glass_subjects import model
from training_runs import quiet
from typed import vgglass
from vgglass import modelfile, workflows
from vgglass.architecture import Architecture
from vgglass.benchmark import candidates, machine, peers, tables, timing
from vgglass.benchmark.candidates import Candidate, random_model
from vgglass.benchmark.machine import Machine
from vgglass.benchmark.report import Agreement, Report, Row, Table, agreement, speed
from vgglass.benchmark.tables import Subject
from vgglass.engines import selection
from vgglass.engines.selection import Choice
from vgglass.errors import MissingExtraError

BENCH = sys.modules["vgglass.workflows.bench"]  # the package's name is the function
README = Path(__file__).parents[1] / "benchmarks" / "readme.py"
GPU = pytest.mark.skipif(not selection.has_gpu(), reason="no GPU on this machine")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "small.safetensors"
    modelfile.save(model("A", image_size=32), path)
    return path


@pytest.fixture(scope="module")
def graph(file: Path) -> Path:
    """The same network as a graph for images of any size."""
    path = file.with_suffix(".onnx")
    workflows.export(file, path, dense=True)
    return path


# Figures by hand.


def test_a_batch_takes_what_its_images_take() -> None:
    found = speed(np.array([0.8, 0.4, 1.6]), batch=8)
    assert (found.batch, found.rounds) == (8, 3)
    assert (found.milliseconds, found.lowest, found.highest) == pytest.approx((100, 50, 200))
    assert found.images_per_second == pytest.approx(10)


def test_a_ratio_is_the_median_of_the_rounds_own_and_not_the_ratio_of_medians() -> None:
    """In the middle round the machine was busy: with both of them."""
    one, other = np.array([2.0, 30.0, 4.0]), np.array([1.0, 10.0, 4.0])
    assert timing.ratio(one, other) == 2  # of 2, 3 and 1; the medians 4 and 4 would say 1


def test_agreement_with_float32() -> None:
    expected = np.array([[4, 0], [0, 4]], np.float32)  # a deviation of 2
    found = agreement(np.array([[4, 0], [3, 2]], np.float32), expected)
    assert (found.top1, found.difference) == (0.5, 1.5)  # the largest difference, 3, in deviations
    assert agreement(expected, expected).difference == 0
    assert agreement(np.ones((2, 2), np.float32), np.zeros((2, 2), np.float32)).difference == 1  # without a head


def test_who_is_compared_with_whom() -> None:
    """Eager PyTorch is the model's reference; a peer's is the model on the same engine in the same precision."""

    def candidate(network: str, engine: str, precision: str = "float32", logits: object = None) -> Candidate:
        return Candidate(network, engine, "CPU", precision, lambda batch: lambda: None, logits)  # type: ignore[arg-type]

    architecture = Architecture.named("vgg11")
    logits = np.array([[0, 2]], np.float32)
    plain, eager = candidate("m", "openvino", logits=logits), candidate("vgg11", "torchvision eager")
    eights, peak = candidate("m", "openvino", "int8"), candidate("matrix product", "openvino")
    peer, lone = candidate("resnet18", "openvino"), candidate("resnet18", "torch")
    half = candidate("resnet18", "openvino", "bfloat16")
    subject = Subject("m", architecture, (plain, eights), eager, logits)
    seconds = {plain: 2.0, eager: 6.0, eights: 1.0, peak: 0.5, peer: 0.25, lone: 1.0, half: 1.0}
    times = {(one, 4): np.array([taken, taken, 4 * taken]) for one, taken in seconds.items()}
    peaks = tables.peaks_of([peak], [4], times)
    assert peaks == {("CPU", "float32"): 1024**3 / 0.5}
    table = tables.table(subject, [4], peaks, times)
    assert table.about == "vgg11, 224×224, 132.9 M parameters, 7.61 G multiply-adds an image"
    assert [row.engine for row in table.rows] == ["torchvision eager", "openvino", "openvino"]
    assert [row.times_as_quick for row in table.rows] == [1, 3, 6]
    reached = 4 * architecture.multiply_adds / 2 / (1024**3 / 0.5)
    assert [row.share_of_peak for row in table.rows] == [pytest.approx(reached / 3), pytest.approx(reached), None]
    assert [row.agreement and row.agreement.top1 for row in table.rows] == [None, 1, None]
    rows = list(tables.peer_rows([peer, lone, half], subject, [4], times))
    assert [(row.network, row.times_as_quick, row.share_of_peak) for row in rows] == [
        ("resnet18", 8, None), ("resnet18", None, None), ("resnet18", None, None),
    ]  # fmt: skip
    alone = replace(subject, eager=None, expected=None)
    (row, _) = tables.table(alone, [4], {}, times).rows
    assert (row.times_as_quick, row.share_of_peak, row.agreement) == (None, None, None)


def test_the_plan_gives_every_batch_a_round_before_another() -> None:
    """Two works of 0.1 and 0.2 s an image: 0.3 s a round of batch 1, 3 s of batch 10, each with one to warm up."""
    assert timing.plan([10, 1], [0.1, 0.2], 0.5) == {1: 0, 10: 0}
    assert timing.plan([10, 1], [0.1, 0.2], 0.7) == {1: 1, 10: 0}
    assert timing.plan([10, 1], [0.1, 0.2], 6.7) == {1: 1, 10: 1}
    assert timing.plan([10, 1], [0.1, 0.2], 10.0) == {1: 2, 10: 2}
    assert timing.plan([1], [0.1], 1000) == {1: timing.MOST_ROUNDS}
    assert timing.plan([1], [1e-9], 3.5 * timing.VISIT) == {1: 2}  # a visit takes its time, however short a call is


def test_rounds_go_from_work_to_work_and_the_first_does_not_count() -> None:
    order: list[str] = []

    def work(name: str) -> None:
        if not order or order[-1] != name:
            order.append(name)

    found = timing.rounds([lambda: work("a"), lambda: work("b")], 2)
    assert found.shape == (2, 2)
    assert order == ["a", "b"] * 3
    assert timing.rounds([lambda: None], 5, end=0).shape == (1, 1)  # the time is over: one round that counts


def test_a_batch_that_does_not_fit_is_left_out() -> None:
    said: list[str] = []
    found = timing.measure([lambda batch: lambda: None], [1000, 1], 1e9, said.append)
    assert list(found) == [1, 1000]
    assert all(taken.shape == (timing.MOST_ROUNDS, 1) for taken in found.values())
    assert said[0].startswith(f"batch 1: {timing.MOST_ROUNDS} rounds, about ")
    assert timing.measure([lambda batch: lambda: None], [1], timing.VISIT, said.append) == {}


def test_a_busy_machine_is_said() -> None:
    idle = Machine("A CPU", 4, 8_000_000_000, "", {"openvino": 4}, {"openvino": "1"}, load=1.9)
    assert idle.lines() == [
        "A CPU, 4 cores, 8.0 GB of memory", "openvino 1", "threads, as each engine chooses: openvino 4",
    ]  # fmt: skip
    busy = replace(idle, load=2.1, gpu="A GPU")
    assert busy.lines()[0] == "A CPU, 4 cores, 8.0 GB of memory, A GPU"
    assert busy.lines()[-1] == "load 2.1: other programs are at work, and the figures are theirs as well"


# What is timed.


def test_eager_is_torchvisions_own_module_where_it_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        assert peers._module(Architecture.named("vgg16_bn", classes=5))[0] == "torchvision eager"
    for other in (Architecture.named("C", width=0.1, hidden=8), Architecture.named("vgg11", width=0.1, hidden=8)):
        assert peers._module(other)[0] == "torch eager"
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    with torch.device("meta"):
        assert peers._module(Architecture.named("vgg11"))[0] == "torch eager"


def test_the_random_network_has_weights_of_its_own_layers() -> None:
    architecture = Architecture.named("vgg11", image_size=64, width=0.25, hidden=64, classes=5)
    found = random_model(architecture)
    assert found.record.architecture == architecture
    assert {name: array.shape for name, array in found.weights.items()} == architecture.tensors()
    assert found.weights["conv3_2.weight"].std() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    assert found.weights["fc7.weight"].std() == pytest.approx((2 / 64) ** 0.5, rel=0.05)
    assert not found.weights["fc6.bias"].any()
    logits = candidates.float32_logits(found, ())
    assert logits.shape == (4 + candidates.NOISE, 5)
    assert 0.1 < logits.std() < 10


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_peak_is_a_product_of_matrices(precision: str) -> None:
    from vgglass.engines.openvino import product

    found = product(64, precision)(np.full((64, 64), 0.5, np.float32))[0]  # type: ignore[arg-type]
    weight = np.random.default_rng(0).uniform(-1, 1, (64, 64)).astype(np.float32)
    expected = np.full((64, 64), 0.5) @ weight.T
    difference = np.abs(found - expected).max()
    assert difference < 1e-4 if precision == "float32" else 1e-4 < difference < 0.3  # it does multiply in eight bits


@GPU
def test_a_captured_graph_answers_as_the_engine(file: Path) -> None:
    source = modelfile.load(file)
    plain = candidates.of_source("small", source, Choice("torch", "float32", ""))
    captured = candidates.captured("small", source, "float32")
    assert captured.logits is not None
    assert plain.logits is not None
    assert np.allclose(captured.logits, plain.logits, atol=1e-2)
    captured.prepare(3)()
    candidates.peak("CUDA", "bfloat16").prepare(1)()
    next(peers.peers(64, ["bfloat16"])).prepare(2)()


# Whole runs.


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rounds, and of the smaller networks the one that is opened first, however long a busy machine takes."""
    monkeypatch.setattr(timing, "MOST_ROUNDS", 2)
    monkeypatch.setattr(peers, "PEERS", ("resnet18",))


@pytest.mark.usefixtures("short")
def test_a_model_and_its_graph_as_tables_and_as_a_picture(file: Path, graph: Path, tmp_path: Path) -> None:
    picture = tmp_path / "new" / "bench.png"
    options = ("--batch", "2,1", "--seconds", 600, "--engine", "openvino,torch", "--out", picture)
    precision = ("--precision", "float32")  # not every machine has bfloat16
    done = vgglass("bench", file, graph, *options, *precision)
    lines = done.stdout.splitlines()
    assert lines[0] == workflows.describe_machine().lines()[0]
    for name in (file, graph):
        assert lines[lines.index(str(name)) + 1].startswith("vgg11, 32×32, ")
    rows = [line.split() for line in lines if re.match("(torch|openvino|resnet18) ", line)]
    named = [(*row[: row.index("float32")], row[row.index("float32") + 1]) for row in rows]
    assert named == [
        (*engine.split(), batch)
        for engine in ("torch eager", "openvino", "torch", "torch eager", "openvino", "resnet18 openvino")
        for batch in ("1", "2")
    ]
    assert [row[-2] for row in rows if row[0] == "openvino"] == ["100%"] * 4  # the graph is compared with its model
    assert "peak, multiply-adds a second of a product of matrices: CPU float32 " in done.stdout
    assert "have random weights: their speed alone is compared." in done.stdout
    assert f"opening {file}: openvino float32, torch float32" in done.stderr
    assert f"opening {graph}: openvino float32\n" in done.stderr
    assert lines[-1] == f"Written: {picture}"
    with Image.open(picture) as drawn:
        assert drawn.format == "PNG"
        assert drawn.width > 600


@pytest.mark.usefixtures("short")
def test_figures_for_a_program(graph: Path) -> None:
    done = vgglass("bench", graph, "--batch", 3, "--json", "--no-peers", "--precision", "float32", "--seconds", 600)
    found = json.loads(done.stdout)
    assert list(found) == ["machine", "models", "peers", "peak_multiply_adds_per_second", "skipped_batches", "notes"]
    assert found["machine"]["cores"] >= 1
    assert (found["peers"], found["skipped_batches"]) == ([], [])
    assert found["notes"] == [f"{graph}: its model file, named too, tells how far it agrees with float32."]
    ((eager, *rows),) = [table["rows"] for table in found["models"]]
    assert [row["engine"] for row in (eager, *rows)] == ["torch eager", "openvino", "onnxruntime"]
    assert eager["times_as_quick"] == 1
    assert (eager["batch"], eager["rounds"]) == (3, 2)
    for row in (eager, *rows):
        assert list(row) == [
            "network", "engine", "precision", "batch", "rounds", "milliseconds_per_image", "lowest", "highest",
            "images_per_second", "times_as_quick", "share_of_peak", "agreement",
        ]  # fmt: skip
        assert row["lowest"] <= row["milliseconds_per_image"] <= row["highest"]
        assert row["images_per_second"] == pytest.approx(1000 / row["milliseconds_per_image"])
        assert row["share_of_peak"] > 0
        assert row["agreement"] is None
    assert done.stderr.startswith(found["machine"]["processor"])


@pytest.mark.usefixtures("short")
def test_without_torch_and_onnx_runtime_engines_are_timed_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = ("torch", "torchvision", "onnxruntime")
    for module in (BENCH, selection, machine):
        monkeypatch.setattr(module, "find_spec", lambda name: None if name in absent else find_spec(name))
    report = workflows.bench([file], batches=[1], precisions=["float32"], seconds=600, console=quiet()[0])
    ((row,),) = [table.rows for table in report.tables]
    assert (row.engine, row.times_as_quick, row.agreement) == ("openvino", None, Agreement(1.0, 0.0))
    assert report.peers == ()
    assert list(report.machine.threads) == ["openvino"]
    assert "torch" not in report.machine.versions
    assert report.notes == (
        "Not installed, and left out: torch, onnxruntime. Run: pip install 'vgglass[torch,onnx]'",
        "torchvision is not installed, and is left out beside the engines. Run: pip install 'vgglass[torch]'",
    )


@pytest.mark.usefixtures("short")
def test_a_batch_without_time_is_named(file: Path) -> None:
    """A hundred million images would take hours on any machine."""
    report = workflows.bench(
        [file], batches=[1, 100_000_000], engines=["openvino"], seconds=60, peers=False, console=quiet()[0]
    )
    assert report.skipped == (100_000_000,)
    assert {row.speed.batch for row in report.tables[0].rows} == {1}
    said = "Batch 100000000 is left out: it does not fit into 60 s beside the smaller ones; give more --seconds."
    assert report.notes == (said,)


def test_what_can_not_be_timed_is_said_before_anything_is(file: Path, graph: Path, tmp_path: Path) -> None:
    cases = [
        (
            (file, "--engine", "tensorrt"),
            2,
            "--engine tensorrt: is not one of openvino, torch, onnxruntime; choose among",
        ),
        (
            (file, "--precision", "fp16"),
            2,
            "--precision fp16: is not one of float32, bfloat16, int8; choose among them.",
        ),
        (
            (file, "--precision", "int8"),
            2,
            "--precision int8: needs weights that were calibrated for it; run vgglass ex",
        ),
        ((file, "--batch", "0"), 2, "--batch 0: is not a list of whole numbers from 1 on; write it as 1,8,32."),
        ((file, "--batch", "1,,x"), 2, "--batch 1,,x: is not a list of whole numbers from 1 on; write it as 1,8,32."),
        (
            (file, "--seconds", "0"),
            2,
            "--seconds 0: leaves no time to measure in; give a positive number, such as 120.",
        ),
        ((file, "--seconds", "nan"), 2, "--seconds nan: leaves no time to measure in; give a positive number, such as"),
        ((file, "--out", "bench.pdf"), 2, "--out bench.pdf: pictures are written as PNG files; end it in .png."),
        ((tmp_path / "none.safetensors",), 1, "none.safetensors: No such file or directory"),
        ((tmp_path / "none.xml",), 1, "none.xml: does not exist; check the path."),
        ((graph, "--engine", "torch"), 2, f"--engine torch on {graph}: it runs model files; take openvino."),
        ((graph, "--precision", "int8"), 2, f"--precision int8 on {graph}: was exported as float32; leave --precision"),
    ]
    for arguments, status, message in cases:
        done = vgglass("bench", *arguments, status=status)
        assert message in done.stderr
        assert "opening" not in done.stderr


def test_too_little_time_for_the_smallest_batch(file: Path) -> None:
    options = (
        "--engine",
        "openvino",
        "--batch",
        "2,1",
        "--no-peers",
        "--precision",
        "float32",
        "--seconds",
        timing.VISIT,
    )
    error = vgglass("bench", file, *options, status=2).stderr
    rule = "is too short to time 3 networks and products of matrices with a batch of 1"
    assert f"--seconds 0.02: {rule}; give more, or name fewer engines or smaller batches." in error


def test_an_engine_that_is_not_installed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "missing", lambda name: ["onnxruntime"] if name == "onnxruntime" else [])
    with pytest.raises(MissingExtraError, match=r"needed for the engine onnxruntime, .*pip install 'vgglass\[onnx\]'"):
        workflows.bench([file], engines=["onnxruntime"])
    monkeypatch.setattr(BENCH, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"matplotlib: needed for pictures, .*pip install 'vgglass\[torch\]'"):
        workflows.require_pictures()


def test_the_table_of_the_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(README.parent))  # where it finds the others
    readme = import_module("readme")
    quick, slow = speed(np.array([0.02]), 1), speed(np.array([0.8]), 8)
    rows = (
        Row("m", "torchvision eager", "float32", slow, 1.0), Row("m", "torchvision eager", "float32", quick, 1.0),
        Row("m", "openvino", "float32", quick, 2.345), Row("m", "openvino", "float32", slow, 3.0),
    )  # fmt: skip
    peer = Row("resnet18", "openvino", "float32", quick, 5.0), Row("resnet18", "openvino", "float32", slow, 4.0)
    idle = Machine("A CPU", 4, 8_000_000_000, "", {}, {"openvino": "1", "torch": "2"}, load=0.1)
    found = Report(idle, (Table("m", "vgg16, 224×224, 138.4 M parameters", rows),), peer, {}, (), ())
    for name, words in readme.PAGES.items():
        text = readme.block(found, *words)
        assert text.startswith(
            ("vgg16 224×224 with random weights: images a second", "vgg16 224×224，随机权重：每秒图像数")
        )
        assert re.search("A CPU, 4 cores[;；] ?openvino 1, torch 2[;；].* 0.1", text)
        assert text.splitlines()[3:] == [
            "| --- | ---: | ---: |",
            "| torchvision eager, float32 | 50 (1.00 ×) | 10 (1.00 ×) |",
            "| openvino, float32 | 50 (2.35 ×) | 10 (3.00 ×) |",
            "| resnet18, openvino, float32 | 50 | 10 |",
        ]
        assert words[-1] not in text
        busy = readme.block(replace(found, machine=replace(idle, load=2.1)), *words)
        assert busy.splitlines()[0] == text.splitlines()[0].replace("0.1", "2.1") + words[-1]
        page = (README.parents[1] / name).read_text("utf-8")
        once = readme.replaced(page, text)
        assert once.count(text) == once.count(readme.BEGIN) == page.count(readme.END) == 1
        assert readme.replaced(once, "other") == readme.replaced(page, "other")
