"""What does a user open?  A tree: where it is, its commits, its snapshots, its writer, its gist sets.

A `Tree` is a handle in one process.  It never holds a commit by itself; `snapshot` takes one, `writer` makes the
next.  Handles may be open in any number of processes and threads at once, one writer among them.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mctree.encoders import BytesTokenizer, Encoder, Tokenizer, load_encoder, load_tokenizer
from mctree.errors import BusyError, CorruptError, UsageError
from mctree.format.arrays import ArrayLayout, rows_per_chunk
from mctree.format.facts import Commit, GistSetRecord, Meta
from mctree.format.keys import Table, u32, version_key
from mctree.format.records import BLOCK, DEATH_DTYPE
from mctree.format.values import pack, unpack
from mctree.storage.creation import create_store
from mctree.storage.epochs import drop_epochs
from mctree.storage.session import Session
from mctree.storage.store import Store
from mctree.tree.access import AccessCounts
from mctree.tree.check import Problem, verify
from mctree.tree.compact import compact
from mctree.tree.gists import check_encoder
from mctree.tree.retention import KEEP, KEEP_DEFAULT
from mctree.tree.sets import Progress, build_gists, drop_gists, refresh_gists, set_default_gists
from mctree.tree.snapshot import Snapshot
from mctree.tree.world import Deaths, read_deaths
from mctree.tree.writer import Writer

__all__ = ["CHUNK_BYTES", "Tree", "create", "open"]

CHUNK_BYTES = 4 << 20
"""Wished size of chunk files: large enough to be few, small enough that a small store is small."""

_COUNT_CHUNK_BYTES = 256 << 10
_TOKENIZER = b"tokenizer"


class Tree:
    """A tree of detail on disk, open in this process; made by `mctree.open` or `mctree.create`.

    Args:
        path: the store's folder.
        writable: whether `writer` may be called.
        identity: (store, epoch) that must be there, for snapshots that travelled.
        encoders: encoders of the caller's own, for gist sets that mctree cannot make by itself.
        portable: read files instead of mapping them.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        writable: bool = True,
        identity: tuple[bytes, int] | None = None,
        encoders: Iterable[Encoder] = (),
        portable: bool = False,
    ) -> None:
        self.path = os.path.realpath(path)
        self.portable = portable
        self._writable = writable
        self._lock = threading.Lock()
        self._encoders = {encoder.fingerprint: encoder for encoder in encoders}
        self._store = Store(self.path, writable=writable, identity=identity)
        self._pinned = identity is not None
        self._deaths: tuple[object, int, NDArray[np.void]] = (None, 0, np.empty(0, DEATH_DTYPE))
        self._tokenizer: Tokenizer | None = None
        self.vocabulary = 0
        self._load_tokenizer()

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

    @property
    def tokenizer(self) -> Tokenizer | None:
        """What makes tokens of text, or None for a store of bare tokens."""
        return self._tokenizer

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
        while True:
            store = self.store
            record = store.hold(commit)
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
        if not 0 <= commits < 1 << 32:
            raise UsageError(f"cannot keep {commits} commits")
        with self.writer() as writer:
            writer.put_setting(KEEP, u32.pack(commits))

    def access(self) -> AccessCounts:
        """Counts of how often nodes were read, by whoever records it."""
        return AccessCounts(self)

    def compact(self, *, progress: Progress | None = None) -> None:
        """Write the store anew without what is dead, as its next epoch; see `mctree.tree.compact.compact`."""
        compact(self, progress=progress)
        drop_epochs(self.store.at)

    def verify(self, *, progress: Progress | None = None) -> Iterator[Problem]:
        """Look for anything that is not as it was committed; see `mctree.tree.check.verify`."""
        return verify(self, progress=progress)

    # Gist sets

    def build_gists(
        self,
        encoder: Encoder,
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

    # What snapshots, writers and compaction share

    def next_epoch(self, path: str, meta: Meta, *, first: int, settings: dict[bytes, bytes]) -> Tree:
        """Make an empty store at `path` that takes the same tokens, and open it with the same encoders."""
        make_epoch(path, meta, first=first, vocabulary=self.vocabulary, tokenizer=self._tokenizer, settings=settings)
        return Tree(path, encoders=self._encoders.values())

    def deaths(self, store: Store, commit: int) -> Deaths:
        """What has died up to a commit; read once, then only what is new."""
        with self._lock:
            owner, known, runs = self._deaths
            if owner is not store:
                known, runs = 0, np.empty(0, DEATH_DTYPE)
            if known < commit:
                with store.reading() as index:
                    runs = np.concatenate([runs, read_deaths(index, known, commit)])
                self._deaths = (store, commit, runs)
        return Deaths.sorted(runs[runs["commit"] <= commit])

    def encoder(self, record: GistSetRecord, store: Store | None = None) -> Encoder:
        """The encoder of a gist set, read from a store that has it (the newest epoch if none is given).

        Raises:
            UsageError: it is one that mctree cannot make by itself, and it was not passed to `mctree.open`.
            CorruptError: its dump is missing or damaged.
        """
        known = self._encoders.get(record.fingerprint)
        if known is None:
            with (store or self.store).reading() as index:
                dump = index.get(Table.BLOB + record.blob)
            if dump is None:
                raise CorruptError(f"the encoder of gist set {record.name!r} is missing; run `mctree verify`")
            known = load_encoder(record.kind, dump, self._tokenizer)
            check_encoder(record, known)
            self._encoders[record.fingerprint] = known
        return known

    def known_encoder(self, record: GistSetRecord) -> Encoder | None:
        """The encoder of a gist set, or None if it is the caller's own and was not passed."""
        try:
            return self.encoder(record)
        except UsageError:
            return None

    def add_encoder(self, encoder: Encoder) -> None:
        """Let gist sets of this encoder be made and asked."""
        self._encoders[encoder.fingerprint] = encoder

    def _load_tokenizer(self) -> None:
        with self._store.reading() as index:
            newest = index.commit()
            assert newest is not None, "a store has a commit from its creation on"
            payload = index.version(Table.SETTING, _TOKENIZER, newest.number)
            if payload is None:
                raise CorruptError(f"{self.path} does not say how its tokens are made; run `mctree verify`")
            fields = unpack(payload, "the tokenizer's record")
            dump = index.get(Table.BLOB + fields["blob"]) if fields.get("blob") else None
        self.vocabulary = int(fields.get("vocabulary", 0))
        if fields.get("kind"):
            if dump is None:
                raise CorruptError(f"the tokenizer of {self.path} is missing; run `mctree verify`")
            self._tokenizer = load_tokenizer(str(fields["kind"]), dump)


def create(
    path: str | os.PathLike[str],
    *,
    tokenizer: Tokenizer | None = None,
    vocabulary: int | None = None,
    chunk_bytes: int = CHUNK_BYTES,
    keep: int = KEEP_DEFAULT,
    encoders: Iterable[Encoder] = (),
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
        UsageError: the sizes cannot be.
    """
    if tokenizer is None and vocabulary is None:
        tokenizer = BytesTokenizer()
    size = vocabulary if tokenizer is None else tokenizer.vocabulary
    if size is None or not 1 <= size <= 1 << 32:
        raise UsageError(f"a vocabulary has 1 to 2^32 tokens, not {size}")
    if not 0 <= keep < 1 << 32:
        raise UsageError(f"cannot keep {keep} commits")
    meta = Meta(secrets.token_bytes(16), 0, time.time_ns(), chunk_bytes)
    facts = {KEEP: u32.pack(keep)}
    make_epoch(os.fspath(path), meta, first=1, vocabulary=size, tokenizer=tokenizer, settings=facts)
    return Tree(path, encoders=encoders)


def make_epoch(
    path: str,
    meta: Meta,
    *,
    first: int,
    vocabulary: int,
    tokenizer: Tokenizer | None,
    settings: dict[bytes, bytes],
) -> None:
    """Make an empty store for text whose first commit is `first`."""
    facts: dict[bytes, bytes] = {}
    fields: dict[str, Any] = {"vocabulary": vocabulary}
    if tokenizer is not None:
        dump = tokenizer.dump()
        digest = hashlib.blake2b(dump, digest_size=32).digest()
        facts[Table.BLOB + digest] = dump
        fields |= {"kind": tokenizer.kind, "fingerprint": tokenizer.fingerprint, "blob": digest}
    facts[version_key(Table.SETTING, _TOKENIZER, first)] = pack(fields)
    for name, payload in settings.items():
        facts[version_key(Table.SETTING, name, first)] = payload
    create_store(path, meta, first=first, time_ns=time.time_ns(), arrays=text_arrays(vocabulary, meta), facts=facts)


def text_arrays(vocabulary: int, meta: Meta) -> list[ArrayLayout]:
    """The arrays that every store has: tokens, real tokens per block, real tokens before every 32nd block."""
    token = next(name for name, bits in (("uint8", 8), ("uint16", 16), ("uint32", 32)) if vocabulary <= 1 << bits)

    def array(path: str, dtype: str) -> ArrayLayout:
        row_bytes = ArrayLayout(path, dtype, (), 1).row_bytes
        return ArrayLayout(path, dtype, (), rows_per_chunk(row_bytes, meta.chunk_bytes))

    # Most blocks are full, so the fill value of the counts is that of a full block: appending one writes nothing.
    # For that their files are written whole, so they are kept small.
    small = min(meta.chunk_bytes, _COUNT_CHUNK_BYTES)
    count = ArrayLayout("text/count", "uint8", (), rows_per_chunk(1, small), BLOCK)
    return [array("text/lod0", token), count, array("text/before", "uint64")]


def open(  # noqa: A001  # as in `gzip.open`: it is called `mctree.open`
    path: str | os.PathLike[str],
    *,
    writable: bool = True,
    encoders: Iterable[Encoder] = (),
    portable: bool = False,
) -> Tree:
    """Open a tree.

    Args:
        path: its folder.
        writable: False keeps this handle from writing.
        encoders: encoders of the caller's own, for gist sets that mctree cannot make by itself.
        portable: read files instead of mapping them.

    Raises:
        NotAStoreError: there is no store of a format that this release reads.
        CorruptError: it does not open.
    """
    return Tree(path, writable=writable, encoders=encoders, portable=portable)
