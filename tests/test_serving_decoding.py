"""Processes that decode: bounded in time and memory, replaced when they die, alike the decoder itself."""

import asyncio
import io
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import astuple, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from glass_subjects import model, photograph
from served import encoded
from vgglass import decoder, images, isolation
from vgglass.errors import ImageError
from vgglass.images import Pixels
from vgglass.inference.views import decoding, parse, show
from vgglass.preprocess import fit, read
from vgglass.server.decoding import Decoders
from vgglass.server.monitoring import Metrics
from vgglass.server.refusals import RefusedError

RECORD = model("A").record
WAY = RECORD.preprocessing
CENTRE = parse("centre", RECORD)


def with_decoders(scene: Callable[[Decoders], Awaitable[None]], **limits: float) -> Metrics:
    metrics = Metrics()

    async def run() -> None:
        decoders = Decoders(metrics, **({"processes": 1} | limits))  # type: ignore[arg-type]
        try:
            await scene(decoders)
        finally:
            decoders.stop()
            await asyncio.sleep(0.1)  # the loop sees that the processes ended

    asyncio.run(run())
    return metrics


def killed(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("vgglass_decoders_killed_total")


def large(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", (side, side)).save(file, "PNG", compress_level=1)
    return file.getvalue()


@pytest.mark.parametrize("text", ["centre", "dense@72,96+crops@80"])
def test_alike_the_decoder_itself(text: str) -> None:
    views = parse(text, RECORD)
    pixels = photograph(90, 120)

    async def scene(decoders: Decoders) -> None:
        for source in (encoded(pixels), encoded(pixels, "PNG"), encoded(pixels, "TIFF"), pixels):
            found = await decoders.decode(source, WAY, views)
            expected = show(read(source, decoding(WAY, views)), WAY, views)
            assert len(found) == len(expected)
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)

    assert killed(with_decoders(scene)) == 0


def test_too_slow_is_killed_and_the_next_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGGLASS_MAX_PIXELS", "200000000")  # the process's own limits are under test

    async def scene(decoders: Decoders) -> None:
        with pytest.raises(ImageError, match=r"took more than 0.05 s to decode; make it smaller"):
            await decoders.decode(large(4000), WAY, CENTRE)
        decoders.seconds = 30
        await decoders.decode(encoded(photograph()), WAY, CENTRE)

    assert killed(with_decoders(scene, seconds=0.05)) == 1


def test_too_much_memory_is_refused_and_the_next_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGGLASS_MAX_PIXELS", "200000000")  # the process's own limits are under test

    async def scene(decoders: Decoders) -> None:
        with pytest.raises(ImageError, match=r"needs more than 100 MiB to decode; make it smaller first"):
            await decoders.decode(large(5000), WAY, CENTRE)
        await decoders.decode(encoded(photograph()), WAY, CENTRE)

    with_decoders(scene, memory=100 << 20)


def test_one_that_dies_is_replaced() -> None:
    async def scene(decoders: Decoders) -> None:
        await decoders.start()
        (process,) = decoders._running
        os.kill(process.pid, signal.SIGSTOP)
        waiting = asyncio.create_task(decoders.decode(encoded(photograph()), WAY, CENTRE))
        await asyncio.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
        await waiting  # its image was no reason: it is decoded by another
        await decoders.decode(encoded(photograph()), WAY, CENTRE)

    assert killed(with_decoders(scene)) == 1


def test_two_that_are_killed_are_no_fault_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, signal, sys; from vgglass import decoder; decoder.answer = lambda *_: os.kill(os.getpid(), 9)"
    monkeypatch.setattr(
        isolation, "command", lambda memory: [sys.executable, "-c", f"{code}; decoder.main()", str(memory)]
    )

    async def scene(decoders: Decoders) -> None:
        with pytest.raises(RefusedError, match=r"killed twice, .* memory runs out; try again in 1 s") as refused:
            await decoders.decode(encoded(photograph()), WAY, CENTRE)
        assert refused.value.status == 503

    assert killed(with_decoders(scene)) == 2


def test_costly_images_do_not_hold_up_a_photograph() -> None:
    """Eight at once, of the most that is allowed: what its header says is cheap has a process to itself."""
    costly = large(3600)

    async def scene(decoders: Decoders) -> None:
        await decoders.start()
        waiting = [asyncio.create_task(decoders.decode(costly, WAY, CENTRE)) for _ in range(8)]
        await asyncio.sleep(0.2)
        for _ in range(3):
            await decoders.decode(encoded(photograph()), WAY, CENTRE)
        assert sum(task.done() for task in waiting) < 4
        assert len(await asyncio.gather(*waiting)) == 8

    assert killed(with_decoders(scene, processes=2)) == 0


def test_who_gives_up_does_not_mix_up_the_answers() -> None:
    """A job whose client left is read to its end; the next job gets its own answer."""

    async def scene(decoders: Decoders) -> None:
        images: list[Pixels] = [photograph(80, 80, seed=seed) for seed in range(20)]
        for first, second in zip(images[::2], images[1::2], strict=True):
            given_up = asyncio.create_task(decoders.decode(first, WAY, CENTRE))
            await asyncio.sleep(0.001)
            given_up.cancel()
            found = await decoders.decode(second, WAY, CENTRE)
            np.testing.assert_array_equal(found[0], show(second, WAY, CENTRE)[0])

    assert killed(with_decoders(scene)) == 0


@pytest.mark.parametrize(
    ("kind", "sides", "views", "scaled", "decodes"),
    [
        ("PNG", (90, 120), "centre", True, 1),
        ("JPEG", (1000, 701), "dense@72,96+crops@80", False, 1),
        ("JPEG", (90, 120), "centre", True, 1),  # too small to be scaled
        ("JPEG", (1000, 701), "centre", True, 2),  # small for the network, whole for the page
        ("JPEG", (1000, 701), "dense@72+dense@256", True, 3),  # and finer for a larger view
    ],
)
def test_a_picture_and_its_views_of_one_decoding(
    kind: str, sides: tuple[int, int], views: str, scaled: bool, decodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the network needs at another scale is decoded once more, and all is what each by itself would be."""
    record, looks, image = replace(WAY, jpeg_scaled=scaled), parse(views, RECORD), encoded(photograph(*sides), kind)
    job = {"work": "whole", "preprocessing": record.as_json(), "views": [astuple(view) for view in looks]}
    counted: list[int] = []

    def counting(*source: Any, **how: Any) -> Pixels:
        counted.append(how["least"])
        return images.decode(*source, **how)

    with monkeypatch.context() as patched:
        patched.setenv("VGGLASS_MAX_PIXELS", str(images.MAX_PIXELS))  # a job sets it
        patched.setattr(decoder, "images", SimpleNamespace(decode=counting, eighths=images.eighths))
        header, parts = decoder.answer(job | isolation.bounds(), image)
    assert len(counted) == decodes
    found = isolation.stacks(header, b"".join(parts))
    whole, fitted = read(image, replace(record, jpeg_scaled=False)), read(image, record)
    assert found[2].shape[:2] == fitted.shape[:2]
    expected = [whole, fit(fitted, record), *show(read(image, decoding(record, looks)), record, looks)]
    for one, other in zip([*found[:2], *found[3:]], expected, strict=True):
        np.testing.assert_array_equal(one, other)
