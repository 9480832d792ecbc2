"""Which way is up: the one tag of EXIF (and of XMP, where EXIF has none) that pixels depend on.

Nothing else of them is read: a directory of EXIF may name the same megabyte a thousand times.
"""

import re
import struct

PREFIX = b"Exif\0\0"
_TAG, _SHORT, _LONG = 0x0112, 3, 4
_ORDERS = {b"II\x2a\0": "<", b"MM\0\x2a": ">"}
_IN_XMP = re.compile(rb"tiff:Orientation(?:=\"|>)([0-9])")


def orientation(exif: bytes, xmp: bytes = b"") -> int:
    """EXIF's orientation: 1 to 8, or 1 where there is none or it is damaged."""
    found = _in_directory(exif.removeprefix(PREFIX))
    if found is None and (match := _IN_XMP.search(xmp)):
        found = int(match[1])
    return found if found is not None and 1 <= found <= 8 else 1


def _in_directory(tiff: bytes) -> int | None:
    order = _ORDERS.get(tiff[:4])
    try:
        if order is None:
            return None
        (place,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, place)
        for entry in range(place + 2, place + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", tiff, entry)
            if tag == _TAG and kind in (_SHORT, _LONG):
                return int(struct.unpack_from(order + ("H" if kind == _SHORT else "I"), tiff, entry + 8)[0])
    except struct.error:  # cut off
        pass
    return None
