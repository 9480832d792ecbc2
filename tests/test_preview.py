"""The sheet of what the network will really see."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vgglass.data import sources
from vgglass.data.augment import AUGMENTATIONS
from vgglass.plotting import unwritable
from vgglass.preprocess import Preprocessing, normalise
from vgglass.training.preview import augmented_views, denormalised, describe_target, evenly_spaced, preview

GREY = Preprocessing(32, 32, (72.0,), (90.0,), "L")


QUICK = ("none",)  # the others differ in what they draw alone, which test_augment.py holds; test_cli.py has "strong"


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(AUGMENTATIONS.keys() - QUICK))]
)
def test_a_sheet_is_drawn_for_every_augmentation(name: str, tmp_path: Path) -> None:
    data = sources.digits()
    state = torch.get_rng_state()
    assert preview(data.split("train"), data.classes, GREY, name, 0, tmp_path / "preview.png") == ""
    assert torch.equal(torch.get_rng_state(), state)
    with Image.open(tmp_path / "preview.png") as sheet:
        assert sheet.format == "PNG"
        assert min(sheet.size) > 1000
        shades = np.unique(np.asarray(sheet.convert("L")))
    assert len(shades) > 100


def test_rows_are_spread_over_the_classes() -> None:
    samples = sources.digits().split("train")

    def labels(*wanted: int, count: int) -> list[int]:
        return [sample.label for sample in evenly_spaced([one for one in samples if one.label in wanted], count)]

    assert labels(3, 5, count=4) == [3, 3, 5, 5]
    assert labels(*range(10), count=8) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert labels(1, 2, 3, count=4) == [1, 1, 2, 3]
    assert len(evenly_spaced(samples[:3], 8)) == 3


def test_each_row_is_one_image() -> None:
    samples = sources.digits().split("train")[:8]
    columns = augmented_views(samples, tuple("0123456789"), GREY, "none", 0, None)
    assert len(columns) == 8
    for pixels, mixtures in columns:
        assert np.array_equal(pixels, columns[0][0])
        assert mixtures == [""] * 8
    strong = augmented_views(samples, tuple("0123456789"), GREY, "strong", 0, None)
    assert any("\n" in text for _, mixtures in strong for text in mixtures)


def test_showing_undoes_normalising() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    for order in ("RGB", "BGR"):
        record = Preprocessing(6, 6, (100.0, 110.0, 120.0), (50.0, 60.0, 70.0), order)
        assert np.array_equal(denormalised(torch.from_numpy(normalise(pixels, record)), record), pixels)
    assert (denormalised(torch.full((1, 1, 2, 2), 9.0), GREY) == 255).all()


def test_mixtures_are_named_by_their_shares() -> None:
    names = ("ant", "bee", "cat")
    assert describe_target(torch.tensor([0.25, 0.0, 0.75]), names) == "ant 0.25\ncat 0.75"
    assert describe_target(torch.tensor([0.0, 1.0, 0.0]), names) == ""
    assert describe_target(torch.tensor([0.005, 0.995, 0.0]), names) == ""


def test_class_names_without_a_font_are_said(tmp_path: Path) -> None:
    names = ("\U0001f41c", "\U0001f41d")  # no font of matplotlib's has the ant and the bee
    if not unwritable(names):
        pytest.skip("this machine has a font for emoji")
    samples = [replace(sample, label=sample.label % 2) for sample in sources.digits().split("train")[:6]]
    assert "No font here can write" in preview(samples, names, GREY, "none", 0, tmp_path / "preview.png")
