"""Which levels does a process have open?  Each one once, for all snapshots that see the same generations of its chunks.

A level is found again by its array and by the last commit that replaced a chunk of it.  Those of the newest commit that
this process has seen are kept open between snapshots, so that taking one maps nothing anew.  All others live for as
long as a snapshot refers to them: the arrays of a gist set that was dropped, and generations that were replaced.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from mctree.errors import CorruptError, UsageError
from mctree.format.arrays import ArrayLayout
from mctree.format.commits import ArrayState, Commit
from mctree.format.keys import Table, u32, u64
from mctree.storage.chunks import open_generation
from mctree.storage.level import Level, open_level

if TYPE_CHECKING:
    from mctree.storage.store import Store

__all__ = ["OpenLevels"]

_LEAST_CHUNKS = 256
"""Chunks that a level's reserved addresses can hold at least, so that small levels may grow."""

_Key = tuple[int, int, bool]
"""Array, the last commit that replaced a chunk of it, whether it is read instead of mapped."""


class OpenLevels:
    """The levels of one store that are open in this process.

    Args:
        store: whose levels; not kept alive.
    """

    def __init__(self, store: Store) -> None:
        self._store = weakref.ref(store)
        self._lock = threading.Lock()
        self._newest: Commit | None = None
        self._kept: dict[_Key, Level] = {}
        # A level holds its opener, so an opener is found for exactly as long as its level is open.
        self._openers: weakref.WeakValueDictionary[_Key, _Opener] = weakref.WeakValueDictionary()

    def level(
        self, number: int, state: ArrayState, commit: int, layout: Callable[[], ArrayLayout], *, portable: bool
    ) -> Level:
        """The rows of an array as one level.

        Args:
            number: the array's number.
            state: what the commit sees of it.
            commit: a commit that the caller holds.
            layout: gives its layout.
            portable: do not map files, read them.
        """
        key = (number, state.refreshed, portable)
        with self._lock:
            opener = self._openers.get(key)
            level = None if opener is None else opener.level()
            if opener is None or level is None or level.capacity_rows < state.rows:
                found = layout() if level is None else level.layout
                opener = _Opener(self._store, number, found, commit)
                capacity = max(found.chunks(2 * state.rows), _LEAST_CHUNKS) * found.rows_per_chunk
                level = open_level(found, opener, capacity_rows=capacity, portable=portable)
                opener.level = weakref.ref(level)
                self._openers[key] = opener
            opener.commit = max(opener.commit, commit)
            if self._is_current(key):
                self._kept[key] = level
            return level

    def follow(self, newest: Commit) -> None:
        """Keep open what a commit sees, if it is the newest so far, and nothing else that nobody uses."""
        if self._newest is not None and newest.number <= self._newest.number:
            return
        with self._lock:
            self._newest = newest
            gone = [self._kept.pop(key) for key in list(self._kept) if not self._is_current(key)]
        del gone  # unmapped only now, with the lock free

    def clear(self) -> None:
        """Keep nothing open that nobody uses."""
        with self._lock:
            gone, self._kept = self._kept, {}
        del gone

    def _is_current(self, key: _Key) -> bool:
        number, refreshed, _ = key
        if self._newest is None or number >= self._newest.next["array"]:
            return True
        state = self._newest.arrays.get(number)
        return state is not None and refreshed >= state.refreshed


class _Opener:
    """Opens the chunks of one level, in the generations that a snapshot of it sees.

    Attributes:
        commit: the newest commit at which a snapshot has asked for the level: chunks that it has gained by then are
            found.
        level: the level.
    """

    def __init__(self, store: weakref.ref[Store], number: int, layout: ArrayLayout, commit: int) -> None:
        self.commit = commit
        self.level: Callable[[], Level | None] = lambda: None
        self._store = store
        self._number = number
        self._layout = layout

    def __call__(self, chunk: int) -> int:
        store = self._store()
        if store is None or self._is_closed():
            raise self._refuse_closed()
        key = Table.CHUNK + u32.pack(self._number) + u64.pack(chunk)
        with store.reading() as index:
            found = index.floor(key, u64.pack(self.commit))
        if found is None or not found[1]:
            # Every array of this format is dense: whoever may see rows of a chunk finds its record.
            raise CorruptError(
                f"chunk {chunk} of {self._layout.path} holds committed rows but is not in the index; "
                "run `mctree verify`"
            )
        try:
            fd = open_generation(store.at, self._number, self._layout, chunk, u64.unpack(found[0])[0])
        except OSError:
            if self._is_closed():
                raise self._refuse_closed() from None
            raise
        if self._is_closed():
            # By another thread, meanwhile: then the descriptor of its folder may have been another store's.
            os.close(fd)
            raise self._refuse_closed()
        return fd

    def _is_closed(self) -> bool:
        store = self._store()
        return store is None or store.closed

    def _refuse_closed(self) -> UsageError:
        return UsageError(f"the store that {self._layout.path} belongs to was closed; open it again")
