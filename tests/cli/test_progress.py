from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mctree.cli import progress
from mctree.cli.progress import meter, status


@pytest.mark.parametrize(
    ("done", "whole", "unit", "rate", "text"),
    [
        (0, None, "bytes", None, "0 B"),
        (12_300_000, 45_600_000, "bytes", 3_330_000, "12.3 MB of 45.6 MB · 3.3 MB/s · 10 s left"),
        (12_300_000, None, "bytes", 3_330_000, "12.3 MB · 3.3 MB/s"),
        (32768, 100_000, "blocks", 65536, "32,768 blocks of 100,000 blocks · 65,536 blocks/s · 1.0 s left"),
        (7, 7, "blocks", 2, "7 blocks of 7 blocks · 2 blocks/s"),
        (0, 10, "bytes", 0, "0 B of 10 B"),
    ],
)
def test_as_much_is_said_as_is_known(done, whole, unit, rate, text):
    assert status(done, whole, unit, rate) == text


@example(0, 10, 5e-324)
@given(st.integers(0, 2**63), st.none() | st.integers(0, 2**63), st.none() | st.floats(0, 1e18))
def test_any_numbers_can_be_said(done, whole, rate):
    assert ("left" in status(done, whole, "bytes", rate)) == bool(rate and whole is not None and whole > done)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_a_line_now_and_then(monkeypatch, capsys):
    clock = Clock()
    lines = progress._Lines("building", "blocks", clock)
    with lines as shown:
        for second in range(36):
            clock.now = float(second)
            shown.at(second * 100, 10_000, what="finishing" if second > 30 else "", note="so far")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"building: {n:,} blocks of 10,000 blocks · 100 blocks/s · {left} left · so far"
        for n, left in ((1000, "1 min 30 s"), (2000, "1 min 20 s"), (3000, "1 min 10 s"))
    ]


def test_quiet_is_quiet_and_short_runs_say_nothing(capsys):
    for quiet in (True, False):
        with meter("building", "blocks", quiet=quiet) as shown:
            shown.at(1, 2)
    assert capsys.readouterr() == ("", "")
