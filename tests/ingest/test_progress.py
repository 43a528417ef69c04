"""What a listener is told, by a clock that the test turns."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctree.errors import SourceError
from mctree.ingest.progress import Progress, SizeScan, Tracker
from mctree.ingest.report import Report, Tally
from mctree.sources import Item, Root, Skipped, Stamp


def test_the_rate_is_that_of_the_last_seconds():
    now, told = [0.0], list[Progress]()
    tracker = Tracker(Tally(), told.append, lambda: now[0])
    tracker.total = lambda: 100_000
    for rate in (1000, 10):
        for _ in range(200):
            now[0] += 0.2
            tracker.advance(rate // 5)
    assert told[199].rate == pytest.approx(1000, rel=0.02)
    assert told[-1].rate == pytest.approx(10, rel=0.02)
    assert told[-1].bytes == 40_400
    assert told[-1].seconds_left == pytest.approx((100_000 - 40_400) / told[-1].rate)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 99))))
def test_a_listener_is_not_told_more_than_ten_times_a_second(steps):
    now, told = [0.0], list[float]()
    tracker = Tracker(Tally(), lambda event: told.append(now[0]), lambda: now[0])
    for seconds, size in steps:
        now[0] += seconds
        tracker.advance(size)
    assert all(later - earlier >= 0.0999 for earlier, later in pairwise(told))


def test_without_a_total_there_is_no_time_left():
    now, told = [0.0], list[Progress]()
    tracker = Tracker(Tally(), told.append, lambda: now[0])
    now[0] = 1.0
    tracker.advance(10)
    assert (told[-1].total_bytes, told[-1].seconds_left) == (None, None)
    tracker.total = lambda: 5  # a file grew after it was counted
    now[0] = 2.0
    tracker.advance(10)
    assert (told[-1].bytes, told[-1].total_bytes, told[-1].seconds_left) == (20, 20, 0)


def test_what_is_no_text_is_no_progress_and_the_rest_ends_with_all_of_it():
    now, told = [0.0], list[Progress]()
    tracker = Tracker(Tally(), told.append, lambda: now[0])
    tracker.total = lambda: 10_000
    tracker.enter("ingesting")
    for step in range(20):
        now[0] += 1.0
        (tracker.pass_over if step % 2 else tracker.advance)(100 if step % 2 == 0 else 900)
    assert [event.bytes for event in told] == sorted(event.bytes for event in told)
    assert told[-1].rate == pytest.approx(1000 / 20)
    assert told[-1].bytes == told[-1].total_bytes == 1000
    shares = [event.bytes / event.total_bytes for event in told]
    assert shares == sorted(shares)


def test_the_time_before_the_first_input_is_in_no_rate():
    now, told = [0.0], list[Progress]()
    tracker = Tracker(Tally(), told.append, lambda: now[0])
    tracker.total = lambda: 1000
    for phase in ("sampling", "training"):
        tracker.enter(phase)
        now[0] += 500.0
    tracker.enter("ingesting")
    now[0] += 1.0
    tracker.advance(100)
    assert (told[-1].rate, told[-1].seconds_left) == (pytest.approx(100), pytest.approx(9))
    tracker.enter("finishing")
    now[0] += 1.0
    tracker.advance(0)
    assert (told[-1].rate, told[-1].seconds_left) == (0, None)


class Sized:
    """A source of sizes; an exception among them is raised."""

    roots: tuple[Root, ...] = ()

    def __init__(self, *sizes: int | Exception | None) -> None:
        self.sizes = sizes

    def __iter__(self) -> Iterator[Item | Skipped]:
        yield Skipped(b"s", "a socket")
        for size in self.sizes:
            if isinstance(size, Exception):
                raise size
            yield Item(b"x", None if size is None else Stamp(size, 0, 0, 0), False, lambda: iter(()))

    def covers(self, name: bytes) -> bool:
        return False


@pytest.mark.parametrize(
    ("source", "total"), [((1, 2, 3), 6), ((), 0), ((1, None, 3), None), ((1, SourceError()), None)]
)
def test_the_scan_adds_up_what_has_a_size(source, total):
    scan = SizeScan(Sized(*source))
    scan.start()
    scan.join()
    assert scan.total == total


def test_a_scan_can_be_stopped(no_thread_stays):
    class Endless(Sized):
        def __iter__(self) -> Iterator[Item | Skipped]:
            while True:
                yield Skipped(b"s", "a socket")

    scan = SizeScan(Endless())
    scan.start()
    scan.stop()
    assert scan.total is None


@given(st.lists(st.text(st.sampled_from("ab1' :"), max_size=12), max_size=300))
def test_a_report_names_a_bounded_number_of_what_was_skipped(reasons):
    tally = Tally()
    for i, reason in enumerate(reasons):
        tally.skip(Skipped(b"%d" % i, reason))
    report: Report = tally.report(1.0, None, 1)
    assert report.skipped_count == sum(report.skipped_reasons.values()) == len(reasons)
    assert [found.reason for found in report.skipped] == reasons[:100]
    assert len(report.skipped_reasons) <= 51
    assert list(report.skipped_reasons.values()) == sorted(report.skipped_reasons.values(), reverse=True)


def test_reasons_that_differ_in_particulars_are_one_kind():
    tally = Tally()
    for line in range(1000):
        tally.skip(Skipped(b"x", f"line {line}: field 'text' is missing or null, not a string"))
        tally.skip(Skipped(b"x", f"row {line}: larger than 10 bytes ({line})"))
        tally.skip(Skipped(b"x", f"line 1: not JSON: Expecting ',' delimiter at column {line}"))
        tally.skip(Skipped(b"x", f"line 1: not UTF-8 at byte {line} of the line"))
    assert tally.report(1.0, None, 1).skipped_reasons == {
        "field 'text' is missing or null, not a string": 1000,
        "larger than 10 bytes": 1000,
        "not JSON: Expecting ',' delimiter": 1000,
        "not UTF-8": 1000,
    }
