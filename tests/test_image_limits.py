"""What an image costs is judged by its header: no file takes more than the limit stands for, none is read in vain."""

import io
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image
from PIL.ImageFile import ImageFile

from image_files import chunk, encoded, png, tiff
from vgglass import images
from vgglass.errors import ImageError, UsageError
from vgglass.images import decode, jpeg, limits

FLAT = encoded(Image.new("RGB", (16, 16), (200, 100, 50)), "JPEG")
TGA = encoded(Image.new("L", (16, 16)), "TGA")


@pytest.fixture
def undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pixel is decoded."""

    def refused(*values: object, **options: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(ImageFile, "load", refused)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", refused)


def declaring(data: bytes, width: int, height: int) -> bytes:
    """The JPEG with another size in its frame."""
    place = re.search(rb"\xff[\xc0\xc2]", data).start() + 5  # type: ignore[union-attr]
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def gif(width: int, height: int) -> bytes:
    screen = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6)
    frame = b"," + struct.pack("<4H", 0, 0, width, height) + b"\0\x02\x02\x44\x01\0"
    return screen + b"!\xf9\4\1\0\0\0\0" + frame + b";"


def with_scans(width: int, height: int, more: int) -> bytes:
    """A progressive JPEG whose last scan comes so many times more."""
    data = encoded(Image.new("L", (width, height), 90), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * more + data[-2:]


def bomb(count: int, size: int) -> bytes:
    """A directory whose entries all name the same bytes."""
    entries = b"".join(struct.pack("<HHII", 1000 + tag, 1, size, 8) for tag in range(count))
    return b"II\x2a\0" + struct.pack("<I", 8 + size) + bytes(size) + struct.pack("<H", count) + entries + bytes(4)


@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (png(50_000, 50_000, 8, 2, b"\0"), "50000x50000 pixels: decoding would take 17,502 MB and 100.0 s, more"),
        (png(1, 79_000_000, 8, 0, b"\0"), "1x79000000 pixels, and no side may be longer than 65,535; cut it in parts"),
        (png(8_000, 7_000, 8, 6, b"\0"), "declares 8000x7000 pixels: decoding would take 392 MB and 3.7 s"),
        (gif(9_000, 9_000), "declares 9000x9000 pixels: decoding would take 567 MB"),
        (declaring(FLAT, 65_535, 65_535), "declares 65535x65535 pixels: decoding would take"),
        (TGA.replace(struct.pack("<HH", 16, 16), b"\xff\xff\xff\xff"), "declares 65535x65535"),
        (tiff(60_000, 60_000, [8] * 3, 2, b"\0"), "declares 60000x60000"),
        (with_scans(1000, 1000, 3000), "1000x1000 pixels in 3,006 scans: decoding would take . MB and 3.8 s"),
        (declaring(with_scans(16, 16, 300), 5_000, 4_000), "declares 5000x4000 pixels in 306 scans"),
        (with_scans(16, 16, 10_001), "has more than 10,000 segments; save it anew, or remove it"),
        (FLAT[:2] + b"\xff\xfe\0\2" * 10_001 + FLAT[2:], "has more than 10,000 segments"),
        (png(1, 1, 8, 0, b"\0\0", after=chunk(b"IDAT", b"") * 100_001), "has more than 100,000 chunks"),
        (bomb(500, 100_000), r"damaged \(its tags hold more than the file\)"),
        (tiff(1, 1, [8], 1, b"\0", tags={324: [0] * 300_000}), "is cut into 300,000 pieces, more than 250,000"),
    ],
    ids=[
        "bomb", "line", "alpha", "gif", "jpeg", "tga", "tiff", "scans", "few scans", "endless scans", "comments",
        "chunks", "tags", "tiles",
    ],
)  # fmt: skip
def test_what_costs_too_much_is_refused_by_its_header(data: bytes, message: str) -> None:
    for look in (lambda data: decode(data, least=64), images.examine):
        with pytest.raises(ImageError, match=message):
            look(data)


def test_the_remedy_names_a_limit_that_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("RGB", (600, 600), (1, 2, 3)), "PNG")
    monkeypatch.setenv("VGGLASS_MAX_PIXELS", "200000")
    with pytest.raises(ImageError, match="allow it: --max-pixels 370000, or VGGLASS_MAX_PIXELS in the env") as refusal:
        decode(data)
    monkeypatch.setenv("VGGLASS_MAX_PIXELS", re.search(r"pixels (\d+)", refusal.value.remedy)[1])  # type: ignore[index]
    assert decode(data).shape == (600, 600, 3)
    assert decode(data, max_pixels=361_000).shape == (600, 600, 3)


@pytest.mark.parametrize("given", ["0", "-5", "many", "1e6", ""])
def test_a_limit_is_a_positive_whole_number(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGGLASS_MAX_PIXELS", given)
    with pytest.raises(UsageError, match=f"VGGLASS_MAX_PIXELS={given}: must be a positive whole number"):
        decode(FLAT)


def test_a_jpeg_that_is_decoded_smaller_counts_as_less() -> None:
    """A hundred megapixels, in all 8 bits a pixel; whole they would take 700 MB once they are resized."""
    data = encoded(Image.new("L", (12_000, 9_000), 90), "JPEG")
    assert decode(data, least=512).shape == (1125, 1500, 3)
    with pytest.raises(ImageError, match="declares 12000x9000 pixels: decoding would take 756 MB"):
        decode(data)
    found = images.examine(data)
    assert (found.height, found.width, found.pixels.shape) == (9_000, 12_000, (1125, 1500, 3))


def test_the_size_that_is_expected_is_the_one_that_simplejpeg_decodes() -> None:
    for width, height in ((1, 1), (5, 168), (15, 15), (47, 159), (200, 33)):
        data = encoded(Image.new("RGB", (width, height)), "JPEG")
        header = jpeg.read("image", data)
        for least in (0, 1, 2, 7, 16, 44, 200, 1000):
            eighths = header.scaled(least)
            expected = (-(-height * eighths // 8), -(-width * eighths // 8))
            assert simplejpeg.decode_jpeg_header(data, least, least)[:2] == expected


def test_scans_are_counted_with_the_components_that_they_pass_over() -> None:
    """Each component is a third of the samples, or with colour at a quarter of the points: 1, 1/4 and 1/4 a pixel."""
    plain = jpeg.read("image", encoded(Image.new("RGB", (16, 16)), "JPEG"))
    assert (plain.scans, plain.coefficients) == (1, 0)
    for subsampling, samples in ((0, 3.0), (2, 1.5)):
        data = encoded(Image.new("RGB", (16, 16)), "JPEG", progressive=True, subsampling=subsampling)
        header = jpeg.read("image", data)
        assert header.scans == data.count(b"\xff\xda") == 10
        assert header.coefficients == 256 * samples
        # libjpeg's script: all DC twice, Y's AC four times, Cb's and Cr's twice each
        assert header.samples == 256 * (2 * samples + 4 + 2 * (samples - 1))
    thumbnail = b"Exif\0\0" + encoded(Image.new("L", (8, 8)), "JPEG", progressive=True)
    hidden = data[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:]
    assert jpeg.read("image", hidden).scans == 10  # a thumbnail's are none, nor is what follows the end
    assert jpeg.read("image", data + data).scans == 10


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_that_names_the_same_bytes_many_times_is_not_read(kind: str) -> None:
    exif = bomb(400, 40_000)
    picture = Image.new("CMYK" if kind == "JPEG" else "RGB", (8, 8))  # a CMYK JPEG is Pillow's to read
    data = encoded(picture, kind, exif=b"Exif\0\0" + exif)
    assert exif[:100] in data
    assert decode(data).shape == (8, 8, 3)


def test_an_avif_whose_exif_holds_more_than_the_file_is_refused() -> None:
    data = encoded(Image.new("RGB", (8, 8)), "AVIF")
    with pytest.raises(ImageError, match=r"damaged \(its tags hold more than the file\)"):
        decode(data + bomb(500, 40_000))


def test_pixels_are_converted_in_strips_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.effect_noise((37, 29), 90).convert("RGBA"), "PNG")
    whole = decode(data)
    monkeypatch.setattr("vgglass.images.pillow._STRIP", 100)  # two rows
    np.testing.assert_array_equal(decode(data), whole)


# Files ---------------------------------------------------------------------------------------------------------------


def test_a_sparse_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.jpg"
    path.write_bytes(FLAT)
    os.truncate(path, 20_000_000_000)
    for look in (decode, images.plain):
        with pytest.raises(ImageError, match=r"has 20,000,000,000 bytes, more than 500,000,000; .*-pixels 2000000000"):
            look(path)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/dev/zero", "not a regular file; name an image file"),
        ("/dev/stdin", "(not a regular file|No such file|the file is empty|Permission|not an image)"),
        ("/proc/self/maps", "the file is empty"),  # it says that it has no bytes
        ("/nonexistent", "No such file or directory"),
        (".", "Is a directory"),
    ],
)
def test_links_to_what_is_no_file_are_refused(target: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(target)
    with pytest.raises(ImageError, match=message):
        decode(tmp_path / "link.png")


def test_a_link_that_ends_in_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    with pytest.raises(ImageError, match="Too many levels of symbolic links"):
        decode(tmp_path / "loop.jpg")


def test_what_decoders_raise_without_words_gets_some(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("RGB", (4, 4)), "PNG")
    for error, words in (
        (EOFError(), r"damaged \(unexpected end of file\)"),
        (IndexError(), r"damaged \(IndexError\)"),
        (MemoryError(), "needs more memory than there is; make it smaller first"),
        (UserWarning("Truncated File Read"), r"damaged \(Truncated File Read\)"),  # Python started with -W error
    ):

        def fail(image: ImageFile, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(ImageFile, "load", fail)
        with pytest.raises(ImageError, match=words):
            decode(data)


def test_the_frames_of_a_gif_are_counted() -> None:
    frames = [Image.new("L", (8, 8), value) for value in (10, 90, 200)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], comment=b"x" * 1000)
    assert (images.examine(data).frames, images.examine(data).fault) == (3, "")
    assert "what follows the first frame is damaged" in images.examine(data[: len(data) - 12]).fault


def test_the_pages_of_a_tiff_are_counted_and_a_ring_of_them_ends() -> None:
    pages = [Image.new("L", (8, 8), value) for value in (10, 90, 200)]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert images.examine(data).frames == 3
    single = bytearray(tiff(1, 1, [8], 1, b"\x4d"))
    end = 8 + 2 + 12 * int.from_bytes(single[8:10], "little")
    single[end : end + 4] = struct.pack("<I", 8)
    assert images.examine(bytes(single)).frames == 1
    single[end : end + 4] = struct.pack("<I", 1 << 30)
    assert images.examine(bytes(single)).fault.startswith("what follows the first frame is damaged")


def test_the_limit_is_an_option_of_the_commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import typer
    from typer.testing import CliRunner

    from vgglass.cli.output import MaxPixels

    monkeypatch.setenv(limits.VARIABLE, "1")  # so that what the option sets is undone
    app = typer.Typer()

    @app.command()
    def command(max_pixels: MaxPixels = None) -> None:
        typer.echo(limits.max_pixels())

    assert CliRunner().invoke(app, ["--max-pixels", "700"]).output == "700\n"


def test_a_jpeg_that_pillow_decodes_takes_what_pillow_takes() -> None:
    """Arithmetic coding: simplejpeg is not asked, and Pillow's four bytes a pixel come to the array's."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG")
    data = buffer.getvalue()
    place = data.index(b"\xff\xc0")
    sides = struct.pack(">HH", 8000, 8000)
    large = data[:place] + b"\xff\xc9" + data[place + 2 : place + 5] + sides + data[place + 9 :]
    with pytest.raises(ImageError, match="declares 8000x8000 pixels: decoding would take 640 MB"):
        decode(large, least=64)
