from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctree.errors import UsageError
from mctree.sources import cut_pieces

texts = st.one_of(
    st.binary(max_size=60),
    st.text(alphabet="a\né€😀", max_size=40).map(lambda text: text.encode()),
    st.lists(st.sampled_from([b"\n", b"\x80", b"\xe2", b"\xf0\x9f", b"a"]), max_size=40).map(b"".join),
)
limits = st.integers(1, 20)


def chunked(data: bytes, sizes: list[int]) -> list[bytes]:
    chunks, start = [], 0
    for size in sizes:
        chunks.append(data[start : start + size])
        start += size
    return [*chunks, data[start:]]


@given(texts, limits)
def test_pieces_join_to_the_bytes_and_respect_the_limit(data: bytes, limit: int) -> None:
    pieces = list(cut_pieces([data], limit))
    assert b"".join(pieces) == data
    assert all(1 <= len(piece) <= limit for piece in pieces)


@given(texts, limits, st.lists(st.integers(0, 9), max_size=20))
def test_pieces_do_not_depend_on_how_the_bytes_arrive(data: bytes, limit: int, sizes: list[int]) -> None:
    assert list(cut_pieces(chunked(data, sizes), limit)) == list(cut_pieces([data], limit))


@given(texts, texts, limits)
def test_appending_changes_only_the_last_piece(data: bytes, more: bytes, limit: int) -> None:
    before, after = list(cut_pieces([data], limit)), list(cut_pieces([data + more], limit))
    assert after[: max(len(before) - 1, 0)] == before[:-1]


@given(texts, limits)
def test_every_piece_but_the_last_ends_as_late_as_the_rule_allows(data: bytes, limit: int) -> None:
    start = 0
    for piece in list(cut_pieces([data], limit))[:-1]:
        window = data[start : start + limit]
        if b"\n" in window:
            assert piece == window[: window.rindex(b"\n") + 1]
        else:
            assert len(piece) > limit - 4
            if len(piece) < limit:
                assert data[start + len(piece)] >= 0xC0
        start += len(piece)


@given(st.text(alphabet="aé€😀", max_size=60), st.integers(4, 20))
def test_valid_text_is_cut_between_characters(text: str, limit: int) -> None:
    pieces = list(cut_pieces([text.encode()], limit))
    assert "".join(piece.decode() for piece in pieces) == text


@pytest.mark.parametrize(
    ("data", "limit", "pieces"),
    [
        (b"", 4, []),
        (b"abcd", 4, [b"abcd"]),
        (b"abcde", 4, [b"abcd", b"e"]),
        (b"ab\ncde", 4, [b"ab\n", b"cde"]),
        (b"a\nb\ncd", 4, [b"a\nb\n", b"cd"]),
        ("ab€".encode(), 4, [b"ab", "€".encode()]),
        (b"\x80" * 6, 4, [b"\x80" * 4, b"\x80" * 2]),
        ("😀".encode(), 3, ["😀".encode()[:3], "😀".encode()[3:]]),
        (b"a\xc3\x80\x80\x80b", 4, [b"a\xc3\x80\x80", b"\x80b"]),
    ],
)
def test_examples(data: bytes, limit: int, pieces: list[bytes]) -> None:
    assert list(cut_pieces([data], limit)) == pieces


def test_a_piece_has_at_least_one_byte() -> None:
    with pytest.raises(UsageError, match="1 or more"):
        cut_pieces([b"a"], 0)
