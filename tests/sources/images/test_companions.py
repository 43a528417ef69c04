"""Captions are told by their names, as these come, and with few of them in memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctree.sources.images.companions import Companions, caption_names, is_caption_name


@pytest.mark.parametrize(
    ("image", "captions"),
    [
        (b"a/NAME.png", (b"a/NAME.png.txt", b"a/NAME.txt")),
        (b"a/NAME", (b"a/NAME.txt",)),
        (b"a/.png", (b"a/.png.txt",)),
        (b"a.b/c", (b"a.b/c.txt",)),
        (b"a/b.c.d", (b"a/b.c.d.txt", b"a/b.c.txt")),
    ],
)
def test_captions_are_called_as_their_images(image: bytes, captions: tuple[bytes, ...]) -> None:
    assert caption_names(image) == captions
    assert all(map(is_caption_name, captions))


def lower(text: bytes) -> bytes:
    return text[:-4] + b".txt"


LETTERS = st.text("aB.-/", min_size=1, max_size=5).map(str.encode)
NAMES = st.lists(
    st.tuples(LETTERS, st.sampled_from([b"", b".png", b".jpg", b".txt", b".TXT", b".png.txt"])).map(b"".join),
    max_size=40,
)


@given(names=NAMES, folders=st.sets(LETTERS), changed=st.sets(LETTERS), everything=st.booleans())
def test_names_that_come_in_order_are_matched_as_by_looking_at_all(
    names: list[bytes], folders: set[bytes], changed: set[bytes], everything: bool
) -> None:
    """Whatever is called `.txt` is a text here, and all else an image; a folder's name counts with a slash."""

    def new(name: bytes) -> bool:
        return everything or name in changed

    texts = {name for name in names if is_caption_name(name)}
    images = set(names) - texts
    ordered = sorted({name + b"/" if name in folders & images else name for name in names})
    companions, found = Companions(), []
    for name in ordered:
        called = name.removesuffix(b"/") if name.removesuffix(b"/") in folders & images else name
        if called in texts:
            found += companions.text(called, changed=new(called))
        else:
            found += companions.image(called, changed=new(called), folder=called in folders)
    expected = {
        (image, text)
        for image in images
        for text in texts
        if lower(text) in caption_names(image) and (new(image) or new(text))
    }
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_a_long_row_of_images_and_captions_is_matched_with_a_few_names_in_memory() -> None:
    companions, pairs, most = Companions(), 0, 0
    for number in range(3000):
        pairs += len(companions.image(b"a/frame.%06d.png" % number, changed=True))
        pairs += len(companions.text(b"a/frame.%06d.txt" % number, changed=True))
        most = max(most, len(companions))
    assert pairs == 3000
    assert most < 10


def test_a_text_of_a_second_root_is_not_taken_for_one_of_the_first() -> None:
    companions = Companions()
    assert not companions.image(b"z/a.png", changed=True)
    assert not companions.text(b"a/a.txt", changed=True)
    assert companions.image(b"a/a.png", changed=True) == [(b"a/a.png", b"a/a.txt")]
