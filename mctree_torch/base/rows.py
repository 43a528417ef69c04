"""What is a model fed of a working context?  One row for each gist and for each token, in the order of the entries.

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
from mctree.focus import IMAGE_MODALITY, Entries
from mctree.focus.ground import BLOCK
from mctree.tree import GistView, Snapshot
from mctree.tree.snapshot import LOD0
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
        self._gists = gists
        self._dim = dim
        self._tokens = snapshot.rows(LOD0)
        self._end = snapshot.positions
        tails = [document.tail for document in snapshot.tails()]
        self._waiting = [tail.tokens for tail in tails if tail is not None]

    def rows(self, entries: Entries) -> tuple[Rows, NDArray[np.int64]]:
        """See `RowSource.rows`.

        Raises:
            UsageError: an entry lies in an image, of which a store's gists know nothing.
        """
        if (entries.modality == IMAGE_MODALITY).any():
            raise UsageError("this source has rows of text only")
        fine = entries.level == 0
        counts = np.where(fine, entries.cost, 1)
        bounds = np.concatenate(([0], np.cumsum(counts)))
        entry = np.repeat(np.arange(len(entries)), counts)
        within = np.arange(bounds[-1]) - bounds[entry]
        at = entries.start[entry] + within
        token = np.full(bounds[-1], -1, np.int64)
        placed = fine[entry] & (at < self._end)
        token[placed] = self._tokens.gather(at[placed])
        for each in np.flatnonzero(fine & (entries.start >= self._end)).tolist():
            waiting = self._waiting[(int(entries.start[each]) - self._end) // BLOCK]
            token[bounds[each] : bounds[each + 1]] = waiting
        vectors, have = self._vectors(entries.take(np.flatnonzero(~fine)))
        known = np.ones(len(token), np.bool_)
        known[token < 0] = have
        position = np.where(fine[entry], at, entries.position[entry])
        places = Places.of_text(torch.from_numpy(position), torch.from_numpy(entries.sigma[entry]))
        return Rows(torch.from_numpy(token), vectors, torch.from_numpy(known), places), bounds

    def _vectors(self, gists: Entries) -> tuple[torch.Tensor, NDArray[np.bool_]]:
        """The gists of entries above LOD0, and which of them there are."""
        vectors = np.zeros((len(gists), self._dim), np.float32)
        known = np.zeros(len(gists), np.bool_)
        if self._gists is not None:
            for level in set(gists.level.tolist()):
                some = np.flatnonzero((gists.level == level) & (gists.index < self._gists.rows(level)))
                if len(some):
                    vectors[some] = self._gists.gather(level, gists.index[some])
                    known[some] = True
        return torch.from_numpy(vectors), known


def _leading(marks: torch.Tensor) -> int:
    """How many marks from the first on are set."""
    return int(torch.cumprod(marks.to(torch.int64), 0).sum())
