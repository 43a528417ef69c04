"""Does a working context stay one, whatever is done to it?  Random scores, edits by hand, and a timeline that moves on.

`FocusMachine` drives a context on a `PaperWorld`, which takes images, loses documents, and has unfinished blocks.
After each step everything is compared with lists (`check_context`), the difference that was given is applied to a copy
of the state before, and every node's last edit is remembered, so that nobody flips too soon.  Whatever is refused, or
breaks off in the middle, must have changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mctree.errors import BudgetTooSmall, UsageError
from mctree.focus import Allocator, Change, Entries, Lens, RecencyLens, SpansLens, WorkingContext, converge
from mctree.focus.covers import least_cost
from mctree.focus.ground import BLOCK, TILE
from mctree.geometry import IMAGE, Address
from mctree.testing import strategies
from mctree.testing.focus_checks import Truth, check_context
from mctree.testing.paper import PaperGround, PaperImage, PaperWorld

__all__ = ["FocusMachine", "truth_of"]

_MOST_BLOCKS = 6000

Node = tuple[int, ...]
"""Space, level, index."""

By = Literal["scores", "hand", "commit"]
"""What changes a context: a step, somebody, or a move to a newer commit."""


def truth_of(ground: PaperGround) -> Truth:
    """What a ground on paper holds."""
    images, roots = {}, {}
    for block, base in ground.bases.items():
        roots[block] = (base, base + ground.images[block].extent)
        images[block] = {
            code: place for code, place in ground.patches.items() if roots[block][0] <= code < roots[block][1]
        }
    tails = [(int(document), int(tokens)) for document, tokens in ground.tails.integers.T]
    return Truth(ground.counts, ground.documents, frozenset(ground.dead), tails, images, roots, ground.closed)


class FocusMachine(RuleBasedStateMachine):
    """A working context over a world on paper, driven by rules."""

    @initialize(
        blocks=st.sampled_from([0, 1, 3, 40, 70, 70, 1030, 1100]),
        image=st.booleans(),
        allocator=strategies.allocators(),
        data=st.data(),
    )
    def begin(self, blocks: int, image: bool, allocator: Allocator, data: st.DataObject) -> None:
        """Make a world, and a context of it in one of the ways there are."""
        self.world = PaperWorld()
        self.documents = 0
        if blocks:
            self._place(blocks, 5)
        if image:
            self._graft(data.draw(strategies.paper_images()))
        self.ground = self.world.ground()
        budget = least_cost(self.ground) + data.draw(st.integers(0, 600))
        kind = data.draw(st.sampled_from(["smallest", "recent", "around", "of"]))
        if kind == "smallest":
            context = WorkingContext.smallest(self.ground, budget, allocator)
        elif kind == "recent":
            context = WorkingContext.recent(self.ground, budget, allocator)
        elif kind == "around":
            spans = data.draw(st.lists(strategies.ranges(self.ground.end), max_size=3))
            context = self._affordable(lambda room: WorkingContext.around(self.ground, spans, room, allocator), budget)
        else:
            cut = data.draw(strategies.cuts(self.ground.world, least_level=1))
            context = self._affordable(lambda room: WorkingContext.of(self.ground, cut, room, allocator), budget)
        self.watch(context)

    def watch(self, context: WorkingContext) -> None:
        """From now on drive this context, on `self.ground`, and remember what is done to it."""
        self.context = context
        self.mirror: Entries | None = context.entries
        self.end = self.ground.end
        self.edited: dict[Node, int] = {}

    @staticmethod
    def _affordable(make: Callable[[int], WorkingContext], budget: int) -> WorkingContext:
        """Made with the budget, or with what it says that it needs."""
        try:
            return make(budget)
        except BudgetTooSmall as error:
            return make(error.needed)

    # Steps

    @rule(data=st.data())
    def step_by_scores(self, data: st.DataObject) -> None:
        """Take a step with scores of any kind, NaN and infinities among them."""
        self.step(data.draw(strategies.scores(len(self.context))))

    @rule(lens=strategies.lenses(), steps=st.integers(1, 6))
    def step_by_a_lens(self, lens: Lens, steps: int) -> None:
        """Take some steps with a lens that is asked again in each round."""
        for _ in range(steps):
            self.step(lens)

    def step(self, lens: Lens | np.ndarray) -> Change:
        """Take a step, which makes no more edits than it may."""
        before, budget = self.context.entries, self.context.allocator
        change = self.context.step(lens)
        assert change.edits <= budget.max_edits * budget.rounds, f"{change.edits} edits in a step"
        self._note(change, before)
        return change

    @rule(data=st.data())
    def follow(self, data: st.DataObject) -> None:
        """Follow a lens that means something, as far as it goes; it comes to rest."""
        chosen: Lens = SpansLens(data.draw(st.lists(strategies.ranges(self.ground.end), max_size=3)))
        # Without a threshold there is no hysteresis, and what is neither too coarse nor too fine changes for ever.
        if self.context.allocator.threshold >= 0.2 and data.draw(st.booleans()):
            chosen = RecencyLens()
        steps = 0
        before = self.context.entries
        for change in converge(self.context, chosen, most=3000):
            self._note(change, before)
            before = self.context.entries
            steps += 1
        assert steps < 3000, "the context never comes to rest"

    @rule(data=st.data())
    def refuse_scores(self, data: st.DataObject) -> None:
        """Give scores that are none: nothing changes."""
        n = len(self.context)
        bad = data.draw(st.sampled_from([np.zeros(n + 1), np.zeros((n, 1)), np.zeros(n, bool), np.zeros(n, complex)]))
        self._refused(lambda: self.context.step(bad), UsageError)

    # By hand

    @precondition(lambda self: len(self.context) > 0)
    @rule(data=st.data())
    def expand_and_collapse(self, data: st.DataObject) -> None:
        """Expand an entry by hand, if that can be done, and collapse it again: everything is as it was."""
        i = data.draw(st.integers(0, len(self.context) - 1))
        before, address = self.context.entries, self.context.entries.address(i)
        growth = int(before.growth[i])
        if address.level == 0 or before.leaves[i]:
            self._refused(lambda: self.context.expand(address), UsageError)
            return
        if self.context.cost + growth > self.context.budget:
            self._refused(lambda: self.context.expand(address), BudgetTooSmall)
            return
        self._changed(lambda: self.context.expand(address))
        assert self.context.cost == int(before.cost.sum()) + growth
        self.look_at_all()
        if data.draw(st.booleans()):
            self._changed(lambda: self.context.collapse(address))
            assert self.context.entries.same(before).all()

    @rule(data=st.data())
    def collapse_anything(self, data: st.DataObject) -> None:
        """Collapse a node by hand, or be refused."""
        level, index = data.draw(st.integers(1, 3)), data.draw(st.integers(0, self.ground.end // BLOCK))
        address = Address(data.draw(st.sampled_from([0, 0, 1])), level, index)
        before = self.context.entries
        try:
            self._changed(lambda: self.context.collapse(address))
        except UsageError:
            assert self.context.entries is before

    # The world moves on

    @rule(data=st.data(), changes=st.integers(0, 4))
    def move_on(self, data: st.DataObject, changes: int) -> None:
        """Let blocks and images come, documents go, tails grow; then move to what there is now."""
        for _ in range(changes):
            what = data.draw(st.sampled_from(["place", "place", "graft", "remove", "tails", "write"]))
            if what == "place" and len(self.world.counts) < _MOST_BLOCKS:
                self._place(data.draw(st.sampled_from([1, 2, 31, 33, 200, 1024])), data.draw(st.integers(1, 32)))
            elif what == "graft":
                self._graft(data.draw(strategies.paper_images()))
            elif what == "remove" and self.documents:
                self.world.remove(data.draw(st.integers(1, self.documents)))
            elif what == "tails":
                sizes = data.draw(st.lists(st.integers(1, 32), max_size=3))
                self.world.tails = [(900 + i, tokens) for i, tokens in enumerate(sizes)]
            elif what == "write":
                self._write(data)
                self._open(data)
        ground = self.world.ground()
        needed = least_cost(ground)
        if needed > self.context.budget:
            self._refused(lambda: self.context.refocus(ground), BudgetTooSmall)
            self.context.budget = needed + data.draw(st.integers(0, 200))
        self.refocus(ground)

    def refocus(self, ground: PaperGround) -> Change:
        """Move to what there is now."""
        before, forced = self.context.entries, self.context.tally.forced
        change = self.context.refocus(ground)
        self.ground = ground
        self._note(change, before, "commit")
        assert self.context.tally.forced == forced + change.forced
        assert self.context.commit == ground.commit
        return change

    @rule()
    def refuse_to_go_back(self) -> None:
        """Neither an older commit nor another tree is a way to go."""
        older = self.world.ground()
        older.commit = self.ground.commit - 1
        self._refused(lambda: self.context.refocus(older), UsageError)
        self._refused(lambda: self.context.refocus(PaperWorld(commit=10**6).ground()), UsageError)

    @rule(data=st.data(), after=st.integers(0, 2))
    def break_off(self, data: st.DataObject, after: int) -> None:
        """Let the ground fail in the middle of a step or of a move: all is as it was."""
        ground = self.ground if data.draw(st.booleans()) else self.world.ground()
        before, history, tally = self.context.entries, self.context.history, repr(self.context.tally)
        ground.fails_after = after
        by: By = "scores" if ground is self.ground else "commit"
        try:
            if by == "scores":
                change = self.context.step(data.draw(strategies.scores(len(self.context))))
            else:
                change = self.context.refocus(ground)
                self.ground = ground
        except (RuntimeError, BudgetTooSmall):
            assert self.context.entries is before
            assert self.context.history is history
            assert repr(self.context.tally) == tally
        else:
            self._note(change, before, by)
        finally:
            ground.fails_after = None

    # What always holds

    @invariant()
    def look_at_all(self) -> None:
        """All invariants, from scratch and by lists; and the differences lead from one state to the next."""
        if getattr(self, "mirror", None) is None:
            return
        check_context(self.context, truth_of(self.ground))
        assert self.mirror is not None
        assert len(self.mirror) == len(self.context) and self.mirror.same(self.context.entries).all()
        assert (np.abs(self.context.history.heat) <= 1).all(), "scores are kept as they came"
        rates = self.context.tally
        assert 0 <= rates.utilisation <= 1 and rates.churn >= 0 and rates.swap_rate >= 0

    # Within

    def _place(self, blocks: int, last: int) -> None:
        self.documents += 1
        self.world.place(self.documents, [32] * (blocks - 1) + [last])

    def _graft(self, image: PaperImage) -> None:
        self.documents += 1
        self.world.graft(self.documents, image)

    def _write(self, data: st.DataObject) -> None:
        missing = [(block, tile) for block, image in self.world.images.items() for tile in sorted(image.missing)]
        if missing:
            self.world.write(*data.draw(st.sampled_from(missing)))

    def _open(self, data: st.DataObject) -> None:
        """Let what is below a closed node come, and now and then what is below that, and so on."""
        closed = [(block, node) for block, image in self.world.images.items() for node in sorted(image.closed)]
        if closed:
            block, (level, code) = data.draw(st.sampled_from(closed))
            self.world.open(block, (level, code))
            for _ in range(data.draw(st.integers(0, 4))):
                under = IMAGE.width(level) * code, IMAGE.width(level) * (code + 1)
                for one in sorted(self.world.images[block].closed):
                    if under[0] <= one[1] * IMAGE.width(one[0]) < under[1]:
                        self.world.open(block, one)

    def _changed(self, call: Callable[[], Change]) -> None:
        before = self.context.entries
        self._note(call(), before, "hand")

    def _refused(self, call: Callable[[], object], error: type[Exception]) -> None:
        before = self.context.entries
        try:
            call()
        except error:
            assert self.context.entries is before, "what was refused has changed something"
            return
        raise AssertionError(f"that has to raise {error.__name__}")

    def _note(self, change: Change, before: Entries, by: By = "scores") -> None:
        """Apply the difference to the copy, and see that no node was edited again too soon."""
        assert self.mirror is not None
        diff = change.diff
        assert diff.left.same(before.take(diff.left_at)).all()
        assert (diff.first is None) == (not diff)
        if diff.first is not None:
            kept = np.arange(diff.first)
            assert before.take(kept).same(self.context.entries.take(kept)).all()
        self.mirror = diff.apply(self.mirror)
        step = self.context.steps
        if by == "hand":
            self.edited.clear()  # what is done by hand need not wait, and brings back nodes of which no past is known
        # What is gone was not collapsed into what came in its place.  Nor is an unfinished block, which has the name of
        # the block that may be placed next, that block's detail.
        there = self.ground.exist(before.nodes) & (before.slot < self.end)
        edited = _edited(before.take(there), self.context.entries)
        assert by != "commit" or change.forced or not edited, f"{edited} are edited where nothing forces it"
        for node in edited:
            last = self.edited.get(node)
            if last is not None and by == "scores":
                assert step - last > self.context.allocator.cooldown, f"{node} is edited in step {step}, after {last}"
            self.edited[node] = step
        self.end = self.ground.end


def _edited(before: Entries, after: Entries) -> set[Node]:
    """The nodes that were expanded or collapsed: entries on one side, in whose place are children on the other."""
    old, new = _Names(before), _Names(after)
    return {node for node in old.nodes - new.nodes if new.below(node)} | {
        node for node in new.nodes - old.nodes if old.below(node)
    }


class _Names:
    """The entries of a context by name, and the blocks of opened images."""

    def __init__(self, entries: Entries) -> None:
        self.nodes: set[Node] = set(map(tuple, entries.integers[:3].T.tolist()))
        self.opened = {
            slot // BLOCK for space, slot in zip(entries.space.tolist(), entries.slot.tolist(), strict=True) if space
        }

    def below(self, node: Node) -> bool:
        """Whether a child of a node is an entry."""
        space, level, index = node
        if level <= 1:
            return level == 1 and (
                (space, 0, index * (TILE if space else BLOCK)) in self.nodes or node in self._slots()
            )
        fanout = 4 if space else BLOCK
        return any((space, level - 1, index * fanout + child) in self.nodes for child in range(fanout))

    def _slots(self) -> set[Node]:
        return {(0, 1, block) for block in self.opened}
