"""Files appear whole or not at all."""

import errno
import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vgglass.files import abandoned, discard, replacing, temporaries


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def write_half_and_stop(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt


def test_a_new_file_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    with replacing(path) as temporary:
        assert temporary.parent == path.parent
        temporary.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert files(path.parent) == ["file"]


def test_the_old_file_stands_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    plain, path = tmp_path / "plain", tmp_path / "file"
    plain.touch()
    with replacing(path) as temporary:
        temporary.touch(mode=0o600)
    assert path.stat().st_mode == plain.stat().st_mode


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_half_and_stop(path)
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == ["file"]


def test_two_threads_write_one_path_without_mixing(tmp_path: Path) -> None:
    both_inside = threading.Barrier(2)

    def write(content: bytes) -> None:
        with replacing(tmp_path / "file") as temporary:
            temporary.write_bytes(content)
            both_inside.wait(timeout=30)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, (b"first", b"second")))
    assert (tmp_path / "file").read_bytes() in (b"first", b"second")
    assert files(tmp_path) == ["file"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file"):
        pass
    assert files(tmp_path) == []


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError), replacing(tmp_path / "folder") as temporary:
        temporary.write_bytes(b"new")
    assert files(tmp_path) == ["folder"]


def test_a_full_disk(tmp_path: Path) -> None:
    """A limit on the file size stands in for the full disk: the kernel refuses the write in the same place."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    script = """
import resource, signal, sys
from pathlib import Path
from vgglass.files import abandoned, discard, replacing, temporaries
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with replacing(Path(sys.argv[1])) as temporary:
        temporary.write_bytes(bytes(100_000))
except OSError as error:
    print(error.strerror)
"""
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == ["file"]


def test_synced_before_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the system calls is the promise itself: data, rename, folder."""
    path, calls = tmp_path / "file", []
    sync, rename = os.fsync, Path.replace

    def recording_sync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "data")
        sync(descriptor)

    def recording_rename(self: Path, target: Path) -> Path:
        calls.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", recording_sync)
    monkeypatch.setattr(Path, "replace", recording_rename)
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
    assert calls == ["data", "rename", "folder"]


def test_an_error_of_writing_names_the_file(tmp_path: Path) -> None:
    """A full disk's has no name of its own, and the command line needs one to say where."""
    with pytest.raises(OSError, match=r"No space left on device: '.*/file'"), replacing(tmp_path / "file"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_others_named_alike_is_theirs(tmp_path: Path) -> None:
    """A person's `.file.bak.tmp` beside the target was taken for ours, and its `bak` for a process number."""
    gone = f".file.{2**22 + 1}.140000000000000.tmp"  # above the kernel's largest process number
    living = f".file.{os.getpid()}.1.tmp"
    for name in (".file.bak.tmp", ".file.1.bak.tmp", ".file.tmp", ".file.99999999999999999999.1.tmp", gone, living):
        (tmp_path / name).touch()
    (tmp_path / ".file.old.tmp").mkdir()
    assert [path.name for path in abandoned(tmp_path / "file")] == [gone]
    assert sorted(path.name for path in temporaries(tmp_path / "*")) == sorted([gone, living])
    with replacing(tmp_path / "file") as temporary:
        temporary.write_bytes(b"new")
    assert len(files(tmp_path)) == 8


def test_what_was_left_goes_whatever_it_is(tmp_path: Path) -> None:
    (tmp_path / "folder" / "within").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("link", "folder", "missing"):
        assert (tmp_path / "folder").exists() or name != "folder"
        discard(tmp_path / name)
    assert files(tmp_path) == []
