"""A server that trains, and what its tests ask of it."""

import http.client
import json
import time
from typing import Any

import psutil

from served import Served


def status(server: Served) -> dict[str, Any]:
    """The run's state as the page is told first."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("GET", "/watch/events")
        found: dict[str, Any] = json.loads(connection.getresponse().readline())
        return found
    finally:
        connection.close()  # the stream would go on for seconds


def wait(server: Served, name: str, wanted: object, within: float = 600) -> dict[str, Any]:
    """The status, once its field is at least so large, or is that."""
    until = time.monotonic() + within
    while True:
        found = status(server)
        if found[name] == wanted or (type(wanted) is int and found[name] >= wanted):
            return found
        assert time.monotonic() < until, found
        assert found["state"] in ("running", "paused"), found


def command(server: Served, name: str) -> dict[str, Any]:
    reply = server.ask("POST", f"/watch/commands/{name}")
    assert reply.status == 200, reply.body
    found: dict[str, Any] = reply.json
    return found


def started(server: Served, query: str = "") -> int:
    """The number of a new run, once its first point is there; one that goes on is stopped first."""
    if status(server)["state"] in ("running", "paused"):
        command(server, "stop")
    reply = server.ask("POST", f"/watch/runs{query}")
    assert reply.status == 200, reply.body
    until = time.monotonic() + 120
    while not (found := status(server))["points"]:
        assert time.monotonic() < until, found
        assert found["state"] != "failed", found
    return int(reply.json["number"])


def learner(server: Served) -> psutil.Process:
    """The process that trains."""
    for process in psutil.Process(server.process.pid).children():
        if "vgglass.server.learner" in process.cmdline():
            return process
    raise AssertionError("nothing is trained")
