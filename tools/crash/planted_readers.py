"""Which faults are planted in the engine, to see whether readers under fire find them, and by which words?

Each breaks one of the things that snapshots are held across: fork, spawn, a map that grows, a compaction, a backup,
collection; or, of images, what is replaced and changed under them.  They are as those of `planted`; each is put into
all processes of a run, those that read and those that write.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from mctree.format.images import decode_pieces
from mctree.format.keys import Table, group_key
from mctree.storage import backup, epochs
from mctree.storage.environment import Environment
from mctree.storage.leases import Leases
from mctree.storage.store import Store
from mctree.tree import making, snapshot
from mctree.tree.held import Held
from mctree.tree.images import kept
from mctree.tree.images.image import Image
from mctree.tree.snapshot import Snapshot
from mctree.tree.tree import Tree
from tools.crash.planted import Planted, _plant

__all__ = ["FOUND_AT_ONCE", "OF_IMAGES_AT_ONCE", "READERS", "READERS_OF_IMAGES"]

_LESS = 256
_NOW = (1 << 64) - 1


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


def colours_are_remembered_whatever_the_commit() -> None:
    """What a process has once read of the colours of an image stays so for it, though a part of that is changed."""
    colour = Image.colour
    known: dict[tuple[int, int], Any] = {}

    def remembered(self: Image, level: int) -> Any:
        if (self.id, level) not in known:
            known[self.id, level] = colour(self, level)
        return known[self.id, level]

    _plant(Image, "colour", remembered)


def kept_pixels_are_of_the_newest_commit() -> None:
    """Where an image's pixels are kept is looked up as of now, not as of the snapshot."""

    def read(snapshot: Snapshot, array: int, group: int) -> Any:
        with snapshot.reading() as index:
            return decode_pieces(index.version(Table.PIECES, group_key(array, group), _NOW) or b"", group)

    _plant(kept, "read_pieces", read)


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
OF_IMAGES_AT_ONCE: Final = (
    Planted(
        colours_are_remembered_whatever_the_commit,
        r"SeenError: (a \w+ \w+: )?commit \d+ mixes round \d+ with another: image 'changed', level \d",
    ),
)
READERS_OF_IMAGES: Final = (
    *OF_IMAGES_AT_ONCE,
    Planted(kept_pixels_are_of_the_newest_commit, "CorruptError: the kept pixels of tile .* lie behind all there are"),
)
