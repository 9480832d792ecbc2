"""Every kind of pixels comes out as a careful viewer shows it, or is refused in words of its own."""

import re
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_files import chunk, encoded, png, tiff
from vgglass import images
from vgglass.errors import ImageError
from vgglass.images import decode

RAMP = struct.pack("<3H", 0, 65535, 32768)
SHOWN = [[[0] * 3, [255] * 3, [128] * 3]]
NEGATIVE = [[[255] * 3, [0] * 3, [127] * 3]]
COLOURS = [0x0A0A, 0xC8C8, *[0] * 254, 0x1414, 0x6464, *[0] * 254, 0x1E1E, 0x3232, *[0] * 254]  # (10, 20, 30), …
TAG = {"extra": 338, "format": 339, "map": 320, "most": 281, "ink": 332, "subsampling": 530, "fill": 266}

TIFFS = {
    "grey": (tiff(3, 1, [8], 1, bytes([0, 255, 128])), SHOWN),
    "grey, min is white": (tiff(3, 1, [8], 0, bytes([0, 255, 128])), NEGATIVE),
    "grey of 16 bits": (tiff(3, 1, [16], 1, RAMP), SHOWN),
    "grey of 16 bits, min is white": (tiff(3, 1, [16], 0, RAMP), NEGATIVE),
    "grey of 12 bits in 16": (
        tiff(3, 1, [16], 1, struct.pack("<3H", 0, 4095, 2048), tags={TAG["most"]: [4095]}),
        SHOWN,
    ),
    "grey of 12 bits, packed": (tiff(2, 1, [12], 1, bytes([0xFF, 0xF8, 0x00])), [[[255] * 3, [128] * 3]]),
    "one bit": (tiff(3, 1, [1], 1, bytes([0b01000000])), [[[0] * 3, [255] * 3, [0] * 3]]),
    "one bit, min is white": (tiff(3, 1, [1], 0, bytes([0b01000000])), [[[255] * 3, [0] * 3, [255] * 3]]),
    "four bits, min is white": (tiff(3, 1, [4], 0, bytes([0x0F, 0x80])), [[[255] * 3, [0] * 3, [119] * 3]]),
    "grey and alpha": (tiff(1, 1, [8, 8], 1, bytes([200, 51]), tags={TAG["extra"]: [2]}), [[[244] * 3]]),
    "grey and premultiplied alpha": (tiff(1, 1, [8, 8], 1, bytes([40, 51]), tags={TAG["extra"]: [1]}), [[[244] * 3]]),
    "RGB of 16 bits, big end first": (
        tiff(1, 1, [16] * 3, 2, struct.pack(">3H", 51400, 0, 65535), ">"),
        [[[200, 0, 255]]],
    ),
    "RGB and alpha": (tiff(1, 1, [8] * 4, 2, bytes([200, 0, 100, 51]), tags={TAG["extra"]: [2]}), [[[244, 204, 224]]]),
    "RGB and alpha of 16 bits": (
        tiff(1, 1, [16] * 4, 2, struct.pack("<4H", 51400, 0, 25700, 13107), tags={TAG["extra"]: [2]}),
        [[[244, 204, 224]]],
    ),
    "RGB and two bands that are no alpha": (
        tiff(1, 1, [8] * 5, 2, bytes([200, 0, 100, 51, 9]), tags={TAG["extra"]: [0, 0]}),
        [[[200, 0, 100]]],
    ),
    "palette": (tiff(2, 1, [8], 3, bytes([1, 0]), tags={TAG["map"]: COLOURS}), [[[200, 100, 50], [10, 20, 30]]]),
    "palette of 8-bit values": (
        tiff(2, 1, [8], 3, bytes([1, 0]), tags={TAG["map"]: [value >> 8 for value in COLOURS]}),
        [[[200, 100, 50], [10, 20, 30]]],
    ),
    "palette and alpha": (
        tiff(1, 1, [8, 8], 3, bytes([0, 51]), tags={TAG["extra"]: [2], TAG["map"]: COLOURS}),
        [[[206, 208, 210]]],
    ),
    "CMYK": (tiff(2, 1, [8] * 4, 5, bytes([255, 0, 0, 0, 0, 0, 0, 255])), [[[0, 255, 255], [0, 0, 0]]]),
    "CMYK of 16 bits": (tiff(1, 1, [16] * 4, 5, struct.pack("<4H", 65535, 0, 0, 0)), [[[0, 255, 255]]]),
    "YCbCr": (tiff(1, 1, [8] * 3, 6, bytes([76, 85, 255]), tags={TAG["subsampling"]: [1, 1]}), [[[254, 0, 0]]]),
}

REFUSED = {
    "signed pixels": [
        tiff(3, 1, [8], 1, bytes(3), tags={TAG["format"]: [2]}),
        tiff(3, 1, [16], 1, bytes(6), tags={TAG["format"]: [2]}),
        encoded(Image.new("I", (2, 2)), "TIFF"),
    ],
    "floating-point pixels": [
        encoded(Image.new("F", (2, 2)), "TIFF"),
        tiff(1, 1, [16], 1, bytes(2), tags={TAG["format"]: [3]}),
        tiff(1, 1, [64], 1, bytes(8), tags={TAG["format"]: [3]}),
        tiff(1, 1, [32] * 3, 2, bytes(12), tags={TAG["format"]: [3] * 3}),
    ],
    "complex pixels": [tiff(1, 1, [64], 1, bytes(8), tags={TAG["format"]: [6]})],
    "32-bit pixels, which have no fixed range": [tiff(3, 1, [32], 1, bytes(12))],
    "5 bands of 8 bits": [
        tiff(1, 1, [8] * 5, 1, bytes(5), tags={TAG["extra"]: [0] * 4}),
        tiff(1, 1, [8] * 5, 5, bytes(5)),
    ],
    "13 bands of 8 bits": [tiff(1, 1, [8] * 13, 1, bytes(13), tags={TAG["extra"]: [0] * 12})],
    "2 bands of 16 bits": [tiff(1, 1, [16] * 2, 1, bytes(4), tags={TAG["extra"]: [2]})],
    "1 band of 10 bits": [tiff(4, 1, [10], 1, bytes(5))],
    "bands of different depths: 5, 6, 5 bits": [tiff(1, 1, [5, 6, 5], 2, bytes(2))],
    "pixels of another kind: ICC L*a*b*": [tiff(1, 1, [8] * 3, 9, bytes(3))],
    "pixels of another kind: logarithmic luminance": [tiff(1, 1, [16], 32844, bytes(2))],
    "pixels of another kind: a sensor's mosaic (raw)": [tiff(2, 2, [8], 32803, bytes(4))],
    "pixels of another kind: photometric interpretation 77": [tiff(2, 2, [8], 77, bytes(4))],
    "inks other than CMYK": [tiff(1, 1, [8] * 4, 5, bytes(4), tags={TAG["ink"]: [2]})],
    "uncompressed YCbCr with subsampled colour": [tiff(2, 2, [8] * 3, 6, bytes(6)), tiff(2, 2, [8] * 3, 6, bytes(90))],
    "a compression that is not read, number 12345": [tiff(1, 1, [8], 1, bytes(1), tags={259: [12345]})],
}


@pytest.mark.parametrize("name", TIFFS)
def test_a_tiff_comes_out_as_a_careful_viewer_shows_it(name: str) -> None:
    data, expected = TIFFS[name]
    np.testing.assert_array_equal(decode(data), expected)


@pytest.mark.parametrize("rule", REFUSED)
def test_a_tiff_without_plain_meaning_is_refused_by_its_kind(rule: str, capfd: pytest.CaptureFixture[str]) -> None:
    for data in REFUSED[rule]:
        with pytest.raises(ImageError, match=f"^image: {re.escape(rule)}; save it with 8 bits a channel"):
            decode(data)
    assert capfd.readouterr() == ("", "")  # nor does libtiff, or Pillow's log, say it in theirs


def test_cielab_is_converted_to_rgb() -> None:
    """L* of 255 is white, of 0 black; a* and b* of 0 are grey."""
    np.testing.assert_allclose(
        decode(tiff(2, 1, [8] * 3, 8, bytes([255, 0, 0, 0, 0, 0]))), [[[255] * 3, [0] * 3]], atol=1
    )


def test_libtiff_says_nothing_past_us(capfd: pytest.CaptureFixture[str]) -> None:
    data = encoded(Image.effect_noise((64, 64), 50), "TIFF", compression="tiff_lzw")
    for place in range(8, len(data) - 40, 97):
        with suppress(ImageError):
            decode(data[:place] + b"\xff" * 30 + data[place + 30 :])
    assert capfd.readouterr().err == ""


# PNG -----------------------------------------------------------------------------------------------------------------

PALETTE = chunk(b"PLTE", bytes([200, 100, 50, 10, 20, 30, 1, 2, 3]))
RED = (250, 0, 0)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            png(2, 1, 16, 0, b"\0" + struct.pack(">2H", 1000, 1001), chunk(b"tRNS", struct.pack(">H", 1000))),
            [RED, [4] * 3],
        ),
        (png(2, 1, 8, 0, b"\0\x07\x08", chunk(b"tRNS", b"\0\x07")), [RED, [8] * 3]),
        (png(2, 1, 4, 0, b"\0\x5a", chunk(b"tRNS", b"\0\x05")), [RED, [170] * 3]),
        (png(2, 1, 2, 0, b"\0\x60", chunk(b"tRNS", b"\0\x01")), [RED, [170] * 3]),
        (png(2, 1, 1, 0, b"\0\x40", chunk(b"tRNS", b"\0\0")), [RED, [255] * 3]),
        (
            png(
                3,
                1,
                16,
                2,
                b"\0" + struct.pack(">9H", 1000, 2000, 3000, 1001, 2000, 3000, 1000, 2000, 3001),
                chunk(b"tRNS", struct.pack(">3H", 1000, 2000, 3000)),
            ),
            [RED, [3, 7, 11], [3, 7, 11]],
        ),
        (png(2, 1, 8, 3, b"\0\0\1", PALETTE + chunk(b"tRNS", bytes([0]))), [RED, [10, 20, 30]]),
        (png(1, 1, 8, 3, b"\0\0", PALETTE + chunk(b"tRNS", bytes([51, 255]))), [[240, 20, 10]]),
        (png(1, 1, 16, 4, b"\0" + struct.pack(">2H", 51400, 13107)), [[240, 40, 40]]),
        (png(1, 1, 16, 6, b"\0" + struct.pack(">4H", 51400, 0, 25700, 13107)), [[240, 0, 20]]),
    ],
    ids=["grey 16", "grey 8", "grey 4", "grey 2", "one bit", "RGB 16", "palette", "palette alpha", "LA 16", "RGBA 16"],
)
def test_transparency_of_every_depth_shows_the_background(data: bytes, expected: list[list[int]]) -> None:
    np.testing.assert_array_equal(decode(data, background=RED), [expected])


TEXT = zlib.compress(b"x" * 3_000_000)  # Pillow refuses what inflates to more than a megabyte


@pytest.mark.parametrize(
    "text",
    [
        chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000),
        chunk(b"zTXt", b"Comment\0\0" + TEXT),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + TEXT),
        chunk(b"iCCP", b"profile\0\0" + TEXT),
        chunk(b"zTXt", b"XML:com.adobe.xmp\0\0" + TEXT),
        chunk(b"tEXt", b"Comment\0" + b"x" * 500_000) * 140,
    ],
    ids=["tEXt", "zTXt", "iTXt", "iCCP", "XMP", "many"],
)
def test_a_png_with_much_text_is_intact(text: bytes) -> None:
    for data in (png(1, 1, 8, 0, b"\0\x4d", before=text), png(1, 1, 8, 0, b"\0\x4d", after=text)):
        np.testing.assert_array_equal(decode(data), [[[77] * 3]])
        assert images.examine(data).fault == ""


def test_which_way_is_up_may_stand_in_a_pngs_text() -> None:
    xmp = chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>')
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = zlib.compress(b"\nexif\n%8d\n%s\n" % (len(exif.tobytes()), exif.tobytes().hex().encode()))
    for text in (xmp, chunk(b"zTXt", b"Raw profile type exif\0\0" + profile)):
        np.testing.assert_array_equal(decode(png(2, 1, 8, 0, b"\0\x4d\x4e", before=text)), [[[77] * 3], [[78] * 3]])


def spoilt(data: bytes, kind: bytes) -> bytes:
    """The file with the last byte of a chunk's checksum changed."""
    start = data.index(kind)
    place = start + 7 + int.from_bytes(data[start - 4 : start])
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("kind", [b"IDAT", b"IEND", b"tIME"])
def test_a_wrong_checksum_is_damage_that_is_said(kind: bytes) -> None:
    data = spoilt(png(1, 1, 8, 0, b"\0\x4d", after=chunk(b"tIME", bytes(7))), kind)
    assert images.examine(data).fault == f"the checksum of its chunk {kind.decode()} is wrong"
    np.testing.assert_array_equal(decode(data), [[[77] * 3]])  # as Pillow reads it


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"tEXt"])
def test_a_wrong_checksum_before_the_picture_is_refused(kind: bytes) -> None:
    data = png(1, 1, 8, 3, b"\0\0", before=PALETTE + chunk(b"tEXt", b"a\0b"))
    with pytest.raises(ImageError, match=rf"damaged \(the checksum of its chunk {kind.decode()} is wrong\)"):
        decode(spoilt(data, kind))


def test_a_png_without_its_palette_is_damaged() -> None:
    with pytest.raises(ImageError, match=r"damaged \(it has no palette\)"):
        decode(png(1, 1, 8, 3, b"\0\0"))


# JPEG and others -----------------------------------------------------------------------------------------------------

CYAN = encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=100)
GREY = encoded(Image.new("L", (16, 16), 77), "JPEG")


def adobe(data: bytes, transform: int | None) -> bytes:
    """Another transform in Adobe's segment, or none."""
    start = data.index(b"\xff\xee")
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4])
    return data[:start] + (data[start : end - 1] + bytes([transform]) if transform is not None else b"") + data[end:]


def test_cmyk_is_inverted_with_and_without_adobes_segment_as_browsers_do() -> None:
    np.testing.assert_array_equal(decode(CYAN)[0, 0], [0, 255, 255])
    np.testing.assert_array_equal(decode(adobe(CYAN, None)), decode(CYAN))


def test_ycck_is_converted() -> None:
    """Cyan's inverted 0, 255, 255, 255 read as Y, Cb, Cr, K: C = 255 - 1.402 * 127 = 77, M beyond 255, Y = 30."""
    np.testing.assert_array_equal(decode(adobe(CYAN, 2))[0, 0], [77, 255, 30])


def test_rgb_that_was_never_ycbcr() -> None:
    data = encoded(Image.new("RGB", (16, 16), (200, 100, 50)), "JPEG", quality=100, keep_rgb=True)
    np.testing.assert_array_equal(decode(data)[0, 0], [200, 100, 50])


@pytest.mark.parametrize(
    ("place", "value", "rule"),
    [
        (9, 2, "a JPEG of 2 components; save it as grey or RGB"),
        (4, 12, "a JPEG of 12 bits a sample; save it with 8 bits"),
        (6, 0, "declares 16x0 pixels; replace or remove it"),
    ],
)
def test_a_jpeg_of_another_kind_is_refused_by_it(place: int, value: int, rule: str) -> None:
    data = bytearray(GREY)
    data[data.index(b"\xff\xc0") + place] = value
    with pytest.raises(ImageError, match=f"image: {rule}"):
        decode(bytes(data))


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "TGA", "BMP", "WEBP"])
def test_a_file_is_read_by_its_content(kind: str, tmp_path: Path) -> None:
    (tmp_path / "no_suffix").write_bytes(encoded(Image.new("RGB", (6, 4), (200, 100, 50)), kind))
    pixels = decode(tmp_path / "no_suffix")
    assert pixels.shape == (4, 6, 3)
    assert np.abs(pixels.astype(int) - [200, 100, 50]).max() <= 4
    assert images.examine((tmp_path / "no_suffix").read_bytes()).format == kind


def test_16_bits_of_jpeg_2000_are_scaled() -> None:
    data = encoded(Image.fromarray(np.full((4, 4), 51400, np.uint16)), "JPEG2000")
    np.testing.assert_array_equal(decode(data), np.full((4, 4, 3), 200))


def test_an_avif_comes_out_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(Image.new("RGB", (6, 4)), "AVIF", exif=exif)).shape == (6, 4, 3)


@pytest.mark.parametrize("brands", [b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1heic", b"heix\0\0\0\0mif1heix"])
def test_heic_is_refused_with_the_package_that_reads_it(brands: bytes) -> None:
    with pytest.raises(ImageError, match=r"HEIC, which vgglass does not read; convert it to JPEG, .*pillow-heif"):
        decode(b"\0\0\0\x18ftyp" + brands + bytes(100))
