"""How a run multiplies, fixed at its start by a short measurement on this machine: in which precision, by which way."""

import time

import torch
from torch import nn

from vgglass.architecture import Architecture
from vgglass.engines import selection
from vgglass.errors import UsageError
from vgglass.training import winograd
from vgglass.training.recipe import Recipe

FASTER = 1.2  # what is not the plain way must gain as much, or noise in the measurement would choose
PROBE = (8, 128, 28)  # images, channels, side: a layer from the middle of VGG
PROBE_TURNS, PROBE_ROUNDS = 3, 3

Way = tuple[torch.dtype, str]  # a precision, and how convolutions are computed


def choose(recipe: Recipe, architecture: Architecture, images: int, device: torch.device) -> tuple[str, str, str]:
    """Precision, convolution, and a line on each that says why; `images` are those at once. Raises UsageError."""
    convolution, how = choose_convolution(recipe, architecture, images, device)
    if recipe.convolution == "winograd" and recipe.precision == "auto":
        precision, why = "float32", "winograd computes in it"
    else:
        precision, why = choose_precision(recipe.precision, device, convolution)
    lines = [f"precision: {precision} ({why})"]
    if precision == "bfloat16" and convolution == "winograd":
        convolution, how = "direct", "bfloat16 is faster still"
    lines.append(f"convolution: {convolution} ({how})")
    if "measured" in why + how:
        fixed = f"--set precision={precision} --set convolution={convolution}"
        lines.append(
            f"measured once on this machine and kept in {selection.measurements()}; the same anywhere: {fixed}"
        )
    return precision, convolution, "\n".join(lines)


def choose_convolution(
    recipe: Recipe, architecture: Architecture, images: int, device: torch.device
) -> tuple[str, str]:
    """'direct' or 'winograd' for a recipe's convolution were it computed in float32, and why. Raises UsageError."""
    able = device.type == "cpu" and recipe.precision in ("auto", "float32")
    if recipe.convolution == "winograd" and not able:
        raise UsageError("convolution 'winograd'", "is computed in float32 on a CPU", "set convolution=auto")
    if recipe.convolution != "auto":
        return recipe.convolution, "as the recipe says"
    if not able:
        return "direct", "winograd is for float32 on a CPU"
    if recipe.train == "head" or not winograd.paying(architecture, images):
        return "direct", "no layer that learns is large enough for winograd"
    gain = _gain((torch.float32, "winograd"), (torch.float32, "direct"))
    if gain >= FASTER:
        return "winograd", f"measured {gain:.1f} times as fast as direct here"
    return "direct", f"winograd measured {gain:.1f} times as fast here"


def choose_precision(wanted: str, device: torch.device, convolution: str = "direct") -> tuple[str, str]:
    """'float32' or 'bfloat16' for a recipe's precision, and why; float32 is computed by `convolution`."""
    if wanted != "auto":
        return wanted, "as the recipe says"
    if device.type == "cuda":
        capable = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bfloat16" if capable else "float32"), f"this GPU {'computes' if capable else 'does not compute'} in it"
    has = torch.cpu.get_capabilities()
    if not (has.get("avx512_bf16") or has.get("amx_bf16") or has.get("bf16")):
        return "float32", "this CPU has no arithmetic in bfloat16"
    gain = _gain((torch.bfloat16, "direct"), (torch.float32, convolution))
    if gain >= FASTER:
        return "bfloat16", f"measured {gain:.1f} times as fast as float32 here"
    return "float32", f"bfloat16 measured {gain:.1f} times as fast here"


def _gain(way: Way, plain: Way) -> float:
    """How many times as fast as the plain way another is, by the processor, its threads and torch's version."""
    ways = " beside ".join(f"{precision} {convolution}" for precision, convolution in (way, plain))
    here = f"{selection.processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    return selection.remembered(f"{ways}, {here}", lambda: _measured(way, plain))


def _measured(way: Way, plain: Way) -> float:
    """In turns, so that what else the machine does slows both; the first turn may compile."""
    rounds = [(_seconds(*plain), _seconds(*way)) for _ in range(PROBE_ROUNDS)]
    return min(before for before, _ in rounds) / min(after for _, after in rounds)


@torch.random.fork_rng()
def _seconds(precision: torch.dtype, convolution: str) -> float:
    """Forward and backward through one convolution, the quickest of some turns; the first may compile."""
    images, channels, side = PROBE
    layer = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1)).to(precision)
    if convolution == "winograd":
        winograd.use_in(layer)
    layer = layer.to(memory_format=torch.channels_last)
    batch = torch.ones(images, channels, side, side, dtype=precision).to(memory_format=torch.channels_last)
    batch.requires_grad_()
    found = []
    for _ in range(PROBE_TURNS + 1):
        began = time.perf_counter()
        layer(batch).sum().backward()
        found.append(time.perf_counter() - began)
    return min(found[1:])
