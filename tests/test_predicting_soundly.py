"""What must not go wrong unseen in prediction: files that change, files that can't be read, makers that listen in."""

import io
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from glass_subjects import model, photograph
from vgglass import inference, modelfile, workflows
from vgglass.cli import predict
from vgglass.engines import selection
from vgglass.errors import ImageError, ModelFileError, UsageError
from vgglass.images import Pixels
from vgglass.inference import Prediction
from vgglass.inference.inputs import expand
from vgglass.inference.predictor import PATIENCE, Predictor


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    modelfile.save(model("A"), path)
    return path


@pytest.mark.parametrize(
    "work",
    [
        "workflows.predictor(path)",
        "workflows.export(path, folder / 'm.xml')",
        pytest.param("list(workflows.verify(path))", marks=pytest.mark.slow),
    ],
)
def test_nothing_is_reported_to_anybody(saved: Path, tmp_path: Path, work: str) -> None:
    """OpenVINO counts its users through openvino_telemetry, and leaves their number in ~/intel."""
    code = f"""
import sys
from pathlib import Path
from vgglass import workflows
folder = Path({str(tmp_path)!r})
path = folder / "model.safetensors"
{work}
assert "openvino" in sys.modules
assert sys.modules["openvino_telemetry"] is None
"""
    home = tmp_path / "home"
    home.mkdir()
    environment = os.environ | {"HOME": str(home), "VGGLASS_CACHE": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert not (home / "intel").exists()


@pytest.mark.slow
def test_signals_find_a_stack_after_engines_have_gone(saved: Path) -> None:
    """As they come to a server that reloads, and to training that starts workers after it measured this machine."""
    code = f"""
import os, signal
from pathlib import Path
from vgglass import workflows
from vgglass.engines import selection
signal.signal(signal.SIGHUP, lambda *_: None)
selection._measure_gain()
for _ in range(2):
    workflows.predictor(Path({str(saved)!r})), list(workflows.verify(Path({str(saved)!r})))
    os.kill(os.getpid(), signal.SIGHUP)
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "alive\n"


def test_a_model_written_to_in_place_is_noticed(saved: Path) -> None:
    image = photograph()
    predictor = workflows.predictor(saved, precision="float32")
    list(predictor.stream([image]))
    other = saved.with_name("other.safetensors")
    modelfile.save(model("A", seed=1), other)
    saved.write_bytes(other.read_bytes())
    message = r"model\.safetensors: was written to while its weights were in use; start again; to replace"
    with pytest.raises(ModelFileError, match=message):
        list(predictor.stream([image]))


def test_a_model_that_another_takes_the_place_of_goes_on(saved: Path) -> None:
    image = photograph()
    predictor = workflows.predictor(saved, precision="float32")
    before = list(predictor.stream([image]))
    modelfile.save(model("A", seed=1), saved)  # renames into place
    assert np.array_equal(list(predictor.stream([image])), before)  # type: ignore[arg-type]
    assert not np.allclose(list(workflows.predictor(saved).stream([image])), before)  # type: ignore[arg-type]


def test_unreadable_files_hold_up_nobody_and_no_memory() -> None:
    predictor = workflows.predictor(model("A", image_size=224), precision="float32")  # 16 fill a batch
    taken = 0

    def sources() -> Iterator[Pixels | Path]:
        nonlocal taken
        for place in itertools.count():
            taken += 1
            yield photograph() if place % 200 == 0 else Path("/nowhere")

    rows = predictor.stream(sources())
    answers = list(itertools.islice(rows, 100))
    assert taken <= 16 * PATIENCE + 200  # with what is decoded ahead; a full batch would have taken 3,000
    errors = [answer for answer in answers if isinstance(answer, ImageError)]
    assert len(errors) == 99
    assert all(error.__traceback__ is None and error.__cause__ is None for error in errors)
    assert errors[0].rule == "No such file or directory"


def counted(sizes: list[int], **how: str) -> Predictor:
    """A predictor that notes how many images each call to its engine has."""
    plain = workflows.predictor(model("A", image_size=224, width=0.0625), precision="float32", **how)
    ((dense, engine),) = plain.engines.items()

    def calls(images: Pixels) -> NDArray[np.float32]:
        sizes.append(len(images))
        return engine(images)

    return replace(plain, engines={dense: replace(engine, run=calls)})


def test_unreadable_files_leave_no_hole_in_a_batch() -> None:
    sizes: list[int] = []
    list(counted(sizes).stream([photograph() if place % 2 else Path("/nowhere") for place in range(100)]))
    assert sizes == [16, 16, 16, 2]


def test_large_pictures_go_through_one_by_one() -> None:
    sizes: list[int] = []
    list(counted(sizes, views="dense@896").stream([photograph()]))
    assert sizes == [1, 1]
    sizes.clear()
    list(counted(sizes, views="crops").stream([photograph()] * 2))
    assert sizes == [13, 13, 12, 12] * 2


def test_evaluation_is_in_float32_unless_told_otherwise(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "cpu", lambda: ("Quick CPU", True))
    monkeypatch.setattr(selection, "bfloat16_gain", lambda name: 2.0)
    assert workflows.evaluation_predictor(saved).settings["precision"] == "float32"
    assert workflows.evaluation_predictor(saved, precision="auto").settings["precision"] == "bfloat16"
    assert workflows.predictor(saved).settings["precision"] == "bfloat16"
    monkeypatch.setattr(selection, "bfloat16_gain", lambda name: 1.19)
    assert workflows.predictor(saved).settings["precision"] == "float32"  # not worth its eight bits


def test_a_gpu_is_for_model_files(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workflows.export(saved, tmp_path / "m.xml")
    monkeypatch.setattr(selection, "has_gpu", lambda: True)
    assert selection.choose(workflows.open_source(tmp_path / "m.xml")).engine == "openvino"
    assert selection.choose(workflows.load(saved), precision="float32").engine == "torch"


def test_what_rows_depend_on_is_told_apart(tmp_path: Path) -> None:
    """Weights never saved, a temperature, a threshold, the folder that paths start at, engine and views."""
    file = model("A")
    plain = workflows.predictor(file, precision="float32")
    header = inference.header(plain, 5, [Path("/a.png")])
    others = [
        workflows.predictor(model("A", seed=1), precision="float32"),
        workflows.predictor(replace(file, record=replace(file.record, temperature=2.0)), precision="float32"),
        workflows.predictor(replace(file, record=replace(file.record, reject_threshold=0.5)), precision="float32"),
        workflows.predictor(file, engine="torch", precision="float32"),
        workflows.predictor(file, precision="float32", views="crops"),
    ]
    headers = [header, *(inference.header(other, 5, [Path("/a.png")]) for other in others)]
    headers += [inference.header(plain, 2, [Path("/a.png")]), inference.header(plain, 5, [Path("a.png")])]
    assert len({found.line() for found in headers}) == len(headers)
    assert headers[-1].folder == str(Path.cwd())


def test_a_complete_file_is_not_begun_anew(saved: Path, tmp_path: Path) -> None:
    for place in range(2):
        Image.fromarray(photograph(seed=place)).save(tmp_path / f"{place}.png")
    out = tmp_path / "rows.csv"
    assert len(list(workflows.stream_predictions(saved, [tmp_path / "0.png"], out=out))) == 1
    whole = out.read_bytes()
    assert list(workflows.stream_predictions(saved, [tmp_path / "0.png"], out=out, resume=True)) == []
    for paths, top in (([tmp_path], 5), ([tmp_path / "1.png"], 5), ([tmp_path / "0.png"], 1)):
        with pytest.raises(UsageError, match=r"rows\.csv: is complete, and its rows .*; leave out --resume to predict"):
            workflows.stream_predictions(saved, paths, out=out, resume=True, top=top)
    assert out.read_bytes() == whole
    assert (
        len(list(workflows.stream_predictions(saved, [tmp_path / "1.png"], out=out))) == 1
    )  # without resume: as asked
    assert out.read_bytes() != whole


def test_rows_do_not_replace_what_they_are_read_from(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path\nx.png\n")
    with pytest.raises(UsageError, match=r"--out .*list\.csv: is what the images are read from; name another file"):
        workflows.stream_predictions(saved, [tmp_path / "list.csv"], out=tmp_path / "list.csv")


def test_images_of_ones_own_below_the_links_are_predicted(tmp_path: Path) -> None:
    into = tmp_path / "sorted"
    into.mkdir()
    for name in ("a.png", "sorted/real.png"):
        (tmp_path / name).touch()
    (into / "link.png").symlink_to(tmp_path / "a.png")
    assert [path.name for path in expand([tmp_path], into)] == ["a.png", "real.png"]


def test_lists_of_other_systems_and_tables_in_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.csv").write_text("path\nx.png\n")
    text = f"{tmp_path / 'a.png'}\r\n{tmp_path / 'rows.csv'}\r\n".encode()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    assert [path.name for path in expand([Path("-")])] == ["a.png", "rows.csv"]


def test_a_class_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    predict._show(iter([Prediction("a.png", (("\x1b]0;owned\x07", 0.9), ("\x1b[2J", 0.1)))]))
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert r"\x1b]0;owned\x07" in said


def test_links_lead_to_the_image_itself(tmp_path: Path) -> None:
    (tmp_path / "real.png").touch()
    (tmp_path / "alias.png").symlink_to(tmp_path / "real.png")
    list(inference.sorted_into(tmp_path / "sorted", iter([Prediction(str(tmp_path / "alias.png"), (("cat", 1.0),))])))
    assert (tmp_path / "sorted" / "cat" / "alias.png").readlink() == tmp_path / "real.png"
