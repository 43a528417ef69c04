"""Damage to a record of the index is reported with the node, the source and the bytes that it hits."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import lmdb
import pytest

import mctree
from mctree.format.keys import Table, u32, u64
from mctree.testing import ToyEncoder
from mctree.tree.check import Problem

pytestmark = pytest.mark.damages
ENCODER = ToyEncoder(dim=2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blocks 0 … 129 are one document's; then two in turns, of which one stays open with a tail; then a dead one."""
    path = tmp_path_factory.mktemp("hits") / "t.mctree"
    with mctree.create(path, chunk_bytes=65536, keep=0, encoders=[ENCODER]) as tree:
        with tree.writer() as writer:
            writer.add("long", b"x" * (130 * 32))
            one, two = writer.begin("one"), writer.begin("two")
            for _ in range(2):
                one.write(b"1" * 64)
                two.write(b"2" * 40)
            one.close()
            writer.add("dead", b"d" * 50)
        tree.build_gists(ENCODER, "kept")
        tree.build_gists(ToyEncoder(dim=2, seed=1), "dropped", default=False)
        with tree.writer() as writer:
            writer.remove("dead")
        tree.drop_gists("dropped")
    return path


def first(path: Path) -> Problem:
    with mctree.open(path, writable=False, encoders=[ENCODER]) as tree:
        return next(iter(tree.verify()))


def numbers(*values: int) -> bytes:
    return b"".join(map(u64.pack, values))


KEYS = {
    "first page of block records": (Table.BLOCKS + numbers(0), "1:0", b"long", 0, 127 * 32),
    "second page of block records": (Table.BLOCKS + numbers(1), "1:127", b"long", 127 * 32, 130 * 32),
    "document": (Table.DOCUMENT + numbers(1), None, b"long", 0, 130 * 32),
    "first run": (Table.RUN + numbers(2, 0), None, b"one", 0, 128),
    "later run": (Table.RUN + numbers(2, 2), None, b"one", 64, 128),
    "tail, whose end nothing else tells": (Table.TAIL + numbers(3), None, b"two", 64, 64),
    "death": (Table.DEATH, "1:136", None, 0, 32),
    "chunk of tokens": (Table.CHUNK + u32.pack(0), "1:0", b"long", 0, 32),
    "chunk of gists": (Table.CHUNK + u32.pack(4), "2:0", b"long", 0, 32 * 32),
    "checksums": (Table.CHECKSUMS + u32.pack(3), "1:0", b"long", 0, 32),
    "source": (Table.SOURCE, None, b"", 0, 0),
}


@pytest.mark.parametrize("name", KEYS)
def test_a_damaged_record_says_what_it_hits(whole: Path, tmp_path: Path, name: str) -> None:
    """Found by flipping bits: only the key was named, in hexadecimal digits."""
    prefix, node, source, start, stop = KEYS[name]
    path = Path(shutil.copytree(whole, tmp_path / "t.mctree"))
    with closing(lmdb.open(str(path / "index.lmdb"))) as index, index.begin(write=True) as txn, txn.cursor() as cursor:
        assert cursor.set_range(prefix)
        key, value = cursor.item()
        assert key.startswith(prefix)
        txn.put(key, value[:-1] + bytes([value[-1] ^ 1]))
    problem = first(path)
    assert problem.where.startswith(f"index record {prefix[:1].decode()!r}")
    if name == "source":
        assert problem.source is not None
        return
    assert (None if problem.node is None else str(problem.node)) == node
    assert (problem.source, problem.start, problem.stop) == (source, start, stop)


def test_gists_of_a_dropped_set_are_looked_at_while_a_commit_sees_them(whole: Path, tmp_path: Path) -> None:
    """Found by reading: time travel showed damaged gists, and nothing had been said of them."""
    path = Path(shutil.copytree(whole, tmp_path / "t.mctree"))
    with (path / "gists/dropped/text/lod1/c.0.0").open("r+b") as file:
        file.seek(4 * 131)
        file.write(b"\x55")
    problem = first(path)
    assert str(problem.node) == "1:131"
    assert "'dropped'" in problem.what


def test_a_damaged_page_says_which_records_it_hits(whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(whole, tmp_path / "t.mctree"))
    data = bytearray((path / "index.lmdb/data.mdb").read_bytes())
    for page in range(2, len(data) // 4096):
        if data[page * 4096 + 10] == 4:  # large records: block records, or an encoder
            data[page * 4096 + 10] = 0
    (path / "index.lmdb/data.mdb").write_bytes(data)
    problem = first(path)
    assert problem.kind == "page"
    assert str(problem.node) == "1:0"
    assert "records from 'b' 0000000000000000 to" in problem.what
