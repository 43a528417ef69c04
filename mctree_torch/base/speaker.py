"""How does a model converse over a store?  It hears, says, and looks again every few tokens; what is said is kept.

The conversation is an open document of the tree.  Whatever is heard or said is appended to it, and committed before
the model looks at it: so the tree is the memory, and the working context is all of it that is read.  Between two looks
tokens are read as they are said.  A look

    commits          what was said since the last one; full blocks are placed, gists are made
    refocuses        the working context moves to the new commit; what was placed enters
    sharpens         the newest stretch is brought to LOD0, and if need be paid for by what is coldest
    follows a lens   for some steps of the allocator, which leaves that stretch alone
    reads            the rows from the first that has changed

A look costs what the budget allows and not what the history holds, in time and in memory alike.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mctree.errors import NotFoundError, UsageError
from mctree.focus import IMAGE_MODALITY, Allocator, Entries, Lens, RecencyLens, WorkingContext
from mctree.focus.allocator import coldest
from mctree.tree import GistView, OpenDocument, Snapshot, Tree
from mctree_torch.base.reader import Reader
from mctree_torch.rows import Rows, SnapshotRows

__all__ = ["Moment", "Speaker"]

_TAIL = 64
"""Tokens at the end that a lens is shown as the question."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What a lens can be made of when the model looks again.

    Attributes:
        snapshot: the newest commit.
        gists: the gist set in use, if there is one.
        embedding: the model's input embeddings, on the CPU: `float32 [vocabulary, dim]`.
        tail: the newest tokens, oldest first, as far back as all is at LOD0, at most 64: `int64 [m]`.
    """

    snapshot: Snapshot
    gists: GistView | None
    embedding: NDArray[np.float32]
    tail: NDArray[np.int64]


class Speaker:
    """A conversation of a model over a tree; a `with` block ends it.  It holds the tree's writer meanwhile.

    Args:
        reader: the model.
        tree: the store, whose tokens are the model's.
        document: the name of the conversation; one of that name that is open is gone on with.
        budget: of the working context; the model's window has to hold `budget` + `every` rows.
        lens: what is followed: a lens, or what makes one at each look.
        allocator: by which rules.
        gist_set: whose gists are read; the default one if None.  Without any, only text at LOD0 is seen.
        every: look again after so many tokens that were said.
        sharp: so many positions at the end are at LOD0, as far as the budget allows.
        steps: of the allocator at each look.

    Attributes:
        context: the working context; None before the first look.

    Raises:
        UsageError: a number is out of range, or the model's vocabulary is smaller than the tree's.
        LockedError: somebody else is writing.
    """

    def __init__(
        self,
        reader: Reader,
        tree: Tree,
        document: str,
        *,
        budget: int,
        lens: Lens | Callable[[Moment], Lens] | None = None,
        allocator: Allocator | None = None,
        gist_set: str | None = None,
        every: int = 16,
        sharp: int = 128,
        steps: int = 1,
    ) -> None:
        for name, value, least in (
            ("every", every, 1),
            ("sharp", sharp, 0),
            ("steps", steps, 0),
            ("budget", budget, 1),
        ):
            if value < least:
                raise UsageError(f"{name} of a speaker is at least {least}, not {value}")
        if tree.vocabulary > len(reader.embedding()):
            raise UsageError(
                f"the tree has {tree.vocabulary} tokens and the model {len(reader.embedding())}: they are not made for "
                "each other"
            )
        rules = allocator or Allocator()
        self.context: WorkingContext | None = None
        self._reader = reader
        self._tree = tree
        self._budget = budget
        self._lens: Lens | Callable[[Moment], Lens] = RecencyLens() if lens is None else lens
        self._allocator = replace(rules, protect=max(rules.protect, sharp))
        self._gist_set = gist_set
        self._every, self._sharp, self._steps = every, sharp, steps
        self._embedding: NDArray[np.float32] = reader.embedding().float().cpu().numpy()
        self._snapshot: Snapshot | None = None
        self._last = -1.0  # where the row that was read last stands
        self._writer = tree.writer()
        try:
            self._document = self._begin(document)
        except BaseException:
            self._writer.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Commit what was said and give the writer back; the document stays open, to be gone on with."""
        try:
            self._writer.commit(gists=True)
        finally:
            self._writer.close()
            if self._snapshot is not None:
                self._snapshot.close()

    @property
    def document(self) -> OpenDocument:
        """What is being said, as it is written."""
        return self._document

    def hear(self, said: str | bytes | ArrayLike) -> None:
        """Append text, or tokens, to the conversation; the model reads it when it speaks next."""
        if isinstance(said, str | bytes):
            self._document.write(said)
        else:
            self._document.extend(said)

    def say(
        self,
        most: int,
        *,
        stop: Collection[int] = (),
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Iterator[int]:
        """Let the model speak, token by token, each of which is appended to the conversation before it is given.

        Args:
            most: so many tokens at most.
            stop: tokens after which it ends.
            temperature: 0 takes what is most likely; above, tokens are drawn.
            generator: draws them.

        Raises:
            UsageError: there is nothing to go on from: let it hear something first.
        """
        logits, pending = self.look(), 0
        for said in range(1, most + 1):
            token = _chosen(logits[: self._tree.vocabulary], temperature, generator)
            self._document.extend([token])
            pending += 1
            yield token
            if token in stop or said == most:
                break
            if pending == self._every:
                logits, pending = self.look(), 0
            else:
                self._last += 1
                at = torch.tensor([self._last], dtype=torch.float64)
                logits = self._reader.go_on(Rows.of_tokens(torch.tensor([token]), at, self._reader.dim))

    def look(self) -> torch.Tensor:
        """Commit, look at the tree anew, and read: what the model expects next, `float32 [vocabulary]`.

        Raises:
            UsageError: the tree is empty.
            BudgetTooSmall: not even the smallest cover of all there is fits the budget.
        """
        self._writer.commit(gists=True)
        snapshot = self._tree.snapshot()
        try:
            if self.context is None:
                self.context = WorkingContext.recent(snapshot, self._budget, self._allocator)
            else:
                self.context.refocus(snapshot)
        except BaseException:
            snapshot.close()
            raise
        if self._snapshot is not None:
            self._snapshot.close()
        self._snapshot = snapshot
        self._sharpen(self.context)
        gists = self._gists(snapshot)
        source = SnapshotRows(snapshot, gists, self._reader.dim)
        if self._steps:
            self._follow(self.context, source, Moment(snapshot, gists, self._embedding, np.empty(0, np.int64)))
        rows = self._rows(self.context, source)
        logits = self._reader.read(rows)
        # What is said next stands behind everything, also where a gist, whose place is its middle, was read last.
        self._last = max(float(rows.places.position[-1]), float(self.context.ground.end - 1))
        return logits

    # Within

    def _begin(self, name: str) -> OpenDocument:
        try:
            found = self._writer.snapshot.document(name)
        except NotFoundError:
            return self._writer.begin(name)
        return self._writer.reopen(found.id)

    def _gists(self, snapshot: Snapshot) -> GistView | None:
        if self._gist_set is None and snapshot.default_gists is None:
            return None
        return snapshot.gists(self._gist_set)

    def _follow(self, context: WorkingContext, source: SnapshotRows, moment: Moment) -> None:
        """Take some steps after a lens."""
        lens = self._lens
        if not isinstance(lens, Lens):
            tokens = self._rows(context, source).token.numpy()
            gists = np.flatnonzero(tokens < 0)
            newest = tokens[gists[-1] + 1 :] if len(gists) else tokens
            lens = lens(replace(moment, tail=newest[-_TAIL:]))
        for _ in range(self._steps):
            if not context.step(lens).edits:
                return

    def _sharpen(self, context: WorkingContext) -> None:
        """Bring the text of the newest stretch to LOD0, newest first, as long as there is room or can be made."""
        end = context.ground.end
        while True:
            entries = context.entries
            image = (entries.level == 1) & (entries.modality == IMAGE_MODALITY)  # how much of one is seen, a lens says
            newer = (entries.space == 0) & (entries.stop > end - self._sharp)
            coarse = np.flatnonzero((entries.level > 0) & newer & ~image)
            if not len(coarse):
                return
            newest = int(coarse[-1])
            node, excess = entries.address(newest), context.cost + int(entries.growth[newest]) - context.budget
            if not self._room(context, excess, int(entries.start[newest])):
                return
            context.expand(node)

    def _room(self, context: WorkingContext, excess: int, before: int) -> bool:
        """Collapse the coldest that ends before a position until so much is saved, or say that this cannot be."""
        while excess > 0:
            entries, ground = context.entries, context.ground
            protect = self._allocator.protect
            groups = coldest(entries, context.history, excess, ground.end, protect)
            groups = groups.take(np.flatnonzero(groups.reach(entries) <= min(ground.end - protect, before)))
            if not len(groups):
                return False
            excess -= int(groups.gain(entries).sum())
            above = groups.nodes(entries, ground.grafts)
            for level, index, space in zip(above.level, above.index, above.space, strict=True):
                context.collapse(f"a{space}/{level}:{index}" if space else (int(level), int(index)))
        return True

    def _rows(self, context: WorkingContext, source: SnapshotRows) -> Rows:
        """The rows of all entries, those at the end of what is being said last."""
        entries = context.entries
        return source.rows(entries.take(_spoken_last(entries, self._document.id, context.ground.end)))[0]


def _spoken_last(entries: Entries, document: int, end: int) -> NDArray[np.int64]:
    """The order in which entries are read: as they stand, but for unfinished blocks of other documents.

    These stand behind all that was placed.  What a model is to go on from has to be read last, so they are read before
    the stretch of its own document at the end.
    """
    others = (entries.start >= end) & (entries.space == 0) & (entries.document != document)
    if not others.any():
        return np.arange(len(entries))
    rest, moved = np.flatnonzero(~others), np.flatnonzero(others)
    foreign = np.flatnonzero(entries.document[rest] != document)
    first = int(foreign[-1]) + 1 if len(foreign) else 0
    return np.concatenate((rest[:first], moved, rest[first:]))


def _chosen(logits: torch.Tensor, temperature: float, generator: torch.Generator | None) -> int:
    """A token: the most likely one, or one that is drawn."""
    if temperature <= 0:
        return int(logits.argmax())
    shares = torch.softmax(logits / temperature, -1)
    return int(torch.multinomial(shares, 1, generator=generator))
