"""The playground's arithmetic in the browser is Python's: every output, window, winner and refusal."""

import base64
from importlib.resources import files
from itertools import product
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from sizes import sized
from vgglass.glass import Geometry
from vgglass.glass.operations import OPERATIONS, numbers, play

SIDES, KERNELS, STRIDES, PADDINGS, DILATIONS = (1, 2, 5, 12), (1, 2, 3, 6), (1, 2, 5), (0, 1, 2, 3), (1, 2, 5)
COMPUTED = """async ([source, cases]) => {
  const { compute, windowAt, winner } = await import(source);
  return cases.map(([values, operation, geometry]) => {
    const result = compute(values, operation, geometry), last = result.outputs.length - 1;
    if (last < 0) return result;
    const window = windowAt(values, geometry, last, 0);
    return { ...result, window, winner: winner(window, operation) };
  });
}"""


def computed(browser: Browser, cases: list[Any]) -> list[dict[str, Any]]:
    source = (files("vgglass.server") / "static" / "operations.js").read_bytes()
    page = browser.new_page()
    address = "data:text/javascript;base64," + base64.b64encode(source).decode()
    found: list[dict[str, Any]] = page.evaluate(COMPUTED, [address, cases])
    page.close()
    return found


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_geometry_gives_what_python_gives(browser: Browser, operation: str) -> None:
    cases = list(product(SIDES, KERNELS, STRIDES, PADDINGS, DILATIONS))[:: sized(5, 1)]
    names = ("kernel", "stride", "padding", "dilation")
    sent = [[numbers(side).tolist(), operation, dict(zip(names, rest, strict=True))] for side, *rest in cases]
    problems = set()
    for (side, kernel, *rest), found in zip(cases, computed(browser, sent), strict=True):
        expected = play(numbers(side), operation, Geometry((kernel, kernel), *rest))
        problems.add(expected.problem)
        assert found["problem"] == expected.problem, (side, kernel, *rest)
        assert (found["span"], found["room"]) == (expected.span, expected.room)
        assert found["formula"] == "⌊" + expected.formula.removeprefix("floor(").replace(") + 1", "⌋ + 1")
        if expected.problem:
            assert found["outputs"] == []
            continue
        np.testing.assert_allclose(found["outputs"], expected.outputs, rtol=1e-12)
        place = len(expected.outputs) - 1, 0
        window, winner = expected.at(place), expected.winner(place)
        assert found["window"] == {
            "top": window.top, "left": window.left,
            "values": window.values[0].tolist(), "inside": window.inside.tolist(),
        }  # fmt: skip
        assert found["winner"] == (None if winner is None else list(winner))
    assert problems == ({None, "window"} if operation == "conv" else {None, "window", "padding"})


def test_the_study_notes_case_by_hand(browser: Browser) -> None:
    """Windows of 2 by 2 on 0 to 15, two apart: 5, 7, 13, 15 are the largest, each in its window's last corner."""
    values = np.arange(16).reshape(4, 4).tolist()
    (found,) = computed(browser, [[values, "max", {"kernel": 2, "stride": 2, "padding": 0, "dilation": 1}]])
    assert found["outputs"] == [[5, 7], [13, 15]]
    assert found["formula"] == "⌊(4 + 2×0 − 1×(2 − 1) − 1) / 2⌋ + 1 = 2"
    assert found["window"]["values"] == [[8, 9], [12, 13]]
    assert found["winner"] == [1, 1]
