"""Speed of models on this machine: engines, precisions and batch sizes, beside eager PyTorch and smaller networks."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from vgglass.architecture import Architecture
from vgglass.engines import ENGINES, NAMES, PRECISIONS, selection
from vgglass.engines.artifact import Artifact
from vgglass.errors import MissingExtraError, UsageError
from vgglass.modelfile import ModelFile
from vgglass.workflows.models import Model, open_source

if TYPE_CHECKING:
    from vgglass.benchmark.candidates import Candidate, Logits
    from vgglass.benchmark.machine import Machine
    from vgglass.benchmark.report import Report
    from vgglass.benchmark.tables import Subject
    from vgglass.engines.selection import Choice, Source

BATCHES = (1, 8, 32)
RANDOM = "vgg16, random weights"
INPUTS = (
    "Engines take uint8 pixels and normalise them; eager PyTorch and the smaller networks take float32 images that are"
    " normalised, and have random weights: their speed alone is compared."
)


def describe_machine() -> "Machine":
    """Processor, memory, libraries, threads and load."""
    from vgglass.benchmark.machine import describe

    return describe()


def bench(
    models: Sequence[Model | Artifact] = (),
    *,
    batches: Sequence[int] = BATCHES,
    engines: Sequence[str] = (),
    precisions: Sequence[str] = (),
    seconds: float = 120,
    peers: bool = True,
    machine: "Machine | None" = None,
    console: Console | None = None,
) -> "Report":
    """Time models on engines, in precisions and batch sizes, in turns, beside eager PyTorch and smaller networks.

    models      model files, pretrained names or exported graphs; without any, VGG-16 with random weights
    engines     by name; without any, all that are installed and run the model
    precisions  by name; without any, all in which an engine computes on this machine
    seconds     for measuring; batch sizes that don't fit are left out and named. Opening everything comes on top.
    peers       whether to time torchvision's smaller networks
    machine     if it was described already
    Raises UsageError, ModelFileError, MissingExtraError.
    """
    from vgglass.benchmark import tables
    from vgglass.benchmark.candidates import peak, random_model
    from vgglass.benchmark.report import Report
    from vgglass.benchmark.timing import measure

    if not seconds > 0:
        raise UsageError(
            f"--seconds {seconds:g}", "leaves no time to measure in", "give a positive number, such as 120"
        )
    _require_among("--engine", engines, NAMES)
    _require_among("--precision", precisions, PRECISIONS)
    for name in engines:
        selection.module(name)
    console = console or Console(stderr=True)
    sources = [(str(model), open_source(model)) for model in models] or [
        (RANDOM, random_model(Architecture.named("vgg16")))
    ]
    chosen = [(name, source, _choices(source, engines, precisions)) for name, source in sources]
    machine = machine or describe_machine()
    subjects = _open(chosen, console)
    smaller = _open_peers(subjects[0], console) if peers else []
    candidates = [one for subject in subjects for one in subject.candidates]
    products = [peak(*key) for key in dict.fromkeys((one.device, one.precision) for one in candidates)]
    eager = dict.fromkeys(subject.eager for subject in subjects if subject.eager)
    everything = [*eager, *candidates, *smaller, *products]
    found = measure(
        [one.prepare for one in everything], batches, seconds, lambda line: console.print(line, soft_wrap=True)
    )
    if not found:
        rule = (
            f"is too short to time {len(everything)} networks and products of matrices with a batch of {min(batches)}"
        )
        raise UsageError(f"--seconds {seconds:g}", rule, "give more, or name fewer engines or smaller batches")
    times = {(one, batch): taken[:, place] for batch, taken in found.items() for place, one in enumerate(everything)}
    skipped = tuple(sorted(set(batches) - found.keys()))
    peaks = tables.peaks_of(products, list(found), times)
    return Report(
        machine=machine,
        tables=tuple(tables.table(subject, list(found), peaks, times) for subject in subjects),
        peers=tuple(tables.peer_rows(smaller, subjects[0], list(found), times)),
        peaks={f"{device} {precision}": reached for (device, precision), reached in peaks.items()},
        skipped=skipped,
        notes=(*(_skipped(batch, seconds) for batch in skipped), *_notes(subjects, smaller)),
    )


def draw_bench(report: "Report", path: Path) -> None:
    """Draw the images a second of every row to a PNG. Raises MissingExtraError."""
    from vgglass.benchmark.picture import draw

    draw(report, path)


def require_pictures() -> None:
    if not find_spec("matplotlib"):
        raise MissingExtraError("matplotlib", "torch", "pictures")


def _choices(source: "Source", engines: Sequence[str], precisions: Sequence[str]) -> "list[Choice]":
    """What to time of a source. Raises UsageError where nothing that was named can be, MissingExtraError."""
    able = [name for name in NAMES if selection.runs(source, name) and not selection.missing(name)]
    supported = {name: selection.supported_precisions(source, name) for name in engines or able}
    named = [(name, precision) for name in supported for precision in precisions or supported[name]]
    possible = [pair for pair in named if selection.runs(source, pair[0]) and pair[1] in supported[pair[0]]]
    return [selection.choose(source, *pair) for pair in possible or named[:1]]  # an impossible one says why it is


def _open(chosen: "Sequence[tuple[str, Source, list[Choice]]]", console: Console) -> "list[Subject]":
    from vgglass.benchmark.candidates import captured, float32_logits, of_source
    from vgglass.benchmark.peers import eager
    from vgglass.benchmark.tables import Subject

    candidates: dict[str, list[Candidate]] = {}
    expected: dict[str, Logits] = {}  # by the digest of the weights, which an artifact has from its model file
    for name, source, choices in chosen:
        console.print(
            f"opening {name}: {', '.join(f'{one.engine} {one.precision}' for one in choices)}", soft_wrap=True
        )
        opened = candidates[name] = [of_source(name, source, choice) for choice in choices]
        if isinstance(source, ModelFile):
            expected[source.record.digest] = float32_logits(source, opened)
            opened += [captured(name, source, one.precision) for one in opened if one.device == "CUDA"]
    architectures = {source.record.architecture for _, source, _ in chosen}
    modules = {one: eager(one) for one in architectures} if find_spec("torch") else {}
    return [
        Subject(
            name, source.record.architecture, tuple(candidates[name]), modules.get(source.record.architecture),
            expected.get(source.record.digest),
        )
        for name, source, _ in chosen
    ]  # fmt: skip


def _open_peers(subject: "Subject", console: Console) -> "list[Candidate]":
    """Smaller networks on the engine of this machine, in the precisions in which the subject is timed on it."""
    from vgglass.benchmark import peers

    if not find_spec("torchvision"):
        return []
    console.print(f"opening {', '.join(peers.PEERS)}")
    engine = "torch" if selection.has_gpu() else "openvino"
    timed = [one.precision for one in subject.candidates if one.engine == engine and one.precision != "int8"]
    return list(peers.peers(subject.architecture.image_size, timed or ["float32"]))


def _notes(subjects: "Sequence[Subject]", smaller: "Sequence[Candidate]") -> Iterator[str]:
    """Sentences on what is missing, and on what the figures mean."""
    missing = [name for name in NAMES if selection.missing(name)]
    if missing:
        extras = ",".join(dict.fromkeys(ENGINES[name].extra for name in missing))
        yield f"Not installed, and left out: {', '.join(missing)}. Run: pip install 'vgglass[{extras}]'"
    if not find_spec("torchvision"):
        yield "torchvision is not installed, and is left out beside the engines. Run: pip install 'vgglass[torch]'"
    elif smaller:
        yield INPUTS
    for subject in subjects:
        if subject.expected is None:
            yield f"{subject.name}: its model file, named too, tells how far it agrees with float32."
    if subjects[0].name == RANDOM:
        yield "Random weights cost what trained ones do; on trained ones answers agree otherwise."


def _skipped(batch: int, seconds: float) -> str:
    return (
        f"Batch {batch} is left out: it does not fit into {seconds:g} s beside the smaller ones; give more --seconds."
    )


def _require_among(option: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise UsageError(f"{option} {name}", f"is not one of {', '.join(known)}", "choose among them")
