"""Parse headers of PNG, TIFF, GIF and EXIF that Pillow handles unsafely: checksums, counts, sizes and orientation."""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL.TiffImagePlugin import COMPRESSION_INFO

from vgglass.errors import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_METADATA_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf")
_EXIF_AS_TEXT, _XMP = b"Raw profile type exif", b"XML:com.adobe.xmp"  # as written by ImageMagick, and by Adobe
_LARGEST_TEXT = 1 << 20
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_INDEXED = 3
MOST_CHUNKS = 100_000  # each costs iterations of Python loops, here and in Pillow


@dataclass(frozen=True)
class Parts:
    """A parsed PNG.

    data   the chunks that Pillow needs
    raw    uncompressed size of the pixels in bytes
    fault  a wrong checksum; '' if none
    """

    data: bytes
    width: int
    height: int
    depth: int
    raw: float
    orientation: int
    fault: str


def read_png(name: str, data: bytes) -> Parts:
    """Parse a PNG. Raises ImageError for a wrong checksum before the image data, which Pillow checks as well."""
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
                tags = tags or _from_hex(_text(kind, body))
            elif keyword == _XMP:
                xmp = xmp or _text(kind, body)
        if kind not in _METADATA_CHUNKS:
            kept.append(data[start:end])
    kept.append(data[place:])
    if len(data) < 29:
        raise ImageError(name, "damaged (it ends within its header)", "replace or remove it")
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    if colour == _INDEXED and b"PLTE" not in kinds:
        raise ImageError(name, "damaged (it has no palette)", "replace or remove it")
    raw = height * (1 + width * depth * _SAMPLES.get(colour, 4) / 8)
    return Parts(b"".join(kept), width, height, depth, raw, orientation(tags, xmp), fault)


def _chunks(name: str, data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of each complete chunk."""
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
    """The text of a chunk after its keyword, at most _LARGEST_TEXT bytes; empty if damaged."""
    rest = body.partition(b"\0")[2]
    packed = kind == b"zTXt" or (kind == b"iTXt" and rest[:1] == b"\x01")
    if kind == b"iTXt":
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]  # after the language and the translated keyword
    elif kind == b"zTXt":
        rest = rest[1:]
    if not packed:
        return rest[:_LARGEST_TEXT]
    try:
        return zlib.decompressobj().decompress(rest, _LARGEST_TEXT)
    except zlib.error:
        return b""


def _from_hex(profile: bytes) -> bytes:
    """Decode ImageMagick's raw profile: a name, a length, then hexadecimal bytes; empty if damaged."""
    try:
        return bytes.fromhex("".join(profile.decode("latin-1").split()[2:]))
    except ValueError:
        return b""


# TIFF directories, checked before Pillow reads them: page count and pixel format. Pillow copies the values of every
# entry, and a small file may reference the same megabyte ten thousand times.

SIGNATURES = (b"II\x2a\0", b"MM\0\x2a", b"II\0\x2a", b"MM\x2a\0", b"II\x2b\0", b"MM\0\x2b")
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # unsigned whole numbers
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, BANDS, MOST, FORMAT = 256, 257, 258, 259, 262, 277, 281, 339
_PIECES = (273, 324)  # offsets of strips and of tiles
MOST_PIECES = 250_000  # each costs an iteration of a loop in Pillow
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
    """Integer values of the first directory by tag, the page count, and damage in the chain of pages ('' if none)."""

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
        """Uncompressed size of the pixels in bytes."""
        return self.first(WIDTH, 0) * self.first(HEIGHT, 0) * self.bands * max(self.bits) / 8

    @property
    def is_slow(self) -> bool:
        return self.first(COMPRESSION, 1) == _LZMA

    @property
    def top(self) -> int:
        """The maximum sample value: white, or black if the photometric interpretation is min-is-white."""
        return self.first(MOST, 2 ** max(self.bits) - 1)

    def strange(self) -> str:
        """Why the pixel format is unsupported, as a phrase for errors; '' if it is supported."""
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
        """Description of a pixel format that Pillow failed to read."""
        bits, bands = max(self.bits), self.bands
        return f"{bands} {'band' if bands == 1 else 'bands'} of {bits} {'bit' if bits == 1 else 'bits'}"


def read_tiff(name: str, data: bytes) -> Header:
    """Parse TIFF directories. Raises ImageError if their values exceed the file, or it has too many strips."""
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
            return Header(tags, 1, "")  # Pillow raises the specific error
        fault = f"what follows the first frame is damaged ({error})"
    return Header(tags, max(1, pages), fault)


# Number of frames of a GIF (GIF89a, 1990).

MOST_BLOCKS = 1_000_000  # each costs an iteration of a Python loop, here and in Pillow
_IMAGE, _EXTENSION, _TRAILER = 0x2C, 0x21, 0x3B


def frames(data: bytes) -> tuple[int, str]:
    """Number of frames, and damage after the first ('' if none). A missing trailer is tolerated."""
    found, blocks = 0, 0
    try:
        place = 13 + _palette_bytes(data[10])
        while place < len(data) and data[place] != _TRAILER and blocks < MOST_BLOCKS:
            kind = data[place]
            if kind == _IMAGE:
                place += 11 + _palette_bytes(data[place + 9])
            elif kind == _EXTENSION:
                place += 2
            else:  # skipped, as viewers do
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


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


# Orientation, the only tag of EXIF (or of XMP, if EXIF has none) that affects pixels. Nothing else is parsed: an EXIF
# directory may reference the same megabyte a thousand times.

PREFIX = b"Exif\0\0"
_TAG, _SHORT, _LONG = 0x0112, 3, 4
_ORDERS = {b"II\x2a\0": "<", b"MM\0\x2a": ">"}
_IN_XMP = re.compile(rb"tiff:Orientation(?:=\"|>)([0-9])")


def orientation(exif: bytes, xmp: bytes = b"") -> int:
    """EXIF orientation, 1 to 8; 1 if missing or damaged."""
    found = _find_orientation(exif.removeprefix(PREFIX))
    if found is None and (match := _IN_XMP.search(xmp)):
        found = int(match[1])
    return found if found is not None and 1 <= found <= 8 else 1


def _find_orientation(tiff: bytes) -> int | None:
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
    except struct.error:  # truncated
        pass
    return None
