"""Are the data, the requests and every contender's answers what they should be?"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.tools.benching import TINY, bench
from tools.bench import contenders
from tools.bench.cases import pyramid
from tools.bench.data import Data, Plans, expand, make
from tools.bench.errors import CallError, WrongValuesError
from tools.bench.peers import About
from tools.bench.peers.columns import windows_of_records
from tools.bench.peers.megatron import read_index, write_index
from tools.bench.peers.shrinking import Copy, NumpyMeans
from tools.bench.sizes import FULL, QUICK, Sizes

STORES = {peer.about.name: peer for peer in contenders.stores(TINY)}
APPENDERS = {one.about.name: one for one in contenders.appenders(TINY)}


pytestmark = pytest.mark.filterwarnings("default")
"""What other people's libraries warn of is theirs to mend."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return make(TINY, tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("sizes", [FULL, QUICK, TINY], ids=lambda one: one.name)
def test_sizes_survive_json(sizes: Sizes) -> None:
    assert Sizes.from_dict(json.loads(json.dumps(sizes.as_dict()))) == sizes


def test_both_forms_gather_over_at_least_fifty_chunks() -> None:
    assert FULL.rows // FULL.chunk_rows >= 50
    assert QUICK.rows // QUICK.chunk_rows >= 50
    assert (FULL.gathered, FULL.window) == (1024, 2048)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CallError, match="multiple of window"):
        dataclasses.replace(QUICK, window=1000)


def test_the_data_are_the_same_each_time(data: Data, tmp_path: Path) -> None:
    again = make(TINY, tmp_path)
    assert again.gists.tobytes() == data.gists.tobytes()
    assert again.tokens.tobytes() == data.tokens.tobytes()
    assert np.isfinite(data.gists).all()
    assert len(np.unique(data.tokens)) > TINY.tokens // 2


def test_requests_lie_inside_the_data() -> None:
    plans = Plans.draw(TINY)
    assert 0 <= plans.rows.min() <= plans.rows.max() < TINY.rows
    assert not (plans.runs % TINY.run_length).any()
    assert plans.runs.max() + TINY.run_length <= TINY.rows
    assert 0 <= plans.windows.min() <= plans.windows.max() <= TINY.tokens - TINY.window


@given(
    starts=arrays.arrays(np.int64, st.integers(1, 9), elements=st.integers(0, 999)),
    length=st.integers(1, 40),
)
def test_windows_are_where_their_records_say(starts: np.ndarray[Any, Any], length: int) -> None:
    held = np.arange((1000 // length + 3) * length, dtype=np.uint32).reshape(-1, length)
    out = np.zeros((len(starts), length), np.uint32)
    records, places = windows_of_records(starts, out)
    flat = held[records].reshape(-1)
    for k, start, stop in places:
        assert flat[start:stop].tolist() == list(range(starts[k], starts[k] + length))


@given(lengths=arrays.arrays(np.int32, st.integers(1, 50), elements=st.integers(0, 2**31 - 1)))
def test_a_megatron_index_gives_back_where_documents_lie(
    lengths: np.ndarray[Any, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("megatron") / "tokens.idx"
    write_index(path, lengths)
    found, offsets = read_index(path)
    assert found.tolist() == lengths.tolist()
    assert offsets.tolist() == [4 * sum(lengths[:k].tolist()) for k in range(len(lengths))]
    assert path.stat().st_size == 34 + len(lengths) * 12 + (len(lengths) + 1) * 8


def test_what_is_no_megatron_index_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.idx"
    path.write_bytes(bytes(100))
    with pytest.raises(WrongValuesError):
        read_index(path)


@pytest.mark.parametrize("name", STORES)
def test_every_store_gives_back_what_was_stored(name: str, data: Data, tmp_path: Path) -> None:
    peer = STORES[name]
    if peer.about.absent:
        pytest.skip(peer.about.absent)
    peer.write(data, tmp_path)
    reader = peer.open(tmp_path)

    @settings(max_examples=10, deadline=None)
    @given(st.data())
    def answers(draw: st.DataObject) -> None:
        if "gather" in peer.about.reads:
            some = st.lists(st.integers(0, TINY.rows - 1), min_size=1, max_size=40)
            rows = np.asarray(draw.draw(some), np.int64)
            out = np.zeros((len(rows), TINY.dim), np.float16)
            reader.gather(rows, out)
            assert out.tobytes() == data.gists[rows].tobytes()
        if "runs" in peer.about.reads:
            some = st.lists(st.integers(0, TINY.rows // 32 - 1), min_size=1, max_size=9)
            starts = np.asarray(draw.draw(some), np.int64) * 32
            out = np.zeros((len(starts) * 32, TINY.dim), np.float16)
            reader.runs(starts, 32, out)
            assert out.tobytes() == data.gists[expand(starts, 32)].tobytes()
        some = st.lists(st.integers(0, TINY.tokens - TINY.window), min_size=1, max_size=5)
        starts = np.asarray(draw.draw(some), np.int64)
        windows = np.zeros((len(starts), TINY.window), np.uint32)
        reader.windows(starts, windows)
        assert windows.tobytes() == np.stack([data.tokens[k : k + TINY.window] for k in starts]).tobytes()

    try:
        answers()
        if "scan" in peer.about.reads:
            piece = np.zeros((96, TINY.dim), np.float16)
            assert b"".join(piece[:n].tobytes() for n in reader.scan(piece)) == data.gists.tobytes()
    finally:
        reader.close()


@pytest.mark.parametrize("name", APPENDERS)
def test_every_appender_keeps_what_was_appended(name: str, tmp_path: Path) -> None:
    appender = APPENDERS[name]
    if appender.about.absent:
        pytest.skip(appender.about.absent)
    pieces = np.random.default_rng(0).integers(0, 1 << 15, (TINY.append_calls, TINY.piece), dtype=np.uint16)
    appender.create(tmp_path)
    try:
        for piece in pieces:
            appender.append(piece)
    finally:
        appender.close()
    assert appender.read(tmp_path).tolist() == pieces.reshape(-1).tolist()


def test_names_of_contenders_are_unique() -> None:
    for some in (
        contenders.stores(TINY),
        contenders.appenders(TINY),
        contenders.ingesters(TINY),
        contenders.growers(TINY),
        contenders.pyramid_makers(TINY),
        contenders.large_pyramid_makers(TINY),
    ):
        names = [one.about.name for one in some]
        assert len(set(names)) == len(names)


MAKERS = {one.about.name: one for one in contenders.pyramid_makers(TINY)}


@pytest.mark.parametrize("name", MAKERS)
def test_every_maker_of_pyramids_finds_the_means_of_squares(name: str, tmp_path: Path) -> None:
    maker = MAKERS[name]
    if maker.about.absent:
        pytest.skip(maker.about.absent)
    pixels = pyramid.picture(256)
    maker.take(pixels, tmp_path)
    maker.make()
    squares = pixels.reshape(2, 128, 2, 128, 3).mean(axis=(1, 3))
    assert np.allclose(maker.means(), squares, rtol=0, atol=maker.tolerance)


def test_a_maker_of_wrong_means_is_found_out(tmp_path: Path) -> None:
    class Dark(NumpyMeans):
        about = About("dark", "by hand")

        def means(self) -> np.ndarray[Any, Any]:
            return super().means() - 1

    table, *_ = pyramid.run(bench(tmp_path), (Copy(TINY), Dark(TINY)), ())
    line = table.line("dark")
    assert line is not None
    assert line.state == "failed"
    assert "other means" in line.note
