"""Are the rows of the timeline those that were committed?  Tokens, counts and gists, chunk by chunk, with `pread`.

The record of a block has a checksum of its tokens, and says how many of them are real; sums of these are what stands
before every 32nd block.  Each generation of a chunk of gists has a checksum for each row.  Whatever is hit is named as
a node, with the source that it stands for.  Rows of images are looked at in `mctree.tree.images.check`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError
from mctree.format.arrays import ArrayLayout
from mctree.format.keys import Table, checksum_key, u32, u64
from mctree.format.records import BLOCK, SUMS_PER_PAGE, decode_sums
from mctree.geometry import Address
from mctree.storage.audit import committed_rows
from mctree.storage.chunks import row_sums
from mctree.tree.gists import gist_arrays
from mctree.tree.intact import place_of
from mctree.tree.problem import Problem
from mctree.tree.text_arrays import BEFORE, COUNT, LOD0

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot

__all__ = ["BLOCKS_AT_ONCE", "Looked", "at_blocks", "check_blocks", "check_gists"]

BLOCKS_AT_ONCE = 1 << 13
"""So many are read in one step."""

Looked = Callable[[int], None]
"""Called with how many more blocks were looked at."""


def check_blocks(snapshot: Snapshot, looked: Looked) -> Iterator[Problem]:
    """LOD0 rows and counts against block records."""
    layouts = [snapshot.layout(number) for number in (LOD0, COUNT, BEFORE)]
    images = snapshot.gallery.places.placed["block"].astype(np.int64)
    before = 0
    for first in range(0, snapshot.blocks, BLOCKS_AT_ONCE):
        stop = min(first + BLOCKS_AT_ONCE, snapshot.blocks)
        records = snapshot.block_records(first, stop - first)
        counts = records["count"].astype(np.int64)
        nodes = np.arange(first, stop)

        tokens = yield from _read(snapshot, LOD0, layouts[LOD0], (first * BLOCK, stop * BLOCK), (1, first, stop))
        if tokens is not None:
            wrong = row_sums(tokens.reshape(-1, BLOCK)) != records["sum"]
            yield from at_blocks(snapshot, nodes[wrong], "its tokens are not those that were committed", "tokens")
        stored = yield from _read(snapshot, COUNT, layouts[COUNT], (first, stop), (1, first, stop))
        if stored is not None:
            wrong = stored.astype(np.int64) != counts
            yield from at_blocks(snapshot, nodes[wrong], "its count of real tokens is not what was committed", "count")
        empty = (counts < 1) != np.isin(nodes, images)
        wrong = empty | (counts > BLOCK) | (records["start"] > records["stop"])
        yield from at_blocks(snapshot, nodes[wrong], "its record cannot be", "record")

        groups = nodes[nodes % BLOCK == 0]
        sums = before + np.concatenate([[0], np.cumsum(counts)])
        stored = yield from _read(
            snapshot, BEFORE, layouts[BEFORE], (-(-first // BLOCK), -(-stop // BLOCK)), (1, first, stop)
        )
        if stored is not None:
            wrong = stored.astype(np.int64) != sums[groups - first]
            what = "the count of tokens before it is not what was committed"
            yield from at_blocks(snapshot, groups[wrong], what, "count")
        before = int(sums[-1])
        looked(stop - first)


def check_gists(snapshot: Snapshot, looked: Looked) -> Iterator[Problem]:
    """Rows of gists, in every generation that is kept and also of sets that were dropped, against their checksums."""
    for array, (level, name, layout, rows) in sorted(gist_arrays(snapshot).items()):
        stop = u64.pack(layout.chunks(rows))  # what lies behind was made meanwhile
        with snapshot.reading() as index:
            generations = [
                (u64.unpack(key[:8])[0], u64.unpack(key[8:])[0])
                for key, payload in index.scan(Table.CHUNK + u32.pack(array), stop=stop)
                if payload
            ]
        newest = dict(generations)  # they come in order, so the last of each chunk stays
        if not generations and array not in snapshot.record.arrays:
            continue  # only older commits saw it, and were collected meanwhile; else its table does not sum up
        for chunk in sorted(set(range(layout.chunks(rows))) - newest.keys()):
            what = f"chunk {chunk} of {layout.path} holds its gist but is not in the index"
            yield _at_node(snapshot, level, chunk * layout.rows_per_chunk, what, "chunk")
        for chunk, generation in generations:
            last = generation == newest[chunk]
            for problem in _generation(snapshot, array, (level, name, layout, rows), chunk, generation, last=last):
                if not _is_kept(snapshot, array, chunk, generation):
                    break  # only older commits needed it, and were collected meanwhile
                yield problem
            if level == 1 and last:
                looked(min(rows - chunk * layout.rows_per_chunk, layout.rows_per_chunk))


def _generation(
    snapshot: Snapshot, array: int, level: tuple[int, str, ArrayLayout, int], chunk: int, generation: int, *, last: bool
) -> Iterator[Problem]:
    """Rows of gists in one generation of a chunk.

    Args:
        snapshot: the newest commit.
        array: the array.
        level: its level, the name of its set, its layout, and how many rows it has at the last commit that sees it.
        chunk: the chunk.
        generation: the generation.
        last: whether it is the newest of the chunk; an older one ends where it was replaced.
    """
    number, name, layout, rows = level
    first = chunk * layout.rows_per_chunk
    sums = _sums(snapshot, array, chunk, generation)
    wanted = min(rows - first, layout.rows_per_chunk)
    if not last:
        wanted = min(wanted, len(sums))
    if len(sums) < wanted:
        what = f"has {len(sums)} checksums for {wanted} rows"
        yield Problem(f"chunk {chunk} of {layout.path}", what, "chunk")
    stop = first + min(len(sums), wanted)
    values = yield from _read(snapshot, array, layout, (first, stop), (number, first, stop), generation)
    if values is not None:
        for row in (first + np.flatnonzero(row_sums(values) != sums[: stop - first])).tolist():
            yield _at_node(snapshot, number, row, f"its gist in set {name!r} is not the one that was committed", "gist")


def _is_kept(snapshot: Snapshot, array: int, chunk: int, generation: int) -> bool:
    """Whether a generation of a chunk is still in the index."""
    with snapshot.reading() as index:
        return index.get(Table.CHUNK + u32.pack(array) + u64.pack(chunk) + u64.pack(generation)) is not None


def at_blocks(snapshot: Snapshot, blocks: NDArray[np.int64], what: str, kind: str) -> Iterator[Problem]:
    """A problem at each of some blocks."""
    for block in blocks.tolist():
        yield _at_node(snapshot, 1, block, what, kind)


def _at_node(snapshot: Snapshot, level: int, index: int, what: str, kind: str) -> Problem:
    """A problem at a node, with the first source that it stands for and the bytes of it."""
    address = Address(0, level, index)
    return Problem(f"node {address}", what, kind, address, *place_of(snapshot, level, index))


def _sums(snapshot: Snapshot, array: int, chunk: int, generation: int) -> NDArray[np.uint32]:
    prefix = checksum_key(array, chunk, generation, 0)[:-4]
    with snapshot.reading() as index:
        pages = [decode_sums(payload) for _, payload in index.scan(prefix)]
    if any(len(page) != SUMS_PER_PAGE for page in pages[:-1]):
        raise CorruptError(f"checksums of chunk {chunk} of array {array} are incomplete")
    return np.concatenate(pages) if pages else np.empty(0, np.uint32)


def _read(
    snapshot: Snapshot,
    array: int,
    layout: ArrayLayout,
    rows: tuple[int, int],
    nodes: tuple[int, int, int],
    generation: int | None = None,
) -> Generator[Problem, None, NDArray[np.generic] | None]:
    """Rows [start, stop) of an array in one generation (None: what the snapshot sees).

    Yields:
        If they cannot be read, the problem: at the first of the nodes (level, first, stop) that the rows stand for.

    Returns:
        The rows, or None if they cannot be read.
    """
    commit = snapshot.commit if generation is None else generation
    try:
        return committed_rows(snapshot.store, array, layout, *rows, commit)
    except (CorruptError, OSError) as error:
        level, first, stop = nodes
        yield _at_node(snapshot, level, first, f"it and the nodes up to {level}:{stop - 1} are lost: {error}", "chunk")
        return None
