"""Do all who read tiles, and all who read a sparse level, give what was stored, and is found out who does not?"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mctree.tree.images.writing import KEPT_PIXELS
from tests.tools.benching import TINY, bench
from tools.bench import contenders
from tools.bench.cases import pool, pyramid, tiles
from tools.bench.peers import About
from tools.bench.peers.caches import ChunkDictionary, FlatOfExisting
from tools.bench.peers.tiled_arrays import FlatTiles
from tools.bench.results import Line, Table
from tools.bench.sizes import FULL, QUICK, Sizes
from tools.bench.sparse import SparseLevel, make_level, requests
from tools.bench.targets import verdicts
from tools.bench.timing import Spread

STORES = {one.about.name: one for one in contenders.tile_stores(TINY)}
READERS = {one.about.name: one for one in contenders.sparse_readers(TINY)}
LEVELS = tiles.levels_of(pyramid.picture(TINY.image))


pytestmark = pytest.mark.filterwarnings("default")
"""What other people's libraries warn of is theirs to mend."""


@pytest.fixture(scope="module")
def level(tmp_path_factory: pytest.TempPathFactory) -> SparseLevel:
    return make_level(TINY, tmp_path_factory.mktemp("sparse"))


def test_names_are_unique() -> None:
    assert len(STORES) == len(contenders.tile_stores(TINY))
    assert len(READERS) == len(contenders.sparse_readers(TINY))


@pytest.mark.parametrize("name", STORES)
def test_every_store_gives_back_any_square_of_both_levels(name: str, tmp_path: Path) -> None:
    store = STORES[name]
    if store.about.absent:
        pytest.skip(store.about.absent)
    store.write(LEVELS, tmp_path)
    reader = store.open(tmp_path)

    @settings(max_examples=10, deadline=None)
    @given(st.data())
    def answers(draw: st.DataObject) -> None:
        number = draw.draw(st.integers(0, 1))
        image = LEVELS[number]
        side = draw.draw(st.integers(1, min(len(image), 300)))
        x, y = (draw.draw(st.integers(0, len(image) - side)) for _ in range(2))
        found = reader.read(number, x, y, side)
        assert found.tobytes() == image[y : y + side, x : x + side].tobytes()
        found[:] = 0  # it is the caller's own: the next answer is none the worse for it

    try:
        answers()
    finally:
        reader.close()


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_a_coarser_level_is_the_rounded_mean_of_squares(rows: int, columns: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (rows * 16, columns * 16, 3), dtype=np.uint8)
    fine, coarse = tiles.levels_of(pixels)
    assert fine is pixels
    for row, column in itertools.product(range(rows), range(columns)):
        square = pixels[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16].reshape(-1, 3)
        assert np.abs(coarse[row, column] - square.astype(float).mean(axis=0)).max() <= 0.5


class OddTiles(FlatTiles):
    """A store that is absent, or wrong in one pixel in one corner of one level."""

    def __init__(self, how: str) -> None:
        super().__init__(TINY)
        self.how = how
        requires = ("no_such_library",) if how == "absent" else ()
        self.about = About(f"an odd one, {how}", "array store", requires=requires)

    def write(self, levels: Sequence[np.ndarray[Any, Any]], folder: Path) -> None:
        changed = [level.copy() for level in levels]
        if self.how in {"0", "1"}:
            changed[int(self.how)][-1, -1, -1] ^= 1
        super().write(changed, folder)


def test_wrong_tiles_are_found_out_and_nobody_is_dropped(tmp_path: Path) -> None:
    odd = [OddTiles(how) for how in ("absent", "0", "1", "well")]
    found = tiles.run(bench(tmp_path), (FlatTiles(TINY), *odd))
    assert [table.name for table in found] == ["tiles", "tiles/coarse"]
    for table in found:
        states = {line.contender: (line.state, line.note) for line in table.lines}
        assert table.lines[0].contender == table.limit
        assert states["an odd one, absent"] == ("absent", "not installed: no_such_library")
        assert states["an odd one, well"][0] == "measured"
        for how in ("0", "1"):
            state, note = states[f"an odd one, {how}"]
            assert state == "failed"
            assert "other values" in note
    (well,) = (line for line in found[0].lines if line.contender == "an odd one, well")
    assert well.extra[1] * 1e6 >= sum(one.nbytes for one in LEVELS)
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("sizes", [FULL, QUICK, TINY], ids=lambda one: one.name)
def test_a_window_and_the_gaps_behind_it_find_room_and_the_level_does_not(sizes: Sizes) -> None:
    numbers = np.arange(sizes.sparse_chunks)
    chunks = numbers // 8 * 256 + numbers % 8
    one = SparseLevel(Path(), int(chunks.max() // 256 + 1) * 256 * 8, 1, 8, chunks, sizes.slots, Path())
    seen: set[int] = set()
    for rows in itertools.islice(requests(one, sizes.gathered), len(chunks)):
        asked = set((rows // one.chunk_rows).tolist())
        assert 0 <= rows.min() <= rows.max() < one.rows
        assert len(asked) <= sizes.slots
        seen |= asked & set(chunks.tolist())
    assert seen == set(chunks.tolist())
    assert len(chunks) >= 4 * sizes.slots
    assert len(chunks) * 32 <= one.rows // one.chunk_rows


def test_requests_ask_for_some_rows_that_do_not_exist(level: SparseLevel) -> None:
    rows = np.concatenate(list(itertools.islice(requests(level, 1000), 20)))
    missed = ~np.isin(rows // level.chunk_rows, level.chunks)
    assert 0.04 < missed.mean() < 0.09


@pytest.mark.parametrize("name", READERS)
def test_every_reader_gives_back_any_rows(name: str, level: SparseLevel) -> None:
    reader = READERS[name]
    if reader.about.absent:
        pytest.skip(reader.about.absent)
    dense, places = level.dense(), level.places()
    beside = np.concatenate([level.chunks, level.chunks + 8])
    reader.open(level)

    @settings(max_examples=10, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(beside.tolist()), st.integers(0, level.chunk_rows - 1)), min_size=1))
    def answers(asked: list[tuple[int, int]]) -> None:
        out = np.full((len(asked), level.dim), np.nan, np.float16)
        reader.gather(np.array([chunk * level.chunk_rows + row for chunk, row in asked]), out)
        for (chunk, row), found in zip(asked, out, strict=True):
            there = dense[places[chunk] * level.chunk_rows + row]
            assert found.tobytes() == (there.tobytes() if chunk in level.chunks else bytes(2 * level.dim))

    try:
        answers()
    finally:
        reader.close()


def test_the_dictionary_holds_no_more_chunks_than_find_room(level: SparseLevel) -> None:
    reader = ChunkDictionary(TINY)
    reader.open(level)
    out = np.empty((64, level.dim), np.float16)
    for rows in itertools.islice(requests(level, 64), 3 * level.slots):
        reader.gather(rows, out)
        assert len(reader._chunks) <= level.slots
    assert len(reader._chunks) == level.slots
    reader.close()


def test_a_reader_that_confuses_chunks_after_a_while_is_found_out(tmp_path: Path) -> None:
    class Confused(ChunkDictionary):
        """Gives the place of a chunk to another one without noting it."""

        def __init__(self) -> None:
            super().__init__(TINY)
            self.about = About("confused", "by hand")

        def _chunk(self, chunk: int) -> np.ndarray[Any, Any]:
            if len(self._chunks) == self._level.slots and chunk not in self._chunks:
                return next(iter(self._chunks.values()))
            return super()._chunk(chunk)

    table = pool.run(bench(tmp_path), (FlatOfExisting(TINY), Confused(), ChunkDictionary(TINY)))
    states = {line.contender: line.state for line in table.lines}
    assert states == {pool.LIMIT: "measured", "confused": "failed", "dictionary of chunks": "measured"}
    assert table.lines[0].contender == pool.LIMIT
    assert not list((tmp_path / "scratch").iterdir())


@given(ours=st.floats(0.1, 100), best=st.floats(0.1, 100), worse=st.floats(0, 100))
def test_the_pool_is_held_against_the_best_cache(ours: float, best: float, worse: float) -> None:
    def line(name: str, kind: str, ratio: float) -> Line:
        return Line(name, kind, "measured", Spread(1.0, 1.0, 1.0, 1), Spread(ratio, ratio, ratio, 1))

    lines = (
        line(pool.LIMIT, "the limit", 1.0),
        line("mctree", "ours", ours),
        line("mctree, all mapped", "ours", 0.01),
        line("A", "by hand", best + worse),
        line("B", "array store", best),
    )
    found = {one.target: one.met for one in verdicts([Table(pool.NAME, "", "", "ms", pool.LIMIT, lines)])}
    key = "Gathers through a pool of slots faster than from any cache of chunks"
    assert found[key] == (best / ours > 1)
    assert dataclasses.asdict(TINY)["slots"] < TINY.sparse_chunks


@pytest.mark.parametrize(
    ("middle", "largest", "met"), [(140.0, 90.0, True), (160.0, 90.0, False), (90.0, 160.0, False)]
)
def test_the_memory_that_a_vast_image_takes_is_held_against_that_of_a_small_one(
    middle: float, largest: float, met: bool
) -> None:
    even = Spread(1.0, 1.0, 1.0, 1)
    lines = tuple(
        Line(name, "ours", "measured", even, even, (peak, 1.0))
        for name, peak in (("2^14", 100.0), ("2^20", middle), ("2^30", largest))
    )
    tables = [
        Table(f"vast/{way}", "", "", "s", "2^14", lines, ("MiB at the peak", "other")) for way in ("pixels", "coarse")
    ]
    found = {one.target: one.met for one in verdicts(tables) if "Memory for an image" in one.target}
    assert list(found.values()) == [met, met]


@pytest.mark.parametrize(("many", "met"), [(60.0, True), (65.0, False)])
def test_what_two_processes_do_is_held_against_one_core_by_their_times(many: float, met: bool) -> None:
    """Found by use: by their ratios to a copy, which takes a hundredth of either, the same run said 1.3 and 1.7."""

    def line(name: str, value: float) -> Line:
        return Line(name, "ours", "measured", Spread(value, value, value, 1), Spread(300.0, 300.0, 300.0, 1))

    lines = (line("mctree, two processes", many), line("mctree, one core", 100.0))
    found = {one.target: one.met for one in verdicts([Table(pyramid.LARGE, "", "", "ms", "a copy", lines)])}
    assert [said for target, said in found.items() if "too large" in target] == [met]


def test_the_larger_image_is_one_whose_pixels_no_store_keeps_unasked() -> None:
    assert FULL.large_image**2 > KEPT_PIXELS and all(one.large_image % 512 == 0 for one in (FULL, QUICK, TINY))
