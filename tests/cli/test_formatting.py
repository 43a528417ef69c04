from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctree.cli.formatting import cells, clip, compact, duration, excerpt, folded, plural, size, when, wrapped

TEXTS = st.text(alphabet="ab \n海鯨e\u0301\x1b\u202e", max_size=60)
LINES = st.text(alphabet="ab 海鯨e\u0301", max_size=60)


def test_cells_are_those_of_a_terminal():
    assert cells("abc") == 3
    assert cells("海鯨") == 4
    assert cells("e\u0301") == 1


@given(LINES, st.integers(0, 40))
def test_a_clipped_line_fits_and_is_only_clipped_if_it_must_be(text, width):
    clipped = clip(text, width)
    assert cells(clipped) <= width
    assert (clipped == text) == (cells(text) <= width)
    if clipped != text and width:
        assert clipped.endswith("…") and text.startswith(clipped[:-1])


@given(TEXTS, st.integers(8, 40))
def test_an_excerpt_is_one_printable_line_that_fits(text, width):
    line = excerpt(text, width)
    assert line.isprintable()
    assert cells(line) <= width


@given(TEXTS, st.integers(8, 40), st.integers(1, 4))
def test_wrapped_text_fits_and_says_when_it_is_cut(text, width, limit):
    lines = wrapped(text, width, limit)
    assert len(lines) <= limit
    assert all(cells(line) <= width and line.isprintable() for line in lines)
    if not any(line.endswith("…") for line in lines) and "\x1b" not in text and "\u202e" not in text:
        assert " ".join(lines).split() == text.split()


WORDS = st.lists(st.text(alphabet="ab/海e\u0301·", max_size=30), max_size=8).map(" ".join)


@given(WORDS, st.integers(12, 40), st.integers(0, 10))
def test_a_folded_line_fits_and_loses_nothing(text, width, indent):
    lines = folded(text, width, indent)
    assert all(cells(line) <= width for line in lines)
    assert all(line.startswith(" " * indent) for line in lines[1:])
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert (lines == [text]) == (cells(text) <= width)


@given(WORDS, st.integers(12, 40))
def test_colours_take_no_room_and_stay(text, width):
    plain = folded(text, width)
    coloured = folded(text.replace("a", "\x1b[36ma\x1b[0m"), width)
    assert [line.replace("\x1b[36m", "").replace("\x1b[0m", "") for line in coloured] == plain
    assert "".join(coloured).count("\x1b[0m") == text.count("a")


def test_a_path_is_broken_between_its_parts_and_a_dot_begins_no_line():
    assert folded("/some/where/a/store.mctree", 16) == ["/some/where/a/", "store.mctree"]
    assert folded("default set · 12 stale", 13) == ["default set ·", "12 stale"]


@given(st.integers(0, 10**21))
def test_numbers_of_any_size_stay_short_and_near(value):
    found = re.fullmatch(r"(\d+(?:\.\d)?)([KMGTPE]?)", compact(value))
    assert found and len(found[0]) <= 6
    scale = 1000 ** " KMGTPE".index(found[2] or " ")
    assert abs(float(found[1]) * scale - value) <= 0.06 * max(value, 1)
    assert len(size(value)) <= 8


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.6, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (86399, "23 h 59 min"),
        (100_000, "1 d 3 h"),
        (1e300, "over 100 years"),
        (float("inf"), "over 100 years"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_things_are_counted_in_words():
    assert plural(1, "document") == "1 document"
    assert plural(2000, "document") == "2,000 documents"
    assert plural(0, "entry", "entries") == "0 entries"


@given(st.integers(0, 2**64 - 1))
def test_a_moment_of_any_store_can_be_written(time_ns):
    assert when(time_ns)
    assert re.fullmatch(r"\d+-\d\d-\d\dT\d\d:\d\d:\d\dZ", when(time_ns, utc=True))
