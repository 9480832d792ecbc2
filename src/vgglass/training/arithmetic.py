"""The precision that a run multiplies in, fixed at its start by a short measurement on this machine."""

import time

import torch
from torch import nn

from vgglass.engines import selection

FASTER = 1.2  # bfloat16 must gain as much, or noise in the measurement would choose
PROBE = (8, 128, 28)  # images, channels, side: a layer from the middle of VGG
PROBE_TURNS, PROBE_ROUNDS = 3, 3


def choose(wanted: str, device: torch.device) -> tuple[str, str]:
    """The precision for a recipe's, and a line that says why."""
    precision, why = _choose(wanted, device)
    said = f"precision: {precision} ({why})"
    if "measured" in why:
        fixed = f"--set precision={precision}"
        said += f"\nmeasured once on this machine and kept in {selection.measurements()}; the same anywhere: {fixed}"
    return precision, said


def _choose(wanted: str, device: torch.device) -> tuple[str, str]:
    if wanted != "auto":
        return wanted, "as the recipe says"
    if device.type == "cuda":
        capable = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bfloat16" if capable else "float32"), f"this GPU {'computes' if capable else 'does not compute'} in it"
    has = torch.cpu.get_capabilities()
    if not (has.get("avx512_bf16") or has.get("amx_bf16") or has.get("bf16")):
        return "float32", "this CPU has no arithmetic in bfloat16"
    gain = _gain()
    if gain >= FASTER:
        return "bfloat16", f"measured {gain:.1f} times as fast as float32 here"
    return "float32", f"bfloat16 measured {gain:.1f} times as fast here"


def _gain() -> float:
    """How many times as fast as float32 bfloat16 is, by the processor, its threads and torch's version."""
    here = f"{selection.processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    # What earlier versions measured is found by these words, so that the same command gives the same weights.
    return selection.remembered(f"torch.bfloat16 direct beside torch.float32 direct, {here}", _measured)


def _measured() -> float:
    """In turns, so that what else the machine does slows both."""
    rounds = [(_seconds(torch.float32), _seconds(torch.bfloat16)) for _ in range(PROBE_ROUNDS)]
    return min(plain for plain, _ in rounds) / min(half for _, half in rounds)


@torch.random.fork_rng()
def _seconds(precision: torch.dtype) -> float:
    """Forward and backward through one convolution, the quickest of some turns; the first sets things up."""
    images, channels, side = PROBE
    layer = nn.Conv2d(channels, channels, 3, padding=1, dtype=precision).to(memory_format=torch.channels_last)
    batch = torch.ones(images, channels, side, side, dtype=precision).to(memory_format=torch.channels_last)
    batch.requires_grad_()
    found = []
    for _ in range(PROBE_TURNS + 1):
        began = time.perf_counter()
        layer(batch).sum().backward()
        found.append(time.perf_counter() - began)
    return min(found[1:])
