"""How much of a claim a test repeats: a sample as a rule, all of it where VGGLASS_FULL is set (see CONTRIBUTING.md)."""

import os

FULL = bool(os.environ.get("VGGLASS_FULL"))


def sized(sample: int, full: int) -> int:
    return full if FULL else sample
