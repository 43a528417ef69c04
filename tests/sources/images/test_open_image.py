"""One function for all kinds: paths, URIs, options, and what is no image."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import subprocess
import sys
import zlib
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import mctree.sources.images as public
from mctree.errors import MctreeError, SourceError, UsageError
from mctree.sources.files import RegularFile
from mctree.sources.images import ArraySource, Box, open_image
from mctree.sources.images.opening import open_file
from mctree.sources.images.protocol import copies_read_cheaply
from mctree.sources.images.uris import file_uri, parsed
from mctree.testing import ProceduralSource
from tests.sources.images.reading import FEW
from tests.sources.images.test_tiff import changed, classic
from tests.sources.images.tile_sets import encoded, write_folder, write_mbtiles, write_pmtiles
from tests.sources.sparse import lengthened


def test_the_public_names_are_these() -> None:
    assert public.__all__ == [
        "LARGEST_SIDE",
        "Access",
        "ArraySource",
        "Box",
        "ImageSource",
        "OpenedImage",
        "PixelValues",
        "Pixels",
        "open_image",
    ]
    assert all(hasattr(public, name) for name in public.__all__)


def test_what_is_opened_is_typed_as_something_that_one_leaves_again() -> None:
    """Every page writes `with open_image(…)`."""
    assert issubclass(get_type_hints(open_image)["return"], AbstractContextManager)


def test_nothing_heavy_is_loaded_before_an_image_is_met() -> None:
    code = "import sys, mctree.sources.images; print(sorted({'PIL', 'tifffile', 'zarr', 'pmtiles'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_library_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0" + bytes(100))
    for name in [name for name in sys.modules if name.startswith("mctree.sources.images.tiff")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(UsageError, match=r"tifffile, which is not installed: pip install 'mctree\[images\]'"):
        open_image(tmp_path / "a.tif")


PATHS = st.lists(
    st.binary(min_size=1, max_size=8).filter(lambda part: not {0, 47} & set(part) and part not in (b".", b"..")),
    min_size=1,
    max_size=4,
)


@FEW
@given(parts=PATHS, options=st.dictionaries(st.sampled_from(["page", "inner", "t"]), st.text(max_size=8)))
def test_uris_hold_any_path_and_option(parts: list[bytes], options: dict[str, str]) -> None:
    path = b"/" + b"/".join(parts)
    uri = file_uri(path, options)
    assert uri.isascii()
    assert uri.isprintable()
    assert parsed(uri) == (path, options)


def test_paths_of_any_kind_and_their_uris_are_the_same_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"b\xff #1&.png")
    Image.new("L", (3, 2), 9).save(name, "PNG")
    ways = [name, os.fsencode(name), Path(name), tmp_path / name, open_image(name).uri]
    assert {open_image(way).uri for way in ways} == {ways[-1]}
    for way in ways:
        with open_image(way) as source:
            assert source.read(Box(0, 0, 3, 2)).values.ravel().tolist() == [9] * 6


def test_a_uri_with_bytes_that_are_no_text_names_a_file() -> None:
    """Found by fuzzing: typed on a command line, it ended in a UnicodeEncodeError."""
    assert parsed(os.fsdecode(b"file:///a/\xff.png")) == (b"/a/\xff.png", {})


def test_an_option_that_is_no_text_is_the_same_in_a_uri() -> None:
    """Found by fuzzing: it ended in a UnicodeEncodeError."""
    options = {"inner": os.fsdecode(b"\xff/a")}
    assert parsed(file_uri(b"/a.zarr", options)) == (b"/a.zarr", options)


def test_options_of_any_characters_are_refused_in_one_line(tmp_path: Path) -> None:
    """Found by reading, after fuzzing: escape sequences stood in the error as they were."""
    Image.new("L", (3, 2), 9).save(tmp_path / "a.png")
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr/zarr.json").write_bytes(b"{}")
    with pytest.raises(UsageError) as refused:
        open_image(f"file://{tmp_path}/a.png#\x1b[31m=1")
    assert str(refused.value).isprintable()
    with pytest.raises(UsageError, match="characters that no name of a file can"):
        open_image(tmp_path / "a.zarr", inner="\ud800")


@pytest.mark.parametrize("text", ["file:///a\ud800.png", "a\ud800.png", "file:///a.tif#page=\ud800"])
def test_characters_that_no_file_is_called_by_are_refused(text: str) -> None:
    """Found by fuzzing: they ended in a UnicodeEncodeError."""
    with pytest.raises(UsageError, match="characters that no name of a file can"):
        open_image(text)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_file_of_many_holes_is_refused(tmp_path: Path, kind: str) -> None:
    """Found by reading: to know a valid TIFF file again, ingest read the sparse terabyte behind it."""
    path = tmp_path / "a"
    Image.new("L", (3, 2), 9).save(path, kind)
    lengthened(path)
    words = "10(23|24) GiB of it are holes: copy what is in it to a file without them"
    with pytest.raises(SourceError, match=words):
        open_image(path)
    with pytest.raises(SourceError, match=words):
        open_file(RegularFile.seen(b"a", os.fsencode(path), path.stat()))


def test_a_file_of_few_holes_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a"
    Image.new("L", (3, 2), 9).save(path, "TIFF")
    lengthened(path, 1 << 34)
    with open_image(path) as source:
        assert source.read(Box(0, 0, 3, 2)).values.ravel().tolist() == [9] * 6


@pytest.mark.parametrize(
    ("uri", "error", "why"),
    [
        ("https://example.org/a.png", UsageError, "not on this machine's disk"),
        ("s3://bucket/a.png", UsageError, "not on this machine's disk"),
        ("file:relative.png", UsageError, "names no file"),
        ("file://host/a.png", UsageError, "names no file"),
        ("file:///a%00b.png", UsageError, "names no file"),
        ("file:///a.png#page", UsageError, "is no option"),
        ("file:///a.png#page=1&page=2", UsageError, "is no option"),
        ("file:///" + "a" * 100_000, UsageError, "names no file"),
        ("file:///nowhere.png", SourceError, "cannot be opened: No such file"),
        ("a\0b.png", SourceError, "cannot be opened"),
    ],
)
def test_uris_that_name_no_image(uri: str, error: type[MctreeError], why: str) -> None:
    with pytest.raises(error, match=why):
        open_image(uri)


@pytest.mark.parametrize(
    ("fragment", "options", "why"),
    [
        ("#page=x", {}, "is a number, not 'x'"),
        ("#page=-1", {}, "is a number"),
        ("#page=1", {"page": 2}, "is given, and is in the URI"),
        ("#tile=1", {}, "takes no option 'tile'"),
        ("", {"max_pixels": 0}, "max_pixels is a number of pixels"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, fragment: str, options: dict[str, int], why: str) -> None:
    Image.new("L", (3, 2), 9).save(tmp_path / "a.tif")
    with pytest.raises(UsageError, match=why):
        open_image(f"file://{tmp_path}/a.tif{fragment}", **options)


@pytest.mark.parametrize(
    ("named", "options", "why"),
    [
        (5, {}, "by its path or its URI, not by int"),
        (None, {}, "not by NoneType"),
        ("a.tif", {"page": "0"}, "page is a whole number, not str"),
        ("a.tif", {"page": 0.5}, "page is a whole number, not float"),
        ("a.tif", {"channels": 2.5}, "channels is a whole number, not float"),
        ("a.tif", {"max_pixels": None}, "max_pixels is a whole number, not NoneType"),
        ("a.tif", {"inner": 5}, "inner is a text, not int"),
        ("a.tif", {"axes": 5}, "axes is a text, not int"),
    ],
)
def test_what_is_of_another_type_is_refused_before_a_file_is_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: Any, options: dict[str, Any], why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (3, 2), 9).save("a.tif")
    with pytest.raises(UsageError, match=why):
        open_image(named, **options)


def test_a_box_or_a_level_of_another_type_is_refused(tmp_path: Path) -> None:
    Image.new("L", (3, 2), 9).save(tmp_path / "a.tif")
    box: Any
    with open_image(tmp_path / "a.tif", page=np.int64(0)) as source:
        for box in (None, (0, 0, 3, 2), "0,0,3,2"):
            with pytest.raises(UsageError, match="pixels are read of a Box"):
                source.read(box)
            with pytest.raises(UsageError, match="pixels are read of a Box"):
                list(source.covered(box))
        for level in ("0", 0.0, None):
            with pytest.raises(UsageError, match="there is no level"):
                source.read(Box(0, 0, 3, 2), level)  # type: ignore[arg-type]  # which is refused


def test_what_is_no_file_of_pixels_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("text")
    for name, why in [
        ("fifo", "is a FIFO"),
        ("loop", "cannot be opened"),
        ("link", "cannot be opened"),
        ("empty", "neither Zarr arrays nor tiles"),
        ("text", "is no image of a kind that can be read"),
    ]:
        with pytest.raises(SourceError, match=why):
            open_image(tmp_path / name)
    with pytest.raises(SourceError, match="is a character device"):
        open_image("/dev/zero")


HEADS = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"II*\0", b"MM\0*", b"PMTiles\x03", b"SQLite format 3\0",
         b"RIFF\0\0\0\0WEBP", b"BM" + bytes(12) + b"\x28\0\0\0", b"II\x2b\0\x08\0\0\0"]  # fmt: skip


@FEW
@given(head=st.sampled_from(HEADS), rest=st.binary(max_size=300))
def test_any_bytes_are_pixels_or_a_typed_error(
    head: bytes, rest: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "a"
    path.write_bytes(head + rest)
    try:
        with open_image(path, max_pixels=1 << 20) as source:
            source.read(Box(0, 0, 1, 1))
    except (SourceError, UsageError) as error:
        assert "\n" not in str(error)


BOMB = """
import resource, sys
from mctree.errors import MctreeError
from mctree.sources.images import Box, open_image
import imagecodecs, numcodecs, PIL.PngImagePlugin, pmtiles.tile, tifffile, zarr

room = int(open("/proc/self/statm").read().split()[0]) * 4096 + (600 << 20)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
for path in sys.argv[1:]:
    try:
        with open_image(path, max_pixels=1 << 22) as source:
            box = Box(0, 0, min(source.width, 1000), min(source.height, 1000))
            source.read(box)
            next(source.covered(box), None)
    except MctreeError:
        print("refused")
    else:
        print("read")
"""


def test_bombs_are_refused_with_little_memory(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    zeros = zlib.compress(bytes(1 << 26), 9)
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 6, 0, 0, 0)
    small = struct.pack(">IIBBBBB", 9, 9, 8, 0, 0, 0, 0)
    riff = b"RIFF\xff\xff\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\xff\xff" * 2
    deflate = [(259, 3, 1, 8), *(tag for tag in changed(sizes=(4, 1, len(zeros))) if tag[0] != 259)]
    bombs = {
        "a.png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zeros) + chunk(b"IEND", b""),
        "b.png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", small) + chunk(b"zTXt", b"k\0\0" + zeros) * 5 + b"rest",
        "c.webp": riff + b"VP8L" + bytes(64),
        "d.gif": b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x08" + b"\xff" * 200,
        "e.bmp": b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 60_000, 60_000, 1, 24, 0) + bytes(100),
        "f.tif": classic(deflate)[:300] + zeros,
    }  # fmt: skip
    for name, data in bombs.items():
        (tmp_path / name).write_bytes(data)
    names = [str(tmp_path / name) for name in bombs]
    done = subprocess.run([sys.executable, "-c", BOMB, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["refused"] * len(bombs)


def test_a_read_of_a_narrow_box_of_a_wide_level_takes_only_its_own_room(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "a", {(18, 0, 0): encoded(np.zeros((256, 256, 3), np.uint8))})
    with open_image(path) as source:
        pixels = source.read(Box(0, 0, 1 << 20, 2))
        assert pixels.real().sum() == 512
        with pytest.raises(UsageError, match="too large to be read at once"):
            source.read(Box(0, 0, 1 << 26, 2))


def test_a_copy_is_of_the_image_that_was_opened_or_none(tmp_path: Path) -> None:
    """Found by review: what had taken an archive's place was read under its fingerprint."""
    tile, wide = encoded(np.full((256, 256, 3), 7, np.uint8)), encoded(np.full((512, 512, 3), 9, np.uint8))
    before, after = {(0, 0, 0): tile}, {(0, 0, 0): wide, (1, 0, 0): wide}
    for name, write in (("a.pmtiles", write_pmtiles), ("a.mbtiles", write_mbtiles), ("tiles", write_folder)):
        path = write(tmp_path / name, before)
        source = open_image(path)
        pickled = pickle.dumps(source)
        pickle.loads(pickled).close()
        source.close()
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        write(path, after)
        with pytest.raises(SourceError, match="changed since it was opened"):
            pickle.loads(pickled)
    array = tmp_path / "a.zarr"
    zarr.save(str(array), np.zeros((64, 64, 3), np.uint8))
    with closing(open_image(array, axes="yxc")) as source:
        pickled = pickle.dumps(source)
    shutil.rmtree(array)
    zarr.save(str(array), np.zeros((64, 64, 3), np.uint16))
    with pytest.raises(SourceError, match="changed since it was opened"):
        pickle.loads(pickled)


def test_copies_are_not_made_of_what_each_would_decode_whole(tmp_path: Path) -> None:
    """Found by review: each worker decoded all of a picture for its part of it."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "tiled.tif", pixels, tile=(16, 16), compression="deflate")
    tifffile.imwrite(tmp_path / "vast.tif", pixels, tile=(1536, 1536), compression="deflate")
    tifffile.imwrite(tmp_path / "strips.tif", pixels, rowsperstrip=8, compression="deflate")
    tifffile.imwrite(tmp_path / "plain.tif", pixels)
    found = {}
    for name in ("a.png", "tiled.tif", "vast.tif", "strips.tif", "plain.tif"):
        with closing(open_image(tmp_path / name)) as source:
            found[name] = copies_read_cheaply(source)
    assert found == {"a.png": False, "tiled.tif": True, "vast.tif": False, "strips.tif": False, "plain.tif": True}
    assert copies_read_cheaply(ProceduralSource(10, 10))
    assert not copies_read_cheaply(ArraySource(pixels)), "a strided array would be copied to be pickled"
