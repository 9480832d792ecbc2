"""Batches: every sample once, the same bytes whatever the workers, and an honest word when one fails."""

import ctypes
import errno
import hashlib
import multiprocessing
import os
import pickle
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vgglass.data import sources
from vgglass.data.augment import AUGMENTATIONS
from vgglass.data.dataset import Sample
from vgglass.data.loader import Batch, evaluation_batches, prefetch
from vgglass.data.training_loader import TrainingLoader, epoch_batches, times_before
from vgglass.errors import ImageError, TrainingError
from vgglass.preprocess import Preprocessing, fit, read

# This machine may have fewer cores than a test has workers.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

GREY = Preprocessing(32, 32, (72.0,), (90.0,), "L")
COLOUR = Preprocessing(32, 36, (90.0, 100.0, 110.0), (60.0,) * 3, jpeg_scaled=True)
WORKERS = (0, 1, 3)
QUICK = ("paper", "strong")  # of the augmentations, where each is tried by several processes


def numbered(samples: Any) -> list[Sample]:
    """The same, labelled by their places: a batch's labels then say which samples are in it."""
    return [replace(sample, label=place) for place, sample in enumerate(samples)]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("photographs")
    samples = []
    for number in range(12):
        path = folder / f"{number}.jpg"
        noise = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((120, 90), Image.Resampling.BICUBIC).save(path)
        samples.append(Sample(path.name, path, number, hashlib.sha256(path.read_bytes()).digest()))
    return samples


@pytest.fixture(autouse=True)
def no_process_left_behind() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


def epochs(loader: TrainingLoader, *numbers: int, start: int = 0) -> list[Batch]:
    with loader:
        return [batch for number in numbers for batch in loader.epoch(number, start)]


def same(one: list[Batch], two: list[Batch]) -> bool:
    return len(one) == len(two) and all(
        np.array_equal(first.images, second.images) and np.array_equal(first.labels, second.labels)
        for first, second in zip(one, two, strict=True)
    )


def test_evaluation_sees_every_sample_once_in_order() -> None:
    samples = sources.digits().split("validation")
    batches = list(evaluation_batches(samples, GREY, 64))
    assert [len(batch.labels) for batch in batches] == [64, 64, 52]
    assert np.concatenate([batch.labels for batch in batches]).tolist() == [sample.label for sample in samples]
    assert np.array_equal(batches[1].images[3], fit(read(samples[67].source, GREY), GREY))


def test_results_come_in_order_and_errors_come_through() -> None:
    assert list(prefetch(lambda number: number * 2, iter(range(50)), depth=3)) == list(range(0, 100, 2))
    with pytest.raises(ZeroDivisionError):
        list(prefetch(lambda number: 1 // number, iter([2, 1, 0]), depth=2))


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("start", [0, 4])
def test_every_sample_id_exactly_once_an_epoch(workers: int, start: int) -> None:
    """Also where the run broke off after four batches of the second epoch and went on from there."""
    samples = numbered(sources.digits().split("validation"))
    before = epochs(TrainingLoader(samples, GREY, 20, "shift", seed=3, workers=1), 1)[:start]
    with TrainingLoader(samples, GREY, 20, "shift", seed=3, workers=workers) as loader:
        assert len(loader) == 9
        for epoch, earlier, first in ((1, before, start), (2, [], 0)):
            batches = [*earlier, *loader.epoch(epoch, first)]
            ids = [samples[label].id for batch in batches for label in batch.labels]
            assert sorted(ids) == sorted(sample.id for sample in samples)


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(AUGMENTATIONS.keys() - QUICK))]
)
def test_batches_are_the_same_bytes_whatever_the_workers(name: str, photographs: list[Sample]) -> None:
    colours = np.diag([10.0, 20.0, 30.0])
    first, one, three = (
        epochs(TrainingLoader(photographs, COLOUR, 5, name, seed=1, colours=colours, workers=workers), 0, 1)
        for workers in WORKERS
    )
    assert [batch.images.shape for batch in first] == [(4, 32, 32, 3)] * 6
    assert same(first, one)
    assert same(first, three)
    rest = epochs(TrainingLoader(photographs, COLOUR, 5, name, seed=1, colours=colours, workers=1), 1, start=1)
    assert same(rest, first[4:])


def test_small_images_in_memory_are_made_once_and_alike() -> None:
    """The squares kept over the epochs give what fitting every time gives, and stay as they were."""
    samples = numbered(sources.digits().split("validation")[:40])
    batches = epochs(TrainingLoader(samples, GREY, 8, "none", seed=0), 0, 1)
    for batch in batches:
        for image, label in zip(batch.images, batch.labels, strict=True):
            assert np.array_equal(image, fit(read(samples[label].source, GREY), GREY))
    loader = TrainingLoader(samples, GREY, 8, "flip", seed=0)
    assert same(epochs(loader, 0, 1, 0)[:5], epochs(loader, 0))


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_an_epoch_differs_from_the_next(name: str, photographs: list[Sample]) -> None:
    one, two = (
        batch.images[batch.labels.argsort()]
        for batch in epochs(TrainingLoader(photographs, COLOUR, 12, name, seed=1, workers=0), 0, 1)
    )
    assert np.array_equal(one, two) == (name == "none")


def test_a_samples_randomness_hangs_on_its_id_alone(photographs: list[Sample]) -> None:
    """In other company, at another place, in other batches and with another label it is augmented the same."""
    renamed = [replace(photographs[3], label=0)]
    alone = epochs(TrainingLoader(renamed, COLOUR, 1, "standard", seed=1, workers=0), 2)[0].images[0]
    for batch in epochs(TrainingLoader(photographs, COLOUR, 4, "standard", seed=1, workers=0), 2):
        for image, label in zip(batch.images, batch.labels, strict=True):
            assert np.array_equal(image, alone) == (label == 3)


def test_the_callers_randomness_is_left_alone(photographs: list[Sample]) -> None:
    state = torch.get_rng_state()
    for workers in (0, 1):
        epochs(TrainingLoader(photographs, COLOUR, 5, "strong", seed=1, workers=workers), 0, 1)
    assert torch.equal(torch.get_rng_state(), state)


def test_batches_are_of_one_size_but_for_one_and_hold_every_sample() -> None:
    samples = numbered(sources.digits().split("validation")[:11])
    batches = epochs(TrainingLoader(samples, GREY, 4, "none", seed=0), 0)
    assert [len(batch.labels) for batch in batches] == [4, 4, 3]
    assert sorted(np.concatenate([batch.labels for batch in batches])) == list(range(11))
    assert [len(part) for part in epoch_batches(9, 4, 0, 0, None)] == [3, 3, 3]  # not 4, 4, 1
    (batch,) = epochs(TrainingLoader(samples, GREY, 64, "none", seed=0), 0)
    assert sorted(batch.labels) == list(range(11))


@pytest.mark.parametrize("workers", WORKERS)
def test_in_order_as_an_epoch_draws_them(workers: int, photographs: list[Sample]) -> None:
    with TrainingLoader(photographs, COLOUR, 5, "standard", seed=1, workers=workers) as loader:
        ordered, drawn = list(loader.in_order(3)), list(loader.epoch(3))
    assert [label for batch in ordered for label in batch.labels] == list(range(12))
    images = {label: image for batch in drawn for image, label in zip(batch.images, batch.labels, strict=True)}
    for batch in ordered:
        pairs = zip(batch.images, batch.labels, strict=True)
        assert all(np.array_equal(image, images[label]) for image, label in pairs)


def test_an_epoch_left_early_does_not_run_into_the_next(photographs: list[Sample]) -> None:
    with TrainingLoader(photographs, COLOUR, 2, "flip", seed=1, workers=1) as loader:
        next(loader.epoch(0))
        found = list(loader.epoch(1))
    assert same(found, epochs(TrainingLoader(photographs, COLOUR, 2, "flip", seed=1, workers=0), 1))


def test_weights_draw_with_replacement_in_proportion() -> None:
    weights = np.array([1.0] * 900 + [9.0] * 100)

    def order(seed: int, epoch: int) -> list[int]:
        return [place for part in epoch_batches(1000, 32, seed, epoch, weights) for place in part.tolist()]

    assert len(order(5, 1)) == 1000
    assert sum(place >= 900 for place in order(5, 1)) == pytest.approx(500, abs=64)  # four standard deviations
    assert order(5, 1) == order(5, 1)
    assert order(5, 1) != order(5, 2)
    assert order(5, 1) != order(6, 1)


def test_a_sample_drawn_again_in_an_epoch_is_augmented_anew(photographs: list[Sample]) -> None:
    assert times_before(np.array([4, 2, 4, 4, 2, 9])).tolist() == [0, 0, 1, 2, 1, 0]
    weights = np.array([1.0] + [0.0] * 11)
    batches = epochs(TrainingLoader(photographs, COLOUR, 4, "crop-flip", seed=0, weights=weights, workers=0), 0)
    assert {label for batch in batches for label in batch.labels} == {0}
    assert len({image.tobytes() for batch in batches for image in batch.images}) == 12
    once = epochs(TrainingLoader(photographs[:1], COLOUR, 1, "crop-flip", seed=0, workers=0), 0)[0]
    assert np.array_equal(once.images[0], batches[0].images[0])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_lost_in_mid_run_is_named(workers: int, photographs: list[Sample], tmp_path: Path) -> None:
    gone = tmp_path / "gone.jpg"
    samples = [Sample("gone.jpg", gone, 0, b""), *photographs]
    with pytest.raises(ImageError, match=r"gone.jpg: No such file .*permissions, then --resume\.$"):
        epochs(TrainingLoader(samples, COLOUR, 13, "standard", 0, workers=workers), 0)


@pytest.mark.parametrize("augmentation", ["none", "standard"])
def test_a_photograph_replaced_in_mid_run_is_not_learned_from(
    augmentation: str, photographs: list[Sample], tmp_path: Path
) -> None:
    place = tmp_path / "cat.jpg"
    assert isinstance(photographs[0].source, Path)
    shutil.copy2(photographs[0].source, place)
    samples = [replace(photographs[0], source=place), *photographs[1:]]
    loader = TrainingLoader(samples, COLOUR, 12, augmentation, 0, workers=0)
    before = epochs(loader, 0)[0].images
    assert isinstance(photographs[1].source, Path)
    shutil.copy2(photographs[1].source, place)
    with pytest.raises(ImageError, match=r"cat.jpg: has changed since .* read; bring it back as it was, then --resume"):
        epochs(loader, 0)
    with pytest.raises(ImageError, match=r"cat.jpg: has changed since the images were first read; bring it back"):
        next(evaluation_batches(samples, COLOUR, 2))
    shutil.copy2(photographs[0].source, place)
    assert np.array_equal(epochs(loader, 0)[0].images, before)


def test_a_worker_that_the_system_ends_is_named(photographs: list[Sample]) -> None:
    def end_one() -> None:
        with TrainingLoader(photographs, COLOUR, 1, "standard", 0, workers=2) as loader:
            for _ in loader.epoch(0):
                os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)

    with pytest.raises(TrainingError, match=r"^DataLoader worker .*: the system ends .* batches, then --resume\.$"):
        end_one()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_too_narrow_to_resize_is_named(tmp_path: Path, workers: int) -> None:
    Image.new("RGB", (3000, 2)).save(tmp_path / "strip.png")
    strip = Sample(
        "strip.png", tmp_path / "strip.png", 0, hashlib.sha256((tmp_path / "strip.png").read_bytes()).digest()
    )
    message = r"strip\.png, an image of 2x3000: too narrow to bring its shorter side to \d+; crop or remove it"
    with (
        TrainingLoader([strip], COLOUR, 1, "none", 0, workers=workers) as loader,
        pytest.raises(ImageError, match=message + ", then --resume"),
    ):
        list(loader.epoch(0))
    with pytest.raises(ImageError, match=message):
        list(evaluation_batches([strip], COLOUR, 1))


@pytest.mark.filterwarnings("ignore:os.fork:DeprecationWarning")
def test_a_file_that_a_worker_dies_of_is_named(photographs: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    def dying(source: Any, record: Preprocessing) -> Any:
        return ctypes.string_at(0) if str(source).endswith("/7.jpg") else read(source, record)

    def go_through() -> None:
        with TrainingLoader(photographs, COLOUR, 3, "standard", 0, workers=2) as loader:
            list(loader.epoch(0))

    monkeypatch.setattr("vgglass.data.training_loader.read", dying)  # the workers are forked
    remedy = r"remove that file or save it anew, then --resume\.$"
    with pytest.raises(TrainingError, match=rf"^DataLoader worker .*: as it read \S*/7.jpg; {remedy}"):
        go_through()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_to_the_whole_group_are_left_to_the_run(photographs: list[Sample], number: signal.Signals) -> None:
    """As Ctrl-C, `timeout` and schedulers send them: a worker that died of one would end the run before it saved."""
    with TrainingLoader(photographs, COLOUR, 1, "none", 0, workers=2) as loader:
        batches = loader.epoch(0)
        next(batches), next(batches)  # one of each worker: both have begun
        for process in multiprocessing.active_children():
            os.kill(process.pid or 0, number)
        assert len(list(batches)) == 10


def test_no_room_for_semaphores(photographs: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount of one's own would need root: the constructor that the full /dev/shm makes fail stands in for it."""

    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(multiprocessing, "Semaphore", full)
    message = r"2 processes that decode: could not be started: /dev/shm: No space left on device; .* --workers 0; then"
    with (
        pytest.raises(TrainingError, match=message),
        TrainingLoader(photographs, COLOUR, 1, "none", 0, workers=2) as loader,
    ):
        next(iter(loader.epoch(0)))
    with TrainingLoader(photographs, COLOUR, 1, "none", 0, workers=0) as loader:
        next(iter(loader.epoch(0)))


def test_other_errors_pass_and_leave_no_process_behind(photographs: list[Sample]) -> None:
    with pytest.raises(ZeroDivisionError), TrainingLoader(photographs, COLOUR, 1, "none", 0, workers=2) as loader:
        [1 // (len(batch.labels) - 1) for batch in loader.epoch(0)]
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_workers_can_be_started_afresh(name: str, photographs: list[Sample]) -> None:
    """Where processes are spawned and not forked (macOS), what a worker holds is pickled."""
    held = TrainingLoader(photographs, COLOUR, 3, name, 0, colours=np.eye(3), workers=0)._loader.dataset
    one, two = (dataset[1, [2, 5], [0, 0]] for dataset in (held, pickle.loads(pickle.dumps(held))))  # noqa: S301
    assert isinstance(one, Batch)
    assert isinstance(two, Batch)
    assert same([one], [two])
