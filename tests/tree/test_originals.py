"""Bytes that are kept as they were are read, and moved, a bounded number at a time."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import mctree
from mctree.encoders import Encoded
from mctree.errors import UsageError
from mctree.tree import compact as compacting

PIECE = 1 << 20
NOTHING = Encoded(np.zeros(0, np.uint32), np.zeros(0, np.int64), False)


def write_pieces(document: mctree.OpenDocument, pieces: int, seed: int) -> bytes:
    data = [np.random.default_rng([seed, i]).bytes(PIECE) for i in range(pieces)]
    for piece in data:
        document.append(NOTHING, piece)
    return b"".join(data)


@pytest.mark.parametrize("closed", [True, False])
def test_compacting_holds_little_of_a_document_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    """Found by review: all original bytes of a document, and of all documents without a block, were held at once."""
    monkeypatch.setattr(compacting, "_ORIGINALS_AT_ONCE", 4 << 20)
    tree = mctree.create(tmp_path / "t", chunk_bytes=65536)
    data = b""
    with tree.writer() as writer:
        document = writer.begin("long")
        for turn in range(4):
            data += write_pieces(document, 8, turn)
            writer.commit()
        if closed:
            document.close()
        for i in range(8):
            other = writer.begin(f"{i}")
            write_pieces(other, 1, 100 + i)
            other.close()
        writer.add("mixed", b"text " * 100)
    tracemalloc.start()
    try:
        tree.compact()
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
        tracemalloc.reset_peak()
        at = 0
        for piece in tree.snapshot().document("long").stream():
            assert data[at : at + len(piece)] == piece
            at += len(piece)
        assert at == len(data)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    with tree.snapshot() as snapshot:
        assert snapshot.document("long").open != closed
        assert snapshot.document("mixed").read() == b"text " * 100


def test_originals_between_tokens_keep_their_place_through_commits_and_compactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compacting, "_ORIGINALS_AT_ONCE", 1)
    tree = mctree.create(tmp_path / "t", chunk_bytes=65536, keep=0)
    expected = {}
    with tree.writer() as writer:
        document, whole = writer.begin("a"), b""
        for i in range(6):
            document.write(b"tokens " * i)
            document.append(NOTHING, b"<%d>" % i)
            whole += b"tokens " * i + b"<%d>" % i
            expected[writer.commit()] = whole
    for commit, data in expected.items():
        with tree.snapshot(commit) as snapshot:
            assert snapshot.document("a").read() == data
            assert snapshot.document("a").size == len(data)
    tree.compact()
    with tree.writer() as writer:
        writer.reopen("a").write(b"end")
    assert tree.snapshot().document("a").read() == whole + b"end"


def test_a_tail_ends_with_a_last_piece_that_has_no_tokens(tmp_path: Path) -> None:
    """Found by reading: the tail was placed as a block, and stayed in the index beside it."""
    tree = mctree.create(tmp_path / "t.mctree")
    with tree.writer() as writer:
        document = writer.begin("a")
        document.append(Encoded(np.arange(97, 102, dtype=np.uint32), np.arange(1, 6), True), b"abcde")
        writer.commit()
        document.append(NOTHING, b"\n", last=True)
        document.close()
    snapshot = tree.snapshot()
    assert snapshot.document("a").tail is None
    assert list(tree.verify()) == []


@pytest.mark.parametrize("n", [7, 40])
def test_ends_of_any_width_are_taken_and_too_few_refused(tmp_path: Path, n: int) -> None:
    """Found by reading: the bytes of narrower numbers were taken for wider ones, and blocks were placed half filled."""
    tree = mctree.create(tmp_path / "t.mctree")
    ids, stops = np.full(n, 97, np.uint32), np.arange(1, n + 1, dtype=np.int32)
    with tree.writer() as writer:
        document = writer.begin("a")
        with pytest.raises(UsageError, match="ends of"):
            document.append(Encoded(ids, stops[:-1], True), b"a" * n)
        document.append(Encoded(ids, stops, True), b"a" * n, last=True)
        document.close()
    assert tree.snapshot().document("a").read() == b"a" * n
    assert list(tree.verify()) == []
