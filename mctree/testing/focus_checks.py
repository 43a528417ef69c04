"""Is this a working context of that timeline?  Asked once more, of lists and sets, one position at a time.

`Truth` is what a timeline holds at a commit, as plain as can be; `check_context` goes through the entries one by one
and knows nothing of how they were made.  Numbers are compared with exact fractions, as products of whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mctree.focus import IMAGE_MODALITY, SEVERAL, TEXT_MODALITY, WorkingContext
from mctree.geometry import IMAGE, TEXT

__all__ = ["Truth", "check_context"]

BLOCK, TILE = TEXT.block, IMAGE.block
_ULPS = 2


@dataclass(frozen=True)
class Truth:
    """What a timeline holds.

    Attributes:
        counts: real tokens of each block that was placed.
        documents: the document of each.
        dead: the blocks that are gone.
        tails: (document, tokens) of the unfinished blocks.
        images: for the block of each image, its patches: (x, y) by position in the arena.
        roots: for the block of each image, the first position of its root and the one behind it.
        closed: nodes of images, by level and first position, below which nothing is there.
    """

    counts: Sequence[int]
    documents: Sequence[int]
    dead: frozenset[int] = frozenset()
    tails: Sequence[tuple[int, int]] = ()
    images: Mapping[int, Mapping[int, tuple[int, int]]] = field(default_factory=dict)
    roots: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    closed: Collection[tuple[int, int]] = ()


class _Entry(NamedTuple):
    """What an entry says, in the order of the columns of `mctree.focus.Entries`."""

    space: int
    level: int
    number: int
    slot: int
    start: int
    stop: int
    cost: int
    growth: int
    document: int
    modality: int
    position: float
    sigma: float
    x: float
    y: float
    sigma_x: float
    sigma_y: float


def check_context(context: WorkingContext, truth: Truth) -> None:
    """Compare a working context with what it is to show.

    Raises:
        AssertionError: it is not a view of all of that, once, in order and within the budget, or says something wrong.
    """
    breach = context.check()
    assert breach is None, f"the context itself finds: {breach}"
    entries, end = context.entries, BLOCK * len(truth.counts)
    assert entries.cost.sum() == context.cost <= context.budget, f"cost {context.cost} of {context.budget}"
    seen_blocks: list[int] = []
    seen_patches: dict[int, list[int]] = {}
    late: list[int] = []
    last = (-1, -1)
    rows = zip(entries.integers.T.tolist(), entries.reals.T.tolist(), strict=True)
    for i, entry in enumerate(_Entry(*whole, *real) for whole, real in rows):
        space, level, number, slot, start, stop = entry[:6]
        assert (slot, start) > last, f"entry {i} does not stand behind the one before"
        last = (slot, start)
        block = slot // BLOCK
        if space:
            positions = IMAGE.widths[level]
            width = positions if level else TILE
            assert (start, stop) == (number * positions, number * positions + width)
            first, behind = truth.roots[block]
            assert start % width == 0 and first <= start and stop <= behind
            assert positions < behind - first, f"entry {i} is the root of an image, whose slot it should be"
            above = [one for one in truth.closed if one[0] > level and one[1] <= start < one[1] + IMAGE.widths[one[0]]]
            assert not above, f"entry {i} lies below {above}, where nothing is"
            found = [code for code in truth.images[block] if start <= code < stop]
            seen_patches.setdefault(block, []).extend(found)
            _check_patches(entry, i, truth, found)
        elif slot >= end:
            assert (level, number, start, stop) == (0, slot, slot, slot + BLOCK)
            late.append((slot - end) // BLOCK)
            document, count = truth.tails[late[-1]]
            _check_text(entry, i, [(slot, count, document)])
        else:
            positions = TEXT.widths[level]
            width = positions if level else BLOCK
            assert (slot, start, stop) == (start, number * positions, start + width)
            assert start % width == 0 and stop <= end
            alive = [at for at in range(start // BLOCK, stop // BLOCK) if at not in truth.dead]
            seen_blocks += alive
            assert not (level == 0 and block in truth.images), "an image is shown as a block of tokens"
            _check_text(entry, i, [(at * BLOCK, truth.counts[at], truth.documents[at]) for at in alive], truth)
    assert late == list(range(len(truth.tails))), f"unfinished blocks {late} of {len(truth.tails)}"
    for block, codes in seen_patches.items():
        assert sorted(codes) == sorted(truth.images[block]), f"the image at block {block} is not covered once"
    every = seen_blocks + list(seen_patches)
    assert sorted(every) == [at for at in range(len(truth.counts)) if at not in truth.dead], "not covered once"


def _check_text(entry: _Entry, i: int, blocks: list[tuple[int, int, int]], truth: Truth | None = None) -> None:
    """Compare what an entry says with the (first position, real tokens, document) of all that it stands for."""
    assert blocks, f"entry {i} stands for nothing that exists"
    level, count = entry.level, sum(count for _, count, _ in blocks)
    total = sum(first * count + count * (count - 1) // 2 for first, count, _ in blocks)
    length = blocks[-1][0] + blocks[-1][1] - blocks[0][0]
    owners = {document for _, _, document in blocks}
    assert entry.cost == (1 if level else count), f"entry {i} costs {entry.cost}"
    assert entry.document == (owners.pop() if len(owners) == 1 else SEVERAL)
    _close(entry.position, total, count)
    _close_to_root(entry.sigma, length if level else 0)
    step = max(TEXT.widths[max(level - 1, 0)], BLOCK)
    below = count if level == 1 else len({first // step for first, _, _ in blocks})
    block = blocks[0][0] // BLOCK
    if truth is not None and level == 1 and block in truth.images:
        root = IMAGE.widths.index(_extent(truth, block))
        _check_image(entry, list(truth.images[block]), truth, root, truth.roots[block][0])
        return
    assert entry.growth == (below - 1 if level else 0), f"entry {i} would grow by {entry.growth}"
    assert entry.modality == TEXT_MODALITY
    assert not any((entry.x, entry.y, entry.sigma_x, entry.sigma_y))


def _extent(truth: Truth, block: int) -> int:
    first, stop = truth.roots[block]
    return stop - first


def _check_patches(entry: _Entry, i: int, truth: Truth, codes: list[int]) -> None:
    """Compare what an entry of an image says with the patches that it stands for."""
    block, level = entry.slot // BLOCK, entry.level
    assert codes, f"entry {i} stands for nothing that exists"
    assert entry.cost == (1 if level else len(codes))
    assert entry.document == truth.documents[block]
    assert (entry.position, entry.sigma) == (entry.slot, 0)
    _check_image(entry, codes, truth, level, entry.start)


def _check_image(entry: _Entry, codes: list[int], truth: Truth, level: int, start: int) -> None:
    patches, step = truth.images[entry.slot // BLOCK], IMAGE.widths[max(level - 1, 0)]
    places = [patches[code] for code in codes]
    below = len(codes) if level == 1 else len({code // step for code in codes})
    if (level, start) in truth.closed:
        below = 0
    assert entry.growth == (below - 1 if level else 0)
    assert entry.modality == IMAGE_MODALITY
    for axis, mean, spread in ((0, entry.x, entry.sigma_x), (1, entry.y, entry.sigma_y)):
        numbers = [place[axis] for place in places]
        _close(mean, sum(numbers), len(numbers))
        _close_to_root(spread, max(numbers) - min(numbers) + 1 if level else 0)


def _close(said: float, total: int, count: int) -> None:
    """As near to total / count as its two nearest neighbours in double precision."""
    right = total / count  # rounded once, so that what equals it is near enough
    if said != right:
        (top, bottom), (step, steps) = said.as_integer_ratio(), math.ulp(right).as_integer_ratio()
        far = abs(top * count - total * bottom) * steps > _ULPS * step * bottom * count
        assert not far, f"{said!r}, not {total}/{count}"


def _close_to_root(said: float, length: int) -> None:
    """As near to length / √12 as that: compared by squares, which are exact."""
    around = _ULPS * math.ulp(said)
    low, low_under = max(said - around, 0.0).as_integer_ratio()
    high, high_under = max(said + around, 0.0).as_integer_ratio()
    enough, not_too_much = 12 * low**2 <= (length * low_under) ** 2, (length * high_under) ** 2 <= 12 * high**2
    assert enough and not_too_much, f"{said!r}, not {length} / √12"
