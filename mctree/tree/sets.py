"""How are gist sets made, brought up to date, chosen and dropped?  Batch by batch, each one commit.

Building and refreshing take the writer's lock for one batch at a time, so that documents can be appended in between,
and so that stopping at any moment loses no more than the batch.  What is done is seen from the store alone: the rows
that a set has, and the commit up to which its gists account for deaths.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mctree.encoders import Encoder
from mctree.encoders.visual import VisualEncoder
from mctree.errors import NotFoundError, UsageError
from mctree.format.facts import GistSetRecord
from mctree.format.keys import Table, u32
from mctree.geometry import TEXT
from mctree.storage.rows import distinct
from mctree.tree.gists import DEFAULT_SET, GistView, gist_sets
from mctree.tree.refreshing import Refresher
from mctree.tree.writer import Writer

if TYPE_CHECKING:
    from mctree.tree.tree import Tree

__all__ = [
    "Progress",
    "begin_gists",
    "build_gists",
    "checked_set_name",
    "drop_gists",
    "refresh_gists",
    "set_default_gists",
]

Progress = Callable[[int, int], None]
"""(done, all): called after each batch."""

_BATCH_BLOCKS = 1 << 15
_BATCH_IMAGE_BLOCKS = 1 << 6
_RUNS_AT_ONCE = 1 << 12
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DTYPES = ("float16", "float32")


def checked_set_name(name: object) -> str:
    """A name that a gist set can have.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.lower() == "zarr.json":
        raise UsageError(
            f"gist set name {name!r:.80} must be 1 to 64 letters, digits, '_', '.' or '-', the first a letter or digit"
        )
    return name


def build_gists(
    tree: Tree,
    encoder: Encoder | VisualEncoder,
    name: str,
    *,
    dtype: str = "float16",
    default: bool | None = None,
    progress: Progress | None = None,
) -> int:
    """Make all gists of a set that are missing; a set that was begun before is gone on with.

    A new set is recorded with its first batch: where the encoder fails at once, there is no set.  What a set covers,
    blocks of text, images or both, is what its encoder says it can encode.  Images are read again: from their kept
    pixels, or else from where they came from.

    Args:
        tree: the tree.
        encoder: what encodes; for an existing set it must be the same.
        name: the set's name: letters, digits, `_`, `.` and `-`.
        dtype: how gists are stored, `float16` or `float32`.
        default: whether to make it the default set.  If there is none, it is that from its first commit on, so that
            stopping at any moment leaves no store without; else once it is complete.  None: only if there is none and
            the set covers text, for questions go by the default set.
        progress: called after each batch with (blocks done, blocks).

    Returns:
        How many blocks got a gist.

    Raises:
        UsageError: the encoder is none, the name cannot be one, or the set was made by another encoder.
        NotFoundError: somebody dropped the set meanwhile.
        CorruptError: tokens or gists that it would be made of are not those that were committed.
    """
    checked_set_name(name)
    if dtype not in _DTYPES:
        raise UsageError(f"gists are stored as float16 or float32, not {dtype!r}")
    tree.add_encoder(encoder)
    number: int | None = None
    made = 0
    while True:
        with closing(tree.writer()) as writer:
            if number is None:
                number = _find_or_begin(writer, encoder, name, dtype)
            images = "image" in encoder.modalities and writer.next.cover_images(number, _BATCH_IMAGE_BLOCKS)
            if images or "text" not in encoder.modalities:
                # What is above an image's block is made of its root's gist: images come first.
                if default and not images:
                    writer.next.put_setting(DEFAULT_SET, u32.pack(number))
                writer.commit(gists=False)
                if images:
                    continue
                return made
            blocks = writer.snapshot.blocks
            builder = writer.next.builder(number)
            if builder is None:
                raise NotFoundError(f"gist set {name!r} was dropped while it was built; build it again")
            before = builder.blocks
            after = writer.next.advance(number, before + _BATCH_BLOCKS)
            chosen = _default(writer)
            if (chosen is None and default is not False) or (default and after == blocks and chosen != number):
                writer.next.put_setting(DEFAULT_SET, u32.pack(number))
            writer.commit(gists=False)
        made += after - before
        if progress is not None:
            progress(after, blocks)
        if after == blocks:
            return made


def begin_gists(writer: Writer, encoder: Encoder | VisualEncoder, name: str, *, default: bool = True) -> None:
    """Commit a new gist set with nothing in it; later commits make the gists of what comes with them.

    Args:
        writer: its commit holds what else waits for one, too.
        encoder: what encodes.
        name: of the set.
        default: whether it is the default set.

    Raises:
        UsageError: the encoder is none, or the name cannot be one.
    """
    checked_set_name(name)
    writer.tree.add_encoder(encoder)
    number = _find_or_begin(writer, encoder, name, "float16")
    if default:
        writer.next.put_setting(DEFAULT_SET, u32.pack(number))
    writer.commit(gists=False)


def set_default_gists(tree: Tree, name: str) -> None:
    """Make a set the default, in one commit; snapshots taken before go on reading theirs.

    Raises:
        NotFoundError: there is no such set.
    """
    with closing(tree.writer()) as writer:
        writer.next.put_setting(DEFAULT_SET, u32.pack(writer.snapshot.gists(name).number))
        writer.commit(gists=False)


def drop_gists(tree: Tree, name: str) -> None:
    """Let a set be gone from the next commit on; its files go when no snapshot that sees it is left.

    Raises:
        NotFoundError: there is no such set.
    """
    with closing(tree.writer()) as writer:
        number = writer.snapshot.gists(name).number
        writer.next.put_set(number, None)
        if _default(writer) == number:
            writer.next.put_setting(DEFAULT_SET, b"")
        writer.commit(gists=False)


def refresh_gists(tree: Tree, name: str | None = None, *, progress: Progress | None = None) -> int:
    """Make the stale gists of a set again, and only those, from the children that still exist.

    Of images, those that lack gists of the set are given them, too: what changed in one is found by what it lacks.

    Args:
        tree: the tree.
        name: the set; the default one if none is named.
        progress: called after each batch with (runs of dead blocks accounted for, all).

    Returns:
        How many gists were made again.

    Raises:
        NotFoundError: there is no such set.
        UsageError: its encoder is the caller's own and was not passed to `mctree.open`.
        CorruptError: gists or tokens that are read for it are not those that were committed.
        SourceError: pixels of an image that changed have to be read again, and are no longer what was ingested.
    """
    with tree.snapshot() as snapshot:
        name, modalities = snapshot.gists(name).name, snapshot.gists(name).record.modalities
    # The text first: it is in the store, whereas images may have to be read from elsewhere.
    made = _refresh_text(tree, name, progress) if "text" in modalities else 0
    return made + (_refresh_images(tree, name) if "image" in modalities else 0)


def _refresh_text(tree: Tree, name: str, progress: Progress | None) -> int:
    """Make again what is above blocks that died; returns how many gists."""
    made = 0
    while True:
        with closing(tree.writer()) as writer:
            view = writer.snapshot.gists(name)
            since = writer.snapshot.record.refreshed.get(view.number, 0)
            waiting = writer.snapshot.world.deaths.after(since).runs
            if not len(waiting):
                return made
            by_commit = waiting[np.argsort(waiting["commit"], kind="stable")]
            until = int(by_commit["commit"][min(_RUNS_AT_ONCE, len(by_commit)) - 1])
            batch = by_commit[by_commit["commit"] <= until]
            made += _refresh(writer, view, batch)
            writer.next.refreshed(view.number, until)
            writer.commit(gists=False)
        if progress is not None:
            progress(len(batch), len(waiting))


def _refresh_images(tree: Tree, name: str) -> int:
    """Make again what is stale of images, and above their blocks; returns how many gists."""
    made, more = 0, True
    while more:
        with closing(tree.writer()) as writer:
            view = writer.snapshot.gists(name)
            before = _changed_by_images(view)
            more = writer.next.cover_images(view.number, _BATCH_IMAGE_BLOCKS)
            writer.commit(gists=False)
            made += before - _changed_by_images(writer.snapshot.gists(name))
    return made


def _changed_by_images(view: GistView) -> int:
    """How many gists are stale because images changed."""
    blocks, total = view.slots.blocks[view.slots.stale], view.stale_in_images()
    for level in range(1, view.levels + 1):
        above = distinct(blocks // (TEXT.width(level) // TEXT.width(1)))
        total += int(np.count_nonzero(above < view.rows(level)))
    return total


def _refresh(writer: Writer, view: GistView, deaths: NDArray[np.void]) -> int:
    """Make again the gists above some dead runs; returns how many."""
    starts, last = deaths["start"].astype(np.int64), deaths["stop"].astype(np.int64) - 1
    refresher = Refresher(writer.next.session, writer.snapshot, view, view.world, writer.next.block_tokens)
    return refresher.above(starts, last)


def _find_or_begin(writer: Writer, encoder: Encoder | VisualEncoder, name: str, dtype: str) -> int:
    """The number of the set of a name; if there is none, of one that the next commit records."""
    with writer.snapshot.reading() as index:
        sets = gist_sets(index, writer.snapshot.commit)
    for number, record in sets.items():
        if record.name == name:
            if record.fingerprint != encoder.fingerprint:
                raise UsageError(
                    f"gist set {name!r} was made by another encoder ({record.fingerprint[:12]}); "
                    "choose another name, or drop it first"
                )
            return number
    with writer.snapshot.reading() as index:
        taken = {GistSetRecord.decode(payload).folder.lower() for _, payload in index.scan(Table.GIST_SET) if payload}
    dump = encoder.dump()
    if not isinstance(dump, bytes):
        raise UsageError(f"the dump of encoder {encoder.kind!r} is {type(dump).__name__}, not bytes")
    digest = hashlib.blake2b(dump, digest_size=32).digest()
    writer.next.put_blob(digest, dump)
    return writer.next.begin_set(
        GistSetRecord(
            name=name,
            folder=writer.next.session.free_name("gists", name, taken),
            kind=encoder.kind,
            fingerprint=encoder.fingerprint,
            blob=digest,
            dim=encoder.dim,
            dtype=dtype,
            modalities=tuple(sorted(encoder.modalities)),
        )
    )


def _default(writer: Writer) -> int | None:
    try:
        return writer.snapshot.gists().number
    except NotFoundError:
        return None
