"""Faults put into streaming on purpose: the machine has to find each; those that take a while, in the long form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mctree.streaming import ancestors, asking, residency, standing, stream
from mctree.streaming.ancestors import Ancestors
from mctree.streaming.asking import Asking
from mctree.streaming.desk import Desk
from mctree.streaming.families import Families
from mctree.streaming.lineage import Lineage
from mctree.streaming.nodes import Nodes
from mctree.streaming.pool import MISSING, Pool
from mctree.streaming.queue import Batch, Queue
from mctree.streaming.residency import Residency
from mctree.streaming.stream import Stream
from mctree.streaming.uploads import Uploads
from mctree.testing import LazyDevice, StreamMachine
from tests.planting import Patch, Plants, assert_found, wrapped

mutant = Plants()


@mutant
def the_version_is_not_part_of_the_key(patch: Patch) -> None:
    for owner in (stream, asking):
        wrapped(patch, owner, "keys_of", lambda real, nodes, versions: real(nodes, np.zeros_like(versions)))


@mutant
def pinned_rows_are_evicted(patch: Patch) -> None:
    patch.setattr(Pool, "pin", lambda self, key: self._pins.setdefault(key, 10**6))


@mutant
def what_is_shown_is_evicted(patch: Patch) -> None:
    patch.setattr(Pool, "hold", lambda self, slots: np.add.at(self._kept, slots[1:], 1))


@mutant
def what_is_on_its_way_is_evicted(patch: Patch) -> None:
    def take(real: Any, self: Pool, keys: Any, step: int, **options: Any) -> Any:
        found = real(self, keys, step, **options)
        self._last[found[found != MISSING]] = 0
        return found

    wrapped(patch, Pool, "take", take)


@mutant
def what_was_shown_is_kept_for_ever(patch: Patch) -> None:
    patch.setattr(Pool, "let_go", lambda self, slots, step: None)


@mutant
def rows_are_found_before_they_are_copied(patch: Patch) -> None:
    wrapped(patch, LazyDevice, "copied", lambda real, self, buffer: real(self, buffer) or True)


@mutant
def a_buffer_is_read_into_while_it_is_copied_from(patch: Patch) -> None:
    def copy(real: Any, self: Uploads, job: Any, step: int, budget: int) -> int:
        moved = real(self, job, step, budget)
        if job.copied == len(job.batch.rows):
            self._desk.free(job.buffer)
        return moved

    wrapped(patch, Uploads, "_copy", copy)


@mutant
def a_turn_copies_a_row_too_many(patch: Patch) -> None:
    def copy(real: Any, self: Uploads, job: Any, step: int, budget: int) -> int:
        return real(self, job, step, budget + int(job.rows[0].nbytes) * (budget > 0))

    wrapped(patch, Uploads, "_copy", copy)


@mutant
def a_row_goes_to_the_slot_of_its_neighbour(patch: Patch) -> None:
    def pop(real: Any, self: Queue, most: Any) -> Any:
        batch = real(self, most)
        if batch is not None and len(batch.rows) > 2:
            batch.rows[0], batch.rows[1] = batch.rows[1], batch.rows[0]
            batch.rows.sort(key=lambda wanted: wanted.key[:2])
        return batch

    def segments(real: Any, self: Batch) -> Any:
        for part in real(self):
            part.index.sort()
            yield part

    wrapped(patch, Queue, "pop", pop)
    wrapped(patch, Batch, "segments", segments)


@mutant
def a_row_is_read_twice(patch: Patch) -> None:
    wrapped(patch, Desk, "arrived", lambda real, self, keys: [self.moving[key] for key in keys])


@mutant
def what_nobody_wants_is_read_all_the_same(patch: Patch) -> None:
    def withdraw(self: Desk, request: Any, keys: Any) -> list[Any]:
        waiting = [self.queue.waiting(key) for key in keys]
        return [wanted for wanted in waiting if wanted is not None and wanted.requests == [request]]

    patch.setattr(Desk, "withdraw", withdraw)


@mutant
def what_is_given_up_is_not_said(patch: Patch) -> None:
    patch.setattr(Asking, "_refuse", lambda self, rows, why: None)


@mutant
def the_last_entry_below_a_stand_in_is_shown_as_well(patch: Patch) -> None:
    def below(real: Any, nodes: Nodes, above: Nodes) -> Any:
        first, stop = real(nodes, above)
        return first, stop - 1

    wrapped(patch, standing, "below", below)


@mutant
def within_images_nothing_is_replaced(patch: Patch) -> None:
    def below(real: Any, nodes: Nodes, above: Nodes) -> Any:
        first, stop = real(nodes, above)
        return first, np.where(above.space > 0, first + 1, stop)

    wrapped(patch, standing, "below", below)


@mutant
def stand_ins_may_lie_below_each_other(patch: Patch) -> None:
    wrapped(patch, np, "lexsort", lambda real, keys: real((keys[0] * 0, keys[1])) if len(keys) == 2 else real(keys))


@mutant
def the_timeline_has_no_images(patch: Patch) -> None:
    def parents(real: Any, self: Lineage, nodes: Nodes) -> Any:
        above, has = real(self, nodes)
        return above, has & ~((nodes.space > 0) & (above.space == 0))

    wrapped(patch, Lineage, "parents", parents)


@mutant
def ancestors_are_let_go_of_with_their_first_child(patch: Patch) -> None:
    def last(real: Any, self: Ancestors, node: Any) -> bool:
        if node not in self._below:
            return False
        self._below[node] = 1
        return real(self, node)

    wrapped(patch, Ancestors, "_last_below", last)


@mutant
def the_farthest_ancestor_stands_in_twice(patch: Patch) -> None:
    def near(real: Any, nodes: Nodes, *rest: Any) -> Any:
        found, slots, has = real(nodes, *rest)
        return found, np.roll(slots, 1), has

    for owner in (ancestors, residency):
        wrapped(patch, owner, "nearest", near)


@mutant
def whatever_is_wanted_is_ready(patch: Patch) -> None:
    def want(real: Any, self: Families, *args: Any) -> Any:
        return np.ones_like(real(self, *args))

    wrapped(patch, Families, "want", want)


@mutant
def a_family_is_ready_without_its_last_child(patch: Patch) -> None:
    def begin(real: Any, self: Families, *args: Any) -> None:
        real(self, *args)
        for node in [node for node in self._coming if (self._held[node].slots[:-1] != MISSING).all()]:
            self._coming.remove(node)

    wrapped(patch, Families, "_begin", begin)


@mutant
def families_keep_out_what_is_needed(patch: Patch) -> None:
    patch.setattr(Stream, "room", lambda self, plane, most, *, needed: 0 if needed else most)
    patch.setattr(Families, "forget", lambda self: None)


@mutant
def what_is_missing_is_never_asked_for_again(patch: Patch) -> None:
    def ask(real: Any, self: Residency, nodes: Nodes) -> None:
        fresh = np.array([node not in self._requests for node in nodes.addresses()], np.bool_)
        real(self, nodes.take(fresh))

    wrapped(patch, Residency, "_ask", ask)


@mutant
def errors_are_kept_to_oneself(patch: Patch) -> None:
    def failed(real: Any, self: Asking, wanted: Any, error: Exception) -> None:
        for request in wanted.requests:
            request.arrived()

    wrapped(patch, Asking, "_failed", failed)


@mutant
def what_leaves_is_still_counted_as_shown(patch: Patch) -> None:
    def show(real: Any, self: Residency, nodes: Nodes, left_at: Any, entered_at: Any) -> None:
        real(self, nodes, left_at, entered_at)
        if len(left_at) and len(nodes):
            self._slots = np.roll(self._slots, 1)

    wrapped(patch, Residency, "_show", show)


RARE = {
    "a_buffer_is_read_into_while_it_is_copied_from",
    "ancestors_are_let_go_of_with_their_first_child",
    "errors_are_kept_to_oneself",
    "stand_ins_may_lie_below_each_other",
    "what_is_given_up_is_not_said",
    "what_is_missing_is_never_asked_for_again",
    "within_images_nothing_is_replaced",
}
"""What takes the machine a few seconds to come upon."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in RARE else []) for name in mutant]
)
def test_the_machine_finds(name: str, monkeypatch: Patch) -> None:
    mutant[name](monkeypatch)
    assert_found(StreamMachine, examples=400, steps=30, start=0)
