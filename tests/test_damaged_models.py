"""A model file with one bit that is not as it was saved: no command answers from it."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pictures import photographs
from test_modelfile import small_model
from vgglass import modelfile, workflows
from vgglass.cli import app
from vgglass.errors import ModelFileError
from vgglass.server.model_store import Options
from vgglass.server.model_store import open_model as served

MATCH = r"flipped\.safetensors: its weights are not those of its digest; write or fetch the file again"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images under 'images', good.safetensors and flipped.safetensors."""
    folder = tmp_path_factory.mktemp("damaged")
    photographs(folder / "images", cat=2, dog=2)
    model = small_model()
    modelfile.save(model, folder / "good.safetensors")
    data, weight = bytearray((folder / "good.safetensors").read_bytes()), model.weights["fc8.bias"].tobytes()
    data[data.index(weight) + 3] ^= 1 << 5
    (folder / "flipped.safetensors").write_bytes(data)
    return folder


@pytest.mark.parametrize(
    "command",
    [
        "predict images --model flipped.safetensors",
        "predict images --model flipped.safetensors --engine torch --out rows.csv",
        "evaluate images --model flipped.safetensors",
        "evaluate images --model good.safetensors --ensemble flipped.safetensors",
        "compare good.safetensors flipped.safetensors images",
        "calibrate images --model flipped.safetensors",
        "export flipped.onnx --model flipped.safetensors",
        "convert flipped.safetensors flipped.pth --to torchvision",
        "train images --from flipped.safetensors --out run",
        "train images --from flipped.safetensors --out run --train all",
        "look images/cat/0.jpg --model flipped.safetensors",
        "step images/cat/0.jpg --model flipped.safetensors --layer conv1_1",
        "fc images/cat/0.jpg --model flipped.safetensors",
    ],
)
def test_every_command_refuses_it(folder: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    result = CliRunner().invoke(app, command.split())
    with pytest.raises(ModelFileError, match=MATCH):
        raise result.exception or AssertionError(result.output)
    assert sorted(folder.iterdir()) == before


def test_verify_refuses_it_and_goes_on(folder: Path) -> None:
    flipped, good = (str(folder / f"{name}.safetensors") for name in ("flipped", "good"))
    result = CliRunner().invoke(app, ["verify", "--json", flipped, good])
    assert result.exit_code == 1
    assert re.search(MATCH, result.stderr)
    assert {row["artifact"] for row in json.loads(result.stdout)} == {good}


def test_python_and_the_server_refuse_it(folder: Path) -> None:
    path = folder / "flipped.safetensors"
    for work in (
        workflows.load,
        workflows.predictor,
        workflows.engine,
        workflows.starting_model,
        lambda path: served(path, Options()),
    ):
        with pytest.raises(ModelFileError, match=MATCH):
            work(path)


def test_a_bit_that_changes_no_time_stamp_is_seen(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "flipped.safetensors"
    shutil.copy(folder / "good.safetensors", path)
    assert workflows.load(path).record.classes == ("cat", "dog", "雪")
    state = path.stat()
    shutil.copy(folder / "flipped.safetensors", path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(ModelFileError, match=MATCH):
        workflows.load(path)
