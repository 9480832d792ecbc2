"""A PNG's chunks: their checksums, which way is up, and the file without what has no bearing on the picture.

Pillow refuses a text or a colour profile that inflates to more than a megabyte, however sound the picture is, and
looks at no checksum of the picture's own chunks.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from vgglass.errors import ImageError
from vgglass.images import exif

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LEFT_OUT = (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf")
_EXIF_AS_TEXT, _XMP = b"Raw profile type exif", b"XML:com.adobe.xmp"  # ImageMagick's way, and Adobe's
_LARGEST_TEXT = 1 << 20
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_INDEXED = 3
MOST_CHUNKS = 100_000  # each costs turns of Python loops, here and in Pillow


@dataclass(frozen=True)
class Parts:
    """data is what Pillow is to read; raw the bytes of its pixels before compression; fault a wrong checksum or ''."""

    data: bytes
    width: int
    height: int
    depth: int
    raw: float
    orientation: int
    fault: str


def read(name: str, data: bytes) -> Parts:
    """Raises ImageError where a checksum is wrong that Pillow too would look at: those before the picture."""
    kept, fault, place, kinds = [data[: len(SIGNATURE)]], "", len(SIGNATURE), set()
    tags = xmp = b""
    for kind, start, end in _chunks(name, data):
        kinds.add(kind)
        place = end
        if zlib.crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            fault = fault or f"the checksum of its chunk {kind.decode('latin-1')} is wrong"
            if b"IDAT" not in kinds:
                raise ImageError(name, f"damaged ({fault})", "replace or remove it")
        body = data[start + 8 : end - 4]
        if kind == b"eXIf":
            tags = tags or body
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            keyword = body.partition(b"\0")[0]
            if keyword == _EXIF_AS_TEXT:
                tags = tags or _unhexed(_text(kind, body))
            elif keyword == _XMP:
                xmp = xmp or _text(kind, body)
        if kind not in _LEFT_OUT:
            kept.append(data[start:end])
    kept.append(data[place:])
    if len(data) < 29:
        raise ImageError(name, "damaged (it ends within its header)", "replace or remove it")
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    if colour == _INDEXED and b"PLTE" not in kinds:
        raise ImageError(name, "damaged (it has no palette)", "replace or remove it")
    raw = height * (1 + width * depth * _SAMPLES.get(colour, 4) / 8)
    return Parts(b"".join(kept), width, height, depth, raw, exif.orientation(tags, xmp), fault)


def _chunks(name: str, data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each whole chunk up to the last."""
    place = len(SIGNATURE)
    for _ in range(MOST_CHUNKS):
        if place + 12 > len(data):
            return
        kind, end = data[place + 4 : place + 8], place + 12 + int.from_bytes(data[place : place + 4])
        if end > len(data):
            return
        yield kind, place, end
        if kind == b"IEND":
            return
        place = end
    raise ImageError(name, f"has more than {MOST_CHUNKS:,} chunks", "save it anew, or remove it")


def _text(kind: bytes, body: bytes) -> bytes:
    """The text behind a chunk's keyword; empty where it is damaged or too large to be about a picture."""
    rest = body.partition(b"\0")[2]
    packed = kind == b"zTXt" or (kind == b"iTXt" and rest[:1] == b"\x01")
    if kind == b"iTXt":
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]  # behind the language and the translated keyword
    elif kind == b"zTXt":
        rest = rest[1:]
    if not packed:
        return rest[:_LARGEST_TEXT]
    try:
        return zlib.decompressobj().decompress(rest, _LARGEST_TEXT)
    except zlib.error:
        return b""


def _unhexed(profile: bytes) -> bytes:
    """ImageMagick's profile: a name, a length, then the bytes in hexadecimal."""
    try:
        return bytes.fromhex("".join(profile.decode("latin-1").split()[2:]))
    except ValueError:
        return b""
