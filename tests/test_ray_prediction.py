"""Prediction on Ray: every image in one row, whoever is killed; and what is refused, in words."""

import os
import pickle
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import vgglass
from ray_job import ENVIRONMENT, command, finished, made, needs_ray, network, pictures, rows, said
from vgglass import workflows
from vgglass.cluster import connection, job, sources
from vgglass.cluster.connection import Node
from vgglass.cluster.predict import Attempts, Pool, Worker, WorkerOptions
from vgglass.errors import (
    DataError,
    InterruptedRunError,
    MissingExtraError,
    ModelFileError,
    UsageError,
    UserError,
)

KILLS = int(os.environ.get("VGGLASS_RAY_KILLS", "3"))  # 20 for the long run, of 20,000 images
IMAGES = 1000 if KILLS == 3 else 1000 * KILLS
SHARD = 25 if KILLS == 3 else 200
JOB = job.Job("0" * 64, 3, "1" * 64, 45, 20, "openvino", "float32", "centre@32")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network(tmp_path_factory.mktemp("model"))


# The real thing


@needs_ray
@pytest.mark.slow
def test_every_image_is_in_one_row_whoever_is_killed(model: Path, tmp_path: Path) -> None:
    folder, out, plain = pictures(tmp_path / "images", IMAGES - 1), tmp_path / "out", tmp_path / "plain.parquet"
    (folder / "damaged.png").write_bytes(b"no image")
    how = (folder, "--model", model, "--precision", "float32", "--top", 2)
    arguments = command(*how, "--ray", "local", "--out", out, "--shard", SHARD)
    status, killed = finished(arguments, out, IMAGES // SHARD, KILLS, random.Random(1))
    assert len(killed) == KILLS
    assert "worker" in killed
    assert "driver" in killed
    said(*how, "--out", plain, status=1)
    expected = sorted(rows(plain))
    found = rows(*sorted(out.glob("part-*.parquet")))
    assert [row[0] for row in found] == [row[0] for row in expected]
    assert [(row[1], row[3]) for row in found] == [(row[1], row[3]) for row in expected]
    assert [row[2] for row in found if row[2]] == pytest.approx([row[2] for row in expected if row[2]], abs=1e-5)
    assert [row[0] for row in found if row[3]] == [str(folder / "damaged.png")]
    assert status == 1  # for the damaged one
    assert sorted(path.name for path in out.iterdir() if path.suffix != ".parquet") == [".lock", "job.json"]
    made = {path: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}
    next(iter(made)).unlink()
    again = said(*how, "--ray", "local", "--out", out, "--shard", SHARD, "--resume", "--actors", 1, status=1)
    assert "(1 part made)" in again
    assert f"1 of {IMAGES} images could not be read" in again
    assert sum(path.stat().st_mtime_ns != before for path, before in made.items()) == 1


POISON = """
import sys
if "default_worker.py" in " ".join(sys.orig_argv):
    import os
    absolute = os.path.abspath  # the worker's last step before it hands a file to the process that decodes it
    os.path.abspath = lambda path: os.kill(os.getpid(), 9) if str(path).endswith("000013.png") else absolute(path)
"""


@needs_ray
@pytest.mark.slow
def test_an_image_that_kills_its_worker_is_a_row_with_that_reason(model: Path, tmp_path: Path) -> None:
    folder, out, code = pictures(tmp_path / "images", 60), tmp_path / "out", tmp_path / "code"
    code.mkdir()
    (code / "sitecustomize.py").write_text(POISON)
    arguments = command(folder, "--model", model, "--ray", "local", "--out", out, "--shard", 20)
    paths = os.pathsep.join([str(code), *filter(None, [ENVIRONMENT.get("PYTHONPATH")])])
    result = subprocess.run(arguments, capture_output=True, text=True, env={**ENVIRONMENT, "PYTHONPATH": paths})
    assert "1 of 60 images could not be read" in result.stderr, result.stderr
    found = rows(*sorted(out.glob("part-*.parquet")))
    assert [row[0] for row in found] == [str(folder / f"{place:06}.png") for place in range(60)]
    assert [(row[0], row[3]) for row in found if row[3]] == [(str(folder / "000013.png"), "2 workers died over it")]


def test_deaths_are_counted_by_shard_and_by_image() -> None:
    attempts = Attempts()
    assert [attempts.begin(4), attempts.begin(4), attempts.begin(5)] == [(0, []), (1, []), (0, [])]
    attempts.read(4, 0)
    attempts.read(4, 7)
    assert attempts.begin(4) == (2, [])  # it died over 7
    attempts.read(4, 7)
    assert attempts.begin(5) == (1, [])
    assert attempts.begin(4) == (3, [7])


LOOK = """
import os, psutil, sys
from vgglass.cluster.connection import connected
with connected("local") as nodes:
    import ray
    from ray._common.usage.usage_lib import usage_stats_enabled
    own = psutil.Process()
    for process in [own, *own.children(recursive=True)]:
        for each in process.net_connections():
            if each.status == "LISTEN":
                print("listens", each.laddr.ip.removeprefix("::ffff:"))
    print("statistics", usage_stats_enabled(), os.environ["RAY_USAGE_STATS_ENABLED"])
    print("nodes", len(nodes), nodes[0].version)
    address = ray.get_runtime_context().gcs_address
    os.environ["RAY_AUTH_TOKEN"] = "another" * 4
    import subprocess
    code = "import sys; from vgglass.cluster.connection import connected\\nwith connected(sys.argv[1]): print('let in')"
    found = subprocess.run([sys.executable, "-c", code, address], capture_output=True, text=True)
    print("stranger", "let in" in found.stdout, found.stderr.strip().splitlines()[-1])
"""


@needs_ray
@pytest.mark.slow
def test_a_local_cluster_is_this_machines_alone(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    lines = result.stdout.splitlines()
    assert {line for line in lines if line.startswith("listens")} == {"listens 127.0.0.1"}, result.stderr
    assert "statistics False 0" in lines
    assert f"nodes 1 {vgglass.__version__}" in lines
    [stranger] = [line for line in lines if line.startswith("stranger")]
    assert re.match(
        r"stranger False .*UsageError: --ray 127\.0\.0\.1:\d+: no Ray cluster can .* bring its token", stranger
    )


@needs_ray
@pytest.mark.slow
def test_sigterm_keeps_what_is_there_and_says_so(model: Path, tmp_path: Path) -> None:
    folder, out = pictures(tmp_path / "images", 2000), tmp_path / "out"
    arguments = command(folder, "--model", model, "--ray", "local", "--out", out, "--shard", 20)
    driver = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    while len(list(out.glob("part-*"))) < 2:
        assert driver.poll() is None
        time.sleep(0.02)
    children = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGTERM)
    _, told = driver.communicate(timeout=120)
    assert driver.returncode == 128 + signal.SIGTERM, told
    kept = 20 * len(list(out.glob("part-*.parquet")))
    assert f"interrupted by SIGTERM: {kept:,} of 2,000 rows are kept in {out}; the same command goes on" in told
    assert not psutil.wait_procs(children, timeout=30)[1], "processes of Ray live on"


@pytest.fixture
def foreign_cluster(tmp_path: Path) -> Iterator[str]:
    """The address of a cluster whose machine has another version of vgglass."""
    package = tmp_path / "other" / "vgglass"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = '0.0.9'\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ray = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--head", "--block"]
    settings = {
        "PYTHONPATH": str(package.parent), "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "disabled",
    }  # fmt: skip
    started = subprocess.Popen(
        [*ray, f"--port={port}", "--num-cpus=1", "--include-dashboard=false", "--object-store-memory=100000000"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**ENVIRONMENT, **settings},
        cwd=tmp_path, start_new_session=True,
    )  # fmt: skip
    try:
        yield f"127.0.0.1:{port}"
    finally:
        children = psutil.Process(started.pid).children(recursive=True)
        started.terminate()
        started.wait(60)
        for child in psutil.wait_procs(children, timeout=10)[1]:
            child.kill()


@needs_ray
@pytest.mark.slow
def test_workers_with_another_version_are_refused(foreign_cluster: str, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = command(model, "--model", model, "--ray", foreign_cluster, "--out", out)
    settings = {**ENVIRONMENT, "RAY_AUTH_MODE": "disabled"}
    for _ in range(10):  # until it has started
        result = subprocess.run(arguments, capture_output=True, text=True, env=settings)
        if "no Ray cluster" not in result.stderr:
            break
    assert result.returncode == 2, result.stderr
    told = f"has vgglass 0.0.9 (1 of 1 machines differ), and this is {vgglass.__version__}; install vgglass"
    assert f"error: machine 127.0.0.1: {told}" in result.stderr
    assert not list(out.glob("part-*"))


@needs_ray
@pytest.mark.parametrize("way", ["address", pytest.param("auto", marks=pytest.mark.slow)])
def test_where_no_cluster_answers_that_is_said_soon(
    way: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes the connection, and is no Ray
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        monkeypatch.setitem(ENVIRONMENT, "RAY_ADDRESS", address)
        given = address if way == "address" else "auto"
        told = said(model, "--ray", given, "--out", tmp_path / "out", "--model", model, status=2)
    rule = "no Ray cluster can be used there (nothing answers within 5 s)"
    assert f"error: --ray {address}: {rule}; start one (ray start --head), name its address, bring" in told


@needs_ray
@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("ray://127.0.0.1:10001", "is the address of Ray Client, .*; run the command on a machine of the cluster"),
        ("headnode", "is not local, auto or HOST:PORT; name one of them"),
        ("head:node", "is not local, auto or HOST:PORT"),
    ],
)
def test_other_addresses_are_refused(address: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        connection._require_reachable(address)


def test_without_ray_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "find_spec", lambda name: None)
    told = r"ray: needed for work on a cluster, is not installed; run: pip install 'vgglass\[ray\]'"
    with pytest.raises(MissingExtraError, match=told), connection.connected("local"):
        pass


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("0.0.9", r"machine 10\.0\.0\.2: has vgglass 0\.0\.9 \(1 of 2 machines differ\), and this is .*; install vgg"),
        (connection.ABSENT, r"machine 10\.0\.0\.2: has no vgglass \(1 of 2 machines differ\)"),
    ],
)
def test_a_machine_with_another_version_is_named(version: str, told: str) -> None:
    nodes = [Node("10.0.0.1", 4, 0, vgglass.__version__), Node("10.0.0.2", 4, 0, version)]
    with pytest.raises(UsageError, match=told):
        connection._require_version(nodes)
    connection._require_version(nodes[:1])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--ray", "local"), "--ray: writes its rows to the parts of a folder; add --out and the folder's name"),
        (("--ray", "local", "--out", "o", "--sort-into", "s"), "--sort-into: does not go with --ray"),
        (("--ray", "local", "--out", "o", "--json"), "--json: does not go with --ray, whose rows are in the parts"),
        (("--actors", 2), "--actors: says how a cluster is to work; add --ray and its address"),
        (("--shard", 2), "--shard: says how a cluster is to work"),
    ],
)
def test_options_that_do_not_go_together(options: tuple[object, ...], told: str, model: Path) -> None:
    assert told in said(model, "--model", model, *options, status=2)


# The job's folder


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"model": "2" * 64}, "model 000000000000… and not 222222222222…"),
        ({"images": "2" * 64, "count": 46}, "images 111111111111… and not 222222222222…, count 45 and not 46"),
        ({"shard": 21}, "shard 20 and not 21"),
        ({"views": "dense@32"}, "views centre@32 and not dense@32"),
        ({"vgglass": "0.0.9"}, f"vgglass {vgglass.__version__} and not 0.0.9"),
    ],
)
def test_another_jobs_folder_is_refused_by_what_differs(tmp_path: Path, changed: dict[str, object], named: str) -> None:
    job.claim(tmp_path, JOB, job.recorded(tmp_path))
    before = job.recorded(tmp_path)
    job.claim(tmp_path, JOB, before)
    with pytest.raises(UsageError, match=rf"--out .*: holds another job's parts, with {named}; repeat the command"):
        job.claim(tmp_path, replace(JOB, **changed), before)  # type: ignore[arg-type]


def test_a_folder_of_anything_else_is_refused(tmp_path: Path) -> None:
    file, stray, damaged = tmp_path / "file", tmp_path / "stray", tmp_path / "damaged"
    file.touch()
    with pytest.raises(UsageError, match="is a file, and with --ray the rows go to a folder"), job.exclusive(file):
        pass
    with job.exclusive(stray):
        assert job.recorded(stray) == {}
    job.place(stray, 0).touch()
    with pytest.raises(UsageError, match=r"holds files and no job\.json, which says whose they are; name a new folder"):
        job.recorded(stray)
    damaged.mkdir()
    for text in ("", "[]", '{"format": 2}', "{}"):
        (damaged / job.HEADER).write_text(text)
        with pytest.raises(UsageError, match="is not the header of a job"):
            job.recorded(damaged)


HOLD = """
import sys
from pathlib import Path
from vgglass.cluster import job
with job.exclusive(Path(sys.argv[1])):
    input()
"""


def test_two_at_a_time_are_one_too_many(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE)
    while not (tmp_path / job.LOCK).exists():
        time.sleep(0.02)
    time.sleep(0.2)
    with pytest.raises(UsageError, match="another vgglass predict is writing there"), job.exclusive(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    (tmp_path / ".part-00001.parquet.17.4711.tmp").touch()
    with job.exclusive(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [job.LOCK]


def test_shards_are_slices_of_the_names_and_parts_bear_their_numbers(tmp_path: Path) -> None:
    images = sources.Images("", [f"/{place:02}".encode() for place in range(45)])
    assert list(JOB.parts) == [0, 1, 2]
    assert [JOB.size(part) for part in JOB.parts] == [20, 20, 5]
    assert [name for part in JOB.parts for name in JOB.names(part, images)] == images.names
    assert job.place(tmp_path, 12).name == "part-00012.parquet"


def test_parts_that_are_not_whole_are_refused(model: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "images", 3)
    (folder / "000001.png").write_bytes(b"no image")
    how = WorkerOptions(str(model), 3, None, "openvino", "float32", "", 1)
    names = list(sources.listed([str(folder)]).names)
    table, failed = made(how, names)
    assert failed == 1
    small = replace(JOB, count=3, shard=3)
    assert job.failures(tmp_path, small, 0) is None
    job.write(tmp_path, 0, table)
    assert job.failures(tmp_path, small, 0) == 1
    with pytest.raises(UsageError, match=r"part-00000\.parquet: holds 3 rows, not 20; remove it, and it is made again"):
        job.failures(tmp_path, JOB, 0)
    job.place(tmp_path, 0).write_bytes(table[:-9])
    with pytest.raises(UsageError, match=r"part-00000\.parquet: can't be read"):
        job.failures(tmp_path, small, 0)


# A worker


def test_a_worker_gives_the_rows_of_plain_prediction(model: Path, tmp_path: Path) -> None:
    folder, part, plain = pictures(tmp_path / "images", 20), tmp_path / "part.parquet", tmp_path / "plain.parquet"
    (folder / "damaged.png").write_bytes(b"")
    how = WorkerOptions(str(model), 99, None, "openvino", "float32", "", 1)
    part.write_bytes(made(how, list(sources.listed([str(folder)]).names))[0])
    list(workflows.stream_predictions(model, [folder], top=10, out=plain, engine="openvino", precision="float32"))
    assert [row[::3] for row in rows(part)] == [row[::3] for row in rows(plain)]
    assert [row[2] or 0 for row in rows(part)] == pytest.approx([row[2] or 0 for row in rows(plain)], abs=1e-6)
    facts = Worker(how).facts()
    assert (facts["top"], facts["engine"], facts["views"]) == (10, "openvino", "centre@32")


def test_a_worker_with_another_model_says_so(model: Path) -> None:
    worker = Worker(WorkerOptions(str(model), 5, None, "openvino", "float32", "", 1, digest="2" * 64))
    with pytest.raises(ModelFileError, match="is not the model on this worker that the job began with; put the same"):
        worker.facts()


@pytest.mark.parametrize(
    ("nodes", "actors", "engine", "expected"),
    [
        ([(2, 0)], None, "auto", (2, 1, 0)),
        ([(2, 0)], 1, "auto", (1, 2, 0)),
        ([(8, 0), (8, 0)], None, "auto", (16, 1, 0)),
        ([(8, 0), (8, 0)], 3, "auto", (3, 4, 0)),  # two on one machine, one on the other
        ([(8, 0), (8, 0)], 1, "auto", (1, 8, 0)),  # an actor never spans machines
        ([(2, 0)], 5, "auto", (5, 1, 0)),  # three of them wait for CPUs
        ([(16, 2), (8, 0)], None, "auto", (2, 8, 1)),
        ([(16, 2), (8, 0)], None, "openvino", (24, 1, 0)),
    ],
)
def test_cpus_and_gpus_of_a_pool(
    nodes: list[tuple[int, int]], actors: int | None, engine: str, expected: tuple[int, int, int]
) -> None:
    machines = [Node("", cpus, gpus, "") for cpus, gpus in nodes]
    assert Pool.of(machines, actors, engine) == Pool(*expected)


@pytest.mark.parametrize(
    "error",
    [
        UserError(Path("a"), "is bad", "mend it"),
        DataError(3, "is bad", "mend it"),
        MissingExtraError("ray", "ray", "work"),
        InterruptedRunError("SIGTERM", 15, "is kept", "go on"),
    ],
)
def test_errors_come_through_between_processes(error: UserError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
