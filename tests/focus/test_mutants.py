"""Faults put into working contexts on purpose: the machine has to find each of them, whenever the suite runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from mctree.focus import allocator as allocating
from mctree.focus import arrivals, context, covers
from mctree.focus.allocator import ARRIVED, COLLAPSED, NEVER, NEW, Allocator, History, Plan
from mctree.focus.checking import Breach
from mctree.focus.diff import Diff
from mctree.focus.draft import Draft
from mctree.focus.entries import Entries, Nodes
from mctree.focus.ground import Children, Ground
from mctree.focus.siblings import Siblings
from mctree.testing import FocusMachine

Patch = pytest.MonkeyPatch
MUTANTS: dict[str, Callable[[Patch], None]] = {}


def mutant(apply: Callable[[Patch], None]) -> Callable[[Patch], None]:
    MUTANTS[apply.__name__] = apply
    return apply


def wrapped(patch: Patch, owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Let calls of `owner.name` go to `around(real, *args)`."""
    real = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **options: around(real, *args, **options))


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


@mutant
def siblings_need_not_be_complete(patch: Patch) -> None:
    def groups(real: Any, entries: Entries, end: int, grafts: Any) -> Siblings:
        found = real(entries, end, grafts)
        if len(entries) < 3 or entries.space.any():
            return found
        # A run of entries of one level under one node, whatever else is under it.
        above = entries.start // (entries.stop - entries.start) // 32
        apart = np.flatnonzero((np.diff(above) != 0) | (np.diff(entries.level) != 0)) + 1
        first, stop = np.append(0, apart), np.append(apart, len(entries))
        some = np.flatnonzero(entries.level[first] > 0)
        wide = 32 * (entries.stop - entries.start)[first]
        start = above[first] * wide
        inside = some[(start + wide)[some] <= end]
        return Siblings(first[inside], stop[inside], start[inside])

    for owner in (allocating, context):
        wrapped(patch, owner, "siblings", groups)


@mutant
def an_image_may_be_half_collapsed(patch: Patch) -> None:
    from mctree.focus import siblings  # noqa: PLC0415

    patch.setattr(siblings, "_whole_in_arena", lambda entries, first, *rest: np.ones(len(first), np.bool_))


@mutant
def what_is_new_is_not_shown(patch: Patch) -> None:
    wrapped(patch, context, "arrived", lambda real, entries, new: new.tail_nodes())


@mutant
def new_tiles_of_opened_images_are_not_shown(patch: Patch) -> None:
    def holes(real: Any, world: Any, spans: Any, start: int, stop: int, space: int, slot: int) -> Nodes:
        return Nodes.none() if space else real(world, spans, start, stop, space, slot)

    wrapped(patch, arrivals, "holes", holes)


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
    patch.setattr(Siblings, "last", lambda self, steps: np.full(len(self), NEVER))


@mutant
def no_cooldown_for_what_was_collapsed(patch: Patch) -> None:
    patch.setattr(allocating, "COLLAPSED", 7)


@mutant
def no_cooldown_for_what_was_opened_over_what_is_forced_shut(patch: Patch) -> None:
    def edit(real: Any, self: Draft, expand: Any, collapse: Siblings) -> None:
        real(self, expand, collapse)
        integers = self.history.integers.copy()
        columns = dict(zip(History.INTEGERS, integers, strict=True))
        columns["opened"][(columns["edit"] == COLLAPSED) & (columns["origin"] == NEW)] = NEVER
        self.history = History(integers, self.history.reals)

    wrapped(patch, Draft, "edit", edit)


@mutant
def what_lost_a_part_need_not_wait(patch: Patch) -> None:
    patch.setattr(
        History,
        "renewed",
        lambda self: History.made(len(self), born=self.born, edit=ARRIVED, opened=NEVER, origin=NEW, heat=self.heat),
    )


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


def hunt() -> None:
    hunting = settings(
        max_examples=1500,
        stateful_step_count=30,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(FocusMachine, settings=hunting)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_machine_finds(name: str, monkeypatch: Patch) -> None:
    MUTANTS[name](monkeypatch)
    with pytest.raises(Exception) as caught:  # whatever it is that gives the fault away
        hunt()
    assert not isinstance(caught.value, TypeError | AttributeError | NameError), "the plant does not fit the code"
