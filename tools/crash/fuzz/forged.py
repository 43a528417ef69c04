"""What does an engine make of a store whose records are forged, each under a valid checksum?

Damage fails its checksum; a stranger computes it.  So a small store with a past is taken to pieces, some of its records
are changed as the bytes of a forgery say, and it is put together again, whole as far as LMDB and every checksum can
tell.  Then everything is done with it that one does with a store: read, verify, write, refresh, copy, compact.

A forgery is a row of changes, each of a few bytes:

    what to do, u8; which record, u16; which field or byte, u16; a value, u8 (and more bytes of it where it takes them)
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice
from typing import Any

import lmdb
import msgpack
import numpy as np
from numpy.typing import NDArray

import mctree
from mctree.errors import MctreeError
from mctree.format.values import frame
from mctree.sources.images import Box
from mctree.testing import ProceduralSource
from mctree.testing.stores import scratch
from mctree.testing.toys import ToyEncoder, ToySight
from tools.crash.confined import lacks_memory

__all__ = ["LONGEST", "forge", "forgeries", "through_a_forged_store"]

LONGEST = 64
"""Bytes of a forgery that make sense: some changes."""

_ENCODER, _SIGHT = ToyEncoder(dim=16), ToySight(dim=2, channels=1)
_MAPS = frozenset(b"mcvadghle")
_VALUES: tuple[Any, ...] = (
    0,
    1,
    -1,
    255,
    1 << 31,
    (1 << 32) - 1,
    1 << 53,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
    1.5,
    float("nan"),
    None,
    True,
    "",
    "text/lod0",
    "../../../outside",
    "\x1b[31m\u202e\n",
    "x" * 5000,
    b"",
    b"\xff\0" * 16,
    b"\n\x1b]0;owned\x07",
    [],
    [1 << 40],
    [[]] * 3,
    {},
    {"document": [1 << 63]},
    {0: [1 << 60, 0], 1: [1 << 60, 0]},
    {"a": {"b": {"c": []}}},
)
"""What a field is set to."""


_Parts = tuple[dict[str, bytes], tuple[tuple[bytes, bytes], ...]]


@cache
def _specimen(*, images: bool) -> _Parts:
    """A small store, of text or of images: its files but the index, and its records."""
    with scratch() as folder:
        path = os.path.join(folder, "s")
        (_make_images if images else _make_texts)(path)
        return _parts_of(path)


def _make_images(path: str) -> None:
    with mctree.create(path, chunk_bytes=1 << 16, keep=3, encoders=[_SIGHT]) as tree:
        tree.build_gists(_SIGHT)
        with tree.writer() as writer:
            writer.add("text", b"beside images " * 9)
            writer.add_image("icon", _pixels(16, 130))
            writer.add_image("dead", _pixels(3, 3))
            writer.add_image("coarse", ProceduralSource(100, 250, 1, levels=(1, 2)), finest=2)
            writer.link((0, 64), (0, 32), kind="of a picture", spaces=(1, 0))
        with tree.writer() as writer:
            writer.change_image("icon", _pixels(4, 4), Box(1, 1, 5, 5))
            writer.remove("dead")


def _pixels(height: int, width: int) -> NDArray[np.uint8]:
    return (np.arange(height * width, dtype=np.uint32) % 251).astype(np.uint8).reshape(height, width, 1)


def _make_texts(path: str) -> None:
    with mctree.create(path, chunk_bytes=1 << 16, keep=3, encoders=[_ENCODER]) as tree:
        tree.build_gists(_ENCODER)
        for i in range(5):
            with tree.writer() as writer:
                writer.add(f"{i}", f"text number {i} ".encode() * 60)
                if i:
                    writer.remove(f"{i - 1}")
                if i == 1:
                    writer.begin("open").write("a tail")
                    writer.link((0, 40), (64, 90), kind="about")
                    writer.add("raw", b"\xff\xfe \0" * 9)
        tree.refresh_gists()


def _parts_of(path: str) -> _Parts:
    files = {}
    for above, _, names in os.walk(path):
        for name in names:
            whole = os.path.join(above, name)
            if "index.lmdb" not in whole and "leases" not in whole:
                with open(whole, "rb") as file:
                    files[os.path.relpath(whole, path)] = file.read()
    with lmdb.open(os.path.join(path, "index.lmdb"), readonly=True, lock=False) as index, index.begin() as txn:
        found = tuple((bytes(key), bytes(value[4:])) for key, value in txn.cursor())
    return files, found


def forge(data: bytes, *, images: bool = False) -> dict[bytes, bytes]:
    """The records of a specimen, of text or of images, changed: keys → payloads."""
    whole = list(_specimen(images=images)[1])
    at = 0
    while at + 6 <= len(data):
        what, which, where, value = (
            data[at] % 8,
            int.from_bytes(data[at + 1 : at + 3], "little") % len(whole),
            int.from_bytes(data[at + 3 : at + 5], "little"),
            data[at + 5],
        )
        at += 6
        key, payload = whole[which]
        match what:
            case 0 | 1 | 2:
                whole[which] = key, _with_field(key, payload, where, _VALUES[value % len(_VALUES)])
            case 3:
                payload = payload or b"\0"
                spot = where % len(payload)
                whole[which] = key, payload[:spot] + bytes([value]) + payload[spot + 1 :]
            case 4:
                whole[which] = key, payload[: where % (len(payload) + 1)]
            case 5:
                spot = where % len(key)
                whole[which] = key[:spot] + bytes([value]) + key[spot + 1 :], payload
            case 6:
                count = value % 32
                whole.append((key[: 1 + where % 40] + data[at : at + count], payload))
                at += count
            case _:
                whole[which] = key, whole[where % len(whole)][1]
    return {key: payload for key, payload in whole if key}


def _with_field(key: bytes, payload: bytes, where: int, value: Any) -> bytes:
    """A payload in which one field says something else; if it is no map, or none any more, other bytes."""
    fields = _fields(payload) if key[:1] in {bytes([tag]) for tag in _MAPS} else None
    if not fields:
        return payload[: where % (len(payload) + 1)] + bytes(msgpack.packb(0 if isinstance(value, dict) else value))
    names = list(fields)
    name = names[where % len(names)]
    inner = fields[name]
    if isinstance(inner, dict) and inner and where // len(names) % 2:
        inner[list(inner)[where // len(names) // 2 % len(inner)]] = value
    elif isinstance(inner, list) and inner and where // len(names) % 2:
        inner[where // len(names) // 2 % len(inner)] = value
    else:
        fields[name] = value
    return bytes(msgpack.packb(fields))


def _fields(payload: bytes) -> dict[Any, Any] | None:
    """What a map says; None if an earlier change has made something else of it."""
    try:
        found = msgpack.unpackb(payload, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    return found if isinstance(found, dict) else None


def through_a_forged_store(data: bytes, *, images: bool = False) -> None:
    """Make a forged store, of text or of images, and do with it all that one does with a store.

    Raises:
        MctreeError: the last thing that was refused.
    """
    with scratch() as folder:
        path = os.path.join(folder, "forged")
        for name, content in _specimen(images=images)[0].items():
            whole = os.path.join(path, name)
            os.makedirs(os.path.dirname(whole), exist_ok=True)
            with open(whole, "wb") as file:
                file.write(content)
        os.mkdir(os.path.join(path, "index.lmdb"))
        with (
            lmdb.open(os.path.join(path, "index.lmdb"), map_size=1 << 24, sync=False) as index,
            index.begin(write=True) as txn,
        ):
            for key, payload in forge(data, images=images).items():
                with suppress(lmdb.BadValsizeError):
                    txn.put(key, frame(key, payload))
        refused = _lived_through(path, os.path.join(folder, "copy"), _OF_IMAGES if images else (*_READERS, *_WRITERS))
        shutil.rmtree(path)
    if refused is not None:
        raise refused


def _lived_through(path: str, copy: str, acts: Sequence[Callable[[mctree.Tree], object]]) -> MctreeError | None:
    """Everything that one does with a store; the last thing that was refused."""
    refused: MctreeError | None = None
    with mctree.open(path, encoders=[_ENCODER, _SIGHT]) as tree:
        for act in (*acts, lambda tree: tree.backup(copy), lambda tree: tree.compact(), _read_all):
            try:
                act(tree)
            except MctreeError as error:
                assert str(error).isprintable(), repr(str(error))
                assert not lacks_memory(error), f"{type(error).__name__} for want of memory: {error}"
                refused = error
    return refused


def _verify(tree: mctree.Tree) -> None:
    for problem in tree.verify():
        assert str(problem.where).isprintable(), repr(problem.where)
        assert str(problem.what).isprintable(), repr(problem.what)


def _read_all(tree: mctree.Tree) -> None:
    with tree.snapshot() as snapshot:
        for document in snapshot.documents():
            for part in document.stream():
                assert len(part) <= 1 << 24


def _look_around(tree: mctree.Tree) -> None:
    tree.commits()
    with tree.snapshot() as snapshot:
        snapshot.view(0, min(snapshot.positions, 1 << 12))
        snapshot.cover(0, min(snapshot.positions, 1 << 12))
        snapshot.packed(0, min(snapshot.positions, 1 << 10))
        snapshot.provenance(0, min(snapshot.positions, 1 << 10))
        snapshot.tails()
        node = snapshot.find("4")
        repr(node)
        node.text()
        node.provenance()


def _ask_for_links(tree: mctree.Tree) -> None:
    with tree.snapshot() as snapshot:
        snapshot.all_links()
        snapshot.links(0, 1 << 12)


def _ask_for_gists(tree: mctree.Tree) -> None:
    with tree.snapshot() as snapshot:
        for view in snapshot.gist_sets():
            repr(view)
            for level in range(1, view.levels + 1):
                view.level(level).read(0, min(view.rows(level), 64))
        snapshot.gists()


def _look_at_images(tree: mctree.Tree) -> None:
    with tree.snapshot() as snapshot:
        snapshot.gallery.unfinished()
        for image in islice(snapshot.images(), 8):
            repr(image)
            repr(image.record)
            box = Box(0, 0, min(image.width, 64), min(image.height, 64))
            for level in range(image.root + 1):
                rows, columns = image.raster.grid(level)
                image.colour(level, Box(0, 0, min(columns, 8), min(rows, 8)))
                first = image.first(level)
                image.states(level, np.arange(first, first + 8))
                there = np.arange(first, first + 8)[image.find(level, np.arange(first, first + 8)).present]
                image.statistics(level, there)
                image.gists(level, np.arange(first, first + 8))
            image.spans(box, limit=16)
            if image.keeps_pixels:
                image.pixels(box, partial=True)
            image.coarse(box)


def _look_at_nodes_of_images(tree: mctree.Tree) -> None:
    with tree.snapshot() as snapshot:
        for image in islice(snapshot.images(), 8):
            node = image.node(image.root, 0, 0)
            repr(node)
            repr(node.children)


def _travel(tree: mctree.Tree) -> None:
    with tree.snapshot(min(commit.number for commit in tree.commits())) as snapshot:
        [document.name for document in snapshot.documents()]


def _append(tree: mctree.Tree) -> None:
    with tree.writer() as writer:
        writer.add("another", b"some more text " * 20)
    with tree.writer() as writer:
        writer.reopen("open").write(" goes on")
        writer.remove("4")


def _collect(tree: mctree.Tree) -> None:
    for i in range(17):
        with tree.writer() as writer:
            writer.add("the same", f"{i}", replace=True)


def _change_images(tree: mctree.Tree) -> None:
    with tree.writer() as writer:
        writer.add_image("another", _pixels(20, 33))
        writer.add_image("icon", _pixels(8, 8), replace=True)
    with tree.writer() as writer:
        writer.change_image("another", _pixels(4, 4), Box(0, 0, 4, 4))
        writer.remove("coarse")


def _change_an_image(tree: mctree.Tree) -> None:
    with tree.writer() as writer:
        writer.change_image("icon", _pixels(4, 4), Box(0, 0, 4, 4))


def _refresh(tree: mctree.Tree) -> None:
    tree.refresh_gists()


_READERS: tuple[Callable[[mctree.Tree], object], ...] = (
    _verify,
    _read_all,
    _look_around,
    _ask_for_links,
    _ask_for_gists,
    _travel,
)
_WRITERS: tuple[Callable[[mctree.Tree], object], ...] = (_append, _refresh, _collect)
_OF_IMAGES: tuple[Callable[[mctree.Tree], object], ...] = (
    _verify,
    _read_all,
    _ask_for_links,
    _ask_for_gists,
    _travel,
    _look_at_images,
    _look_at_nodes_of_images,
    _change_an_image,
    _refresh,
    _change_images,
    _collect,
)


def forgeries(*, images: bool = False) -> Iterator[bytes]:
    """Each field of each map set to each value, and records of each table changed in other ways, in a fixed order."""
    whole = _specimen(images=images)[1]
    seen: set[tuple[bytes, int]] = set()
    for which, (key, payload) in enumerate(whole):
        kind = key[:1]
        fields = len(msgpack.unpackb(payload, strict_map_key=False)) if kind[0] in _MAPS and payload else 1
        for where in range(2 * fields):
            if (kind, where) in seen:
                continue
            seen.add((kind, where))
            for value in range(len(_VALUES)):
                yield _change(0, which, where, value)
    for tag in sorted({key[:1] for key, _ in whole}):
        which = max(i for i, (key, _) in enumerate(whole) if key[:1] == tag)
        for where in (1, 4, 8, 12):
            yield _change(4, which, where, 0)
            yield _change(5, which, where, 0xFF)
            yield _change(6, which, where, 0)
            yield _change(3, which, where, 0xFF)


def _change(what: int, which: int, where: int, value: int) -> bytes:
    return bytes([what]) + which.to_bytes(2, "little") + where.to_bytes(2, "little") + bytes([value])
