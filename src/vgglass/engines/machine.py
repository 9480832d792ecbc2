"""What this machine has to run a network with."""

import hashlib
import json
import platform
import re
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from vgglass import zoo
from vgglass.atomic import replacing

CPUINFO = Path("/proc/cpuinfo")
GPU = Path("/dev/nvidiactl")  # asking torch takes seconds
PROBE = (256, 28, 3)  # channels, side and number of the convolutions that the two precisions are compared on
TURNS = 5


def has_gpu() -> bool:
    """Whether torch is installed and sees a GPU."""
    if not GPU.exists() or not find_spec("torch"):
        return False
    import torch

    return torch.cuda.is_available()


def cpu() -> tuple[str, bool]:
    """This CPU's name and OpenVINO's version, and whether it has instructions for bfloat16."""
    import openvino

    from vgglass.engines.openvino import core

    capable = "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return f"{core().get_property('CPU', 'FULL_DEVICE_NAME')}, OpenVINO {openvino.__version__}", capable


def processor() -> str:
    """This CPU's name, without OpenVINO."""
    names = re.findall(r"^model name\s*: (.+)$", CPUINFO.read_text(), re.MULTILINE) if CPUINFO.is_file() else []
    return names[0] if names else platform.processor() or platform.machine()


def bfloat16_gain(name: str) -> float:
    """How many times as fast as float32 bfloat16 is on the CPU of this name: some have it and are slow at it.

    Takes about half a second the first time.
    """
    return remembered(f"OpenVINO's bfloat16 beside float32, {name}", _measured)


def remembered(what: str, measure: Callable[[], float]) -> float:
    """A figure as it was first measured here: measured at each start it would differ, and what is chosen by it too.

    what  names the figure and all that it hangs on
    Kept in the cache folder with its SHA-256; a file that is not as it was written is measured again, and where nothing
    can be written that happens each time.
    """
    path = measurements() / f"{_digest(what)}.json"
    if (known := _known(path, what)) is not None:
        return known
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with zoo.locked(path.with_suffix(".lock")):  # another start may be measuring now
            if (known := _known(path, what)) is not None:
                return known
            gain = measure()
            kept = json.dumps([what, gain])
            with replacing(path) as temporary:
                temporary.write_text(json.dumps({"measured": kept, "sha256": _digest(kept)}), encoding="utf-8")
            return gain
    except OSError:
        return measure()


def measurements() -> Path:
    """The folder that `remembered` keeps its figures in."""
    return zoo.cache_folder() / "measured"


def _known(path: Path, what: str) -> float | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        named, gain = json.loads(found["measured"])
        if found["sha256"] == _digest(found["measured"]) and named == what:
            return float(gain)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # not measured yet, or damaged
    return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _measured() -> float:
    from vgglass.engines.openvino import convolutions

    channels, side, count = PROBE
    image = np.ones((1, channels, side, side), np.float32)
    works = {precision: convolutions(channels, side, count, precision) for precision in ("float32", "bfloat16")}
    seconds: dict[str, list[float]] = {precision: [] for precision in works}
    for _ in range(TURNS + 1):
        for precision, work in works.items():
            began = time.perf_counter()
            work(image)
            seconds[precision].append(time.perf_counter() - began)
    return min(seconds["float32"][1:]) / min(seconds["bfloat16"][1:])
