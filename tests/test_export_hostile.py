"""Graphs that are not what their records say, that reach for other files, or that a killed export left behind."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from typer.testing import CliRunner

from glass_subjects import model, photograph
from training_runs import quiet
from vgglass import modelfile, workflows
from vgglass.cli import app
from vgglass.data.folder import open_data
from vgglass.engines import export, selection, verify
from vgglass.engines import onnx as onnx_engine
from vgglass.engines import openvino as openvino_engine
from vgglass.engines.artifact import describe, parse
from vgglass.errors import DataError, MissingExtraError, ModelFileError, UsageError
from vgglass.modelfile import ModelFile
from vgglass.workflows.export import divide_for_int8

run = CliRunner().invoke


def saved_model(path: Path, **options: Any) -> ModelFile:
    modelfile.save(model("A", **options), path)
    return workflows.load(path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return saved_model(tmp_path_factory.mktemp("model") / "model.safetensors")


def put(graph_of: ModelFile, text: str, path: Path, **options: Any) -> Path:
    """The graph of one model with the text of another."""
    runtime: Any = openvino_engine if path.suffix == ".xml" else onnx_engine
    runtime.write(runtime.build_graph(graph_of, **options), path, text)
    return path


@pytest.mark.parametrize("name", ["m.xml", "m.onnx"])
def test_a_graph_of_other_classes_than_its_record_is_refused(saved: ModelFile, name: str, tmp_path: Path) -> None:
    for classes in (2, 6):
        other = saved_model(tmp_path / "other.safetensors", classes=classes)
        place = put(other, describe(saved), tmp_path / name)
        message = rf"{name}: gives \(1, {classes}\) for an image where its record says \(1, 7\); make it again"
        with pytest.raises(ModelFileError, match=message):
            workflows.predictor(place)


@pytest.mark.parametrize(("name", "engine"), [("m.xml", "openvino"), ("m.onnx", "openvino"), ("m.onnx", "onnxruntime")])
def test_a_graph_that_can_not_take_its_golden_images_is_refused(
    saved: ModelFile, name: str, engine: str, tmp_path: Path
) -> None:
    other = saved_model(tmp_path / "other.safetensors", image_size=96)
    place = put(other, describe(saved), tmp_path / name)
    with pytest.raises(ModelFileError, match=rf"{name}: {engine} can't run it \(.+\); make it again"):
        workflows.predictor(place, engine=engine)
    place = put(saved, describe(saved, dense=True), tmp_path / name)
    with pytest.raises(ModelFileError, match=r"gives \(1, 7\) for an image where its record says \(1, 7, 1, 1\)"):
        workflows.predictor(place, engine=engine)


def test_an_onnx_with_an_unknown_operation_is_refused(saved: ModelFile, tmp_path: Path) -> None:
    place = put(saved, describe(saved), tmp_path / "m.onnx")
    graph = onnx.load_model(place)
    graph.graph.node[0].op_type = "Nonsense"
    onnx.save_model(graph, place)
    for engine in ("openvino", "onnxruntime"):
        with pytest.raises(ModelFileError, match=rf"m\.onnx: {engine} can't run it"):
            workflows.predictor(place, engine=engine)


def external(graph: onnx.ModelProto) -> None:
    tensor = graph.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


def nested(graph: onnx.ModelProto) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.zeros(1, np.float32)))
    graph.graph.node.append(constant)


@pytest.mark.parametrize("change", [external, nested])
def test_weights_that_lie_elsewhere_are_refused(
    saved: ModelFile, change: Callable[[onnx.ModelProto], None], tmp_path: Path
) -> None:
    place = put(saved, describe(saved), tmp_path / "m.onnx")
    graph = onnx.load_model(place)
    change(graph)
    place.write_bytes(graph.SerializeToString())
    with pytest.raises(ModelFileError, match=r"m\.onnx: holds what vgglass export does not write, or its weights lie"):
        workflows.open_source(place)


@pytest.mark.parametrize(
    ("images", "logits"),
    [
        (np.zeros((0, 64, 64, 3), np.uint8), np.zeros((0, 7), np.float32)),
        (np.zeros((1, 64, 64, 3), np.uint8), np.zeros((1, 6), np.float32)),
        (np.zeros((1, 64, 64, 3), np.uint8), np.zeros((2, 7), np.float32)),
        (np.zeros((1, 64, 64, 3), np.uint8), np.zeros((1, 7), np.int64)),
        (np.zeros((1, 64, 64, 3), np.float32), np.zeros((1, 7), np.float32)),
        (np.zeros((1, 32, 64, 3), np.uint8), np.zeros((1, 7), np.float32)),
    ],
)
def test_golden_inputs_of_other_shapes_are_refused(saved: ModelFile, images: Any, logits: Any) -> None:
    text = describe(replace(saved, golden_images=images, golden_logits=logits))
    with pytest.raises(ModelFileError, match=r"its record is damaged \(its golden inputs do not fit its record\)"):
        parse(Path("m.xml"), text, "")


@pytest.mark.parametrize("name", ["m.xml", "m.onnx"])
def test_one_bit_of_an_exported_weight(saved: ModelFile, name: str, tmp_path: Path) -> None:
    export.export(saved, tmp_path / name)
    file = tmp_path / name.replace(".xml", ".bin")
    data, weight = bytearray(file.read_bytes()), saved.weights["fc8.bias"].tobytes()
    data[data.index(weight) + 2] ^= 1
    file.write_bytes(data)
    match = f"{name}: its weights are not those that were exported; make it again with vgglass export"
    with pytest.raises(ModelFileError, match=match):
        workflows.predictor(tmp_path / name)


def test_an_export_without_a_digest_of_its_weights_is_read(saved: ModelFile, tmp_path: Path) -> None:
    assert export.read(put(saved, describe(saved), tmp_path / "m.xml")).record == saved.record


def test_an_int8_graph_is_held_to_its_own_logits(saved: ModelFile, tmp_path: Path) -> None:
    spoilt = replace(saved, golden_logits=saved.golden_logits * 1.2)
    put(saved, describe(spoilt, precision="int8"), tmp_path / "m.xml")
    (check,) = workflows.verify(tmp_path / "m.xml")
    assert (check.precision, check.passed) == ("int8", False)
    assert check.difference == pytest.approx(1 / 6, abs=0.01)
    assert verify.TOLERANCES == {"float32": 1e-3, "bfloat16": 0.1, "int8": 0.1}


def test_one_bad_artifact_hides_no_other(saved: ModelFile, tmp_path: Path) -> None:
    modelfile.save(saved, tmp_path / "m.safetensors")
    said = run(app, ["verify", str(tmp_path / "none.xml"), str(tmp_path / "m.safetensors")])
    assert said.exit_code == 1
    assert "none.xml: does not exist" in said.output
    assert "onnxruntime" in said.output
    rows = run(app, ["verify", "--json", str(tmp_path / "none.xml")])
    assert rows.exit_code == 1
    assert json.loads(rows.stdout) == []


KILLED = """
import os, sys
from pathlib import Path
from vgglass import workflows
at, model, place = sys.argv[1:]
replace = Path.replace
Path.replace = lambda self, target: os._exit(9) if target.suffix == at else replace(self, target)
workflows.export(model, place)
"""


def killed(path: Path, at: str) -> None:
    """An export in a process of its own that ends as by kill -9 when a file of this ending is put in its place."""
    saved_model(path.with_name("new.safetensors"), seed=1)
    arguments = [at, str(path.with_name("new.safetensors")), str(path)]
    assert subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False).returncode == 9


@pytest.mark.parametrize("at", [".bin", ".xml"])
def test_a_killed_export_leaves_nothing_that_looks_whole(saved: ModelFile, at: str, tmp_path: Path) -> None:
    place = tmp_path / "m.xml"
    export.export(saved, place)
    killed(place, at)
    left = list(tmp_path.glob(".m.xml.*.tmp"))
    assert len(left) == 1
    with pytest.raises(ModelFileError, match="does not exist"):
        workflows.open_source(place)
    export.export(saved, place)  # clears away what the killed one left
    assert not list(tmp_path.glob(".m.xml.*.tmp"))
    assert all(check.passed for check in workflows.verify(place))


def test_an_export_under_way_is_left_alone(saved: ModelFile, tmp_path: Path) -> None:
    other = tmp_path / f".m.xml.{os.getppid()}.1.tmp"
    other.mkdir()
    export.export(saved, tmp_path / "m.xml")
    assert other.is_dir()


def test_files_of_others_are_not_written_over(saved: ModelFile, tmp_path: Path) -> None:
    (tmp_path / "net.bin").write_text("somebody's")
    with pytest.raises(UsageError, match=r"net\.bin: is there already, and not as the weights of net\.xml;"):
        workflows.export(saved, tmp_path / "net.xml")
    (tmp_path / "m.onnx").mkdir()
    with pytest.raises(UsageError, match=r"m\.onnx: is a folder; name a file"):
        workflows.export(saved, tmp_path / "m.onnx")


def test_force_is_for_int8(tmp_path: Path) -> None:
    said = run(app, ["export", str(tmp_path / "m.xml"), "--model", "m", "--force"])
    assert "--force: is for --int8 that agrees too seldom; leave it out" in str(said.exception)


def test_no_image_both_calibrates_and_compares(tmp_path: Path) -> None:
    for part, seeds in (("train", range(6)), ("test", range(3, 9))):
        for seed in seeds:
            path = tmp_path / "split" / part / "猫" / f"{part}{seed}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photograph(64, 64, seed=seed)).save(path)
    chosen, others = divide_for_int8(open_data(tmp_path / "split"))
    assert [Path(sample.id).name for sample in others] == ["test6.png", "test7.png", "test8.png"]
    assert len(chosen) == 6
    chosen, others = divide_for_int8(open_data(tmp_path / "split" / "train"))
    assert not {sample.digest for sample in chosen} & {sample.digest for sample in others}
    alone = tmp_path / "alone" / "train" / "猫"
    alone.mkdir(parents=True)
    for name in ("a.png", "b.png"):
        Image.fromarray(photograph(64, 64)).save(alone / name)
    message = "has too few different images to set int8's ranges by some and compare on others; add images"
    with pytest.raises(DataError, match=message):
        divide_for_int8(open_data(tmp_path / "alone"))


@pytest.mark.parametrize("engine", ["openvino", "torch", "onnxruntime"])
def test_outputs_that_there_are_not_are_refused(saved: ModelFile, engine: str) -> None:
    for output in ("conv1_1", "fc6", "nonsense"):
        with pytest.raises(
            UsageError,
            match=f"output '{output}': is not one of fc8, fc7, fc7_2, avgpool, pool5, fc8\\+average; choose one",
        ):
            workflows.engine(saved, engine, "float32", output=output)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="output 'fc7' of a dense engine: a map is made of class scores alone"):
        workflows.engine(saved, engine, "float32", output="fc7", dense=True)


def test_a_missing_feature_engine_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "find_spec", lambda name: None if name == "onnx" else object())
    source = saved_model(tmp_path / "m.safetensors", channels=1, image_size=32)
    with pytest.raises(MissingExtraError, match=r"onnx: needed for the engine onnxruntime"):
        workflows.train(
            out=tmp_path / "run", source=source, train="head", feature_engine="onnxruntime", console=quiet()[0]
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_network_of_a_size_that_32_does_not_divide(tmp_path: Path) -> None:
    """fc6 spans 32 pixels of 40: what is scored whole may be smaller than the training size."""
    file = model("A", image_size=40)
    sizes = [view.scale for view in workflows.predictor(file, views="scales").views]
    assert sizes == [34, 40, 46]
    for views in ("scales", "dense@32", "crops"):
        (answer,) = workflows.predictor(file, views=views, precision="float32").stream([photograph()])
        assert isinstance(answer, np.ndarray)
        assert np.exp(answer).sum() == pytest.approx(1)
