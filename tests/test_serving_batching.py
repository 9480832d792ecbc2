"""The queue by itself, with a real network behind it."""

import asyncio

import pytest

from glass_subjects import model, photograph
from vgglass import api
from vgglass.serving.batching import Batcher
from vgglass.serving.metrics import Metrics
from vgglass.serving.refusals import RefusedError
from vgglass.views import show


def test_who_gave_up_before_the_batch_is_not_computed() -> None:
    predictor, metrics = api.predictor(model("A")), Metrics()
    stacks = show(photograph(), predictor.record.preprocessing, predictor.views)

    async def scene() -> list[object]:
        batcher = Batcher(16, metrics)
        places = batcher.enter(16)
        tasks = [asyncio.create_task(batcher.answer(place, predictor, stacks)) for place in places]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        running = asyncio.create_task(batcher.run())
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        running.cancel()
        batcher.stop()
        return list(answers)

    answers = asyncio.run(scene())
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])
    assert not any(isinstance(answer, BaseException) for answer in answers[1::2])
    assert metrics.registry.get_sample_value("vgglass_batch_images_sum") == 8


def test_places_are_given_all_or_none() -> None:
    batcher = Batcher(16, Metrics())
    places = batcher.enter(10)
    with pytest.raises(RefusedError, match=r"the queue: full: 10 of 16 images wait; try again in 1 s"):
        batcher.enter(7)
    with pytest.raises(RefusedError, match=r"17 images: the queue holds 16; send at most 16 images in a request"):
        batcher.enter(17)
    batcher.leave(places[0])
    batcher.leave(places[0])
    assert len(batcher.enter(7)) == 7
    assert batcher.peak == 16
