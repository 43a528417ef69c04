"""What does a window of a stream hold?  Its tokens, what follows each of them, and which documents they belong to.

The tokens of some documents, one document after another, are a *stream*; several streams lie one behind another, and a
window is the next so many tokens from any place of one.  Windows are read as they are drawn: for each, the stretches
that it meets are found by binary search, and all tokens of a batch come in one gather.

A document may get a token of its own at its end, which the store does not hold.  A window that reaches beyond its
stream is filled up; what fills it belongs to no document and is never asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mctree.tree import Stretches
from mctree.tree.rows import Rows

__all__ = ["FIELDS", "IGNORED", "NO_DOCUMENT", "Streams", "Windows", "streams"]

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
        self._shifted = shifted

    def read(self, rows: Rows, start: NDArray[np.int64], fields: frozenset[str]) -> dict[str, NDArray[np.int64]]:
        """Read windows.

        A label is `IGNORED` at the end of a document (or, not shifted, at its start and that of the window), and where
        the window is only filled up.  A position is how far the token is from the first one of its document within the
        window.

        Args:
            rows: the tokens of the store.
            start: where the windows begin in the streams, `int64 [n]`; each inside a stream.
            fields: which of `FIELDS`.

        Returns:
            The fields by name, `int64 [n, length]` each, contiguous.
        """
        held, n, wide = self.held, len(start), self.length + 1
        first = np.searchsorted(held.offset, start, side="right") - 1
        position = held.position[first]
        whole = (held.offset[first + 1] - start >= wide) & (position >= 0)
        position += start - held.offset[first]
        alike = np.count_nonzero(whole)
        if alike == n:
            return self._of_one(rows, position, held.document[first], fields)
        if alike == 0:
            return self._of_several(rows, start, first, fields)
        some, rest = np.flatnonzero(whole), np.flatnonzero(~whole)
        parts = (
            (some, self._of_one(rows, position[some], held.document[first[some]], fields)),
            (rest, self._of_several(rows, start[rest], first[rest], fields)),
        )
        found = {name: np.empty((n, self.length), np.int64) for name in fields}
        for which, part in parts:
            for name, values in part.items():
                found[name][which] = values
        return found

    def _of_one(
        self, rows: Rows, position: NDArray[np.int64], document: NDArray[np.int64], fields: frozenset[str]
    ) -> dict[str, NDArray[np.int64]]:
        """Windows that lie in one stretch each, and one token more."""
        shape = len(position), self.length
        tokens = rows.runs(position, self.length + 1)
        found: dict[str, NDArray[np.int64]] = {}
        if "input_ids" in fields:
            found["input_ids"] = tokens[:, :-1].astype(np.int64)
        if "labels" in fields:
            found["labels"] = tokens[:, self._labelled].astype(np.int64)
            if not self._shifted:
                found["labels"][:, 0] = IGNORED
        if "position_ids" in fields:
            found["position_ids"] = np.empty(shape, np.int64)
            found["position_ids"][:] = np.arange(self.length)
        if "document_ids" in fields:
            found["document_ids"] = np.empty(shape, np.int64)
            found["document_ids"][:] = document[:, None]
        return found

    def _of_several(
        self, rows: Rows, start: NDArray[np.int64], first: NDArray[np.int64], fields: frozenset[str]
    ) -> dict[str, NDArray[np.int64]]:
        """Windows of any number of stretches; `first` are the ones that they begin in."""
        held, n, wide = self.held, len(start), self.length + 1
        stop = np.minimum(start + wide, held.bounds[np.searchsorted(held.bounds, start, side="right")])
        count = np.searchsorted(held.offset, stop - 1, side="right") - first
        begins = np.cumsum(count) - count
        # A piece is what a window has of a stretch.
        window = np.repeat(np.arange(n), count)
        piece = np.arange(len(window)) - np.repeat(begins - first, count)
        low = np.maximum(held.offset[piece], start[window])
        size = np.minimum(held.offset[piece + 1], stop[window]) - low
        ahead = np.cumsum(size) - size
        every = np.arange(int(size.sum()))
        column = low - start[window]

        position, document = held.position[piece], held.document[piece]
        row = every + np.repeat(position + (low - held.offset[piece]) - ahead, size)
        ends = ahead[position < 0]
        row[ends] = 0
        tokens = rows.gather(row).astype(np.int64)
        tokens[ends] = self._end

        laid = None
        if len(every) < n * wide:
            laid = every + np.repeat(window * wide + column - ahead, size)

        def lay(values: NDArray[np.int64], rest: int) -> NDArray[np.int64]:
            if laid is None:
                return values.reshape(n, wide)
            grid = np.full(n * wide, rest, np.int64)
            grid[laid] = values
            return grid.reshape(n, wide)

        fresh = np.empty(len(piece), np.bool_)
        np.not_equal(document[1:], document[:-1], out=fresh[1:])
        fresh[begins] = True
        found: dict[str, NDArray[np.int64]] = {}
        grid = lay(tokens, self._fill)
        if "input_ids" in fields:
            found["input_ids"] = np.ascontiguousarray(grid[:, :-1])
        if "labels" in fields:
            labels = grid[:, self._labelled].copy()
            shift = int(self._shifted)
            unasked = fresh & (column >= shift) & (column < self.length + shift)
            labels[window[unasked], column[unasked] - shift] = IGNORED
            for i in np.flatnonzero(stop - start < wide).tolist():
                labels[i, max(int(stop[i] - start[i]) - shift, 0) :] = IGNORED
            found["labels"] = labels
        if "position_ids" in fields:
            begun = low[np.maximum.accumulate(np.where(fresh, np.arange(len(piece)), 0))]
            found["position_ids"] = np.ascontiguousarray(lay(every + np.repeat(low - begun - ahead, size), 0)[:, :-1])
        if "document_ids" in fields:
            found["document_ids"] = np.ascontiguousarray(lay(np.repeat(document, size), NO_DOCUMENT)[:, :-1])
        return found

    @property
    def _labelled(self) -> slice:
        """The columns of what was read that labels are."""
        return slice(1, None) if self._shifted else slice(None, -1)
