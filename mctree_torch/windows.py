"""What does a window of a stream hold?  Its tokens, what follows each of them, and which documents they belong to.

The tokens of some documents, one document after another, are a *stream*; several streams lie one behind another, and a
window is the next so many tokens from any place of one.  Windows are read as they are drawn: for each, the stretches
that it meets are found by binary search, and all tokens of a batch come in one gather.

A document may get a token of its own at its end, which the store does not hold.  A window that reaches beyond its
stream is filled up; what fills it belongs to no document and is never asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mctree.geometry import TEXT
from mctree.tree import Stretches
from mctree.tree.rows import Rows

__all__ = ["FIELDS", "IGNORED", "NO_DOCUMENT", "Located", "Streams", "Windows", "streams"]

Fields = dict[str, NDArray[np.int64]]

_Whole = TypeVar("_Whole", np.uint32, np.int64)

BLOCK = TEXT.block

IGNORED = -100
"""The label of what shall not count, as `torch.nn.functional.cross_entropy` has it."""

NO_DOCUMENT = -1
"""The document of what fills a window up."""

FIELDS = ("input_ids", "labels", "position_ids", "document_ids")
"""What can be read of a window."""

_END = -1
"""The position of a token that is not stored: the end of a document."""


@dataclass(frozen=True, eq=False, slots=True)
class Streams:
    """Stretches of tokens, laid one behind another.

    Attributes:
        offset: how many tokens lie before each stretch, and how many there are in all, `int64 [n + 1]`.
        position: the LOD0 position of its first token, `int64 [n]`; -1 for a token that ends a document.
        document: the number of its document, `int64 [n]`.
        bounds: where each stream begins, and where the last one ends, `int64 [k + 1]`.
    """

    offset: NDArray[np.int64]
    position: NDArray[np.int64]
    document: NDArray[np.int64]
    bounds: NDArray[np.int64]


def streams(found: Stretches, stream: NDArray[np.int64], count: int, *, end: bool) -> Streams:
    """Lay stretches one behind another, each in its stream.

    Args:
        found: all stretches, in the order of their documents.
        stream: which stream each belongs to, `int64 [n]`; -1 for none.
        count: how many streams there are.
        end: whether each document has one more token at its end.
    """
    last = np.append(found.document[1:] != found.document[:-1], True)[: len(found)]
    order = np.flatnonzero(stream >= 0)
    order = order[np.argsort(stream[order], kind="stable")]
    position, tokens, document, of = found.position[order], found.tokens[order], found.document[order], stream[order]
    if end:
        behind = np.flatnonzero(last[order]) + 1
        position, tokens = np.insert(position, behind, _END), np.insert(tokens, behind, 1)
        document, of = (np.insert(column, behind, column[behind - 1]) for column in (document, of))
    offset = np.concatenate(([0], np.cumsum(tokens)))
    return Streams(offset, position, document, offset[np.searchsorted(of, np.arange(count + 1))])


@dataclass(frozen=True, eq=False, slots=True)
class Located:
    """Where windows are to be read.

    Attributes:
        start: where each begins in the streams, `int64 [n]`.
        first: the stretch that it begins in, `int64 [n]`.
        position: the position of its first token in the store, where it lies in one stretch, `int64 [n]`.
        whole: whether it does, and one token more, `bool [n]`.
    """

    start: NDArray[np.int64]
    first: NDArray[np.int64]
    position: NDArray[np.int64]
    whole: NDArray[np.bool_]

    def take(self, index: NDArray[np.int64]) -> Located:
        """Some of them."""
        return Located(self.start[index], self.first[index], self.position[index], self.whole[index])


class Windows:
    """Reads windows of some streams.

    Args:
        held: the streams.
        length: tokens in a window.
        end: the token that ends a document, if there is one.
        fill: the token that windows are filled up with.
        shifted: whether a label is the token that follows (True), or the token itself, for models that compare it with
            what they said at the token before (False).
    """

    def __init__(self, held: Streams, length: int, *, end: int | None, fill: int, shifted: bool) -> None:
        self.held = held
        self.length = length
        self._end = 0 if end is None else end
        self._fill = fill
        self._shift = int(shifted)
        self._counted = np.empty(0, np.int64)

    def locate(self, start: NDArray[np.int64]) -> Located:
        """Find windows that begin anywhere in the streams: `int64 [n]`, each inside a stream."""
        held = self.held
        first = np.searchsorted(held.offset, start, side="right") - 1
        position = held.position[first]
        whole = (held.offset[first + 1] - start > self.length) & (position >= 0)
        position += start - held.offset[first]
        return Located(start, first, position, whole)

    def read(self, rows: Rows, at: Located, fields: frozenset[str]) -> Fields:
        """Read windows.

        A label is `IGNORED` at the end of a document (or, not shifted, at its start and that of the window), and where
        the window is only filled up.  A position is how far the token is from the first one of its document within the
        window.

        Args:
            rows: the tokens of the store.
            at: where.
            fields: which of `FIELDS`.

        Returns:
            The fields by name, `int64 [n, length]` each, contiguous.
        """
        n = len(at.position)
        some = np.flatnonzero(at.whole) if len(rows) >= self._wide else np.empty(0, np.int64)
        if not len(some):
            return self._of_several(rows, at, fields)
        if len(some) == n:
            return self._of_one(rows, at, fields)
        rest = np.setdiff1d(np.arange(n), some)
        found = {name: np.empty((n, self.length), np.int64) for name in fields}
        for which, read in ((some, self._of_one), (rest, self._of_several)):
            for name, values in read(rows, at.take(which), fields).items():
                found[name][which] = values
        return found

    @property
    def _wide(self) -> int:
        """Whole blocks that hold a window and one token more, wherever in its first block it begins."""
        return (self.length + 2 * BLOCK - 1) // BLOCK * BLOCK

    def _of_one(self, rows: Rows, at: Located, fields: frozenset[str]) -> Fields:
        """Windows that lie in one stretch each, with one token more."""
        n, length = len(at.position), self.length
        flat, places = self._tokens(rows, at.position)
        found: Fields = {name: np.empty((n, length), np.int64) for name in fields}
        ahead = [(found[name], more) for name, more in (("input_ids", 0), ("labels", self._shift)) if name in fields]
        for k, place in enumerate(places.tolist()):
            for target, more in ahead:
                target[k] = flat[place + more : place + more + length]
        if "labels" in fields and not self._shift:
            found["labels"][:, 0] = IGNORED
        if "position_ids" in fields:
            found["position_ids"][:] = self._count(length)
        if "document_ids" in fields:
            found["document_ids"][:] = self.held.document[at.first][:, None]
        return found

    def _tokens(self, rows: Rows, position: NDArray[np.int64]) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
        """Tokens in one row, and where in it windows begin: in place if the store is mapped, else copied."""
        flat = rows.flat(position, self.length + 1)
        if flat is not None:
            return flat, position
        # Whole blocks are copied fastest.  At the end of the store there are none behind the window.
        begin = np.minimum(position & -BLOCK, len(rows) - self._wide)
        return rows.runs(begin, self._wide).reshape(-1), self._count(len(begin)) * self._wide + (position - begin)

    def _of_several(self, rows: Rows, at: Located, fields: frozenset[str]) -> Fields:
        """Windows of any number of stretches."""
        held, n, wide, shift = self.held, len(at.start), self.length + 1, self._shift
        stop = np.minimum(at.start + wide, held.bounds[np.searchsorted(held.bounds, at.start, side="right")])
        count = np.searchsorted(held.offset, stop - 1, side="right") - at.first
        begins = np.cumsum(count) - count
        # A piece is what a window has of a stretch.
        window = np.repeat(np.arange(n), count)
        piece = np.arange(len(window)) - np.repeat(begins - at.first, count)
        start, offset = at.start[window], held.offset[piece]
        low = np.maximum(offset, start)
        size = np.minimum(held.offset[piece + 1], stop[window]) - low
        ahead = np.cumsum(size) - size
        column = low - start
        every = self._count(int(ahead[-1] + size[-1]))
        position, document = held.position[piece], held.document[piece]
        fresh = np.empty(len(piece), np.bool_)
        np.not_equal(document[1:], document[:-1], out=fresh[1:])
        fresh[begins] = True
        # Where some windows are not full, what was read has to be moved to where it belongs.
        laid = every + np.repeat(window * wide + column - ahead, size) if len(every) < n * wide else None

        def lay(values: NDArray[_Whole], rest: int) -> NDArray[_Whole]:
            if laid is None:
                return values.reshape(n, wide)
            grid = np.full(n * wide, rest, values.dtype)
            grid[laid] = values
            return grid.reshape(n, wide)

        found: Fields = {}
        if not fields.isdisjoint(("input_ids", "labels")):
            row = np.repeat(position + (low - offset) - ahead, size)
            row += every
            ends = ahead[position < 0]
            row[ends] = 0
            tokens = rows.gather(row).astype(np.uint32, copy=False)
            tokens[ends] = self._end
            grid = lay(tokens, self._fill)
            if "input_ids" in fields:
                found["input_ids"] = grid[:, :-1].astype(np.int64)
            if "labels" in fields:
                labels = found["labels"] = grid[:, shift : self.length + shift].astype(np.int64)
                unasked = fresh & (column >= shift) & (column < self.length + shift)
                labels[window[unasked], column[unasked] - shift] = IGNORED
                for i in np.flatnonzero(stop - at.start < wide).tolist():
                    labels[i, max(int(stop[i] - at.start[i]) - shift, 0) :] = IGNORED
        if "position_ids" in fields:
            begun = low[np.maximum.accumulate(np.where(fresh, np.arange(len(piece)), 0))]
            place = np.repeat(low - begun - ahead, size)
            place += every
            found["position_ids"] = np.ascontiguousarray(lay(place, 0)[:, :-1])
        if "document_ids" in fields:
            found["document_ids"] = np.ascontiguousarray(lay(np.repeat(document, size), NO_DOCUMENT)[:, :-1])
        return found

    def _count(self, n: int) -> NDArray[np.int64]:
        """The numbers from 0 to n - 1, which are made once."""
        counted = self._counted
        if len(counted) < n:
            counted = self._counted = np.arange(n)
        return counted[:n]
