"""What does a user open?  A tree: where it is, its commits, its snapshots, its writer, its gist sets.

A `Tree` is a handle in one process.  It never holds a commit by itself; `snapshot` takes one, `writer` makes the
next.  Handles may be open in any number of processes and threads at once, one writer among them.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Self

from mctree.encoders import BytesTokenizer, Encoder, Tokenizer
from mctree.encoders.visual import VisualEncoder
from mctree.errors import BusyError, UsageError
from mctree.format.commits import Commit, Meta
from mctree.format.facts import GistSetRecord
from mctree.format.keys import u32
from mctree.storage.epochs import drop_epochs
from mctree.storage.files import telling
from mctree.storage.session import Session
from mctree.storage.store import Store
from mctree.tree import creation
from mctree.tree.access import AccessCounts
from mctree.tree.arguments import as_encoder, as_integer, as_path
from mctree.tree.backup import backup
from mctree.tree.check import Problem, verify
from mctree.tree.codecs import Codecs
from mctree.tree.compact import compact
from mctree.tree.creation import storable_tokenizer
from mctree.tree.retention import KEEP, KEEP_DEFAULT
from mctree.tree.sets import Progress, build_gists, drop_gists, refresh_gists, set_default_gists
from mctree.tree.snapshot import Snapshot
from mctree.tree.world import DeathLog, Deaths
from mctree.tree.writer import Writer

__all__ = ["CHUNK_BYTES", "Tree", "create", "open"]

CHUNK_BYTES = 4 << 20
"""Wished size of chunk files: large enough to be few, small enough that a small store is small."""


class Tree:
    """A tree of detail on disk, open in this process; made by `mctree.open` or `mctree.create`.

    Args:
        path: the store's folder.
        writable: whether `writer` may be called.
        identity: (store, epoch) that must be there, for snapshots that travelled.
        encoders: encoders of the caller's own, for gist sets that mctree cannot make by itself.
        portable: read files instead of mapping them.
        tokenizer: the store's tokenizer, where the caller has it; else it is made of what the store holds, when needed.
        trusted: False has another process read the whole index first; see `open`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        writable: bool = True,
        identity: tuple[bytes, int] | None = None,
        encoders: Iterable[Encoder | VisualEncoder] = (),
        portable: bool = False,
        tokenizer: Tokenizer | None = None,
        trusted: bool = True,
    ) -> None:
        self.path = os.path.realpath(as_path(path))
        self.portable = portable
        self._writable = writable
        self._lock = threading.Lock()
        _open_trees.add(self)
        self._codecs = Codecs(self._whichever, encoders, tokenizer)
        self._store = Store(self.path, writable=writable, identity=identity, trusted=trusted)
        self._pinned = identity is not None

    def __repr__(self) -> str:
        return f"<Tree {self.path}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the handle; snapshots taken from it end with it."""
        self._store.close()

    # What there is

    @property
    def store(self) -> Store:
        """The open store in this process: of the newest epoch, opened anew after a fork and after a compaction."""
        with self._lock:
            if self._store.pid != os.getpid() or (not self._pinned and not self._store.closed and self._store.moved):
                # The old one is not closed: snapshots that were taken from it still read from it.
                wanted = self._store.identity if self._pinned else None
                self._store = Store(self.path, writable=self._writable, identity=wanted)
            return self._store

    def _whichever(self) -> Store:
        """A store of any epoch that is open in this process: how tokens are made is the same in all of them.

        Who has a snapshot reads its text also where the folder has been moved away meanwhile.
        """
        store = self._store
        return store if store.pid == os.getpid() and not store.closed else self.store

    @property
    def tokenizer(self) -> Tokenizer | None:
        """What makes tokens of text, or None for a store of bare tokens.

        Raises:
            CorruptError: the store does not hold it whole; all but text can be read without.
        """
        return self._codecs.tokenizer

    @property
    def vocabulary(self) -> int:
        """How many different tokens there are: each is below it."""
        return self._codecs.vocabulary

    @property
    def epoch(self) -> int:
        """How often the store was compacted."""
        return self.store.meta.epoch

    def commits(self) -> list[Commit]:
        """The commits that may be opened, oldest first."""
        with self.store.reading() as index:
            found = (index.commit(number) for number in index.commit_numbers())
            return [commit for commit in found if commit is not None]

    def snapshot(self, commit: int | None = None) -> Snapshot:
        """A consistent view of one commit: the newest, or one that is still kept.

        Raises:
            CommitGoneError: it was collected, or never made.
        """
        wanted = None if commit is None else as_integer(commit, "the number of a commit")
        while True:
            store = self.store
            record = store.hold(wanted)
            if self._pinned or not store.moved:
                return Snapshot(self, store, record)
            # A compaction came between, which may not have seen the lease: take one of the new epoch.
            store.unhold(record.number)

    def writer(self) -> Writer:
        """The tree's one writer.

        Raises:
            LockedError: somebody else is writing; the message names them.
            ReadOnlyError: the tree was opened for reading, or cannot be written to.
        """
        while True:
            store = self.store
            try:
                session = Session(store)
                break
            except BusyError:
                # It was compacted between the two steps: the next round takes the new epoch.
                if not store.moved:
                    raise
        try:
            return Writer(self, session)
        except BaseException:
            session.close()
            raise

    def keep(self, commits: int) -> None:
        """Keep so many of the newest commits for time travel (0: all); commits in use are kept anyway."""
        if not 0 <= as_integer(commits, "the number of commits to keep") < 1 << 32:
            raise UsageError(f"cannot keep {commits} commits")
        with self.writer() as writer:
            writer.next.put_setting(KEEP, u32.pack(commits))

    def access(self) -> AccessCounts:
        """Counts of how often nodes were read, by whoever records it."""
        return AccessCounts(self)

    def compact(self, *, progress: Progress | None = None) -> None:
        """Write the store anew without what is dead, as its next epoch; see `mctree.tree.compact.compact`.

        This ends time travel: of all commits only the newest is kept, also where `keep(0)` was said.  Snapshots that
        somebody holds stay readable for as long as they are held.

        Raises:
            WriterFailedError: the new epoch could not be written; the old one stands.
        """
        with telling(f"compacting {self.path}"):
            compact(self, progress=progress)
            drop_epochs(self.store.at)

    def verify(self, *, progress: Progress | None = None) -> Iterator[Problem]:
        """Look for anything that is not as it was committed; see `mctree.tree.check.verify`."""
        return verify(self, progress=progress)

    def backup(self, path: str | os.PathLike[str], *, progress: Progress | None = None) -> int:
        """Copy the tree to `path`, whole and verified, while anybody writes; see `mctree.tree.backup.backup`."""
        return backup(self, as_path(path), progress=progress)

    # Gist sets

    def build_gists(
        self,
        encoder: Encoder | VisualEncoder,
        name: str = "default",
        *,
        dtype: str = "float16",
        default: bool | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Make all gists of a set that are missing; see `mctree.tree.sets.build_gists`."""
        return build_gists(self, encoder, name, dtype=dtype, default=default, progress=progress)

    def refresh_gists(self, name: str | None = None, *, progress: Progress | None = None) -> int:
        """Make the stale gists of a set again; see `mctree.tree.sets.refresh_gists`."""
        return refresh_gists(self, name, progress=progress)

    def set_default_gists(self, name: str) -> None:
        """Make a set the default, in one commit; flipping back is another."""
        set_default_gists(self, name)

    def drop_gists(self, name: str) -> None:
        """Let a set be gone from the next commit on."""
        drop_gists(self, name)

    # What snapshots, writers, compaction and copying share

    def beside(self, path: str) -> Tree:
        """The copy of this tree at `path`, open for reading, with the same encoders and tokenizer."""
        return Tree(path, writable=False, encoders=self._codecs.encoders.values())

    def next_epoch(
        self, path: str, meta: Meta, *, first: int, settings: dict[bytes, bytes], numbers: Mapping[str, int]
    ) -> Tree:
        """Make an empty store that takes the same tokens, and open it with the same encoders.

        Args:
            path: where; the lock that the caller holds keeps others away from it.
            meta: what the store is.
            first: the number of its first commit.
            settings: what it is to remember, by name.
            numbers: the first number to give out of each kind: document, gist_set, link.
        """
        size, tokenizer = self.vocabulary, self.tokenizer
        creation.make_epoch(
            path,
            meta,
            first=first,
            vocabulary=size,
            tokenizer=tokenizer,
            settings=settings,
            numbers=numbers,
            alone=True,
        )
        return Tree(path, encoders=self._codecs.encoders.values(), tokenizer=tokenizer)

    def deaths(self, store: Store, commit: int) -> Deaths:
        """What has died up to a commit; read once, then only what is new."""
        return DeathLog.of(store).at(store, commit)

    def encoder(self, record: GistSetRecord, store: Store | None = None) -> Encoder:
        """The encoder of a gist set, read from a store that has it; see `mctree.tree.codecs.Codecs.encoder`."""
        return self._codecs.encoder(record, store)

    def known_encoder(self, record: GistSetRecord) -> Encoder | None:
        """The encoder of a gist set, or None if it is the caller's own and was not passed."""
        return self._codecs.known_encoder(record)

    def visual_encoder(self, record: GistSetRecord, store: Store | None = None) -> VisualEncoder | None:
        """The encoder of a gist set for images, if it has one that is known here."""
        return self._codecs.visual_encoder(record, store)

    def add_encoder(self, encoder: Encoder | VisualEncoder) -> None:
        """Let gist sets of this encoder be made and asked.

        Raises:
            UsageError: it is no encoder.
        """
        self._codecs.add_encoder(encoder)


_open_trees: weakref.WeakSet[Tree] = weakref.WeakSet()


def _renew_locks_in_child() -> None:
    # Another thread of the parent may have held one, and nobody in the child would give it back.
    for tree in list(_open_trees):
        tree._lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_locks_in_child)


def create(
    path: str | os.PathLike[str],
    *,
    tokenizer: Tokenizer | None = None,
    vocabulary: int | None = None,
    chunk_bytes: int = CHUNK_BYTES,
    keep: int = KEEP_DEFAULT,
    encoders: Iterable[Encoder | VisualEncoder] = (),
) -> Tree:
    """Make an empty tree and open it.

    Args:
        path: its folder; nothing may be there.
        tokenizer: makes tokens of text; raw bytes if neither this nor a vocabulary is given.
        vocabulary: for a store of bare tokens: how many different ones there are.
        chunk_bytes: wished size of chunk files, a multiple of 64 KiB; of 2 MiB for huge pages.
        keep: how many of the newest commits to keep for time travel (0: all).
        encoders: encoders of the caller's own.

    Raises:
        StoreExistsError: something is at `path`.
        UsageError: the sizes cannot be, or the tokenizer cannot be made again of what it dumps.
    """
    where = as_path(path)
    if tokenizer is None and vocabulary is None:
        tokenizer = BytesTokenizer()
    if tokenizer is not None:
        tokenizer = storable_tokenizer(tokenizer)
    size = as_integer(vocabulary if tokenizer is None else tokenizer.vocabulary, "the size of a vocabulary")
    if not 1 <= size <= 1 << 32:
        raise UsageError(f"a vocabulary has 1 to 2^32 tokens, not {size}")
    if not 0 <= as_integer(keep, "the number of commits to keep") < 1 << 32:
        raise UsageError(f"cannot keep {keep} commits")
    meta = Meta(secrets.token_bytes(16), 0, time.time_ns(), as_integer(chunk_bytes, "the size of a chunk"))
    own = [as_encoder(encoder) for encoder in encoders]
    creation.make_epoch(where, meta, first=1, vocabulary=size, tokenizer=tokenizer, settings={KEEP: u32.pack(keep)})
    return Tree(where, encoders=own, tokenizer=tokenizer)


def open(  # noqa: A001  # as in `gzip.open`: it is called `mctree.open`
    path: str | os.PathLike[str],
    *,
    writable: bool = True,
    encoders: Iterable[Encoder | VisualEncoder] = (),
    portable: bool = False,
    trusted: bool = True,
) -> Tree:
    """Open a tree.

    Args:
        path: its folder.
        writable: False keeps this handle from writing.
        encoders: encoders of the caller's own, for gist sets that mctree cannot make by itself.
        portable: read files instead of mapping them.
        trusted: False if the store comes from a stranger, or may be damaged: then another process reads the whole index
            first, and looks at each of its pages.  Otherwise only its headers are looked at, which takes no time, and a
            page that is damaged may end the process when something comes upon it.

    Raises:
        NotAStoreError: there is no store of a format that this release reads.
        CorruptError: it does not open.
        PlaceError: it is in a network file system.
    """
    return Tree(path, writable=writable, encoders=encoders, portable=portable, trusted=trusted)
