"""Attribution: which pixels affect a class's score. Uses Captum's implementation where there is one.

Every map is (S, S) over the network's input square, larger for more important pixels. The state of the network and of
the subject's tensors is restored.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vgglass.architecture import SMALLEST_IMAGE, Architecture
from vgglass.errors import MissingExtraError, UsageError
from vgglass.glass import sheets
from vgglass.glass.operations import Numbers
from vgglass.glass.steps import SMALLEST, TOLERANCE
from vgglass.glass.subject import Subject, untouched
from vgglass.images import Pixels

Map = NDArray[np.float32]
Pass = tuple[int, int, Map]  # passes done, of how many, and the map that they make
Compute = Callable[[Subject, int, str | None, int], Iterator[Pass]]

SMOOTHGRAD_SAMPLES, SMOOTHGRAD_NOISE = 16, 0.15  # noise as a share of the input's range (Smilkov et al., 2017)
INTEGRATION_STEPS = 32
OCCLUSION_PLACES = 14  # positions per side; the patch is twice as wide as the step
BATCH = 2  # the quickest an image on a CPU; and a map that grows, or is given up, soon
DREAM_STEPS, DREAM_RATE, DREAM_DECAY = 60, 1.0, 0.01
SEED = 0


@dataclass(frozen=True, eq=False)
class Attribution:
    """One method's map (S, S) for a class's score; `layer` for methods applied to a layer.

    signed  whether negative values are evidence against the class
    """

    method: str
    target: int
    map: Map = field(repr=False)
    layer: str | None = None
    signed: bool = False

    @property
    def name(self) -> str:
        """'saliency', 'gradcam-relu5_3'; also the name of its picture file."""
        return self.method + (f"-{self.layer}" if self.layer else "")

    def _repr_png_(self) -> bytes:
        return sheets.as_png(sheets.heat(self.map, signed=self.signed))


def attribute(
    subject: Subject,
    method: str,
    target: int | None = None,
    layer: str | None = None,
    *,
    places: int = OCCLUSION_PLACES,
) -> Attribution:
    """Compute the map of one of METHODS for `target` (default: the predicted class).

    layer   of Grad-CAM (default: the input of the last pooling)
    places  patch positions per side in occlusion: the network runs places² times
    Raises UsageError.
    """
    *_, last = stages(subject, method, target, layer, places=places)
    return last.attribution


@dataclass(frozen=True, eq=False)
class Stage:
    """An attribution on its way: what `done` of `total` passes through the network make of it."""

    attribution: Attribution
    done: int
    total: int


def stages(
    subject: Subject,
    method: str,
    target: int | None = None,
    layer: str | None = None,
    *,
    places: int = OCCLUSION_PLACES,
) -> Iterator[Stage]:
    """Return a method's maps, coarse at first; the last is what `attribute` returns. Arguments and errors are its.

    The network is as it was between any two of them.
    """
    layer = layer_of(subject, method, layer)
    target = predicted(subject) if target is None else target
    subject.require_class(target)
    found = METHODS[method]

    def stage(done: int, total: int, values: Map) -> Stage:
        return Stage(Attribution(method, target, values.astype(np.float32), layer, found.signed), done, total)

    return (stage(*each) for each in found.compute(subject, target, layer, places))


def methods(architecture: Architecture) -> tuple[str, ...]:
    """Return the METHODS that apply to a network: with a pooled head also the exact class map, first."""
    return tuple(name for name, method in METHODS.items() if not method.pooled or architecture.head == "pooled")


def usual(architecture: Architecture) -> str:
    """Return the default method, based on the last feature maps: the exact class map if available, else Grad-CAM."""
    return "class-map" if architecture.head == "pooled" else "gradcam"


def layer_of(subject: Subject, method: str, layer: str | None = None) -> str | None:
    """Return the layer that a method applies to (Grad-CAM), else None. Raises UsageError for an invalid choice."""
    if method not in METHODS:
        raise UsageError(f"attribution {method!r}", f"not one of {', '.join(METHODS)}", "choose one of them")
    if METHODS[method].pooled:
        require_pooled(subject.network.architecture)
    if not METHODS[method].layered:
        if layer is not None:
            raise UsageError(f"layer {layer!r}", f"{method} looks at the image alone", "leave the layer out")
        return None
    layer = layer or _last_relu(subject)
    subject.layer(layer)
    names = [found.name for found in subject.layers]
    head = subject.network.architecture.head_layer
    if names.index(layer) >= names.index(head):
        raise UsageError(f"layer {layer}", "has no map for Grad-CAM to weigh", f"choose a layer before {head}")
    return layer


def predicted(subject: Subject) -> int:
    """The class with the largest logit."""
    return int(subject.logits().argmax())


def _captum() -> Any:
    try:
        import captum.attr
    except ModuleNotFoundError as error:
        raise MissingExtraError("captum", "torch", "attribution") from error
    return captum.attr


def _class_map(subject: Subject, target: int, layer: str | None, places: int) -> Map:
    """Exact contribution of each pool5 position to the score (Zhou et al., 2016), constant over a cell of pixels."""
    return class_map(subject, target).spread(subject.input.shape[2])


def _saliency(subject: Subject, target: int, layer: str | None, places: int) -> Map:
    """|d score / d image|, maximum over the channels (Simonyan et al., 2013, section 3.1)."""
    gradient = _captum().Saliency(subject.network).attribute(_leaf(subject.input), target=target)
    return _flat(gradient.amax(dim=1))


def _smoothgrad(subject: Subject, target: int, layer: str | None, places: int) -> Iterator[Pass]:
    """Mean saliency of noisy copies of the image (Smilkov et al., 2017)."""
    noise = SMOOTHGRAD_NOISE * float(subject.input.max() - subject.input.min())
    random = torch.Generator().manual_seed(SEED)
    total = torch.zeros_like(subject.input)
    for done in range(BATCH, SMOOTHGRAD_SAMPLES + 1, BATCH):
        drawn = torch.randn(BATCH, *subject.input.shape[1:], generator=random)
        total += _gradient(subject, subject.input + noise * drawn, target).sum(dim=0)
        yield done, SMOOTHGRAD_SAMPLES, _flat((total / done).abs().amax(dim=1))


def _gradcam(subject: Subject, target: int, layer: str | None, places: int) -> Map:
    """ReLU of the sum of a layer's maps weighted by their mean gradients (Selvaraju et al., 2017)."""
    assert layer is not None
    attr = _captum()
    module = subject.network.get_submodule(layer)
    weighted = attr.LayerGradCam(subject.network, module).attribute(
        _leaf(subject.input), target=target, relu_attributions=True
    )
    size = subject.input.shape[2:]
    return _flat(F.interpolate(weighted, size, mode="bilinear", align_corners=False)[:, 0])


def _occlusion(subject: Subject, target: int, layer: str | None, places: int) -> Iterator[Pass]:
    """Drop of the score when a grey patch covers a position (Zeiler and Fergus, 2014); half as fine at first."""
    coarse = max(1, places // 2)
    total = coarse**2 + places**2
    yield coarse**2, total, _occluded(subject, target, coarse)
    yield total, total, _occluded(subject, target, places)


def _occluded(subject: Subject, target: int, places: int) -> Map:
    channels, size = subject.input.shape[1], subject.input.shape[2]
    step = max(1, size // places)
    side = min(size, 2 * step)
    with untouched(subject.network):
        fall = _captum().Occlusion(subject.network).attribute(
            subject.input.clone(), sliding_window_shapes=(channels, side, side), strides=(channels, step, step),
            baselines=0.0, target=target, perturbations_per_eval=BATCH,
        )  # fmt: skip
    return _flat(fall.mean(dim=1))


def _integrated_gradients(subject: Subject, target: int, layer: str | None, places: int) -> Iterator[Pass]:
    """Gradients integrated from the mean image to this one, times the difference (Sundararajan et al., 2017).

    Gauss-Legendre; points are taken from all along the way by turns, so that the first few already give the picture.
    """
    points, weights = np.polynomial.legendre.leggauss(INTEGRATION_STEPS)
    shares = torch.tensor((points + 1) / 2, dtype=torch.float32)[:, None, None, None]
    parts = torch.tensor(weights / 2, dtype=torch.float32)[:, None, None, None]
    total, held, turns = torch.zeros_like(subject.input), 0.0, INTEGRATION_STEPS // BATCH
    for turn in range(turns):
        share, part = shares[turn::turns], parts[turn::turns]
        total += (part * _gradient(subject, share * subject.input, target)).sum(dim=0)
        held += float(part.sum())
        yield (turn + 1) * BATCH, INTEGRATION_STEPS, _flat((total / held * subject.input).sum(dim=1))


def _gradient(subject: Subject, images: Tensor, target: int) -> Tensor:
    """The gradient (N, C, S, S) of a class's score in each of some images."""
    with untouched(subject.network):
        images = images.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(subject.network(images)[:, target].sum(), images)
    return gradient


def class_model(subject: Subject, target: int, steps: int = DREAM_STEPS) -> Pixels:
    """Synthesise the image that maximises a class's score, from the mean image (Simonyan et al., 2013, section 2).

    Normalised gradient ascent on score - DREAM_DECAY * |image|^2. Returns uint8 (S, S, C).
    """
    subject.require_class(target)
    record = subject.record.preprocessing
    with untouched(subject.network):
        image = torch.zeros_like(subject.input).requires_grad_()
        for _ in range(steps):
            score = subject.network(image)[0, target] - DREAM_DECAY * image.square().sum()
            (gradient,) = torch.autograd.grad(score, image)
            with torch.no_grad():
                image += DREAM_RATE * gradient / gradient.square().mean().sqrt().clamp_min(1e-12) / steps**0.5
    mean, std = (np.asarray(numbers, np.float32) for numbers in (record.mean, record.std))
    values = image.detach()[0].permute(1, 2, 0).numpy() * std + mean
    if record.channel_order == "BGR":
        values = values[..., ::-1]
    pixels: Pixels = np.clip(np.round(values), 0, 255).astype(np.uint8)
    return pixels


def _last_relu(subject: Subject) -> str:
    """Return the name of the last ReLU before pool5."""
    names = [layer.name for layer in subject.layers]
    return names[names.index("pool5") - 1]


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.clone().requires_grad_()


def _flat(maps: Tensor) -> Map:
    flat: Map = maps.detach()[0].numpy()
    return flat


def _at_once(compute: Callable[[Subject, int, str | None, int], Map]) -> Compute:
    """A method whose map comes in one piece."""

    def passes(subject: Subject, target: int, layer: str | None, places: int) -> Iterator[Pass]:
        with untouched(subject.network):
            values = compute(subject, target, layer, places)
        yield 1, 1, values

    return passes


@dataclass(frozen=True)
class Method:
    """An attribution method, with the properties that the commands and the page need.

    compute  (subject, class, layer or None, occlusion's positions per side) -> maps (S, S), better and better
    signed   negative values are evidence against the class
    layered  applies to one layer before the head
    pooled   requires the pooled head
    """

    compute: Compute
    signed: bool = False
    layered: bool = False
    pooled: bool = False


METHODS = {
    "class-map": Method(_at_once(_class_map), signed=True, pooled=True),
    "saliency": Method(_at_once(_saliency)),
    "smoothgrad": Method(_smoothgrad),
    "gradcam": Method(_at_once(_gradcam), layered=True),
    "occlusion": Method(_occlusion, signed=True),
    "integrated-gradients": Method(_integrated_gradients, signed=True),
}


# The class map of a pooled head: a logit as the exact mean of one score per position of pool5. Averaging is linear, so
# logit = mean over positions of (sum over channels of weight * pool5) + bias. Source: Zhou et al. 2016, Learning Deep
# Features for Discriminative Localization (arXiv 1512.04150), section 2. C channels, k side of pool5, S side of the
# network's input.


@dataclass(frozen=True, eq=False)
class ClassMap:
    """The score of each pool5 position for a class, or the difference of two classes' scores.

    scores     (k, k), in float64
    bias       of the class, or the difference of two
    logit      computed by the network, or the difference of two
    magnitude  sum of the terms' absolute values, the scale for the rounding error allowed between sum and logit
    """

    scores: Numbers = field(repr=False)
    bias: float
    logit: float
    magnitude: float
    target: int = 0
    against: int | None = None

    @property
    def cell(self) -> int:
        """Side of a position's cell, in pixels of the network's input."""
        return SMALLEST_IMAGE

    @property
    def mean(self) -> float:
        return float(self.scores.mean())

    @property
    def recomputed(self) -> float:
        return self.mean + self.bias

    @property
    def difference(self) -> float:
        return abs(self.recomputed - self.logit)

    @property
    def bound(self) -> float:
        return TOLERANCE * self.magnitude + SMALLEST

    @property
    def agrees(self) -> bool:
        return self.difference <= self.bound

    def spread(self, size: int) -> NDArray[np.float32]:
        """Upsample to (S, S): each pixel takes the score of its cell, pixels beyond the last cell the nearest score."""
        places = np.minimum(np.arange(size) // self.cell, len(self.scores) - 1)
        return self.scores[places[:, None], places[None, :]].astype(np.float32)


def class_map(subject: Subject, target: int | None = None, against: int | None = None) -> ClassMap:
    """Compute the class map of `target` (default: the predicted class), or its difference from that of `against`.

    A softmax depends only on differences of logits. Raises UsageError without a pooled head or for an unknown class.
    """
    require_pooled(subject.network.architecture)
    for number in (target, against):
        if number is not None:
            subject.require_class(number)
    with untouched(subject.network), torch.inference_mode():
        outputs = {step.name: step.output for step in subject.network.walk(subject.input)}
    logits = outputs["fc8"][0].double().numpy()
    target = int(logits.argmax()) if target is None else target
    if target == against:
        raise UsageError(f"class {against}", "is the class itself", "compare with another")
    weights, biases = (
        subject.network.get_parameter(f"fc8.{name}").detach().double().numpy() for name in ("weight", "bias")
    )
    if against is not None:
        weights, biases, logits = (numbers - numbers[against] for numbers in (weights, biases, logits))
    pool5 = outputs["pool5"][0].numpy()
    return class_map_from_pool5(pool5, weights[target], float(biases[target]), float(logits[target]), target, against)


def class_map_from_pool5(
    pool5: NDArray[np.float32], weights: Numbers, bias: float, logit: float, target: int, against: int | None = None
) -> ClassMap:
    """Compute the class map from pool5 (C, k, k) of any engine and one row (C,) of fc8."""
    terms = pool5.astype(np.float64) * weights[:, None, None]
    magnitude = float(np.abs(terms).sum(axis=0).mean()) + abs(bias)
    return ClassMap(terms.sum(axis=0), bias, logit, magnitude, target, against)


def require_pooled(architecture: Architecture) -> None:
    """Raises UsageError for a head with fc6 and fc7, whose logits have no exact map."""
    if architecture.head != "pooled":
        raise UsageError(
            "class-map",
            f"needs a head that averages pool5; {architecture.name} with fc6 and fc7 has no exact map",
            "choose gradcam, or a model with a pooled head",
        )
