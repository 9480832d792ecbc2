"""Mixed precision: which one is faster here, float32 master weights with bfloat16 copies, and their moving average."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vgglass.engines import selection
from vgglass.model import VGG

LEAST_SPEEDUP = 1.2  # bfloat16 must be as much faster, or noise in the measurement would choose
PROBE = (8, 128, 28)  # images, channels, side of a layer in the middle of VGG
PROBE_REPEATS, PROBE_ROUNDS = 3, 3


def choose(wanted: str, device: torch.device) -> tuple[str, str]:
    """The precision of a run for the one that its recipe names, and a line that says why."""
    precision, why = _choose(wanted, device)
    line = f"precision: {precision} ({why})"
    if "measured" in why:
        fixed = f"--set precision={precision}"
        line += f"\nmeasured once on this machine and kept in {selection.measurements()}; the same anywhere: {fixed}"
    return precision, line


def _choose(wanted: str, device: torch.device) -> tuple[str, str]:
    if wanted != "auto":
        return wanted, "as the recipe says"
    if device.type == "cuda":
        capable = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bfloat16" if capable else "float32"), f"this GPU {'computes' if capable else 'does not compute'} in it"
    has = torch.cpu.get_capabilities()
    if not (has.get("avx512_bf16") or has.get("amx_bf16") or has.get("bf16")):
        return "float32", "this CPU has no arithmetic in bfloat16"
    speedup = _speedup()
    if speedup >= LEAST_SPEEDUP:
        return "bfloat16", f"measured {speedup:.1f} times as fast as float32 here"
    return "float32", f"bfloat16 measured {speedup:.1f} times as fast here"


def _speedup() -> float:
    """How many times as fast as float32 bfloat16 is, kept by processor, threads and torch version."""
    here = f"{selection.processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    # These words are the key of earlier versions too: the same command must go on choosing the same precision.
    return selection.remembered(f"torch.bfloat16 direct beside torch.float32 direct, {here}", _measured)


def _measured() -> float:
    """In turns, so that other load on the machine slows both."""
    rounds = [(_seconds(torch.float32), _seconds(torch.bfloat16)) for _ in range(PROBE_ROUNDS)]
    return min(plain for plain, _ in rounds) / min(half for _, half in rounds)


@torch.random.fork_rng()
def _seconds(precision: torch.dtype) -> float:
    """Forward and backward through one convolution, the quickest repeat but the first, which sets things up."""
    images, channels, side = PROBE
    layer = nn.Conv2d(channels, channels, 3, padding=1, dtype=precision).to(memory_format=torch.channels_last)
    batch = torch.ones(images, channels, side, side, dtype=precision).to(memory_format=torch.channels_last)
    batch.requires_grad_()
    found = []
    for _ in range(PROBE_REPEATS + 1):
        began = time.perf_counter()
        layer(batch).sum().backward()
        found.append(time.perf_counter() - began)
    return min(found[1:])


State = dict[str, Tensor]

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
EMA_WARMUP = 10  # the decay is (1 + n) / (10 + n) until it reaches the recipe's


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Weights:
    """A network, its master weights where it computes in bfloat16, and their moving average.

    bfloat16 has eight bits, in which small updates vanish: the optimizer updates float32 masters, which are then copied
    to the network's bfloat16 parameters (Micikevicius et al., 2018); batch norm stays in float32. In other precisions
    the masters are the network's own parameters.
    masters  by name, trained or frozen
    average  of every floating-point tensor of the state; empty where the decay is 0
    """

    def __init__(self, network: VGG, precision: str, decay: float) -> None:
        self.network, self.decay = network, decay
        self.dtype = DTYPES[precision]
        if self.dtype == torch.float64:
            network.double()
        self.masters: dict[str, nn.Parameter] = dict(network.named_parameters())
        self._pairs: list[tuple[nn.Parameter, nn.Parameter]] = []
        if self.dtype == torch.bfloat16:
            self._make_bfloat16_copies()
        self.average: State = {}
        if decay:
            self.average = {name: value.clone() for name, value in self.state().items() if value.is_floating_point()}

    def _make_bfloat16_copies(self) -> None:
        for name, module in self.network.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                for kind, copy in module.named_parameters():
                    master = nn.Parameter(copy.detach().clone(), requires_grad=copy.requires_grad)
                    self.masters[f"{name}.{kind}"] = master
                    self._pairs.append((master, copy))
                    copy.data = copy.data.to(self.dtype)

    @property
    def master_dtype(self) -> torch.dtype:
        """The masters' and the loss's."""
        return next(iter(self.masters.values())).dtype

    def state(self) -> State:
        """Every tensor of the network, with the masters in place of their copies."""
        return self.network.state_dict() | {name: master.detach() for name, master in self.masters.items()}

    @torch.no_grad()
    def load(self, state: State) -> None:
        """Copy a state, as `state` returns it, into the weights."""
        for name, value in self.state().items():
            value.copy_(state[name])
        self.sync_model()

    @torch.no_grad()
    def accumulate_gradients(self) -> None:
        """Move the copies' gradients to the masters, added to what they have."""
        for master, copy in self._pairs:
            if copy.grad is not None:
                master.grad = copy.grad.float() if master.grad is None else master.grad.add_(copy.grad)
                copy.grad = None

    @torch.no_grad()
    def restore_gradients(self) -> None:
        """Move the masters' gradients back to the copies, so that an all-reduce of the copies includes them."""
        for master, copy in self._pairs:
            if master.grad is not None:
                copy.grad, master.grad = master.grad.to(copy.dtype), None

    @torch.no_grad()
    def sync_model(self) -> None:
        """Copy the masters to the network's bfloat16 parameters."""
        for master, copy in self._pairs:
            copy.copy_(master)

    @torch.no_grad()
    def update_ema(self, step: int) -> None:
        """Update the moving average after a step, counted from 0."""
        if self.decay:
            state, decay = self.state(), min(self.decay, (1 + step) / (EMA_WARMUP + step))
            torch._foreach_lerp_(list(self.average.values()), [state[name] for name in self.average], 1 - decay)

    def evaluation_state(self) -> State:
        """The state that is validated and saved: the average where there is one."""
        return self.state() | self.average

    def batch_norm_statistics(self) -> list[Tensor]:
        """Batch norm's running statistics, and their moving averages."""
        names = [name for name, _ in self.network.named_buffers()]
        return [*self.network.buffers(), *(self.average[name] for name in names if name in self.average)]

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """Inside the block the network has the state that is validated: the average where there is one."""
        if not self.average:
            yield
            return
        kept = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.average, strict=False)
        try:
            yield
        finally:
            self.network.load_state_dict(kept)

    def as_network(self) -> VGG:
        """The state that is validated as a float32 network of its own."""
        with torch.device("meta"):
            network = VGG(self.network.architecture, initialisation=None)
        network.load_state_dict({name: value.clone() for name, value in self.evaluation_state().items()}, assign=True)
        return network.float().eval()


@contextmanager
def isolated_torch(threads: int) -> Iterator[None]:
    """So many threads and a random state of its own inside the block, the caller's afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(before)
