"""Pages, kept pixels, and a tree of images under whatever is done to it, compared with dictionaries and arrays."""

from __future__ import annotations

import zlib
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from numpy.typing import NDArray

import mctree
from mctree.errors import CorruptError, UsageError
from mctree.format.images import (
    GRAFT_DTYPE,
    PAGE_DTYPE,
    PIECE_DTYPE,
    ImageRecord,
    decode_grafts,
    decode_pages,
    decode_pieces,
)
from mctree.format.keys import Table, u32
from mctree.format.pixels import pack_pixels, unpack_pixels
from mctree.format.values import frame
from mctree.sources.images import ArraySource, Box
from mctree.testing import assert_whole, scratch
from mctree.testing.toys import ToySight
from mctree.tree import Snapshot
from tools.crash.confined import REFUSED, confined

SMALL = 1 << 16
NODES = st.sets(st.integers(0, 400) | st.integers(4000, 4200) | st.integers(1 << 40, (1 << 40) + 80), max_size=30)


class Pages(RuleBasedStateMachine):
    """Rows of one level that come, change and go, beside a dictionary."""

    @initialize()
    def begin(self) -> None:
        self.stack = ExitStack()
        folder = self.stack.enter_context(scratch())
        self.tree = self.stack.enter_context(mctree.create(f"{folder}/t.mctree", chunk_bytes=SMALL))
        self.writer = self.tree.writer()
        book = self.writer.next.painter.book
        self.array = book.array(book.statistics(1), 0)
        self.rows: dict[int, float] = {}
        self.empty: set[int] = set()
        self.stale: set[int] = set()
        self.count = 0.0
        self.held: list[tuple[Snapshot, dict[int, float]]] = []

    @rule(nodes=NODES, gone=NODES)
    def put(self, nodes: set[int], gone: set[int]) -> None:
        index, left = sorted(nodes), sorted(gone - nodes)
        values = self.count + np.arange(3.0 * len(index)).reshape(-1, 3)
        self.count += 3 * len(index)
        book = self.writer.next.painter.book
        book.put(self.array, np.array(index, np.int64), values, np.array(left, np.int64))
        self.rows = {node: row for node, row in self.rows.items() if node not in gone - nodes}
        self.rows |= dict(zip(index, values[:, 0].tolist(), strict=True))
        self.empty = (self.empty | set(left)) - nodes
        self.stale -= nodes | gone
        self.compare()

    @rule(nodes=NODES)
    def change_and_take_back(self, nodes: set[int]) -> None:
        book = self.writer.next.painter.book
        book.mark()
        index = np.array(sorted(nodes), np.int64)
        book.put(self.array, index, np.zeros((len(index), 3)))
        book.mark_stale(self.array, index)
        book.take_back()
        self.compare()

    @rule(nodes=NODES)
    def grow_stale(self, nodes: set[int]) -> None:
        self.writer.next.painter.book.mark_stale(self.array, np.array(sorted(nodes), np.int64))
        self.stale |= nodes & self.rows.keys()
        self.compare()

    @rule()
    def commit(self) -> None:
        self.writer.commit()
        self.compare()
        self.held.append((self.tree.snapshot(), dict(self.rows)))

    def compare(self) -> None:
        every = np.array(sorted({*self.rows, *self.empty, 5, 4100, 1 << 50}), np.int64)
        book = self.writer.next.painter.book
        found = book.find(self.array, every)
        assert (
            dict(zip(every[found.present].tolist(), book.rows(self.array, found.row[found.present])[:, 0], strict=True))
            == self.rows
        )
        assert set(every[found.empty].tolist()) == self.empty
        assert set(every[found.stale].tolist()) == self.stale
        named = [int(page) for pages in book.pages(self.array, 0, 1 << 52) for page in pages["page"]]
        assert named == sorted(set(named)) and {node // 64 for node in self.rows} <= set(named)

    def teardown(self) -> None:
        for snapshot, rows in getattr(self, "held", []):
            every = np.array(sorted(rows), np.int64)
            if snapshot.gallery.statistics_arrays(1):
                found = snapshot.gallery.pages.find(self.array, every)
                assert snapshot.rows(self.array).gather(found.row)[:, 0].tolist() == [
                    rows[node] for node in every.tolist()
                ]
            snapshot.close()
        if hasattr(self, "stack"):
            self.writer.close()
            self.stack.close()


class Images(RuleBasedStateMachine):
    """A tree of images, beside arrays."""

    @initialize(sets=st.booleans())
    def begin(self, sets: bool) -> None:
        self.stack = ExitStack()
        self.path = f"{self.stack.enter_context(scratch())}/t.mctree"
        self.tree = mctree.create(self.path, chunk_bytes=SMALL, encoders=[ToySight()])
        if sets:
            self.tree.build_gists(ToySight(), "sight")
        self.images: dict[str, NDArray[Any]] = {}
        self.held: list[tuple[Snapshot, dict[str, NDArray[Any]]]] = []
        self.seed = 0

    @rule(
        name=st.sampled_from("abc"),
        height=st.integers(1, 150),
        width=st.integers(1, 280),
        text=st.booleans(),
        own=st.booleans(),
    )
    def add(self, name: str, height: int, width: int, text: bool, own: bool) -> None:
        values = self.pixels(height, width)
        with self.tree.writer() as writer:
            if text:
                writer.add(f"text {self.seed}", b"x" * (self.seed % 90))
            if name in self.images and own:
                with pytest.raises(UsageError):
                    writer.add_image(name, values)
                return
            writer.add_image(name, values, replace=True)
        self.images[name] = values

    @precondition(lambda self: self.images)
    @rule(data=st.data(), commits=st.booleans())
    def change(self, data: st.DataObject, commits: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.images)))
        values = self.images[name].copy()
        height, width = values.shape[:2]
        x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
        region = Box(x, y, data.draw(st.integers(x + 1, width)), data.draw(st.integers(y + 1, height)))
        values[region.slices] = self.pixels(region.height, region.width)
        with closing(self.tree.writer()) as writer:
            writer.change_image(name, values[region.slices], region)
            if commits:
                writer.commit()
                self.images[name] = values

    @precondition(lambda self: self.images)
    @rule(data=st.data(), compact=st.booleans())
    def remove(self, data: st.DataObject, compact: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.images)))
        with self.tree.writer() as writer:
            writer.remove(name)
        del self.images[name]
        if compact:
            self.tree.compact()
        self.compare()

    @rule()
    def hold(self) -> None:
        self.held.append((self.tree.snapshot(), dict(self.images)))
        self.compare()

    def pixels(self, height: int, width: int) -> NDArray[Any]:
        self.seed += 1
        return np.random.default_rng(self.seed).integers(0, 256, (height, width, 3)).astype(np.uint8)

    def compare(self) -> None:
        for snapshot, images in [*self.held, (self.tree.snapshot(), self.images)]:
            assert sorted(image.name for image in snapshot.images()) == sorted(images)
            for name, values in images.items():
                image = snapshot.image(name)
                assert np.array_equal(image.pixels().values, values)
                assert (
                    image.colour(image.root).mean[0, 0].tolist()
                    == (values.reshape(-1, 3).sum(axis=0, dtype=np.int64) / (values.size // 3)).tolist()
                )
                tiles = image.colour(1).mean
                assert (
                    tiles[-1, -1].tolist()
                    == values[(len(tiles) - 1) * 128 :, (tiles.shape[1] - 1) * 128 :]
                    .reshape(-1, 3)
                    .mean(axis=0)
                    .tolist()
                )

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.compare()
            assert_whole(self.tree)
            for snapshot, _ in self.held:
                snapshot.close()
            self.tree.close()
            self.stack.close()


SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
TestPages, TestImages = Pages.TestCase, Images.TestCase
TestPages.settings = settings(max_examples=15, stateful_step_count=10, deadline=None, suppress_health_check=SLOW)
TestImages.settings = settings(max_examples=8, stateful_step_count=7, deadline=None, suppress_health_check=SLOW)


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40) | st.integers(120, 130), st.integers(1, 4)),
    dtype=st.sampled_from(["uint8", "uint16"]),
    seed=st.integers(0, 99),
    holes=st.booleans(),
)
def test_kept_pixels_come_back_and_nothing_else_does(
    shape: tuple[int, int, int], dtype: str, seed: int, holes: bool
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
    mask = rng.random(shape[:2]) < (0.5 if holes else 2)
    values[~mask] = 0
    packed = pack_pixels(values, mask)
    found, real = unpack_pixels(packed, shape, np.dtype(dtype))
    assert np.array_equal(found, values) and np.array_equal(real, mask)
    for wrong in (packed[:-1], packed[:-1] + bytes([packed[-1] ^ 1]), b"", packed[1:]):
        with pytest.raises(CorruptError):
            unpack_pixels(wrong, shape, np.dtype(dtype))
    with pytest.raises(CorruptError):
        unpack_pixels(packed, (shape[0] + 9, shape[1] + 9, shape[2]), np.dtype(dtype))


def test_a_bomb_is_no_piece() -> None:
    with pytest.raises(CorruptError, match="not as many"):
        unpack_pixels(zlib.compress(bytes(1 << 28)), (128, 128, 3), np.dtype(np.uint8))


@given(data=st.binary(max_size=200), group=st.integers(0, 3))
def test_records_of_a_stranger_are_refused_or_sound(data: bytes, group: int) -> None:
    for decode, dtype in (
        (lambda d: decode_pages(d, group), PAGE_DTYPE),
        (lambda d: decode_pieces(d, group), PIECE_DTYPE),
        (decode_grafts, GRAFT_DTYPE),
    ):
        padded = data[: len(data) // dtype.itemsize * dtype.itemsize]
        for payload in (data, padded):
            try:
                found = decode(payload)
            except CorruptError:
                continue
            assert found.dtype == dtype and len(found) == len(payload) // dtype.itemsize


@pytest.mark.parametrize("level", [28, 255, 1 << 31, (1 << 64) - 1])
def test_a_level_that_no_image_has_is_refused_at_once(level: int) -> None:
    """Found while faults were planted: four was raised to whatever level the record of an image named."""
    whole = ImageRecord("file:///a.png", "", 20, 130, 1, "uint8", 1, 0, 2, True, (0, 0, 130, 20))
    assert ImageRecord.decode(whole.encode()) == whole
    forged = replace(whole, level=level).encode()
    assert confined(partial(ImageRecord.decode, forged), seconds=5) == REFUSED


@pytest.mark.damages
@pytest.mark.parametrize("beyond", [0, 1, 1 << 40])
def test_a_page_that_names_rows_which_are_not_there_is_refused_by_a_writer(tmp_path: Path, beyond: int) -> None:
    """Found by forging records: such rows were taken for those that the writer was about to append."""
    path = tmp_path / "t.mctree"
    values = np.arange(20 * 130, dtype=np.uint32).astype(np.uint8).reshape(20, 130, 1)
    with mctree.create(path, chunk_bytes=SMALL) as tree:
        with tree.writer() as writer:
            writer.add_image("a", values)
        with tree.snapshot() as snapshot:
            rows = {array: snapshot.state(array).rows for array in snapshot.gallery.statistics_arrays(1)}
    with lmdb.open(f"{path}/index.lmdb", map_size=1 << 24) as index, index.begin(write=True) as txn:
        for key, value in list(txn.cursor()):
            if key[:1] == Table.PAGES:
                pages = np.frombuffer(value[4:], PAGE_DTYPE).copy()
                pages["row"] = rows[u32.unpack(key[1:5])[0]] + beyond
                txn.put(key, frame(key, pages.tobytes()))
    with mctree.open(path) as tree, tree.writer() as writer:
        with pytest.raises(CorruptError, match=r"name rows that images/statistics1/lod\d does not have"):
            writer.change_image("a", values[:4, :4] + np.uint8(1), Box(0, 0, 4, 4))
        writer.add("text", b"goes on")


def test_a_source_may_be_masked_all_over_a_block() -> None:
    with scratch() as folder, mctree.create(f"{folder}/t.mctree", chunk_bytes=SMALL) as tree:
        mask = np.zeros((1100, 2100), np.bool_)
        mask[1050:, 2090:] = True
        with tree.writer() as writer:
            writer.add_image("corner", ArraySource(np.full((1100, 2100), 9, np.uint8), mask))
        with tree.snapshot() as snapshot:
            image = snapshot.image("corner")
            assert image.colour(image.root).pixels[0, 0] == 500
            assert image.colour(1).mask.sum() == 1
