"""What a cluster is to predict, from folders and buckets: names in one order, and the bytes behind them."""

import os
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from ray_job import made, network, pictures, rows
from vgglass import modelfile
from vgglass.cluster import job, predict, sources
from vgglass.cluster.predict import Worker, WorkerOptions
from vgglass.errors import DataError, UsageError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network(tmp_path_factory.mktemp("model"))


def test_names_are_sorted_and_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pictures(tmp_path / "images", 3)
    (folder / os.fsdecode(b"\xff.png")).touch()
    monkeypatch.chdir(tmp_path)
    found = sources.listed(["images/000002.png", "images"])
    names = [b"000000.png", b"000001.png", b"000002.png", b"\xff.png"]
    assert found.names == [os.fsencode(folder) + b"/" + name for name in names]
    assert found.digest() == sources.listed([str(folder)]).digest() != sources.listed(["images/000002.png"]).digest()
    assert list(map(str, sources.files("", found.names)))[2] == str(folder / "000002.png")


@pytest.mark.parametrize("scheme", ["file", "local"])  # pyarrow's own, and fsspec's
def test_a_bucket_is_listed_and_read(scheme: str, model: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "a bucket%20", 3)
    (folder / "deep").mkdir()
    (folder / "deep" / "é %41.PNG").write_bytes((folder / "000000.png").read_bytes())
    for hidden in (".hidden.png", "notes.txt", "deep/.png"):
        (folder / hidden).touch()
    address = (
        f"{scheme}://{folder}".replace("%", "%25").replace(" ", "%20") if scheme == "file" else f"local://{folder}"
    )
    said: list[str] = []
    found = sources.listed([address], said.append)
    (sentence,) = said
    assert re.fullmatch(r"passed over: 1 no image \(.*notes.txt\); 2 of a system or program \(.*\)", sentence)
    names = ["000000.png", "000001.png", "000002.png", "deep/é %41.PNG"]
    assert found.names == [os.fsencode(folder / name) for name in names]
    (folder / "000001.png").unlink()
    how = WorkerOptions(str(model), 1, None, "openvino", "float32", address, 1)
    part = tmp_path / "part.parquet"
    part.write_bytes(made(how, list(found.names))[0])
    answers = rows(part)
    assert [row[0] for row in answers] == [f"{scheme}://{folder}/{name}" for name in names]
    assert answers[0][1:] == answers[3][1:]
    assert [bool(row[3]) for row in answers] == [False, True, False, False]


def test_buckets_that_can_not_be_listed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"can't be listed \(.*\); check the address and the credentials"):
        sources.listed([f"file://{tmp_path}/none"])
    with pytest.raises(DataError, match="holds no images; name a bucket"):
        sources.listed([f"file://{tmp_path}"])
    with pytest.raises(UsageError, match="neither pyarrow nor fsspec opens it"):
        sources.listed(["nosuchscheme://bucket"])
    with pytest.raises(UsageError, match="a bucket is predicted alone"):
        sources.listed([str(tmp_path), f"file://{tmp_path}"])


def test_the_header_says_what_the_rows_depend_on(model: Path, tmp_path: Path) -> None:
    facts = Worker(WorkerOptions(str(model), 5, None, "openvino", "float32", "", 1)).facts()
    begun = job.Job(images="1" * 64, count=3, shard=2, **facts)
    job.claim(tmp_path, begun, {})
    assert job.recorded(tmp_path) == {"format": 1, **asdict(begun)}
    assert facts["model"] != modelfile.load(model).record.digest
    assert predict.SHARD == 1000
