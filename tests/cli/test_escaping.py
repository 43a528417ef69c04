from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mctree.cli.escaping import escape, one_line, unescape, visible
from mctree.errors import UsageError
from tests.cli.command_lines import HOSTILE, assert_printable

NAMES = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(alphabet="\\xuU0dc4 -#a\n\x1b\u202e\U0001f433", max_size=20).map(str.encode),
    st.sampled_from(HOSTILE),
)


def each_hostile(test):
    for name in HOSTILE:
        test = example(name=name)(test)
    return test


@each_hostile
@given(name=NAMES)
def test_what_is_shown_reads_back_to_the_same_bytes(name):
    assert unescape(escape(name)) == name


@given(one=NAMES, other=NAMES)
def test_no_two_names_look_the_same(one, other):
    assert (escape(one) == escape(other)) == (one == other)


@each_hostile
@given(name=NAMES)
def test_what_is_shown_is_one_printable_argument(name):
    shown = escape(name)
    assert shown.isprintable()
    shown.encode("utf-8")
    assert not shown.startswith(("-", "#", " "))
    assert not shown.endswith(" ")


@given(name=NAMES)
def test_a_terminal_that_is_no_utf8_shows_what_reads_back(name):
    assert unescape(escape(name).encode("ascii", "backslashreplace").decode()) == name


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"], exclude_characters="\\#-"), max_size=20))
def test_plain_names_stand_as_they_are(name):
    assert escape(name.encode()) == name


@given(st.text(alphabet="\\xuU0dDfF4g ", max_size=12))
def test_anything_is_read_back_or_refused(text):
    try:
        name = unescape(text)
    except UsageError as error:
        assert "escape" in str(error)
    else:
        assert unescape(escape(name)) == name


@pytest.mark.parametrize("text", ["\\", "a\\b", "\\x4", "\\u123", "\\U00110000", "\\ud800", "\\\\\\"])
def test_what_is_no_escape_is_refused(text):
    with pytest.raises(UsageError):
        unescape(text)


@given(st.one_of(st.text(), st.binary().map(lambda data: data.decode("utf-8", "surrogateescape"))))
def test_a_message_is_one_printable_line(text):
    assert one_line(text).isprintable()
    assert one_line(one_line(text)) == one_line(text)


@given(st.text())
def test_text_keeps_its_lines_and_loses_what_controls_a_terminal(text):
    shown = visible(text)
    assert shown.count("\n") == text.count("\n")
    # Joiners and wide spaces are needed to write some languages, and move nothing.
    rest = shown
    for harmless in ("\t", "\u200c", "\u200d", "\u00a0", "\u1680", "\u202f", "\u205f", "\u3000"):
        rest = rest.replace(harmless, "")
    for space in range(0x2000, 0x200B):
        rest = rest.replace(chr(space), "")
    assert_printable(rest)


@given(st.text(alphabet="ab \n\té海"))
def test_ordinary_text_is_left_alone(text):
    assert visible(text) == text
