"""A sheet of what the network will see: some images as in evaluation, then as augmented in each epoch.

N images (rows), C channels, S side, K classes.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vgglass import plotting
from vgglass.data.augment import AUGMENTATIONS, Colours, mix
from vgglass.data.dataset import Sample
from vgglass.data.loader import square
from vgglass.data.training_loader import TrainingLoader
from vgglass.images import Pixels
from vgglass.plotting import missing_font, unwritable
from vgglass.preprocess import Preprocessing, normalise

IMAGES, EPOCHS = 8, 7
TILE = 1.5  # inches


def preview(
    samples: Sequence[Sample],
    classes: tuple[str, ...],
    record: Preprocessing,
    augmentation: str,
    seed: int,
    path: Path,
    colours: Colours | None = None,
) -> str:
    """Write the sheet as PNG; a sentence where no font on this machine can write some class names, else ''.

    seed, colours  of the run, whose first epochs augment these images in the same way
    Raises ImageError.
    """
    missing = unwritable(classes)
    names = [f"class {index}" if name in missing else name for index, name in enumerate(classes)]
    chosen = evenly_spaced(samples, IMAGES)
    columns = augmented_views(chosen, names, record, augmentation, seed, colours)
    title = f"{augmentation}, {record.size}×{record.size}, fit {record.fit}: what the network sees"
    _draw(columns, [names[sample.label] for sample in chosen], title, path)
    return missing_font(classes)


def augmented_views(
    samples: Sequence[Sample],
    names: Sequence[str],
    record: Preprocessing,
    augmentation: str,
    seed: int,
    colours: Colours | None,
) -> list[tuple[Pixels, list[str]]]:
    """Images (N, S, S, C) as in evaluation and in each of the first epochs, and what each is a mixture of."""
    labels = torch.tensor([sample.label for sample in samples])
    columns = [(np.stack([square(sample, record) for sample in samples]), [""] * len(samples))]
    numbered = [replace(sample, label=row) for row, sample in enumerate(samples)]  # to undo an epoch's shuffling
    loader = TrainingLoader(numbered, record, len(samples), augmentation, seed, colours=colours, workers=0)
    for epoch in range(EPOCHS):
        (batch,) = loader.epoch(epoch)
        images = torch.from_numpy(normalise(batch.images[batch.labels.argsort()], record))
        mixtures = [""] * len(samples)
        if AUGMENTATIONS[augmentation].mix:
            images, targets = mix(images, labels, len(names), seed, epoch, batch=0)
            mixtures = [describe_target(target, names) for target in targets]
        columns.append((denormalised(images, record), mixtures))
    return columns


def evenly_spaced(samples: Sequence[Sample], count: int) -> list[Sample]:
    """`count` samples, spread over the classes as evenly as they allow, ordered by class."""
    turns: dict[int, int] = {}
    ranked = []
    for place, sample in enumerate(samples):
        turns[sample.label] = turns.get(sample.label, -1) + 1
        ranked.append((turns[sample.label], sample.label, place))
    return [samples[place] for _, _, place in sorted(sorted(ranked)[:count], key=lambda entry: entry[1:])]


def denormalised(images: Tensor, record: Preprocessing) -> Pixels:
    """`normalise` undone: input (N, C, S, S) to uint8 (N, S, S, C)."""
    mean, std = (np.asarray(numbers, np.float32) for numbers in (record.mean, record.std))
    pixels = images.numpy().transpose(0, 2, 3, 1) * std + mean
    if record.channel_order == "BGR":
        pixels = pixels[..., ::-1]
    return pixels.round().clip(0, 255).astype(np.uint8)


def describe_target(target: Tensor, names: Sequence[str]) -> str:
    """The classes of a target (K,) with their shares, a line each; '' where one class has 99 % or more."""
    shares = [f"{name} {share:.2f}" for name, share in zip(names, target.tolist(), strict=True) if share >= 0.01]
    return "\n".join(shares) if len(shares) > 1 else ""


def _draw(columns: Sequence[tuple[Pixels, list[str]]], names: Sequence[str], title: str, path: Path) -> None:
    headings = ["evaluation", *(f"epoch {number}" for number in range(1, len(columns)))]
    with plotting.picture(TILE * len(columns) + 1, TILE * len(names) + 0.5, path) as figure:
        figure.suptitle(title)
        grid = figure.subplots(len(names), len(columns), squeeze=False)
        for (row, column), axes in np.ndenumerate(grid):
            pixels, mixtures = columns[column]
            picture = pixels[row].repeat(3, axis=2) if pixels.shape[3] == 1 else pixels[row]
            axes.imshow(picture)
            axes.set(xticks=[], yticks=[])
            axes.set_xlabel(mixtures[row], fontsize=7, parse_math=False)
            if row == 0:
                axes.set_title(headings[column], fontsize=9)
            if column == 0:
                axes.set_ylabel(names[row], rotation=0, ha="right", va="center", parse_math=False)
