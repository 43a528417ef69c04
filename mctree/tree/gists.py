"""What does a gist set hold at a commit?  Its levels, which nodes have a gist in it, and which gists are stale."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError, NotFoundError
from mctree.format.arrays import ArrayLayout
from mctree.format.commits import Commit, array_layout
from mctree.format.facts import GistSetRecord
from mctree.format.keys import Table, u32
from mctree.format.values import number
from mctree.geometry import TEXT, World, intervals
from mctree.storage.index import Reading
from mctree.storage.rows import distinct
from mctree.tree.images.slots import Slots, slots, stale_gists
from mctree.tree.rows import Rows

if TYPE_CHECKING:
    from mctree.encoders import Encoder
    from mctree.encoders.visual import VisualEncoder
    from mctree.tree.snapshot import Snapshot

__all__ = ["DEFAULT_SET", "GistView", "gist_arrays", "gist_set_named", "gist_sets", "last_seen"]

DEFAULT_SET = b"default-set"
"""The setting that holds the number of the default gist set."""


def gist_sets(index: Reading, commit: int) -> dict[int, GistSetRecord]:
    """All gist sets at a commit, by number."""
    return {
        u32.unpack(key)[0]: GistSetRecord.decode(payload) for key, _, payload in index.versions(Table.GIST_SET, commit)
    }


def default_set(index: Reading, commit: int) -> int | None:
    """The number of the default gist set, if there is one."""
    payload = index.version(Table.SETTING, DEFAULT_SET, commit)
    return None if payload is None else number(payload, 4, "the setting of the default gist set")


def gist_set_named(index: Reading, commit: int, name: str | None) -> tuple[int, GistSetRecord]:
    """The gist set of a name, or the default one.

    Raises:
        NotFoundError: there is none.
    """
    sets = gist_sets(index, commit)
    if name is None:
        number = default_set(index, commit)
        if number in sets:
            return number, sets[number]
        if sets:
            known = ", ".join(sorted(record.name for record in sets.values()))
            raise NotFoundError(f"the store has no default gist set; choose one with `mctree gist default`: {known}")
        raise NotFoundError("the store has no default gist set; build one with `mctree gist build`")
    for number, record in sets.items():
        if record.name == name:
            return number, record
    known = ", ".join(sorted(record.name for record in sets.values())) or "none"
    raise NotFoundError(f"there is no gist set {name!r}; the store has: {known}")


def gist_arrays(snapshot: Snapshot) -> dict[int, tuple[int, str, ArrayLayout, int]]:
    """The levels of gist sets that some commit sees: array → level, name of its set, layout, rows at the last one."""
    with snapshot.reading() as index:
        records = [GistSetRecord.decode(payload) for _, payload in index.scan(Table.GIST_SET) if payload]
        layouts = {u32.unpack(key[:4])[0]: array_layout(payload) for key, payload in index.scan(Table.ARRAY) if payload}
        levels = {
            array: (level, record.name)
            for record in records
            for level, array in enumerate(record.levels, 1)
            if array in layouts
        }
        seen = last_seen(index, snapshot.record, levels.keys())
    return {array: (*levels[array], layouts[array], rows) for array, (rows, _) in seen.items()}


def last_seen(index: Reading, newest: Commit, arrays: Collection[int]) -> dict[int, tuple[int, int]]:
    """How many rows arrays have at the last commit that sees them, and which that is; without those that none sees.

    Args:
        index: the index.
        newest: the newest commit.
        arrays: which; those of sets that were dropped are seen by older commits alone.
    """
    older = index.commit_numbers() if set(arrays) - newest.arrays.keys() else []
    commits = chain((index.commit(number) for number in older if number < newest.number), [newest])
    seen = {
        array: (state.rows, commit.number)
        for commit in commits
        if commit is not None
        for array, state in commit.arrays.items()
    }
    return {array: seen[array] for array in arrays if array in seen}


class GistView:
    """One gist set as a snapshot sees it; made by `Snapshot.gists`."""

    def __init__(self, snapshot: Snapshot, number: int, record: GistSetRecord) -> None:
        self.number = number
        self.record = record
        self._snapshot = snapshot

    def __repr__(self) -> str:
        return f"<GistView {self.name!r}: {self.levels} levels of {self.dim} × {self.record.dtype}>"

    @property
    def name(self) -> str:
        """The set's name."""
        return self.record.name

    @property
    def dim(self) -> int:
        """Length of a gist."""
        return self.record.dim

    @property
    def levels(self) -> int:
        """The highest level that has a gist (0 if none has)."""
        return max((level for level in range(1, len(self.record.levels) + 1) if self.rows(level)), default=0)

    def rows(self, level: int) -> int:
        """How many nodes of a level, from the first on, have a gist."""
        if not 1 <= level <= len(self.record.levels):
            return 0
        return self._snapshot.state(self.record.levels[level - 1]).rows

    def level(self, level: int) -> Rows:
        """The gists of a level, one row for each node from the first on: `[nodes, dim]`.

        Raises:
            NotFoundError: the set has no such level.
        """
        if not 1 <= level <= len(self.record.levels):
            raise NotFoundError(f"gist set {self.name!r} has levels 1..{len(self.record.levels)}, not {level}")
        return self._snapshot.rows(self.record.levels[level - 1])

    def gather(self, level: int, index: NDArray[np.integer[Any]], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The gists of nodes in any order, into `out` if given: `[n, dim]`."""
        return self.level(level).gather(index, out)

    @cached_property
    def slots(self) -> Slots:
        """The images of the timeline, as this set sees them."""
        return slots(self.record, self._snapshot.gallery.places.grafts, self._snapshot.gallery.pages.find)

    @cached_property
    def world(self) -> World:
        """What exists of the timeline and can have a gist in this set: not an image that the set does not cover."""
        return self.slots.without(self._snapshot.world.geometry)

    def absent(self, level: int, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which nodes exist and have no gist, for all they hold are images that the set does not cover: `bool [n]`."""
        index = np.asarray(index, np.int64)
        if not len(self.slots.absent):
            return np.zeros(len(index), np.bool_)
        exists = self._snapshot.world.exists(level, index)
        return exists & ~self.world.exists(TEXT, level, index)

    def present(self, level: int) -> int:
        """How many nodes of a level of the timeline have a gist: `rows`, without those that are `absent`."""
        rows = self.rows(level)
        above = distinct(self.slots.absent // (TEXT.width(level) // TEXT.width(1)))  # nothing else can be absent
        return rows - int(np.count_nonzero(self.absent(level, above[above < rows])))

    def array(self, space: int, level: int) -> Rows | None:
        """The rows among which the gists of a level lie; None if there are none.

        Args:
            space: 0 for the timeline, 1 for images.
            level: from 1 up; for images, 0 too.
        """
        arrays = self.record.images[level:] if space else self.record.levels[level - 1 :] if level else ()
        return self._snapshot.rows(arrays[0]) if arrays else None

    def locate(self, space: int, level: int, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """In which of these rows the gists of nodes that exist lie, -1 where there is none, or none yet: `int64 [n]`.

        Args:
            space: see `array`.
            level: see there.
            index: `int64 [n]`.
        """
        index = np.asarray(index, np.int64)
        if space:
            if level >= len(self.record.images):
                return np.full(len(index), -1, np.int64)
            return self._snapshot.gallery.pages.find(self.record.images[level], index).row
        row = np.where(index < self.rows(level), index, -1)
        there = np.flatnonzero(row >= 0)
        row[there[self.absent(level, index[there])]] = -1
        return row

    def lacking(self, space: int, level: int, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which nodes that exist have no gist in this set, or none yet: `bool [n]`; see `locate`."""
        return self.locate(space, level, index) < 0

    def find(
        self, space: NDArray[np.int64], level: NDArray[np.int64], index: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The gists of nodes that exist, of all spaces and levels, as far as there are any.

        Args:
            space: `int64 [n]`; see `array`.
            level: `int64 [n]`.
            index: `int64 [n]`.

        Returns:
            `[n, dim]`, 0 where there is none; and `bool [n]`: which have one.
        """
        found = np.zeros((len(index), self.dim), self.record.dtype)
        there = np.zeros(len(index), np.bool_)
        for each in set(zip(space.tolist(), level.tolist(), strict=True)):
            some = np.flatnonzero((space == each[0]) & (level == each[1]))
            row = self.locate(*each, index[some])
            have = row >= 0
            rows = self.array(*each) if have.any() else None
            if rows is not None:
                found[some[have]] = rows.gather(row[have])
                there[some[have]] = True
        return found, there

    def stale(self, level: int, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Under which nodes something has died since their gists were made, or an image has changed: `bool [n]`.

        An image's own block is stale while its root's gist is, and that is if whoever changed the image did not have
        the set's encoder.  Blocks of text never are.
        """
        index = np.asarray(index, np.int64)
        found = np.zeros(len(index), np.bool_)
        if level < 1:
            return found
        changed = self.slots.blocks[self.slots.stale]
        if len(changed):
            found |= np.isin(index, changed // (TEXT.width(level) // TEXT.width(1)))
        if level > 1:
            refreshed = self._snapshot.record.refreshed.get(self.number, 0)
            died = self._snapshot.world.deaths.after(refreshed).intervals
            found |= intervals.overlap(died, np.column_stack(TEXT.span(level, index))) > 0
        return found

    def stale_in_images(self) -> int:
        """How many gists of nodes of images are stale: what they stand for was changed since."""
        return stale_gists(self.record, self._snapshot.gallery.places.grafts, self._snapshot.gallery.pages.find)

    def encoder(self) -> Encoder:
        """The encoder that made the set, read back from the store.

        Raises:
            CorruptError: its dump is missing or damaged, or gives another fingerprint.
        """
        return self._snapshot.tree.encoder(self.record, self._snapshot.store)


def check_encoder(record: GistSetRecord, encoder: Encoder | VisualEncoder) -> None:
    """Make sure that an encoder is the one that a set was made by.

    Raises:
        CorruptError: it is another one.
    """
    if encoder.fingerprint != record.fingerprint or encoder.dim != record.dim:
        raise CorruptError(
            f"gist set {record.name!r} was made by encoder {record.fingerprint[:12]}, not by {encoder.fingerprint[:12]}"
        )
