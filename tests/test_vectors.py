"""The store of one vector an image: what it gives back, and what a damaged or missing one costs."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from vgglass.data import store as vector_store
from vgglass.data.store import VectorStore

KEYS = [number.to_bytes(32) for number in range(1200)]
VALUES = np.arange(1200 * 3, dtype=np.float32).reshape(1200, 3)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VGGLASS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def store(name: str = "one") -> VectorStore:
    return VectorStore({"network": name}, 3)


def filled(name: str = "one") -> Path:
    with closing(store(name)) as found:
        found.put(KEYS, VALUES)
    return found.path


def test_what_was_put_is_there_for_the_next() -> None:
    filled()
    with closing(store()) as found:
        got = found.get([*KEYS, b"another"])
    assert len(got) == 1200
    assert all((got[key] == value).all() for key, value in zip(KEYS, VALUES, strict=True))


def test_networks_do_not_share() -> None:
    filled()
    with closing(store("two")) as found:
        assert found.get(KEYS) == {}


def test_a_changed_byte_is_computed_again() -> None:
    path = filled()
    with closing(sqlite3.connect(path)) as database, database:
        value = bytearray(VALUES[7].tobytes())
        value[0] ^= 1
        database.execute("UPDATE entries SET value = ? WHERE key = ?", (bytes(value), KEYS[7]))
        database.execute("UPDATE entries SET value = ? WHERE key = ?", (b"short", KEYS[8]))
    with closing(store()) as found:
        assert set(KEYS) - found.get(KEYS).keys() == {KEYS[7], KEYS[8]}


DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda content: b"",
    lambda content: content[:5000],
    lambda content: bytes(len(content)),
    lambda content: os.urandom(len(content)),
    lambda content: content[:4096] + bytes(len(content) - 4096),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=["empty", "cut", "zeroed", "random", "zeroed after its head"])
def test_a_damaged_file_is_begun_anew(damage: Callable[[bytes], bytes]) -> None:
    path = filled()
    path.write_bytes(damage(path.read_bytes()))
    with closing(store()) as found:
        assert found.get(KEYS) == {}
        found.put(KEYS[:2], VALUES[:2])
    with closing(store()) as found:
        assert found.get(KEYS).keys() == set(KEYS[:2])


def test_a_place_that_cannot_be_written_costs_time_alone(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    with closing(store()) as found:
        found.put(KEYS, VALUES)
        assert found.get(KEYS) == {}
    assert "can't be used" in caplog.text


def test_the_least_recently_used_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = filled("first"), filled("second")
    os.utime(first, (1, 1))
    monkeypatch.setattr(vector_store, "LARGEST", second.stat().st_size)
    store("third").close()
    assert not first.exists()
    assert second.exists()
