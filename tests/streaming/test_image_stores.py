"""Images of real stores are streamed like text: what is on the device is what the snapshot holds, before and after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import mctree
from mctree.errors import NotFoundError
from mctree.focus import Allocator, SnapshotGround, WorkingContext
from mctree.geometry import IMAGE, Address
from mctree.sources.images import ArraySource, Box
from mctree.streaming import GISTS, NO_ROW, PATCHES, TOKENS, HostDevice, Nodes, Residency, Seen, StoredRows, Stream
from mctree.testing.toys import ToyEncoder, ToySight
from mctree.tree import Snapshot, Tree

JOINT, WORDS = ToySight(4), ToyEncoder(seed=2)


def picture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=65536, encoders=[JOINT, WORDS]) as tree:
        tree.build_gists(JOINT, "joint", default=True)
        tree.build_gists(WORDS, "words")
        with tree.writer() as writer:
            writer.add("before", b"some words " * 90)
            holed = np.ones((300, 500), np.bool_)
            holed[20:200, 100:450] = False
            writer.add_image("holed", ArraySource(picture(300, 500, 1), holed))
            writer.add_image("small", picture(40, 30, 2))
            for number in range(31):
                writer.add_image(f"{number}", picture(20, 20, number))
            writer.add("behind", b"other words " * 90)
        yield tree


def right(snapshot: Snapshot, device: HostDevice, seen: Seen) -> None:
    """Compare what is seen with what the snapshot says, row by row."""
    for (space, level, index), slot in zip(seen.nodes.addresses(), seen.slots.tolist(), strict=True):
        plane = GISTS if level else PATCHES if space else TOKENS
        if level:
            expected = snapshot.node(Address(space, level, index)).gist()
            assert expected is not None
        elif space:
            which = int(snapshot.gallery.places.at(np.array([index]))[0])
            image = snapshot.image(int(snapshot.gallery.places.grafts["document"][which]))
            expected = image.gists(0, np.arange(index, index + IMAGE.block))[0]
        else:
            expected = np.zeros(32, np.uint16)
            expected[:] = snapshot.view(index, index + 32)
        assert (device.memory(plane)[slot] == expected).all(), f"{space}/{level}:{index}"


def test_a_context_goes_into_images_and_follows_their_changes(tree: Tree) -> None:
    with tree.snapshot() as snapshot:
        rows = StoredRows(snapshot)
        device = HostDevice(rows.planes, 3000)
        with Stream(rows, device) as stream:
            residency = Residency(stream, SnapshotGround(snapshot))
            context = WorkingContext.smallest(snapshot, 3000, Allocator(max_edits=64, threshold=0.0))
            residency.update(context.entries)

            def look(now: Snapshot) -> NDArray[np.int64]:
                for _ in range(400):
                    stream.turn()
                    entries = context.entries
                    change = context.step(np.where(entries.level > 0, 1.0, 0.0), residency.resident)
                    residency.update(context.entries, change.diff.left_at, change.diff.entered_at)
                    if not context.entries.level.any():
                        break
                seen = residency.seen()
                assert seen.whole and not context.entries.level.any(), "everything fits"
                right(now, device, seen)
                return seen.slots[seen.nodes.space > 0]

            slots = look(snapshot)
            assert len(slots) > 33 and (slots < 3000).all()
            with tree.writer() as writer:
                writer.change_image("holed", picture(30, 40, 9), Box(110, 30, 150, 60))  # where there was nothing
                writer.change_image("7", picture(5, 5, 9), Box(3, 3, 8, 8))
                writer.add_image("one more", picture(20, 20, 77))
            with tree.snapshot() as after:
                ground, fresh = SnapshotGround(after), StoredRows(after)
                entries = Nodes.of(context.entries.take(context.entries.space > 0))
                same = rows.versions(entries) == fresh.versions(entries)
                assert 2 <= (~same).sum() < 6, "what has not changed is not read again"
                residency.follow(ground, fresh)
                context.refocus(ground)
                residency.update(context.entries)
                look(after)


def test_what_a_set_does_not_cover_has_no_rows(tree: Tree) -> None:
    with tree.snapshot() as snapshot:
        words, joint = StoredRows(snapshot, "words"), StoredRows(snapshot, "joint")
        assert words.planes[PATCHES] is None and joint.planes[PATCHES] is not None
        image = snapshot.image("holed")
        first = image.first(1)
        timeline = [(0, 1, 0), (0, 2, 0), (0, 1, image.block), (0, 2, 1)]
        arena = [(1, 1, first), (1, 0, first * IMAGE.block), (1, image.root, image.first(image.root))]
        space, level, index = np.array(timeline + arena, np.int64).T
        nodes = Nodes(space, level, index, index)
        assert (joint.versions(nodes) != NO_ROW).all()
        found = words.versions(nodes)
        assert (found[:2] != NO_ROW).all(), "words have gists"
        assert found[2] == NO_ROW and (found[4:] == NO_ROW).all(), "images have none"
        with pytest.raises(NotFoundError, match="a1/1"):
            words.read(1, 1, np.array([first]), np.zeros((1, 4), np.float16))


def test_a_node_of_nothing_but_images_is_not_there_for_a_set_of_text(tree: Tree) -> None:
    with tree.writer() as writer:
        for number in range(100, 196):
            writer.add_image(f"{number}", picture(20, 20, number))
    with tree.snapshot() as snapshot:
        index = np.arange(snapshot.blocks // 32)
        nodes = Nodes(index * 0, index * 0 + 2, index, index * 32 * 32)
        absent = snapshot.gists("words").absent(2, index)
        assert absent.any() and not absent.all()
        assert ((StoredRows(snapshot, "words").versions(nodes) == NO_ROW) == absent).all()
        assert (StoredRows(snapshot, "joint").versions(nodes) != NO_ROW).all()
