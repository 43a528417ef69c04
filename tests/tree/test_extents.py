"""Mean positions and reaches of nodes: of ragged and dead stores token by token, of vast ones by exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import mctree
from mctree.focus.timeline import sigma_of
from mctree.format.records import BLOCK, DEATH_DTYPE
from mctree.geometry import TEXT
from mctree.tree.world import Deaths, TimelineWorld


def near(said: float, right: Fraction, ulps: int = 1) -> bool:
    return abs(Fraction(float(said)) - right) <= ulps * Fraction(math.ulp(float(right)))


class Computed:
    """The rows of a level that nobody stored: a function of their numbers."""

    def __init__(self, row: Any) -> None:
        self.row = row

    def gather(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        return self.row(np.asarray(rows))

    def read(self, start: int, stop: int) -> NDArray[Any]:
        return self.row(np.arange(start, stop))

    def runs(self, starts: NDArray[np.int64], length: int) -> NDArray[Any]:
        return self.row(np.asarray(starts)[:, None] + np.arange(length))


PERIOD = 7
"""Every seventh block is the last of a document, and holds 5 tokens."""


def counts(block: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.where(block % PERIOD == PERIOD - 1, 5, 32).astype(np.uint8)


def before(group: NDArray[np.int64]) -> NDArray[np.int64]:
    block = group * 32
    return block * 32 - (block // PERIOD) * 27


def vast(blocks: int, dead: list[tuple[int, int]]) -> TimelineWorld:
    """A timeline of so many blocks without a store; `dead` are runs of blocks."""
    runs = np.zeros(len(dead), DEATH_DTYPE)
    for row, (start, stop) in zip(runs, dead, strict=True):
        tokens = sum(32 * (b - a) - 27 * (b // PERIOD - a // PERIOD) for a, b in [(start, stop)])
        row["commit"], row["start"], row["stop"], row["tokens"] = 1, start, stop, tokens
    rows: Any = (Computed(before), Computed(counts))
    return TimelineWorld(blocks, Deaths(runs), *rows)


def exactly(first: int, stop: int, dead: list[tuple[int, int]]) -> tuple[int, Fraction, int]:
    """Tokens, mean position and reach of the living of blocks [first, stop), by arithmetic on whole periods."""

    def below(block: int) -> tuple[int, int]:
        """Tokens in the first so many blocks, and the sum of their positions."""
        short = block // PERIOD
        tokens = 32 * block - 27 * short
        full = 32 * block * (32 * block - 1) // 2
        # Of each short block k·7+6 the 27 last positions are missing, from 32·(7k+6)+5 on.
        missing = sum_of(short, 27 * 32 * PERIOD, 27 * (32 * (PERIOD - 1) + 5) + 27 * 26 // 2)
        return tokens, full - missing

    def sum_of(n: int, slope: int, start: int) -> int:
        return n * start + slope * n * (n - 1) // 2

    runs, at = [], first
    for begin, end in dead:
        if max(begin, first) < min(end, stop):
            runs.append((at, max(begin, first)))
            at = min(end, stop)
    runs = [(a, b) for a, b in [*runs, (at, stop)] if a < b]
    tokens = sum(below(b)[0] - below(a)[0] for a, b in runs)
    total = sum(below(b)[1] - below(a)[1] for a, b in runs)
    last = runs[-1][1] - 1
    reach = 32 * last + (5 if last % PERIOD == PERIOD - 1 else 32) - 32 * runs[0][0]
    return tokens, Fraction(total, tokens), reach


@settings(max_examples=150, deadline=None)
@given(
    level=st.integers(1, 5),
    place=st.integers(0, 10**12 // 32),
    holes=st.lists(st.tuples(st.integers(-40, 1100), st.integers(1, 900)), max_size=4),
)
def test_positions_and_sigma_are_exact_up_to_a_trillion(level: int, place: int, holes: list[tuple[int, int]]) -> None:
    index = place // 32 ** (level - 1)
    first, stop = (bound // BLOCK for bound in TEXT.span(level, index))
    dead: list[tuple[int, int]] = []
    for offset, length in sorted(holes):
        a = max(first + offset, dead[-1][1] + 1 if dead else 0)
        dead.append((a, a + length))
    if any(a <= first and stop <= b for a, b in dead):
        dead = []  # the node would not exist
    world = vast(place + 32**5, dead)
    found = world.extents(np.array([level]), np.array([index]))
    tokens, mean, reach = exactly(first, stop, dead)
    assert (found.tokens[0], found.length[0]) == (tokens, reach)
    assert near(found.position[0], mean)
    squared = Fraction(float(sigma_of(found.length)[0])) ** 2
    assert abs(squared - Fraction(reach**2, 12)) <= 4 * Fraction(math.ulp(float(squared)))


def test_wide_nodes_without_padding_cost_no_reading() -> None:
    reads: list[int] = []

    def full(block: NDArray[np.int64]) -> NDArray[np.uint8]:
        reads.append(block.size)
        return np.full(block.shape, 32, np.uint8)

    rows: Any = (Computed(lambda group: group * 1024), Computed(full))
    world = TimelineWorld(32**7, Deaths.none(), *rows)
    level, index = np.arange(2, 9), np.zeros(7, np.int64)
    found = world.extents(level, index)
    assert [Fraction(p) for p in found.position] == [Fraction(32**n - 1, 2) for n in range(2, 9)]
    assert sum(reads) < 100


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store of many documents of uneven length, a third of them dead, that reaches level 4."""
    tree = mctree.create(tmp_path_factory.mktemp("ragged") / "t.mctree", vocabulary=100, chunk_bytes=1 << 16)
    rng = np.random.default_rng(5)
    lengths = [*rng.integers(1, 700, 2600).tolist(), 40_000, 3, 90_000]
    with tree.writer() as writer:
        for i, length in enumerate(lengths):
            document = writer.begin(f"{i}")
            document.extend(np.zeros(length, np.uint32))
            document.close()
    with tree.writer() as writer:
        for i in range(0, len(lengths), 3):
            writer.remove(f"{i}")
    with tree.snapshot() as snapshot:
        yield snapshot


def test_every_node_of_a_ragged_store_sits_where_its_tokens_do(ragged: mctree.Snapshot) -> None:
    blocks = np.arange(ragged.blocks)
    alive = ragged.world.exists(1, blocks)
    count = ragged.counts(0, ragged.blocks).astype(object) * alive.astype(object)
    sums = 32 * blocks.astype(object) * count + count * (count - 1) // 2
    assert ragged.top >= 4
    for level in range(1, ragged.top + 1):
        width = 32 ** (level - 1)
        index = np.arange(ragged.blocks // width)
        index = index[ragged.world.exists(level, index)]
        for repeat in range(2):  # the second time from what is remembered
            found = ragged.world.extents(np.full(len(index), level), index)
            for i, node in enumerate(index.tolist() if repeat == 0 or level > 2 else []):
                part = slice(node * width, (node + 1) * width)
                tokens = sum(count[part])
                assert found.tokens[i] == tokens
                assert near(found.position[i], Fraction(sum(sums[part]), tokens))
                inside = np.flatnonzero(alive[part])
                first, last = (int(inside[j]) + part.start for j in (0, -1))
                assert found.length[i] == 32 * (last - first) + int(count[last])
