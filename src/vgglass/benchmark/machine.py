"""The machine that figures of speed belong to."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec

from rich.filesize import decimal

from vgglass import __version__
from vgglass.engines.selection import has_gpu, processor

PACKAGES = ("numpy", "openvino", "torch", "torchvision", "onnxruntime")
BUSY = 0.5  # load per core


@dataclass(frozen=True)
class Machine:
    """Processor, memory and libraries.

    cores    that this process may use
    memory   in bytes
    gpu      its name; '' without one
    threads  of each engine's own choice
    load     processes that run or wait for a core, on average over the last minute
    """

    processor: str
    cores: int
    memory: int
    gpu: str
    threads: dict[str, int | str]
    versions: dict[str, str]
    load: float

    @property
    def is_busy(self) -> bool:
        """Whether other programs are at work, so that times are theirs as well."""
        return self.load > BUSY * self.cores

    def lines(self) -> list[str]:
        """Three lines for a person, and a fourth on a machine that is busy with other things."""
        gpu = f", {self.gpu}" if self.gpu else ""
        lines = [
            f"{self.processor}, {self.cores} cores, {decimal(self.memory)} of memory{gpu}",
            ", ".join(f"{name} {number}" for name, number in self.versions.items()),
            "threads, as each engine chooses: " + ", ".join(f"{name} {count}" for name, count in self.threads.items()),
        ]
        if self.is_busy:
            lines.append(f"load {self.load:.1f}: other programs are at work, and the figures are theirs as well")
        return lines


def describe() -> Machine:
    """This machine, now. Imports torch if it is installed."""
    from vgglass.engines.openvino import product

    threads: dict[str, int | str] = {"openvino": product(8, "float32").get_property("INFERENCE_NUM_THREADS")}
    gpu = ""
    if find_spec("torch"):
        import torch

        threads["torch"] = torch.get_num_threads()
        gpu = torch.cuda.get_device_name() if has_gpu() else ""
    if find_spec("onnxruntime"):
        threads["onnxruntime"] = "one a physical core"  # its default, which it does not tell
    return Machine(
        processor=processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        gpu=gpu,
        threads=threads,
        versions={"vgglass": __version__, "Python": platform.python_version()}
        | {name: version(name) for name in PACKAGES if find_spec(name)},
        load=os.getloadavg()[0],
    )
