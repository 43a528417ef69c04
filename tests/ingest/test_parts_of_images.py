"""A part of one image is ingested, then others, and in the end all of it: as if it had been read at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mctree
from mctree.errors import SourceError, UsageError
from mctree.ingest import ingest
from mctree.sources.images import Box, open_image
from mctree.sources.images.tiff import TiffSource
from mctree.testing import assert_whole
from tests.ingest.corpora import write
from tests.ingest.parts import FULL, HEIGHT, WIDTH, counts, save, take
from tests.ingest.pictures import OPTIONS, captions, held, pixels, png, told
from tests.sources.images.tile_sets import write_folder

pytestmark = pytest.mark.usefixtures("clocks_are_fine")


@pytest.fixture
def image(folder: str) -> str:
    """A TIFF with smaller sizes."""
    path = os.path.join(folder, "big.tif")
    save(path)
    return path


def there(store: str, name: str = "big.tif") -> np.ndarray:
    """Which tiles are there, down to their pixels; these must be what they should be."""
    with mctree.open(store, writable=False) as tree, tree.snapshot() as snapshot:
        assert_whole(tree)
        image = snapshot.image(name)
        found = np.zeros((-(-image.height // 128), -(-image.width // 128)), np.bool_)
        for row, column in np.ndindex(*found.shape):
            index = np.array([image.index_at(1, column, row)])
            found[row, column] = image.find(1, index).present[0]
            if found[row, column] and not image.find(1, index).overview[0]:
                box = Box(column * 128, row * 128, min((column + 1) * 128, WIDTH), min((row + 1) * 128, HEIGHT))
                mean = FULL[box.slices].reshape(-1, 3).mean(axis=0)
                assert np.allclose(snapshot.node(f"a1/1:{index[0]}").mean, mean)
        return found


def tiles(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Columns and rows of tiles."""
    found = np.zeros((-(-HEIGHT // 128), -(-WIDTH // 128)), np.bool_)
    for x0, y0, x1, y1 in boxes:
        found[y0:y1, x0:x1] = True
    return found


def test_regions_are_added_to_each_other_and_the_rest_comes_without_one(image, store, folder):
    assert counts(take(image, store, region=Box(130, 10, 300, 200))) == (1, 0, 0, 0)
    assert (there(store) == tiles((1, 0, 3, 2))).all()
    again = take(image, store, region=Box(130, 10, 300, 200))
    assert counts(again) == (0, 0, 0, 1) and not again.changed
    assert counts(take(image, store, region=Box(250, 100, 1300, 700))) == (0, 1, 0, 0)
    assert (there(store) == tiles((1, 0, 3, 2), (1, 0, 11, 6))).all()
    assert counts(take(image, store, region=Box(2200, 1000, 2300, 1100))) == (0, 1, 0, 0)
    assert (there(store) == tiles((1, 0, 11, 6), (17, 7, 18, 9))).all()
    with mctree.open(store) as tree, tree.snapshot() as snapshot:
        assert snapshot.documents_count == 1 and not snapshot.image("big.tif").whole
    # Whoever wants all of it gets the rest; from then on it is as any image is.
    assert counts(take(image, store)) == (0, 1, 0, 0)
    assert there(store).all()
    again = take(image, store)
    assert counts(again) == (0, 0, 0, 1) and not again.changed and not again.bytes_read
    assert counts(take(image, store, region=Box(0, 0, 1, 1))) == (0, 0, 0, 1)
    other = os.path.join(folder, "other")
    take(image, other)
    assert told(store) == told(other)


def test_a_coarse_view_becomes_finer_where_it_is_wanted_and_then_everywhere(image, store, folder):
    assert counts(take(image, store, finest=4)) == (1, 0, 0, 0)
    assert not there(store).any()
    assert counts(take(image, store, finest=4)) == counts(take(image, store, finest=5)) == (0, 0, 0, 1)
    assert counts(take(image, store, finest=2, region=Box(0, 0, 10, 10))) == (0, 1, 0, 0)
    assert not there(store).any()
    assert counts(take(image, store, region=Box(1024, 512, 1100, 600))) == (0, 1, 0, 0)
    assert there(store)[4, 8] and not there(store)[:, :8].any()
    assert counts(take(image, store)) == (0, 1, 0, 0)
    assert counts(take(image, store, finest=3)) == (0, 0, 0, 1)
    other = os.path.join(folder, "other")
    take(image, other)
    assert told(store) == told(other)


def test_a_coarse_region_is_begun_and_what_lies_beside_it_comes_in_detail(image, store, folder):
    assert counts(take(image, store, region=Box(0, 0, 10, 10), finest=3)) == (1, 0, 0, 0)
    for options in ({"region": Box(0, 0, 1000, 10)}, {}):
        with pytest.raises(
            UsageError, match=r"of big.tif a coarse view can be taken inside 0,0,512,512.* no finest level"
        ):
            take(image, store, finest=2, **options)
    assert counts(take(image, store, region=Box(0, 0, 10, 10), finest=2)) == (0, 1, 0, 0)
    assert counts(take(image, store, region=Box(500, 0, 700, 10))) == (0, 1, 0, 0)
    assert counts(take(image, store)) == (0, 1, 0, 0)
    other = os.path.join(folder, "other")
    take(image, other)
    assert told(store) == told(other)


def test_of_an_image_that_changed_nothing_old_stays(image, store):
    take(image, store, region=Box(0, 0, 10, 10))
    save(image, FULL[::-1])
    assert counts(take(image, store, region=Box(300, 300, 310, 310))) == (0, 0, 1, 0)
    with mctree.open(store) as tree, tree.snapshot() as snapshot:
        read = snapshot.image("big.tif").pixels(partial=True)
        assert np.array_equal(read.values[256:384, 256:384], FULL[::-1][256:384, 256:384])
        assert read.real().sum() == 128 * 128
    save(image)
    assert counts(take(image, store)) == (0, 0, 1, 0)
    assert np.array_equal(held(store)["big.tif"], FULL)
    # Nor does what is said of all of an image stay when a part of another one takes its place.
    save(image, FULL[::-1])
    assert counts(take(image, store, region=Box(0, 0, 10, 10))) == (0, 0, 1, 0)
    assert counts(take(image, store)) == (0, 1, 0, 0)
    assert np.array_equal(held(store)["big.tif"], FULL[::-1])


def test_what_was_broken_off_goes_on(image, store, folder, monkeypatch):
    """Of two blocks one is committed: the others are read, and it is not."""
    reads: list[Box] = []
    read, most = TiffSource.read, 99

    def counted(self: TiffSource, box: Box, level: int = 0) -> Any:
        if len(reads) == most:
            raise KeyboardInterrupt
        reads.append(box)
        return read(self, box, level)

    take(image, store, region=Box(0, 0, 1, 1))
    monkeypatch.setattr(TiffSource, "read", counted)
    options = {"batch_bytes": 1 << 18, "tokenizer": "bytes", "region": Box(0, 0, 2300, 1100)}
    most = 2
    with pytest.raises(KeyboardInterrupt):
        take(image, store, **options)
    first, most = list(reads), 99
    reads.clear()
    assert counts(take(image, store, **options)) == (0, 1, 0, 0)
    assert len(first) == 2 and first[0] not in reads
    take(image, store)
    other = os.path.join(folder, "other")
    take(image, other)
    assert told(store) == told(other)


def test_a_folder_that_is_one_image_is_taken_in_parts_too(folder, store):
    root = Path(folder, "map")
    write_folder(root, {(0, 0, 0): png(256, 256), (1, 0, 0): png(256, 256, seed=1), (1, 1, 1): png(256, 256, seed=2)})
    report = ingest([root], store, region=Box(0, 0, 10, 10), **OPTIONS)
    assert counts(report) == (1, 0, 0, 0)
    assert counts(ingest([root], store)) == (0, 1, 0, 0)
    with open_image(root) as source:
        assert np.array_equal(held(store)["map"], source.read(Box(0, 0, 512, 512)).values)
    assert counts(ingest([root], store)) == (0, 0, 0, 1)


def test_a_caption_is_linked_to_an_image_that_was_taken_in_parts(folder, store):
    root = os.path.join(folder, "t")
    write(root, {"a.png": png(300, 300), "a.txt": b"a caption"})
    ingest([f"{root}/a.png"], store, region=Box(0, 0, 10, 10), **OPTIONS)
    assert ingest([f"{root}/a.png", f"{root}/a.txt"], store).extended == 1
    assert captions(store) == {("a.png", "a.txt")}
    assert np.array_equal(held(store)["a.png"], pixels(300, 300))
    assert not ingest([f"{root}/a.png", f"{root}/a.txt"], store).changed


@pytest.mark.parametrize("options", [{"region": Box(0, 0, 10, 10)}, {"finest": 1}])
def test_only_one_image_has_parts(folder, store, options):
    root = os.path.join(folder, "t")
    write(
        root,
        {"a.png": png(), "b.png": png(), "c.txt": b"text", "d.jsonl": b'{"text": "x"}\n', "e/f": b"", "cut.png": b""},
    )
    wrong: list[list[str]] = [[root], [f"{root}/a.png", f"{root}/b.png"], [f"{root}/c.txt"], [f"{root}/d.jsonl"]]
    for paths in (*wrong, [f"{root}/e"], ["-"]):
        with pytest.raises(UsageError, match="is taken of one image: give the path of one image, and nothing else"):
            ingest(paths, store, **options)
    with pytest.raises(UsageError, match="is taken of one image"):
        ingest([f"{root}/a.png"], store, images=False, **options)
    Path(root, "cut.png").write_bytes(png(300, 300)[:30])
    with pytest.raises(SourceError, match="is no readable PNG"):
        ingest([f"{root}/cut.png"], store, **options)
    assert not os.path.exists(store)


def test_parts_that_an_image_has_not_are_refused_before_anything_is_written(folder, store):
    write(folder, {"a.png": png(40, 30)})
    with pytest.raises(UsageError, match="reaches beyond the image, which is 30 × 40 pixels"):
        ingest([f"{folder}/a.png"], store, region=Box(0, 0, 31, 10))
    for finest in (2, -1):
        with pytest.raises(UsageError, match=r"levels 0..1, not"):
            ingest([f"{folder}/a.png"], store, finest=finest)
    assert not os.path.exists(store)
