"""What decodes may die: of a crash, of time, of memory; the file is named, and the next one is decoded."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from glass_subjects import model, photograph
from served import encoded
from vgglass import isolation
from vgglass.data.dataset import Sample
from vgglass.data.examination import examine
from vgglass.data.loader import square
from vgglass.errors import ImageError
from vgglass.images import decode
from vgglass.inference.views import decoding, parse, show
from vgglass.isolation import Decoders
from vgglass.preprocess import fit, read

RECORD = model("A").record
WAY = RECORD.preprocessing
CENTRE = parse("centre", RECORD)
# A decoder that meets one name and dies of it; all others it decodes.
DYING = """
import ctypes, os, signal, sys, time
from vgglass import decoder
from vgglass.preprocess import read
def dying(source, record):
    name = source.name if hasattr(source, "name") else ""
    if name == "crash.png": ctypes.string_at(0)
    if name == "endless.png":
        while True: pass
    if name == "bug.png": raise KeyError("a fault of ours")
    if name == "swell.png": bytearray(1 << 30)
    if name == "killed.png": os.kill(os.getpid(), signal.SIGKILL)
    if name == "once.png" and not os.path.exists(str(source) + ".met"):
        open(str(source) + ".met", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return read(source, record)
decoder.read = dying
decoder.main()
"""


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    found = Decoders(1)
    yield found
    found.stop()


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch, decoders: Decoders) -> Decoders:
    monkeypatch.setattr(isolation, "command", lambda memory: [sys.executable, "-c", DYING, str(memory)])
    return decoders


def saved(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(encoded(photograph(40, 50), "PNG"))
    return path


def test_alike_the_decoder_itself(decoders: Decoders, tmp_path: Path) -> None:
    """Of a path, absolute and relative, of bytes, and of what is no path and can be read."""
    path, views = saved(tmp_path, "図.png"), parse("dense@72,96+crops@80", RECORD)
    expected = show(read(path, decoding(WAY, views)), WAY, views)
    for source in (path, Path(os.path.relpath(path)), path.read_bytes()):
        for one, other in zip(decoders.show(source, WAY, views), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(decoders.fit(path, WAY), fit(read(path, WAY), WAY))
    sample = Sample("図.png", path, 0, hashlib.sha256(path.read_bytes()).digest())
    np.testing.assert_array_equal(square(sample, WAY), fit(read(path, WAY), WAY))
    np.testing.assert_array_equal(decoders.decode(path, channels=1), decode(path, channels=1))


def test_a_name_that_is_not_utf8(decoders: Decoders, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png"))
    path.write_bytes(encoded(photograph(40, 50), "PNG"))
    np.testing.assert_array_equal(decoders.decode(path), decode(path))


@pytest.mark.parametrize("content", [b"", b"no image", encoded(photograph(40, 50), "PNG")[:300]])
def test_errors_are_those_of_the_decoder_itself(decoders: Decoders, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(ImageError) as expected:
        decode(path)
    with pytest.raises(ImageError) as found:
        decoders.decode(path)
    assert found.value.args == expected.value.args


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crash.png", r"its decoder broke down on it \(SIGSEGV\)"),
        ("endless.png", r"took more than 0.5 s of a processor to decode"),
        ("bug.png", r"its decoder broke down on it \(KeyError: 'a fault of ours'\)"),
        ("killed.png", r"its decoder broke down on it \(SIGKILL\)"),
        pytest.param(
            "swell.png", "needs more than 512 MiB to decode",
            marks=pytest.mark.skipif(sys.platform == "darwin", reason="macOS limits no address space"),
        ),
    ],
)  # fmt: skip
def test_what_ends_a_decoder_is_named_and_the_next_is_decoded(
    dying: Decoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    monkeypatch.setattr(isolation, "SECONDS", 0.5)
    with pytest.raises(ImageError, match=rf"^\S*{name}: {reason}; "):
        dying.show(saved(tmp_path, name), WAY, CENTRE)
    dying.show(saved(tmp_path, "sound.png"), WAY, CENTRE)


def test_one_that_was_killed_from_outside_costs_no_file(dying: Decoders, tmp_path: Path) -> None:
    """While it decoded, and while it waited."""
    assert len(dying.show(saved(tmp_path, "once.png"), WAY, CENTRE)) == 1
    dying._processes[0]._process.kill()
    dying._processes[0]._process.wait()
    assert len(dying.show(saved(tmp_path, "sound.png"), WAY, CENTRE)) == 1


def test_many_threads_get_each_their_own_answer(decoders: Decoders) -> None:
    pictures = [photograph(40, 50, seed=seed) for seed in range(12)]
    found: dict[int, bool] = {}

    def ask(index: int) -> None:
        data = encoded(pictures[index], "PNG")
        found[index] = np.array_equal(decoders.decode(data), pictures[index])

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(12), True)


def test_no_process_outlives_its_command(tmp_path: Path) -> None:
    """Killed by SIGKILL, a command can stop nobody: its decoders see that their pipes closed."""
    path = saved(tmp_path, "x.png")
    code = (
        "import os, signal, sys; from pathlib import Path; from vgglass.isolation import DECODERS\n"
        "DECODERS.decode(Path(sys.argv[1])); print(DECODERS._processes[0]._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    child = int(subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True).stdout)
    until = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_forked_process_starts_its_own(decoders: Decoders, tmp_path: Path) -> None:
    decoders.decode(saved(tmp_path, "x.png"))
    (mine,) = decoders._processes
    decoders.forget()
    decoders.decode(tmp_path / "x.png")
    assert decoders._processes != [mine]
    mine.end()


def test_examining_names_what_ended_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = Decoders(1)
    monkeypatch.setattr(isolation, "command", lambda memory: [sys.executable, "-c", DYING.replace(
        "decoder.read = dying", "decoder.examination.look = lambda data: ctypes.string_at(0)"
    ), str(memory)])  # fmt: skip
    monkeypatch.setattr("vgglass.data.examination.DECODERS", dying)
    found = examine(saved(tmp_path, "x.png"))
    dying.stop()
    assert found.error == "its decoder broke down on it (SIGSEGV)"
    assert found.size == (tmp_path / "x.png").stat().st_size
