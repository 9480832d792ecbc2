"""One decoder: the same pixels as the references for sound files, and ImageError alone for the rest."""

import io
import os
import random
import re
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps

from vgglass import images
from vgglass.errors import ImageError
from vgglass.images import decode, jpeg

ORIENTATION_TAG = 0x0112
NOISE = np.random.default_rng(0).integers(0, 256, (23, 31, 3), dtype=np.uint8)
PICTURE = Image.fromarray(NOISE)


def encode(picture: Image.Image, format: str, **options: Any) -> bytes:  # noqa: A002 (Pillow's word)
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def opened(data: bytes | bytearray) -> Image.Image:
    return Image.open(io.BytesIO(data))


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return exif


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


SAMPLES = {
    "jpeg": encode(PICTURE, "JPEG", exif=turned(6)),
    "progressive": encode(PICTURE, "JPEG", progressive=True),
    "cmyk": encode(PICTURE.convert("CMYK"), "JPEG"),
    "mpo": encode(PICTURE, "MPO", save_all=True, append_images=[PICTURE]),
    "png": encode(PICTURE, "PNG", exif=turned(3)),
    "palette": encode(PICTURE.convert("P"), "PNG", transparency=3),
    "webp": encode(PICTURE, "WEBP", exif=turned(8)),
    "lossless": encode(PICTURE.convert("RGBA"), "WEBP", lossless=True),
    "bmp": encode(PICTURE, "BMP"),
    "gif": encode(PICTURE.convert("P"), "GIF"),
    "tiff": encode(PICTURE, "TIFF", exif=turned(5)),
    "lzw": encode(PICTURE, "TIFF", compression="tiff_lzw"),
}


# Sound files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_the_pixels_back(format: str, tmp_path: Path) -> None:  # noqa: A002
    path = tmp_path / "picture"
    PICTURE.save(path, format)
    pixels = decode(path)
    np.testing.assert_array_equal(pixels, NOISE)
    np.testing.assert_array_equal(decode(path.read_bytes()), NOISE)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("name", ["progressive", "cmyk", "lossless", "palette", "gif", "lzw"])
def test_the_others_equal_pillows_rgb(name: str) -> None:
    reference = opened(SAMPLES[name])
    white = Image.new("RGBA", reference.size, "white")
    expected = Image.alpha_composite(white, reference.convert("RGB" if name == "cmyk" else "RGBA").convert("RGBA"))
    np.testing.assert_array_equal(decode(SAMPLES[name]), expected.convert("RGB"))


def test_jpeg_equals_simplejpegs_and_pillows_decode() -> None:
    data = encode(PICTURE, "JPEG", quality=90)
    np.testing.assert_array_equal(decode(data), simplejpeg.decode_jpeg(data))
    assert np.abs(decode(data).astype(int) - np.asarray(opened(data))).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("format", "mode", "options"),
    [
        ("JPEG", "RGB", {"quality": 95}),
        ("JPEG", "L", {"quality": 95}),
        ("JPEG", "CMYK", {"quality": 95}),
        ("MPO", "RGB", {"quality": 95, "save_all": True, "append_images": [PICTURE]}),
        ("PNG", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("TIFF", "RGB", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_every_orientation_comes_out_upright(orientation: int, format: str, mode: str, options: dict[str, Any]) -> None:  # noqa: A002
    data = encode(PICTURE.convert(mode), format, exif=turned(orientation), **options)
    expected = np.asarray(ImageOps.exif_transpose(opened(data)).convert("RGB"))
    pixels = decode(data)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= (2 if format in ("JPEG", "MPO") else 0)
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_out_of_range_is_upright(orientation: int) -> None:
    np.testing.assert_array_equal(decode(encode(PICTURE, "PNG", exif=turned(orientation))), NOISE)


def test_damaged_exif_leaves_the_pixels() -> None:
    plain = encode(PICTURE, "JPEG")
    exif = b"Exif\0\0MM\0\x2a\xff\xff\xff\xff"
    damaged = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
    np.testing.assert_array_equal(decode(damaged), decode(plain))


SIXTEEN_BITS = np.array([[0, 65535, 32768], [257, 128, 129]], np.uint16)
EIGHT_BITS = [[0, 255, 128], [1, 0, 1]]  # value * 255 / 65535, rounded: 32768 is 127.502, 128 is 0.498, 129 is 0.502


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_grey_is_scaled_to_the_nearest(format: str, channels: int) -> None:  # noqa: A002
    pixels = decode(encode(Image.fromarray(SIXTEEN_BITS), format), channels=channels)
    np.testing.assert_array_equal(pixels, np.repeat(np.array(EIGHT_BITS)[..., None], channels, axis=2))


def test_16_bit_big_endian_tiff() -> None:
    data = encode(Image.fromarray(SIXTEEN_BITS.astype(">u2")), "TIFF")
    assert data[:2] == b"MM"
    np.testing.assert_array_equal(decode(data, channels=1)[..., 0], EIGHT_BITS)


def test_16_bit_colour_keeps_the_upper_byte() -> None:
    row = struct.pack(">6H", 0, 65535, 32768, 257, 0x80FF, 0x12FF)
    pixels = decode(png(2, 1, 16, 2, b"\0" + row))
    np.testing.assert_array_equal(pixels, [[[0, 255, 128], [1, 128, 18]]])


def test_palette_without_transparency() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putdata([1, 0])
    np.testing.assert_array_equal(decode(encode(picture, "PNG")), [[[200, 100, 50], [10, 20, 30]]])


def test_palette_with_transparency_shows_the_background() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putdata([1, 0])
    data = encode(picture, "PNG", transparency=0)
    np.testing.assert_array_equal(decode(data, background=(1, 2, 3)), [[[200, 100, 50], [1, 2, 3]]])


def test_transparent_colour_of_rgb_shows_the_background() -> None:
    data = encode(Image.fromarray(np.array([[[9, 9, 9], [8, 8, 8]]], np.uint8)), "PNG", transparency=(9, 9, 9))
    np.testing.assert_array_equal(decode(data), [[[255, 255, 255], [8, 8, 8]]])


def test_one_bit() -> None:
    data = encode(Image.fromarray(np.array([[True, False]])), "PNG")
    np.testing.assert_array_equal(decode(data, channels=1)[..., 0], [[255, 0]])
    np.testing.assert_array_equal(decode(data)[0, 0], [255, 255, 255])


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_partial_alpha_by_hand(format: str) -> None:  # noqa: A002
    """Alpha 51 is a fifth: 200 * 1/5 + 255 * 4/5 = 244 on white, 200 * 1/5 + 100 * 4/5 = 120 on 100."""
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    data = encode(Image.new("RGBA", (1, 1), (200, 0, 100, 51)), format, **options)
    np.testing.assert_array_equal(decode(data), [[[244, 204, 224]]])
    np.testing.assert_array_equal(decode(data, background=(100, 50, 0)), [[[120, 40, 20]]])


def test_grey_with_alpha_by_hand() -> None:
    data = encode(Image.new("LA", (1, 1), (200, 51)), "PNG")
    np.testing.assert_array_equal(decode(data, channels=1), [[[244]]])
    np.testing.assert_array_equal(decode(data, background=(100, 50, 0)), [[[120, 80, 40]]])


def test_grey_to_three_channels_and_colour_to_one() -> None:
    grey = encode(Image.new("L", (2, 3), 77), "PNG")
    np.testing.assert_array_equal(decode(grey), np.full((3, 2, 3), 77))
    colour = encode(Image.new("RGB", (1, 1), (100, 200, 50)), "PNG")
    np.testing.assert_array_equal(decode(colour, channels=1), [[[153]]])  # 0.299 R + 0.587 G + 0.114 B = 153.0
    for mode, expected in (("L", 77), ("RGB", 153)):
        picture = Image.new(mode, (16, 16), 77 if mode == "L" else (100, 200, 50))
        for channels in (1, 3):
            pixels = decode(encode(picture, "JPEG", quality=100), channels=channels)
            assert pixels.shape == (16, 16, channels)
            assert abs(int(pixels.mean(axis=2)[0, 0]) - (expected if channels == 1 or mode == "L" else 350 / 3)) <= 2


@pytest.mark.parametrize("format", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_frame_or_page(format: str) -> None:  # noqa: A002
    first, second = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(first, format, save_all=True, append_images=[second], **options)
    assert getattr(opened(data), "n_frames", 1) == 2
    np.testing.assert_array_equal(decode(data), first)


@pytest.mark.parametrize("least", [1, 100, 150, 151, 300, 301, 700, 1200])
@pytest.mark.parametrize(
    ("format", "height", "width", "orientation"),
    [("JPEG", 1200, 1600, 6), ("JPEG", 1600, 1200, 1), ("MPO", 1200, 1600, 1)],
)
def test_least_bounds_the_scaled_decode(least: int, format: str, height: int, width: int, orientation: int) -> None:  # noqa: A002
    rows, columns = np.mgrid[:height, :width]
    smooth = Image.fromarray(np.stack([rows // 7, columns // 7, (rows + columns) // 12], axis=2).astype(np.uint8))
    more = {"save_all": True, "append_images": [PICTURE]} if format == "MPO" else {}
    data = encode(smooth, format, quality=95, exif=turned(orientation), **more)
    full, scaled = decode(data), decode(data, least=least)
    eighths = -(-least * 8 // 1200)
    assert min(scaled.shape[:2]) == 150 * eighths >= least
    height, width = scaled.shape[:2]
    reference = Image.fromarray(full).resize((width, height), Image.Resampling.BOX)
    assert np.abs(scaled.astype(int) - np.asarray(reference)).max() <= 4


def test_least_never_enlarges() -> None:
    assert decode(SAMPLES["progressive"], least=1000).shape == (23, 31, 3)


def test_threads_see_the_same_pixels() -> None:
    expected = {name: decode(data) for name, data in SAMPLES.items()}
    with ThreadPoolExecutor(8) as pool:
        for name, pixels in pool.map(lambda name: (name, decode(SAMPLES[name])), list(SAMPLES) * 20):
            np.testing.assert_array_equal(pixels, expected[name])


def test_every_suffix_has_a_format() -> None:
    registered = Image.registered_extensions()
    formats = dict.fromkeys(images.FORMATS)
    expected = {suffix: "BMP" if kind == "DIB" else kind for suffix, kind in registered.items()}
    assert {suffix: kind for suffix, kind in expected.items() if suffix in images.SUFFIXES} == images.FORMAT_OF
    assert set(images.FORMAT_OF.values()) == set(formats)


# Everything else -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty; replace or remove it"),
        (
            b"This is a text file.\n" * 10,
            r"not an image that vgglass reads \(JPEG, PNG, WEBP, BMP, GIF, TIFF, AVIF, JPEG2000, TGA\)",
        ),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='8' height='8'/>", "not an image that vgglass reads"),
        (encode(PICTURE, "PPM"), "not an image that vgglass reads"),
        (encode(PICTURE, "ICO"), "not an image that vgglass reads"),
        (encode(PICTURE, "TGA")[:-26], "not an image that vgglass reads"),
        (encode(PICTURE, "PDF"), "not an image that vgglass reads"),
    ],
    ids=["empty", "text", "svg", "ppm", "ico", "tga 1.0", "pdf"],
)
def test_what_is_no_image_is_refused_by_its_name(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "named.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=f"^{re.escape(str(path))}: {message}"):
        decode(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no\.jpg: No such file or directory; check the path and its permissions"):
        decode(tmp_path / "no.jpg")
    with pytest.raises(ImageError, match="Is a directory; check the path"):
        decode(tmp_path)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged tags as well
@pytest.mark.parametrize("name", SAMPLES)
def test_a_truncated_file_is_refused_wherever_it_ends(name: str) -> None:
    data = SAMPLES[name]
    end = len(data)
    if name == "mpo":  # a sound first picture is all that is asked of it
        end = data.index(b"\xff\xd9\xff\xd8")
    for length in range(0, int(end * 0.97), max(1, len(data) // 200)):
        with pytest.raises(ImageError):
            decode(data[:length])


def test_a_truncated_file_says_so() -> None:
    for name in ("jpeg", "png"):
        with pytest.raises(ImageError, match=r"image: damaged \(.*(?i:truncated).*\); replace or remove it"):
            decode(SAMPLES[name][: len(SAMPLES[name]) // 2])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SAMPLES)
def test_flipped_bytes_give_pixels_or_an_image_error(name: str) -> None:
    generator = random.Random(name)
    outcomes = {"pixels": 0, "error": 0}
    for _ in range(400):
        data = bytearray(SAMPLES[name])
        reach = min(len(data), generator.choice((40, 200, len(data))))
        for _ in range(generator.choice((1, 2, 5, 20))):
            data[generator.randrange(reach)] = generator.randrange(256)
        try:
            pixels = decode(bytes(data), channels=generator.choice((1, 3)), least=generator.choice((0, 8)))
        except ImageError:
            outcomes["error"] += 1
        else:
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            outcomes["pixels"] += 1
    assert outcomes["error"] > 0
    assert outcomes["pixels"] > 0 or name == "palette"  # every chunk of a PNG has a checksum


def test_a_jpeg_that_simplejpeg_refuses_and_pillow_reads() -> None:
    odd = bytearray(SAMPLES["progressive"])
    odd[11] = 30  # the major version of JFIF: 30.01 is unheard of, and says nothing about the pixels
    with pytest.raises(ValueError, match=r"unknown JFIF revision number 30\.01"):
        simplejpeg.decode_jpeg(bytes(odd))
    np.testing.assert_array_equal(decode(bytes(odd)), np.asarray(opened(odd)))


FAULTS = Path(__file__).parents[2] / "shared" / "data" / "faults"


def patched(data: bytes, marker: int) -> bytes:
    """A baseline JPEG that says it is of another kind of frame."""
    return data.replace(b"\xff\xc0", bytes([0xFF, marker]), 1)


def test_the_frame_is_the_first_that_is_started() -> None:
    def frame(data: bytes) -> tuple[int, int, int]:
        header = jpeg.read("image", data)
        return header.frame, header.height, header.width

    data = encode(Image.effect_noise((40, 30), 50), "JPEG")
    assert frame(data) == (0xC0, 30, 40)
    assert frame(encode(Image.effect_noise((40, 30), 50), "JPEG", progressive=True)) == (0xC2, 30, 40)
    assert frame(patched(data, 0xC3)) == (0xC3, 30, 40)
    comment = b"\xff\xfe\x00\x08\xff\xc3\xff\xc3.."  # what a segment holds is no marker
    assert frame(data[:2] + comment + data[2:]) == (0xC0, 30, 40)
    assert frame(data[:2] + b"\xff\xff\xff" + data[3:]) == (0xC0, 30, 40)  # fill bytes
    assert frame(data[:2] + b"junk" + data[2:]) == (0xC0, 30, 40)
    assert frame(data[:2] + patched(data, 0xC3)[2:] + data[2:]) == (0xC3, 30, 40)  # a second frame is refused anyway
    for headless in (data[:20], b"\xff\xd8\xff\xd9"):
        with pytest.raises(ImageError, match=r"damaged \(no frame is started before its first scan\)"):
            frame(headless)


@pytest.mark.parametrize("marker", sorted({*range(0xC0, 0xD0)} - {0xC0, 0xC1, 0xC2, 0xC4, 0xC8, 0xCC}))
def test_frames_that_have_no_smaller_size_are_never_asked_for_one(marker: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """simplejpeg would reserve the smaller size, and libjpeg write the whole of a lossless frame: beyond the buffer."""

    def refused(*values: Any, **options: Any) -> None:
        raise AssertionError("decoded at a part of its size")

    monkeypatch.setattr(simplejpeg, "decode_jpeg", refused)
    data = patched(encode(Image.effect_noise((91, 100), 50), "JPEG"), marker)
    with suppress(ImageError):  # of one in arithmetic coding Pillow makes noise
        assert images.decode(data, least=64).shape == (100, 91, 3)


@pytest.mark.skipif(not FAULTS.exists(), reason=f"{FAULTS} is absent")
@pytest.mark.parametrize("least", [0, 1, 32, 64, 91])
def test_a_lossless_jpeg_comes_out_whole(least: int) -> None:
    assert images.decode(FAULTS / "lossless_91x100.jpg", least=least).shape == (100, 91, 3)


def broken_stream(place: float) -> bytes:
    """A PNG whose compressed data go wrong at a place, its checksums right."""
    data = encode(Image.effect_noise((64, 64), 50).convert("RGB"), "PNG")
    start = data.index(b"IDAT") + 4
    length = int.from_bytes(data[start - 8 : start - 4])
    stream = bytearray(data[start : start + length])
    stream[int(place * length) :] = b"\xff" * (length - int(place * length))
    checksum = zlib.crc32(b"IDAT" + stream).to_bytes(4)
    return data[:start] + stream + checksum + data[start + length + 4 :]


@pytest.mark.parametrize("place", [0.02, 0.3, 0.5, 0.9])
def test_half_a_picture_is_damaged(place: float) -> None:
    """Pillow loads a PNG to look for EXIF; asked again it would give what had come so far."""
    for look in (lambda data: images.decode(data), images.examine):
        with pytest.raises(ImageError, match="damaged"):
            look(broken_stream(place))


@pytest.mark.parametrize("place", [0.02, 0.9])
def test_half_a_picture_is_damaged_for_a_tutorial_too(place: float, tmp_path: Path) -> None:
    (tmp_path / "half.png").write_bytes(broken_stream(place))
    with pytest.raises(ImageError, match="damaged"):
        images.plain(tmp_path / "half.png")


@pytest.mark.skipif(not FAULTS.exists(), reason=f"{FAULTS} is absent")
def test_the_png_that_once_came_out_black_is_damaged() -> None:
    with pytest.raises(ImageError, match="damaged"):
        images.decode(FAULTS / "damaged_accepted.png")


def test_pipes_and_devices_are_refused_before_they_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    for name in ("pipe.jpg", "endless.png"):
        with pytest.raises(ImageError, match="not a regular file; name an image file"):
            images.decode(tmp_path / name)
