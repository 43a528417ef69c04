"""Faults put into working contexts on purpose: the machine has to find each of them, whenever the suite runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mctree.focus import allocator as allocating
from mctree.focus import arrivals, context, covers
from mctree.focus.allocator import Allocator, Plan
from mctree.focus.checking import Breach
from mctree.focus.diff import Diff
from mctree.focus.draft import Draft
from mctree.focus.entries import Entries, Nodes
from mctree.focus.ground import Children, Ground
from mctree.focus.history import NEVER, History
from mctree.focus.siblings import Siblings
from mctree.testing import FocusMachine
from tests.planting import Patch, Plants, assert_found, wrapped

mutant = Plants()


@mutant
def the_budget_is_one_too_large(patch: Patch) -> None:
    def plan(real: Any, self: Allocator, entries: Entries, history: History, budget: int, *rest: Any) -> Plan:
        return real(self, entries, history, budget + 1, *rest)

    wrapped(patch, Allocator, "plan", plan)


@mutant
def the_last_child_is_lost(patch: Patch) -> None:
    def children(real: Any, self: Ground, nodes: Nodes) -> Children:
        found = real(self, nodes)
        if len(found.nodes) < 2:
            return found
        bounds = found.bounds.copy()
        bounds[-1] -= 1
        return Children(found.nodes.take(np.arange(bounds[-1])), bounds)

    wrapped(patch, Ground, "children", children)


@mutant
def dead_children_come_back(patch: Patch) -> None:
    patch.setattr(Ground, "_living", lambda self, nodes: np.ones(len(nodes), np.bool_))


def grouped(patch: Patch, around: Callable[..., Siblings]) -> None:
    for owner in (allocating, context):
        wrapped(patch, owner, "siblings", around)


@mutant
def siblings_need_not_be_complete(patch: Patch) -> None:
    def groups(real: Any, entries: Entries, end: int) -> Siblings:
        if len(entries) < 3 or entries.space.any():
            return real(entries, end)
        # A run of entries of one level under one node, whatever else is under it.
        above = entries.index // 32
        apart = np.flatnonzero((np.diff(above) != 0) | (np.diff(entries.level) != 0)) + 1
        first, stop = np.append(0, apart), np.append(apart, len(entries))
        wide = 32 * (entries.stop - entries.start)[first]
        some = np.flatnonzero((entries.level[first] > 0) & ((above[first] + 1) * wide <= end))
        return Siblings(np.column_stack((first, stop))[some], above[first[some]])

    grouped(patch, groups)


@mutant
def an_image_may_be_half_collapsed(patch: Patch) -> None:
    def groups(real: Any, entries: Entries, end: int) -> Siblings:
        found = real(entries, end)
        several = (entries.space[found.first] > 0) & (found.stop - found.first > 1)
        return Siblings(found.bounds - np.column_stack((np.zeros_like(several), several)), found.above)

    grouped(patch, groups)


@mutant
def what_is_new_is_not_shown(patch: Patch) -> None:
    wrapped(patch, context, "arrived", lambda real, entries, new: new.tail_nodes())


@mutant
def new_tiles_of_opened_images_are_not_shown(patch: Patch) -> None:
    def holes(real: Any, world: Any, spans: Any, start: int, stop: int, space: int, slot: int) -> Nodes:
        return Nodes.none() if space else real(world, spans, start, stop, space, slot)

    wrapped(patch, arrivals, "holes", holes)


@mutant
def what_has_nothing_below_it_is_expanded(patch: Patch) -> None:
    patch.setattr(Entries, "leaves", property(lambda self: np.zeros(len(self), np.bool_)))


@mutant
def unfinished_blocks_are_forgotten(patch: Patch) -> None:
    wrapped(patch, Ground, "tail_nodes", lambda real, self: real(self).take(np.arange(0)))


@mutant
def the_dead_stay(patch: Patch) -> None:
    patch.setattr(context, "stay", lambda entries, old, new: entries.slot < old.end)


@mutant
def what_lost_a_part_keeps_its_numbers(patch: Patch) -> None:
    patch.setattr(context, "touched", lambda entries, old, new: np.zeros(len(entries), np.bool_))


@mutant
def nothing_makes_room_for_what_arrives(patch: Patch) -> None:
    patch.setattr(Draft, "fit", lambda self, budget, allocator: 0)


@mutant
def no_cooldown_for_what_was_expanded(patch: Patch) -> None:
    def unwanted(real: Any, self: Allocator, entries: Entries, history: History, *rest: int) -> Any:
        columns = {name: getattr(history, name) for name in (*History.INTEGERS, *History.REALS)}
        return real(self, entries, History.made(len(history), **{**columns, "opened": NEVER}), *rest)

    wrapped(patch, Allocator, "_unwanted", unwanted)


@mutant
def no_cooldown_for_what_was_collapsed(patch: Patch) -> None:
    patch.setattr(allocating, "COLLAPSED", 7)


@mutant
def a_step_makes_one_edit_more(patch: Patch) -> None:
    def plan(real: Any, self: Allocator, *rest: Any) -> Plan:
        return real(replace(self, max_edits=self.max_edits + 1), *rest)

    wrapped(patch, Allocator, "plan", plan)


@mutant
def nan_is_taken_for_a_number(patch: Patch) -> None:
    def wishes(real: Any, scores: Any, n: int) -> Any:
        real(scores, n)
        return np.asarray(scores, np.float64)

    wrapped(patch, context, "wishes", wishes)


@mutant
def changes_are_made_in_place(patch: Patch) -> None:
    def edit(real: Any, self: Draft, *args: Any) -> None:
        before = self.entries
        real(self, *args)
        if len(before) and len(self.entries) and before is self._before:
            before.integers.flags.writeable = True
            before.integers[8, 0] += 1

    wrapped(patch, Draft, "edit", edit)


@mutant
def the_difference_forgets_what_left(patch: Patch) -> None:
    def between(real: Any, before: Entries, after: Entries, origin: Any) -> Diff:
        found = real(before, after, origin)
        few = np.arange(max(len(found.left_at) - 1, 0))
        return Diff(found.left.take(few), found.left_at[few], found.entered, found.entered_at)

    wrapped(patch, Diff, "between", between)


@mutant
def costs_are_those_of_whole_blocks(patch: Patch) -> None:
    from mctree.testing.paper import PaperGround  # noqa: PLC0415

    def facts(real: Any, self: PaperGround, nodes: Nodes, document: Any) -> Any:
        found = real(self, nodes, document)
        integers = found.integers.copy()
        integers[0] = np.where((nodes.level == 0) & (nodes.space == 0), 32, integers[0])
        return type(found)(integers, found.reals)

    wrapped(patch, PaperGround, "facts", facts)


@mutant
def the_newest_are_fewer_than_fit_by_a_mistake_in_the_cover(patch: Patch) -> None:
    def cover(real: Any, *args: Any, **options: Any) -> Any:
        found = real(*args, **options)
        return type(found)(found.shape, found.level[:-1], found.index[:-1]) if len(found) > 40 else found

    wrapped(patch, covers, "cover", cover)


@mutant
def nobody_checks(patch: Patch) -> None:
    """The context's own check finds fault with what is whole."""
    patch.setattr(context, "first_breach", lambda *args: Breach("budget", "all", "is wrong"))


@pytest.mark.parametrize("name", mutant)
def test_the_machine_finds(name: str, monkeypatch: Patch) -> None:
    mutant[name](monkeypatch)
    assert_found(FocusMachine, examples=150, steps=30, start=4)
