"""However the index is damaged, looking for damage finds it, and ends no process."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mctree
from mctree.encoders import train_bpe
from mctree.errors import CorruptError, MctreeError
from mctree.format.keys import Table, u32
from mctree.format.values import frame, pack, unpack
from mctree.testing import ToyEncoder, scratch

PAGE = 4096


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("damage") / "t.mctree"
    with mctree.create(path, chunk_bytes=65536) as tree:
        with tree.writer() as writer:
            for i in range(300):
                writer.add(f"document {i}", b"text " * 30)
            writer.add("long", bytes(range(256)) * 4000)
        with tree.writer() as writer:
            for i in range(0, 300, 3):
                writer.remove(f"document {i}")
    return path


def looked_at(path: Path) -> int:
    """How a process ends that opens a store and looks for damage: 0 if it finds none, 1 if it finds some."""
    pid = os.fork()
    if pid == 0:
        try:
            with mctree.open(path, writable=False) as tree:
                os._exit(1 if list(tree.verify()) else 0)
        except MctreeError:
            os._exit(1)
        except BaseException:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.damages
@settings(max_examples=50)
@given(data=st.data())
def test_a_page_of_the_index_that_is_not_itself(whole: Path, data: st.DataObject) -> None:
    """Found by trying: LMDB ends the process when a scan comes upon a page that was zeroed."""
    content = bytearray((whole / "index.lmdb/data.mdb").read_bytes())
    page = data.draw(st.integers(0, len(content) // PAGE - 1)) * PAGE
    how = data.draw(st.sampled_from(["zeroed", "another", "bytes"]))
    if how == "zeroed":
        content[page : page + PAGE] = bytes(PAGE)
    elif how == "another":
        other = data.draw(st.integers(0, len(content) // PAGE - 1)) * PAGE
        content[page : page + PAGE] = content[other : other + PAGE]
    else:
        at = page + data.draw(st.integers(0, 64) | st.integers(0, PAGE - 4))
        content[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))
    with scratch() as folder:
        copy = Path(shutil.copytree(whole, Path(folder) / "copy"))
        (copy / "index.lmdb/data.mdb").write_bytes(content)
        assert looked_at(copy) in (0, 1)


def test_a_whole_index_has_no_damaged_page(whole: Path) -> None:
    assert looked_at(whole) == 0


@pytest.mark.damages
def test_a_zeroed_page_is_named(whole: Path, tmp_path: Path) -> None:
    found = 0
    content = (whole / "index.lmdb/data.mdb").read_bytes()
    for page in range(2, len(content) // PAGE):
        copy = Path(shutil.copytree(whole, tmp_path / "copy"))
        (copy / "index.lmdb/data.mdb").write_bytes(content[: page * PAGE] + bytes(PAGE) + content[(page + 1) * PAGE :])
        try:
            with mctree.open(copy, writable=False) as tree:
                problems = [problem for problem in tree.verify() if problem.where == f"page {page} of the index"]
                found += bool(problems)
        except MctreeError:
            found += 1
        shutil.rmtree(copy)
        if found == 5:
            return
    raise AssertionError("no page of the index is in use")


@pytest.mark.damages
@pytest.mark.parametrize("name", ["zarr.json", "text/zarr.json", "text/lod0/zarr.json"])
@pytest.mark.parametrize("content", [b"[" * 500_000, b"\xff" * 9, b'{"shape": [-1]}', b"[]", b""])
def test_metadata_of_any_kind_is_a_finding(whole: Path, tmp_path: Path, name: str, content: bytes) -> None:
    """Found by the harness of strangers: deep JSON ended the check with another error."""
    copy = Path(shutil.copytree(whole, tmp_path / "copy"))
    (copy / name).write_bytes(content)
    with mctree.open(copy, writable=False) as tree:
        assert {problem.where for problem in tree.verify()} == {name}


@pytest.mark.damages
@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("what", ["missing", "of pairs", "of fractions"])
def test_an_array_of_text_that_is_none_is_damage(whole: Path, tmp_path: Path, number: int, what: str) -> None:
    """Found by the fuzzer: the check ended with another error where the tokens were not described."""
    copy = Path(shutil.copytree(whole, tmp_path / "copy"))
    with lmdb.open(str(copy / "index.lmdb"), map_size=1 << 30) as index, index.begin(write=True) as txn:
        key, value = next(item for item in txn.cursor() if item[0][:5] == Table.ARRAY + u32.pack(number))
        fields = unpack(value[4:], "an array")
        fields |= {"of pairs": {"row": [2]}, "of fractions": {"dtype": "float32"}}.get(what, {})
        txn.delete(key)
        if what != "missing":
            txn.put(key, frame(key, pack(fields)))
    with mctree.open(copy, writable=False) as tree:
        assert list(tree.verify())
        with tree.snapshot() as snapshot, pytest.raises(CorruptError):
            snapshot.rows(number).read(0, 1)


@pytest.mark.damages
def test_an_encoder_that_is_missing_is_damage_to_a_compaction(tmp_path: Path) -> None:
    """Found by forging records: an encoder of the caller's own hid that the store had lost its dump."""
    encoder = ToyEncoder()
    with mctree.create(tmp_path / "t", chunk_bytes=65536, encoders=[encoder]) as tree:
        tree.build_gists(encoder)
        with tree.writer() as writer:
            writer.add("first", b"text " * 50)
    with lmdb.open(str(tmp_path / "t/index.lmdb"), map_size=1 << 30) as index, index.begin(write=True) as txn:
        for key in [bytes(key) for key, _ in txn.cursor() if key[:1] == Table.BLOB]:
            txn.delete(key)
    with (
        mctree.open(tmp_path / "t", encoders=[encoder]) as tree,
        pytest.raises(CorruptError, match="table 'f' does not hold"),
    ):
        tree.compact()


def test_tokens_that_no_tokenizer_made_are_damage_to_their_document_alone(tmp_path: Path) -> None:
    """Found by a first user: such a token was called a misuse, and documents behind it were not looked at any more."""
    path = tmp_path / "t"
    with mctree.create(path, chunk_bytes=65536, tokenizer=train_bpe([b"some text. " * 100], 300)) as tree:
        assert tree.vocabulary < 1 << 16
        with tree.writer() as writer:
            for name in ("first", "second", "third"):
                writer.add(name, name.encode() * 200)
        runs = {document.name: document.runs[0] for document in tree.snapshot().documents()}
    path = shutil.copytree(path, tmp_path / "damaged")
    for name, token in (("first", b"\xff\xff"), ("third", b"\0\0")):
        with open(path / "text/lod0/c.0", "r+b") as file:
            file.seek(2 * 32 * runs[name].block)
            file.write(token)
    with mctree.open(path) as tree:
        problems = [(problem.where, problem.source) for problem in tree.verify() if problem.kind == "document"]
        assert problems == [("document 1", b"first"), ("document 3", b"third")]
        with pytest.raises(CorruptError, match="can have made"):
            tree.snapshot().document("first").read()
        with pytest.raises(CorruptError, match="its tokens are not those that were committed"):
            tree.snapshot().text(0, 32)


@pytest.mark.damages
def test_a_finding_does_not_advise_to_look_for_it(whole: Path, tmp_path: Path) -> None:
    """Lost chunks were reported with the advice of the error that reading them is: to run what reported them."""
    copy = Path(shutil.copytree(whole, tmp_path / "copy"))
    (copy / "text/lod0/c.0").unlink()
    with mctree.open(copy, writable=False) as tree:
        found = [problem.what for problem in tree.verify()]
    assert any("its file is missing" in what for what in found)
    assert not any("mctree verify" in what for what in found)
