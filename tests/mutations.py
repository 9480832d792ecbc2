"""Damaged and odd images without end, the same ones every time: number n is made of n alone.

Seeds of every format and way of coding that vgglass reads, small (at most 128 pixels a side); each number takes a seed
and a mutation in turn and draws the rest from its own generator.
"""

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image

Bytes = Callable[[bytes, np.random.Generator], bytes]

FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)  # start-of-frame markers
HUGE = (0, 1, 255, 4_000, 30_000, 65_535)
HUGER = (*HUGE, 79_000_000, 2**31 - 1, 2**31, 2**32 - 1)
TIFF_COMPRESSIONS = ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "zstd", "lzma")


def image(number: int) -> tuple[str, bytes]:
    """A name that tells how it was made, and the file's bytes."""
    generator = np.random.default_rng((18, number))
    found = sources()
    seed = sorted(found)[number % len(found)]
    mutation = sorted(MUTATIONS)[number // len(found) % len(MUTATIONS)]
    data = MUTATIONS[mutation](found[seed], generator)
    return f"{number:05}-{seed}-{mutation}.{seed.split('_')[0]}", data


@cache
def sources() -> dict[str, bytes]:
    """Sound files by the way that they are coded, the suffix first."""
    y, x = np.mgrid[:61, :83]
    noise = np.random.default_rng(0).integers(0, 40, (61, 83, 4))
    pixels = (np.stack([2 * x, 3 * y, x + y, 255 - x], axis=-1) + noise).clip(0, 255).astype(np.uint8)
    rgba = Image.fromarray(pixels)
    rgb, grey = rgba.convert("RGB"), rgba.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    frames = [rgb.rotate(angle) for angle in (30, 60)]
    jpeg = _saved(rgb, "JPEG", quality=80)
    found = {
        "jpg": jpeg,
        "jpg_progressive": _saved(rgb, "JPEG", progressive=True),
        "jpg_grey": _saved(grey, "JPEG"),
        "jpg_cmyk": _saved(rgb.convert("CMYK"), "JPEG"),
        "jpg_420_restarts": _saved(rgb, "JPEG", subsampling=2, restart_marker_rows=1),
        "jpg_exif": _saved(rgb, "JPEG", exif=_turned()),
        "png": _saved(rgb, "PNG"),
        "png_alpha": _saved(rgba, "PNG"),
        "png_palette": _saved(rgb.quantize(40), "PNG", transparency=3),
        "png_1bit": _saved(rgb.convert("1"), "PNG"),
        "png_16": _saved(deep, "PNG"),
        "png_interlaced": _interlaced(np.asarray(rgb)),
        "png_text": _saved(rgb, "PNG", exif=_turned(), dpi=(72, 72)),
        "webp": _saved(rgb, "WEBP"),
        "webp_lossless": _saved(rgba, "WEBP", lossless=True),
        "webp_animated": _saved(rgb, "WEBP", save_all=True, append_images=frames),
        "gif": _saved(rgb.quantize(60), "GIF"),
        "gif_animated": _saved(rgb, "GIF", save_all=True, append_images=frames, transparency=2),
        "bmp": _saved(rgb, "BMP"),
        "bmp_palette": _saved(rgb.quantize(200), "BMP"),
        "bmp_1bit": _saved(rgb.convert("1"), "BMP"),
        "tif_16": _saved(deep, "TIFF"),
        "tif_alpha": _saved(rgba, "TIFF", compression="tiff_lzw"),
        "tif_cmyk": _saved(rgb.convert("CMYK"), "TIFF"),
        "tif_1bit_g4": _saved(rgb.convert("1"), "TIFF", compression="group4"),
        "tif_1bit_g3": _saved(rgb.convert("1"), "TIFF", compression="group3"),
        "tif_palette": _saved(rgb.quantize(60), "TIFF"),
    }
    for marker in (0xC1, 0xC3, 0xC5, 0xC9, 0xCA, 0xCB, 0xCF):  # lossless, hierarchical, arithmetic, in name at least
        found[f"jpg_sof{marker:x}"] = jpeg.replace(b"\xff\xc0", bytes((0xFF, marker)), 1)
    for compression in TIFF_COMPRESSIONS:
        found[f"tif_{compression}"] = _saved(rgb, "TIFF", compression=compression)
    return found


def _flipped(data: bytes, generator: np.random.Generator) -> bytes:
    """One to eight bits."""
    found = bytearray(data)
    for place in generator.integers(0, len(data), generator.integers(1, 9)):
        found[place] ^= 1 << int(generator.integers(8))
    return bytes(found)


def _head_flipped(data: bytes, generator: np.random.Generator) -> bytes:
    """Bits of the first hundred bytes, where most of what is declared stands."""
    head = min(len(data), 100)
    return _flipped(data[:head], generator) + data[head:]


def _cut(data: bytes, generator: np.random.Generator) -> bytes:
    return data[: int(generator.integers(0, len(data)))]


def _cut_near_the_end(data: bytes, generator: np.random.Generator) -> bytes:
    return data[: -int(generator.integers(1, 40))]


def _left_out(data: bytes, generator: np.random.Generator) -> bytes:
    start, length = int(generator.integers(0, len(data))), int(generator.integers(1, 60))
    return data[:start] + data[start + length :]


def _repeated(data: bytes, generator: np.random.Generator) -> bytes:
    """A piece once more, or many times."""
    start, length = int(generator.integers(0, len(data))), int(generator.integers(1, 200))
    times = int(generator.choice([1, 1, 5, 300]))
    return data[:start] + data[start : start + length] * times + data[start:]


def _noise(data: bytes, generator: np.random.Generator) -> bytes:
    start, length = int(generator.integers(0, len(data))), int(generator.integers(1, 100))
    return data[:start] + generator.bytes(length) + data[start + length :]


def _zeros(data: bytes, generator: np.random.Generator) -> bytes:
    start, length = int(generator.integers(0, len(data))), int(generator.integers(1, 100))
    return data[:start] + bytes(length) + data[start + length :]


def _extreme_numbers(data: bytes, generator: np.random.Generator) -> bytes:
    """A number of two or four bytes somewhere, in either order, that is as large or as small as can be."""
    place, order = int(generator.integers(0, max(1, min(len(data), 400) - 4))), str(generator.choice(["<", ">"]))
    if generator.integers(2):
        return data[:place] + struct.pack(f"{order}H", generator.choice(HUGE)) + data[place + 2 :]
    return data[:place] + struct.pack(f"{order}I", generator.choice(HUGER)) + data[place + 4 :]


def _other_sizes(data: bytes, generator: np.random.Generator) -> bytes:
    """Other declared sides, the checksum of a PNG's header mended."""
    width, height = (int(generator.choice([*HUGE, 60, 84, 128, 8_000])) for _ in range(2))
    if data.startswith(b"\xff\xd8"):
        frame = next((data.find(bytes((0xFF, m))) for m in FRAMES if data.find(bytes((0xFF, m))) > 0), 0)
        return data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]
    if data.startswith(b"\x89PNG"):
        header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    if data.startswith(b"GIF8"):
        return data[:6] + struct.pack("<HH", width, height) + data[10:]
    if data.startswith(b"BM"):
        return data[:18] + struct.pack("<ii", width, height * int(generator.choice([1, -1]))) + data[26:]
    if data.startswith(b"RIFF"):
        return data[:24] + struct.pack("<HH", width, height) + data[28:]
    return _tags_changed(data, generator, (256, 257))


def _tags_changed(data: bytes, generator: np.random.Generator, tags: tuple[int, ...]) -> bytes:
    """The values of some tags of a TIFF's first directory."""
    if data[:4] != b"II*\0":
        return _extreme_numbers(data, generator)
    found = bytearray(data)
    start = struct.unpack_from("<I", data, 4)[0]
    for entry in range(struct.unpack_from("<H", data, start)[0]):
        place = start + 2 + 12 * entry
        if struct.unpack_from("<H", data, place)[0] in tags and generator.integers(2):
            struct.pack_into("<I", found, place + 8, int(generator.choice([*HUGER, 2, 3, 8, 16, 32, 64, 128, 5_000])))
    return bytes(found)


def _header_values(data: bytes, generator: np.random.Generator) -> bytes:
    """A TIFF's bits, compression, interpretation, samples, rows a strip, layout, predictor; a PNG's depth and kind."""
    if data.startswith(b"\x89PNG"):
        kinds = bytes(int(generator.choice([0, 1, 2, 3, 4, 6, 8, 16, 32])) for _ in range(2))
        header = data[12:24] + kinds + data[26:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    return _tags_changed(data, generator, (258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 323, 338, 339))


def _other_frame(data: bytes, generator: np.random.Generator) -> bytes:
    """Every start-of-frame marker in the place of a JPEG's own, or a second frame after it."""
    frame = next((data.find(bytes((0xFF, m))) for m in FRAMES if data.find(bytes((0xFF, m))) > 0), 0)
    if not data.startswith(b"\xff\xd8") or not frame:
        return _spliced(data, generator)
    marker = bytes((0xFF, int(generator.choice(FRAMES))))
    segment = marker + data[frame + 2 : frame + 2 + struct.unpack_from(">H", data, frame + 2)[0]]
    if generator.integers(4) == 0:
        return data[:frame] + segment + data[frame:]
    return data[:frame] + marker + data[frame + 2 :]


def _scans_repeated(data: bytes, generator: np.random.Generator) -> bytes:
    """A JPEG's last scan many times; the frames of other formats, or their chunks, as bytes."""
    start, times = data.rfind(b"\xff\xda"), int(generator.choice([1, 10, 300, 3_000]))
    if not data.startswith(b"\xff\xd8") or start < 0:
        return _repeated(data, generator)
    scan = data[start:-2]
    return data[:start] + scan * min(times, 2_000_000 // len(scan)) + data[-2:]


def _spliced(data: bytes, generator: np.random.Generator) -> bytes:
    """The beginning of one file and the rest of another."""
    other = list(sources().values())[int(generator.integers(len(sources())))]
    if generator.integers(2):
        return data + other
    return data[: int(generator.integers(4, len(data)))] + other[int(generator.integers(0, len(other))) :]


def _foreign_head(data: bytes, generator: np.random.Generator) -> bytes:
    """The first bytes of another format."""
    other = list(sources().values())[int(generator.integers(len(sources())))]
    head = int(generator.choice([2, 4, 8, 16, 33]))
    return other[:head] + data[head:]


def _checksums_mended(data: bytes, generator: np.random.Generator) -> bytes:
    """Bits flipped in a PNG's chunks that then have right checksums; in other formats like any."""
    if not data.startswith(b"\x89PNG"):
        return _flipped(data, generator)
    found, place = [data[:8]], 8
    while place + 12 <= len(data):
        length = struct.unpack_from(">I", data, place)[0]
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        if body and generator.integers(2):
            body = _flipped(body, generator)
        found.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
        place += 12 + length
    return b"".join(found)


def _as_it_is(data: bytes, generator: np.random.Generator) -> bytes:
    """Sound, but for what lies behind the end."""
    return data + generator.bytes(int(generator.choice([0, 1, 1000])))


MUTATIONS: dict[str, Bytes] = {
    "bits": _flipped, "head": _head_flipped, "cut": _cut, "end": _cut_near_the_end, "out": _left_out,
    "again": _repeated, "noise": _noise, "zeros": _zeros, "numbers": _extreme_numbers, "sizes": _other_sizes,
    "values": _header_values, "frame": _other_frame, "scans": _scans_repeated, "splice": _spliced,
    "foreign": _foreign_head, "mended": _checksums_mended, "sound": _as_it_is,
}  # fmt: skip


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _interlaced(pixels: np.ndarray) -> bytes:
    """Adam7 (PNG, section 8.2), which Pillow reads and does not write."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = [
        b"\0" + row.tobytes() for top, left, down, right in passes for row in pixels[top::down, left::right] if row.size
    ]
    height, width = pixels.shape[:2]
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)),
        (b"IDAT", zlib.compress(b"".join(rows))),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
