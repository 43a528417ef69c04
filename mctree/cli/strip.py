"""Where did the detail go?  The whole timeline as one line, as fine as the entries that stand for each part of it.

A cell stands for an equal part of the timeline and shows the finest entry in it; what costs little is easily overlooked
otherwise.  Stretches are what can be read: neighbouring blocks at LOD0 that follow each other in one source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mctree import Snapshot
from mctree.focus import Entries, WorkingContext
from mctree.format.records import BLOCK
from mctree.tree.codecs import decoded
from mctree.tree.intact import intact_tokens

__all__ = ["LEGEND", "Stretch", "level_counts", "stretches", "strip"]

_SHADES = "█▓▒░·"
"""From LOD0 to LOD4 and coarser."""

LEGEND = "█ tokens  ▓ LOD1  ▒ LOD2  ░ LOD3  · coarser"

_NOTHING = " "


@dataclass(frozen=True, slots=True)
class Stretch:
    """What can be read at one place.

    Attributes:
        source: the name of the document's source.
        document: its number.
        start: the first byte of the source that the stretch stands for.
        stop: the byte behind the last.
        blocks: how many blocks it has; 0 for the unfinished one of an open document.
        first: the address of its first block.
        text: what it says; without a tokenizer the tokens' numbers.
    """

    source: bytes
    document: int
    start: int
    stop: int
    blocks: int
    first: str
    text: str


def strip(context: WorkingContext, cells: int) -> str:
    """The timeline from its beginning to its end, in so many cells; unfinished blocks count as the last ones of it."""
    entries = context.entries
    end = max(int(entries.stop[entries.space == 0].max(initial=0)), context.ground.end, 1)
    finest = np.full(cells, len(_SHADES))
    first, last = _places(entries, end, cells)
    shade = np.minimum(np.where(entries.space > 0, 0, entries.level), len(_SHADES) - 1)
    for begin, stop, one in zip(first.tolist(), last.tolist(), shade.tolist(), strict=True):
        finest[begin:stop] = np.minimum(finest[begin:stop], one)
    return "".join((_SHADES + _NOTHING)[shade] for shade in finest)


def _places(entries: Entries, end: int, cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The cells [first, stop) that each entry reaches into."""
    start = entries.slot
    stop = np.where(entries.space > 0, entries.slot + BLOCK, entries.stop)
    first = (start / end * cells).astype(np.int64)
    return first, np.maximum(np.ceil(stop / end * cells).astype(np.int64), first + 1)


def level_counts(context: WorkingContext) -> list[tuple[int, int, int]]:
    """For each level that has entries, the finest first: (level, entries, their cost)."""
    level, cost = context.entries.level, context.entries.cost
    return [
        (one, int(np.count_nonzero(level == one)), int(cost[level == one].sum())) for one in sorted(set(level.tolist()))
    ]


def stretches(snapshot: Snapshot, context: WorkingContext) -> list[Stretch]:
    """What the context shows at LOD0, in order, unfinished blocks last."""
    found: list[Stretch] = []
    blocks = context.blocks
    owners = snapshot.documents_of(blocks)
    apart = np.flatnonzero((np.diff(blocks) != 1) | (np.diff(owners) != 0)) + 1
    for run in np.split(blocks, apart) if len(blocks) else ():
        start, stop = int(run[0]) * BLOCK, (int(run[-1]) + 1) * BLOCK
        first, *_, last = [*snapshot.provenance(start, stop)] * 2
        text = _text(snapshot, intact_tokens(snapshot, start, stop))
        found.append(Stretch(first.source, first.document, first.start, last.stop, len(run), f"1:{run[0]}", text))
    for document in snapshot.tails():
        tail = document.tail
        assert tail is not None, "an open document without an unfinished block is not among them"
        text = _text(snapshot, tail.tokens)
        found.append(Stretch(document.source, document.id, document.placed_size, document.size, 0, "", text))
    return found


def _text(snapshot: Snapshot, tokens: NDArray[np.generic]) -> str:
    tokenizer = snapshot.tree.tokenizer
    if tokenizer is None:
        return " ".join(map(str, tokens.tolist()))
    return decoded(tokenizer, tokens).decode("utf-8", "replace")
