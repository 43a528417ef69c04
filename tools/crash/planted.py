"""Which faults are planted in the engine, to see whether the tests find them, and by which words must each be found?

Each is a function that changes the engine in the process that calls it, which ends with it.  Those of `POWER` are
survived by every `kill -9` and shown by a power cut alone, as those of `CUTS_OF_PICTURES` are in a life with images;
those of `KILLS` and `PICTURES` are shown by a kill at some system call, those of `INGEST` and of `COMMAND` by one at a
random moment.  Those of `POWER_AGAIN` and `KILLS_AGAIN` are in what the next writer does about a crash, and are shown
by one more, while it does so.

A fault is found by its *sign*: the words in which the broken promise is told.  Whatever else fails is no find, for a
plant that breaks everything would be found by anything.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import lmdb

from mctree.storage import chunks, creation, recovery, session
from mctree.storage.chunks import ArrayWriter, generation_name, publish
from mctree.storage.files import exists, opened, sync_directory
from mctree.storage.session import Session
from mctree.storage.store import Store
from mctree.tree.images.canvas import Canvas
from mctree.tree.images.overviews import Part
from mctree.tree.images.painting import Painter
from mctree.tree.opened import OpenedDocuments
from mctree.tree.writer import Writer
from tools.crash.sweep import Call

__all__ = [
    "COMMAND",
    "CUTS_OF_PICTURES",
    "INGEST",
    "KILLS",
    "KILLS_AGAIN",
    "PICTURES",
    "POWER",
    "POWER_AGAIN",
    "Plant",
    "Planted",
]

Plant = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Planted:
    """A fault, and how it has to be found.

    Attributes:
        plant: puts it into the engine, for as long as this process lives.
        sign: a regular expression, which the words of a failure have to hold.
        act: the act in which it is looked for, where it is one.
        cut: a regular expression for what the first of two power cuts keeps, in words, where it is one that matters.
        again: the call at which the process that comes next is killed as well, where it has to be.
    """

    plant: Plant
    sign: str
    act: str = ""
    cut: str = ""
    again: Call | None = None

    @property
    def name(self) -> str:
        """In words."""
        return self.plant.__name__.replace("_", " ")


# Shown by a power cut


def no_chunk_sync() -> None:
    """Chunk files are written, and never synced."""

    class Careless:
        def __getattr__(self, name: str) -> Any:
            return (lambda fd: None) if name in ("fsync", "fdatasync") else getattr(os, name)

    _plant(chunks, "os", Careless())  # the module, as this one room sees it


def index_before_data() -> None:
    """The transaction is committed first, the rows that it speaks of are synced afterwards."""
    transact, sync = Session._transact, ArrayWriter.sync

    def early(self: Session, record: Any) -> Any:
        _plant(ArrayWriter, "sync", lambda self: None)
        commit = transact(self, record)
        _plant(ArrayWriter, "sync", sync)
        for writer in self._touched.values():
            writer.sync()
        return commit

    _plant(Session, "_transact", early)


def no_folder_sync() -> None:
    """Files are synced, and the folders in which their names stand are not."""
    fsync = os.fsync

    def files_only(fd: int) -> None:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            fsync(fd)

    _plant(os, "fsync", files_only)


def index_sync_off() -> None:
    """LMDB is told not to sync."""
    real = lmdb.open
    _plant(lmdb, "open", lambda *arguments, **options: real(*arguments, **{**options, "sync": False}))


# Shown by a power cut, in a life with images


def names_of_new_arrays_unsynced() -> None:
    """Arrays are made with all that is in them, and the folders in which they stand are not synced by the commit."""
    _plant(session, "sync_directory", lambda name, at: None)


def rows_of_images_unsynced() -> None:
    """Rows of images are written, and never synced."""
    sync = ArrayWriter.sync

    def careless(self: ArrayWriter) -> None:
        if not self.layout.path.startswith("images/"):
            sync(self)

    _plant(ArrayWriter, "sync", careless)


# Shown by a kill


def made_in_place() -> None:
    """A store is made under its own name, not beside it."""
    real = creation._make_folder
    _plant(creation, "_make_folder", lambda name, above, *, alone: real(name, above, alone=True))


def acknowledged_too_early() -> None:
    """`commit` returns the number of a commit that it has not made yet; the next call makes it."""
    real = Writer.commit
    put_off: set[int] = set()

    def commit(self: Writer, *, gists: bool | None = None) -> int:
        if id(self) in put_off:
            put_off.discard(id(self))
            return real(self, gists=gists)
        put_off.add(id(self))
        return self.snapshot.commit + 1

    _plant(Writer, "commit", commit)


def index_before_rows() -> None:
    """Rows are written when the transaction that speaks of them has been committed."""
    transact = Session._transact
    waiting: list[tuple[int, str, bytes, int]] = []

    def later(self: ArrayWriter, values: Any, inside: int) -> None:
        key = f"{self.layout.path}/{self.layout.chunk_key(self._chunk)}"
        waiting.append((self._at, key, values.tobytes(), inside * self._row_bytes))

    def early(self: Session, record: Any) -> Any:
        commit = transact(self, record)
        for at, key, data, offset in waiting:
            with opened(key, os.O_WRONLY, at) as fd:
                os.pwrite(fd, data, offset)
        waiting.clear()
        return commit

    _plant(ArrayWriter, "_write", later)
    _plant(Session, "_transact", early)


def published_before_the_commit() -> None:
    """A new generation of a chunk takes the place of the old one when it is written."""
    stage = ArrayWriter.stage

    def hasty(self: ArrayWriter, chunk: int, generation: int, values: Any) -> None:
        stage(self, chunk, generation, values)
        key = f"{self.layout.path}/{self.layout.chunk_key(chunk)}"
        os.rename(generation_name(self.number, chunk, generation), key, src_dir_fd=self._at, dst_dir_fd=self._at)

    _plant(ArrayWriter, "stage", hasty)


def nothing_is_recovered() -> None:
    """The next writer leaves what it finds as it is."""
    _plant(session, "recover", lambda store, newest: set())


def older_epochs_stay() -> None:
    """The next writer leaves an epoch where it was moved to, though nobody reads it any more."""
    _plant(recovery, "drop_epochs", lambda at: None)


def stamps_are_not_put_down() -> None:
    """What is noted of inputs without a commit is said to be durable, and was never written."""
    _plant(Session, "jot", lambda self, record: None)


# Shown by another crash, while the next writer does something about one


def what_is_recovered_is_not_synced() -> None:
    """A generation that a crash has kept from its place is put there, and no name of it is made durable."""

    def careless(*generation: Any) -> None:
        _plant(chunks, "sync_directory", lambda name, at: None)
        try:
            publish(*generation)
        finally:
            _plant(chunks, "sync_directory", sync_directory)

    _plant(recovery, "publish", careless)


def recovered_before_it_is() -> None:
    """A writer marks the store for as long as it is not closed; the next one takes the mark away, and then recovers."""
    close = Session.close

    def marked(store: Store, newest: Any) -> set[tuple[int, int]]:
        if _has_mark(store):
            os.unlink(_MARK, dir_fd=store.at)
            published = recovery.recover(store, newest)
        else:
            with store.reading() as index:
                published = recovery._publish(store, index, newest.number)
        with opened(_MARK, os.O_WRONLY | os.O_CREAT, store.at):
            return published

    def unmarked(self: Session) -> None:
        if self._lock.held and _has_mark(self.store):
            os.unlink(_MARK, dir_fd=self.store.at)
        close(self)

    _plant(session, "recover", marked)
    _plant(Session, "close", unmarked)


_MARK = "unclean"


def _has_mark(store: Store) -> bool:
    return not store.closed and exists(_MARK, store.at)


# Shown by a kill, in a life with images


def done_before_it_is_put_down() -> None:
    """A commit on the way of an ingest says that a block is done whose rows come with the next one."""
    put, checkpoint, finish = Canvas.put_part, Painter._checkpoint, Painter._finish
    waiting: list[Callable[[], None]] = []

    def put_all() -> None:
        while waiting:
            waiting.pop(0)()

    def late(self: Canvas, part: Part, changed: Any) -> None:
        waiting.append(lambda: put(self, part, changed))

    def hasty(self: Painter, name: bytes, number: int, record: Any) -> None:
        checkpoint(self, name, number, record)
        put_all()

    def finished(self: Painter, *what: Any) -> int:
        put_all()
        return finish(self, *what)

    _plant(Canvas, "put_part", late)
    _plant(Painter, "_checkpoint", hasty)
    _plant(Painter, "_finish", finished)


def superseded_too_early() -> None:
    """The version that an image replaces goes with the first commit on the way, not with the last."""
    checkpoint, remove = Painter._checkpoint, OpenedDocuments.remove
    gone: set[int] = set()

    def removed(self: OpenedDocuments, number: int) -> None:
        if number not in gone:
            gone.add(number)
            remove(self, number)

    def hasty(self: Painter, name: bytes, number: int, record: Any) -> None:
        if previous := self._opened.live(name):
            self._opened.remove(previous)
        checkpoint(self, name, number, record)

    _plant(OpenedDocuments, "remove", removed)
    _plant(Painter, "_checkpoint", hasty)


def _plant(owner: object, name: str, value: object) -> None:
    """Let something of the engine be something else, for as long as this process lives.

    Raises:
        AttributeError: the engine has no such thing: the fault does not fit the code any more.
    """
    getattr(owner, name)
    setattr(owner, name, value)


_LOST_ROWS = r"verify finds \d+ problems: node 1:\d+ (its|it and the nodes|the count)"
POWER: Final = (
    Planted(no_chunk_sync, _LOST_ROWS),
    Planted(index_before_data, _LOST_ROWS),
    Planted(no_folder_sync, r"holds no index|the store is not there|its file is missing"),
    Planted(index_sync_off, r"its newest commit is \d+, not|an older state of the index|holds no store"),
)
CUTS_OF_PICTURES: Final = (
    Planted(names_of_new_arrays_unsynced, r"(images|gists)/\S*zarr\.json cannot be read: .*No such file"),
    Planted(rows_of_images_unsynced, r"node a1/\d+:\d+.* its statistics are lost"),
)
KILLS: Final = (
    Planted(made_in_place, r"reading: NotAStoreError: .* holds no index", "creation"),
    Planted(acknowledged_too_early, r"reading: AssertionError: its newest commit is \d+, not", "append"),
    Planted(index_before_rows, _LOST_ROWS, "append"),
    Planted(published_before_the_commit, "its gist in set 'toy' is not the one that was committed", "refresh"),
    Planted(stamps_are_not_put_down, r"reading: AssertionError: of inputs it remembers", "stamps"),
    Planted(nothing_is_recovered, r"'\.store\.mctree\.compacting'\] was left beside it", "compaction"),
    Planted(older_epochs_stay, r"going on: AssertionError: the older epochs \['\d+'\] were left in it", "compaction"),
)
_OTHER_GIST = r"; again at moment .* its gist in set 'toy' is not the one that was committed"
POWER_AGAIN: Final = (Planted(what_is_recovered_is_not_synced, _OTHER_GIST, "refresh", cut=r"\b(link|rename) of"),)
_LEFT = r"going on: AssertionError: \['generations/\S*'\] were left in it"
KILLS_AGAIN: Final = (Planted(recovered_before_it_is, _LEFT, "refresh", again=Call("unlinkat", 2)),)
PICTURES: Final = (
    Planted(done_before_it_is_put_down, "after 'large' it shows something else", "ingest"),
    Planted(superseded_too_early, "shows what none of them leads to", "replacement"),
)
_GONE = r"of the acknowledged commits \[\d.*\] are gone"
INGEST: Final = (Planted(acknowledged_too_early, _GONE),)
COMMAND: Final = (Planted(acknowledged_too_early, _GONE),)
