"""Does `verify` say what a damage hits?  What each byte of a store stands for, found out while the store is whole.

A row stands for a node, and the first bytes or pixels of a source that this stands for; a byte of kept pixels for a
tile.  A record of the index is about what it says, and the finding has to be of that record, and has to name the source
that it is about and at least the bytes of it; of what lies under a page of the index, the range of records that cannot
be read any more.  That a finding names something else is as bad as that it names nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

import numpy as np
from numpy.typing import NDArray

import mctree
from mctree.format.arrays import ArrayLayout
from mctree.format.images import decode_grafts, decode_pages, decode_pieces
from mctree.format.keys import Table, source_digest, u32, u64
from mctree.format.records import BLOCKS_PER_PAGE, SUMS_PER_PAGE, Original, Run, Tail
from mctree.format.values import describe, unframe
from mctree.geometry import IMAGE, Address
from mctree.tree import Image, Snapshot
from mctree.tree.images.kept import read_pieces
from mctree.tree.problem import Problem
from tools.crash.index_bytes import IndexBytes, Spot

__all__ = ["INDEX", "Naming", "Place", "Rows"]

_LOD0, _COUNT, _BEFORE = (f"text/{name}/c.0" for name in ("lod0", "count", "before"))
INDEX = "index.lmdb/data.mdb"
_HEADERS = 2
"""Pages of an index that are headers."""
_RANGE = re.compile(r"records from (.+) to (.+) can be read")
_LINK_NODE = Struct(">IBQ")


@dataclass(frozen=True, slots=True)
class Place:
    """What is hit: a node, and the source and the bytes, or the pixels, of it that it stands for first."""

    node: Address | None
    source: bytes | None
    start: int = 0
    stop: int = 0
    box: tuple[int, ...] = ()

    def is_said_by(self, problem: Problem) -> bool:
        """Whether a problem names just this."""
        said = problem.node, problem.source, problem.start, problem.stop
        pixels = "pixels [{}, {}) × [{}, {})".format(*(self.box[i] for i in (0, 2, 1, 3))) if self.box else ""
        return said == (self.node, self.source, self.start, self.stop) and pixels in problem.where

    def is_covered_by(self, problem: Problem) -> bool:
        """Whether a problem names this source, and these bytes of it among others, or this node."""
        if (problem.node, problem.source) != (self.node, self.source):
            return False
        return problem.start <= self.start <= self.stop <= problem.stop


@dataclass(frozen=True, slots=True)
class Rows:
    """The committed rows of a file: the bytes of one, and what each stands for, None if nobody is led to it."""

    size: int
    places: list[Place | None]

    @property
    def bytes(self) -> int:
        """How many bytes of the file they take."""
        return self.size * len(self.places)


class Naming:
    """What every byte of a store stands for.

    Args:
        tree: the store, whole.

    Attributes:
        rows: for each file of rows, what they stand for.
    """

    def __init__(self, tree: mctree.Tree) -> None:
        self._path = tree.path
        self._sources, self._images = _sources(tree), dict[int, Image]()
        self._levels, self._files = dict[int, int](), {0: _LOD0, 1: _COUNT, 2: _BEFORE}
        self.rows = {file: rows for found in (self._text(tree), self._pictures(tree)) for file, rows in found}
        with open(f"{tree.path}/{INDEX}", "rb") as file:
            self._index = IndexBytes(file.read())
        with tree.store.reading() as index:
            self._keys = sorted(key for key, _ in index.raw())
        self._about = dict(self._records(tree))

    def names(self, problem: Problem, file: str, offset: int) -> bool:
        """Whether a problem says what is hit by damage to a byte."""
        if file in self.rows:
            row, rows = offset // self.rows[file].size, self.rows[file].places
            place = rows[row] if row < len(rows) else None
            return place is not None and place.is_said_by(problem)
        if file == INDEX:
            return self._names_in_index(problem, self._index.spots.get(offset))
        return problem.where == file or file.startswith(f"{problem.where}/")

    def read(self, file: str, size: int) -> list[range]:
        """The bytes of a file that say something: its committed rows, records and pages of an index, else all."""
        if file in self.rows:
            return [range(self.rows[file].bytes)]
        if file != INDEX:
            return [range(size)]
        edges = np.flatnonzero(np.diff([0, *(at in self._index.spots for at in range(size)), 0])).tolist()
        return [range(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True)]

    # Rows

    def _text(self, tree: mctree.Tree) -> Iterator[tuple[str, Rows]]:
        """What the committed rows of the timeline's arrays stand for."""
        newest = tree.commits()[-1].number
        with tree.snapshot() as snapshot:
            records = snapshot.block_records(0, snapshot.blocks)

            def place(level: int, index: int) -> Place:
                width = 32 ** (level - 1)
                first, last = records[index * width], records[(index + 1) * width - 1]
                stop = (last if last["document"] == first["document"] else first)["stop"]
                source = self._sources.get(int(first["document"]))
                return Place(Address(0, level, index), source, int(first["start"]), int(stop))

            blocks = range(snapshot.blocks)
            sizes = [snapshot.store.array(array, newest).row_bytes for array in range(3)]
            yield _LOD0, Rows(32 * sizes[0], [place(1, block) for block in blocks])
            yield _COUNT, Rows(sizes[1], [place(1, block) for block in blocks])
            yield _BEFORE, Rows(sizes[2], [place(1, block) for block in blocks[::32]])
            seen: dict[str, Rows] = {}
            for commit in tree.commits():
                with tree.snapshot(commit.number) as older:
                    for view in older.gist_sets():
                        for level in range(1, view.levels + 1):
                            array = view.record.levels[level - 1]
                            layout = older.store.array(array, commit.number)
                            # Of the commits that see a generation the newest has the most rows of it.
                            rows = Rows(layout.row_bytes, [place(level, row) for row in range(view.rows(level))])
                            seen[self._file(older, array, layout)] = rows
            yield from seen.items()

    def _pictures(self, tree: mctree.Tree) -> Iterator[tuple[str, Rows]]:
        """What the rows of images, and the bytes of kept pixels, stand for that some commit's pages lead to."""
        seen: dict[int, dict[int, Place]] = {}
        layouts: dict[int, ArrayLayout] = {}
        for commit in tree.commits():
            with tree.snapshot(commit.number) as older:
                self._images.update((image.id, image) for image in older.images())
                # Pages go on leading to rows of images that have died.
                for image in self._images.values():
                    for array, row, place in self._picture(older, image):
                        seen.setdefault(array, {})[row] = place
                layouts.update((array, older.store.array(array, commit.number)) for array in seen)
        for array, places in seen.items():
            rows = Rows(layouts[array].row_bytes, [places.get(row) for row in range(max(places) + 1)])
            self._files[array] = f"{layouts[array].path}/{layouts[array].chunk_key(0)}"
            yield self._files[array], rows

    def _picture(self, snapshot: Snapshot, image: Image) -> Iterator[tuple[int, int, Place]]:
        """Of each row of an image: its array, its number in it, and what it stands for."""
        gallery, source = snapshot.gallery, self._sources[image.id]
        families = [
            gallery.statistics_arrays(image.channels),
            *(view.record.images for view in snapshot.gist_sets()),
        ]
        for level in range(image.root + 1):
            first = image.first(level)
            index = np.arange(first, first + IMAGE.width(image.root) // IMAGE.width(level))
            boxes = image.raster.boxes(level, index - first).tolist()
            places = [
                Place(Address(image.space, level, node), source, box=tuple(box))
                for node, box in zip(index.tolist(), boxes, strict=True)
            ]
            for arrays in families:
                self._levels.update((array, level) for array in arrays[level : level + 1])
                found = gallery.pages.find(arrays[level], index).row if level < len(arrays) else np.full(len(index), -1)
                yield from ((arrays[level], int(found[i]), places[i]) for i in np.flatnonzero(found >= 0).tolist())
            if level == 1 and gallery.pixels_array is not None:
                for group in {node // 64 for node in index.tolist()}:
                    for tile, start, size, _ in read_pieces(snapshot, gallery.pixels_array, group).tolist():
                        if tile in index:
                            at = places[tile - first]
                            yield from ((gallery.pixels_array, byte, at) for byte in range(start, start + size))

    def _file(self, snapshot: Snapshot, array: int, layout: ArrayLayout) -> str:
        """The file in which a snapshot sees the first chunk of an array."""
        with snapshot.reading() as index:
            keys = [key for key, _ in index.raw(Table.CHUNK + u32.pack(array) + u64.pack(0))]
        seen = max(since for key in keys if (since := u64.unpack(key[-8:])[0]) <= snapshot.commit)
        self._files[array] = f"{layout.path}/{layout.chunk_key(0)}"
        older = f"generations/{array}.0.{seen}"
        return older if os.path.exists(f"{self._path}/{older}") else self._files[array]

    # The index

    def _names_in_index(self, problem: Problem, spot: Spot | None) -> bool:
        if spot is None:
            return False
        kind, _, _ = problem.where.partition(" of the index")
        if problem.kind == "page":
            page = int(kind.removeprefix("page "))
            if spot.page in self._index.free or (spot.page < _HEADERS and page >= _HEADERS):
                return problem.node is None and "the next commit would destroy" in problem.what
            if spot.page < _HEADERS and page < _HEADERS:  # that they do not fit is seen, and not which of them is wrong
                return self._ranges(problem, page)
            if spot.leads is not None and self._ranges(problem, spot.leads):
                return True  # whichever page it leads to now
            if (
                spot.key is not None
                and f"from {describe(spot.key)} to {describe(spot.key + bytes(1))} can" in problem.what
            ):
                return True  # what the page says of how it holds the record
            counted = {0, 1} if "counts other pages or records" in problem.what else set[int]()
            return page in {spot.page, spot.leads, self._before(spot.leads)} | counted and self._ranges(problem, page)
        if spot.key is None:
            return False
        if problem.kind == "table":
            return problem.where == f"index table {spot.key[:1].decode('latin-1')!r}"
        said, true = problem.where.removeprefix("index record "), describe(spot.key)
        if problem.what in ("belongs to no table", "fails its checksum") and said != true:
            # Its key is longer or shorter now, and may be about nothing that is known.
            return said.startswith(true) or true.startswith(said)
        if said != true:
            return False
        about = self._about.get(spot.key)
        return about.is_covered_by(problem) if about else (problem.node, problem.source) == (None, None)

    def _before(self, page: int | None) -> int | None:
        """The page before one, whose last keys belong to that if the key between them is too small."""
        if page is None:
            return None
        low, _ = self._index.ranges[page]
        return next((other for other, (_, high) in self._index.ranges.items() if high == low), None)

    def _ranges(self, problem: Problem, page: int) -> bool:
        """Whether a problem with a page says which records cannot be read any more, and which is the first node.

        A page that does not fit the key that leads to it may be told by more keys than it has, and never by fewer.
        """
        if page not in self._index.ranges:
            return page < 2
        low, high = self._index.ranges[page]
        keys = [key for key in self._keys if low <= key and (high is None or key < high)]
        blocks = [u64.unpack(key[1:])[0] * BLOCKS_PER_PAGE for key in keys if key[:1] == Table.BLOCKS]
        node = Address(0, 1, blocks[0]) if blocks else None
        first, last = "the first" if not low else describe(low), "the end" if high is None else describe(high)
        if f"from {first} to {last} can" in problem.what and problem.node == node:
            return True
        said = _RANGE.search(problem.what)
        if said is None or "belong elsewhere" not in problem.what or (node is None) < (problem.node is None):
            return False
        lower, upper = (_key(text) for text in said.groups())
        return lower <= keys[0] and (not upper or keys[-1] < upper)

    def _records(self, tree: mctree.Tree) -> Iterator[tuple[bytes, Place]]:
        """What those records of the index are about that are about something, by what they say."""
        with tree.snapshot() as snapshot:
            blocks = snapshot.block_records(0, snapshot.blocks)
            with tree.store.reading() as index:
                raw = [(key, unframe(key, value)) for key, value in index.raw()]
            sizes = dict.fromkeys(self._sources, 0)
            for row in blocks:
                sizes[int(row["document"])] = max(sizes[int(row["document"])], int(row["stop"]))

            def part(number: int, start: int = 0, stop: int = 0, node: Address | None = None) -> Place:
                return Place(node, self._sources[number], start, stop)

            def of_block(block: int) -> Place:
                row = blocks[block]
                return part(int(row["document"]), int(row["start"]), int(row["stop"]), Address(0, 1, block))

            links: dict[bytes, Place] = {}
            for key, payload in raw:
                table, rest = key[:1], key[1:]
                if table == Table.BLOCKS:
                    first = u64.unpack(rest)[0] * BLOCKS_PER_PAGE
                    page = blocks[first : first + BLOCKS_PER_PAGE]
                    beyond = np.flatnonzero(page["document"] != page["document"][0])
                    last = page[int(beyond[0]) - 1 if len(beyond) else -1]
                    yield (
                        key,
                        part(int(last["document"]), int(page["start"][0]), int(last["stop"]), Address(0, 1, first)),
                    )
                elif table == Table.DEATH:
                    yield key, of_block(u64.unpack(rest[8:])[0])
                elif table == Table.RUN:
                    run = Run.decode(payload)
                    mine = blocks[run.block : run.block + run.blocks]
                    yield key, part(u64.unpack(rest[:8])[0], int(mine["start"][0]), int(mine["stop"][-1]))
                elif table == Table.TAIL:
                    number, since = u64.unpack(rest[:8])[0], u64.unpack(rest[8:])[0]
                    mine = blocks[: tree.snapshot(since).blocks]
                    start = int(mine["stop"][mine["document"] == number].max(initial=0))
                    assert not payload or Tail.decode(payload).start == start, "a tail begins behind what is placed"
                    yield key, part(number, start, start)  # where it ends, only it says
                elif table == Table.ORIGINAL:
                    yield key, part(u64.unpack(rest[:8])[0], u64.unpack(rest[8:])[0], Original.decode(payload).stop)
                elif table in (Table.DOCUMENT, Table.IMAGE):
                    number = u64.unpack(rest[:8])[0]
                    yield key, part(number, 0, sizes[number])
                elif table == Table.SOURCE:
                    number = u64.unpack(rest[16:24])[0]
                    yield key, part(number, 0, sizes[number])
                elif table == Table.STAMP:
                    yield key, Place(None, {source_digest(name): name for name in self._sources.values()}[rest])
                elif table == Table.GRAFTS:
                    yield key, of_block(int(decode_grafts(payload)["block"][0]))
                elif table in (Table.CHUNK, Table.CHECKSUMS):
                    page_of_sums = u32.unpack(rest[20:])[0] if table == Table.CHECKSUMS else 0
                    yield key, self._row(u32.unpack(rest[:4])[0], page_of_sums * SUMS_PER_PAGE)
                elif table in (Table.PAGES, Table.PIECES) and payload:
                    yield key, self._group(key, payload)
                elif table == Table.LINK_NODE:
                    yield key, self._node(blocks, rest)
                    links.setdefault(rest[13:21], self._node(blocks, rest))
            for key, _ in raw:
                if key[:1] == Table.LINK and key[1:9] in links:
                    yield key, links[key[1:9]]

    def _row(self, array: int, row: int) -> Place:
        """The node that a row of the first chunk of an array is of, or the first one behind it."""
        return next(place for place in self.rows[self._files[array]].places[row:] if place is not None)

    def _group(self, key: bytes, payload: bytes) -> Place:
        """The first node of the first image that a group of pages, or of pieces, speaks of."""
        array, group = u32.unpack(key[1:5])[0], u64.unpack(key[5:13])[0]
        if key[:1] == Table.PIECES:
            level, first = 1, int(decode_pieces(payload, group)["tile"][0])
        else:
            page = decode_pages(payload, group)[0]
            known = int(page["present"]) | int(page["empty"])
            level, first = self._levels[array], 64 * int(page["page"]) + (known & -known).bit_length() - 1
        image = self._image_at(level, first)
        return Place(Address(1, level, image.first(level)), self._sources[image.id])

    def _image_at(self, level: int, node: int) -> Image:
        width = IMAGE.width(level)
        return next(one for one in self._images.values() if one.base <= node * width < one.base + IMAGE.width(one.root))

    def _node(self, blocks: NDArray[np.void], rest: bytes) -> Place:
        """The node at which a link is found, from the key of its record there."""
        space, level, index = _LINK_NODE.unpack_from(rest)
        if space:
            return Place(Address(space, level, index), self._sources[self._image_at(level, index).id])
        width = 32 ** (level - 1)
        first, last = blocks[index * width], blocks[min((index + 1) * width, len(blocks)) - 1]
        stop = (last if last["document"] == first["document"] else first)["stop"]
        return Place(Address(0, level, index), self._sources[int(first["document"])], int(first["start"]), int(stop))


def _sources(tree: mctree.Tree) -> dict[int, bytes]:
    """The names of all documents that some commit shows, and of those that died, by number."""
    found: dict[int, bytes] = {}
    for commit in tree.commits():
        with tree.snapshot(commit.number) as snapshot:
            found.update((document.id, document.source) for document in snapshot.documents())
    return found


def _key(described: str) -> bytes:
    """A key, or the beginning of one, as it is described; nothing for the first, and for the end."""
    found = re.fullmatch(r"'(.)' ([0-9a-f]*)", described)
    return found[1].encode() + bytes.fromhex(found[2]) if found else b""
