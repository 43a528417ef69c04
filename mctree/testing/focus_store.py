"""Does a working context stay one over a real store, while that is written to, superseded and compacted?

`FocusTreeMachine` does to a store all that `TreeMachine` does, and in between follows a lens over it, moves on to newer
commits, and compares the context with the model of the store, one block at a time.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mctree.errors import BudgetTooSmall, UsageError
from mctree.focus import Allocator, Lens, SnapshotGround, WorkingContext
from mctree.focus.covers import least_cost
from mctree.testing import strategies
from mctree.testing.focus_checks import Truth, check_context
from mctree.testing.machine import TreeMachine
from mctree.testing.model import State
from mctree.tree import Snapshot

__all__ = ["FocusTreeMachine", "truth_of_state"]


def truth_of_state(state: State) -> Truth:
    """What a commit of the model holds."""
    tails = [(d.id, len(d.tokens) - d.placed) for _, d in sorted(state.documents.items()) if d.open]
    return Truth(
        [len(block.tokens) for block in state.blocks],
        [block.document for block in state.blocks],
        frozenset(state.dead),
        [(number, tokens) for number, tokens in tails if tokens],
    )


class FocusTreeMachine(TreeMachine):
    """A store, its model, and a working context over one of its commits."""

    def __init__(self) -> None:
        super().__init__()
        self.context: WorkingContext | None = None
        self.seen: Snapshot | None = None
        self.truth = Truth([], [])

    @rule(allocator=strategies.allocators(), over=st.integers(0, 400), recent=st.booleans())
    def begin_to_focus(self, allocator: Allocator, over: int, recent: bool) -> None:
        """Take a snapshot of the newest commit, and begin with it."""
        snapshot = self._snapshot()
        budget = least_cost(SnapshotGround(snapshot)) + over
        make = WorkingContext.recent if recent else WorkingContext.smallest
        self._let_go()
        self.context, self.seen = make(snapshot, budget, allocator), snapshot
        self._compare()

    @precondition(lambda self: self._looking())
    @rule(lens=strategies.lenses(), steps=st.integers(1, 5))
    def follow_a_lens(self, lens: Lens, steps: int) -> None:
        """Take some steps."""
        assert self.context is not None
        for _ in range(steps):
            self.context.step(lens)
        self._compare()

    @precondition(lambda self: self._looking())
    @rule()
    def move_on(self) -> None:
        """Move to the newest commit; past a compaction there is no way but a new context."""
        assert self.context is not None and self.seen is not None
        snapshot, before = self._snapshot(), self.context.entries
        if snapshot.store.identity != self.seen.store.identity:
            self._refused(snapshot, UsageError)
            snapshot.close()
            self._let_go()
            return
        needed = least_cost(SnapshotGround(snapshot))
        if needed > self.context.budget:
            self._refused(snapshot, BudgetTooSmall)
            self.context.budget = needed
        change = self.context.refocus(snapshot)
        self.seen.close()
        self.seen = snapshot
        assert change.diff.apply(before).same(self.context.entries).all()
        self._compare()

    def teardown(self) -> None:
        """Close the snapshot with the rest."""
        self._let_go()
        super().teardown()

    def _looking(self) -> bool:
        """Whether there is a context, and the handle that its snapshot is of was not closed."""
        return self.seen is not None and self.seen.tree is self.tree

    def _snapshot(self) -> Snapshot:
        snapshot = self.tree.snapshot()
        assert snapshot.commit == self.model.newest
        self.truth = truth_of_state(self.model.commits[snapshot.commit])
        return snapshot

    def _refused(self, snapshot: Snapshot, error: type[Exception]) -> None:
        assert self.context is not None
        before = self.context.entries
        try:
            self.context.refocus(snapshot)
        except error:
            assert self.context.entries is before
            return
        raise AssertionError(f"that has to raise {error.__name__}")

    def _let_go(self) -> None:
        if self.seen is not None:
            self.seen.close()
        self.context = self.seen = None

    def _compare(self) -> None:
        assert self.context is not None
        check_context(self.context, self.truth)
