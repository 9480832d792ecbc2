"""Connect to a Ray cluster and check the version of vgglass on each of its machines."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from vgglass import __version__
from vgglass.errors import MissingExtraError, UsageError
from vgglass.server.access import is_loopback

LOCAL = "local"
CLIENT = "ray://"
STORE = 256 << 20  # bytes of a local object store: only names and rows pass through it, no images
PATIENCE = 5.0  # seconds to wait for a response from a cluster's address
ABSENT = "no"  # the version reported for a machine without vgglass


@dataclass(frozen=True)
class Node:
    """One machine of a cluster."""

    address: str
    cpus: int
    gpus: int
    version: str


def require(package: str = "ray") -> None:
    """Raises MissingExtraError if a package of the extra is missing."""
    if not find_spec(package):
        raise MissingExtraError(package, "ray", "work on a cluster")


@contextmanager
def connected(address: str) -> Iterator[list[Node]]:
    """Connect to a Ray cluster and yield its machines, all with this version of vgglass.

    address  'local': this machine, for the duration of the block; 'auto': the cluster running here or at RAY_ADDRESS;
             or host:port
    Raises UsageError, MissingExtraError.
    """
    require()
    address = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    _prepare(address)
    import ray

    _require_reachable(address)
    local = {"num_cpus": os.cpu_count(), "include_dashboard": False, "object_store_memory": STORE}
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", **(local if address == LOCAL else {}))
    except (
        ConnectionError,
        RuntimeError,
        ray.exceptions.AuthenticationError,
    ) as error:  # no cluster, or another version of Ray
        raise _unreachable(address, str(error).strip().splitlines()[0]) from error
    try:
        nodes = _nodes()
        _require_version(nodes)
        yield nodes
    finally:
        ray.shutdown()


def _prepare(address: str) -> None:
    """Set the environment variables that Ray reads on import."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # silences a warning for each actor pool and at shutdown
    host = address.removeprefix(CLIENT).rpartition(":")[0]
    if address == LOCAL or is_loopback(host):
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = (
            "0"  # on any system: keep Ray from replacing a loopback address
        )
    if address == LOCAL:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


def _require_reachable(address: str) -> None:
    """Raises UsageError if no gRPC server responds: Ray itself would wait two minutes and exit the process."""
    if address.startswith(CLIENT):
        rule = "is the address of Ray Client, which Ray Data does not run through"
        raise UsageError(f"--ray {address}", rule, "run the command on a machine of the cluster, with --ray auto")
    if address in (LOCAL, "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"--ray {address}", "is not local, auto or HOST:PORT", "name one of them")
    import grpc

    with grpc.insecure_channel(address) as channel:
        try:
            grpc.channel_ready_future(channel).result(PATIENCE)
        except grpc.FutureTimeoutError as error:
            raise _unreachable(address, f"nothing answers within {PATIENCE:g} s") from error


def _unreachable(address: str, reason: str) -> UsageError:
    remedy = "start one (ray start --head), name its address, bring its token, or take --ray local"
    return UsageError(f"--ray {address}", f"no Ray cluster can be used there ({reason})", remedy)


def _nodes() -> list[Node]:
    """Return the live machines with the version of vgglass on each."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def version() -> str:  # nested, so that Ray pickles it by value: it must run on machines without vgglass
        try:
            import vgglass
        except ImportError:
            return ABSENT
        return vgglass.__version__

    version_on_node = ray.remote(num_cpus=0)(version)
    living: list[dict[str, Any]] = [node for node in ray.nodes() if node["Alive"]]
    places = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in living]
    found = ray.get([version_on_node.options(scheduling_strategy=place).remote() for place in places])
    return [
        Node(node["NodeManagerAddress"], int(node["Resources"].get("CPU", 0)), int(node["Resources"].get("GPU", 0)), at)
        for node, at in zip(living, found, strict=True)
    ]


def _require_version(nodes: list[Node]) -> None:
    other = [node for node in nodes if node.version != __version__]
    if other:
        version = f"has {other[0].version} vgglass" if other[0].version == ABSENT else f"has vgglass {other[0].version}"
        rule = f"{version} ({len(other)} of {len(nodes)} machines differ), and this is {__version__}"
        raise UsageError(f"machine {other[0].address}", rule, f"install vgglass {__version__} on every machine")


def limit_threads(count: int) -> None:
    """Limit this process's OpenVINO engines to `count` threads: torch obeys Ray's OMP_NUM_THREADS, OpenVINO does not.

    Without pinning: OpenVINO pins from the first core in every process, so workers would share cores and others idle.
    """
    from vgglass.engines.openvino import core

    core().set_property("CPU", {"INFERENCE_NUM_THREADS": count, "ENABLE_CPU_PINNING": False})
