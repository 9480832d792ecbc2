"""Training for the page over HTTP: one process at a time, its commands, its record, and its end with the server."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from glass_subjects import photograph
from served import Served, encoded, save_model
from vgglass.learning import Learning, Point
from vgglass.server import learner as child
from vgglass.server import training
from vgglass.server.refusals import RefusedError
from vgglass.training import recipe
from watched import command, learner, started, status, wait


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("watch")
    with Served(folder, save_model(folder / "small.safetensors")) as server:
        yield server


def test_the_gate_begins_shut_and_lets_one_step_through() -> None:
    valve = child.Valve()
    assert not valve.opens(0)
    valve.obey("step")
    assert valve.opens(0)
    assert valve.wants(1)
    assert not valve.opens(1)
    valve.obey("go")
    assert [valve.opens(step) for step in (1, 2, 3)] == [True] * 3
    assert not valve.wants(3)
    valve.obey("pause")
    assert valve.wants(4), "where it halts can be looked at"
    assert not valve.opens(4)
    valve.obey("step")
    assert valve.opens(4)
    assert not valve.opens(5)


def test_no_command_is_lost_while_a_step_is_under_way() -> None:
    valve = child.Valve()
    valve.obey("step")
    assert valve.opens(0)
    valve.obey("step")  # before the first one's end
    assert [valve.opens(step) for step in (1, 2)] == [True, False]
    valve.obey("step")
    valve.obey("step")
    assert [valve.opens(step) for step in (2, 3, 4)] == [True, True, False]
    valve.obey("go")
    assert valve.opens(4)
    valve.obey("pause")
    valve.obey("step")  # the step under way, and one more
    assert [valve.opens(step) for step in (5, 6)] == [True, False]


def test_each_experiment_breaks_one_thing(tmp_path: Path) -> None:
    usual = recipe.Recipe().override(**recipe.values("digits"))
    jobs = {name: training.job(None, name) for name in training.EXPERIMENTS}
    assert jobs["plain"]["fields"] == {"epochs": training.DIGITS_EPOCHS}
    assert jobs["rate"]["fields"]["learning_rate"] == 30 * usual.learning_rate == 1.5
    assert jobs["norm"]["fields"]["architecture"] == "vgg11"
    assert {name: job["activation"] for name, job in jobs.items()} == {
        "plain": "relu", "rate": "relu", "relu": "none", "norm": "relu", "sigmoid": "sigmoid",
    }  # fmt: skip
    on_folder = training.job(tmp_path, "rate")
    assert (on_folder["folder"], on_folder["recipe"]) == (str(tmp_path), None)
    assert on_folder["fields"]["learning_rate"] == pytest.approx(0.6)
    for job in (*jobs.values(), on_folder):
        recipe.Recipe().override(**job["fields"])


def test_before_the_first_run_there_is_nothing(server: Served) -> None:
    found = status(server)
    assert (found["number"], found["state"], found["points"], found["about"]) == (0, "none", [], None)
    for path in ("/watch/runs/1/points/0", "/watch/runs/1/pinned", "/watch/runs/1/losses"):
        reply = server.ask("GET", path)
        assert (reply.status, reply.json["error"]) == (404, "run 1: is not the last one; see /watch/events.")


def test_the_record_of_the_model_that_serves_is_shown_and_stays(tmp_path: Path) -> None:
    place = Learning(tmp_path)
    place.begin({"steps": 5, "classes": ["a", "b"]}, {"pixels": np.zeros((1, 4, 4, 1), np.uint8)})
    numbers = {"validation": {"loss": 0.7, "accuracy": 0.5}, "dead": {"relu6": 0.25, "relu7": 0.5}}
    place.write(Point(3, numbers, {"kernels": np.zeros((1, 1, 3, 3), np.float32)}))
    (tmp_path / "best.safetensors").touch()
    shown = training.Training(None, served=tmp_path)
    found = shown.status()
    assert (found["number"], found["state"], found["model"]) == (1, "recorded", False)
    assert found["points"] == [{"step": 3, "loss": 0.7, "accuracy": 0.5, "dead": 0.5}]
    asyncio.run(shown.close())
    assert place.steps() == [3]
    assert training.Training(None, served=tmp_path / "learning").status()["state"] == "none"


@pytest.mark.slow
def test_a_run_beside_a_record_leaves_it_alone(tmp_path: Path) -> None:
    place = Learning(tmp_path)
    place.begin({"steps": 5, "classes": ["a", "b"]}, {"pixels": np.zeros((1, 4, 4, 1), np.uint8)})
    with Served(tmp_path, save_model(tmp_path / "small.safetensors")) as server:
        assert status(server)["state"] == "recorded"
        assert started(server) == 2
        assert started(server) == 3
        server.stop()
    assert place.about()["steps"] == 5


@pytest.mark.parametrize(
    ("method", "path", "refused", "says"),
    [
        ("POST", "/watch/commands/go", 409, "command 'go': no run goes on; start one first."),
        ("POST", "/watch/runs?data=folder", 422, "data folder: none was given; start serve with --data FOLDER."),
        ("POST", "/watch/runs?data=/etc", 422, "data '/etc'"),
        ("POST", "/watch/runs?data=digits%0Afolder", 422, "data 'digits\\nfolder'"),
        ("POST", "/watch/runs?experiment=rate;rm", 422, "experiment 'rate;rm'"),
        ("POST", "/watch/commands/..%2F..%2Fetc", 404, "Not Found"),
        ("POST", "/watch/commands/kill", 422, "command 'kill'"),
        ("GET", "/watch/runs/0/points/0", 422, "number '0'"),
        ("GET", "/watch/runs/1/points/-1", 422, "step '-1'"),
        ("GET", "/watch/runs/1/points/99999999999999999999", 422, "step '99999999999999999999'"),
        ("GET", "/watch/runs/1/losses?after=-1", 422, "after '-1'"),
        ("POST", "/watch/runs/1/open", 409, "run 1: is not the last one, or goes on; wait for its end, or stop it."),
        ("GET", "/watch/runs", 405, "Method Not Allowed"),
    ],
)
def test_hostile_requests_are_refused(server: Served, method: str, path: str, refused: int, says: str) -> None:
    reply = server.ask(method, path)
    assert (reply.status, says in reply.json["error"]) == (refused, True), reply.body
    assert status(server)["number"] == 0


def test_another_sites_page_starts_nothing(server: Served) -> None:
    reply = server.ask("POST", "/watch/runs", headers={"Origin": "https://evil.example"})
    assert reply.status == 403
    assert status(server)["number"] == 0


def test_a_server_that_may_not_train_refuses() -> None:
    shut = training.Training(None, allowed=False)
    assert not shut.available
    with pytest.raises(
        RefusedError, match="this server: does not train: it asks for no token, or torch and scikit-learn"
    ):
        asyncio.run(shut.start("digits", "plain"))


@pytest.mark.slow
def test_who_listens_to_everybody_without_a_token_trains_nothing(tmp_path: Path) -> None:
    file = save_model(tmp_path / "small.safetensors")
    with Served(tmp_path, file, "--host", "::", "--insecure") as open_to_all:
        assert open_to_all.ask("GET", "/glass/model").json["views"] == ["explore", "course"]
        reply = open_to_all.ask("POST", "/watch/runs")
        assert reply.status == 501
        assert reply.json["error"].startswith("this server: does not train: it asks for no token")


@pytest.mark.slow
def test_a_run_from_its_first_point_to_its_model(server: Served) -> None:
    assert server.ask("GET", "/glass/model").json["views"] == ["explore", "course", "watch"]
    number = started(server)
    first = status(server)
    assert (first["state"], first["done"], [point["step"] for point in first["points"]]) == ("paused", 0, [0])
    assert first["points"][0]["loss"] == pytest.approx(np.log(10), abs=0.05)
    for path, why in (("/watch/runs", "goes on, and this server trains one network"), ("/watch/runs/1/open", "goes")):
        reply = server.ask("POST", path)
        assert (reply.status, why in reply.json["error"]) == (409, True), reply.body
    command(server, "step")
    assert wait(server, "done", 1)["done"] == 1
    command(server, "step")
    assert wait(server, "done", 2)["points"][-1]["step"] == 2
    losses = np.frombuffer(server.ask("GET", f"/watch/runs/{number}/losses?after=1").body, "<f4")
    assert losses.shape == (2,)
    point = server.ask("GET", f"/watch/runs/{number}/points/2").body
    assert b'\\"update\\"' in point[:4000]
    command(server, "go")
    wait(server, "model", True)
    assert command(server, "stop")["state"] == "stopped"
    before = server.ask("GET", "/glass/model").json
    assert server.ask("POST", f"/watch/runs/{number}/open").json == {"name": f"digits-{number}"}
    opened = server.ask("GET", "/glass/model").json
    assert (opened["name"], opened["architecture"]) == (f"digits-{number}", "vgg11_bn")
    assert server.predict(encoded(photograph(32, 32))).status == 200
    assert server.ask("POST", "/watch/close").json == {"name": "small"}
    assert server.ask("GET", "/glass/model").json["digest"] == before["digest"]


@pytest.mark.slow
def test_a_broken_network_has_no_model_file(server: Served) -> None:
    number = started(server, "?experiment=relu")
    assert status(server)["about"]["activation"] == "none"
    command(server, "stop")
    reply = server.ask("POST", f"/watch/runs/{number}/open")
    assert reply.status == 404
    assert "has no model file: it was broken" in reply.json["error"]


@pytest.mark.slow
def test_a_killed_process_is_told_and_the_next_run_starts(server: Served) -> None:
    started(server)
    learner(server).send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    while (found := status(server))["state"] != "failed":
        assert time.monotonic() < until
    assert found["error"] == "killed"
    assert started(server) == found["number"] + 1
    command(server, "stop")
    assert server.ask("GET", "/health/live").status == 200


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_a_server_that_ends(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a folder, whose images are decoded by processes of the process that trains."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for shade, name in enumerate(("cat", "dog")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(12):
            pixels = np.random.default_rng(index).integers(0, 128 + 127 * shade, (70, 80, 3), np.uint8)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / name / f"{index}.png")
    with Served(tmp_path, save_model(tmp_path / "small.safetensors"), "--data", tmp_path / "photos") as server:
        started(server, "?data=folder")
        command(server, "go")
        wait(server, "done", 2)
        process = learner(server)
        family = [process, *process.children(recursive=True)]
        (home,) = tmp_path.glob("vgglass-learning-*")
        server.stop(number)
        _, alive = psutil.wait_procs(family, timeout=20)
        assert alive == []
        until = time.monotonic() + 10
        while home.exists() and time.monotonic() < until:
            time.sleep(0.1)
        assert not home.exists()
