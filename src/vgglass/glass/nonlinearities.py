"""ReLU compared with tanh and sigmoid: outputs, cost, and whether deep networks train with them."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vgglass.architecture import Architecture
from vgglass.data import sources
from vgglass.data.loader import square
from vgglass.model import VGG
from vgglass.preprocess import Preprocessing, normalise

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid
}  # fmt: skip
MODULES = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}

TIMED_NUMBERS, TIMED_ROUNDS, TIMED_RUNS = 2**18, 5, 20  # 1 MiB, which fits into the cache
AGREEING = 1.25  # largest ratio of the slowest round to the fastest at which timings count as consistent
FAR = 3.0  # where the slope is evaluated: tanh and sigmoid have saturated there

SIZE, BATCH, WIDTH, HIDDEN, STEPS, LEARNING_RATE = 32, 64, 0.125, 64, 100, 0.002
CLASSES, LEARNED = 10, 0.9  # a loss below this fraction of ln K is better than chance
SEED = 0


@dataclass(frozen=True, eq=False)
class Response:
    """One function applied to a map.

    zeros     fraction of outputs that are exactly zero
    rounds    nanoseconds per element on one thread, the minimum of many runs in each round
    slope     of the function at FAR
    doubling  largest |f(2x) - 2 f(x)| over the map's |f(x)| maximum: 0 where f is linear piece by piece
    """

    name: str
    output: NDArray[np.float32] = field(repr=False)
    zeros: float
    rounds: tuple[float, ...]
    slope: float
    doubling: float

    @property
    def nanoseconds(self) -> float:
        return min(self.rounds)

    def times(self, other: "Response") -> float | None:
        """Return the ratio of the costs; None if the rounds are inconsistent, as on a busy machine."""
        ratios = [mine / its for mine, its in zip(self.rounds, other.rounds, strict=True)]
        return self.nanoseconds / other.nanoseconds if max(ratios) <= AGREEING * min(ratios) else None


def respond(x: Tensor) -> list[Response]:
    """Apply ReLU, tanh and sigmoid to a map of any shape."""
    costs = _time_functions(x)
    return [_response(name, function, x, costs[name]) for name, function in FUNCTIONS.items()]


def _response(name: str, function: Callable[[Tensor], Tensor], x: Tensor, rounds: tuple[float, ...]) -> Response:
    output = function(x)
    far = torch.tensor(FAR, requires_grad=True)
    (slope,) = torch.autograd.grad(function(far), far)
    largest = float(output.abs().max())
    doubling = float((function(2 * x) - 2 * output).abs().max()) / largest if largest else 0.0
    zeros = float((output == 0).float().mean())
    return Response(name, output.numpy(), zeros, rounds, float(slope), doubling)


def _time_functions(x: Tensor) -> dict[str, tuple[float, ...]]:
    """Measure nanoseconds per element in rounds that interleave the functions."""
    many = x.flatten().repeat(-(-TIMED_NUMBERS // x.numel()))[:TIMED_NUMBERS].contiguous()
    rounds: dict[str, list[float]] = {name: [] for name in FUNCTIONS}
    with _one_thread():
        for _ in range(TIMED_ROUNDS):
            for name, function in FUNCTIONS.items():
                quickest = min(_seconds(function, many) for _ in range(TIMED_RUNS))
                rounds[name].append(quickest / TIMED_NUMBERS * 1e9)
    return {name: tuple(each) for name, each in rounds.items()}


def _seconds(function: Callable[[Tensor], Tensor], many: Tensor) -> float:
    began = time.perf_counter()
    function(many)
    return time.perf_counter() - began


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one torch thread: several synchronise at each small layer, up to twenty times slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Depth:
    """A column of the paper with one nonlinearity throughout, on the embedded digits.

    gradients  norm of the first batch's gradient for each layer's weights, first layer first, before any training
    losses     cross-entropy at each of the first training steps; ln 10 = 2.303 is chance
    zeros      fraction of exact zeros among the nonlinearities' outputs before training
    """

    column: str
    function: str
    layers: tuple[str, ...]
    gradients: tuple[float, ...]
    losses: tuple[float, ...]
    zeros: float

    @property
    def reach(self) -> float:
        """Ratio of the first layer's gradient norm to the last one's: what remains after backpropagation."""
        return self.gradients[0] / self.gradients[-1] if self.gradients[-1] else 0.0

    @property
    def learned(self) -> bool:
        """Whether the mean of the last losses, which are noisy, is better than chance."""
        return statistics.mean(self.losses[-5:]) < LEARNED * math.log(CLASSES)


def depth(column: str, function: str, steps: int) -> Depth:
    """Measure one column with one function, initialised by He et al. with torch's gain for the function."""
    with _one_thread():
        return _train(column, function, steps)


def _train(column: str, function: str, steps: int) -> Depth:
    images, labels = _digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network, weights = _network(column, function)
        order = torch.randperm(len(images)).repeat(-(-steps * BATCH // len(images)))
    optimiser = torch.optim.SGD(network.parameters(), LEARNING_RATE, momentum=0.9)
    zeros = _zeros(network, images[order[:BATCH]])
    gradients: tuple[float, ...] = ()
    losses: list[float] = []
    for start in range(0, steps * BATCH, BATCH):
        chosen = order[start : start + BATCH]
        loss = F.cross_entropy(network(images[chosen]), labels[chosen])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = gradients or tuple(float(w.grad.norm()) for w in weights.values() if w.grad is not None)
        optimiser.step()
        losses.append(float(loss.detach()))
    return Depth(column, function, tuple(weights), gradients, tuple(losses), zeros)


def verdicts(costs: Sequence[Response], deep: Sequence[Depth]) -> tuple[bool | None, bool, bool, bool]:
    """Whether each of the four claims about ReLU holds by these measurements: cheap, sparse, linear, trains deep.

    None if the timings are inconclusive. ReLU must come first, then the functions to compare with.
    """
    relu, *others = costs
    ratios = [row.times(relu) for row in others]
    known = [ratio for ratio in ratios if ratio is not None]
    cheap = all(ratio > AGREEING for ratio in known) if len(known) == len(ratios) else None
    sparse = deep[0].zeros > max(run.zeros for run in deep[1:])
    linear = relu.doubling < min(row.doubling for row in others)
    return cheap, sparse, linear, deep[0].learned


def _network(column: str, function: str) -> tuple[VGG, dict[str, nn.Parameter]]:
    """Build a narrow column with `function` for every ReLU and zero biases; return it and its weights by layer."""
    network = VGG(
        Architecture.named(column, classes=CLASSES, channels=1, image_size=SIZE, width=WIDTH, hidden=HIDDEN, dropout=0)
    )
    weights = {}
    for layer in network.architecture.layers():
        if layer.kind == "relu":
            network.add_module(layer.name, MODULES[function]())
        elif layer.kind in ("conv", "linear"):
            weights[layer.name] = network.get_parameter(f"{layer.name}.weight")
            nn.init.kaiming_normal_(weights[layer.name], nonlinearity=function)  # type: ignore[arg-type]
    return network, weights


def _zeros(network: VGG, images: Tensor) -> float:
    with torch.no_grad():
        outputs = [step.output for step in network.walk(images) if step.kind == "relu"]
    return sum(int((output == 0).sum()) for output in outputs) / sum(output.numel() for output in outputs)


@cache
def _digits() -> tuple[Tensor, Tensor]:
    record = Preprocessing(SIZE, SIZE, (78.0,), (96.0,), "L")  # approximately the digits' mean and standard deviation
    samples = sources.digits().split("train")
    pixels = np.stack([square(sample, record) for sample in samples])
    return torch.from_numpy(normalise(pixels, record)), torch.tensor([sample.label for sample in samples])
