"""Where a stretch came from is told in a bounded number of steps, whatever lies below it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mctree
from mctree.testing import scratch
from mctree.tree import Provenance, Snapshot, provenance


@given(
    turns=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), max_size=20),
    dead=st.sets(st.integers(0, 2)),
    at_once=st.integers(1, 5),
    limit=st.none() | st.integers(0, 4),
    ends=st.tuples(st.integers(0, 60), st.integers(0, 60)),
)
def test_provenance_is_what_the_records_say_one_by_one(
    turns: list[tuple[int, int]], dead: set[int], at_once: int, limit: int | None, ends: tuple[int, int]
) -> None:
    with scratch() as folder, mctree.create(f"{folder}/t") as tree, pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "_BLOCKS_AT_ONCE", at_once)
        with tree.writer() as writer:
            documents = [writer.begin(f"{i}") for i in range(3)]
            for which, blocks in turns:
                documents[which].write(b"x" * 32 * blocks)
        with tree.writer() as writer:
            for which in dead:
                writer.remove(f"{which}")
        with tree.snapshot() as snapshot:
            first, stop = sorted(min(end, snapshot.blocks) for end in ends)
            wanted: list[Provenance] = []
            alive = snapshot.world.exists(1, np.arange(snapshot.blocks))
            for record in snapshot.block_records(first, stop - first)[alive[first:stop]].tolist():
                number, begin, end = record[:3]
                if wanted and wanted[-1].document == number and wanted[-1].stop == begin:
                    begin = wanted.pop().start
                wanted.append(Provenance(number, snapshot.document(number).source, begin, end))
            assert snapshot.provenance(32 * first, 32 * stop, limit) == wanted[:limit]
            owners = {piece.document for piece in wanted}
            only = provenance.only_document(snapshot, 32 * first, 32 * stop)
            assert only == (owners.pop() if len(owners) == 1 else None)


def test_a_node_of_many_documents_looks_none_of_them_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by trying: it listed all stretches of all documents below it, to learn that they are not one."""
    with mctree.create(tmp_path / "t.mctree") as tree:
        with tree.writer() as writer:
            for i in range(32 * 32):
                writer.add(f"{i}", b"x")
        calls = []

        def document(real: Any, self: Snapshot, which: Any) -> Any:
            calls.append(which)
            return real(self, which)

        real = Snapshot.document
        monkeypatch.setattr(Snapshot, "document", lambda self, which: document(real, self, which))
        assert tree.snapshot().node((3, 0)).document is None
        assert not calls
        assert tree.snapshot().node((1, 7)).document is not None


def test_verifying_a_long_document_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    """Found by trying: it held the records of all blocks of a run."""

    def peak(blocks: int) -> int:
        with mctree.create(tmp_path / f"{blocks}.mctree", vocabulary=256, chunk_bytes=65536) as tree:
            with tree.writer() as writer:
                document = writer.begin("one")
                document.extend(np.zeros(32 * blocks, np.uint8))
                document.close()
            tracemalloc.start()
            assert list(tree.verify()) == []
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return most

    assert peak(1 << 17) < peak(1 << 14) + (1 << 21)
