"""Does the benchmark measure what it says, name everybody, and refuse wrong values?"""

from __future__ import annotations

import dataclasses
import json
import platform
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tools.bench import contenders, reading, runs
from tools.bench.__main__ import main
from tools.bench.bench import Bench, reason
from tools.bench.cases import append
from tools.bench.data import Data, Plans, expand, make
from tools.bench.errors import CallError, ContenderFailed, WrongValuesError
from tools.bench.peers.columns import windows_of_records
from tools.bench.peers.flat import ByHand, FlatMemmap, FlatReader
from tools.bench.peers.megatron import read_index, write_index
from tools.bench.peers.protocol import About, Appender, Peer
from tools.bench.report import to_markdown
from tools.bench.results import Line, Table, to_json
from tools.bench.sizes import FULL, QUICK, Sizes
from tools.bench.targets import verdicts
from tools.bench.timing import Pace, Spread, race, ratios, values

TINY = dataclasses.replace(
    QUICK,
    name="tiny",
    rows=512,
    dim=8,
    chunk_rows=64,
    small_rows=32,
    scan_rows=128,
    tokens=1 << 15,
    chunk_tokens=1 << 13,
    small_tokens=1 << 11,
    gathered=16,
    runs=4,
    windows=2,
    append_calls=12,
    rounds=2,
    turn_s=0.0,
    budget_s=0.0,
)

STORES = {peer.about.name: peer for peer in contenders.stores(TINY)}
APPENDERS = {one.about.name: one for one in contenders.appenders(TINY)}


@pytest.fixture(autouse=True)
def _peers_may_warn() -> Iterator[None]:
    """What other people's libraries warn of is theirs to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return make(TINY, tmp_path_factory.mktemp("data"))


def bench(tmp_path: Path, *wanted: str) -> Bench:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return Bench(TINY, folder, lambda line: None, wanted)


class Clock:
    """Time that passes only when a contender says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def lasting(self, seconds: Callable[[int], float]) -> Callable[[int], None]:
        def call(number: int) -> None:
            self.now += seconds(number)

        return call


# --- timing ---------------------------------------------------------------------------------------------------------


@given(
    times=st.lists(st.floats(1e-4, 10.0), min_size=1, max_size=5),
    rounds=st.integers(1, 12),
    turn_s=st.floats(0, 1),
)
def test_a_race_finds_the_times_and_ratios_of_steady_contenders(times: list[float], rounds: int, turn_s: float) -> None:
    clock = Clock()
    calls = {str(k): clock.lasting(lambda number, t=t: t) for k, t in enumerate(times)}
    found = race(calls, Pace(rounds, 1, turn_s, 1e9), clock)
    assert len(found) == rounds
    for k, expected in enumerate(times):
        assert values(found, str(k)) == pytest.approx([expected] * rounds, rel=1e-6)
        assert ratios(found, str(k), "0") == pytest.approx([expected / times[0]] * rounds, rel=1e-6)


@given(slow=st.lists(st.booleans(), min_size=3, max_size=9))
def test_ratios_do_not_see_what_slows_a_whole_round(slow: list[bool]) -> None:
    clock = Clock()
    turn = [0]
    factors = [1.0, 1.0, *(7.0 if one else 1.0 for one in slow)]

    def of(seconds: float) -> Callable[[int], None]:
        def call(number: int) -> None:
            turn[0] += 1
            clock.now += seconds * factors[(turn[0] - 1) // 2]

        return call

    found = race({"limit": of(1.0), "other": of(3.0)}, Pace(len(slow), 1, 0.0, 1e9), clock)
    assert ratios(found, "other", "limit") == pytest.approx([3.0] * len(slow))


@given(entrants=st.integers(1, 5), rounds=st.integers(1, 10))
def test_everybody_has_one_turn_a_round_and_every_place_in_turn(entrants: int, rounds: int) -> None:
    order: list[str] = []

    def of(name: str) -> Callable[[int], None]:
        return lambda number: order.append(name)

    names = [str(k) for k in range(entrants)]
    race({name: of(name) for name in names}, Pace(rounds, rounds, 0.0, 0.0), Clock())
    played = order[2 * entrants :]
    by_round = [played[k * entrants : (k + 1) * entrants] for k in range(rounds)]
    assert all(sorted(one) == names for one in by_round)
    if rounds >= entrants:
        assert {one[0] for one in by_round} == set(names)


@given(most=st.integers(2, 60), turn_s=st.floats(0, 20))
def test_no_contender_makes_more_calls_than_it_may_beyond_its_first_turn(most: int, turn_s: float) -> None:
    clock = Clock()
    made = [0]

    def call(number: int) -> None:
        made[0] += 1
        clock.now += 1.0

    race({"one": call}, Pace(1000, 1, turn_s, 1e9, most), clock)
    assert made[0] <= max(most, 2 + int(turn_s) + 2)


def test_a_race_ends_with_its_budget_but_not_before_its_fewest_rounds() -> None:
    clock = Clock()
    call = clock.lasting(lambda number: 1.0)
    assert len(race({"one": call}, Pace(100, 4, 0.0, 2.0), clock)) == 4
    assert len(race({"one": call}, Pace(100, 1, 0.0, 10.5), clock)) == 11


def test_who_raises_in_a_race_is_named() -> None:
    def bad(number: int) -> None:
        raise OSError("broken")

    with pytest.raises(ContenderFailed) as caught:
        race({"good": lambda number: None, "bad": bad}, Pace(1, 1, 0.0, 1.0))
    assert caught.value.name == "bad"
    assert isinstance(caught.value.__cause__, OSError)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=40))
def test_a_spread_is_in_order_and_within_its_numbers(numbers: list[float]) -> None:
    spread = Spread.of(numbers)
    slack = 1e-9 * max(numbers)
    assert min(numbers) - slack <= spread.q1 <= spread.median + slack
    assert spread.median <= spread.q3 + slack <= max(numbers) + 2 * slack
    assert spread.count == len(numbers)


# --- sizes and data -------------------------------------------------------------------------------------------------


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


# --- stores ---------------------------------------------------------------------------------------------------------


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
    ):
        names = [one.about.name for one in some]
        assert len(set(names)) == len(names)


# --- runs -----------------------------------------------------------------------------------------------------------


class Forgetful(FlatReader):
    """Gives a wrong value in every gather."""

    def gather(self, rows: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        super().gather(rows, out)
        out[-1, -1] += np.float16(1)


class Odd(FlatMemmap):
    """A store that is absent, wrong, or broken."""

    def __init__(self, how: str) -> None:
        super().__init__(TINY)
        self.how = how
        requires = ("no_such_library",) if how == "absent" else ()
        self.about = About(f"an odd one, {how}", "array store", requires=requires)

    def write(self, data: Data, folder: Path) -> None:
        if self.how == "broken":
            raise OSError(f"no room in {folder}")
        super().write(data, folder)

    def open(self, folder: Path) -> FlatReader:
        reader = super().open(folder)
        if self.how == "wrong":
            return Forgetful(reader._gists, reader._tokens)
        if self.how == "late":
            calls = [0]

            def gather(rows: Any, out: Any) -> None:
                calls[0] += 1
                if calls[0] > 5:
                    raise OSError("it went away")
                FlatReader.gather(reader, rows, out)

            reader.gather = gather
        return reader


def gathered(tmp_path: Path, odd: Peer) -> Table:
    flat = FlatMemmap(TINY)
    (table,) = reading.run(bench(tmp_path), ["gather"], False, [flat], [flat, odd])
    return table


@pytest.mark.parametrize(
    ("how", "state", "words"),
    [
        ("absent", "absent", "not installed: no_such_library"),
        ("wrong", "failed", "other values"),
        ("broken", "failed", "no room in …"),
        ("late", "failed", "it went away"),
        ("well", "measured", ""),
    ],
)
def test_no_contender_is_dropped(tmp_path: Path, how: str, state: str, words: str) -> None:
    table = gathered(tmp_path, Odd(how))
    line = table.line(f"an odd one, {how}")
    assert line is not None
    assert line.state == state
    assert words in line.note
    assert (line.value is not None) == (state == "measured")
    limit = table.line("flat memmap")
    assert limit is not None
    assert limit.state == "measured"
    assert not list((tmp_path / "scratch").iterdir())


def test_an_appender_that_loses_a_piece_is_found_out(tmp_path: Path) -> None:
    class Losing(ByHand):
        def __init__(self) -> None:
            super().__init__(TINY)
            self.about = About("losing", "array store")
            self.calls = 0

        def append(self, tokens: np.ndarray[Any, Any]) -> None:
            self.calls += 1
            if self.calls != 3:
                super().append(tokens)

    one: tuple[Appender, ...] = (ByHand(TINY), Losing())
    table = append.run(bench(tmp_path), one)
    line = table.line("losing")
    assert line is not None
    assert line.state == "failed"
    assert "does not give back" in line.note


def test_the_command_writes_a_page_and_json_without_names_of_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.bench.__main__.QUICK", dataclasses.replace(TINY, name="quick"))
    out, found = tmp_path / "page.md", tmp_path / "found.json"
    scratch = tmp_path / "scratch-of-the-run"
    scratch.mkdir()
    arguments = ["--quick", "--out", str(out), "--json", str(found), "--scratch", str(scratch)]
    for name in runs.NAMES:
        arguments += ["--only", name]
    for name in ("Arrow IPC batches", "LMDB", "mctree"):
        arguments += ["--peer", name]
    assert main(arguments) == 0
    page, held = out.read_text(), found.read_text()
    tables = {table["name"]: table for table in json.loads(held)["tables"]}
    assert {name.partition("/")[0] for name in tables} == set(runs.NAMES)
    for name in ("gather", "runs", "windows", "scan", "opening", "opening/memory", "append", "ingest"):
        lines = tables[name]["lines"]
        assert lines[0]["contender"] == tables[name]["limit"]
        assert len(lines) >= 2
        assert all(line["state"] in {"measured", "absent"} for line in lines)
        assert f"## {tables[name]['title']}" in page
    for text in (page, held):
        assert str(tmp_path) not in text
        assert str(Path.home()) + "/" not in text
        if len(platform.node()) > 3:
            assert platform.node() not in text
    assert not list(scratch.iterdir())
    for name in ("gather", "runs", "windows", "scan", "opening", "append", "ingest"):
        assert [line["state"] for line in tables[name]["lines"] if line["contender"] == "mctree"] == ["measured"]
    for name in ("open", "find", "cover"):
        assert len(tables[f"growth/{name}"]["lines"]) == 2


@pytest.mark.parametrize("arguments", [["--only", "nothing"], ["--peer", "nobody"]])
def test_a_wrong_call_says_what_there_is(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", *arguments]) == 2
    assert "choose among" in capsys.readouterr().err


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(sizes: Sizes, scratch: Path, *rest: object) -> None:
        (scratch / "half").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("tools.bench.__main__.run", interrupted)
    out = tmp_path / "page.md"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert main(["--quick", "--out", str(out), "--scratch", str(scratch)]) == 130
    assert not out.exists()
    assert not list(scratch.iterdir())


# --- what is written ------------------------------------------------------------------------------------------------


def line_of(name: str, kind: str, ratio: float) -> Line:
    return Line(name, kind, "measured", Spread(1.0, 1.0, 1.0, 1), Spread(ratio, ratio, ratio, 1))


@given(ours=st.floats(0.1, 100), best=st.floats(0.1, 1000), worse=st.floats(0, 1000))
def test_the_targets_of_gather_are_held_against_the_best_store(ours: float, best: float, worse: float) -> None:
    lines = (
        line_of("flat memmap", "the limit", 1.0),
        line_of("mctree", "ours", ours),
        line_of("A", "array store", best + worse),
        line_of("B", "array store", best),
        line_of("a file", "column file", ours / 10),
    )
    found = {one.target: one.met for one in verdicts([Table("gather", "", "", "ms", "flat memmap", lines)])}
    assert found["Random gather within 1.1× of one flat memmap"] == (ours <= 1.1)
    key = "Random gather at least 8× faster than the best configuration of every array or table store"
    assert found[key] == (best / ours >= 8.0)
    assert found["Random windows within 1.15× of a Megatron-style memmap"] is None


def test_a_page_lists_absent_and_failed_contenders(tmp_path: Path) -> None:
    report = runs.run(TINY, bench(tmp_path).scratch, lambda line: None, ["append"], ["nobody's", "file alone"][1:])
    lines = (
        *report.tables[0].lines,
        Line("gone", "k", "absent", note="not installed: gone"),
        Line("ill", "k", "failed"),
    )
    page = to_markdown(dataclasses.replace(report, tables=(dataclasses.replace(report.tables[0], lines=lines),)))
    assert "| gone | k | absent |" in page
    assert "| ill | k | failed |" in page
    assert json.loads(to_json(report))["sizes"]["rows"] == TINY.rows


@given(st.text(max_size=300))
def test_a_reason_is_one_short_line_without_folders(text: str) -> None:
    found = reason(OSError(f"{text} /somewhere/else/file and /scratch/x"), Path("/scratch/x"))
    assert len(found) <= 160
    assert "\n" not in found
    assert "/somewhere/else" not in found
    assert "/scratch/x" not in found
