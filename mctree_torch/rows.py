"""What is a model fed of a working context?  One row for each gist, token and patch, in the order of the entries.

A row is a token, which the model's own embeddings turn into a vector, or a vector.  It has a place, with a width where
it is a gist.  A gist that its set does not have yet is a row all the same, of which only its place is known: nothing
may attend to it.

`RowSource` is all that a reader of working contexts needs to know of where rows come from; `SnapshotRows` gathers them
from a store's mapped files, straight and at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.focus import Entries
from mctree.focus.ground import BLOCK, TILE
from mctree.tree import GistView, Snapshot
from mctree.tree.text_arrays import LOD0
from mctree_torch.positions import Places

__all__ = ["RowSource", "Rows", "SnapshotRows"]


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """What a model is fed, on the CPU.

    Attributes:
        token: the token, −1 for a row that is a vector: `int64 [r]`.
        vector: the vectors of those rows, in order: `float32 [v, dim]`.
        known: whether anything may attend to it: `bool [r]`.
        places: where they stand: `[r]`.
    """

    token: torch.Tensor
    vector: torch.Tensor
    known: torch.Tensor
    places: Places

    def __post_init__(self) -> None:
        vectors = int((self.token < 0).sum())
        if len(self.vector) != vectors or not len(self.token) == len(self.known) == len(self.places):
            raise UsageError(
                f"{len(self.token)} rows, {vectors} of them vectors, go with {len(self.vector)} vectors and "
                f"{len(self.places)} places"
            )

    def __len__(self) -> int:
        return len(self.token)

    @classmethod
    def of_tokens(cls, tokens: torch.Tensor, position: torch.Tensor, dim: int) -> Rows:
        """Tokens at positions: `int64 [r]` and `float64 [r]`."""
        return cls(tokens, torch.empty(0, dim), torch.ones(len(tokens), dtype=torch.bool), Places.of_text(position))

    @classmethod
    def joined(cls, parts: list[Rows]) -> Rows:
        """The rows of one after those of the other."""
        return cls(
            torch.cat([part.token for part in parts]),
            torch.cat([part.vector for part in parts]),
            torch.cat([part.known for part in parts]),
            Places.joined([part.places for part in parts]),
        )

    def take(self, first: int, stop: int) -> Rows:
        """The rows [first, stop)."""
        vectors = torch.cumsum(self.token < 0, 0)
        begin, end = (int(vectors[row - 1]) if row else 0 for row in (first, stop))
        some = slice(first, stop)
        return Rows(self.token[some], self.vector[begin:end], self.known[some], self.places.take(some))

    def shared_with(self, other: Rows) -> int:
        """How many rows from the first on are the same in both, to the last bit."""
        n = min(len(self), len(other))
        some = slice(0, n)
        same = (self.token[some] == other.token[some]) & (self.known[some] == other.known[some])
        same &= self.places.take(some).same(other.places.take(some))
        rows = torch.nonzero(self.token[: _leading(same)] < 0)[:, 0]
        alike = (self.vector[: len(rows)] == other.vector[: len(rows)]).all(1)
        same[rows] &= alike
        return _leading(same)


@runtime_checkable
class RowSource(Protocol):
    """Where the rows of entries come from."""

    def rows(self, entries: Entries) -> tuple[Rows, NDArray[np.int64]]:
        """What a model is fed of entries.

        Args:
            entries: in any order.

        Returns:
            The rows, and where those of each entry begin: `int64 [n + 1]`.
        """
        ...


class SnapshotRows:
    """Rows gathered from a store.

    Args:
        snapshot: stays open as long as this is used.
        gists: the gist set whose vectors the model is fed; None: no gist is known.
        dim: of the model's input embeddings.

    Raises:
        UsageError: the gists have another dimension.
    """

    def __init__(self, snapshot: Snapshot, gists: GistView | None, dim: int) -> None:
        if gists is not None and gists.dim != dim:
            raise UsageError(
                f"gist set {gists.name!r} has {gists.dim} dimensions and the model {dim}: build a set by a GistNet "
                "that was made for the model"
            )
        self._snapshot = snapshot
        self._gists = gists
        self._dim = dim
        self._end = snapshot.positions
        tails = [document.tail for document in snapshot.tails()]
        self._waiting = [tail.tokens for tail in tails if tail is not None]

    def rows(self, entries: Entries) -> tuple[Rows, NDArray[np.int64]]:
        """See `RowSource.rows`; a tile at LOD0 has a row for each of its patches, which is a vector of the gist set."""
        counts = np.where(entries.level == 0, entries.cost, 1)
        bounds = np.concatenate(([0], np.cumsum(counts)))
        each = entries.take(np.repeat(np.arange(len(entries)), counts))
        places = Places.of_entries(each)
        token, index = np.full(len(each), -1, np.int64), each.index.copy()

        text = (each.level == 0) & (each.space == 0)
        index[text] += (np.arange(len(each)) - np.repeat(bounds[:-1], counts))[text]
        places.position.numpy()[text] = index[text]
        placed = text & (index < self._end)
        token[placed] = self._snapshot.rows(LOD0).gather(index[placed])
        late = (entries.level == 0) & (entries.space == 0) & (entries.start >= self._end)
        for i in np.flatnonzero(late).tolist():
            token[bounds[i] : bounds[i + 1]] = self._waiting[(int(entries.start[i]) - self._end) // BLOCK]

        tile = (entries.level == 0) & (entries.space > 0)
        if tile.any():
            patch = (each.level == 0) & (each.space > 0)
            index[patch], x, y = self._snapshot.arena.patches(entries.index[tile] // TILE)
            places.x.numpy()[patch], places.y.numpy()[patch] = x, y

        vector = token < 0
        known = ~vector
        vectors = np.zeros((np.count_nonzero(vector), self._dim), np.float32)
        if self._gists is not None:
            vectors[:], known[vector] = self._gists.find(each.space[vector], each.level[vector], index[vector])
        return Rows(torch.from_numpy(token), torch.from_numpy(vectors), torch.from_numpy(known), places), bounds


def _leading(marks: torch.Tensor) -> int:
    """How many marks from the first on are set."""
    return int(torch.cumprod(marks.to(torch.int64), 0).sum())
