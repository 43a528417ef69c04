"""How does a model learn to read mixed detail?  From what came before a place, within a budget, and what came next.

A sample is a place on the timeline.  What lies before it, text and images, is shown as a working context, in which
gists stand for most of it; the tokens behind it are the *tail*, which the model has to say.  Nothing behind the place
is shown in any form: the context stands on a ground that ends there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.focus import IMAGE_MODALITY, Allocator, Lens, Look, SnapshotGround, WorkingContext, converge
from mctree.geometry import TEXT
from mctree.tree import GistView, Snapshot, Stretches, Tree, stretches
from mctree.tree.arguments import as_integer
from mctree.tree.text_arrays import LOD0
from mctree_torch.mixture import Names, Order, Part, Wish, divide, parts
from mctree_torch.permutation import hashed
from mctree_torch.positions import Places
from mctree_torch.rows import SnapshotRows
from mctree_torch.samples import Sample, SampleDataset
from mctree_torch.windows import IGNORED, Streams, streams

__all__ = ["Cursor", "MixedDetailDataset", "RandomLens"]

BLOCK = TEXT.block

_TOKENLESS = -1
_PLACES = {
    "positions": "position",
    "sigmas": "sigma",
    "x": "x",
    "y": "y",
    "sigma_x": "sigma_x",
    "sigma_y": "sigma_y",
}
"""What the columns of `Places` are called in a sample."""
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
        level = entries.level.astype(np.uint64) | entries.space.astype(np.uint64) << np.uint64(8)
        found = hashed(hashed(entries.start.astype(np.uint64) ^ key[0]) ^ hashed(level ^ key[1]))
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
    parts: list[Part]
    order: Order
    gists: GistView
    rows: SnapshotRows


class MixedDetailDataset(SampleDataset):
    """All that came before a place, in mixed detail, and the tokens behind it as labels.

    The tokens of documents of a weight, in the order in which they were placed on the timeline, are cut into tails; in
    an epoch, each is that of as many samples as the weight says.  So every token of a document of weight 1 is a label
    exactly once an epoch, but for the first of all.  Images, and documents of any weight, are shown to whatever comes
    behind them.

    A sample has one row for each gist, token and patch: first those of the working context, at most `budget`; then up
    to 31 tokens that lead from the end of a block to the tail; then the tail.  Unused rows are last.  With
    `rows = budget + 31 + tail`, a sample holds

    - `input_ids`: `int64 [rows]`: the token, -1 for a gist or a patch, and for an unused row.
    - `gists`: `[budget, dim]`, of the gist set's element type: the vectors of gists and patches, each in its own row;
      zero elsewhere.
    - `levels`: `int64 [rows]`: level of detail, 0 for tokens and patches.
    - `modalities`: `int64 [rows]`: 1 for what stands for an image or for part of one, 0 elsewhere.
    - `positions`: `float64 [rows]`: mean LOD0 position of what the row stands for; for what lies in an image, that of
      the image.
    - `sigmas`: `float64 [rows]`: its width as a standard deviation, 0 for tokens and patches.
    - `x`, `y`: `float64 [rows]`: mean column and row within an image, 0 for text.
    - `sigma_x`, `sigma_y`: `float64 [rows]`: widths of these, 0 for text and patches.
    - `mask`: `bool [rows]`: whether the row says anything: false for unused ones, and for gists that were not made yet.
    - `labels`: `int64 [rows]`: the token of the tail that stands in the next row; or, if not `shifted`, in this one;
      -100 elsewhere.

    Args:
        on: a snapshot, or a tree or the path of a store, of which the newest commit is read.
        budget: what the working context may cost: 1 for a gist, its tokens for a block at LOD0.  About 31 for each
            level is always enough, unless many documents were removed.
        tail: tokens that the model has to say in a sample.
        seed: what orders and random cuts follow from.
        weights: how often documents are asked for in an epoch; see `TokenDataset`.
        shares: instead of weights, how much of an epoch they give; see there.
        samples: how many samples an epoch of shares has; as many as there are tails if None.
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
        weights: Names | None = None,
        shares: Names | None = None,
        samples: int | None = None,
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
        self._wish = Wish.of(weights, shares, samples)
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

    @property
    def parts(self) -> list[Part]:
        """What the documents were divided into, and how much of an epoch each part gives."""
        return list(self._plan.parts)

    @staticmethod
    def places(batch: Sample) -> Places:
        """Where the rows of a sample, or of a batch of them, stand: `[..., rows]`."""
        return Places(*(batch[name] for name in _PLACES))

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
            self._found = self._planned()
        return self._found

    def _planned(self) -> _Plan:
        snapshot = self.snapshot
        found = stretches(snapshot)
        order = np.argsort(found.position)
        found = Stretches(found.position[order], found.tokens[order], found.document[order])
        count = len(self._wish.groups()[2])
        held = streams(found, divide(snapshot, self._wish, found.document), count, end=False)
        tokens = np.diff(held.bounds)
        divided = parts(self._wish, tokens, -(-tokens // self.tail))
        gists = snapshot.gists(self._gist_set)
        rows = SnapshotRows(snapshot, gists, gists.dim)
        return _Plan(held, divided, Order(self.seed, divided, held.bounds[:-1], self.tail), gists, rows)

    def _read(self, epoch: int, index: NDArray[np.int64]) -> Sample:
        samples = [self._sample(*self._cursor(epoch, i)) for i in index.tolist()]
        return {name: torch.from_numpy(np.stack([one[name] for one in samples])) for name in samples[0]}

    def _cursor(self, epoch: int, i: int) -> tuple[Cursor, NDArray[np.int64]]:
        """The place of a sample, and the positions of the tokens that lead to the tail, and of the tail."""
        plan = self._plan
        held = plan.held
        start = int(plan.order.starts(epoch, np.array([i]))[0])
        end = held.bounds[np.searchsorted(held.bounds, start, side="right")]
        stop = min(start + self.tail, int(end))
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
        shown, bounds = self._plan.rows.rows(entries)
        used, rows = len(shown), self.rows
        behind = slice(used, used + len(positions))
        input_ids = np.full(rows, _TOKENLESS, np.int64)
        input_ids[:used] = shown.token
        input_ids[behind] = self.snapshot.rows(LOD0).gather(positions)
        vectors = np.zeros((self.budget, gists.dim), np.dtype(gists.record.dtype))
        vectors[:used][input_ids[:used] < 0] = shown.vector.numpy()
        mask = np.zeros(rows, np.bool_)
        mask[:used], mask[behind] = shown.known, True
        of = np.repeat(np.arange(len(entries)), np.diff(bounds))
        levels, modalities = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        levels[:used], modalities[:used] = entries.level[of], entries.modality[of] == IMAGE_MODALITY
        places = {name: np.zeros(rows) for name in _PLACES}
        for name, column in places.items():
            column[:used] = getattr(shown.places, _PLACES[name])
        places["positions"][behind] = positions
        labels = np.full(rows, IGNORED, np.int64)
        first = behind.stop - len(cursor.tail) - self._shift
        said = cursor.tail[max(-first, 0) :]
        labels[max(first, 0) : max(first, 0) + len(said)] = said
        return {
            "input_ids": input_ids,
            "gists": vectors,
            "levels": levels,
            "modalities": modalities,
            **places,
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
            "mixture": self._wish.digest,
            "cut": rules,
            "gists": f"{gists.name} {gists.record.fingerprint}",
        }

    def _moved(self) -> None:
        self._found = None
