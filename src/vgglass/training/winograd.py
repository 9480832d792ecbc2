"""Convolutions of 3x3 by Winograd's F(4x4, 3x3): a quarter of the multiplications, for training in float32 on the CPU.

N images, H x W a map, C channels in, K channels out, T tiles of 4x4 that cover the maps. U, V, M and D have a plane for
each of the 36 places in a transformed tile. B and A, which transform maps, are in `winograd_tiles`; G is here.

forward   U = G w G'   V = B' x B   M = V U'   y = A' M A + bias
backward  D = A dy A'   dU = D' V   dw = G' dU G   dV = D U   dx = B dV B', added up where patches overlap

Rounding errors are some times those of a direct convolution, about 1e-5 of the largest output. V is computed again on
the way back: kept, it would take 2.25 times the memory of the layer's input, for a twentieth of a step.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vgglass.architecture import Architecture, Layer
from vgglass.training import winograd_tiles
from vgglass.training.winograd_tiles import PATCH, PLANES, TILE, Floats

# Lavin and Gray, 2016, section 4.3
G = torch.tensor(
    [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
     [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]],
)  # fmt: skip
GG = torch.kron(G, G)  # (36, 9): G w G' of weights laid out flat
ONES = PATCH + 1  # the plane of place (1, 1): A' has ones there, so what is added to it is added to every output
LEAST_CHANNELS, LEAST_TILES, LEAST_WORK = 64, 32, 2**22


def pays(channels_in: int, channels_out: int, tiles: int) -> bool:
    """Whether matrices of T x C x K are quicker than a direct convolution, as measured on two cores with AVX-512."""
    enough = min(channels_in, channels_out) >= LEAST_CHANNELS and tiles >= LEAST_TILES
    return enough and tiles * channels_in * channels_out >= LEAST_WORK


def paying(architecture: Architecture, images: int) -> list[Layer]:
    """The layers that are quicker so, with so many images at once."""
    return [
        layer
        for layer in architecture.layers()
        if (layer.kind, layer.kernel) == ("conv", 3)
        and pays(layer.input_shape[0], layer.output_shape[0], images * _tiles_of(layer.output_shape))
    ]


def workspace_bytes(architecture: Architecture, images: int) -> int:
    """Of a `Workspace` for each of so many images at once."""
    numbers = [
        max(layer.input_shape[0], layer.output_shape[0]) * _tiles_of(layer.output_shape)
        for layer in paying(architecture, images)
    ]
    return 2 * 4 * PLANES * max(numbers, default=0)


def use_in(network: nn.Module) -> None:
    """Let the convolutions of a network choose this way; its parameters stay the same objects under the same names."""
    workspace = Workspace()
    for name, module in list(network.named_children()):
        if isinstance(module, nn.Conv2d) and (module.kernel_size, module.padding) == ((3, 3), (1, 1)):
            with torch.device("meta"):
                layer = Convolution(module.in_channels, module.out_channels, workspace)
            layer.weight, layer.bias = module.weight, module.bias
            setattr(network, name, layer.train(module.training))


class Convolution(nn.Conv2d):
    """A convolution of 3x3 with padding 1 in float32 on the CPU: by tiles where that pays, else directly."""

    def __init__(self, channels_in: int, channels_out: int, workspace: "Workspace") -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)
        self.workspace = workspace

    def forward(self, input: Tensor) -> Tensor:  # N C H W -> N K H W  # noqa: A002
        if not pays(self.in_channels, self.out_channels, len(input) * _tiles_of(input.shape[1:])):
            return super().forward(input)
        return convolve(input, self.weight, self.bias, self.workspace)


class Workspace:
    """Two buffers for a network's layers in turn: memory of their own would be in pieces between their outputs'."""

    def __init__(self) -> None:
        self._buffers = [torch.empty(0), torch.empty(0)]

    def planes(self, buffer: int, tiles: int, channels: int) -> Tensor:  # 36 T C, of what was last there
        size = PLANES * tiles * channels
        if self._buffers[buffer].numel() < size:
            self._buffers[buffer] = torch.empty(0)  # the old one goes before the new one comes
            self._buffers[buffer] = torch.empty(size)
        return self._buffers[buffer][:size].view(PLANES, tiles, channels)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, workspace: Workspace) -> Tensor:
    """F.conv2d(x, weight, bias, padding=1) in float32 on the CPU; differentiable once."""
    y: Tensor = _Winograd.apply(x, weight, torch.zeros(len(weight)) if bias is None else bias, workspace)
    return y


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, workspace: Workspace) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.workspace = workspace
        v = _planes_of(winograd_tiles.transform_input, x, workspace, 0)
        m = workspace.planes(1, v.shape[1], len(weight))
        torch.bmm(v, _transformed(weight).transpose(1, 2), out=m)
        m[ONES] += bias
        y = torch.empty((len(x), len(weight), *x.shape[2:]), memory_format=torch.channels_last)
        _share_out(winograd_tiles.transform_output, m.numpy(), _channels_last(y), len(x) * _tiles(x.shape[2]))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        by_x, by_weight, by_bias, _ = ctx.needs_input_grad
        dx = dw = None
        d = _planes_of(winograd_tiles.transform_output_gradient, dy, ctx.workspace, 0)
        if by_weight:
            v = _planes_of(winograd_tiles.transform_input, x, ctx.workspace, 1)
            du = torch.bmm(d.transpose(1, 2), v)  # 36 K C
            dw = (GG.T @ du.flatten(1)).view(3, 3, *weight.shape[:2]).permute(2, 3, 0, 1)
        if by_x:
            dv = ctx.workspace.planes(1, d.shape[1], x.shape[1])
            torch.bmm(d, _transformed(weight), out=dv)
            dx = torch.empty_like(x, memory_format=torch.channels_last)
            _share_out(winograd_tiles.transform_input_gradient, dv.numpy(), _channels_last(dx), len(x))
        return dx, dw, d[ONES].sum(0) if by_bias else None, None


def _transformed(weight: Tensor) -> Tensor:  # K C 3 3 -> 36 K C
    return (GG @ weight.detach().permute(2, 3, 0, 1).reshape(9, -1)).view(PLANES, *weight.shape[:2])


def _planes_of(transform: Callable[..., None], maps: Tensor, workspace: Workspace, buffer: int) -> Tensor:
    rows = len(maps) * _tiles(maps.shape[2])
    planes = workspace.planes(buffer, rows * _tiles(maps.shape[3]), maps.shape[1])
    _share_out(transform, _channels_last(maps), planes.numpy(), rows)
    return planes


def _tiles(side: int) -> int:
    return -(-side // TILE)


def _tiles_of(shape: Sequence[int]) -> int:  # C H W
    return _tiles(shape[1]) * _tiles(shape[2])


def _channels_last(maps: Tensor) -> Floats:  # N C H W -> N H W C, of the same memory where it is channels last already
    found: Floats = maps.detach().contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).numpy()
    return found


def _share_out(transform: Callable[..., None], source: Floats, target: Floats, pieces: int) -> None:
    """Let as many threads as torch has do the pieces of a transform, each an equal part in a row."""
    threads = min(torch.get_num_threads(), pieces)
    (start, stop), *others = pairwise(pieces * part // threads for part in range(threads + 1))
    waiting = [_pool(os.getpid(), threads - 1).submit(transform, source, target, *part) for part in others]
    transform(source, target, start, stop)
    for future in waiting:
        future.result()


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Kept for the next layer, but by its process: a forked one has none of its parent's threads."""
    return ThreadPoolExecutor(threads)
