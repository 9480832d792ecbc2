"""Transfer learning: which tensors of another model are kept, which layers are trained, and at what rates."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vgglass.architecture import Architecture, multiplier
from vgglass.errors import UsageError
from vgglass.model import VGG
from vgglass.modelfile import ModelFile, Record
from vgglass.training.recipe import Recipe

HEAD = 6  # the fully connected layers, counted as the block after conv5
LAST_BLOCK = 5
FIRST_TRAINED = {"all": 1, "last-block": LAST_BLOCK, "head": HEAD}
NET_A_CONVOLUTIONS = ("conv1_1", "conv1_2", "conv2_1", "conv2_2")  # paper, section 3.1: the first four


def recipe_fields(record: Record) -> dict[str, object]:
    """The recipe fields that a run takes from the model it starts from, unless they are given."""
    given = record.architecture
    fields: dict[str, object] = {name: getattr(given, name) for name in ("channels", "image_size")}
    fields |= {"architecture": given.name}
    if given.head == "vgg":
        fields |= {"hidden": given.hidden, "ranks": given.ranks}
    width = multiplier(given.column, given.widths)
    return fields | ({"widths": given.widths} if width is None else {"width": width})


def load_matching(network: VGG, source: ModelFile, classes: tuple[str, ...]) -> str:
    """Copy a model's weights into a network where they fit; a line on what was kept. Raises UsageError where none do.

    From the same column all convolutions are kept, from another one the first four (paper, section 3.1); fc6 and fc7
    where the size after pool5 is the same, fc8 where the classes are.
    """
    wanted, given = network.architecture, source.record.architecture
    weights = source.weights

    kept, new = kept_convolutions(wanted, source), fresh_layers(wanted, source, classes)
    head = [name for name in wanted.fully_connected if name not in new]
    norms = [name.replace("conv", "bn") for name in kept if wanted.batch_norm and given.batch_norm]
    chosen = tuple(f"{layer}." for layer in (*kept, *norms, *head))
    state = {name: torch.from_numpy(array) for name, array in weights.items() if name.startswith(chosen)}
    network.load_state_dict(state, strict=False)
    return _summary(network, source, kept, head)


def fresh_layers(wanted: Architecture, source: ModelFile, classes: tuple[str, ...]) -> list[str]:
    """The layers of the head that `load_matching` leaves as initialised: the first that does not fit, and all after."""
    same_head = wanted.head == source.record.architecture.head
    for number, name in enumerate(wanted.fully_connected):
        fits = same_head and _fits(name, wanted, source)
        if not fits or (name == "fc8" and source.record.classes != classes):
            return list(wanted.fully_connected[number:])
    return []


def kept_convolutions(wanted: Architecture, source: ModelFile) -> list[str]:
    """Those of `wanted` that `load_matching` takes from a model. Raises UsageError where there are none."""
    given = source.record.architecture
    convolutions = [layer.name for layer in wanted.layers() if layer.kind == "conv"]
    if wanted.column != given.column:
        convolutions = [name for name in convolutions if name in NET_A_CONVOLUTIONS]
    kept = [name for name in convolutions if _fits(name, wanted, source)]
    if not kept:
        raise UsageError(
            f"--from {given.name}",
            f"no convolution of {wanted.name} has the shape of one of its",
            "leave out --set width and --set channels, or choose another model",
        )
    return kept


def require_pretrained(recipe: Recipe, wanted: Architecture, source: ModelFile | None) -> None:
    """Raises UsageError where frozen convolutions would have random weights, and where nothing of the model fits."""
    kept = kept_convolutions(wanted, source) if source else []
    held = [layer.name for layer in wanted.layers() if block(layer.name) < FIRST_TRAINED[recipe.train]]
    new = [name for name in held if name.startswith("conv") and name not in kept]
    if new:
        raise UsageError(
            f"--train {recipe.train}",
            f"would hold {new[0]} as chance drew it",
            f"start --from a model of {wanted.name}, or take --train all",
        )


def require_finite(source: ModelFile, option: str = "--from") -> None:
    """Raises UsageError for weights that hold NaN or infinity: an engine's ReLU may turn them into zeros."""
    for name, array in source.weights.items():
        if bad := int(array.size - np.isfinite(array).sum()):
            rule = f"holds {bad:,} numbers that are not finite"
            raise UsageError(
                f"{option}: {name}", rule, "the file is damaged, or its training diverged: take another one"
            )


def _fits(layer: str, wanted: Architecture, source: ModelFile) -> bool:
    """Whether a layer of `wanted` is in the model too, in the same shape."""
    shapes = {name: shape for name, shape in wanted.tensors().items() if name.startswith(f"{layer}.")}
    return all(name in source.weights and source.weights[name].shape == shape for name, shape in shapes.items())


def _summary(network: VGG, source: ModelFile, kept: list[str], head: list[str]) -> str:
    wanted, given = network.architecture, source.record.architecture
    convolutions = f"{len(kept)} convolutions of {given.name}"
    new = [name for name in wanted.fully_connected if name not in head]
    if not new:
        return f"kept: {convolutions} and its whole head"
    if head or wanted.head == "pooled":
        kept_head = f", {_listed(head)}" if head else ""
        return f"kept: {convolutions}{kept_head}; new: {_listed(new)}, for {wanted.classes} classes"
    if wanted.head != given.head:
        return f"kept: {convolutions}; new: the whole head (there it is a {given.head} head)"
    widths = "its ranks differ" if wanted.ranks != given.ranks else "its widths differ"
    here, there = wanted.head_kernel, given.head_kernel
    reason = f"after pool5 there are {here}x{here} places here, {there}x{there} there" if here != there else widths
    return f"kept: {convolutions}; new: the whole head ({reason})"


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def block(name: str) -> int:
    """1 to 5 for a layer or parameter among the convolutions, HEAD for one after pool5."""
    found = re.match(r"[a-z]+(\d)", name)
    return min(int(found[1]), HEAD) if found else HEAD


def freeze(network: VGG, recipe: Recipe) -> None:
    """Require gradients of the layers alone that the recipe trains."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(block(name) >= FIRST_TRAINED[recipe.train])


def freeze_batch_norm(network: VGG, recipe: Recipe) -> None:
    """Keep the running statistics of batch norm in frozen blocks; called after network.train()."""
    for name, module in network.named_children():
        if name.startswith("bn") and block(name) < FIRST_TRAINED[recipe.train]:
            module.eval()


def rate_multiplier(name: str, recipe: Recipe) -> float:
    """What a parameter's learning rate is multiplied by: block_decay for each block up to the head."""
    return recipe.block_decay ** (HEAD - block(name))


# Learning rates and fresh layers scaled to each layer's input and output, so that one recipe suits weights of any
# origin. A plain VGG is positively homogeneous: divide one layer's weights by twenty and multiply the next one's by
# twenty, and it computes the same function, but its gradients differ. With each layer's rate in the units of its own
# input and output, training does not depend on how the weights are scaled.

SCALE_IMAGES = 8  # images


@dataclass(frozen=True)
class Scale:
    """Root mean squares of the input and output of a layer with weights."""

    input_rms: float
    output_rms: float

    def of(self, tensor: str, kind: str) -> float:
        """What the learning rate of a layer's 'weight' or 'bias' is multiplied by: the square of its unit."""
        unit = self.output_rms
        if tensor == "weight" and kind != "batchnorm":
            unit = self.output_rms / self.input_rms
        return unit**2


@torch.no_grad()
def unit_variance(network: VGG, fresh: Iterable[str], pool5: Tensor) -> dict[str, float]:
    """Scale the weights of fresh layers, in order, so that each output has standard deviation 1; the factors.

    pool5  (N, C, k, k) of some images
    Source: Mishkin and Matas 2016, All you need is a good init (arXiv 1511.06422), algorithm 1.
    """
    factors = {}
    for name in fresh:
        output = next(step.output for step in network.walk_after("pool5", pool5) if step.name == name)
        factors[name] = 1 / max(float(output.std()), torch.finfo(output.dtype).tiny)
        scale_weights(network, name, factors[name])
    return factors


@torch.no_grad()
def scale_weights(network: VGG, name: str, factor: float) -> None:
    module = network.get_submodule(name)
    assert isinstance(module, nn.Linear)
    module.weight.mul_(factor)


@torch.no_grad()
def scales(network: VGG, images: Tensor) -> dict[str, Scale]:
    """By name, the scale of every layer with weights; the unit of logits is always 1."""
    found = {}
    for step in network.walk(images):
        if step.layer.tensors:
            output_rms = 1.0 if step.name == "fc8" else _rms(step.output)
            found[step.name] = Scale(_rms(step.input), output_rms)
    return found


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt().clamp_min(torch.finfo(x.dtype).tiny))


def from_json(values: dict[str, list[float]]) -> dict[str, Scale]:
    return {name: Scale(*pair) for name, pair in values.items()}


def as_json(found: dict[str, Scale]) -> dict[str, Any]:
    return {name: [scale.input_rms, scale.output_rms] for name, scale in found.items()}
