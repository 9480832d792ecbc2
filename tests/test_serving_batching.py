"""What happens where a batch can't be computed: the next one has its turn, and a mistake of ours is not hidden."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from glass_subjects import model, photograph
from served import JPEG, MAIN, Served, photographs, save_model
from vgglass import workflows
from vgglass.images import Pixels
from vgglass.server.admission import Batcher
from vgglass.server.monitoring import Metrics
from vgglass.server.refusals import RefusedError


def test_a_batch_that_fails_fails_no_other() -> None:
    plain = workflows.predictor(model("A"), precision="float32")
    engine = plain.engines[False]
    failures = 1

    def run(images: Pixels) -> NDArray[np.float32]:
        nonlocal failures
        if failures:
            failures -= 1
            raise RuntimeError("out of memory")
        return engine(images)

    predictor = replace(plain, engines={False: replace(engine, run=run)})
    shown = predictor.shown(photograph())
    assert isinstance(shown, list)

    async def two_in_turn() -> NDArray[np.float64]:
        batcher = Batcher(4, Metrics())
        task = asyncio.create_task(batcher.run())
        with pytest.raises(RefusedError, match=r"the engine: failed \(out of memory\); try again, or tell") as refused:
            await batcher.answer(batcher.enter(1)[0], predictor, shown)
        assert refused.value.status == 503
        found = await batcher.answer(batcher.enter(1)[0], predictor, shown)
        task.cancel()
        batcher.stop()
        return found.answer.log_probabilities

    expected = plain.log_probabilities([shown])[0]
    assert asyncio.run(two_in_turn()) == pytest.approx(expected)


def test_a_mistake_of_ours_ends_the_server(tmp_path: Path) -> None:
    """Rather than leave one that takes requests and answers none."""
    code = f"from vgglass.server.admission import Batcher; Batcher._next_batch = lambda self: 1 / 0; {MAIN}"
    server = Served(tmp_path, save_model(tmp_path / "tiny.safetensors"), code=code)
    with pytest.raises(ConnectionError):
        server.ask("POST", "/predict", photographs(1)[0], JPEG)
    assert server.process.wait(30) == 1
    (line,) = server.lines("error", 1)
    assert line["error"] == "ZeroDivisionError('division by zero')"
