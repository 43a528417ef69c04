"""A process that may have few addresses (`ulimit -v`) reads and writes an index for as long as there is room for it."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mctree
from mctree.errors import BusyError, UsageError, WriterFailedError
from mctree.storage import environment
from mctree.testing.processes import in_child

SPARE = 100 << 20
GROW = """
import hashlib, random, sys
import mctree
with mctree.open(sys.argv[1]) as tree, tree.writer() as writer:
    data = random.Random(1).randbytes(8 << 20)
    writer.next.put_blob(hashlib.blake2b(data, digest_size=32).digest(), data)
    writer.add("second", b"some text")
"""


def names(tree: mctree.Tree) -> list[str]:
    with tree.snapshot() as snapshot:
        return [document.name for document in snapshot.documents()]


def limit_addresses(spare: int) -> None:
    """Leave the process so many bytes of addresses beyond those that it has."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    used = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmSize"))
    resource.setrlimit(resource.RLIMIT_AS, (used + spare, used + spare))


def with_map(size: int, work: Callable[[], None]) -> None:
    """Do something in a process whose maps of indices begin with a size."""

    def child() -> None:
        environment._MAP_BYTES = size
        work()

    assert in_child(child) == 0


def test_a_map_that_cannot_be_made_larger_ends_no_reader(path: Path) -> None:
    """LMDB closes an index whose map it could not move, and all readers of the process were told to restore it."""

    def work() -> None:
        with mctree.open(path) as tree:
            limit_addresses(SPARE)
            with pytest.raises(WriterFailedError, match="ulimit -v"):
                tree.store.environment.grow()
            assert names(tree) == ["first"]

    with_map(256 << 20, work)


def test_who_has_no_addresses_for_a_map_as_large_as_others_have_reads_on(path: Path) -> None:
    def work() -> None:
        with mctree.open(path) as tree:
            assert names(tree) == ["first"]
            subprocess.run([sys.executable, "-c", GROW, str(path)], check=True)
            limit_addresses(SPARE)
            assert names(tree) == ["first", "second"]

    with_map(2 << 20, work)


def test_an_index_for_which_there_are_no_addresses_at_all_is_not_called_damaged(path: Path) -> None:
    def work() -> None:
        limit_addresses(SPARE)
        with pytest.raises(BusyError, match="ulimit -v"):
            mctree.open(path)

    assert in_child(work) == 0


def test_a_store_that_is_closed_while_it_is_read_is_not_called_damaged(path: Path) -> None:
    with mctree.open(path) as tree:
        index = tree.store.environment
        with pytest.raises(UsageError, match="closed"), index.reading() as txn:
            tree.close()
            txn.get(b"m")
