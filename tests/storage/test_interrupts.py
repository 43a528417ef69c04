"""An interrupt (Ctrl-C, or the stop button of a notebook) at any moment of a read leaves nothing held behind.

Found by interrupting reads at random: every thirtieth left a reader counted that was none, or a lock that nobody gave
back, and the next read of a shared slot, or the next fork, waited for it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb
import numpy as np
import pytest

import mctree
from mctree.storage import environment
from mctree.storage.pooled import PooledLevel
from mctree.storage.portable import PortableLevel
from mctree.storage.rows import Level
from tests.interrupting import interrupted
from tests.storage.level_files import Files, paged_layout

CHUNKS = 6


def test_a_look_into_the_index(path: Path) -> None:
    with mctree.open(path) as tree:
        index = tree.store.environment

        def look() -> None:
            with index.reading() as outer, index.reading() as inner:
                assert outer.get(b"m") == inner.get(b"m")

        assert interrupted(look, lambda: assert_nobody_reads(index)) > 20


def test_a_look_that_has_to_follow_a_map(path: Path) -> None:
    with mctree.open(path) as tree:
        index = tree.store.environment
        real = index._env

        class Grown:
            """An environment whose map another process has made larger."""

            def begin(self) -> None:
                raise lmdb.MapResizedError

            def set_mapsize(self, _: int) -> None:
                index._env = real

        def look() -> None:
            index._env = Grown()  # type: ignore[assignment]  # as much of one as a look needs
            with index.reading() as txn:
                assert txn.get(b"m")

        try:
            assert interrupted(look, lambda: assert_nobody_reads(index)) > 20
        finally:
            index._env = real


def assert_nobody_reads(index: environment.Environment) -> None:
    assert index._readers == 0
    assert not index._own.__dict__.get("open")
    with ThreadPoolExecutor(1) as other:
        assert other.submit(index._lock.acquire, timeout=5).result(), "the lock is held"
        other.submit(index._lock.release).result()


@pytest.mark.parametrize("kind", ["mapped", "pooled", "pooled cold", "portable"])
def test_a_gather(tmp_path: Path, kind: str) -> None:
    files = Files(tmp_path, paged_layout())
    for chunk in range(CHUNKS):
        files.write(chunk)
    limit = CHUNKS * files.layout.rows_per_chunk
    rows = np.arange(0, limit, files.layout.rows_per_chunk // 2)
    with files.level(kind, limit) as level:

        def gather() -> None:
            level.refresh()
            found = level.gather(rows[:3], limit=limit), level.runs(rows[-2:], 4, limit=limit)
            assert np.array_equal(found[0], files.expected(rows[:3]))

        assert interrupted(gather, lambda: assert_nothing_is_held(level)) > 20
        assert np.array_equal(level.gather(rows, limit=limit), files.expected(rows))


def assert_nothing_is_held(level: Level) -> None:
    lock = level._lock
    assert lock.acquire(blocking=False)
    lock.release()
    if isinstance(level, PooledLevel):
        assert not level._out
        assert not level._line
        assert {slot: chunk for chunk, slot in level._table.items()} == {
            slot: chunk for slot, chunk in enumerate(level._owner.tolist()) if chunk >= 0
        }
    if isinstance(level, PortableLevel):
        assert not level._loading
