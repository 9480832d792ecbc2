"""Heads of fewer weights: fc6 and fc7 as products of two matrices, or pool5's average and a fitted fc8 in their place.

O outputs, I inputs, R rank, n images.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from vgglass.data.dataset import Dataset, Sample
from vgglass.data.loader import evaluation_batches
from vgglass.model import VGG
from vgglass.modelfile import ModelFile, Weights
from vgglass.shrinking.child import descendant
from vgglass.training import fitted, transfer
from vgglass.training.checkpoint import Run
from vgglass.training.feature_cache import Averages, Extractors
from vgglass.training.metrics_log import Display
from vgglass.training.plan import plan_run
from vgglass.training.probe import fit_probe
from vgglass.training.recipe import Recipe
from vgglass.training.run import describe

Matrix = NDArray[np.float32]
FACTORISED = ("fc6", "fc7")
AGREEMENT, ERROR = 0.99, 0.05  # that ranks must keep, and may cost, on training images
IMAGES, BATCH = 1000, 16  # training images that choose ranks, and how many go through the convolutions at once
COLUMNS = 4096  # of a matrix that are held in float64 at a time


def factorised(model: ModelFile, ranks: tuple[int, int]) -> ModelFile:
    """The model with fc6 and fc7 of these ranks by truncated singular value decomposition; 0 leaves one as it is.

    The singular values all go into the first factor. The second one's columns are orthonormal, so that what is rounded
    between the two, in bfloat16 or int8, reaches the output without being amplified.
    Source: Girshick 2015, Fast R-CNN (arXiv 1504.08083), section 3.1. Raises UsageError for a rank out of range.
    """
    architecture = replace(model.record.architecture, ranks=ranks)
    weights = {name: array for name, array in model.weights.items() if not name.startswith(FACTORISED)}
    for name, rank in zip(FACTORISED, ranks, strict=True):
        matrix, bias = whole(model.weights, name)
        weights |= factors(name, matrix, bias, principal(matrix)[:, :rank]) if rank else _layer(name, matrix, bias)
    return descendant(model, VGG.from_weights(architecture, weights, shared=True), {"ranks": list(ranks)})


def auto_ranks(model: ModelFile, samples: Sequence[Sample], extractors: Extractors) -> tuple[int, int]:
    """The least powers of two as ranks that keep the answers on training images; 0 where none saves multiply-adds.

    Logits must keep AGREEMENT of their top-1 classes and differ on average by at most ERROR of their average spread.
    fc6 comes first, with fc7 as it is and half of ERROR; fc7 after it with the whole.
    """
    chosen = [samples[index] for index in np.linspace(0, len(samples) - 1, min(IMAGES, len(samples))).astype(int)]
    extract = extractors(model, "auto", "float32", "pool5")
    batches = evaluation_batches(chosen, model.record.preprocessing, BATCH)
    inputs = np.concatenate([extract(batch.images).reshape(len(batch.images), -1) for batch in batches])
    return least_ranks(model, inputs)


def least_ranks(model: ModelFile, inputs: Matrix) -> tuple[int, int]:
    """As `auto_ranks`, on pool5 of some images, flattened (n, I)."""
    six, seven, eight = (whole(model.weights, name) for name in (*FACTORISED, "fc8"))
    wanted = _dense(_relu(_dense(_relu(_dense(inputs, six)), seven)), eight)
    hidden = _dense(inputs, six)
    first, hidden = _least_rank(six, hidden, lambda h: _dense(_relu(_dense(_relu(h), seven)), eight), wanted, ERROR / 2)
    second, _ = _least_rank(seven, _dense(_relu(hidden), seven), lambda h: _dense(_relu(h), eight), wanted, ERROR)
    return first, second


def _least_rank(
    layer: tuple[Matrix, Matrix], outputs: Matrix, head: Callable[[Matrix], Matrix], wanted: Matrix, error: float
) -> tuple[int, Matrix]:
    """The least rank of a layer, and its outputs (n, O) then; 0 and the outputs unchanged where none will do."""
    matrix, bias = layer
    basis, rank = principal(matrix), 1
    while rank * sum(matrix.shape) < matrix.size:
        columns = basis[:, :rank]
        projected = np.asarray((outputs - bias) @ columns @ columns.T + bias, np.float32)
        if _keeps(head(projected), wanted, error):
            return rank, projected
        rank *= 2
    return 0, outputs


def _keeps(logits: Matrix, wanted: Matrix, error: float) -> bool:
    agreement = (logits.argmax(axis=1) == wanted.argmax(axis=1)).mean()
    spread = np.linalg.norm(wanted - wanted.mean(axis=1, keepdims=True), axis=1)
    moved = logits - wanted
    distance = np.linalg.norm(moved - moved.mean(axis=1, keepdims=True), axis=1)  # a constant changes no softmax
    return bool(agreement >= AGREEMENT and distance.mean() <= error * spread.mean())


def _dense(x: Matrix, layer: tuple[Matrix, Matrix]) -> Matrix:
    product: Matrix = x @ layer[0].T + layer[1]
    return product


def _relu(x: Matrix) -> Matrix:
    return np.maximum(x, 0)


def pooled(model: ModelFile, dataset: Dataset, extractors: Extractors, display: Display) -> ModelFile:
    """The model with pool5's average and an fc8 fitted to the training images in place of fc6 to fc8.

    Raises TrainingError: see `training.fitted.fit`.
    """
    preprocessing = model.record.preprocessing
    fields = transfer.recipe_fields(model.record) | {"fit": preprocessing.fit, "precision": "float32"}
    recipe = Recipe().override(**fields | {"head": "pooled", "train": "head"})
    planned, _ = plan_run(recipe, dataset, None, ("the parent", model))
    run = replace(planned, preprocessing=preprocessing.as_json())
    found = fitted.fit(dataset, run, model, extractors, None, display)
    about = {"metrics": found.metrics, "data": describe(dataset, selected_on="train")}
    return descendant(model, found.network, {"head": "pooled"}, **about)


def fitted_anew(
    model: ModelFile, samples: Sequence[Sample], run: Run, extractors: Extractors, workers: int | None, display: Display
) -> VGG:
    """The network of a model with a pooled head, and fc8 fitted to the labels on the features that it has itself.

    Raises TrainingError for features that do not differ between images.
    """
    averages = Averages(model, run, extractors, workers, display)
    found = fit_probe(*fitted.given_to_fit(samples, averages), run.recipe.seed)
    weights = model.weights | {"fc8.weight": found.weight, "fc8.bias": found.bias}
    return VGG.from_weights(model.record.architecture, weights)


def whole(weights: Weights, name: str) -> tuple[Matrix, Matrix]:
    """Matrix (O, I) and bias (O,) of fc6 or fc7, multiplied out if it is factorised."""
    if f"{name}.weight" in weights:
        return weights[f"{name}.weight"], weights[f"{name}.bias"]
    second = weights[f"{name}_2.weight"]
    bias = second @ weights[f"{name}_1.bias"] + weights[f"{name}_2.bias"]
    return second @ weights[f"{name}_1.weight"], bias


def principal(matrix: Matrix) -> Matrix:
    """The left singular vectors (O, O) of a matrix (O, I), those of the largest singular values first.

    They are the eigenvectors of matrix times matrix transposed, which takes seconds where a decomposition of all
    4096 x 25088 numbers takes minutes. That squares the singular values, but they are not needed: the vectors are
    orthonormal, and projecting on the first R of them is what truncation does.
    """
    gram = np.zeros((len(matrix), len(matrix)))
    for start in range(0, matrix.shape[1], COLUMNS):
        part = matrix[:, start : start + COLUMNS].astype(np.float64)
        gram += part @ part.T
    vectors: NDArray[np.float64] = linalg.eigh(gram, overwrite_a=True, check_finite=False)[1]
    return vectors[:, ::-1].astype(np.float32)


def factors(name: str, matrix: Matrix, bias: Matrix, basis: Matrix) -> Weights:
    """Both layers of a factorised matrix, projected on the columns of `basis` (O, R)."""
    first, second = basis.T @ matrix, np.ascontiguousarray(basis)
    return _layer(f"{name}_1", first, np.zeros(len(first), np.float32)) | _layer(f"{name}_2", second, bias)


def _layer(name: str, matrix: Matrix, bias: Matrix) -> Weights:
    return {f"{name}.weight": matrix, f"{name}.bias": bias}
