"""Engines: one network, one answer, whatever runs it; and how one of them is chosen."""

import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from glass_subjects import model
from vgglass import workflows
from vgglass.engines import ENGINES, NAMES, Registered, selection
from vgglass.engines.selection import choose
from vgglass.engines.torch import halving
from vgglass.errors import MissingExtraError, UsageError
from vgglass.images import Pixels
from vgglass.model import VGG
from vgglass.modelfile import ModelFile
from vgglass.preprocess import normalise


def coloured(file: ModelFile) -> ModelFile:
    """The same network with a preprocessing whose every number matters."""
    record = replace(file.record.preprocessing, mean=(100.0, 110.0, 120.0), std=(50.0, 60.0, 70.0), channel_order="BGR")
    return replace(file, record=replace(file.record, preprocessing=record))


def walked(file: ModelFile, images: Pixels, output: str) -> NDArray[np.float32]:
    """The output of a layer by the module that the glass walks through."""
    with torch.inference_mode():
        batch = torch.from_numpy(normalise(images, file.record.preprocessing))
        steps = VGG.from_file(file).walk(batch)
        return next(step.output.contiguous().numpy() for step in steps if step.name == output)


def near(found: NDArray[np.float32], expected: NDArray[np.float32], tolerance: float = 1e-4) -> bool:
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    return bool(np.abs(found - expected).max() <= tolerance * np.abs(expected).max())


@pytest.mark.parametrize(
    ("output", "head"), [("fc8", "vgg"), ("fc7", "vgg"), ("pool5", "vgg"), ("fc8", "pooled"), ("avgpool", "pooled")]
)
@pytest.mark.parametrize("engine", NAMES)
@pytest.mark.parametrize("name", ["A", "A-LRN", "C_bn"])
def test_every_engine_gives_every_output_of_the_walk(name: str, engine: str, output: str, head: str) -> None:
    file = coloured(model(name, head=head))
    run = workflows.engine(file, engine, "float32", output=output)  # type: ignore[arg-type]
    assert (run.name, run.precision) == (engine, "float32")
    expected = walked(file, file.golden_images, output)
    assert near(run(file.golden_images), expected.reshape(len(expected), -1) if output == "avgpool" else expected)


@pytest.mark.parametrize("engine", NAMES)
@pytest.mark.parametrize(
    ("sides", "head"), [((64, 64), "vgg"), ((97, 130), "vgg"), ((131, 70), "vgg"), ((131, 70), "pooled")]
)
def test_a_dense_engine_takes_any_size(engine: str, sides: tuple[int, int], head: str) -> None:
    file = coloured(model("B_bn", head=head))
    images = np.random.default_rng(0).integers(0, 256, (2, *sides, 3), dtype=np.uint8)
    with torch.inference_mode():
        batch = torch.from_numpy(normalise(images, file.record.preprocessing))
        expected = VGG.from_file(file).dense(batch).contiguous().numpy()
    assert near(workflows.engine(file, engine, "float32", dense=True)(images), expected)


def test_an_output_that_the_head_has_not() -> None:
    with pytest.raises(UsageError, match="layer 'fc7': vgg11 has fc8"):
        workflows.engine(model("A", head="pooled"), "openvino", "float32", output="fc7")


@pytest.mark.parametrize("engine", NAMES)
def test_a_batch_answers_as_its_images_one_by_one(engine: str) -> None:
    file = model("A")
    images = np.random.default_rng(1).integers(0, 256, (7, 64, 64, 3), dtype=np.uint8)
    run = workflows.engine(file, engine, "float32")
    single = np.concatenate([run(image[None]) for image in images])
    batch = run(images)
    assert near(batch, single)
    assert (batch.argmax(axis=1) == single.argmax(axis=1)).all()


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_bfloat16_stays_near(engine: str) -> None:
    if engine == "openvino" and not selection.cpu()[1]:
        pytest.skip("this CPU has no bfloat16")
    file = model("A")
    found = workflows.engine(file, engine, "bfloat16")(file.golden_images)
    assert near(found, file.golden_logits, 0.1)
    assert not near(found, file.golden_logits, 1e-5)  # it does multiply in eight bits


def test_auto_measures_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    file = model("A")
    monkeypatch.setattr(selection, "GPU", Path("/nowhere"))
    monkeypatch.setattr(selection, "cpu", lambda: ("Some CPU", True))
    for gain, precision in ((2.04, "bfloat16"), (0.56, "float32")):
        monkeypatch.setattr(selection, "bfloat16_gain", lambda name, gain=gain: gain)
        reason = f"the quickest on a CPU; bfloat16 was measured {gain:.1f} times as fast as float32 here"
        assert str(choose(file)) == f"openvino, {precision}: {reason}"
    monkeypatch.setattr(selection, "cpu", lambda: ("Some CPU", False))
    assert choose(file).why == "the quickest on a CPU; this CPU has no arithmetic in bfloat16"
    assert choose(file, "torch").precision == "float32"
    assert choose(file, "onnxruntime").precision == "float32"
    assert choose(file, "openvino", "float32").why == "as asked; precision as asked"


def test_a_measurement_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGGLASS_CACHE", str(tmp_path))
    figures = iter(range(1, 100))

    def measure() -> float:
        return float(next(figures))

    assert [selection.remembered(what, measure) for what in ("a", "a", "b", "a", "b")] == [1, 1, 2, 1, 2]
    kept = next(path for path in selection.measurements().glob("*.json") if '"a' in path.read_text().replace("\\", ""))
    good = kept.read_bytes()
    for number, damaged in enumerate(
        (b"", b"{", b"[]", b"7", bytes(80), good[:-9], good.replace(b"1.0", b"1.1")), start=3
    ):
        kept.write_bytes(damaged)
        assert selection.remembered("a", measure) == number
        assert selection.remembered("a", measure) == number
    monkeypatch.setenv("VGGLASS_CACHE", str(kept / "below a file"))
    assert [selection.remembered("a", measure) for _ in range(2)] == [10, 11]


def test_two_starts_at_once_take_one_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGGLASS_CACHE", str(tmp_path))
    figures = iter(range(100))

    def measure() -> float:
        time.sleep(0.05)
        return float(next(figures))

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: selection.remembered("a", measure), range(4))) == {0.0}


def test_bfloat16_is_measured_here() -> None:
    if not selection.cpu()[1]:
        pytest.skip("this CPU has no bfloat16")
    assert selection._measure_gain() > 0
    assert selection.processor()


@pytest.mark.parametrize(
    ("engine", "precision", "message"),
    [
        ("tensorrt", "auto", "--engine tensorrt: is not one of auto, openvino, torch, onnxruntime; choose"),
        ("auto", "fp4", "--precision fp4: is not one of auto, float32, bfloat16, int8; choose"),
        ("auto", "int8", "--precision int8: needs weights that were calibrated for it; run vgglass export --int8"),
        ("onnxruntime", "bfloat16", "--precision bfloat16: onnxruntime multiplies in float32 on a CPU; take another"),
        ("openvino", "bfloat16", "--precision bfloat16: this CPU has no arithmetic in bfloat16; take float32"),
    ],
)
def test_what_does_not_go_together_is_refused(
    engine: str, precision: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "cpu", lambda: ("Old CPU", False))
    with pytest.raises(UsageError, match=message):
        choose(model("A"), engine, precision)


@pytest.mark.parametrize(("engine", "package", "extra"), [("torch", "torch", "torch"), ("onnxruntime", "onnx", "onnx")])
def test_a_missing_extra_is_named(engine: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "find_spec", lambda name: None if name == package else find_spec(name))
    message = rf"{package}: needed for the engine {engine}, is not installed; run: pip install 'vgglass\[{extra}\]'"
    with pytest.raises(MissingExtraError, match=message):
        workflows.engine(model("A"), engine, "float32")


def test_a_batch_too_large_for_the_gpu_is_halved() -> None:
    """No GPU here: what runs out is made to, as torch does."""
    sizes = []

    def run(images: Pixels) -> NDArray[np.float32]:
        sizes.append(len(images))
        if len(images) > 3:
            raise torch.OutOfMemoryError
        return images.reshape(len(images), -1).astype(np.float32)

    images = np.arange(11, dtype=np.uint8).reshape(11, 1, 1, 1)
    parts = halving(run)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert parts(images).ravel().tolist() == list(range(11))
    assert [str(warning.message) for warning in said] == [
        f"the GPU's memory is too small for {size} images at a time: going on with {half}"
        for size, half in ((11, 5), (5, 2))
    ]
    assert sizes == [11, 5, 2, 2, 2, 2, 2, 1]
    sizes.clear()
    assert parts(images[:4]).ravel().tolist() == [0, 1, 2, 3]
    assert sizes == [2, 2]  # remembered, and not said again


def test_one_image_too_large_for_the_gpu_is_an_error() -> None:
    def run(images: Pixels) -> NDArray[np.float32]:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        halving(run)(np.zeros((1, 1, 1, 1), np.uint8))


def test_an_engine_of_which_nothing_is_said_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a new entry of the registry has by itself."""
    monkeypatch.setitem(ENGINES, "echo", Registered("torch", ("torch",)))
    monkeypatch.setattr(selection, "NAMES", (*NAMES, "echo"))
    assert str(choose(model(), "echo")) == "echo, float32: as asked; all that echo has on a CPU"
    with pytest.raises(UsageError, match="--precision bfloat16: echo multiplies in float32 on a CPU"):
        choose(model(), "echo", "bfloat16")
