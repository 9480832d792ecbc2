"""A TIFF's directories, before Pillow reads them: their pages, and what kind of pixels they declare.

Pillow copies every entry's values, and a small file may name the same megabyte ten thousand times.
"""

import struct
from dataclasses import dataclass

from PIL.TiffImagePlugin import COMPRESSION_INFO

from vgglass.errors import ImageError

SIGNATURES = (b"II\x2a\0", b"MM\0\x2a", b"II\0\x2a", b"MM\x2a\0", b"II\x2b\0", b"MM\0\x2b")
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # unsigned whole numbers
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, BANDS, MOST, FORMAT = 256, 257, 258, 259, 262, 277, 281, 339
_PIECES = (273, 324)  # offsets of strips and of tiles
MOST_PIECES = 250_000  # each costs a turn of Pillow's loop
MOST_PAGES = 10_000
MIN_IS_WHITE = 0
_SIGNED, _FLOAT, _COMPLEX = 2, 3, (5, 6)
_KINDS = {4: "a mask", 9: "ICC L*a*b*", 10: "ITU L*a*b*", 32803: "a sensor's mosaic (raw)", 34892: "linear raw",
          32844: "logarithmic luminance", 32845: "logarithmic luminance and colour"}  # fmt: skip
_PLAIN = frozenset({0, 1, 2, 3, 5, 6, 8})  # grey, RGB, palette, CMYK, YCbCr, CIE L*a*b*
UNCOMPRESSED = 1
_SEPARATED, _YCBCR, _SUBSAMPLING, _INK_SET, _CMYK = 5, 6, 530, 332, 1
_LZMA = 34925
REMEDY = "save it with 8 bits a channel, as grey or RGB"


@dataclass(frozen=True)
class Header:
    """The first directory's whole numbers, by tag, and the count of pages; fault where the chain of pages breaks."""

    tags: dict[int, tuple[int, ...]]
    pages: int
    fault: str

    def first(self, tag: int, default: int) -> int:
        return self.tags.get(tag, (default,))[0]

    @property
    def bits(self) -> tuple[int, ...]:
        return self.tags.get(BITS, (1,))

    @property
    def bands(self) -> int:
        return max(len(self.bits), self.first(BANDS, 1))

    @property
    def raw(self) -> float:
        """Bytes of the pixels before compression."""
        return self.first(WIDTH, 0) * self.first(HEIGHT, 0) * self.bands * max(self.bits) / 8

    @property
    def is_slow(self) -> bool:
        return self.first(COMPRESSION, 1) == _LZMA

    @property
    def top(self) -> int:
        """The value of full light, or of none where the least is white."""
        return self.first(MOST, 2 ** max(self.bits) - 1)

    def strange(self) -> str:
        """Why its pixels have no plain meaning as light, in words; '' where they may have one."""
        kinds = self.tags.get(FORMAT, (1,))
        packing = self.first(COMPRESSION, UNCOMPRESSED)
        bits, photometric = max(self.bits), self.first(PHOTOMETRIC, MIN_IS_WHITE)
        if _FLOAT in kinds:
            return "floating-point pixels"
        if _SIGNED in kinds:
            return "signed pixels"
        if set(_COMPLEX) & set(kinds):
            return "complex pixels"
        if photometric not in _PLAIN:
            return f"pixels of another kind: {_KINDS.get(photometric, f'photometric interpretation {photometric}')}"
        if photometric == _YCBCR and packing == UNCOMPRESSED and self.tags.get(_SUBSAMPLING, (2, 2)) != (1, 1):
            return "uncompressed YCbCr with subsampled colour"
        if photometric == _SEPARATED and self.first(_INK_SET, _CMYK) != _CMYK:
            return "inks other than CMYK"
        if packing not in COMPRESSION_INFO:
            return f"a compression that is not read, number {packing}"
        if len(set(self.bits)) > 1:
            return f"bands of different depths: {', '.join(map(str, self.bits))} bits"
        if bits > 16:
            return f"{bits}-bit pixels, which have no fixed range"
        return ""

    def unread(self) -> str:
        """What there is to say of a kind of pixels that Pillow turned out not to read."""
        bits, bands = max(self.bits), self.bands
        return f"{bands} {'band' if bands == 1 else 'bands'} of {bits} {'bit' if bits == 1 else 'bits'}"


def read(name: str, data: bytes) -> Header:
    """Raises ImageError for directories that hold more than the file, or strips beyond counting."""
    order = "<" if data[:2] == b"II" else ">"
    big = 0x2B in data[2:4]
    offset = struct.Struct(order + ("Q" if big else "I"))
    count = struct.Struct(order + ("Q" if big else "H"))
    entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
    tags: dict[int, tuple[int, ...]] = {}
    pages, held, seen, fault = 0, 0, set(), ""
    try:
        (place,) = offset.unpack_from(data, 8 if big else 4)
        while place and place not in seen and pages < MOST_PAGES:
            seen.add(place)
            (number,) = count.unpack_from(data, place)
            start, end = place + count.size, place + count.size + number * entry.size
            if end > len(data):
                raise struct.error("a directory ends beyond the file")
            for tag, kind, values, inline in entry.iter_unpack(data[start:end]):
                size = _SIZES.get(kind, 0) * values
                held += size if size > offset.size else 0
                if held > 2 * len(data):
                    raise ImageError(name, "damaged (its tags hold more than the file)", "replace or remove it")
                if tag in _PIECES and values > MOST_PIECES:
                    raise ImageError(name, f"is cut into {values:,} pieces, more than {MOST_PIECES:,}", "save it anew")
                if pages == 0 and kind in _CODES and values <= 64:
                    held_at = (data, *offset.unpack(inline)) if size > offset.size else (inline, 0)
                    tags[tag] = struct.unpack_from(f"{order}{values}{_CODES[kind]}", *held_at) or (0,)
            pages += 1
            place = offset.unpack_from(data, end)[0] if end + offset.size <= len(data) else 0
    except struct.error as error:
        if pages == 0:
            return Header(tags, 1, "")  # Pillow says what is wrong with it
        fault = f"what follows the first frame is damaged ({error})"
    return Header(tags, max(1, pages), fault)
