"""Whose is a node?  One document's, if all of its living blocks are, and nobody's else; compared block by block."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import mctree
from mctree.focus import SEVERAL, Entries, Nodes, SnapshotGround
from mctree.geometry import TEXT
from mctree.testing import scratch

PIECES = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([1, 5, 30, 32, 90, 1024])), min_size=1, max_size=10)


@settings(max_examples=25, deadline=None)
@given(PIECES, st.sets(st.integers(0, 3), max_size=2))
def test_a_node_is_of_the_document_that_all_its_living_blocks_are_of(
    pieces: list[tuple[int, int]], removed: set[int]
) -> None:
    """Documents are open at once, so that each may have stretches between those of another."""
    with scratch() as folder, mctree.create(f"{folder}/t.mctree", vocabulary=9, chunk_bytes=1 << 16) as tree:
        owners: list[int] = []
        with tree.writer() as writer:
            opened = {name: writer.begin(f"{name}") for name in sorted({name for name, _ in pieces})}
            for name, blocks in pieces:
                opened[name].extend(np.full(32 * blocks, 3))
                owners += [opened[name].id] * blocks
            numbers = {name: document.id for name, document in opened.items()}
            for document in opened.values():
                document.close()
        with tree.writer() as writer:
            for name in removed & set(numbers):
                writer.remove(numbers[name])
        gone = {numbers[name] for name in removed & set(numbers)}
        with tree.snapshot() as snapshot:
            ground = SnapshotGround(snapshot)
            for level in range(1, 4):
                width = 32 ** (level - 1)
                every = np.arange(len(owners) // width)
                index = every[ground.world.exists(TEXT, level, every)]
                entries = Entries.of(ground, Nodes.of_timeline(level, index, index * TEXT.width(level)))
                under = [set(owners[i * width : (i + 1) * width]) - gone for i in index.tolist()]
                assert entries.document.tolist() == [one.pop() if len(one) == 1 else SEVERAL for one in under]
