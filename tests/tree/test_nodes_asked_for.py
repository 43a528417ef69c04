"""Single nodes that the tree lacks and the source has: a reader is shown them, and a writer keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mctree
from mctree.errors import NotFoundError, UsageError
from mctree.sources.images import Box
from mctree.testing import assert_whole
from mctree.testing.procedural import ProceduralSource
from tests.tree.test_deepening import made


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[mctree.Tree]:
    with made(tmp_path / "t.mctree") as tree:
        yield tree
        assert_whole(tree)


def test_a_reader_looks_around_among_nodes_that_the_tree_lacks(tree: mctree.Tree) -> None:
    """Single nodes are fetched as arrays of them are."""
    source = ProceduralSource(2000, 3000, levels=(1, 2, 4, 8), covered=[Box(0, 0, 2048, 1024), Box(0, 1024, 512, 2000)])
    with tree.writer() as writer:
        writer.add_image("picture", source, finest=4, keep_pixels=0)
    with tree.snapshot() as snapshot, snapshot.image("picture").follow(source) as image:
        tile = image.node(1, 5, 3)
        assert (tile.box, tile.made_from) == (Box(640, 384, 768, 512), "pixels")
        assert (tile.state, tile.closed) == ("unknown", False)
        assert np.array_equal(tile.mean, source.mean(tile.box))
        assert np.allclose(tile.deviation, source.deviation(tile.box))
        patches = tile.children
        assert len(patches) == 64 and patches[63].box == Box(752, 496, 768, 512) and not patches[0].children
        assert np.array_equal(patches[63].mean, source.mean(patches[63].box)) and patches[63].made_from == "pixels"
        above, way = tile, []
        while above.level < image.root:
            above = above.parent
            way.append((above.level, above.state, above.made_from, tile.address in {n.address for n in above.children}))
        assert way == [
            (2, "unknown", "overview", True),
            (3, "unknown", "overview", False),
            (4, "present", "overview", False),
            (5, "present", "overview", False),
            (6, "present", "overview", False),
        ]
        assert above.parent is None and above.image is image
        mean, gists = tile.mean, {name: tile.gist(name) for name in ("joint", "eyes")}
        for level, column, row in ((1, 17, 0), (1, 6, 9), (0, 128, 0), (4, 2, 0)):
            with pytest.raises(NotFoundError, match="neither has its source"):
                image.node(level, column, row)
        with pytest.raises(NotFoundError, match="columns"):
            image.node(1, 24, 0)
        with pytest.raises(NotFoundError, match="does not exist"):
            snapshot.node(tile.address)
    with tree.writer() as writer:
        writer.deepen_image("picture", source, region=tile.box)
    with tree.snapshot() as snapshot:
        stored = snapshot.node(tile.address)
        assert stored.state == "present" and np.array_equal(stored.mean, mean)
        assert all(np.array_equal(stored.gist(name), gist) for name, gist in gists.items())


def test_a_writer_keeps_the_node_that_it_is_asked_for(tree: mctree.Tree) -> None:
    source = ProceduralSource(2000, 3000, levels=(1, 2, 4, 8), covered=[Box(0, 0, 2048, 1024), Box(0, 1024, 512, 2000)])
    with tree.writer() as writer:
        writer.add_image("picture", source, finest=4, keep_pixels=0)
        begun = writer.commit()
        assert writer.image_node("picture", 4, 0, 0).made_from == "overview"
        with pytest.raises(NotFoundError, match="cannot be opened by its name"):
            writer.image_node("picture", 1, 5, 3)
        assert writer.snapshot.commit == begun
        tile = writer.image_node("picture", 1, 5, 3, source)
        assert writer.snapshot.commit == begun + 1
        assert (tile.state, tile.made_from) == ("present", "pixels") and np.array_equal(
            tile.mean, source.mean(tile.box)
        )
        assert writer.image_node("picture", 0, 40, 24).parent == tile, "it came along"
        assert writer.snapshot.commit == begun + 1
        for level, column, row, said in ((1, 17, 0, "does not exist"), (1, 24, 0, "columns"), (9, 0, 0, "levels")):
            with pytest.raises(NotFoundError, match=said):
                writer.image_node("picture", level, column, row, source)
    with tree.snapshot() as snapshot:
        assert snapshot.node(tile.address).state == "present"


def test_a_writer_extends_an_image_by_the_node_that_it_is_asked_for(
    tree: mctree.Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ProceduralSource(2000, 3000)
    with tree.writer() as writer:
        writer.add_image("picture", source, region=Box(0, 0, 256, 256), keep_pixels=0)
        begun = writer.commit()
        tile = writer.image_node("picture", 1, 5, 3, source)
        assert (tile.state, writer.snapshot.commit) == ("present", begun + 1)
        assert np.array_equal(tile.mean, source.mean(tile.box))
        assert not writer.snapshot.image("picture").whole
        monkeypatch.setattr("mctree.tree.images.writing.COMMIT_BLOCKS", 0)
        with pytest.raises(UsageError, match="too much to be read for one node"):
            writer.image_node("picture", 1, 8, 8, source)
        assert writer.image_node("picture", 1, 5, 3) == tile
