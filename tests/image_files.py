"""Image files made byte by byte: kinds that no library here writes."""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from PIL import Image

_CODES = {1: "B", 3: "H", 4: "I"}


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, depth: int, colour_type: int, rows: bytes, before: bytes = b"", after: bytes = b""
) -> bytes:
    """A PNG of rows that each begin with their filter; further chunks before and after the picture's."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    picture = before + chunk(b"IDAT", zlib.compress(rows)) + after
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + picture + chunk(b"IEND", b"")


def tiff(
    width: int,
    height: int,
    bits: Sequence[int],
    photometric: int,
    data: bytes,
    order: str = "<",
    tags: dict[int, Sequence[int]] | None = None,
) -> bytes:
    """An uncompressed TIFF of one strip; `tags` adds or replaces SHORT values."""
    shorts = {258: bits, 259: [1], 262: [photometric], 277: [len(bits)], **(tags or {})}
    longs = {256: [width], 257: [height], 273: [0], 278: [height], 279: [len(data)]}
    entries = sorted([(tag, 3, values) for tag, values in shorts.items()] + [(tag, 4, v) for tag, v in longs.items()])
    place = 8 + 2 + 12 * len(entries) + 4
    beyond, directory = b"", b""
    strip = place + sum(len(_packed(order, kind, values)) for _, kind, values in entries if len(values) * kind > 6)
    for tag, kind, values in entries:
        raw = _packed(order, kind, [strip] if tag == 273 else values)
        if len(raw) > 4:
            raw, beyond = struct.pack(order + "I", place + len(beyond)), beyond + raw
        directory += struct.pack(order + "HHI", tag, kind, len(values)) + raw.ljust(4, b"\0")
    head = (b"II\x2a\0" if order == "<" else b"MM\0\x2a") + struct.pack(order + "IH", 8, len(entries))
    return head + directory + bytes(4) + beyond + data


def _packed(order: str, kind: int, values: Sequence[int]) -> bytes:
    return struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values)
