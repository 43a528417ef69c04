"""Damage to a record of the index is reported with the node, the source and the bytes that it hits."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import lmdb
import numpy as np
import pytest

import mctree
from mctree.format.facts import Stamp
from mctree.format.keys import Table, commit_key, u32, u64
from mctree.storage.audit import bad_records
from mctree.testing import ToyEncoder
from mctree.tree.check import Problem

pytestmark = pytest.mark.damages
ENCODER = ToyEncoder(dim=2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blocks 0 … 129 are one document's; then two in turns, of which one stays open with a tail; then a dead one.

    Behind them are two images, of which the first dies.
    """
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
        with tree.writer() as writer:
            writer.add_image("dead picture", np.full((20, 130, 1), 3, np.uint8))
            writer.add_image("picture", np.full((20, 130, 1), 7, np.uint8))
            writer.link((64, 128), (0, 32), kind="of text")
            writer.link((0, 64), (0, 32), kind="of a picture", spaces=(1, 0))
            writer.link((10**9, 10**9 + 32), (10**9, 10**9 + 32), kind="of what may come")
            writer.stamp(b"one", Stamp(1, 2, 3, 4, 5, b"digest"))
        with tree.writer() as writer:
            writer.remove("dead picture")
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
    "death": (Table.DEATH, "1:136", b"dead", 0, 32),
    "chunk of tokens": (Table.CHUNK + u32.pack(0), "1:0", b"long", 0, 32),
    "chunk of gists": (Table.CHUNK + u32.pack(4), "2:0", b"long", 0, 32 * 32),
    "checksums": (Table.CHECKSUMS + u32.pack(3), "1:0", b"long", 0, 32),
    "source": (Table.SOURCE, None, b"", 0, 0),
    "images on the timeline": (Table.GRAFTS + numbers(0), "1:138", b"dead picture", 0, 0),
    "image": (Table.IMAGE + numbers(6), None, b"picture", 0, 0),
    "pages of patches": (Table.PAGES, "a1/0:0", b"dead picture", 0, 0),
    "kept pixels": (Table.PIECES, "a1/1:0", b"dead picture", 0, 0),
    "link": (Table.LINK + numbers(1), "1:0", b"long", 0, 32),
    "link of an image": (Table.LINK_NODE + u32.pack(1), "a1/1:0", b"dead picture", 0, 0),
    "link beyond the end": (Table.LINK + numbers(3), "1:31250000", None, 0, 0),
    "stamp": (Table.STAMP, None, b"one", 0, 0),
}


@pytest.mark.parametrize("name", KEYS)
def test_a_damaged_record_says_what_it_hits(whole: Path, tmp_path: Path, name: str) -> None:
    """Found by flipping bits: only the key was named, in hexadecimal digits."""
    prefix, node, source, start, stop = KEYS[name]
    path = Path(shutil.copytree(whole, tmp_path / "t.mctree"))
    flip(path, prefix, value=-1)
    problem = first(path)
    assert problem.where.startswith(f"index record {prefix[:1].decode()!r}")
    if name == "source":
        assert problem.source is not None
        return
    assert (None if problem.node is None else str(problem.node)) == node
    assert (problem.source, problem.start, problem.stop) == (source, start, stop)


def test_a_damaged_run_of_an_open_document_reaches_to_its_tail(whole: Path, tmp_path: Path) -> None:
    """Found by flipping bits: it was said to hit no byte, as what ends the run says where it ends."""
    path = Path(shutil.copytree(whole, tmp_path / "t.mctree"))
    flip(path, Table.RUN + numbers(3, 1), value=-1)
    problem = first(path)
    assert (problem.source, problem.start, problem.stop) == (b"two", 32, 64)


def test_a_tail_of_an_older_commit_begins_where_its_blocks_ended(tmp_path: Path) -> None:
    """Found by flipping bits: it was said to hit what came after it."""
    path = tmp_path / "t.mctree"
    with mctree.create(path, chunk_bytes=65536, keep=0) as tree, tree.writer() as writer:
        document = writer.begin("open")
        for size in (40, 64):
            document.write(b"x" * size)
            writer.commit()
    flip(path, Table.TAIL + numbers(1), value=-1)
    problem = first(path)
    assert (problem.source, problem.start, problem.stop) == (b"open", 32, 96)


def test_the_chunk_of_kept_pixels_leads_to_the_first_tile(whole: Path, tmp_path: Path) -> None:
    """Found by flipping bits: it was named by its array alone."""
    path = Path(shutil.copytree(whole, tmp_path / "t.mctree"))
    with mctree.open(path, writable=False, encoders=[ENCODER]) as tree, tree.snapshot() as snapshot:
        array = snapshot.gallery.pixels_array
    assert array is not None
    flip(path, Table.CHUNK + u32.pack(array), value=-1)
    problem = first(path)
    assert (str(problem.node), problem.source) == ("a1/1:0", b"dead picture")


@pytest.mark.parametrize("at", [0, 3, 8, 12, 16], ids=lambda at: f"byte {at}")
@pytest.mark.parametrize("table", [Table.DOCUMENT, Table.PAGES, Table.TAIL], ids=lambda table: table.name.lower())
def test_a_record_under_a_damaged_key_is_named_by_its_own(whole: Path, tmp_path: Path, table: Table, at: int) -> None:
    """Found by flipping bits: a record whose key was hit was said to be of whatever document the key led to now."""
    path = Path(shutil.copytree(whole, tmp_path / "t.mctree"))
    key = flip(path, table, key=at)
    with mctree.open(path, writable=False, encoders=[ENCODER]) as tree, tree.store.reading() as index:
        assert key in {true for true, what in bad_records(index) if what.startswith("stands under another key")}


def test_what_is_hit_of_a_dead_image_is_named(whole: Path, tmp_path: Path) -> None:
    """Found by flipping bits: older commits show it, and only its node was named."""
    path = Path(shutil.copytree(whole, tmp_path / "t.mctree"))
    with (path / "images/statistics1/lod0/c.0.0").open("r+b") as file:
        file.write(b"\x55")
    problem = first(path)
    assert (str(problem.node), problem.source) == ("a1/0:0", b"dead picture")
    assert "pixels [0, 16) × [0, 16)" in problem.where


def test_tokens_of_a_dead_document_are_named(whole: Path, tmp_path: Path) -> None:
    """Found by flipping bits: older commits show it, and only its node was named."""
    path = Path(shutil.copytree(whole, tmp_path / "t.mctree"))
    with (path / "text/lod0/c.0").open("r+b") as file:
        file.seek(136 * 32)
        file.write(b"\x55")
    problem = first(path)
    assert (str(problem.node), problem.source, problem.start, problem.stop) == ("1:136", b"dead", 0, 32)


def flip(path: Path, prefix: bytes, *, key: int | None = None, value: int | None = None) -> bytes:
    """Flip a bit in the key, or in the value, of the first record that begins so; returns its true key."""
    with closing(lmdb.open(str(path / "index.lmdb"))) as index, index.begin(write=True) as txn, txn.cursor() as cursor:
        assert cursor.set_range(prefix)
        true, content = map(bytes, cursor.item())
        assert true.startswith(prefix)
        txn.delete(true)
        txn.put(_flipped(true, key), _flipped(content, value))
    return true


def _flipped(data: bytes, at: int | None) -> bytes:
    changed = bytearray(data)
    if at is not None:
        changed[at] ^= 1
    return bytes(changed)


def test_gists_of_a_dropped_set_are_looked_at_while_a_commit_sees_them(whole: Path, tmp_path: Path) -> None:
    """Found by reading: time travel showed damaged gists, and nothing had been said of them."""
    path = Path(shutil.copytree(whole, tmp_path / "t.mctree"))
    with (path / "gists/dropped/text/lod1/c.0.0").open("r+b") as file:
        file.seek(4 * 131)
        file.write(b"\x55")
    problem = first(path)
    assert str(problem.node) == "1:131"
    assert "'dropped'" in problem.what


@pytest.mark.parametrize("file", ["gists/dropped/zarr.json", "gists/dropped/text/lod1/zarr.json"])
def test_metadata_of_a_dropped_set_are_looked_at_while_a_commit_sees_them(
    whole: Path, tmp_path: Path, file: str
) -> None:
    """Found by flipping bits: nothing was said of them."""
    path = Path(shutil.copytree(whole, tmp_path / "t.mctree"))
    text = (path / file).read_bytes()
    for damaged in (text.replace(b"zarr_format", b"zarr_normat"), text[:-3]):
        (path / file).write_bytes(damaged)
        with mctree.open(path, writable=False, encoders=[ENCODER]) as tree:
            assert [problem.where for problem in tree.verify()] == [file]
    (path / file).unlink()
    assert first(path).where == file


def test_a_damaged_record_of_an_older_commit_hides_no_damaged_metadata(whole: Path, tmp_path: Path) -> None:
    """Found by reading: which arrays only older commits see was asked first, and nobody could tell."""
    path = Path(shutil.copytree(whole, tmp_path / "t.mctree"))
    (path / "text/lod0/zarr.json").write_bytes(b"{}")
    with mctree.open(path, writable=False, encoders=[ENCODER]) as tree:
        older = tree.commits()[1].number
    with lmdb.open(str(path / "index.lmdb")) as index, index.begin(write=True) as txn:
        value = txn.get(commit_key(Table.COMMIT, older))
        txn.put(commit_key(Table.COMMIT, older), value[:-1] + bytes([value[-1] ^ 1]))
    with mctree.open(path, writable=False, encoders=[ENCODER]) as tree:
        assert "text/lod0/zarr.json" in [problem.where for problem in tree.verify()]


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
