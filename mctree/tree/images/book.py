"""What is one writer about to say of images?  Rows appended, and the pages, pieces and records of the next commit.

Nothing that was committed is changed: where nodes change, the rows of their page are appended anew, those that stay
among them, and the page says where they are from the next commit on.  So a change costs what is under the pages that
it touches, and snapshots go on reading theirs.  What of a page is read back is compared with its checksums first.

Whatever was noted since the last commit can be taken back, for an image that could not be added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError
from mctree.format.arrays import ArrayLayout
from mctree.format.commits import array_fact
from mctree.format.facts import GistSetRecord
from mctree.format.images import (
    GRAFT_DTYPE,
    GRAFTS_PER_PAGE,
    NODES_PER_GROUP,
    NODES_PER_PAGE,
    PAGE_DTYPE,
    PIECE_DTYPE,
    ImageRecord,
)
from mctree.format.keys import Table, graft_page_key, group_key, u32, u64
from mctree.format.values import crc32c
from mctree.storage.index import Writing
from mctree.storage.rows import distinct
from mctree.storage.session import Session
from mctree.tree.images.families import (
    PIXELS,
    Family,
    gist_family,
    pixels_layout,
    pixels_setting,
    statistics_family,
    statistics_name,
    statistics_setting,
)
from mctree.tree.images.kept import read_pieces
from mctree.tree.images.noted import UNFINISHED, Noted, intact_rows, unfinished_setting
from mctree.tree.images.pages import Located, masks, popcount, set_bits
from mctree.tree.images.slots import Slots, slots

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot

__all__ = ["Book"]

_NONE = np.empty(0, np.int64)


class Book:
    """Images as one writer's next commit will see them.

    Args:
        session: what writes.
        snapshot: the newest commit, wherever it goes.
        new_array: gives the number of a new array.
    """

    def __init__(self, session: Session, snapshot: Snapshot, new_array: Callable[[], int]) -> None:
        self._session = session
        self._snapshot = snapshot
        self._new_array = new_array
        self._chunk_bytes = session.store.meta.chunk_bytes
        self._statistics: dict[int, Family] = {}
        self._gists: dict[int, Family] = {}
        self._pixels: Family | None = None
        self._groups: dict[tuple[int, int], NDArray[np.void]] = {}
        self._pieces: dict[tuple[int, int], NDArray[np.void]] = {}
        self._undo: list[Callable[[], object]] = []
        self._recent: dict[int, list[tuple[int, NDArray[Any]]]] = {}
        self._noted: Noted | None = None
        self.records: dict[int, ImageRecord | None] = {}
        self.grafts: list[tuple[int, ...]] = []
        self.unfinished: dict[bytes, int] | None = None
        self.slots_changed: set[int] = set()

    def __bool__(self) -> bool:
        """Whether there is anything that the next commit has to say."""
        return bool(self._groups or self._pieces or self.records or self.grafts)

    @property
    def unused(self) -> bool:
        """Whether this writer has had nothing to do with images, so that there is nothing to say or to forget."""
        arrays = self._statistics or self._gists or self._pixels is not None  # without any, nothing is noted of nodes
        return not (arrays or self.records or self.grafts or self.unfinished is not None)

    @property
    def new_levels(self) -> bool:
        """Whether a gist set has new arrays for images."""
        return bool(self._gists) and any(family.added for family in self._gists.values())

    # Arrays

    def statistics(self, channels: int) -> Family:
        """The arrays of statistics of images with so many channels."""
        family = self._statistics.get(channels)
        if family is None:
            numbers = self._snapshot.gallery.statistics_arrays(channels)
            family = self._statistics[channels] = statistics_family(channels, numbers, self._chunk_bytes)
        return family

    def gists(self, number: int, record: GistSetRecord) -> Family:
        """The arrays of a gist set for images."""
        family = self._gists.get(number)
        if family is None:
            family = self._gists[number] = gist_family(record, self._chunk_bytes)
        return family

    def array(self, family: Family, level: int) -> int:
        """The array of a level, which is made if there is none."""
        self.make_arrays([family], level)
        return family.numbers[level]

    def make_arrays(self, families: Iterable[Family], level: int) -> None:
        """Make the arrays up to a level that there are not: many at once wait for the disk as long as one."""
        layouts = dict[int, ArrayLayout]()
        for family in families:
            while (above := len(family.numbers)) <= level:
                number = self._new_array()
                layouts[number] = family.added[number] = family.layout(above)
                family.numbers.append(number)
        if layouts:
            self._session.add_arrays(layouts)

    # Nodes

    def find(self, array: int, index: NDArray[np.int64]) -> Located:
        """What is known of nodes of a level."""
        return self._pages.find(array, index)

    def pages(self, array: int, first: int, stop: int) -> Any:
        """All pages that hold one of the nodes [first, stop) of a level, in order, a group at a time."""
        return self._pages.pages(array, first, stop)

    def rows(self, array: int, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Rows of a level, committed or about to be, the former compared with their checksums.

        Raises:
            CorruptError: one is not what was committed.
        """
        committed = self._snapshot.state(array).rows
        layout = self._session.array(array).layout
        found = np.empty((len(rows), *layout.row), layout.numpy)
        old = np.flatnonzero(rows < committed)
        if len(old):
            found[old] = intact_rows(self._snapshot, array, rows[old])
        starts = np.array([start for start, _ in self._recent.get(array, [])], np.int64)
        new = np.flatnonzero(rows >= committed)
        if len(new):
            which = np.searchsorted(starts, rows[new], side="right") - 1
            for part in distinct(which.astype(np.int64)).tolist():
                start, values = self._recent[array][part]
                mine = new[which == part]
                found[mine] = values[rows[mine] - start]
        return found

    def put(
        self,
        array: int,
        index: NDArray[np.int64],
        rows: NDArray[Any],
        gone: NDArray[np.int64] = _NONE,
        known: NDArray[np.bool_] | None = None,
        *,
        overview: NDArray[np.bool_] | None = None,
        sums: NDArray[np.uint32] | None = None,
    ) -> None:
        """Give nodes of a level new rows, and let others have none.

        Args:
            array: the level's array.
            index: `int64 [n]`, ascending: nodes that have rows from now on.
            rows: theirs, `[n, …]`.
            gone: `int64 [m]`, ascending, none of `index`: nodes that have none.
            known: which of these are known to have nothing; all of them if None.
            overview: `bool [n]`: which rows were made from an overview; none if None.
            sums: checksums of the rows, if they were made already.
        """
        empty = gone if known is None else gone[known]
        touched = distinct(np.concatenate([index, gone]) // NODES_PER_PAGE)
        pages = self._of(array, touched)
        fresh, left = masks(touched, index), masks(touched, gone)
        kept = pages["present"] & ~(fresh | left)
        every, values = index, rows
        follows = self._follows(array, pages, kept, index)
        if kept.any() and not follows:
            stay = set_bits(touched, kept)
            every = np.concatenate([index, stay])
            order = np.argsort(every)
            every, values = every[order], np.concatenate([rows, self.rows(array, self.find(array, stay).row)])[order]
            sums = None
        start = self._append(array, values, sums)
        pages["present"] = kept | fresh
        if not follows:
            counts = popcount(np.ascontiguousarray(pages["present"]))
            pages["row"] = np.where(counts > 0, start + np.cumsum(counts) - counts, 0)
        pages["empty"] = (pages["empty"] & ~(fresh | left)) | masks(touched, empty)
        pages["stale"] &= kept
        pages["overview"] &= kept
        if overview is not None:
            pages["overview"] |= masks(touched, index[overview])
        self._put_pages(array, pages)

    def slots(self, number: int, record: GistSetRecord) -> Slots:
        """The images of the timeline, those that are about to be grafted among them, as a gist set sees them."""
        new = np.array(self.grafts, GRAFT_DTYPE)
        grafts = np.concatenate([self._snapshot.gallery.places.grafts, new])
        gone = [document for document, state in self.records.items() if state is None]
        grafts = grafts[~np.isin(grafts["document"], np.array(gone, np.uint64))] if gone else grafts
        return slots(replace(record, images=tuple(self.gists(number, record).numbers)), grafts, self.find)

    def _follows(self, array: int, pages: NDArray[np.void], kept: NDArray[np.uint64], index: NDArray[np.int64]) -> bool:
        """Whether the rows of one page are the last of their array, and those to be added come behind them.

        Then nothing has to be written again: images that are small and come one after the other share pages.
        """
        if len(pages) != 1 or not kept[0] or kept[0] != pages["present"][0] or not len(index):
            return False
        last = int(kept[0]).bit_length() - 1
        end = int(pages["row"][0]) + int(kept[0]).bit_count()
        return bool(end == self._session.array(array).rows and index[0] % NODES_PER_PAGE > last)

    def mark_empty(self, array: int, index: NDArray[np.int64]) -> None:
        """Let some nodes of a level, ascending, which have no rows, be known to have nothing."""
        touched = distinct(index // NODES_PER_PAGE)
        pages = self._of(array, touched)
        pages["empty"] |= masks(touched, index) & ~pages["present"]
        self._put_pages(array, pages)

    def mark_stale(self, array: int, index: NDArray[np.int64]) -> None:
        """Let those of some nodes of a level that have rows be stale."""
        touched = distinct(index // NODES_PER_PAGE)
        pages = self._of(array, touched)
        pages["stale"] |= pages["present"] & masks(touched, index)
        self._put_pages(array, pages[pages["present"] != 0])

    def _of(self, array: int, numbers: NDArray[np.int64]) -> NDArray[np.void]:
        """Pages of a level by their numbers, ascending, blank where there were none."""
        pages = np.zeros(len(numbers), PAGE_DTYPE)
        pages["page"] = numbers
        groups = numbers * NODES_PER_PAGE // NODES_PER_GROUP
        for group in distinct(groups).tolist():
            known = self._pages.group(array, group)
            if len(known):
                mine = np.flatnonzero(groups == group)
                wanted = numbers[mine].astype(np.uint64)
                at = np.minimum(np.searchsorted(known["page"], wanted), len(known) - 1)
                hit = known["page"][at] == wanted
                pages[mine[hit]] = known[at[hit]]
        return pages

    def _put_pages(self, array: int, pages: NDArray[np.void]) -> None:
        groups = pages["page"].astype(np.int64) * NODES_PER_PAGE // NODES_PER_GROUP
        for group in distinct(groups).tolist():
            before = self._pages.group(array, group)
            more = pages[groups == group]
            self._note(self._groups, (array, group), _replaced(before, more, "page", more["page"]))

    def _append(self, array: int, values: NDArray[Any], sums: NDArray[np.uint32] | None) -> int:
        """Append rows; the number of the first."""
        start = self._session.array(array).rows
        self._session.append({array: values}, summed=True, sums={} if sums is None else {array: sums})
        self._recent.setdefault(array, []).append((start, values))
        return start

    # Pixels

    def keep(self, tiles: NDArray[np.int64], pieces: Sequence[bytes], gone: NDArray[np.int64] = _NONE) -> None:
        """Keep the compressed pixels of tiles, ascending, and those of others no longer."""
        array = self.array(self._heap(), 0)
        start = self._session.array(array).rows
        fresh = np.zeros(len(tiles), PIECE_DTYPE)
        sizes = np.array([len(piece) for piece in pieces], np.int64)
        fresh["tile"], fresh["start"] = tiles, start + np.cumsum(sizes) - sizes
        fresh["size"], fresh["sum"] = sizes, [crc32c(piece) for piece in pieces]
        self._session.append({array: np.frombuffer(b"".join(pieces), np.uint8)})
        touched = np.concatenate([tiles, gone])
        for group in distinct(touched // NODES_PER_PAGE).tolist():
            more = fresh[tiles // NODES_PER_PAGE == group]
            merged = _replaced(self.pieces(group), more, "tile", touched.astype(np.uint64))
            self._note(self._pieces, (array, group), merged)

    def pieces(self, group: int) -> NDArray[np.void]:
        """The kept pieces of a group of tiles."""
        family = self._heap()
        if not family.numbers:
            return np.empty(0, PIECE_DTYPE)
        found = self._pieces.get((family.numbers[0], group))
        return read_pieces(self._snapshot, family.numbers[0], group) if found is None else found

    def _heap(self) -> Family:
        if self._pixels is None:
            array = self._snapshot.gallery.pixels_array
            layout = pixels_layout(self._chunk_bytes)
            self._pixels = Family([] if array is None else [array], lambda _: layout)
        return self._pixels

    # The next commit

    def record(self, index: Writing) -> dict[int, tuple[int, ...]]:
        """Put all that is noted; the arrays of each gist set that has new ones for images."""
        for channels, family in self._statistics.items():
            if family.added:
                index.put_version(Table.SETTING, statistics_name(channels), statistics_setting(family.numbers))
        if self._pixels is not None and self._pixels.added:
            index.put_version(Table.SETTING, PIXELS, pixels_setting(self._pixels.numbers[0]))
        for family in self._families():
            for number, layout in family.added.items():
                index.put_version(Table.ARRAY, u32.pack(number), array_fact(layout))
        for table, groups in ((Table.PAGES, self._groups), (Table.PIECES, self._pieces)):
            for key, records in groups.items():
                index.put_version(table, group_key(*key), records.tobytes())
        for document, record in self.records.items():
            index.put_version(Table.IMAGE, u64.pack(document), b"" if record is None else record.encode())
        if self.unfinished is not None:
            index.put_version(Table.SETTING, UNFINISHED, unfinished_setting(self.unfinished))
        self._put_grafts(index)
        return {number: tuple(family.numbers) for number, family in self._gists.items() if family.added}

    def _put_grafts(self, index: Writing) -> None:
        page, offset = divmod(self._snapshot.record.grafts, GRAFTS_PER_PAGE)
        if not self.grafts:
            return
        before = (index.get(graft_page_key(page)) or b"")[: offset * GRAFT_DTYPE.itemsize]
        if len(before) != offset * GRAFT_DTYPE.itemsize:
            raise CorruptError(f"page {page} of graft records ends early; run `mctree verify`")
        payloads = before + np.array(self.grafts, GRAFT_DTYPE).tobytes()
        size = GRAFTS_PER_PAGE * GRAFT_DTYPE.itemsize
        for number, at in enumerate(range(0, len(payloads), size), page):
            index.put(graft_page_key(number), payloads[at : at + size])

    def committed(self) -> None:
        """Go on from the commit that was just made of it."""
        self._noted = None  # the snapshot is about to go on
        if self.unused:
            return
        for family in self._families():
            family.added.clear()
        self._forget()
        self.records.clear()
        self.grafts.clear()
        self.slots_changed.clear()
        self.unfinished = None

    def mark(self) -> None:
        """From here on what is noted can be taken back."""
        self._undo.clear()

    def take_back(self) -> None:
        """Take back what was noted since the last mark, or the last commit."""
        while self._undo:
            self._undo.pop()()

    def forget_set(self, number: int) -> None:
        """Append no more to a gist set, which the next commit ends."""
        family = self._gists.pop(number, None)
        if family is not None:
            for array in family.numbers:
                self._session.drop_array(array)
                for key in [key for key in self._groups if key[0] == array]:
                    del self._groups[key]

    def _forget(self) -> None:
        self._groups.clear()
        self._pieces.clear()
        self._recent.clear()
        self._undo.clear()

    @property
    def _pages(self) -> Noted:
        if self._noted is None:
            self._noted = Noted(self._snapshot, self._groups)
        return self._noted

    def _families(self) -> list[Family]:
        pixels = [] if self._pixels is None else [self._pixels]
        return [*self._statistics.values(), *self._gists.values(), *pixels]

    def _note(
        self, noted: dict[tuple[int, int], NDArray[np.void]], key: tuple[int, int], records: NDArray[np.void]
    ) -> None:
        before = noted.get(key)
        if before is None:
            self._undo.append(lambda: noted.pop(key, None))
        else:
            self._undo.append(lambda: noted.__setitem__(key, before))
        noted[key] = records


def _replaced(
    before: NDArray[np.void], more: NDArray[np.void], field: str, touched: NDArray[np.uint64]
) -> NDArray[np.void]:
    """Records ascending by a field, with others in place of those whose field is among `touched`."""
    if not len(before) or (len(touched) and before[field][-1] < touched.min()):
        return np.concatenate([before, more])
    merged = np.concatenate([before[~np.isin(before[field], touched)], more])
    return merged[np.argsort(merged[field], kind="stable")]
