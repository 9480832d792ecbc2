"""What an examination finds in one file, and what the cache remembers of it."""

import hashlib
import io
import logging
import mmap
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pictures import damaged, photographs, save, scene
from vgglass.data import examination
from vgglass.data.examination import as_text, examine, from_text
from vgglass.data.folder import image_files
from vgglass.errors import ImageError
from vgglass.files import cache_folder
from vgglass.isolation import DECODERS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six photographs, and a cache of their own."""
    monkeypatch.setenv("VGGLASS_CACHE", str(tmp_path / "cache"))
    return photographs(tmp_path / "photos", cat=6)


def test_facts_of_a_photograph(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.jpg", scene(1, 100, 60), exif=exif)
    facts = examine(path)
    assert (facts.format, facts.mode, facts.depth, facts.frames, facts.orientation) == ("JPEG", "RGB", 8, 1, 6)
    assert (facts.height, facts.width) == (60, 100)  # upright
    assert facts.size == path.stat().st_size
    assert (facts.error, facts.fault) == ("", "")
    assert len(facts.thumbnail) == 8 * 8 * 3
    grey = np.frombuffer(facts.grey, np.uint8).reshape(32, 32)
    assert np.allclose(grey.mean(), np.asarray(Image.open(path).convert("L")).mean(), atol=1)
    assert from_text(as_text(facts)) == facts


def test_depth_is_what_the_file_says_not_what_pillow_reads(tmp_path: Path) -> None:
    deep = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)
    deep.save(tmp_path / "a.png")
    deep.save(tmp_path / "a.tif")
    Image.new("1", (8, 8)).save(tmp_path / "one.png")
    png = bytearray((tmp_path / "a.png").read_bytes())
    assert png[24] == 16
    assert [examine(tmp_path / name).depth for name in ("a.png", "a.tif", "one.png")] == [16, 16, 1]


def test_damage_that_decoding_passes_over_is_said(tmp_path: Path) -> None:
    facts = examine(damaged(tmp_path / "damaged.jpg"))
    assert facts.error == ""
    assert facts.fault.startswith("Corrupt JPEG data")
    assert facts.height == 180


def test_frames_are_counted(tmp_path: Path) -> None:
    frames = [Image.fromarray(scene(number, 30, 40)) for number in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert examine(tmp_path / "a.gif").frames == 3


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    assert examine(tmp_path / "pipe.jpg").error == "not a regular file"
    assert examine(tmp_path / "loop.jpg").error == "Too many levels of symbolic links"
    name = Path(os.fsdecode(bytes(tmp_path) + b"/\xff.png"))
    save(name, scene(1))
    assert examine(name).error == "its name is not UTF-8"


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(st.binary(max_size=300), st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"]), st.integers(0, 900))
def test_hostile_bytes_are_facts_not_tracebacks(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, kind: str, place: int
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(scene(1, 20, 24)).save(buffer, kind)
    data = buffer.getvalue()
    path = tmp_path_factory.getbasetemp() / "hostile.jpg"
    path.write_bytes(data[:place] + noise + data[place + len(noise) :])
    facts = examine(path)
    assert bool(facts.error) != bool(facts.thumbnail)
    assert from_text(as_text(facts)) == facts


def stored() -> int:
    with sqlite3.connect(cache_folder() / examination.FILE) as database:
        return int(database.execute("SELECT COUNT(*) FROM entries").fetchone()[0])


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was decoded, by SHA-256, as long as the test runs."""
    looked: list[bytes] = []
    look = DECODERS.look

    def watch(data: bytes) -> dict[str, Any]:
        looked.append(hashlib.sha256(data).digest())
        return look(data)

    monkeypatch.setattr(DECODERS, "look", watch)
    return looked


def test_only_new_contents_are_decoded(folder: Path, decoded: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    paths = image_files(folder)
    steps: list[tuple[int, int]] = []
    first = examination.examined(paths, lambda done, total: steps.append((done, total)))
    assert steps == [(done, 6) for done in range(1, 7)]
    assert sorted(decoded) == sorted(facts.sha256 for facts in first)
    decoded.clear()
    paths[0].touch()
    paths[2].rename(folder / "moved.jpg")
    paths[2] = folder / "moved.jpg"
    assert examination.examined(paths) == first
    assert decoded == []
    save(paths[1], scene(99))
    again = examination.examined(paths)
    assert decoded == [again[1].sha256] != [first[1].sha256]
    monkeypatch.setattr(examination, "VERSION", "another")
    decoded.clear()
    assert examination.examined(paths) == again
    assert len(decoded) == 6


def overwrite(path: Path, content: bytes) -> None:
    """The same inode, size and times; only its time of status change tells, where a file system has one."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_ino, path.stat().st_size) == (before.st_ino, before.st_size)


def move_over(path: Path, content: bytes) -> None:
    before, other = path.stat(), path.with_name("other")
    other.write_bytes(content)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def copy_preserving(path: Path, content: bytes) -> None:
    """cp -p, rsync -t."""
    before, other = path.stat(), path.with_name("other")
    other.write_bytes(content)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    shutil.copy2(other, path)


def write_mapped(path: Path, content: bytes) -> None:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:] = content


def link_elsewhere(path: Path, content: bytes) -> None:
    other = path.with_name("other")
    other.write_bytes(content)
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    path.unlink()
    path.symlink_to(other)


def swap_the_folder(path: Path, content: bytes) -> None:
    """As a mount or a restored snapshot does: the same names, other files."""
    before = path.stat()
    shutil.copytree(path.parent, path.parent.with_name("swap"))
    path.parent.rename(path.parent.with_name("gone"))
    path.parent.with_name("swap").rename(path.parent)
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = [overwrite, move_over, copy_preserving, write_mapped, link_elsewhere, swap_the_folder]


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_vouches_for_a_content_that_changed(folder: Path, change: Callable[[Path, bytes], None]) -> None:
    path, other = folder / "cat" / "0.jpg", folder / "cat" / "1.jpg"
    size = max(path.stat().st_size, other.stat().st_size) + 1
    for padded in (path, other):  # what follows the end of a JPEG is passed over
        padded.write_bytes(padded.read_bytes().ljust(size, b"\0"))
    before = [facts.phash for facts in examination.examined([path, other])]
    assert before[0] != before[1]
    change(path, other.read_bytes())
    assert [facts.phash for facts in examination.examined([path, other])] == [before[1], before[1]]


def test_what_could_not_be_opened_is_tried_again(folder: Path) -> None:
    path = folder / "cat" / "0.jpg"
    content = path.read_bytes()
    path.unlink()
    assert examination.examined([path])[0].error == "No such file or directory"
    path.write_bytes(b"")
    assert examination.examined([path])[0].error == "the file is empty"
    path.write_bytes(content)
    assert examination.examined([path])[0].error == ""


def refuse(data: bytes) -> dict[str, Any]:
    raise ImageError("image", "too large today", "raise the limit")


def test_what_could_not_be_decoded_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(DECODERS, "look", refuse)
        assert examination.examined([folder / "cat" / "0.jpg"])[0].error == "too large today"
    assert examination.examined([folder / "cat" / "0.jpg"])[0].error == ""


def test_another_limit_is_another_verdict(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "cat" / "0.jpg"
    assert examination.examined([path])[0].error == ""
    monkeypatch.setenv("VGGLASS_MAX_PIXELS", "1000")
    assert "declares" in examination.examined([path])[0].error
    monkeypatch.delenv("VGGLASS_MAX_PIXELS")
    assert examination.examined([path])[0].error == ""


def random_bytes(place: Path) -> None:
    place.mkdir()
    (place / examination.FILE).write_bytes(b"this is no database, and long enough to be looked at" * 40)


def another_table(place: Path) -> None:
    place.mkdir()
    with sqlite3.connect(place / examination.FILE) as database:
        database.execute("CREATE TABLE entries (name TEXT)")


@pytest.mark.parametrize(
    "spoil", [random_bytes, another_table, lambda place: place.write_text("a file"), lambda place: place.mkdir()]
)
def test_a_cache_that_fails_costs_time_alone(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    spoil(tmp_path / "cache")
    if not any(tmp_path.glob("cache/*")) and (tmp_path / "cache").is_dir():
        (tmp_path / "cache" / examination.FILE).mkdir()  # a folder in its place: it can't be opened
    with caplog.at_level(logging.WARNING):
        found = examination.examined(image_files(folder))
    assert len(found) == 6
    assert not any(facts.error for facts in found)
    assert len(caplog.records) == 1
    assert f"{examination.FILE} is damaged (" in caplog.text or f"{examination.FILE} can't be used (" in caplog.text


def test_a_damaged_entry_is_examined_again(folder: Path, decoded: list[bytes]) -> None:
    paths = image_files(folder)
    first = examination.examined(paths)
    decoded.clear()
    with closing(sqlite3.connect(cache_folder() / examination.FILE)) as database, database:
        database.execute("UPDATE entries SET value = replace(CAST(value AS TEXT), '240', '241')")
    assert examination.examined(paths) == first
    assert len(decoded) == 6
    decoded.clear()
    assert examination.examined(paths) == first
    assert decoded == []


def test_a_damaged_cache_is_begun_anew(folder: Path, decoded: list[bytes]) -> None:
    paths = image_files(folder)
    first = examination.examined(paths)
    (cache_folder() / examination.FILE).write_bytes(os.urandom(20_000))
    assert examination.examined(paths) == first
    decoded.clear()
    assert examination.examined(paths) == first
    assert decoded == []


@pytest.mark.slow
def test_two_processes_share_the_cache_and_a_killed_one_leaves_it_whole(folder: Path) -> None:
    photographs(folder, cat=6, dog=120)
    code = (
        "import sys, pathlib; from vgglass.data import examination, folder\n"
        "def tell(done, total): print(done, flush=True)\n"
        "examination.examined(folder.image_files(pathlib.Path(sys.argv[1])), tell)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    killed = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert killed.stdout
    for line in killed.stdout:
        if int(line) > examination.CHUNK:
            killed.send_signal(signal.SIGKILL)
            break
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert stored() >= examination.CHUNK
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate()[1] for process in both] == [b"", b""]
    assert stored() == 126
