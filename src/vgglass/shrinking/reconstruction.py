"""Fitting the layers of a narrowed network anew, so that each gives what its parent's gave, from the inputs it has now.

Source: He et al. 2017, Channel Pruning for Accelerating Very Deep Neural Networks (arXiv 1707.06168), section 3.1.
N images that a layer is fitted to, P places of each, I inputs of a layer in all (channels * kernel * kernel),
O outputs; S side. Images are normalised, and may be in half precision, which takes half of the memory.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vgglass.architecture import Architecture, Layer
from vgglass.model import VGG
from vgglass.shrinking.channels import Kept, removable

# Images times places: of each map a part, as a place's neighbours say little that is new. Twice the rows, from three
# times the images, raised VGG-16 at a fifth of its cost on imagenette-small from 0.873 to 0.890 before it learned.
ROWS = 32768
PENALTIES = (0.01, 0.01, 0.01, 0.1, 1.0, 1.0)  # of z beside the layer's output, in turns: see `fit`
LEAST_SCALE = 1e-4  # of a batch norm that is divided by
# Of the inputs' mean square: how strongly the weights are held to what they were. A quarter of VGG-16 at 64 pixels,
# fitted to 240 images of imagenette and a view of each, diverged from its parent on 120 others by 0.403, 0.302, 0.266
# and 0.276 at 1, 0.1, 0.02 and 0.004.
RIDGE = 0.02
BATCH = 8
MEMORY = 400 << 20  # bytes of the activations that a block begins with, over all its images
MOST_IMAGES = 1024

Weighted = nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class Targets:
    """What the parent's layers give at some places of some images, before batch norm and ReLU.

    outputs  by layer (N * P, O)
    places   by layer (N, P) of the H * W of its map
    """

    outputs: dict[str, Tensor]
    places: dict[str, Tensor]


def image_counts(architecture: Architecture, images: int) -> dict[str, int]:
    """By removable layer, how many of `images` to fit it to: what its block begins with fits into MEMORY."""
    found = {}
    for block in _blocks(architecture):
        most = min(images, max(1, MEMORY // (4 * math.prod(block[0].input_shape))))
        found.update({layer.name: most for layer in block})
    return {name: found[name] for name in removable(architecture)}


@torch.inference_mode()
def targets(parent: VGG, images: Tensor, seed: int, count: Callable[[int], None]) -> Targets:
    """Run the parent on images (at least N, C, S, S).

    count  of the images that are done
    """
    generator = torch.Generator().manual_seed(seed)
    counts = image_counts(parent.architecture, len(images))
    places = {name: _places(parent.architecture.layer(name), most, generator) for name, most in counts.items()}
    sizes = {name: parent.architecture.layer(name).output_shape[0] for name in counts}
    outputs = {name: torch.empty((places[name].numel(), size)) for name, size in sizes.items()}
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH].float()
        for step in parent.walk(batch):
            if step.name in outputs:
                chosen = places[step.name][start : start + BATCH]
                row = start * places[step.name].shape[1]
                outputs[step.name][row : row + chosen.numel()] = _at(step.output[: len(chosen)], chosen)
        count(len(batch))
    return Targets(outputs, places)


def _places(layer: Layer, images: int, generator: torch.Generator) -> Tensor:
    size = math.prod(layer.output_shape[1:])
    return torch.stack([torch.randperm(size, generator=generator)[: ROWS // images] for _ in range(images)])


def _at(maps: Tensor, places: Tensor) -> Tensor:
    """Maps (N, O, H, W), or (N, O), at places (N, P): (N * P, O)."""
    if maps.ndim == 2:
        return maps
    rows = maps.flatten(2).transpose(1, 2)
    return rows.gather(1, places.to(maps.device)[..., None].expand(-1, -1, rows.shape[2])).flatten(0, 1)


@torch.inference_mode()
def refit(child: VGG, images: Tensor, wanted: Targets, kept: Kept, count: Callable[[int], None]) -> dict[str, float]:
    """Fit each layer of a narrowed network, first to last, to what the parent gave; by layer the share that is missed.

    images  as for `targets`
    kept    of the parent's channels, by layer
    count   of the layers that are done
    """
    missed = {}
    passed: list[Layer] = []
    last: list[Layer] = []  # of what was passed
    before = images  # what a block begins with
    for block in _blocks(child.architecture):
        fitted = [layer.name for layer in block if layer.name in wanted.outputs]
        if not fitted:
            break  # a pooled head
        most = len(wanted.places[fitted[0]])
        before = _begin(child, passed, last, images, before, most) if last else images[:most]
        for place, layer in enumerate(block):
            if layer.name in fitted:
                module = child.get_submodule(layer.name)
                assert isinstance(module, Weighted)
                outputs = wanted.outputs[layer.name][:, torch.from_numpy(kept[layer.name])].to(before.device)
                parts = (_through(child, block[:place], part.float()) for part in torch.split(before, BATCH))
                x = _inputs(parts, wanted.places[layer.name], layer, module)
                missed[layer.name] = fit(module, x, outputs, *_batch_norm(child, layer))
                del x  # 300 MB, which the next layer's would stand beside
                count(1)
        passed, last = passed + block, block
    return missed


def _begin(
    child: VGG, passed: list[Layer], last: list[Layer], images: Tensor, before: Tensor, most: int
) -> Tensor:  # fmt: skip
    """What the block after `passed` begins with, for the first images (most, C, H, W).

    before  what the last one began with: of fewer images, or more
    """
    found = torch.empty((most, *passed[-1].output_shape), device=child.device)
    for start in range(0, most, BATCH):
        ready = start + BATCH <= len(before)
        layers, source = (last, before) if ready else (passed, images)
        found[start : start + BATCH] = _through(child, layers, source[start : min(start + BATCH, most)].float())
    return found


def _batch_norm(network: VGG, layer: Layer) -> tuple[Tensor, Tensor]:
    """Scale and shift (O,) of the batch norm that follows a convolution; 1 and 0 without one."""
    norm = dict(network.named_children()).get(layer.name.replace("conv", "bn"))
    if not isinstance(norm, nn.BatchNorm2d):
        one = torch.ones(layer.output_shape[0], device=network.device)
        return one, torch.zeros_like(one)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    scale = torch.where(scale.abs() < LEAST_SCALE, LEAST_SCALE, scale)
    return scale, norm.bias - norm.running_mean * scale


def _blocks(architecture: Architecture) -> Iterator[list[Layer]]:
    """The layers before the softmax, parted after each pooling."""
    block: list[Layer] = []
    for layer in architecture.layers()[:-1]:
        block.append(layer)
        if layer.kind == "maxpool":
            yield block
            block = []
    yield block


def _through(network: VGG, layers: list[Layer], x: Tensor) -> Tensor:
    for layer in layers:
        x = network.get_submodule(layer.name)(x.flatten(1) if layer.kind == "linear" else x)
    return x


def _inputs(parts: Iterable[Tensor], places: Tensor, layer: Layer, module: Weighted) -> Tensor:
    """Inputs (N * P, I + 1) of a layer at places (N, P) of its outputs, in the order of its weight; the last is 1."""
    found, start = module.weight.new_ones(places.numel(), module.weight[0].numel() + 1), 0
    for x in parts:
        own = places[start : start + len(x)]
        row = start * places.shape[1]
        rows = found[row : row + own.numel(), :-1]
        rows.copy_(x.flatten(1) if layer.kind == "linear" else _patches(x, own, layer))
        start += len(x)
    return found


def _patches(x: Tensor, places: Tensor, layer: Layer) -> Tensor:
    width = layer.output_shape[2]
    rows, columns = places.to(x.device) // width, places.to(x.device) % width
    padded = F.pad(x, (layer.padding,) * 4)
    image = torch.arange(len(x), device=x.device)[:, None]
    taps = [
        padded[image, :, rows + down, columns + right] for down in range(layer.kernel) for right in range(layer.kernel)
    ]
    return torch.stack(taps, -1).flatten(0, 1).flatten(1)


@torch.inference_mode()
def fit(module: Weighted, x: Tensor, outputs: Tensor, scale: Tensor, shift: Tensor) -> float:
    """Fit a layer's weight and bias to outputs as far as a ReLU lets them through; the share that is missed.

    x             inputs (rows, I + 1), the last 1 for the bias
    outputs       (rows, O) before the batch norm
    scale, shift  (O,) of the batch norm before the ReLU
    Source: Zhang et al. 2015, Accelerating Very Deep Convolutional Networks (arXiv 1505.06798), section 2.3: in turns,
    the best outputs z near what the layer gives, and the best layer for z. All negative outputs are the same to a ReLU:
    without it, the weights would be spent on telling them apart. The ridge holds the weight to what it was: where the
    rows say nothing, nothing changes.
    """
    assert module.bias is not None
    before = torch.cat([module.weight.flatten(1), module.bias[:, None]], 1).T
    inputs = x[:, :-1]
    solve = _solver(x, RIDGE * float(torch.linalg.vector_norm(inputs)) ** 2 / inputs.shape[1])
    passed = F.relu(outputs * scale + shift)
    after = before + solve(outputs - x @ before)
    for penalty in PENALTIES:
        z = _nearest((x @ after) * scale + shift, passed, penalty)
        after = before + solve((z - shift) / scale - x @ before)
    module.weight.copy_(after[:-1].T.reshape(module.weight.shape))
    module.bias.copy_(after[-1])
    left = F.relu((x @ after) * scale + shift) - passed
    return float(left.square().sum() / passed.square().sum().clamp_min(torch.finfo().tiny))


def _nearest(found: Tensor, passed: Tensor, penalty: float) -> Tensor:
    """The z that minimises (relu(z) - passed)^2 + penalty (z - found)^2, element by element."""
    negative = found.clamp_max(0)
    positive = ((passed + penalty * found) / (1 + penalty)).clamp_min(0)
    of_negative = passed.square() + penalty * (negative - found).square()
    of_positive = (passed - positive).square() + penalty * (positive - found).square()
    return torch.where(of_positive < of_negative, positive, negative)


def _solver(x: Tensor, ridge: float) -> Callable[[Tensor], Tensor]:
    """Of y (rows, O), the least-squares weights (I + 1, O) of x (rows, I + 1); the smaller system is solved."""
    wide = len(x) < x.shape[1]
    gram = (x @ x.T if wide else x.T @ x).double()
    gram.diagonal().add_(max(ridge, torch.finfo(torch.float64).tiny))
    factor = torch.linalg.cholesky(gram)
    if wide:
        return lambda y: x.T @ torch.cholesky_solve(y.double(), factor).float()
    return lambda y: torch.cholesky_solve((x.T @ y).double(), factor).float()
