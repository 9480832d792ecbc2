"""Select the engine and precision for a network on this machine, with the reason."""

import hashlib
import json
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np

from vgglass.engines import ENGINES, FORMATS, NAMES, OUTPUTS, PRECISIONS, Engine, Output, Precision
from vgglass.engines.artifact import AGAIN, Artifact
from vgglass.errors import MissingExtraError, ModelFileError, UsageError
from vgglass.files import cache_folder, locked, replacing
from vgglass.modelfile import ModelFile

Source = ModelFile | Artifact

FASTER = 1.2  # speed-up from which bfloat16 is worth its loss of precision


@dataclass(frozen=True)
class Choice:
    """An engine's name, the precision of its arithmetic, and the reason for both."""

    engine: str
    precision: Precision
    why: str

    def __str__(self) -> str:
        return f"{self.engine}, {self.precision}: {self.why}"


def choose(source: Source, engine: str = "auto", precision: str = "auto") -> Choice:
    """Resolve 'auto'. Raises UsageError for combinations that are invalid or unsupported on this machine."""
    if engine not in ("auto", *NAMES):
        raise UsageError(f"--engine {engine}", f"is not one of auto, {', '.join(NAMES)}", "choose one of them")
    if precision not in ("auto", *PRECISIONS):
        raise UsageError(
            f"--precision {precision}", f"is not one of auto, {', '.join(PRECISIONS)}", "choose one of them"
        )
    if engine == "auto":
        gpu = isinstance(source, ModelFile) and has_gpu()
        name, why = ("torch", "a GPU is there") if gpu else ("openvino", "the quickest on a CPU")
    else:
        name, why = engine, "as asked"
        _require_supported(source, name)
    if isinstance(source, Artifact):
        return Choice(name, _artifact_precision(source, precision), f"{why}; {source.precision} as exported")
    if precision == "int8":
        raise UsageError(
            "--precision int8", "needs weights that were calibrated for it", "run vgglass export --int8 first"
        )
    if precision == "auto":
        chosen, reason = _fastest_precision(name)
        return Choice(name, chosen, f"{why}; {reason}")
    if precision == "bfloat16":
        _require_bfloat16(name)
        return Choice(name, "bfloat16", f"{why}; precision as asked")
    return Choice(name, "float32", f"{why}; precision as asked")


def open_engine(source: Source, choice: Choice, output: Output = "fc8", *, dense: bool = False) -> Engine:
    """Open the chosen engine. Raises UsageError for an output or density that an artifact lacks; MissingExtraError."""
    if output not in OUTPUTS:
        raise UsageError(f"output {output!r}", f"is not one of {', '.join(OUTPUTS)}", "choose one of them")
    if dense and output not in ("fc8", "fc8+average"):
        raise UsageError(f"output {output!r} of a dense engine", "a map is made of class scores alone", "take 'fc8'")
    runtime = module(choice.engine)
    source.record.architecture.layer(output.removesuffix("+average"))
    if isinstance(source, Artifact):
        return _open_artifact(source, runtime, choice, output, dense)
    engine: Engine = runtime.open_engine(source, output, choice.precision, dense=dense)
    return engine


def _open_artifact(source: Artifact, runtime: ModuleType, choice: Choice, output: Output, dense: bool) -> Engine:
    """Open an artifact's engine, and check its output shape on one golden image. Raises ModelFileError, UsageError."""
    if output != "fc8":
        raise UsageError(source.path, f"gives class scores, not {output}", "take the model file")
    if dense != source.dense:
        shape = "images of any size" if source.dense else "images of the training size alone"
        remedy = "take the model file, or export it " + ("without --dense" if source.dense else "with --dense")
        raise UsageError(source.path, f"takes {shape}", remedy)
    try:
        engine: Engine = runtime.open_engine(source, output, choice.precision, dense=dense)
        found = engine(source.golden_images[:1]).shape
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise ModelFileError(source.path, f"{choice.engine} can't run it ({reason})", AGAIN) from error
    expected = (1, len(source.record.classes), *([1, 1] if dense else []))
    if found != expected:
        raise ModelFileError(source.path, f"gives {found} for an image where its record says {expected}", AGAIN)
    return engine


def runs(source: Source, engine: str) -> bool:
    """Whether an engine supports a source; OpenVINO reads ONNX as well."""
    return isinstance(source, ModelFile) or engine == "openvino" or engine == FORMATS[source.path.suffix]


def supported_precisions(source: Source, engine: str) -> list[Precision]:
    """The precisions in which an engine computes a source on this machine."""
    if isinstance(source, Artifact):
        return [source.precision]
    device = ENGINES[engine].bfloat16
    capable = (device == "cpu" and cpu()[1]) or (device == "gpu" and has_gpu())
    return ["float32", "bfloat16"] if capable else ["float32"]


def missing(engine: str) -> list[str]:
    """Required packages of an engine that are not installed."""
    return [package for package in ENGINES[engine].packages if not find_spec(package)]


def module(name: str) -> ModuleType:
    """The module of an engine. Raises MissingExtraError if a required package is not installed."""
    for package in missing(name):
        raise MissingExtraError(package, ENGINES[name].extra, f"the engine {name}")
    return import_module(f"vgglass.engines.{ENGINES[name].module}")


def _require_supported(source: Source, engine: str) -> None:
    if isinstance(source, Artifact) and not runs(source, engine):
        takes = f"model files and {ENGINES[engine].suffix}" if ENGINES[engine].suffix else "model files"
        raise UsageError(f"--engine {engine} on {source.path}", f"it runs {takes}", "take openvino")


def _artifact_precision(source: Artifact, precision: str) -> Precision:
    if precision not in ("auto", source.precision):
        rule = f"was exported as {source.precision}"
        raise UsageError(
            f"--precision {precision} on {source.path}", rule, "leave --precision out, or take the model file"
        )
    return source.precision


def _require_bfloat16(engine: str) -> None:
    """Raises UsageError without bfloat16 support; torch emulates it where necessary."""
    if not ENGINES[engine].bfloat16:
        raise UsageError("--precision bfloat16", f"{engine} multiplies in float32 on a CPU", "take another engine")
    if ENGINES[engine].bfloat16 == "cpu" and not cpu()[1]:
        raise UsageError("--precision bfloat16", "this CPU has no arithmetic in bfloat16", "take float32 or auto")


def _fastest_precision(engine: str) -> tuple[Precision, str]:
    if not ENGINES[engine].bfloat16:
        return "float32", f"all that {engine} has on a CPU"
    if ENGINES[engine].bfloat16 == "gpu":
        if not has_gpu():
            return "float32", f"{engine}'s own on a CPU"
        import torch

        capable = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bfloat16", "this GPU computes in it") if capable else ("float32", "this GPU has no bfloat16")
    name, capable = cpu()
    if not capable:
        return "float32", "this CPU has no arithmetic in bfloat16"
    gain = bfloat16_gain(name)
    chosen: Precision = "bfloat16" if gain >= FASTER else "float32"
    return chosen, f"bfloat16 was measured {gain:.1f} times as fast as float32 here"


# Hardware detection and benchmarks.

CPUINFO = Path("/proc/cpuinfo")
GPU = Path("/dev/nvidiactl")  # checked first, because importing torch takes seconds
PROBE = (256, 28, 3)  # channels, side and number of convolutions of the precision benchmark
TURNS = 5


def has_gpu() -> bool:
    """Whether torch is installed and sees a GPU."""
    if not GPU.exists() or not find_spec("torch"):
        return False
    import torch

    return torch.cuda.is_available()


def cpu() -> tuple[str, bool]:
    """The CPU's name with OpenVINO's version, and whether it supports bfloat16."""
    import openvino

    from vgglass.engines.openvino import core

    capable = "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return f"{core().get_property('CPU', 'FULL_DEVICE_NAME')}, OpenVINO {openvino.__version__}", capable


def processor() -> str:
    """The CPU's name, without importing OpenVINO."""
    names = re.findall(r"^model name\s*: (.+)$", CPUINFO.read_text(), re.MULTILINE) if CPUINFO.is_file() else []
    return names[0] if names else platform.processor() or platform.machine()


def bfloat16_gain(name: str) -> float:
    """Speed-up of bfloat16 over float32 on the CPU of this name, as some support it only slowly.

    Takes about half a second the first time; cached by `remembered`.
    """
    return remembered(f"OpenVINO's bfloat16 beside float32, {name}", _measure_gain)


def remembered(what: str, measure: Callable[[], float]) -> float:
    """A cached measurement: repeated at each start it would vary, and so would the choices based on it.

    what  identifies the figure and everything it depends on
    Stored in the cache folder with its SHA-256; a damaged file is measured again, and without a writable folder the
    figure is measured every time.
    """
    path = measurements() / f"{_digest(what)}.json"
    if (known := _read_cached(path, what)) is not None:
        return known
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock")):  # another process may be measuring
            if (known := _read_cached(path, what)) is not None:
                return known
            gain = measure()
            payload = json.dumps([what, gain])
            with replacing(path) as temporary:
                temporary.write_text(json.dumps({"measured": payload, "sha256": _digest(payload)}), encoding="utf-8")
            return gain
    except OSError:
        return measure()


def measurements() -> Path:
    """The folder of cached measurements."""
    return cache_folder() / "measured"


def _read_cached(path: Path, what: str) -> float | None:
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


def _measure_gain() -> float:
    from vgglass.engines.openvino import convolutions

    channels, side, count = PROBE
    image = np.ones((1, channels, side, side), np.float32)
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    benchmarks = {precision: convolutions(channels, side, count, precision) for precision in precisions}
    seconds: dict[str, list[float]] = {precision: [] for precision in benchmarks}
    for _ in range(TURNS + 1):
        for precision, benchmark in benchmarks.items():
            start = time.perf_counter()
            benchmark(image)
            seconds[precision].append(time.perf_counter() - start)
    return min(seconds["float32"][1:]) / min(seconds["bfloat16"][1:])
