"""Whatever is wrong with the pages of an index is found before LMDB is let loose on it, and nothing else is."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mctree
from mctree.errors import CorruptError, MctreeError
from mctree.storage.pages import Meta, damaged_in, read_meta
from mctree.testing import scratch

PAGE = 4096
NUMBER_AT = 144  # of the transaction, in a header
BRANCH, LEAF = 1, 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose index has branches, large records and free pages."""
    path = tmp_path_factory.mktemp("pages") / "t.mctree"
    with mctree.create(path, chunk_bytes=65536) as tree:
        for i in range(4):
            with tree.writer() as writer:
                writer.add(f"long {i}", bytes(range(256)) * 40)
                for j in range(60):
                    writer.add(f"document {i} {j}", b"text " * 9)
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy.mctree"))


class Index:
    """The pages of a store's index, to be changed."""

    def __init__(self, store: Path) -> None:
        self.path = store / "index.lmdb/data.mdb"
        self.data = bytearray(self.path.read_bytes())

    @property
    def metas(self) -> list[Meta]:
        """The older header, and the newer one."""
        return sorted((read_meta(self.data[at:]) for at in (0, PAGE)), key=lambda meta: meta.number)

    def nodes(self, page: int) -> list[int]:
        """Where in the file the nodes of a page begin."""
        lower = struct.unpack_from("<H", self.data, page * PAGE + 12)[0]
        return [page * PAGE + at for at in struct.unpack_from(f"<{(lower - 16) // 2}H", self.data, page * PAGE + 16)]

    def pages(self, kind: int) -> Iterator[int]:
        """The pages of a kind that lie where they say; some may not be in use."""
        for page in range(2, len(self.data) // PAGE):
            own, _, flags = struct.unpack_from("<QHH", self.data, page * PAGE)
            if (own, flags) == (page, kind):
                yield page

    def write(self) -> None:
        self.path.write_bytes(self.data)


def ended(path: Path, look: Callable[[mctree.Tree], object]) -> int | str:
    """How a process ends that opens a store and looks at it: 0, a signal, or the error that it is told."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with mctree.open(path, writable=False) as tree:
                look(tree)
        except MctreeError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    return said or os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def found(path: Path) -> list[str]:
    with mctree.open(path, writable=False) as tree:
        return [f"{problem.where} {problem.what}" for problem in tree.verify()]


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), transactions=st.integers(1, 40))
def test_whatever_lmdb_does_its_pages_are_sound(seed: int, transactions: int) -> None:
    rng = np.random.default_rng(seed)
    keys = [b"~" + rng.bytes(int(n)) for n in rng.integers(1, 60, 300)]  # none of them names a commit
    with scratch() as folder, closing(lmdb.open(folder, map_size=1 << 28)) as index:
        for _ in range(transactions):
            with index.begin(write=True) as txn:
                txn.put(b"~", rng.bytes(8))  # no transaction without a change: it would not count
                for key in rng.choice(len(keys), int(rng.integers(1, 60))).tolist():
                    if rng.random() < 0.4:
                        txn.delete(keys[key])
                    else:
                        txn.put(keys[key], bytes(int(rng.choice([1, 40, 900, 5000, 40000]))))
        fd = os.open(f"{folder}/data.mdb", os.O_RDONLY)
        with index.begin() as txn:
            assert list(damaged_in(fd, txn)) == []
        os.close(fd)


def test_a_sound_index_of_many_pages_is_sound(whole: Path) -> None:
    assert found(whole) == []
    assert len(Index(whole).nodes(Index(whole).metas[1].main.root)) > 3


@pytest.mark.damages
def test_a_key_that_only_leads_the_way_is_looked_at(copy: Path) -> None:
    """Found by flipping bits: records could not be found any more, and a scan of all of them found nothing wrong."""
    index = Index(copy)
    root = index.metas[1].main.root
    wrong = 0
    for node in index.nodes(root)[1:]:
        size = struct.unpack_from("<H", index.data, node + 6)[0]
        if index.data[node + 8 : node + 9] == b"d":  # documents, of which there are many leaves
            index.data[node + 8 + size - 1] ^= 0x80
            wrong += 1
    assert wrong
    index.write()
    assert any(f"page {root} of the index" in what or "keys that belong elsewhere" in what for what in found(copy))


@pytest.mark.damages
def test_a_page_whose_key_above_it_is_damaged_is_told_by_what_is_in_it(copy: Path) -> None:
    """Found by flipping bits: records before the damaged key were not among those that were said to be lost."""
    index = Index(copy)
    nodes = index.nodes(index.metas[1].main.root)[1:]
    node = next(at for at in nodes if index.data[at + 8 : at + 9] == b"d" and not index.data[at + 16] % 2)
    child = int.from_bytes(index.data[node : node + 6], "little")
    held = [bytes(index.data[at + 8 : at + 8 + 17]) for at in index.nodes(child)]
    assert all(key[:1] == b"d" for key in held)
    index.data[node + 16] += 1  # from the next document on
    index.write()
    with closing(lmdb.open(str(copy / "index.lmdb"), readonly=True)) as opened, opened.begin() as txn:
        fd = os.open(copy / "index.lmdb/data.mdb", os.O_RDONLY)
        fault = next(fault for fault in damaged_in(fd, txn) if fault.page == child)
        os.close(fd)
    assert fault.low <= held[0]
    assert fault.high is None or held[-1] < fault.high


@pytest.mark.damages
def test_an_older_header_that_says_to_be_newer_is_found(copy: Path) -> None:
    """Found by reading: a bit in the number of a header let the state before the newest commit stand for it."""
    index = Index(copy)
    older = index.metas[0]
    struct.pack_into("<Q", index.data, older.page * PAGE + NUMBER_AT, older.number + 2)
    index.write()
    (copy / "head").unlink()  # as far behind as a power cut may leave it
    assert any("leads to an older commit than the other header" in what for what in found(copy))


@pytest.mark.damages
def test_a_page_that_is_in_use_and_said_to_be_free_is_found(copy: Path) -> None:
    """Found by reading: the next commit would have written over it, and its checksums would have been missed later."""
    index = Index(copy)
    newest = index.metas[1]
    node = index.nodes(newest.free.root)[-1]
    listed = node + 16 + 8  # the record of the last transaction, behind its count
    struct.pack_into("<Q", index.data, listed, newest.main.root)
    index.write()
    assert any("free" in what and "the next commit would destroy" in what for what in found(copy))


@pytest.mark.damages
def test_a_record_of_a_commit_that_is_gone_is_missed(copy: Path) -> None:
    """Found by reading: no commit counts the commits, so one that was kept could be lost without a word."""
    index = Index(copy)
    for page in index.pages(LEAF):
        nodes = index.nodes(page)
        first = next((i for i, node in enumerate(nodes) if index.data[node + 8 : node + 9] == b"c"), None)
        if first is not None:
            starts = [node - page * PAGE for i, node in enumerate(nodes) if i != first]
            struct.pack_into(f"<{len(starts)}H", index.data, page * PAGE + 16, *starts)
            struct.pack_into("<H", index.data, page * PAGE + 12, 16 + 2 * len(starts))
    index.write()
    assert any("counts other pages or records than are there" in what for what in found(copy))


@pytest.mark.damages
@pytest.mark.parametrize("damage", ["kind", "pointers", "children"])
def test_a_damaged_page_on_the_way_to_the_newest_commit_is_refused(copy: Path, damage: str) -> None:
    """Found by flipping bits: opening a store ended the process before anybody could look for damage."""
    index = Index(copy)
    root = index.metas[1].main.root
    if damage == "kind":
        struct.pack_into("<H", index.data, root * PAGE + 10, 0)
    elif damage == "pointers":
        index.data[root * PAGE + 16 : root * PAGE + 24] = b"\xff" * 8
    else:
        for node in index.nodes(root):
            struct.pack_into("<HH", index.data, node, 0xFFF0, 0xFFFF)
    index.write()
    said = ended(copy, lambda tree: tree.commits())
    assert isinstance(said, str)
    assert "data.mdb is damaged: its page" in said


@pytest.mark.damages
@pytest.mark.parametrize("put_back", [1, 2, 7, 15])
def test_an_index_put_back_by_any_number_of_commits_is_noticed_also_after_a_kill(tmp_path: Path, put_back: int) -> None:
    """Known before: the number in `head` might have been 15 commits behind when the writer was killed."""
    path = tmp_path / "t.mctree"
    mctree.create(path).close()
    pid = os.fork()
    if pid == 0:
        try:
            writer = mctree.open(path).writer()
            for i in range(15):
                if i == 15 - put_back:
                    shutil.copy(path / "index.lmdb/data.mdb", tmp_path / "older")
                writer.add(f"{i}", b"x")
                writer.commit()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    shutil.copy(tmp_path / "older", path / "index.lmdb/data.mdb")
    with pytest.raises(CorruptError, match="older state"):
        mctree.open(path)
