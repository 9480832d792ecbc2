"""Weights and activations in eight bits: post-training quantisation by NNCF (an extra: vgglass[int8])."""

import logging
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import openvino

from vgglass.engines.openvino import build_graph
from vgglass.images import Pixels
from vgglass.modelfile import ModelFile


def quantise(model: ModelFile, images: Iterable[Pixels], count: int) -> openvino.Model:
    """The graph of a model with ranges calibrated on `count` images, each a batch of one (1, S, S, C).

    In a thread of its own: NNCF makes cores as it likes, and signals do not come to that thread (see `openvino.core`).
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_quantise, model, images, count).result()


def _quantise(model: ModelFile, images: Iterable[Pixels], count: int) -> openvino.Model:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # NNCF, and torch on its behalf, warn of what is not used here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import nncf
        preset = nncf.QuantizationPreset.MIXED
        return nncf.quantize(build_graph(model), nncf.Dataset(images), preset=preset, subset_size=count)
    finally:
        logging.disable(before)
