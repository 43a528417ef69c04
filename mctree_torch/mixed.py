"""How does a model learn to read mixed detail?  From what came before a place, within a budget, and what came next.

A sample is a place on the timeline.  What lies before it is shown as a working context, in which gists stand for most
of it; the tokens behind it are the *tail*, which the model has to say.  Nothing behind the place is shown in any form:
the context stands on a ground that ends there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.focus import Allocator, Entries, Lens, Look, SnapshotGround, WorkingContext, converge
from mctree.geometry import TEXT
from mctree.tree import GistView, Snapshot, Stretches, Tree, stretches
from mctree.tree.arguments import as_integer
from mctree.tree.snapshot import LOD0
from mctree_torch.mixture import Order, Part
from mctree_torch.permutation import hashed
from mctree_torch.samples import Sample, SampleDataset
from mctree_torch.windows import IGNORED, Streams, streams

__all__ = ["Cursor", "MixedDetailDataset", "RandomLens"]

BLOCK = TEXT.block

_TOKENLESS = -1
_MOST_LENGTH = 1 << 24


class RandomLens:
    """Wishes that follow from a number, a node and a step, and from nothing else: a lens that cuts at random.

    Args:
        seed: 0 to 2^64 - 1.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def score(self, look: Look) -> NDArray[np.float64]:
        """See `Lens.score`: uniform in [-1, 1)."""
        entries = look.entries
        key = np.array([self.seed, look.step], np.uint64)
        found = hashed(
            hashed(entries.start.astype(np.uint64) ^ key[0]) ^ hashed(entries.level.astype(np.uint64) ^ key[1])
        )
        return (found >> np.uint64(11)).astype(np.float64) / 2**52 - 1


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place of one sample, for whoever makes a lens for it.

    Attributes:
        snapshot: what is read.
        number: a number that follows from the dataset's seed, the epoch and the sample, 0 to 2^64 - 1.
        position: the LOD0 position where the context ends, and the tail begins, or a few tokens that lead to it.
        tail: the tokens that the model will have to say, `int64 [n]`.
    """

    snapshot: Snapshot
    number: int
    position: int
    tail: NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class _Plan:
    held: Streams
    order: Order
    gists: GistView


class MixedDetailDataset(SampleDataset):
    """All that came before a place, in mixed detail, and the tokens behind it as labels.

    The tokens of all documents, in the order in which they were placed on the timeline, are cut into tails; in an
    epoch, each is that of one sample.  So every token is a label exactly once an epoch, but for the first of all.

    A sample has one row for each gist and for each token: first those of the working context, at most `budget`; then up
    to 31 tokens that lead from the end of a block to the tail; then the tail.  Unused rows are last.  With
    `rows = budget + 31 + tail`, a sample holds

    - `input_ids`: `int64 [rows]`: the token, -1 for a gist and for an unused row.
    - `gists`: `[budget, dim]`, of the gist set's element type: the gists, each in its own row; zero elsewhere.
    - `levels`: `int64 [rows]`: level of detail, 0 for tokens.
    - `positions`: `float64 [rows]`: mean LOD0 position of what the row stands for.
    - `sigmas`: `float64 [rows]`: its width as a standard deviation, 0 for tokens.
    - `mask`: `bool [rows]`: whether the row says anything: false for unused ones, and for gists that were not made yet.
    - `labels`: `int64 [rows]`: the token of the tail that stands in the next row; or, if not `shifted`, in this one;
      -100 elsewhere.

    Args:
        on: a snapshot, or a tree or the path of a store, of which the newest commit is read.
        budget: what the working context may cost: 1 for a gist, its tokens for a block at LOD0.  About 31 for each
            level is always enough, unless many documents were removed.
        tail: tokens that the model has to say in a sample.
        seed: what orders and random cuts follow from.
        lens: what chooses the cut; or makes such a lens for each sample.  By default, chance does.  A state knows it by
            its name only, so see to it that it is the same when a run is resumed.
        allocator: the rules by which a cut is reached, from the coarsest one on.
        steps: how many steps are taken at most.
        gist_set: the gists to give; the default set if none is named.
        shifted: see `labels`.
        commit: another commit than the newest.

    Raises:
        UsageError: an argument is wrong, or there is nothing to read (which is found out when it is first read).
        BudgetTooSmall: when a sample is read: not even the coarsest view of what came before it fits.
        NotFoundError: when it is first read: there is no such gist set.
    """

    kind = "mixed detail"

    def __init__(
        self,
        on: Snapshot | Tree | str | os.PathLike[str],
        budget: int,
        tail: int,
        *,
        seed: int = 0,
        lens: Lens | Callable[[Cursor], Lens] | None = None,
        allocator: Allocator | None = None,
        steps: int = 8,
        gist_set: str | None = None,
        shifted: bool = True,
        commit: int | None = None,
    ) -> None:
        super().__init__(on, seed, commit)
        for what, number in (("budget", budget), ("tail", tail), ("number of steps", steps)):
            if not 1 <= as_integer(number, f"a {what}") < _MOST_LENGTH:
                raise UsageError(f"a {what} is a whole number from 1 to {_MOST_LENGTH - 1}, not {number}")
        self.budget, self.tail, self.steps = budget, tail, steps
        self.lens = lens
        self.allocator = Allocator(max_edits=budget, cooldown=0) if allocator is None else allocator
        self._gist_set, self._shift = gist_set, int(shifted)
        self._found: _Plan | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_found": None}

    def __len__(self) -> int:
        return self._plan.order.samples

    @property
    def rows(self) -> int:
        """Rows of a sample."""
        return self.budget + BLOCK - 1 + self.tail

    def context(self, index: int, epoch: int | None = None) -> WorkingContext:
        """The working context of a sample, of the current epoch if none is named.

        Raises:
            IndexError: there is no such sample.
        """
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"there are samples 0 to {n - 1} in an epoch")
        return self._context(self._cursor(self.epoch if epoch is None else epoch, index % n)[0])

    @property
    def _plan(self) -> _Plan:
        if self._found is None:
            found = stretches(self.snapshot)
            order = np.argsort(found.position)
            sorted_ = Stretches(found.position[order], found.tokens[order], found.document[order])
            held = streams(sorted_, np.zeros(len(order), np.int64), 1, end=False)
            tokens = int(held.bounds[-1])
            samples = -(-tokens // self.tail)
            if not samples:
                raise UsageError("there is nothing to read: ingest documents")
            part = Part("all", tokens, samples, samples)
            plan = Order(self.seed, [part], held.bounds[:1], self.tail)
            self._found = _Plan(held, plan, self.snapshot.gists(self._gist_set))
        return self._found

    def _read(self, epoch: int, index: NDArray[np.int64]) -> Sample:
        samples = [self._sample(*self._cursor(epoch, i)) for i in index.tolist()]
        return {name: torch.from_numpy(np.stack([one[name] for one in samples])) for name in samples[0]}

    def _cursor(self, epoch: int, i: int) -> tuple[Cursor, NDArray[np.int64]]:
        """The place of a sample, and the positions of the tokens that lead to the tail, and of the tail."""
        plan = self._plan
        held = plan.held
        start = int(plan.order.starts(epoch, np.array([i]))[0])
        stop = min(start + self.tail, int(held.bounds[-1]))
        first, last = np.searchsorted(held.offset, [start, stop - 1], side="right") - 1
        piece = np.arange(first, last + 1)
        low = np.maximum(held.offset[piece], start)
        size = np.minimum(held.offset[piece + 1], stop) - low
        tail = np.repeat(held.position[piece] + low - held.offset[piece] - (low - start), size)
        tail += np.arange(stop - start)
        block = int(tail[0]) // BLOCK * BLOCK
        positions = np.concatenate((np.arange(block, tail[0]), tail))
        tokens = self.snapshot.rows(LOD0).gather(tail).astype(np.int64)
        number = hashed(hashed(np.array([self.seed ^ epoch << 32], np.uint64)) ^ np.uint64(i))
        return Cursor(self.snapshot, int(number[0]), block, tokens), positions

    def _context(self, cursor: Cursor) -> WorkingContext:
        ground = SnapshotGround(cursor.snapshot, cursor.position)
        context = WorkingContext.smallest(ground, self.budget, self.allocator)
        if self.lens is None:
            lens: Lens = RandomLens(cursor.number)
        else:
            lens = self.lens if isinstance(self.lens, Lens) else self.lens(cursor)
        for _change in converge(context, lens, self.steps):
            pass
        return context

    def _sample(self, cursor: Cursor, positions: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
        entries = self._context(cursor).entries
        gists = self._plan.gists
        rows, budget = self.rows, self.budget
        shown = _Rows.of(entries)
        used = len(shown.position)
        behind = slice(used, used + len(positions))
        input_ids = np.full(rows, _TOKENLESS, np.int64)
        where, sigmas, levels = np.zeros(rows), np.zeros(rows), np.zeros(rows, np.int64)
        where[:used], sigmas[:used], levels[:used] = shown.position, shown.sigma, shown.level
        where[behind] = positions
        mask = np.zeros(rows, np.bool_)
        mask[: behind.stop] = True
        vectors = np.zeros((budget, gists.dim), np.dtype(gists.record.dtype))
        for level in set(shown.level.tolist()) - {0}:
            some = np.flatnonzero(shown.level == level)
            made = shown.index[some] < gists.rows(level)
            mask[some[~made]] = False
            some = some[made]
            if len(some):
                vectors[some] = gists.gather(level, shown.index[some])
        fine = np.flatnonzero(levels[: behind.stop] == 0)
        input_ids[fine] = self.snapshot.rows(LOD0).gather(where[fine].astype(np.int64))
        labels = np.full(rows, IGNORED, np.int64)
        first = behind.stop - len(cursor.tail) - self._shift
        said = cursor.tail[max(-first, 0) :]
        labels[max(first, 0) : max(first, 0) + len(said)] = said
        return {
            "input_ids": input_ids,
            "gists": vectors,
            "levels": levels,
            "positions": where,
            "sigmas": sigmas,
            "mask": mask,
            "labels": labels,
        }

    def _settings(self) -> dict[str, int | str | None]:
        gists = self._plan.gists
        lens = None if self.lens is None else getattr(self.lens, "__qualname__", type(self.lens).__qualname__)
        rules = repr((lens, self.allocator, self.steps, self._shift))
        return {
            "budget": self.budget,
            "tail": self.tail,
            "cut": rules,
            "gists": f"{gists.name} {gists.record.fingerprint}",
        }

    def _moved(self) -> None:
        self._found = None


@dataclass(frozen=True, eq=False, slots=True)
class _Rows:
    """One row for each gist and for each token of some entries: `[r]` each."""

    level: NDArray[np.int64]
    index: NDArray[np.int64]
    position: NDArray[np.float64]
    sigma: NDArray[np.float64]

    @classmethod
    def of(cls, entries: Entries) -> _Rows:
        """The rows of entries of text; a block has as many as it costs, of which each is a token."""
        cost = np.where(entries.level > 0, 1, entries.cost)
        of = np.repeat(np.arange(len(entries)), cost)
        within = np.arange(len(of)) - np.repeat(np.cumsum(cost) - cost, cost)
        level = entries.level[of]
        position = np.where(level > 0, entries.position[of], entries.start[of] + within)
        return cls(level, entries.index[of], position, entries.sigma[of])
