"""A store keeps up with the images of a folder as it does with its texts."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import mctree
from mctree.encoders import CosineEncoder
from mctree.errors import SourceError
from mctree.ingest import Report, ingest
from mctree.sources import images as source_images
from mctree.sources.images import ArraySource
from mctree.testing import ToyEncoder, scratch
from tests.ingest.corpora import write
from tests.ingest.pictures import OPTIONS, held, pixels, png, sync, told
from tests.sources.images.tile_sets import write_folder, write_mbtiles, write_pmtiles
from tests.sources.sparse import lengthened

pytestmark = pytest.mark.usefixtures("clocks_are_fine")


def counts(report: Report) -> tuple[int, int, int, int]:
    return report.added, report.superseded, report.removed, report.unchanged


def sets(store: str) -> dict[str, tuple[str, int]]:
    """The gist sets: encoder, and how many images have a gist of their own in each."""
    with mctree.open(store, writable=False) as tree, tree.snapshot() as snapshot:
        return {
            view.name: (view.record.kind, sum(view.number in image.record.sets for image in snapshot.images()))
            for view in snapshot.gist_sets()
        }


def test_a_folder_of_texts_and_images_of_all_kinds_becomes_documents(root, store):
    tile = png(16, 16)
    write(
        root,
        {
            "a.txt": b"some text",
            "b.png": png(),
            "c.jpeg": png(50, 60, kind="JPEG"),
            "d.webp": png(20, 20, kind="WEBP"),
            "grey": png(17, 33, channels=1),
            "clear.png": png(9, 8, channels=4),
        },
    )
    tifffile.imwrite(f"{root}/e.tif", pixels(70, 80), photometric="rgb")
    tifffile.imwrite(f"{root}/f.tif", pixels(70, 80, seed=1), photometric="rgb", bigtiff=True)
    zarr.create_array(f"{root}/g.zarr", shape=(40, 30, 3), dtype="u1")[:] = pixels()
    write_pmtiles(Path(root, "h.pmtiles"), {(1, 0, 0): tile})
    write_mbtiles(Path(root, "i.mbtiles"), {(1, 0, 0): tile})
    report = sync(root, store)
    assert (report.added, report.images, report.skipped_count) == (11, 10, 0)
    assert report.pixels == 40 * 30 * 2 + 50 * 60 + 20 * 20 + 17 * 33 + 9 * 8 + 70 * 80 * 2 + 32 * 32 * 2
    found = held(store)
    assert found["t/a.txt"] == b"some text"
    for name, values in {
        "t/b.png": pixels(),
        "t/g.zarr": pixels(),
        "t/e.tif": pixels(70, 80),
        "t/f.tif": pixels(70, 80, seed=1),
        "t/grey": pixels(17, 33, channels=1),
        "t/clear.png": pixels(9, 8, channels=4),
    }.items():
        np.testing.assert_array_equal(found[name], values)
    assert found["t/c.jpeg"].shape == (50, 60, 3) and found["t/h.pmtiles"].shape[:2] == (32, 32)
    with mctree.open(store) as tree, tree.snapshot() as snapshot:
        assert snapshot.image("t/b.png").uri == f"file://{root}/b.png"
        assert snapshot.default_gists == "default" and snapshot.gists().record.kind == "lexical"
    # The archives of tiles know transparency.
    assert sets(store) == {
        "default": ("lexical", 0),
        "images-3": ("cosine", 6),
        "images-1": ("cosine", 1),
        "images-4": ("cosine", 3),
    }
    again = sync(root, store)
    assert counts(again) == (0, 0, 0, 11) and not again.changed and not again.bytes_read


def test_a_file_that_is_younger_than_a_clock_can_tell_is_looked_at_again_and_no_more(root, store, monkeypatch):
    monkeypatch.setattr("mctree.ingest.plan.RACY_NS", 10**18)
    write(root, {"a.png": png(), "b.txt": b"text"})
    sync(root, store)
    report = sync(root, store)
    assert counts(report) == (0, 0, 0, 2) and not report.changed


def test_a_folder_of_tiles_is_one_image_and_kept_up_with(root, store):
    tiles = {(0, 0, 0): png(16, 16), (1, 0, 1): png(16, 16, seed=1), (1, 1, 1): png(16, 16, seed=2)}
    write_folder(Path(root, "map"), tiles)
    write(f"{root}/texts", {"a.txt": b"text"})
    report = sync(root, store)
    assert (report.added, report.images, report.skipped_count) == (2, 1, 0)

    def expected(*seeds):
        values = np.zeros((32, 32, 4), np.uint8)
        for x, seed in enumerate(seeds):
            values[16:, 16 * x : 16 * x + 16] = np.dstack([pixels(16, 16, seed=seed), np.full((16, 16), 255, np.uint8)])
        return values

    assert set(held(store)) == {"t/map", "t/texts/a.txt"}
    np.testing.assert_array_equal(held(store)["t/map"], expected(1, 2))
    again = sync(root, store)
    assert counts(again) == (0, 0, 0, 2) and not again.changed and not again.bytes_read
    # Written anew as it was, down to the time, it is the same image; of that the store learns nothing new.
    one = Path(root, "map", "1", "1", "1.png")
    times = one.stat().st_mtime_ns
    one.write_bytes(tiles[1, 1, 1])
    os.utime(one, ns=(times, times))
    assert counts(sync(root, store)) == (0, 0, 0, 2)
    one.write_bytes(png(16, 16, seed=3))
    assert counts(sync(root, store)) == (0, 1, 0, 1)
    np.testing.assert_array_equal(held(store)["t/map"], expected(1, 3))
    one.unlink()
    assert counts(sync(root, store)) == (0, 1, 0, 1)
    np.testing.assert_array_equal(held(store)["t/map"][:, 16:], 0)
    # A picture that is no tile would make it a folder of pictures; but it is known, so what the store has of it stays.
    write(f"{root}/map/more", {"photo.png": png(9, 9)})
    report = sync(root, store)
    assert counts(report) == (0, 0, 0, 1) and not report.changed
    assert "more is no folder called by a zoom" in report.skipped[0].reason
    # Whoever wants it as pictures takes the image out of the store.
    with mctree.open(store) as tree, tree.writer() as writer:
        writer.remove("t/map")
        writer.commit()
    assert counts(sync(root, store)) == (3, 0, 0, 1)
    assert set(held(store)) == {"t/map/0/0/0.png", "t/map/1/0/1.png", "t/map/more/photo.png", "t/texts/a.txt"}
    shutil.rmtree(f"{root}/map/more")
    assert counts(sync(root, store)) == (1, 0, 3, 1)
    assert set(held(store)) == {"t/map", "t/texts/a.txt"}


def test_a_pyramid_of_tiles_that_an_image_cannot_be_is_skipped(root, store):
    write(root, {"a.txt": b"text"})
    write_folder(Path(root, "deep"), {(29, 1, 1): png(16, 16), (30, 2, 2): png(16, 16)})
    (found,) = sync(root, store).skipped
    assert found.name == b"t/deep" and found.reason.startswith("reaches zoom 30, with tiles of 16 pixels: an image")


FILES = st.sampled_from(
    [b"", b"text", b"other text", png(), png(seed=1), png(33, 20, channels=1), png()[:100], b"\0binary"]
)


@given(
    st.lists(st.dictionaries(st.sampled_from(["a.png", "b", "c.txt"]), FILES), min_size=2, max_size=4), st.booleans()
)
@settings(max_examples=10)
def test_a_store_that_followed_a_folder_holds_what_the_folder_holds(states, keep):
    """But for what cannot be read: then what was there before stays; and what is gone stays if that was asked for."""
    readable = {
        b"": b"",
        b"text": b"text",
        b"other text": b"other text",
        png(): pixels(),
        png(seed=1): pixels(seed=1),
        png(33, 20, channels=1): pixels(33, 20, channels=1),
    }
    expected: dict[str, Any] = {}
    with scratch() as above:
        root, store = os.path.join(above, "t"), os.path.join(above, "s")
        for state in states:
            write(root, state)
            try:
                sync(root, store, encoder="none", keep_vanished=keep)
            except SourceError:
                assert not os.path.exists(store)
                continue
            before, expected = expected, dict(expected) if keep else {}
            for name, content in state.items():
                if content in readable:
                    expected[f"t/{name}"] = readable[content]
                elif content != b"\0binary" and f"t/{name}" in before:
                    expected[f"t/{name}"] = before[f"t/{name}"]
            found = held(store)
            assert found.keys() == expected.keys()
            assert all(np.array_equal(found[name], one) for name, one in expected.items())
            assert not sync(root, store, keep_vanished=keep).changed


def test_what_did_not_change_is_not_read_and_what_is_the_same_again_is_kept(root, store, monkeypatch):
    write(root, {"a.png": png(), "b.png": png(seed=1)})
    assert counts(sync(root, store)) == (2, 0, 0, 0)
    before = told(store)
    with monkeypatch.context() as patched:
        patched.setattr("mctree.sources.plain.read_head", None)  # not even opened
        assert counts(sync(root, store)) == (0, 0, 0, 2)
    # Written anew with the same bytes: its file has another time, and no more is said of it.
    os.unlink(f"{root}/a.png")
    write(root, {"a.png": png(), "b.png": png(seed=1)})
    report = sync(root, store)
    assert counts(report) == (0, 0, 0, 2) and report.images == 0
    assert [line for line in told(store) if not line.startswith("image ")] == [
        line for line in before if not line.startswith("image ")
    ]
    with mctree.open(store, encoders=[]) as tree, tree.snapshot() as snapshot:
        image, source = snapshot.image("t/a.png"), source_images.open_image(f"{root}/a.png")
        assert image.record.fingerprint == source.fingerprint
        source.close()
    assert not sync(root, store).changed


def test_an_image_whose_pixels_are_not_kept_is_found_again_where_its_folder_went(root, store, folder, monkeypatch):
    monkeypatch.setattr(
        mctree.Writer.add_image, "__kwdefaults__", mctree.Writer.add_image.__kwdefaults__ | {"keep_pixels": 0}
    )
    write(root, {"a.png": png()})
    sync(root, store)
    os.mkdir(f"{folder}/new")
    shutil.move(root, f"{folder}/new/t")
    assert counts(sync(f"{folder}/new/t", store)) == (0, 0, 0, 1)
    with mctree.open(store) as tree:
        assert not tree.snapshot().image("t/a.png").keeps_pixels
        tree.build_gists(CosineEncoder(3, side=2), "more")
    assert sets(store)["more"] == ("cosine", 1)
    assert not sync(f"{folder}/new/t", store).changed


def test_a_broken_or_hostile_image_is_one_skipped_input(root, store):
    bomb = bytearray(png())
    bomb[16:24] = (100_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    files = {
        "a.txt": b"text",
        "bomb.png": bytes(bomb),
        "cut.png": png(300, 300)[:5000],
        "cut.jpg": png(300, 300, kind="JPEG")[:3000],
        "no.tif": b"II\x2a\0\xff\xff\xff\xff" + bytes(100),
        "no.pmtiles": b"PMTiles\3" + bytes(200),
        "no.mbtiles": b"SQLite format 3\0" + bytes(200),
        "z.png": png(),
    }
    write(root, files)
    os.makedirs(f"{root}/no.zarr")
    Path(root, "no.zarr", "zarr.json").write_bytes(b'{"zarr_format": 3}')
    zarr.create_array(f"{root}/deep.zarr", shape=(4, 4), dtype="f4")
    report = sync(root, store)
    assert (report.added, report.images) == (2, 1)
    assert set(held(store)) == {"t/a.txt", "t/z.png"}
    reasons = {found.name.decode(): found.reason for found in report.skipped}
    assert set(reasons) == {f"t/{name}" for name in (*files, "no.zarr", "deep.zarr") if name not in ("a.txt", "z.png")}
    assert "max_pixels" in reasons["t/bomb.png"] and "float32" in reasons["t/deep.zarr"]
    assert reasons["t/cut.png"].startswith("is no readable PNG picture")
    assert [reason for reason in reasons.values() if root in reason or "\n" in reason] == []
    # Told again with each run, and nothing grows of it.
    again = sync(root, store)
    assert again.skipped_count == report.skipped_count and not again.changed


def test_a_sparse_terabyte_is_skipped_and_what_was_taken_stays(root, store):
    """Found by reading: it was read to its end, by the run that took it and by the one that found it changed."""
    write(root, {"a.tif": tiff(), "new.png": png(seed=1), "z.png": png()})
    lengthened(f"{root}/new.png")
    report = sync(root, store)
    assert (report.added, report.skipped_count) == (2, 1)
    before = held(store)
    lengthened(f"{root}/a.tif")
    again = sync(root, store)
    assert counts(again) == (0, 0, 0, 1)
    reasons = {found.name.decode(): found.reason for found in again.skipped}
    assert set(reasons) == {"t/a.tif", "t/new.png"}
    words = "GiB of it are holes: copy what is in it to a file without them, or exclude it"
    assert all(reason.partition(" ")[2] == words for reason in reasons.values())
    after = held(store)
    assert after.keys() == before.keys() and np.array_equal(after["t/a.tif"], before["t/a.tif"])


def tiff() -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pixels(), photometric="rgb", tile=(16, 16), compression="zlib")
    return out.getvalue()


HOSTILE = [png(), png(kind="JPEG"), png(kind="WEBP"), png(channels=1, kind="GIF"), png(kind="BMP"), tiff()]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(HOSTILE),
            st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=4),
            st.integers(8, 5000),
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=40)
def test_no_damage_ends_a_run(hostile):
    """Whatever bytes of an image are others, and wherever it is cut: it is read, or skipped with a reason."""
    files = {"z.txt": b"text"}
    for number, (content, flips, size) in enumerate(hostile):
        data = bytearray(content[:size])
        for place, value in flips:
            data[place % len(data)] = value
        files[f"{number}"] = bytes(data)
    with scratch() as above:
        root, store = os.path.join(above, "t"), os.path.join(above, "s")
        write(root, files)
        report = sync(root, store, encoder="none")
        assert report.added + report.skipped_count == len(files)
        assert all(found.reason.isprintable() and found.reason for found in report.skipped)
        assert held(store)["t/z.txt"] == b"text"


def test_a_picture_that_is_too_large_can_be_allowed(root, store):
    write(root, {"a.png": png(), "b.txt": b"text"})
    assert [found.name for found in sync(root, store, max_pixels=1000).skipped] == [b"t/a.png"]
    assert sync(root, store, max_pixels=1200).added == 1


def test_without_the_libraries_images_are_skipped_and_those_that_are_there_stay(root, store, monkeypatch):
    write(root, {"a.png": png(), "b.txt": b"text"})
    sync(root, store)
    for name in [name for name in sys.modules if name.startswith("mctree.sources.images.pictures")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    write(root, {"a.png": png(seed=1), "b.txt": b"text"})
    report = sync(root, store)
    assert report.skipped[0].reason == "needs imagecodecs, which is not installed: pip install 'mctree[images]'"
    np.testing.assert_array_equal(held(store)["t/a.png"], pixels())
    os.unlink(f"{root}/a.png")
    assert counts(sync(root, store)) == (0, 0, 1, 1)


def test_images_can_be_switched_off(root, store):
    write(root, {"a.png": png(), "b.txt": b"text"})
    zarr.create_array(f"{root}/c.zarr", shape=(4, 4), dtype="u1")[:] = 7
    report = sync(root, store, images=False)
    assert {found.reason for found in report.skipped} == {"binary"} and report.images == 0
    assert set(held(store)) == {"t/b.txt", "t/c.zarr/zarr.json"}
    # What is wanted this time is what there is.
    report = sync(root, store)
    assert (report.added, report.removed) == (2, 1)
    assert set(held(store)) == {"t/a.png", "t/b.txt", "t/c.zarr"}
    assert sync(root, store, images=False, keep_vanished=True).removed == 0
    assert sync(root, store, images=False).removed == 2
    assert set(held(store)) == {"t/b.txt", "t/c.zarr/zarr.json"}


def test_a_root_that_is_an_image_becomes_a_folder_and_one_again(root, store):
    zarr.create_array(root, shape=(40, 30), dtype="u1")[:] = pixels()[:, :, 0]
    sync(root, store)
    assert set(held(store)) == {"t"}
    write(root, {"a.txt": b"text"})
    sync(root, store)
    assert set(held(store)) == {"t/a.txt"}
    shutil.rmtree(root)
    zarr.create_array(root, shape=(40, 30), dtype="u1")[:] = 1
    sync(root, store)
    assert set(held(store)) == {"t"}


def test_one_image_is_enough_for_a_store(root, store):
    write(root, {"a.png": png()})
    ingest([f"{root}/a.png"], store, chunk_bytes=1 << 16)
    assert set(held(store)) == {"a.png"}
    with mctree.open(store) as tree, tree.snapshot() as snapshot:
        assert tree.tokenizer is not None and tree.tokenizer.kind == "bytes"
        assert snapshot.default_gists == "default"
    # Text that comes later has gists as well.
    write(root, {"a.png": png(), "b.txt": b"some text " * 20})
    sync(root, store)
    with mctree.open(store) as tree, tree.snapshot() as snapshot:
        assert snapshot.gists().rows(1) == snapshot.blocks > 5
    with pytest.raises(SourceError, match="no text"):
        ingest([f"{root}/a.png"], store + "2", images=False)
    assert not os.path.exists(store + "2")


def test_a_store_without_images_has_no_set_of_them(root, store):
    write(root, {"a.txt": b"text"})
    sync(root, store)
    assert sets(store) == {"default": ("lexical", 0)}
    write(root, {"a.txt": b"text", "b.png": png()})
    sync(root, store)
    assert sets(store) == {"default": ("lexical", 0), "images-3": ("cosine", 1)}
    with mctree.open(store) as tree:
        tree.drop_gists("images-3")
    write(root, {"a.txt": b"text", "b.png": png(), "c.png": png(seed=1), "d.png": png(channels=1)})
    sync(root, store)
    assert sets(store) == {"default": ("lexical", 0), "images-1": ("cosine", 1)}, "what was dropped stays dropped"


def test_who_wants_no_gists_or_has_an_encoder_gets_no_other(root, store):
    write(root, {"a.txt": b"text", "b.png": png()})
    sync(root, store, encoder="none")
    write(root, {"a.txt": b"text", "b.png": png(), "c.png": png(seed=1)})
    sync(root, store)
    assert sets(store) == {}
    own = store + "2"
    ingest([f"{root}/a.txt"], own, encoder=ToyEncoder(), **OPTIONS)
    with mctree.open(own, encoders=[ToyEncoder()]) as tree:
        tree.build_gists(CosineEncoder(3, side=8), "images-1")
    ingest([root], own, encoder=ToyEncoder(), workers=1)
    assert {name: found for name, (_, found) in sets(own).items()} == {"default": 0, "images-1": 2}
    write(root, {"d.png": png(channels=1)})
    ingest([root], own, encoder=ToyEncoder(), workers=1)
    assert {name: found for name, (_, found) in sets(own).items()} == {"default": 0, "images-1": 0, "images-1-2": 1}


def test_images_of_other_names_are_left_alone(root, store):
    write(root, {"a.png": png()})
    sync(root, store)
    with mctree.open(store) as tree, tree.writer() as writer:
        writer.add_image("mine", ArraySource(pixels(seed=5)))
    write(root, {"b.txt": b"text"})
    sync(root, store)
    assert set(held(store)) == {"mine", "t/b.txt"}


def test_progress_counts_the_files_of_images(root, store):
    write(root, {"a.png": png(1100, 900), "b.txt": b"text", "c.bin": b"\0" * 1000, "d.png": png(1100, 900)[:9000]})
    events: list[Any] = []
    sync(root, store, on_event=events.append)
    last = events[-1]
    assert last.bytes == last.total_bytes == os.path.getsize(f"{root}/a.png") + 4
    assert last.images == 1 and last.documents == 2
    assert all(a.bytes <= b.bytes for a, b in itertools.pairwise(events))


REAL = ("astronaut.png", "chelsea.png", "coins.png", "hubble_deep_field.jpg", "logo.png", "page.png", "retina.jpg")


def test_photographs_and_scans_are_exact_means_of_their_pixels_at_every_level(root, store):
    data = Path(skimage.__file__).parent / "data"
    write(root, {name: (data / name).read_bytes() for name in REAL})
    assert sync(root, store).images == len(REAL)
    with mctree.open(store, writable=False) as tree, tree.snapshot() as snapshot:
        assert list(tree.verify()) == []
        for image in snapshot.images():
            with Image.open(data / image.name.rpartition("/")[2]) as opened:
                values = np.atleast_3d(np.asarray(opened)).astype(np.int64)
            assert np.array_equal(image.pixels().values, values)
            for level in range(image.root + 1):
                edges = [range(0, size, image.raster.side(level)) for size in values.shape[:2]]
                sums = np.add.reduceat(np.add.reduceat(values, edges[0], axis=0), edges[1], axis=1)
                ones = np.ones(values.shape[:2], np.int64)
                count = np.add.reduceat(np.add.reduceat(ones, edges[0], axis=0), edges[1], axis=1)
                found = image.colour(level)
                assert np.array_equal(found.pixels, count)
                assert np.array_equal(found.mean, sums / count[..., None]), "nearest to the mean of the area"


def test_two_inputs_of_one_name_are_told_apart(root, store):
    write(root, {"a.jsonl": b'{"text": "x"}\n', "a.jsonl#1": png()})
    report = sync(root, store)
    assert (report.added, report.skipped_count) == (1, 1)
    assert held(store) == {"t/a.jsonl#1": b"x"}
    assert sync(root, store).skipped_count == 1


def test_a_store_of_an_older_format_takes_texts_alone(root, store):
    shutil.copytree(Path(__file__).parents[1] / "fixtures" / "v1.mctree", store)
    write(root, {"a.png": png(), "b.txt": b"text"})
    report = sync(root, store)
    assert (report.added, report.images) == (1, 0)
    assert "compact it once" in report.skipped[0].reason
