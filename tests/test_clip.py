"""The GIF of how a run learned."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training_runs import QUICK, quiet
from typed import vgglass
from vgglass import workflows
from vgglass.errors import TrainingError, UsageError
from vgglass.learning import Learning
from vgglass.workflows.clip import FRAME, HEIGHT, LAST, WIDTH, smoothed


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("watched") / "run"
    workflows.train(out=out, recipe="digits", watch=True, console=quiet()[0], **QUICK | {"epochs": 1})
    return out


def test_a_frame_a_point_and_the_last_one_stays(watched: Path, tmp_path: Path) -> None:
    printed = vgglass("clip", watched, "--out", tmp_path / "learning.gif").stdout
    assert printed == f"Written: {tmp_path / 'learning.gif'}\n"
    with Image.open(tmp_path / "learning.gif") as image:
        steps = Learning(watched).steps()
        assert image.size == (WIDTH, HEIGHT)
        assert getattr(image, "n_frames", 1) == len(steps)
        times, frames = [], []
        for index in range(len(steps)):
            image.seek(index)
            times.append(image.info["duration"])
            frames.append(np.asarray(image.convert("RGB"), np.int16))
    assert times == [FRAME] * (len(steps) - 1) + [LAST]
    assert all(np.abs(one - other).max() > 50 for one, other in itertools.pairwise(frames))


def test_both_languages(watched: Path, tmp_path: Path) -> None:
    english, chinese = (
        workflows.clip(watched, tmp_path / f"{lang}.gif", lang=lang).read_bytes() for lang in ("en", "zh")
    )
    assert english != chinese


def test_the_curve_is_the_mean_of_each_stretch() -> None:
    assert smoothed(np.array([], np.float32)) == []
    assert smoothed(np.array([4.0, 2.0], np.float32)) == [(1, 4.0), (2, 2.0)]
    long = smoothed(np.arange(1000, dtype=np.float32))
    assert long[-1][0] == 1000
    start = long[-2][0]
    assert long[-1][1] == pytest.approx((start + 999) / 2)
    assert smoothed(np.array([1.0, np.nan], np.float32)) == [(1, 1.0)]


def test_a_run_that_diverged_is_drawn(watched: Path, tmp_path: Path) -> None:
    out = shutil.copytree(watched, tmp_path / "run")
    place = Learning(out)
    last = place.point(place.steps()[-1])
    last.arrays["probabilities"][:] = np.nan
    last.numbers["validation"]["loss"] = None
    place.write(last)
    assert workflows.clip(out, tmp_path / "diverged.gif").stat().st_size > 1000


def test_what_can_not_be_drawn_is_refused(watched: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--out clip.mp4: is a GIF, and its name ends in .gif; write"):
        workflows.clip(watched, "clip.mp4")
    with pytest.raises(TrainingError, match="holds no record of its learning; train it with --watch"):
        workflows.clip(tmp_path, tmp_path / "learning.gif")
    Learning(tmp_path).begin({"classes": ["a", "b"], "steps": 3}, {"pixels": np.zeros((1, 8, 8, 3), np.uint8)})
    with pytest.raises(TrainingError, match="has a record without a point"):
        workflows.clip(tmp_path, tmp_path / "learning.gif")
    assert not (tmp_path / "learning.gif").exists()
