"""A model judged on 10,000 images of Fashion-MNIST beside its bare engine on arrays in memory, in one run.

Column A at 32, an eighth and half as wide, random weights, which cost what trained ones do; made-up images where
../shared/data/fashion-mnist is absent. Both turns of a pair run on the same machine, one after the other.
"""

import argparse
import statistics
from functools import partial
from pathlib import Path

import numpy as np

from timing import seconds
from vgglass import workflows
from vgglass.architecture import Architecture
from vgglass.data import sources
from vgglass.data.dataset import Dataset, Sample
from vgglass.engines import Engine
from vgglass.evaluation import metrics
from vgglass.images import Pixels
from vgglass.inference.predictor import LARGEST_BATCH, Predictor
from vgglass.model import VGG
from vgglass.preprocess import Preprocessing, fit

FASHION = Path(__file__).parents[2] / "shared" / "data" / "fashion-mnist"
IMAGES = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    dataset = sources.idx(FASHION) if FASHION.exists() else made_up()
    print(f"{IMAGES:,} images, images a second, medians of {runs} turns")
    print(f"{'width':>6} {'bare engine':>12} {'evaluate':>10} {'ratio':>7}   {'figures alone':>13}")
    for width in (0.125, 0.5):
        predictor = ready(dataset, width)
        record = predictor.record.preprocessing
        squares = np.stack([fit(pixels_of(sample), record) for sample in dataset.split("test")])
        batches = np.array_split(squares, -(-len(squares) // LARGEST_BATCH))
        works = partial(bare, predictor.engines[False], batches), partial(evaluate, predictor, dataset)
        works[0]()
        pairs = [(seconds(works[0]), seconds(works[1])) for _ in range(runs)]
        plain, whole = (IMAGES / statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(one / two for one, two in pairs)
        judged = workflows.predictions_of([predictor], dataset, "test")
        figures = statistics.median(seconds(partial(metrics.evaluate, judged)) for _ in range(runs))
        print(f"{width:>6} {plain:>12,.0f} {whole:>10,.0f} {ratio:>7.2f}   {figures:>11.2f} s")


def ready(dataset: Dataset, width: float) -> Predictor:
    architecture = Architecture.named("A_bn", classes=10, channels=1, image_size=32, width=width)
    record = Preprocessing(32, 32, (73.0,), (90.0,), "L")
    return workflows.evaluation_predictor(VGG(architecture).to_file(dataset.classes, record))


def made_up() -> Dataset:
    generator = np.random.default_rng(0)
    pixels, labels = generator.integers(0, 256, (IMAGES, 28, 28, 1), np.uint8), generator.integers(0, 10, IMAGES)
    samples = (Sample(str(n), image, int(labels[n]), b"") for n, image in enumerate(pixels))
    return Dataset("made up", tuple("abcdefghij"), {"test": tuple(samples)})


def pixels_of(sample: Sample) -> Pixels:
    assert isinstance(sample.source, np.ndarray)
    return sample.source


def bare(engine: Engine, batches: list[Pixels]) -> None:
    for batch in batches:
        engine(batch)


def evaluate(predictor: Predictor, dataset: Dataset) -> None:
    metrics.evaluate(workflows.predictions_of([predictor], dataset, "test"))


if __name__ == "__main__":
    main()
