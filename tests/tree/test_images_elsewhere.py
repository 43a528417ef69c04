"""Images whose pixels are not kept are followed where they go, and those that were begun in vain are let go of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import mctree
from mctree.encoders import CosineEncoder
from mctree.errors import NotFoundError, SourceError, UsageError
from mctree.sources.images import ArraySource, Box, open_image
from mctree.testing import assert_whole
from mctree.testing.dump import dump

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)


def test_an_image_comes_from_elsewhere(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=1 << 16) as tree:
        with tree.writer() as writer, open_image(tmp_path / "a.png") as image:
            writer.add_image("a", image, keep_pixels=0)
        with tree.snapshot() as held:
            (tmp_path / "a.png").rename(tmp_path / "b.png")
            with pytest.raises(NotFoundError, match="cannot be opened"):
                tree.build_gists(CosineEncoder(3), "eyes")
            with tree.writer() as writer, open_image(tmp_path / "b.png") as image:
                writer.relocate_image("a", image)
                with pytest.raises(UsageError, match="commit before"):
                    writer.relocate_image("a", image)
                with pytest.raises(UsageError, match="commit before"):
                    writer.change_image("a", image, Box(0, 0, 9, 9))
            tree.build_gists(CosineEncoder(3), "eyes")
            with tree.snapshot() as snapshot:
                image = snapshot.image("a")
                assert image.uri.endswith("b.png") and len(image.record.sets) == 1
            assert held.image("a").uri.endswith("a.png"), "older commits say what was so then"
        assert_whole(tree)
        with tree.writer() as writer:
            with pytest.raises(UsageError, match="replace it instead"):
                writer.relocate_image("a", ArraySource(PIXELS[:-1]))
            with pytest.raises(NotFoundError):
                writer.relocate_image("b", ArraySource(PIXELS))
            writer.add("text", b"text")
            writer.commit()
            with pytest.raises(UsageError, match="no image"):
                writer.relocate_image("text", ArraySource(PIXELS))


@pytest.mark.parametrize("finest", [0, 2])
def test_a_file_that_was_written_anew_with_its_old_size_and_time_is_no_source_any_more(
    tmp_path: Path, finest: int
) -> None:
    """Else gists of a new set would be made of other pixels than all else that the store knows of the image."""
    path = tmp_path / "a.tif"
    values = np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)

    def write(full: Any, half: Any) -> None:
        with tifffile.TiffWriter(path) as tiff:
            tiff.write(full, tile=(64, 64), photometric="rgb", metadata=None)
            tiff.write(half, tile=(64, 64), photometric="rgb", metadata=None, subfiletype=1)
        os.utime(path, ns=(0, 0))

    write(values, values[::2, ::2])
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=1 << 16) as tree:
        with tree.writer() as writer, open_image(path) as image:
            writer.add_image("a", image, keep_pixels=0, finest=finest)
        other, smaller = values.copy(), values[::2, ::2].copy()
        other[290, 490, 1] ^= 1
        smaller[145, 245, 1] ^= 1
        write(other, smaller)
        with pytest.raises(SourceError, match="shows other pixels than those that image 1 was made of"):
            tree.build_gists(CosineEncoder(3), "eyes")
        write(values, values[::2, ::2])
        tree.build_gists(CosineEncoder(3), "eyes")
        assert_whole(tree)


def test_an_image_that_is_all_there_needs_no_source_to_say_so(tmp_path: Path) -> None:
    """An array has no name that could be opened again, and needs none where all its pixels are kept."""
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=1 << 16) as tree, tree.writer() as writer:
        writer.add_image("whole", PIXELS)
        writer.add_image("part", np.tile(PIXELS, (9, 9, 1)), region=Box(0, 0, 9, 9))
        writer.commit()
        assert writer.deepen_image("whole") == writer.deepen_image("part") == 0
        assert not writer.extend_image("whole") and not writer.extend_image("whole", region=Box(0, 0, 9, 9))
        with pytest.raises(UsageError, match="reaches beyond"):
            writer.extend_image("whole", region=Box(0, 0, 99, 9))
        with pytest.raises(NotFoundError, match="'array:', cannot be opened by its name: give it"):
            writer.extend_image("part")
        with pytest.raises(NotFoundError, match="cannot be opened by its name"):
            writer.snapshot.image("part").follow()


class Ending(ArraySource):
    """Pixels of which the third read is broken off."""

    reads = 0

    def read(self, box: Box, level: int = 0) -> Any:
        self.reads += 1
        if self.reads == 3:
            raise KeyboardInterrupt
        return super().read(box, level)


def test_an_image_that_was_broken_off_is_forgotten(tmp_path: Path) -> None:
    values = np.zeros((3000, 1000), np.uint8)
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=1 << 16) as tree:
        before = list(dump(tree.snapshot()))
        for again in (False, True):
            with tree.writer() as writer:
                with pytest.raises(KeyboardInterrupt):
                    writer.add_image("a", Ending(values), commit_every=1)
                assert list(writer.snapshot.gallery.unfinished()) == [b"a"]
                if again:
                    writer.add_image("a", ArraySource(values[:10]))
                else:
                    writer.forget_image("a")
                    writer.forget_image("never")
            with tree.snapshot() as snapshot:
                assert not snapshot.gallery.unfinished()
                assert list(dump(snapshot)) == before or again
        assert tree.snapshot().image("a").height == 10
        assert_whole(tree)


def test_images_are_found_by_their_documents(tmp_path: Path) -> None:
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=1 << 16) as tree, tree.writer() as writer:
        numbers = [writer.add_image(f"{i}", PIXELS[: i + 1]) for i in range(5)]
        writer.commit()
        numbers[1] = writer.add_image("1", PIXELS[:2], replace=True)
        writer.remove(numbers[3])
        writer.commit()
        places = writer.snapshot.gallery.places
        found = {number: places.of_document(number) for number in range(10)}
        alive = {numbers[i]: i + 1 for i in (0, 1, 2, 4)}
        assert {number: int(graft["height"]) for number, graft in found.items() if graft is not None} == alive
        assert writer.snapshot.gallery.record(numbers[4]).height == 5


def test_a_compaction_drops_links_of_images_that_are_gone(tmp_path: Path) -> None:
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=1 << 16) as tree:
        with tree.writer() as writer:
            writer.add("text", b"text")
            for name in "ab":
                writer.add_image(name, PIXELS)
            writer.commit()
            for name in "ab":
                base = writer.snapshot.image(name).base
                writer.link((base, base + 64), (0, 4), kind="caption", spaces=(1, 0))
            writer.commit()
            writer.remove("a")
        assert len(tree.snapshot().all_links()) == 2
        tree.compact()
        (link,) = tree.snapshot().all_links()
        assert link.source[1] == tree.snapshot().image("b").base


def test_a_set_of_images_that_was_dropped_is_whole_for_those_who_see_it(tmp_path: Path) -> None:
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=1 << 16) as tree:
        with tree.writer() as writer:
            writer.add_image("a", PIXELS)
        tree.build_gists(CosineEncoder(3), "eyes")
        array = tree.snapshot().gists("eyes").record.images[1]
        held = tree.snapshot()
        tree.drop_gists("eyes")
        tree.build_gists(CosineEncoder(1), "other")
        assert not list(tree.verify())
        files = (tmp_path / "t.mctree" / held.layout(array).path).rglob("*")
        (path,) = [file for file in files if file.is_file() and file.name != "zarr.json"]
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        assert any("eyes" in problem.what for problem in tree.verify()), "older commits show it"
        path.write_bytes(data)
        held.close()
