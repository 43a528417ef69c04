"""Which faults are planted in the engine, to see whether readers under fire find them, and by which words?

Each breaks one of the things that snapshots are held across: fork, spawn, a map that grows, a compaction, a backup,
collection.  They are as those of `planted`; each is put into all processes of a run, those that read and those that
write.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from mctree.storage import backup, epochs
from mctree.storage.environment import Environment
from mctree.storage.leases import Leases
from mctree.storage.store import Store
from mctree.tree import making, snapshot
from mctree.tree.held import Held
from mctree.tree.snapshot import Snapshot
from mctree.tree.tree import Tree
from tools.crash.planted import Planted, _plant

__all__ = ["FOUND_AT_ONCE", "READERS"]

_LESS = 256


def a_child_goes_on_with_what_its_parent_opened() -> None:
    """A snapshot does not notice that it crossed a fork."""
    _plant(Held, "store", property(lambda self: self._store))


def children_hold_nothing() -> None:
    """A forked child takes no lease: what it has not opened when its parent lets go of it may go."""
    _plant(Leases, "begin_fork", lambda self: None)
    _plant(Leases, "renew", lambda self, *, prepared: None)


def a_map_that_grew_is_not_made_anew() -> None:
    """Who meets an index that outgrew the map goes on with the map that it has."""
    _plant(Environment, "_follow", lambda self: None)


def a_compaction_does_not_ask_who_reads() -> None:
    """The epoch before goes although somebody holds a snapshot of it."""
    _plant(epochs, "held_commits", lambda at: set())


def collecting_does_not_ask_who_reads() -> None:
    """Commits go although somebody holds them."""
    _plant(making, "held_commits", lambda at: set())


def a_backup_has_rows_of_an_older_commit() -> None:
    """Of each chunk of tokens the last rows are not copied, and nobody verifies the copy."""
    copy = backup._copy_chunk

    def short(store: Store, one: Any, at: int, advanced: Any) -> None:
        copy(
            store, replace(one, rows=max(one.rows - _LESS, 0)) if one.layout.path == "text/lod0" else one, at, advanced
        )

    _plant(backup, "_copy_chunk", short)
    _plant(Tree, "verify", lambda self, *, progress=None: iter(()))


def what_is_sent_is_the_newest() -> None:
    """Another process that a snapshot is sent to is told of the newest commit instead."""

    def reduce(self: Snapshot) -> tuple[object, tuple[object, ...]]:
        tree = self.tree
        return snapshot._reopen, (tree.path, tree.store.identity, tree.commits()[-1].number, tree.portable)

    _plant(Snapshot, "__reduce__", reduce)


FOUND_AT_ONCE: Final = (
    Planted(a_child_goes_on_with_what_its_parent_opened, "a forked child: BusyError: this handle crossed a fork"),
    Planted(a_map_that_grew_is_not_made_anew, "CorruptError: the index cannot be read .*MDB_MAP_RESIZED"),
    Planted(
        a_compaction_does_not_ask_who_reads,  # a child may come while the epoch is being removed
        r"a forked child: (CommitGoneError: .* no longer holds epoch|NotAStoreError: .* holds no index|CorruptError: )"
        r"|a spawned process read commit \d+ otherwise",
    ),
    Planted(
        a_backup_has_rows_of_an_older_commit,
        r"a backup: SeenError: commit \d+ shows .* with (bytes of no round|other bytes)",
    ),
)
READERS: Final = (
    *FOUND_AT_ONCE,
    Planted(what_is_sent_is_the_newest, r"SeenError: a spawned process read commit \d+ otherwise"),
    Planted(children_hold_nothing, "a forked child: CommitGoneError: "),
    Planted(collecting_does_not_ask_who_reads, r"commit \d+ (shows documents|was held, and reads|of .* was collected)"),
)
