"""The count of a GIF's frames (GIF89a, 1990)."""

MOST_BLOCKS = 1_000_000  # each costs a turn of a Python loop, here and in Pillow
_IMAGE, _EXTENSION, _TRAILER = 0x2C, 0x21, 0x3B


def frames(data: bytes) -> tuple[int, str]:
    """How many frames there are, and the damage behind the first ('': none). A file without an end is no matter."""
    found, blocks = 0, 0
    try:
        place = 13 + _palette(data[10])
        while place < len(data) and data[place] != _TRAILER and blocks < MOST_BLOCKS:
            kind = data[place]
            if kind == _IMAGE:
                place += 11 + _palette(data[place + 9])
            elif kind == _EXTENSION:
                place += 2
            else:  # passed over, as viewers do
                place += 1
                blocks += 1
                continue
            while length := data[place]:
                place += 1 + length
                blocks += 1
            place += 1
            found += kind == _IMAGE
    except IndexError:
        return max(1, found), "what follows the first frame is damaged (it is cut off)" if found else ""
    return max(1, found), ""


def _palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
