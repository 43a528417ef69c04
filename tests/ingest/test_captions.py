"""A text that is called as an image is stays linked to it, by one link, for as long as there are both."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mctree
from mctree.ingest import ingest
from mctree.sources.images.companions import caption_names
from mctree.testing import scratch
from mctree.testing.processes import KILLED, in_child, kill_after
from tests.ingest.corpora import write
from tests.ingest.pictures import captions, png, sync, told

pytestmark = pytest.mark.usefixtures("clocks_are_fine")

PLAIN: dict[str, Any] = {"encoder": "none"}
MARK = b"\x89PNG"


CONTENTS = {
    "empty": b"",
    "short": b"A caption.",
    "grown": b"A caption. It grew.",
    "long": b"Another. " * 30,
    "red": png(),
    "small": png(9, 9, seed=1),
}
"""By what a failing example calls them."""


def expected(files: dict[str, bytes]) -> set[tuple[str, str]]:
    """By the names alone; an empty text takes no place that a link could lead to."""
    images = {name for name, content in files.items() if content.startswith(MARK)}
    return {
        (f"t/{image}", f"t/{text}")
        for image in images
        for text in files.keys() - images
        if text[:-4].encode() + b".txt" in caption_names(image.encode()) and files[text]
    }


IMAGES = st.dictionaries(
    st.sampled_from(["a.png", "a.jpg", "a", "b.zip", "a-b.png"]), st.sampled_from(["red", "small"]), max_size=4
)
TEXTS = st.dictionaries(
    st.sampled_from(["a.txt", "a.png.txt", "a.TXT", "b.txt", "c/a.txt", "a-b.txt"]),
    st.sampled_from(["empty", "short", "grown", "long"]),
    max_size=4,
)
STATES = st.lists(st.builds(lambda images, texts: {**images, **texts}, IMAGES, TEXTS), min_size=1, max_size=3)


@given(STATES, st.booleans())
@settings(max_examples=12)
def test_links_follow_the_folder(states, rm):
    """Whatever comes, grows, changes and goes, be it with `mctree rm` in between."""
    with scratch() as above:
        root, store = os.path.join(above, "t"), os.path.join(above, "s")
        write(root, {"a.txt": b"A caption.", "a.png": png()})
        sync(root, store, **PLAIN)
        assert captions(store) == {("t/a.png", "t/a.txt")}
        for state in states:
            files = {name: CONTENTS[content] for name, content in state.items()}
            if rm:
                with mctree.open(store) as tree, tree.writer() as writer:
                    for _, number, _ in list(writer.snapshot.sources())[::2]:
                        writer.remove(number)
            write(root, files)
            sync(root, store)
            assert captions(store, dead=rm) == expected(files)
            assert not sync(root, store).changed


def test_what_vanished_and_is_kept_keeps_its_link(folder):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"a.txt": b"A caption.", "a.png": png(), "b.png": png(seed=1), "b.txt": b"B"})
    sync(root, store, **PLAIN)
    write(root, {"a.txt": b"A caption.", "b.png": png(seed=1)})
    sync(root, store, keep_vanished=True)
    assert captions(store) == {("t/a.png", "t/a.txt"), ("t/b.png", "t/b.txt")}
    sync(root, store)
    assert captions(store) == set()


def test_a_caption_that_cannot_be_read_keeps_its_link(folder):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"a.txt": b"A caption.", "a.png": png()})
    sync(root, store, **PLAIN)
    write(root, {"a.txt": b"A caption.", "a.png": png(seed=1)[:-500]})
    assert sync(root, store).skipped_count == 1
    assert captions(store) == {("t/a.png", "t/a.txt")}


def test_links_that_somebody_else_made_are_left_alone(folder):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"a.txt": b"A caption.", "a.png": png(200, 200), "c.md": b"Of a part of it."})
    sync(root, store, **PLAIN)
    with mctree.open(store) as tree:
        with tree.writer() as writer:
            image, text = writer.snapshot.image("t/a.png"), writer.snapshot.find("t/c.md")
            writer.link((image.base, image.base + 64), text.span, kind="caption", spaces=(1, 0))
            writer.link((image.base, image.base + 256), text.span, kind="caption", spaces=(1, 0))
        before = tree.snapshot().all_links()
    write(root, {"a.txt": b"A caption. It grew.", "a.png": png(200, 200), "c.md": b"Of a part of it."})
    sync(root, store)
    with mctree.open(store) as tree:
        assert tree.snapshot().all_links()[:3] == before[:3] and len(before) == 3


def test_a_compaction_takes_links_along(folder):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"0.txt": b"gone " * 50, "a.txt": b"A caption.", "a.png": png(), "b.png": png(seed=1), "b.txt": b"B"})
    sync(root, store, **PLAIN)
    write(root, {"a.txt": b"A caption.", "a.png": png(), "b.png": png(seed=2), "b.txt": b"B"})
    sync(root, store)
    with mctree.open(store) as tree:
        tree.compact()
    assert captions(store) == {("t/a.png", "t/a.txt"), ("t/b.png", "t/b.txt")}
    write(root, {"a.txt": b"Another.", "a.png": png(), "b.png": png(seed=2), "b.txt": b"B"})
    sync(root, store)
    assert captions(store) == {("t/a.png", "t/a.txt"), ("t/b.png", "t/b.txt")}


@given(st.integers(1, 250), st.booleans())
@settings(max_examples=8)
def test_a_run_that_dies_between_a_commit_and_the_links_of_it_is_made_up_for(calls, fresh):
    """With a commit for each document, and the run broken off after any of them."""
    before = {"a.txt": b"Old.", "a.zip": png(), "b.png": png(seed=1), "c.png": png(seed=2), "c.txt": b"C"}
    after = {"a.txt": b"New.", "a.zip": png(), "b.png": png(seed=1), "b.txt": b"B", "c.png": png(seed=3), "c.txt": b"C"}
    with scratch() as above:
        root, store, other = (os.path.join(above, name) for name in "tso")
        if not fresh:
            write(root, before)
            sync(root, store, **PLAIN)
            sync(root, other, **PLAIN)
        write(root, after)

        def dying() -> None:
            kill_after(calls)
            sync(root, store, batch_bytes=1, **PLAIN)

        assert in_child(dying) in (0, KILLED)
        # Another folder's run in between makes up for nothing, and takes no note of it back.
        write(f"{above}/elsewhere", {"x.png": png(5, 5), "x.txt": b"X"})
        if os.path.exists(store) and not fresh:
            ingest([f"{above}/elsewhere"], store, workers=1)
        sync(root, store, batch_bytes=1, **PLAIN)
        assert captions(store) == expected(after) | ({("elsewhere/x.png", "elsewhere/x.txt")} if not fresh else set())
        if fresh:
            sync(root, other, **PLAIN)
            assert told(store) == told(other)
        assert not sync(root, store).changed
