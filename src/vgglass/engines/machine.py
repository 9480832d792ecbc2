"""What this machine has to run a network with."""

import json
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from vgglass import zoo
from vgglass.atomic import replacing

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


def bfloat16_gain(name: str) -> float:
    """How many times as fast as float32 bfloat16 is on the CPU of this name: some have it and are slow at it.

    Measured once, in about half a second, and kept in the cache folder.
    """
    path = zoo.cache_folder() / "bfloat16.json"
    known = _known(path)
    if known.get("cpu") == name:
        return float(known["gain"])
    gain = _measured()
    try:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"cpu": name, "gain": gain}), encoding="utf-8")
    except OSError:
        pass  # a cache that can't be written: measured again next time
    return gain


def _known(path: Path) -> dict[str, str | float]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {"cpu": str(found["cpu"]), "gain": float(found["gain"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # not measured yet


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
