"""What an inference request holds becomes just those bytes, or a sentence that names the likely mistake."""

import json
from typing import Any

import numpy as np
import pytest

from vgglass.server.refusals import RefusedError
from vgglass.server.routes.inference_protocol import PIXELS, parse

SHAPE = [1, 2, 2, 3]
ROW = [0, 255, 7, 1, 2, 3, 4, 5, 6, 9, 8, 200]
NESTED = [[[[0, 255, 7], [1, 2, 3]], [[4, 5, 6], [9, 8, 200]]]]


def asked(data: Any, shape: list[int] = SHAPE, kind: str = "UINT8") -> bytes:
    return json.dumps({"inputs": [{"name": "image", "datatype": kind, "shape": shape, "data": data}]}).encode()


def refused(body: bytes, length: str | None = None) -> str:
    with pytest.raises(RefusedError) as error:
        parse(body, length, 3)
    assert error.value.status == 400
    return str(error.value)


@pytest.mark.parametrize("data", [ROW, NESTED, [float(number) for number in ROW]])
def test_whole_numbers_come_out_as_they_are(data: Any) -> None:
    (pixels,) = parse(asked(data), None, 3).images
    assert isinstance(pixels, np.ndarray)
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == NESTED[0]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.9, "0.9"), (1.7, "1.7"), (-1, "-1"), (256, "256"), (-0.0001, "-0.0001"), (254.5, "254.5"), (1e300, "1e+300"),
        (float("nan"), "nan"), (float("inf"), "inf"), (2**64, "18446744073709551616"), (-123.68, "-123.68"),
    ],
)  # fmt: skip
def test_numbers_that_are_no_bytes_are_named(value: float, shown: str) -> None:
    for data in ([*ROW[:3], value, *ROW[4:]], [[[[0, 255, 7], [value, 2, 3]], *NESTED[0][1:]]]):
        message = refused(asked(data))
        assert message == f"data[3] = {shown}: is no whole number of 0..255 (normalised already?); {PIXELS}."


@pytest.mark.parametrize(
    ("value", "kind"),
    [(True, "true or false"), ("7", "a string"), (None, "null"), ([7], "an array"), ({"a": 7}, "an object")],
)
def test_what_is_no_number_is_named(value: Any, kind: str) -> None:
    nested = [[[[0, 255, 7], [value, 2, 3]], *NESTED[0][1:]]]
    assert refused(asked(nested)) == f"data: holds {kind} among its numbers; {PIXELS}."
    row = refused(asked([*ROW[:3], value, *ROW[4:]]))
    assert row.startswith("data: is neither one row of" if kind == "an array" else f"data: holds {kind} among its")


def test_a_number_that_no_float_holds() -> None:
    assert refused(asked([10**400, *ROW[1:]])) == f"data: holds a number far beyond 0..255; {PIXELS}."


@pytest.mark.parametrize(
    "data",
    [
        NESTED[0],
        [NESTED],
        [[NESTED[0][0]], [NESTED[0][1]]],
        np.reshape(ROW, (1, 3, 2, 2)).tolist(),
        np.reshape(ROW, (4, 3)).tolist(),
        [[[[0, 255, 7], [1, 2]], [[3, 4, 5, 6], [9, 8, 200]]]],
        [[[[0, 255, 7], 1, 2, 3], [[4, 5, 6], [9, 8, 200]]]],
        "0123456789ab",
        7,
        None,
        {"0": 7},
    ],
)
def test_arrays_nested_in_another_way_are_refused(data: Any) -> None:
    assert refused(asked(data)) == f"data: is neither one row of numbers nor nested as the shape {SHAPE}; {PIXELS}."


@pytest.mark.parametrize(
    ("shape", "kind"),
    [([1, 3, 2, 2], "UINT8"), ([2, 2, 3], "UINT8"), (SHAPE, "FP32"), (SHAPE, "INT64"), ([12], "UINT8")],
)
def test_other_tensors_are_told_what_pixels_are(shape: list[int], kind: str) -> None:
    message = refused(asked(ROW, shape, kind))
    assert message.startswith(
        f"{kind}{shape}: is not an input of this model, which sees 3 channels, the last axis; send"
    )
    assert message.endswith(f"BYTES[N] or UINT8[N,H,W,C]; {PIXELS}.")


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32])
def test_binary_data_of_wider_numbers_is_no_pixels(kind: type) -> None:
    data = np.array(ROW, kind).tobytes()
    tensor = {"name": "image", "datatype": "UINT8", "shape": SHAPE, "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    assert refused(head + data, str(len(head))) == f"shape {SHAPE}: and {len(data)} numbers came; {PIXELS}."


@pytest.mark.parametrize("data", ["aGk=", [1], [None], {"aGk=": 1}, [["aGk="]]])
def test_files_are_strings_in_an_array(data: Any) -> None:
    assert "data: is no array of strings, a file in base64 each" in refused(asked(data, [1], "BYTES"))


def test_what_is_missing_is_named() -> None:
    body = b'{"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 2, 2, 3]}]}'
    assert "is not one of the Open Inference Protocol (KeyError: 'data')" in refused(body)
