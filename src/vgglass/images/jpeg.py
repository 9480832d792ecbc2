"""Parse the segments of a JPEG without decoding pixels (ITU-T T.81), and reduce it to those that decoding needs.

libjpeg rejects a second start of frame, so the first is the one that it decodes. Bytes between segments are skipped,
as in libjpeg.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vgglass.errors import ImageError
from vgglass.images import headers
from vgglass.images.limits import BYTES_A_PIXEL, Cost

SIGNATURE = b"\xff\xd8\xff"
DCT_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive with Huffman coding: support scaled decoding
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_ARITHMETIC = (0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)
_STARTS_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN, _END_OF_IMAGE, _APP0, _APP1, _ADOBE = 0xDA, 0xD9, 0xE0, 0xE1, 0xEE
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})  # Huffman, arithmetic, quantisation, restart interval
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_SCAN_ENDS = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
MOST_SEGMENTS = 10_000  # each costs an iteration of a Python loop, here and in Pillow


@dataclass(frozen=True)
class Header:
    """Header of a JPEG; frame: marker of the start of frame; samples: total processed by all scans."""

    frame: int
    precision: int
    height: int
    width: int
    components: int
    scans: int
    samples: float
    coefficients: float  # kept in memory until the last scan; 0 if there is only one
    orientation: int
    length: int

    @property
    def size(self) -> str:
        scans = f" in {self.scans:,} scans" if self.scans > 1 else ""
        return f"{self.width}x{self.height} pixels{scans}"

    def scaled(self, least: int) -> int:
        """The scale in eighths that simplejpeg chooses: the smallest with both sides >= `least` (or the full side)."""
        if not least:
            return 8
        sides = (self.height, self.width)
        return next(
            eighths for eighths in range(1, 9) if all(-(-side * eighths // 8) >= min(least, side) for side in sides)
        )

    def cost(self, eighths: int, channels: int, *, by_pillow: bool = False) -> Cost:
        """Cost of decoding at a scale of `eighths` to 8 bits, and of resizing the result."""
        out = self.width * self.height * eighths**2 / 64
        small = out * (3 + 4 if channels == 3 else 2)
        rate = 10e6 if self.frame in _ARITHMETIC or self.frame in _LOSSLESS else 80e6 if self.scans == 1 else 30e6
        seconds = self.length / rate + out / 250e6 + (self.samples / 8e8 if self.scans > 1 else 0)
        decoded = out * (BYTES_A_PIXEL if by_pillow else channels)
        return Cost(max(small, self.length + decoded + 2 * self.coefficients), seconds)


def read(name: str, data: bytes) -> Header:
    """Parse the header. Raises ImageError if no frame precedes the first scan, or there are too many segments."""
    frame, tags, xmp, start = None, b"", b"", 0
    for marker, start, end in _segments(name, data):
        body = data[start + 4 : end]
        if marker in _STARTS_OF_FRAME and frame is None:
            frame = (marker, body)
        elif marker == _APP1 and body.startswith(headers.PREFIX):
            tags = tags or body
        elif marker == _APP1 and body.startswith(_XMP):
            xmp = xmp or body
    if frame is None or len(frame[1]) < 6:
        raise ImageError(name, "damaged (no frame is started before its first scan)", "replace or remove it")
    kind, body = frame
    parts = body[6 : 6 + 3 * body[5]]
    factors = {parts[i]: (parts[i + 1] >> 4) * (parts[i + 1] & 15) for i in range(0, len(parts) - 2, 3)}
    most = max([(code >> 4 or 1) for code in parts[1::3]], default=1) * max(
        [(code & 15 or 1) for code in parts[1::3]], default=1
    )
    height, width = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
    share = {component: factor / most for component, factor in factors.items()}
    whole = kind not in _PROGRESSIVE and start and data[start + 4 : start + 5] == body[5:6]
    scans, passed = (1, 1.0) if whole else _scans(name, data, start, share)
    pixels = width * height
    return Header(
        frame=kind,
        precision=body[0],
        height=height,
        width=width,
        components=body[5],
        scans=scans,
        samples=pixels * passed,
        coefficients=0 if whole else pixels * sum(share.values()),
        orientation=headers.orientation(tags, xmp),
        length=len(data),
    )


def bare(name: str, data: bytes) -> bytes:
    """Strip all segments that decoding does not need: EXIF, profiles, comments."""
    kept = [data[:2]]
    for marker, start, end in _segments(name, data):
        if marker == _START_OF_SCAN:
            kept.append(data[start:])
        elif marker in _STARTS_OF_FRAME | _TABLES | {_APP0, _ADOBE}:
            kept.append(data[start:end])
    return b"".join(kept)


def _segments(name: str, data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment, up to and including the first start of scan."""
    offset = 2
    for _ in range(MOST_SEGMENTS):
        found = _MARKER.search(data, offset)
        if found is None or data[found.end() - 1] == _END_OF_IMAGE:
            return
        start, marker = found.start(), data[found.end() - 1]
        if marker in _ALONE:
            offset = start + 2
            continue
        offset = start + 2 + int.from_bytes(data[start + 2 : start + 4])
        yield marker, start, offset
        if marker == _START_OF_SCAN:
            return
    raise _too_many_segments(name)


def _scans(name: str, data: bytes, offset: int, share: dict[int, float]) -> tuple[int, float]:
    """Number of scans, and the samples per pixel that they process in total."""
    scans, passed = 0, 0.0
    for _ in range(MOST_SEGMENTS):
        found = _SCAN_ENDS.search(data, offset)
        if found is None or data[found.end() - 1] == _END_OF_IMAGE:
            return max(1, scans), passed
        marker, start = data[found.end() - 1], found.start()
        if marker == _START_OF_SCAN:
            count = data[start + 4] if start + 4 < len(data) else 0
            scans += 1
            passed += sum(share.get(component, 0) for component in data[start + 5 : start + 5 + 2 * count : 2])
        offset = start + 2 + (0 if marker in _ALONE else int.from_bytes(data[start + 2 : start + 4]))
    raise _too_many_segments(name)


def _too_many_segments(name: str) -> ImageError:
    return ImageError(name, f"has more than {MOST_SEGMENTS:,} segments", "save it anew, or remove it")
