"""Judges mutations, by Pillow's strict load and by the one decoder: `python judge_mutations.py START STOP STEP`.

A line of JSON for each on standard output; its number comes first, on a line of its own, so that of what this process
dies is known.
"""

import io
import json
import resource
import sys
import time
import warnings

from PIL import Image

import mutations
from vgglass import images
from vgglass.errors import ImageError


def main() -> None:
    warnings.simplefilter("ignore")
    for number in range(*map(int, sys.argv[1:4])):
        print(number, flush=True)
        name, data = mutations.image(number)
        before, began = peak(), time.process_time()
        ours, scaled = judged(data, 0), judged(data, 32)
        examined = looked(data)
        taken, grown = time.process_time() - began, peak() - before
        row = {
            "name": name, "pillow": strictly(data), "ours": ours, "scaled": scaled, "examined": examined,
            "seconds": taken, "bytes": grown,
        }  # fmt: skip
        print(json.dumps(row), flush=True)


def strictly(data: bytes) -> str:
    """'' where Pillow opens and loads it, and never only a part of it."""
    try:
        # Its warnings, which the suite makes errors, are no refusals.
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=images.FORMATS) as image:
            image.load()
    except Exception as error:  # noqa: BLE001 (whatever it is, it refuses)
        return repr(error)[:200] or "?"
    return ""


def judged(data: bytes, least: int) -> str:
    try:
        images.decode(data, least=least)
    except ImageError as error:
        return error.rule
    return ""


def looked(data: bytes) -> str:
    try:
        return images.examine(data).fault and "fault: " + images.examine(data).fault
    except ImageError as error:
        return error.rule


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
