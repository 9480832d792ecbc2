"""The GIF of how a run learned, and that of an operation on an image."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glass_subjects import model, photograph
from training_runs import QUICK, quiet
from typed import vgglass
from vgglass import glass, modelfile, workflows
from vgglass.errors import TrainingError, UsageError
from vgglass.glass import Subject
from vgglass.glass.clip import written
from vgglass.glass.sliding import SIDE, slide, window_of
from vgglass.learning import Learning
from vgglass.locale import words
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


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model file and a photograph."""
    folder = tmp_path_factory.mktemp("operation")
    modelfile.save(model(), folder / "model.safetensors")
    Image.fromarray(photograph()).save(folder / "photo.png")
    return folder / "model.safetensors", folder / "photo.png"


@pytest.fixture(scope="module")
def subject(saved: tuple[Path, Path]) -> Subject:
    return glass.open_subject(*saved)


@pytest.mark.parametrize("name", ["conv1_1", "conv2_1", "relu1_1", "pool1", "conv5_2"])
def test_every_output_drawn_is_the_networks_own(subject: Subject, name: str) -> None:
    maps = next(layer.maps for layer in glass.walk(subject) if layer.name == name)
    sliding = slide(subject, name, 3)
    assert (sliding.rows, sliding.columns) == tuple(min(SIDE, side) for side in maps.shape[1:])
    assert len({step.position for step in sliding.steps}) == sliding.rows * sliding.columns
    for step in sliding.steps:
        assert step.agrees
        assert step.network == maps[3, *step.position]
        alone = glass.step(subject, name, 3, step.position)
        assert (step.recomputed, step.as_json()) == (alone.recomputed, alone.as_json())
        say = words("en", "commands")["clip"]
        assert f"{alone.recomputed:.3g}" in [number for _, number in written(step, sliding, say)[1]]


def test_the_written_terms_add_up_to_the_output(subject: Subject) -> None:
    say = words("en", "commands")["clip"]
    for name in ("conv1_1", "conv3_1", "fc6", "fc8"):
        sliding = slide(subject, name)
        terms, results = written(sliding.steps[0], sliding, say)
        added = sum(float(number) for _, number in terms)
        assert added == pytest.approx(float(results[0][1]), abs=0.01 * sum(abs(float(n)) for _, n in terms)), name
        assert terms[-1][0] == "Bias"
        assert len(results) == (1 if name == "fc8" else 2), "a softmax follows, or a ReLU"


def test_the_window_slides_by_the_stride_and_into_the_padding(subject: Subject) -> None:
    pool, convolution = slide(subject, "pool1", 0), slide(subject, "conv5_1", 0)
    (top, left, *sides), second = window_of(pool.steps[0]), window_of(pool.steps[1])
    assert sides == [2, 2]
    assert second == (top, left + 2, 2, 2)
    assert window_of(convolution.steps[0]) == (-1, -1, 3, 3)


def test_outputs_of_a_fully_connected_layer_follow_one_another(subject: Subject) -> None:
    sliding = slide(subject, "fc8", 5)
    assert [step.channel for step in sliding.steps] == [*range(7)]
    assert np.allclose([step.network for step in sliding.steps], subject.logits(), rtol=1e-5)


def test_an_operation_is_a_small_gif(saved: tuple[Path, Path], tmp_path: Path) -> None:
    file, image = saved
    for layer in ("conv1_1", "relu1_1", "pool1", "fc8"):
        out = tmp_path / f"{layer}.gif"
        vgglass("clip", image, "--model", file, "--layer", layer, "--channel", 1, "--out", out, "--lang", "zh")
        with Image.open(out) as drawn:
            assert getattr(drawn, "n_frames", 1) == (7 if layer == "fc8" else SIDE**2)
            assert drawn.width == 960
        assert out.stat().st_size < 2_000_000


def test_what_has_no_window_and_what_does_not_belong_together_is_refused(
    watched: Path, saved: tuple[Path, Path], tmp_path: Path
) -> None:
    (file, image), out = saved, tmp_path / "conv.gif"
    for layer in ("norm1", "prob", "relu6"):
        with pytest.raises(UsageError, match=f"--layer {layer}: is no operation that can be drawn output by output"):
            workflows.clip(image, out, model=file, layer=layer)
    with pytest.raises(UsageError, match="channel 99 of conv1_1: it has 8, numbered 0 to 7"):
        workflows.clip(image, out, model=file, layer="conv1_1", channel=99)
    with pytest.raises(UsageError, match="is a folder, and a layer is drawn on one image; name an image"):
        workflows.clip(watched, out, model=file, layer="conv1_1")
    with pytest.raises(UsageError, match="is a file, not the folder of a run; for an image, add, say, --layer"):
        workflows.clip(image, out)
    with pytest.raises(UsageError, match="--channel 3: is for an operation on an image; add, say, --layer conv1_1"):
        workflows.clip(watched, out, channel=3)
    assert not out.exists()
