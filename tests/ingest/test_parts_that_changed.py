"""How much of an image is there is known from the image; whether it is the same one, from what its file holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mctree
from mctree.ingest import ingest, plan
from mctree.sources import plain
from mctree.sources.images import Box, Pixels, open_image
from mctree.sources.images.tiff import TiffSource
from mctree.testing import assert_whole
from mctree.testing.processes import KILLED, in_child
from tests.ingest.corpora import write
from tests.ingest.parts import FULL as LARGE
from tests.ingest.parts import counts, save, take
from tests.ingest.pictures import OPTIONS, held, pixels, png
from tests.sources.images.tile_sets import write_folder

pytestmark = pytest.mark.usefixtures("clocks_are_fine")

HEIGHT, WIDTH = 300, 600
FULL = LARGE[:HEIGHT, :WIDTH]
LEFT, RIGHT = Box(0, 0, 384, HEIGHT), Box(384, 0, WIDTH, HEIGHT)
CORNER = Box(0, 0, 10, 10)


@pytest.fixture
def image(folder: str) -> str:
    path = os.path.join(folder, "big.tif")
    save(path, FULL)
    return path


def by_hand(path: str, store: str, **options: object) -> None:
    """Put the image there from Python, in place of what is there."""
    with mctree.open(store) as tree, tree.writer() as writer, open_image(path) as source:
        writer.add_image("big.tif", source, replace=True, **options)


def state(store: str, name: str = "big.tif") -> tuple[int, int]:
    """The number of the image, and how many of its pixels are there."""
    with mctree.open(store, writable=False) as tree, tree.snapshot() as snapshot:
        assert_whole(tree)
        image = snapshot.image(name)
        return image.id, int(image.node(image.root, 0, 0).statistics.pixels[0])


@pytest.mark.parametrize("options", [{"region": CORNER}, {"finest": 3}])
@pytest.mark.parametrize("racy", [0, plan.RACY_NS])
def test_a_part_put_in_place_of_what_was_read_is_not_taken_for_all(image, store, monkeypatch, options, racy):
    """The file's stamp speaks of the same fingerprint, and does not say how much is there."""
    monkeypatch.setattr(plan, "RACY_NS", racy)
    take(image, store)
    by_hand(image, store, **options)
    number = state(store)[0]
    assert counts(take(image, store)) == (0, 1, 0, 0)
    assert state(store)[0] == number and np.array_equal(held(store)["big.tif"], FULL)
    assert counts(take(image, store)) == (0, 0, 0, 1)


def test_a_part_put_there_after_the_file_changed_is_added_to(image, store):
    """What was stamped speaks of another image than the one that is there."""
    take(image, store)
    save(image, FULL[::-1])
    by_hand(image, store, region=LEFT)
    number = state(store)[0]
    assert counts(take(image, store, region=RIGHT)) == (0, 1, 0, 0)
    assert state(store)[0] == number and np.array_equal(held(store)["big.tif"], FULL[::-1])
    assert counts(take(image, store)) == (0, 0, 0, 1)


@pytest.mark.parametrize("options", [{}, {"region": RIGHT}])
def test_parts_of_two_files_of_one_size_and_time_never_become_one_image(image, store, options):
    """As `cp -p`, `rsync -t` and `tar -x` leave them."""
    take(image, store, region=LEFT)
    save(image, FULL[::-1], times=os.stat(image).st_mtime_ns)
    assert counts(take(image, store, **options)) == (0, 0, 1, 0)
    found = held(store)["big.tif"]
    assert np.array_equal(found[:, 384:], FULL[::-1][:, 384:])
    assert np.array_equal(found[:, :384], np.zeros_like(FULL[:, :384]) if options else FULL[::-1][:, :384])


def breaking_off(path: str, store: str, **options: object) -> Callable[[], None]:
    """A run that dies at its third block, of which two are committed."""

    def dying() -> None:
        read, left = TiffSource.read, 3

        def last(self: TiffSource, box: Box, level: int = 0) -> Pixels:
            nonlocal left
            left -= box.area > 1
            return read(self, box, level) if left else os._exit(KILLED)

        TiffSource.read = last  # type: ignore[method-assign]  # this process ends with it
        take(path, store, batch_bytes=1 << 16, **options)

    return dying


@pytest.mark.parametrize("same", [True, False])
def test_an_image_that_was_begun_is_gone_on_with_only_if_its_file_is_the_same(image, store, monkeypatch, same):
    save(image)
    assert in_child(breaking_off(image, store)) == KILLED
    with mctree.open(store) as tree:
        assert list(tree.snapshot().gallery.unfinished()) == [b"big.tif"]
    reads: list[Box] = []
    read = TiffSource.read

    def counted(self: TiffSource, box: Box, level: int = 0) -> Pixels:
        reads.append(box)
        return read(self, box, level)

    monkeypatch.setattr(TiffSource, "read", counted)
    expected = LARGE if same else LARGE[::-1]
    save(image, expected, times=os.stat(image).st_mtime_ns)
    assert counts(take(image, store)) == (1, 0, 0, 0)
    assert (Box(0, 0, 1024, 1024) in reads) != same
    assert np.array_equal(held(store)["big.tif"], expected)
    assert not take(image, store).changed


@pytest.mark.parametrize("options", [{"region": CORNER}, {"region": CORNER, "finest": 2}, {"finest": 3}])
def test_a_whole_image_stays_when_a_part_of_it_is_asked_for(image, store, options):
    """Its file was written anew as it was, again and again: the same bytes are the same image."""
    take(image, store)
    before = state(store)
    for _ in range(2):
        os.utime(image)
        assert counts(take(image, store, **options)) == (0, 0, 0, 1)
        assert state(store) == before
    assert np.array_equal(held(store)["big.tif"], FULL)


def test_parts_stay_if_the_file_was_written_anew_as_it_was(image, store, monkeypatch):
    take(image, store, region=LEFT)
    number = state(store)[0]
    os.utime(image)
    assert counts(take(image, store, region=LEFT)) == (0, 0, 0, 1)
    os.utime(image)
    assert counts(take(image, store, region=RIGHT)) == (0, 1, 0, 0)
    assert state(store) == (number, HEIGHT * WIDTH) and np.array_equal(held(store)["big.tif"], FULL)
    with monkeypatch.context() as patched:
        patched.setattr("mctree.sources.plain.read_head", None)  # known at a glance from now on
        assert counts(take(image, store)) == (0, 0, 0, 1)


def test_what_did_not_change_is_not_read_for_a_digest_again(image, store, monkeypatch):
    take(image, store, region=LEFT)
    monkeypatch.setattr("mctree.sources.plain._content", lambda *_: pytest.fail("read"))
    assert counts(take(image, store, region=RIGHT)) == (0, 1, 0, 0)
    assert counts(take(image, store)) == (0, 0, 0, 1)


@pytest.mark.parametrize("options", [{}, {"region": CORNER}])
def test_a_folder_that_moved_keeps_its_parts(folder, store, options):
    root = Path(folder, "a", "map")
    write_folder(root, {(0, 0, 0): png(256, 256), (1, 0, 0): png(256, 256, seed=1), (1, 1, 1): png(256, 256, seed=2)})
    take(root, store, **options)
    number, some = state(store, "map")
    shutil.move(os.path.join(folder, "a"), os.path.join(folder, "b"))
    root = Path(folder, "b", "map")
    assert counts(take(root, store, region=Box(256, 256, 300, 300))) == ((0, 1, 0, 0) if options else (0, 0, 0, 1))
    assert state(store, "map")[0] == number and state(store, "map")[1] >= some
    with mctree.open(store) as tree, tree.snapshot() as snapshot:
        assert snapshot.image("map").uri == f"file://{root}"
    assert counts(take(root, store)) == ((0, 1, 0, 0) if options else (0, 0, 0, 1))
    with open_image(root) as source:
        assert np.array_equal(held(store)["map"], source.read(Box(0, 0, 512, 512)).values)


def test_parts_without_a_stamp_go_by_their_fingerprint(image, store):
    """Of parts that an older release took nothing was noted."""
    take(image, store, region=LEFT)
    with mctree.open(store) as tree, tree.writer() as writer:
        writer.stamp(b"big.tif", None)
        writer.keep_stamps()
    number = state(store)[0]
    assert counts(take(image, store, region=RIGHT)) == (0, 1, 0, 0)
    assert state(store)[0] == number and np.array_equal(held(store)["big.tif"], FULL)


def test_a_part_of_an_image_of_a_folder_is_completed_with_the_folder(folder, store):
    root = os.path.join(folder, "t")
    write(root, {"a.png": png(300, 300), "b.txt": b"text"})
    ingest([root], store, **OPTIONS)
    with mctree.open(store) as tree, tree.writer() as writer, open_image(f"{root}/a.png") as source:
        writer.add_image("t/a.png", source, replace=True, region=CORNER)
    assert counts(ingest([root], store)) == (0, 1, 0, 1)
    assert np.array_equal(held(store)["t/a.png"], pixels(300, 300))
    assert counts(ingest([root], store)) == (0, 0, 0, 2)


def test_of_a_large_file_a_part_costs_a_glance(image, store, monkeypatch):
    """All of it may never be read; what was read as a whole is still known by its bytes."""
    monkeypatch.setattr(plain, "_SAMPLED", 1000)
    monkeypatch.setattr(plan, "RACY_NS", 0)
    with monkeypatch.context() as patch:
        patch.setattr(plain, "_content", lambda file, between: pytest.fail("all of it was read"))
        take(image, store, region=LEFT)
        assert counts(take(image, store, region=LEFT)) == (0, 0, 0, 1)
        os.chmod(image, 0o600)  # another ctime, the same file
        assert counts(take(image, store, region=CORNER)) == (0, 0, 0, 1)
        before = os.stat(image)
        save(image, FULL[::-1])
        os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert os.stat(image).st_size == before.st_size
        assert counts(take(image, store, region=RIGHT)) == (0, 0, 1, 0), "nothing of the old one stays"
    other = f"{store}-whole"
    take(image, other)
    os.utime(image)
    assert counts(take(image, other, region=CORNER)) == (0, 0, 0, 1)
    assert np.array_equal(held(other)["big.tif"], FULL[::-1])
