"""Faults put into the engine on purpose: the machine has to find each of them, whenever the suite runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize

from mctree.format.records import Tail
from mctree.geometry import World
from mctree.storage.chunks import ArrayWriter
from mctree.storage.index import Reading
from mctree.storage.leases import Leases
from mctree.storage.session import Session
from mctree.testing import TreeMachine
from mctree.tree import building, making, refreshing, upcoming
from mctree.tree.gists import GistView
from mctree.tree.placing import OpenDocument
from mctree.tree.snapshot import Snapshot
from mctree.tree.text_arrays import COUNT
from mctree.tree.tree import Tree
from mctree.tree.world import Deaths, TimelineWorld
from tests.planting import Patch, Plants, assert_found, wrapped

mutant = Plants()


@mutant
def a_count_is_one_short(patch: Patch) -> None:
    def append(real: Any, self: Session, rows: Mapping[int, Any], **options: Any) -> None:
        wrong = {number: some - (some > 1) if number == COUNT else some for number, some in rows.items()}
        real(self, wrong, **options)

    wrapped(patch, Session, "append", append)


@mutant
def the_tail_is_lost_on_close(patch: Patch) -> None:
    def close(real: Any, self: OpenDocument, *args: Any) -> None:
        self._ids = self._ids[:0]
        real(self, *args)

    wrapped(patch, OpenDocument, "close", close)


@mutant
def the_tail_is_lost_on_reopening(patch: Patch) -> None:
    def init(real: Any, self: OpenDocument, *args: Any, tail: Tail | None = None, **options: Any) -> None:
        real(self, *args, tail=None, **options)

    wrapped(patch, OpenDocument, "__init__", init)


@mutant
def the_dead_exist(patch: Patch) -> None:
    def exists(real: Any, self: TimelineWorld, level: int, index: Any) -> Any:
        return real(TimelineWorld(self.blocks, Deaths.none(), self._before, self._count), level, index)

    wrapped(patch, TimelineWorld, "exists", exists)


@mutant
def gists_are_made_of_dead_children_too(patch: Patch) -> None:
    def encode(real: Any, *args: Any) -> Any:
        *nodes, world, tokens = args
        return real(*nodes, World(world.positions), tokens)

    wrapped(patch, building, "encode_nodes", encode)
    wrapped(patch, refreshing, "encode_nodes", encode)


@mutant
def old_snapshots_see_new_documents(patch: Patch) -> None:
    def versions(real: Any, self: Reading, table: Any, commit: int, *args: Any, **options: Any) -> Any:
        return real(self, table, (1 << 64) - 1, *args, **options)

    wrapped(patch, Reading, "versions", versions)


@mutant
def deaths_are_remembered_too_long(patch: Patch) -> None:
    known: dict[str, Deaths] = {}

    def deaths(real: Any, self: Tree, store: Any, commit: int) -> Deaths:
        return known.setdefault(self.path, real(self, store, commit)).until(commit)

    wrapped(patch, Tree, "deaths", deaths)


@mutant
def checksums_are_of_something_else(patch: Patch) -> None:
    wrapped(patch, upcoming, "row_sums", lambda real, rows: real(rows) ^ np.uint32(1))


@mutant
def held_commits_are_collected(patch: Patch) -> None:
    patch.setattr(making, "held_commits", lambda at: set())


@mutant
def leases_are_not_taken(patch: Patch) -> None:
    patch.setattr(Leases, "acquire", lambda self, commit: None)
    patch.setattr(Leases, "release", lambda self, commit: None)


@mutant
def a_replaced_chunk_is_written_in_place(patch: Patch) -> None:
    def stage(real: Any, self: ArrayWriter, chunk: int, generation: int, values: Any) -> None:
        real(self, chunk, generation, values)
        name = f"{self.layout.path}/{self.layout.chunk_key(chunk)}"
        fd = os.open(name, os.O_WRONLY, dir_fd=self._at)
        os.pwrite(fd, np.ascontiguousarray(values).tobytes(), 0)
        os.close(fd)

    wrapped(patch, ArrayWriter, "stage", stage)


@mutant
def rows_are_written_behind_the_commit(patch: Patch) -> None:
    waiting: list[tuple[ArrayWriter, int, Any]] = []
    real_append, real_advise = ArrayWriter.append, Session._advise

    def append(self: ArrayWriter, values: Any) -> None:
        first = self.rows
        real_append(self, np.zeros_like(values))
        waiting.append((self, first, values.copy()))

    def advise(self: Session, **options: Any) -> None:
        real_advise(self, **options)
        for array, first, values in waiting:
            if array._fd is not None:
                last, array.rows, array._chunk = array.rows, first, -1
                real_append(array, values)
                array.rows, array._chunk = last, -1
        waiting.clear()

    patch.setattr(ArrayWriter, "append", append)
    patch.setattr(Session, "_advise", advise)


@mutant
def refreshed_gists_are_not_written(patch: Patch) -> None:
    patch.setattr(refreshing.Refresher, "_replace", lambda self, level, index, rows: None)


@mutant
def stale_gists_pass_for_fresh(patch: Patch) -> None:
    wrapped(patch, GistView, "stale", lambda real, self, level, index: real(self, level, index) & (level > 2))


@mutant
def compaction_loses_tails(patch: Patch) -> None:
    def finish(real: Any, self: OpenDocument, record: Any, tail: Any) -> None:
        real(self, record, None)

    wrapped(patch, OpenDocument, "finish_adoption", finish)


@mutant
def snapshots_travel_to_the_newest_commit(patch: Patch) -> None:
    def reduce(real: Any, self: Snapshot) -> Any:
        make, (path, identity, _, portable) = real(self)
        return make, (path, identity, None, portable)

    wrapped(patch, Snapshot, "__reduce__", reduce)


class Aged(TreeMachine):
    """The machine, always begun with a store that has gists, dead blocks, a tail, and an old snapshot that is held."""

    @initialize(blocks=st.sampled_from([40, 70]))
    def begin_with(self, blocks: int) -> None:
        TreeMachine.begin_with(self, blocks, build=True, aged=True, hold=True)


@pytest.mark.parametrize("name", mutant)
def test_the_machine_finds(name: str, monkeypatch: Patch) -> None:
    mutant[name](monkeypatch)
    assert_found(Aged, examples=40, steps=25, start=1)
