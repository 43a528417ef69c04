"""Images in a tree: exact at every level, changed where they changed, gone when they are gone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import mctree
from mctree.errors import NotFoundError, StoreExistsError, UsageError
from mctree.geometry import IMAGE, morton
from mctree.sources.images import ArraySource, Box
from mctree.testing import assert_whole, scratch
from mctree.testing.dump import dump
from mctree.testing.procedural import ProceduralSource
from mctree.tree.images.image import Image
from mctree.tree.search import search
from tests.tree.albums import EYES, JOINT, SMALL, WORDS, made, pixels, told, with_sets


def check(image: Image, values: NDArray[Any], mask: NDArray[np.bool_]) -> None:
    """Compare every node of every level with the pixels that it stands for, added up as integers."""
    numbers = np.where(mask[..., None], values, 0).astype(np.int64)
    edges = [range(0, size, 16) for size in mask.shape]
    grid = np.add.reduceat(np.add.reduceat(mask.astype(np.int64), edges[0], axis=0), edges[1], axis=1) > 0
    for level in range(image.root + 1):
        side, (rows, columns) = image.raster.side(level), image.raster.grid(level)
        colours, wide = image.colour(level), side // 16
        assert colours.mean.shape == (rows, columns, image.channels)
        for y in range(rows):
            for x in range(columns):
                part = slice(y * side, (y + 1) * side), slice(x * side, (x + 1) * side)
                count = int(mask[part].sum())
                index = np.array([image.index_at(level, x, y)])
                there = bool(image.find(level, index).present[0])
                assert there == (count > 0), (level, x, y)
                assert colours.pixels[y, x] == count
                if not there:
                    assert image.states(level, index).tolist() == [1], "all was looked at, so it is empty"
                    continue
                found = image.statistics(level, index)
                flat = numbers[part].reshape(-1, image.channels)
                assert [int(value) for value in found.sums[0]] == flat.sum(axis=0).tolist()
                assert [int(value) for value in found.squares[0]] == (flat**2).sum(axis=0).tolist()
                deviation = values[part][mask[part]].astype(np.float64).std(axis=0)
                assert np.allclose(found.deviation[0], deviation, rtol=1e-9, atol=3e-8 * np.iinfo(values.dtype).max)
                mean = [float(total) / count for total in flat.sum(axis=0)]
                assert colours.mean[y, x].tolist() == mean, "nearest to the area's mean"
                patches = np.argwhere(grid[y * wide : (y + 1) * wide, x * wide : (x + 1) * wide])[:, ::-1]
                patches = patches + np.array([x, y]) * wide
                assert found.patches[0] == len(patches)
                assert found.centre[0] == pytest.approx(patches.mean(axis=0), rel=1e-15)
                assert found.reach[0].tolist() == [*patches.min(axis=0), *(patches.max(axis=0) + 1)]


@st.composite
def pictures(draw: st.DrawFn) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    height, width = draw(st.integers(1, 200)), draw(st.integers(1, 300))
    values = pixels(
        height, width, draw(st.integers(1, 4)), draw(st.integers(0, 99)), draw(st.sampled_from(["uint8", "uint16"]))
    )
    mask = np.ones((height, width), np.bool_)
    for _ in range(draw(st.integers(0, 3))):
        y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        mask[y : y + draw(st.integers(1, 200)), x : x + draw(st.integers(1, 200))] = False
    mask[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = True
    return values, mask


@settings(max_examples=12)
@given(pictures=st.lists(pictures(), min_size=1, max_size=3), together=st.booleans())
def test_every_level_is_what_its_pixels_add_up_to(
    pictures: list[tuple[NDArray[Any], NDArray[np.bool_]]], together: bool
) -> None:
    with scratch() as folder, mctree.create(f"{folder}/t.mctree", chunk_bytes=SMALL) as tree:
        with tree.writer() as writer:
            for i, (values, mask) in enumerate(pictures):
                writer.add_image(f"{i}", ArraySource(values, mask))
                if not together:
                    writer.commit()
        with tree.snapshot() as snapshot:
            assert [image.name for image in snapshot.images()] == [f"{i}" for i in range(len(pictures))]
            for i, (values, mask) in enumerate(pictures):
                image = snapshot.image(f"{i}")
                check(image, values, mask)
                kept = image.pixels()
                assert np.array_equal(kept.values, np.where(mask[..., None], values, 0))
                assert np.array_equal(kept.real(), mask)
        assert_whole(tree)


def test_images_and_text_share_a_timeline(tree: mctree.Tree) -> None:
    with tree.writer() as writer:
        writer.add("before", b"some words " * 20)
        number = writer.add_image("picture", pixels(40, 50))
        writer.add("behind", b"other words " * 20)
    with tree.snapshot() as snapshot:
        image = snapshot.image("picture")
        assert (image.id, image.block, snapshot.blocks) == (number, 7, 16)
        assert snapshot.tokens_count == 20 * 11 + 20 * 12
        assert (
            snapshot.document("before").read() + snapshot.document("behind").read()
            == snapshot.packed(0, snapshot.positions).tokens.tobytes()
        )
        slot = snapshot.node((1, image.block))
        assert slot.document is not None and slot.document.id == number
        assert slot.tokens == 0 and slot.text() == ""
        root = snapshot.node(f"a1/{image.root}:{image.first(image.root)}")
        assert [str(child.address) for child in slot.children] == [str(child.address) for child in root.children]
        assert (root.parent is None and root.document == slot.document) or root.document is not None
        assert np.array_equal(slot.gist("joint"), root.gist("joint")), "the slot is the root"
        assert slot.gist("words") is None, "a set of text has no gist of an image"
        assert root.gist("eyes") is not None
        words, joint = snapshot.gists("words"), snapshot.gists("joint")
        assert np.flatnonzero(words.absent(1, np.arange(16))).tolist() == [7]
        assert not joint.absent(1, np.arange(16)).any()


def test_who_looks_for_the_bytes_of_an_image_is_told_where_its_nodes_are(tree: mctree.Tree) -> None:
    with tree.writer() as writer:
        writer.add_image("picture", pixels(40, 50))
    with tree.snapshot() as snapshot, pytest.raises(NotFoundError, match=r"is an image.*`Snapshot\.image`"):
        snapshot.find("picture")


def test_a_gist_above_an_image_is_made_of_the_images_own(tree: mctree.Tree) -> None:
    with tree.writer() as writer:
        writer.add("text", b"x" * 32 * 20)
        for i in range(44):
            writer.add_image(f"{i}", pixels(20, 20, seed=i))
    with tree.snapshot() as snapshot:
        view = snapshot.gists("joint")
        rows = view.gather(1, np.arange(64)).astype(np.float32).reshape(2, 32, 4)
        made = JOINT.encode(2, rows, np.ones((2, 32), np.bool_))
        assert np.array_equal(view.gather(2, np.arange(2)), made.astype(np.float16))
        # The second node has nothing but images: for a set of text it is not there.
        assert snapshot.gists("words").absent(2, np.arange(2)).tolist() == [False, True]
        before = view.gather(1, np.arange(64))
    with tree.writer() as writer:
        writer.change_image("30", pixels(5, 5, seed=99), Box(3, 3, 8, 8))
    with tree.snapshot() as snapshot:
        view = snapshot.gists("joint")
        changed = np.flatnonzero((view.gather(1, np.arange(64)) != before).any(axis=1))
        assert changed.tolist() == [snapshot.image("30").block]
        rows = view.gather(1, np.arange(64)).astype(np.float32).reshape(2, 32, 4)
        made = JOINT.encode(2, rows, np.ones((2, 32), np.bool_))
        assert np.array_equal(view.gather(2, np.arange(2)), made.astype(np.float16)), "what is above was made again"


def test_gists_that_come_with_a_changed_image_are_there(tree: mctree.Tree) -> None:
    """Both lie in one chunk of the timeline's gists, whose new generation must hold what was appended as well."""
    with tree.writer() as writer:
        writer.add("text", b"x" * 32 * 20)
        writer.add_image("changed", pixels(40, 30))
    with tree.writer() as writer:
        writer.change_image("changed", pixels(5, 5, seed=9), Box(3, 3, 8, 8))
        writer.add_image("new", pixels(20, 20, seed=1))
        writer.commit(gists=True)
    with tree.snapshot() as snapshot:
        for image in snapshot.images():
            root = image.gists(image.root, np.array([image.first(image.root)]), "joint")[0]
            assert root.any() and np.array_equal(snapshot.gists("joint").gather(1, np.array([image.block])), root)
    assert not list(tree.verify())


@settings(max_examples=8)
@given(data=st.data(), whole=st.booleans())
def test_a_changed_region_is_as_if_ingested_anew(data: st.DataObject, whole: bool) -> None:
    height, width = data.draw(st.integers(1, 400)), data.draw(st.integers(1, 400))
    old, new = pixels(height, width, seed=1), pixels(height, width, seed=1)
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    region = Box(x0, y0, data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height)))
    part = slice(region.y0, region.y1), slice(region.x0, region.x1)
    new[part] = pixels(region.height, region.width, seed=2)
    with scratch() as folder, made(Path(folder) / "a") as changed, made(Path(folder) / "b") as anew:
        for tree in (with_sets(changed), with_sets(anew)):
            with tree.writer() as writer:
                writer.add_image("beside", pixels(100, 100, seed=5))
                writer.add_image("picture", old if tree is changed else new)
        commit, before = changed.commits()[-1].number, told(changed)
        with changed.snapshot() as held:
            with changed.writer() as writer:
                writer.change_image("picture", new if whole else new[part], region)
            assert list(dump(held)) == before, "a snapshot does not change"
        # All but the fingerprint, which a region's pixels alone cannot give.
        assert [re.sub("'array:' [0-9a-f]*", "", line) for line in told(changed)] == [
            re.sub("'array:' [0-9a-f]*", "", line) for line in told(anew)
        ]
        assert told(changed, commit) == before
        assert_whole(changed)


def test_a_change_costs_what_is_above_it(tree: mctree.Tree) -> None:
    with tree.writer() as writer:
        writer.add_image("picture", pixels(2048, 2048))
    with tree.writer() as writer:
        image = writer.snapshot.image("picture")
        arrays = writer.snapshot.gallery.statistics_arrays(3)
        before = [writer.snapshot.state(array).rows for array in arrays]
        assert before[:3] == [128 * 128, 16 * 16, 8 * 8]
        writer.change_image("picture", pixels(10, 10, seed=1), Box(300, 300, 310, 310))
        writer.commit()
        after = [writer.snapshot.state(array).rows for array in arrays]
        assert image.root == len(arrays) - 1
    # One tile has new patches; above it, one page of 64 nodes at most is written again.
    assert np.subtract(after, before)[0] == 64
    assert np.subtract(after, before)[1:].max() <= 64


def test_what_was_removed_or_replaced_is_gone_for_new_snapshots_only(tree: mctree.Tree) -> None:
    with tree.writer() as writer:
        writer.add_image("a", pixels(50, 60))
        writer.add_image("b", pixels(70, 80, seed=1))
    with tree.snapshot() as held:
        before = list(dump(held))
        with tree.writer() as writer:
            with pytest.raises(UsageError, match="replace it"):
                writer.add_image("a", pixels(1, 1))
            writer.add_image("a", pixels(33, 33, seed=3), replace=True)
            writer.remove("b")
        assert list(dump(held)) == before
        with tree.snapshot() as snapshot:
            assert [(image.name, image.width) for image in snapshot.images()] == [("a", 33)]
            assert not snapshot.exists(f"a1/1:{held.image('b').first(1)}")
            with pytest.raises(NotFoundError):
                snapshot.image("b")
            assert snapshot.document("a").previous == held.image("a").id


def test_the_result_is_the_same_whatever_the_number_of_workers(tmp_path: Path) -> None:
    lines = []
    for workers in (1, 3):
        with made(tmp_path / f"{workers}.mctree") as tree:
            with_sets(tree)
            with tree.writer() as writer:
                writer.add_image("picture", ProceduralSource(1100, 2100), workers=workers)
            lines.append(told(tree))
    assert lines[0] == lines[1]


def test_a_set_covers_images_that_were_there_before_it(tmp_path: Path) -> None:
    lines = []
    for early in (True, False):
        with made(tmp_path / f"{early}.mctree") as tree:
            if early:
                with_sets(tree)
            with tree.writer() as writer:
                writer.add("text", b"words " * 300)
                writer.add_image("picture", pixels(1500, 300))
                writer.add_image("grey", pixels(30, 30, 1))
            if not early:
                with_sets(tree)
            lines.append(told(tree))
    assert lines[0] == lines[1]


def test_what_a_change_made_stale_is_made_again(tmp_path: Path) -> None:
    with made(tmp_path / "t.mctree") as tree:
        with_sets(tree)
        with tree.writer() as writer:
            writer.add_image("picture", pixels(500, 500))
    with mctree.open(tmp_path / "t.mctree") as tree:  # whose encoders are not known here
        with tree.writer() as writer:
            writer.change_image("picture", pixels(10, 10, seed=1), Box(0, 0, 10, 10))
        with tree.snapshot() as snapshot:
            image = snapshot.image("picture")
            tiles = image.first(1) + np.arange(20)
            states = {name: image.states(1, tiles, name).tolist() for name in (None, "eyes", "joint", "words")}
            assert states[None] == [2] * 16 + [0] * 4 and states["eyes"] == [3] + [2] * 15 + [0] * 4
            assert states["joint"] == states["eyes"] and states["words"] == [0] * 20
            changed, other, above = (image.node(*place) for place in ((0, 7, 7), (1, 1, 0), (image.root, 0, 0)))
            assert [node.state_in("eyes") for node in (changed, other, above)] == ["stale", "present", "stale"]
            assert changed.state == above.state == "present", "colours are made with the change"
    with mctree.open(tmp_path / "t.mctree", encoders=[JOINT, EYES, WORDS]) as tree:
        tree.refresh_gists("eyes")
        tree.build_gists(JOINT, "joint")
        lines = told(tree)
        with tree.snapshot() as snapshot:
            assert snapshot.image("picture").states(1, tiles, "eyes").tolist() == [2] * 16 + [0] * 4
        with made(tmp_path / "anew.mctree") as anew:
            with_sets(anew)
            values = pixels(500, 500)
            values[:10, :10] = pixels(10, 10, seed=1)
            with anew.writer() as writer:
                writer.add_image("picture", values)
            assert lines[-5:] == told(anew)[-5:]


def test_an_image_without_kept_pixels_says_so(tree: mctree.Tree) -> None:
    with tree.writer() as writer:
        writer.add_image("picture", pixels(300, 300), keep_pixels=0, sets=["eyes"])
    with tree.snapshot() as snapshot, pytest.raises(NotFoundError, match="are not kept"):
        snapshot.image("picture").pixels()
    with tree.writer() as writer:
        with pytest.raises(UsageError, match="keeps no pixels"):
            writer.change_image("picture", pixels(5, 5), Box(0, 0, 5, 5))
        writer.change_image("picture", pixels(128, 172), Box(128, 128, 300, 256))
    with pytest.raises(NotFoundError, match="cannot be opened"):
        tree.build_gists(JOINT, "joint")


def test_a_region_alone_is_known_of_and_nothing_else(tree: mctree.Tree) -> None:
    values = pixels(600, 600)
    with tree.writer() as writer:
        writer.add_image("picture", values, region=Box(130, 0, 200, 100))
    with tree.snapshot() as snapshot:
        image = snapshot.image("picture")
        tiles = np.array([image.index_at(1, x, y) for y in range(5) for x in range(5)])
        states = np.array(["unknown", "empty", "present", "stale"])[image.states(1, tiles)].tolist()
        assert states == ["unknown", "present", "unknown", "unknown", "unknown"] + ["unknown"] * 20
        assert (
            image.colour(image.root).mean[0, 0].tolist() == values[:128, 128:256].reshape(-1, 3).mean(axis=0).tolist()
        )


def test_a_gigantic_image_costs_what_is_covered(tmp_path: Path) -> None:
    side = 1 << 30
    places = [(0, 0), (513 << 20, 700 << 20), (side - 2048, side - 1024)]
    covered = [Box(x, y, x + 512, y + 256) for x, y in places]
    source = ProceduralSource(side, side, covered=covered)
    with made(tmp_path / "t.mctree") as tree:
        tree.build_gists(EYES, "eyes")
        with tree.writer() as writer:
            writer.add_image("world", source, keep_pixels=0)
            writer.add_image("icon", pixels(32, 32))
        with tree.snapshot() as snapshot:
            image = snapshot.image("world")
            assert image.root == 24
            top = image.statistics(24, np.array([image.first(24)]))
            assert top.pixels[0] == 3 * 512 * 256
            box = covered[1]
            tile = image.node(1, box.x0 // 128 + 1, box.y0 // 128)
            part = source.read(Box(box.x0 + 128, box.y0, box.x0 + 256, box.y0 + 128)).values
            assert tile.mean.tolist() == part.reshape(-1, 3).mean(axis=0).tolist()
            above, steps = tile, 0
            while above.parent is not None:
                above, steps = above.parent, steps + 1
            assert steps == 23 and len(above.children) == 2
            rows = [snapshot.state(array).rows for array in snapshot.gallery.statistics_arrays(3)]
            assert rows[0] == 3 * 512 + 4 and sum(rows[1:]) <= 3 * 8 + 1 + 3 * 24


def test_addresses_of_an_image_are_a_tree(tree: mctree.Tree) -> None:
    values = pixels(260, 390)
    with tree.writer() as writer:
        writer.add_image("other", pixels(20, 20))
        writer.add_image("picture", values)
    with tree.snapshot() as snapshot:
        image = snapshot.image("picture")
        root = snapshot.node(f"a1/{image.root}:{image.first(image.root)}")
        seen = 0
        waiting = [root]
        while waiting:
            node = waiting.pop()
            box = node.box
            part = values[box.y0 : box.y1, box.x0 : box.x1].reshape(-1, 3)
            assert node.mean.tolist() == (part.sum(axis=0) / len(part)).tolist()
            assert node.state == "present" and node.made_from == "pixels"
            for child in node.children:
                assert child.parent == node
                waiting.append(child)
            seen += node.level == 0
        assert seen == 17 * 25
        assert not snapshot.exists(f"a1/0:{image.base + morton.encode(25, 0)}")
        assert not snapshot.exists(f"a1/{image.root + 1}:0")
        assert not snapshot.exists(f"a1/1:{IMAGE.capacity(1) - 1 >> 6}")


def test_other_tools_read_the_view_of_an_image(tree: mctree.Tree, tmp_path: Path) -> None:
    values = pixels(700, 5000)
    with tree.writer() as writer:
        writer.add_image("strip", values, sets=[])
    with tree.snapshot() as snapshot:
        factors = snapshot.image("strip").export(tmp_path / "strip.ome.zarr")
        with pytest.raises(StoreExistsError):
            snapshot.image("strip").export(tmp_path / "strip.ome.zarr")
    assert factors == [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192]
    group = zarr.open_group(tmp_path / "strip.ome.zarr", mode="r")
    shown = group.attrs["ome"]["multiscales"][0]
    assert [axis["name"] for axis in shown["axes"]] == ["c", "y", "x"]
    for factor, dataset in zip(factors, shown["datasets"], strict=True):
        array = np.asarray(group[dataset["path"]])
        assert array.dtype == np.uint8
        assert array.shape == (3, -(-700 // factor), -(-5000 // factor))
        assert dataset["coordinateTransformations"][0]["scale"] == [1, factor, factor]
        for y, x in ((0, 0), (array.shape[1] - 1, array.shape[2] - 1)):
            part = values[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor].reshape(-1, 3)
            assert array[:, y, x].tolist() == np.rint(part.sum(axis=0) / len(part)).tolist()


def test_a_search_of_text_finds_no_images(tree: mctree.Tree) -> None:
    with tree.writer() as writer:
        writer.add("text", b"one two three four " * 9)
        for i in range(40):
            writer.add_image(f"{i}", pixels(3, 3, seed=i), sets=[])
    with tree.snapshot() as snapshot:
        for flat in (True, False):
            hits = search(snapshot, "one two", gist_set="words", top=50, flat=flat).hits
            assert {hit.node.index for hit in hits} == set(range(6))
