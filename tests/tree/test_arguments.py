"""What cannot be is refused where it is passed, in one line that says what was wrong, and nothing has happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mctree
from mctree.encoders import BytesTokenizer
from mctree.errors import NotFoundError, UsageError
from mctree.sources.images import Box
from mctree.testing.toys import ToyEncoder


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[mctree.Tree]:
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=65536) as tree:
        with tree.writer() as writer:
            writer.add("a", b"text " * 20)
        yield tree


PIXELS = np.zeros((9, 9, 3), np.uint8)

Act = Callable[[Any], object]

WRITING: dict[str, Act] = {
    "a document of a number": lambda w: w.add("n", 5),
    "a document of nothing": lambda w: w.add("n", None),
    "a document of pieces that are numbers": lambda w: w.add("n", [1, 2]),
    "a document of one piece that is none": lambda w: w.add("n", [b"x", None]),
    "a document of a mapping": lambda w: w.add("n", {"a": "b"}),
    "a name that is empty": lambda w: w.add("", b"x"),
    "an empty name to begin with": lambda w: w.begin(b""),
    "a name that is none": lambda w: w.add(None, b"x"),
    "a name that is a number": lambda w: w.begin(5),
    "a name that is a path": lambda w: w.begin(Path("n")),
    "a locator that is a list": lambda w: w.begin("n", locator=[("a", 1)]),
    "a locator of lists": lambda w: w.begin("n", locator={"a": []}),
    "a locator with keys of bytes": lambda w: w.begin("n", locator={b"a": 1}),
    "a locator that is text": lambda w: w.add("n", b"x", locator="line 3"),
    "a medium that is none": lambda w: w.begin("n", media=None),
    "a medium of bytes": lambda w: w.begin("n", media=b"text"),
    "text that is called an image": lambda w: w.begin("n", media="image"),
    "text that is a number": lambda w: w.begin("n").write(5),
    "text that is none": lambda w: w.begin("n").write(None),
    "tokens of text": lambda w: w.begin("n").extend("abc"),
    "tokens that are none": lambda w: w.begin("n").extend(None),
    "tokens of unequal rows": lambda w: w.begin("n").extend([[1, 2], [3]]),
    "to reopen nothing": lambda w: w.reopen(None),
    "to reopen with a list": lambda w: w.reopen("a", locator=[1]),
    "to remove a float": lambda w: w.remove(1.5),
    "to remove nothing": lambda w: w.remove(None),
    "an image of a tuple as its region": lambda w: w.add_image("i", PIXELS, region=(0, 0, 5, 5)),
    "an image of a region with halves": lambda w: w.add_image("i", PIXELS, region=Box(0, 0, 2.5, 5)),  # type: ignore[arg-type]
    "an image to be changed nowhere": lambda w: w.change_image("i", PIXELS, None),
    "an image to be extended by a slice": lambda w: w.extend_image("i", PIXELS, region=slice(5)),
    "an image to be deepened by a list": lambda w: w.deepen_image("i", PIXELS, region=[0, 0, 5, 5]),
    "an image with a number of sets": lambda w: w.add_image("i", PIXELS, sets=5),
    "an image with sets that are one name": lambda w: w.add_image("i", PIXELS, sets="eyes"),
    "an image with stamps of a number": lambda w: w.add_image("i", PIXELS, stamps=5),
    "an image with stamps of text": lambda w: w.add_image("i", PIXELS, commit_every=1, stamps=lambda: "now"),
    "an image with a stamp of a number": lambda w: w.add_image("i", PIXELS, commit_every=1, stamps=lambda: {b"i": 5}),
    "an image with a stamp of nothing": lambda w: w.add_image("i", PIXELS, commit_every=1, stamps=lambda: {5: None}),
    "a link from a number": lambda w: w.link(5, (0, 1), kind="x"),
    "a link from text": lambda w: w.link("ab", (0, 1), kind="x"),
    "a link from three numbers": lambda w: w.link((0, 1, 2), (0, 1), kind="x"),
    "a link to text": lambda w: w.link((0, 1), ("a", "b"), kind="x"),
    "a link of no kind": lambda w: w.link((0, 1), (0, 1), kind=None),
    "a link whose score is text": lambda w: w.link((0, 1), (0, 1), kind="x", score="high"),
    "a link whose score is none": lambda w: w.link((0, 1), (0, 1), kind="x", score=None),
    "a link in no spaces": lambda w: w.link((0, 1), (0, 1), kind="x", spaces=0),
    "to end a link that is text": lambda w: w.unlink("1"),
    "a stamp of a number": lambda w: w.stamp(5, None),
    "a stamp that is text": lambda w: w.stamp(b"a", "now"),
    "to ask for a stamp of nothing": lambda w: w.stamp_of(None),
}

HANDLING: dict[str, Act] = {
    "an encoder that is text": lambda t: t.build_gists("nonsense"),
    "an encoder that is none": lambda t: t.build_gists(None),
    "an encoder that is a class": lambda t: t.build_gists(ToyEncoder),
    "an encoder that is a tokenizer": lambda t: t.build_gists(BytesTokenizer()),
    "a set's name that is a number": lambda t: t.build_gists(ToyEncoder(), 5),
    "a set's type that is a number": lambda t: t.build_gists(ToyEncoder(), "one", dtype=16),
    "to open with an encoder that is text": lambda t: mctree.open(t.path, encoders=["x"]),
    "to add an encoder that is text": lambda t: t.add_encoder("x"),
    "to make with an encoder that is none": lambda t: mctree.create(t.path + "2", encoders=[None]),
    "to make with a tokenizer that is text": lambda t: mctree.create(t.path + "2", tokenizer="bytes"),
    "to make with a tokenizer that is a class": lambda t: mctree.create(t.path + "2", tokenizer=BytesTokenizer),
    "to make with a vocabulary of text": lambda t: mctree.create(t.path + "2", vocabulary="many"),
    "to make with chunks of text": lambda t: mctree.create(t.path + "2", chunk_bytes="64K"),
    "to make with chunks of a float": lambda t: mctree.create(t.path + "2", chunk_bytes=65536.0),
    "to make and keep text": lambda t: mctree.create(t.path + "2", keep="all"),
    "to make at a number": lambda t: mctree.create(5),
    "to open a number": lambda t: mctree.open(5),
    "to open nothing": lambda t: mctree.open(None),
    "to open a name with a zero byte": lambda t: mctree.open("a\0b"),
    "to keep text": lambda t: t.keep("all"),
    "a commit that is text": lambda t: t.snapshot("newest"),
    "a commit that is a float": lambda t: t.snapshot(1.0),
    "a document that is none": lambda t: t.snapshot().document(None),
    "a document that is a float": lambda t: t.snapshot().document(1.5),
    "a node that is a number": lambda t: t.snapshot().node(5),
    "whether a number exists": lambda t: t.snapshot().exists(5),
    "a node of three numbers": lambda t: t.snapshot().node((1, 2, 3)),
    "positions that are text": lambda t: t.snapshot().tokens("a", "b"),
    "positions that are floats": lambda t: t.snapshot().tokens(0.0, 1.5),
    "positions that are none": lambda t: t.snapshot().packed(None, None),
}


LOOKING: dict[str, Act] = {
    "pixels of a tuple": lambda i: i.pixels((0, 0, 5, 5)),
    "pixels of text": lambda i: i.pixels("0,0,5,5"),
    "colours of a slice": lambda i: i.colour(0, slice(5)),
    "spans of a tuple": lambda i: i.spans((0, 0, 5, 5)),
    "spans of nothing": lambda i: i.spans(None),
    "what is coarse in a list": lambda i: i.coarse([0, 0, 5, 5]),
    "a node of a level that is text": lambda i: i.node("0", 0, 0),
    "a node of a column with halves": lambda i: i.node(0, 0.5, 0),
    "a node in no row": lambda i: i.index_at(0, 0, None),
    "colours of no level": lambda i: i.colour(None),
    "colours of a level with halves": lambda i: i.colour(0.5),
    "states of text": lambda i: i.states(0, "0"),
    "states of one number": lambda i: i.states(0, 0),
    "statistics of halves": lambda i: i.statistics(0, np.array([0.5])),
    "gists of a table": lambda i: i.gists(0, np.zeros((2, 2), np.int64)),
    "what is closed of nothing": lambda i: i.closed(1, None),
    "spans, half of one at most": lambda i: i.spans(Box(0, 0, 1, 1), limit=0.5),
    "to follow and remember text": lambda i: i.follow(PIXELS, remember="all"),
    "to follow text": lambda i: i.follow("photo.png"),
    "to follow pixels of another size": lambda i: i.follow(PIXELS[1:]),
    "to export to a number": lambda i: i.export(5),
}


def refused(act: Callable[[], object]) -> None:
    with pytest.raises(UsageError) as caught:
        act()
    message = str(caught.value)
    assert 10 < len(message) < 300
    assert "\n" not in message


@pytest.mark.parametrize("what", WRITING)
def test_a_writer_refuses(tree: mctree.Tree, what: str) -> None:
    with tree.writer() as writer:
        refused(lambda: WRITING[what](writer))
        writer.add("good", b"x")
    with tree.snapshot() as snapshot:
        assert snapshot.document("a").read() == b"text " * 20
        assert snapshot.document("good").read() == b"x"
        assert not snapshot.all_links()
        assert all(document.name in ("a", "good", "n") for document in snapshot.documents())


@pytest.mark.parametrize("what", LOOKING)
def test_an_image_refuses(tree: mctree.Tree, what: str) -> None:
    """A tuple is no `Box`, nor is a text."""
    with tree.writer() as writer:
        writer.add_image("i", PIXELS)
    with tree.snapshot() as snapshot:
        refused(lambda: LOOKING[what](snapshot.image("i")))


def test_an_image_has_nothing_where_it_has_no_room(tree: mctree.Tree) -> None:
    """Below all indices, or far beyond those of the image; and indices may stand in a list."""
    with tree.writer() as writer:
        writer.add_image("i", PIXELS)
    with tree.snapshot() as snapshot:
        image = snapshot.image("i")
        inside = image.index_at(0, 0, 0)
        for index in (-1, -(2**63), 2**62, 2**63 - 1):
            assert image.states(0, [inside, index]).tolist() == [2, 0]
            assert image.rows(0, [inside, index])[0].tolist() == [True, False]
            assert not image.closed(0, [index]).any()
            with pytest.raises(NotFoundError, match="does not exist"):
                image.statistics(0, [index])


@pytest.mark.parametrize("what", HANDLING)
def test_a_handle_refuses(tree: mctree.Tree, what: str) -> None:
    refused(lambda: HANDLING[what](tree))
    with tree.snapshot() as snapshot:
        assert not snapshot.gist_sets()
    assert not Path(tree.path + "2").exists()


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("kind", 5),
        ("fingerprint", None),
        ("dim", 2.0),
        ("dim", 0),
        ("span_level", "none"),
        ("modalities", "text"),
        ("modalities", [1]),
        ("dump", lambda: "text"),
    ],
)
def test_an_encoder_that_cannot_be_stored_is_refused(tree: mctree.Tree, member: str, value: object) -> None:
    parts = {
        "kind": "k",
        "fingerprint": "f",
        "dim": 2,
        "span_level": 0,
        "modalities": frozenset({"text"}),
        "encode": lambda *_: np.zeros((1, 2)),
        "encode_query": lambda text: np.zeros(2),
        "dump": lambda: b"",
    }
    refused(lambda: tree.build_gists(type("Mine", (), {})()))
    mine = type("Mine", (), {})()
    for name, part in (parts | {member: value}).items():
        setattr(mine, name, part)
    refused(lambda: tree.build_gists(mine))
    assert not tree.snapshot().gist_sets()


def test_bytes_like_pieces_are_taken(tree: mctree.Tree) -> None:
    with tree.writer() as writer:
        writer.add("b", bytearray(b"one"))
        writer.add("c", memoryview(b"two"))
        writer.add("d", iter(["th", b"r", bytearray(b"ee")]))
    with tree.snapshot() as snapshot:
        assert [snapshot.document(name).read() for name in "bcd"] == [b"one", b"two", b"three"]


def test_an_error_of_the_callers_own_passes_through(tree: mctree.Tree) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x"
        raise TypeError("mine")

    with tree.writer() as writer, pytest.raises(TypeError, match="mine"):
        writer.add("n", pieces())
    assert [document.name for document in tree.snapshot().documents()] == ["a"]


def test_a_region_of_other_integers_is_one(tree: mctree.Tree) -> None:
    x0, y0, x1, y1 = np.arange(4, dtype=np.int32)
    box = Box(x0, x0, x1, y1)
    assert box == Box(0, 0, 2, 3) and str(box) == "0,0,2,3" and y0 == 1 and type(box.y1) is int
    with tree.writer() as writer:
        writer.add_image("i", PIXELS, region=box)
