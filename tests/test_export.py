"""Exported graphs: what travels in them, that they answer as the model does, and every way that one can be wrong."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from typer.testing import CliRunner

from glass_subjects import model, photograph
from vgglass import modelfile, workflows
from vgglass.cli import app
from vgglass.engines import export, graph
from vgglass.engines import onnx as onnx_engine
from vgglass.engines import openvino as openvino_engine
from vgglass.engines.artifact import describe
from vgglass.errors import MissingExtraError, ModelFileError, UsageError
from vgglass.modelfile import ModelFile

run = CliRunner().invoke
FORMATS = ["m.xml", "m.onnx"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    modelfile.save(model("B_bn"), path)
    return path


def text_of(path: Path) -> dict[str, Any]:
    runtime = openvino_engine if path.suffix == ".xml" else onnx_engine
    found: dict[str, Any] = json.loads(runtime.read_text(path)[0] or "")
    return found


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The artifact with another text inside."""
    about = text_of(path)
    change(about)
    if path.suffix == ".onnx":
        onnx_engine.write(onnx.load_model(path), path, json.dumps(about))
    else:
        changed = path.with_name(f"changed-{path.name}")
        openvino_engine.write(openvino_engine.core().read_model(path), changed, json.dumps(about))
        path = changed
    return path


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_the_record_and_the_golden_inputs_travel(saved: Path, name: str, dense: bool, tmp_path: Path) -> None:
    checks, agreement = workflows.export(saved, tmp_path / name, dense=dense)
    assert agreement is None
    assert {check.engine for check in checks} == {"openvino"} | ({"onnxruntime"} if name == "m.onnx" else set())
    assert all(check.passed and check.difference < 1e-5 and check.agreement == 1 for check in checks)
    file, artifact = workflows.load(saved), workflows.open_source(tmp_path / name)
    assert artifact.record == file.record  # class names, preprocessing and digest verbatim
    assert (artifact.golden_images == file.golden_images).all()
    assert (artifact.golden_logits == file.golden_logits).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == (["m.bin", name] if name == "m.xml" else [name])


@pytest.mark.parametrize("name", FORMATS)
def test_a_graph_predicts_as_its_model_does(saved: Path, name: str, tmp_path: Path) -> None:
    images = [photograph(70, 90, seed=seed) for seed in range(3)]
    workflows.export(saved, tmp_path / name)
    workflows.export(saved, tmp_path / f"dense-{name}", dense=True)
    for artifact, views in ((name, "centre"), (name, "crops"), (f"dense-{name}", "dense"), (f"dense-{name}", "scales")):
        graph = workflows.open_source(tmp_path / artifact)
        plain, exported = (workflows.evaluation_predictor(source, views=views) for source in (saved, graph))
        expected = np.stack(list(plain.stream(images)))  # type: ignore[arg-type]
        found = np.stack(list(exported.stream(images)))  # type: ignore[arg-type]
        assert np.abs(np.exp(found) - np.exp(expected)).max() < 1e-5
    usual = workflows.predictor(tmp_path / f"dense-{name}").views
    assert [view.name for view in usual] == ["dense"]


def test_the_onnx_graph_is_sound_and_batch_norm_is_folded(saved: Path, tmp_path: Path) -> None:
    workflows.export(saved, tmp_path / "m.onnx")
    graph = onnx.load_model(tmp_path / "m.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert {node.op_type for node in graph.graph.node} == {
        "Cast", "Sub", "Div", "Transpose", "Conv", "Relu", "MaxPool", "Flatten", "Gemm"
    }  # fmt: skip
    (images,) = graph.graph.input
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    sides = [place.dim_param or place.dim_value for place in images.type.tensor_type.shape.dim]
    assert sides == ["N", 64, 64, 3]
    assert graph.graph.output[0].name == "fc8"


@pytest.mark.parametrize("name", FORMATS)
def test_a_graph_that_answers_otherwise_is_not_kept(
    saved: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / name
    workflows.export(saved, place)
    before = place.read_bytes()
    monkeypatch.setattr(graph, "BATCH_NORM_EPSILON", 1.0)  # a fold gone wrong
    message = (
        rf"{name}: answers otherwise than the model: openvino float32 differs by .* of the largest logit; it was not"
    )
    with pytest.raises(ModelFileError, match=message):
        workflows.export(saved, place)
    assert place.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_leaves_the_old_graph(saved: Path, tmp_path: Path) -> None:
    place = tmp_path / "m.onnx"
    workflows.export(saved, place)
    before = place.read_bytes()

    code = f"""
import resource
from vgglass import workflows
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
workflows.export({str(saved)!r}, {str(place)!r})
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    message = r"ModelFileError: .*m\.onnx: could not be written \(.*File too large.*\); free space"
    assert re.search(message, done.stderr)
    assert place.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: about.update(format_version=7), "is an artifact of format version 7, and this vgglass reads 1"),
        (lambda about: about.pop("record"), r"its record is damaged \('record'\)"),
        (lambda about: about.update(golden="%%"), "its record is damaged"),
        (lambda about: about["record"].update(classes=["a"]), "its record is damaged"),
        (lambda about: about.update(dense="yes"), "its record is damaged .*golden inputs do not fit"),
        (lambda about: about.update(precision="int4"), "its record is damaged"),
    ],
)
def test_damaged_records_are_refused(
    saved: Path, name: str, change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    workflows.export(saved, tmp_path / name)
    with pytest.raises(ModelFileError, match=message):
        workflows.open_source(rewritten(tmp_path / name, change))


def test_foreign_and_damaged_graphs_are_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no\.xml: does not exist; check the path"):
        workflows.open_source(tmp_path / "no.xml")
    place = tmp_path / "m.onnx"
    onnx.save_model(helper.make_model(helper.make_graph([], "g", [], [])), place)
    with pytest.raises(
        ModelFileError,
        match=r"m\.onnx: a graph that vgglass did not write; make one with vgglass export, .* with vgglass convert",
    ):
        workflows.open_source(place)
    place.write_bytes(b"\xff" * 100)
    with pytest.raises(ModelFileError, match=r"m\.onnx: not an ONNX graph, or damaged .*; make it again with vgglass"):
        workflows.open_source(place)
    graph = tmp_path / "m.xml"
    workflows.export(saved, graph)
    whole = graph.read_bytes()
    graph.write_bytes(whole[:5000])
    with pytest.raises(ModelFileError, match=r"m\.xml: OpenVINO can't read it or its \.bin .*; make it again"):
        workflows.open_source(graph)
    graph.write_bytes(whole)
    graph.with_suffix(".bin").unlink()
    with pytest.raises(ModelFileError, match=r"m\.xml: OpenVINO can't read it or its \.bin"):
        workflows.open_source(graph)


@pytest.mark.parametrize(
    ("name", "dense", "engine", "precision", "output", "message"),
    [
        ("m.xml", False, "torch", "auto", "fc8", r"--engine torch on .*m\.xml: it runs model files; take openvino"),
        (
            "m.xml",
            False,
            "onnxruntime",
            "auto",
            "fc8",
            r"--engine onnxruntime on .*m\.xml: it runs model files and \.onnx",
        ),
        ("m.xml", False, "auto", "bfloat16", "fc8", r"--precision bfloat16 on .*: was exported as float32; leave"),
        ("m.onnx", False, "auto", "auto", "pool5", r"m\.onnx: gives class scores, not pool5; take the model file"),
    ],
)
def test_what_an_artifact_is_not_is_refused(
    saved: Path, name: str, dense: bool, engine: str, precision: str, output: Any, message: str, tmp_path: Path
) -> None:
    workflows.export(saved, tmp_path / name, dense=dense)
    with pytest.raises(UsageError, match=message):
        workflows.engine(workflows.open_source(tmp_path / name), engine, precision, output=output)


def test_views_that_an_artifact_does_not_hold_are_refused(saved: Path, tmp_path: Path) -> None:
    workflows.export(saved, tmp_path / "m.xml")
    workflows.export(saved, tmp_path / "d.xml", dense=True)
    with pytest.raises(UsageError, match=r"takes images of the training size alone; .*export it with --dense"):
        workflows.predictor(tmp_path / "m.xml", views="dense")
    with pytest.raises(UsageError, match=r"takes images of any size; .*export it without --dense"):
        workflows.predictor(tmp_path / "d.xml", views="crops")


def test_places_and_combinations_that_there_are_none_of(saved: Path, tmp_path: Path) -> None:
    for name, options, message in (
        ("m.pt", {}, r"m\.pt: exports end in \.xml or \.onnx; give it one of these endings"),
        ("m.onnx", {"int8_images": tmp_path}, r"--int8 to .*m\.onnx: int8 is exported to OpenVINO; end it in \.xml"),
        ("m.xml", {"int8_images": tmp_path, "dense": True}, "--int8 --dense: int8's ranges hold at the training size"),
    ):
        with pytest.raises(UsageError, match=message):
            workflows.export(saved, tmp_path / name, **options)


def test_missing_extras_are_named(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnx" else find_spec(name))
    with pytest.raises(MissingExtraError, match=r"onnx: needed for ONNX graphs, .* run: pip install 'vgglass\[onnx\]'"):
        workflows.export(saved, tmp_path / "m.onnx")
    monkeypatch.setattr(sys.modules["vgglass.workflows.export"], "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"nncf: needed for int8, .* run: pip install 'vgglass\[int8\]'"):
        workflows.export(saved, tmp_path / "m.xml", int8_images=tmp_path)
    assert not list(tmp_path.iterdir())


def test_only_a_saved_model_is_exported() -> None:
    with pytest.raises(AssertionError, match="only a saved model"):
        describe(model("A"))


def test_verify_prints_every_runtime_and_fails_where_one_does(saved: Path, tmp_path: Path) -> None:
    for name in FORMATS:
        workflows.export(saved, tmp_path / name)
    artifacts = [str(saved), *(str(tmp_path / name) for name in FORMATS)]
    said = run(app, ["verify", *artifacts])
    assert said.exit_code == 0
    assert "OUT OF TOLERANCE" not in said.output
    rows = json.loads(run(app, ["verify", "--json", *artifacts]).stdout)
    pairs = [(Path(row["artifact"]).suffix, row["engine"]) for row in rows if row["precision"] == "float32"]
    assert pairs == [
        (".safetensors", "openvino"), (".safetensors", "torch"), (".safetensors", "onnxruntime"),
        (".xml", "openvino"), (".onnx", "openvino"), (".onnx", "onnxruntime"),
    ]  # fmt: skip
    assert all(row["passed"] and row["images_per_second"] > 0 for row in rows)
    file = workflows.load(saved)
    modelfile.save(replace(file, golden_logits=file.golden_logits + 1), tmp_path / "other.safetensors")
    artifacts = [str(tmp_path / "m.xml"), str(tmp_path / "other.safetensors")]
    rows = json.loads(run(app, ["verify", "--json", *artifacts]).stdout)
    wrong = [row["artifact"] for row in rows if not row["passed"]]
    assert set(wrong) == {artifacts[1]}
    said = run(app, ["verify", *artifacts])
    assert said.exit_code == 1
    assert said.output.count("OUT OF TOLERANCE") == len(wrong) == len(rows) - 1
    assert f"{len(wrong)} of {len(rows)} out of tolerance" in said.output


def test_a_difference_that_is_no_number_is_out_of_tolerance(saved: Path) -> None:
    file = workflows.load(saved)
    weights = dict(file.weights) | {"fc8.bias": np.full_like(file.weights["fc8.bias"], np.nan)}
    assert not any(check.passed for check in workflows.verify(replace(file, weights=weights)))


def test_export_says_what_it_wrote(saved: Path, tmp_path: Path) -> None:
    said = run(app, ["export", str(tmp_path / "m.xml"), "--model", str(saved)])
    assert said.exit_code == 0
    assert f"{tmp_path / 'm.xml'} (" in said.output
    assert f"{tmp_path / 'm.bin'} (" in said.output
    refused = run(app, ["export", str(tmp_path / "m.xml"), "--model", str(saved), "--int8"])
    assert isinstance(refused.exception, UsageError)
    assert "--int8: is made by images: --int8 --int8-images FOLDER; give both, or neither" in str(refused.exception)


def unsaved(file: ModelFile) -> ModelFile:
    return replace(file, record=replace(file.record, digest="0" * 64))


def test_a_graph_never_stands_beside_weights_of_another(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while the files are put in their places: what is left is refused, not run."""
    place = tmp_path / "m.xml"
    workflows.export(saved, place)
    replace_ = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target.suffix == ".xml":
            raise KeyboardInterrupt
        return replace_(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        export.export(unsaved(model("B_bn", seed=1)), place)
    with pytest.raises(ModelFileError, match="does not exist"):
        workflows.open_source(place)
