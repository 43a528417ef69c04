"""TIFF, BigTIFF and cloud-optimised files: every layout gives the array that was written."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import skimage
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from mctree.errors import SourceError, UsageError
from mctree.sources import files
from mctree.sources.images import Box, open_image
from mctree.sources.images.protocol import level_box
from mctree.sources.images.tiff_directory import LONGEST_TAGS
from tests.sources.images.reading import FEW, Whole, check_source
from tests.sources.images.test_pictures import TURNS

DATA = Path(skimage.__file__).parent / "data"

Values = NDArray[np.uint8] | NDArray[np.uint16]


def noise(shape: tuple[int, ...], dtype: object, seed: int = 0) -> Values:
    random = np.random.default_rng(seed)
    return random.integers(0, np.iinfo(dtype).max + 1, shape, dtype)


@dataclass(frozen=True)
class Form:
    """How a TIFF is written."""

    dtype: type
    channels: int
    tile: tuple[int, int] | None
    rows: int
    compression: str | None
    predictor: bool
    planar: bool
    big: bool
    byteorder: str

    def write(self, writer: tifffile.TiffWriter, values: Values, **more: object) -> None:
        planar = self.planar and self.channels > 1
        writer.write(
            np.moveaxis(values, 2, 0) if planar else values[:, :, 0] if self.channels == 1 else values,
            photometric="rgb" if self.channels in (3, 4) else "minisblack",
            planarconfig=("separate" if planar else "contig") if self.channels > 1 else None,
            tile=self.tile,
            rowsperstrip=None if self.tile else self.rows,
            compression=self.compression,
            predictor=True if self.predictor and self.compression else None,
            metadata=None,
            **more,
        )


FORMS = st.builds(
    Form,
    dtype=st.sampled_from([np.uint8, np.uint16]),
    channels=st.sampled_from([1, 2, 3, 4, 5]),
    tile=st.sampled_from([None, (16, 16), (32, 16), (16, 48)]),
    rows=st.integers(1, 40),
    compression=st.sampled_from([None, None, "lzw", "zlib", "zstd", "packbits", "lzma"]),
    predictor=st.booleans(),
    planar=st.booleans(),
    big=st.booleans(),
    byteorder=st.sampled_from("<>"),
)


@FEW
@given(
    form=FORMS, height=st.integers(1, 70), width=st.integers(1, 70), reduced=st.lists(st.booleans(), max_size=3),
    linked=st.booleans(), data=st.data(),
)  # fmt: skip
def test_every_layout_gives_what_was_written(
    form: Form,
    height: int,
    width: int,
    reduced: list[bool],
    linked: bool,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    finest = noise((height, width, form.channels), form.dtype)
    wholes = {1: Whole.dense(finest)}
    smaller: list[Values] = []
    for power, up in enumerate(reduced, 1):
        factor = 1 << power
        sides = [-(-side // factor) if up else side // factor for side in (height, width)]
        if min(sides) < 1 or (sides[0], sides[1]) in [(height, width), *(each.shape[:2] for each in smaller)]:
            break
        smaller.append(noise((*sides, form.channels), form.dtype, power))
        full = np.zeros((-(-height // factor), -(-width // factor), form.channels), form.dtype)
        full[: sides[0], : sides[1]] = smaller[-1]
        mask = np.zeros(full.shape[:2], np.bool_)
        mask[: sides[0], : sides[1]] = True
        wholes[factor] = Whole(full, mask)
    with tifffile.TiffWriter(path, bigtiff=form.big, byteorder=form.byteorder) as writer:
        form.write(writer, finest, subifds=len(smaller) if linked and smaller else None)
        for each in smaller:
            form.write(writer, each, subfiletype=1)
    with open_image(path) as source:
        check_source(data, source, wholes, reads=2)
        assert source.access == ("rows" if form.tile is None and form.compression else "random")


@pytest.mark.parametrize("name", ["astronaut.png", "camera.png", "retina.jpg"])
@pytest.mark.parametrize("compression", ["jpeg", "webp", None])
def test_real_images_as_tiled_tiffs_are_what_the_library_decodes(
    tmp_path: Path, name: str, compression: str | None
) -> None:
    values = np.asarray(Image.open(DATA / name))[:357, :411]
    if compression == "webp" and values.ndim == 2:
        values = np.repeat(values[:, :, None], 3, axis=2)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, tile=(128, 128), compression=compression)
    expected = tifffile.imread(path)
    with open_image(path) as source:
        got = source.read(Box(37, 60, 400, 301)).values
        np.testing.assert_array_equal(got, expected.reshape(357, 411, -1)[60:301, 37:400])


@pytest.mark.parametrize("compression", ["tiff_jpeg", "tiff_lzw", "tiff_adobe_deflate", "raw", "packbits"])
def test_files_of_another_writer_are_what_another_reader_decodes(tmp_path: Path, compression: str) -> None:
    image = Image.open(DATA / "chelsea.png")
    image.save(tmp_path / "a.tif", compression=compression)
    expected = np.asarray(Image.open(tmp_path / "a.tif"))
    with open_image(tmp_path / "a.tif") as source:
        got = source.read(level_box(source)).values
    assert np.abs(got.astype(int) - expected).max() <= (2 if compression == "tiff_jpeg" else 0)


def test_bilevel_files_are_black_and_white(tmp_path: Path) -> None:
    bits = np.random.default_rng(1).integers(0, 2, (33, 70)).astype(np.bool_)
    for number, compression in enumerate(("raw", "group4", "group3", "packbits")):
        path = tmp_path / f"{number}.tif"
        Image.fromarray(bits).save(path, compression=compression)
        with open_image(path) as source:
            assert source.dtype == np.uint8
            np.testing.assert_array_equal(source.read(level_box(source)).values[:, :, 0], bits * 255)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_where_zero_is_white_is_turned_round(tmp_path: Path, dtype: type) -> None:
    values = noise((20, 30), dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    with open_image(tmp_path / "a.tif") as source:
        got = source.read(level_box(source)).values[:, :, 0]
    np.testing.assert_array_equal(got, np.iinfo(dtype).max - values)


@pytest.mark.parametrize(("widened", "dtype"), [(257, np.uint8), (256, np.uint8), (1, np.uint16)])
def test_a_palette_becomes_its_colours(tmp_path: Path, widened: int, dtype: type) -> None:
    colours = noise((256, 3), np.uint8).astype(np.uint16)
    values = noise((20, 40), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="palette", colormap=(colours * widened + (widened == 1)).T)
    with open_image(tmp_path / "a.tif") as source:
        assert source.dtype == dtype
        got = source.read(level_box(source)).values
    np.testing.assert_array_equal(got, colours[values] + (widened == 1))


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_images_come_upright_and_so_do_their_smaller_sizes(
    tmp_path: Path, orientation: int, tile: tuple[int, int] | None
) -> None:
    path = tmp_path / "a.tif"
    stored = {1: noise((52, 36, 3), np.uint8), 2: noise((26, 18, 3), np.uint8), 8: noise((7, 5, 3), np.uint8)}
    tag = [(274, 3, 1, orientation, True)]
    with tifffile.TiffWriter(path) as writer:
        for factor, values in stored.items():
            writer.write(
                values, tile=tile, extratags=tag, subfiletype=int(factor > 1), metadata=None, photometric="rgb"
            )
    with open_image(path) as source:
        # What cannot be divided evenly would not lie under the larger size when it is turned.
        assert source.levels == ((1, 2, 8) if orientation == 1 else (1, 2))
        for level, factor in enumerate(source.levels):
            seen = TURNS[orientation](stored[factor])
            np.testing.assert_array_equal(source.read(level_box(source, level), level).values, seen)
            part = Box(1, 2, 4, 5)
            np.testing.assert_array_equal(source.read(part, level).values, seen[part.slices])


@pytest.mark.parametrize("orientation", TURNS)
def test_missing_tiles_are_masked_where_they_are_seen(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.tif"
    values = noise((64, 48, 1), np.uint8)[:, :, 0]
    tifffile.imwrite(path, values, tile=(16, 16), extratags=[(274, 3, 1, orientation, True)])
    mask = np.ones((64, 48), np.bool_)
    with tifffile.TiffFile(path, mode="r+b") as file:
        counts = file.pages[0].tags[325]
        sizes = list(counts.value)
        for gone in (0, 4, 5, 11):
            sizes[gone] = 0
            mask[gone // 3 * 16 : gone // 3 * 16 + 16, gone % 3 * 16 : gone % 3 * 16 + 16] = False
        counts.overwrite(sizes)
    turned = TURNS[orientation]
    seen = np.where(turned(mask), turned(values), 0)
    with open_image(path) as source:
        pixels = source.read(level_box(source))
        np.testing.assert_array_equal(pixels.real(), turned(mask))
        np.testing.assert_array_equal(pixels.values[:, :, 0], seen)
        painted = np.zeros(seen.shape, np.uint8)
        for box in source.covered(level_box(source)):
            painted[box.slices] += 1
        np.testing.assert_array_equal(painted, turned(mask).astype(np.uint8))
        assert list(source.covered(Box(0, 0, 1, 1))) == ([Box(0, 0, 1, 1)] if turned(mask)[0, 0] else [])


def test_a_page_is_chosen_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pages = [noise((8 + number, 9, 3), np.uint8, number) for number in range(3)]
    with tifffile.TiffWriter(path) as writer:
        for page in pages:
            writer.write(page, photometric="rgb", metadata=None)
    for number, page in enumerate(pages):
        with open_image(path, page=number) as source:
            assert source.uri.endswith(f"#page={number}" if number else "a.tif")
            with open_image(source.uri) as again:
                np.testing.assert_array_equal(again.read(level_box(again)).values, page)
    with pytest.raises(UsageError, match="no page 3: its 3 are counted from 0"):
        open_image(path, page=3)


def test_an_uncompressed_strip_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_MOST_HOLES", 1 << 50)  # nobody has a file of this size without them
    path = tmp_path / "wide.tif"
    side = 1 << 20
    # One strip of a million rows and columns; the file is a hole.
    tags = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    tags += [(273, 16, 1, 1 << 12), (278, 4, 1, side), (279, 16, 1, side * side)]
    body = struct.pack("<Q", len(tags)) + b"".join(struct.pack("<HHQQ", *tag) for tag in sorted(tags)) + bytes(8)
    path.write_bytes(b"II\x2b\0\x08\0\0\0" + struct.pack("<Q", 16) + body)
    with path.open("r+b") as file:
        file.truncate((1 << 12) + side * side)
        file.seek((1 << 12) + side * 700_000 + 123_456)
        file.write(b"here")
    with open_image(path) as source:
        assert (source.height, source.width, source.access) == (side, side, "random")
        got = source.read(Box(123_450, 699_999, 123_470, 700_002)).values[:, :, 0]
    assert got[1].tobytes() == bytes(6) + b"here" + bytes(10)
    assert not got[0].any()


@pytest.mark.parametrize(
    ("values", "options", "why"),
    [
        (np.zeros((20, 20), np.float32), {}, "samples of 32 bits"),
        (np.zeros((20, 20), np.int16), {}, "other than unsigned integers"),
        (np.zeros((20, 20), np.uint32), {}, "samples of 32 bits"),
        (np.zeros((20, 20, 4), np.uint8), {"photometric": "separated"}, "uninterpreted"),
        (np.zeros((32, 20, 20), np.uint8), {"volumetric": True, "tile": (16, 16, 16)}, "more than one image deep"),
        (np.zeros((32, 32), np.uint8), {"compression": "jpeg2000"}, "is compressed by"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, values: Values, options: dict[str, object], why: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    with pytest.raises(SourceError, match=why):
        open_image(tmp_path / "a.tif")


def test_pieces_that_are_decoded_whole_are_limited(tmp_path: Path) -> None:
    values = noise((64, 100), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, compression="zlib", rowsperstrip=64)
    with pytest.raises(SourceError, match=r"allow 6400 pixels \(max_pixels"):
        open_image(tmp_path / "a.tif", max_pixels=6399)
    with open_image(tmp_path / "a.tif", max_pixels=6400) as source:
        np.testing.assert_array_equal(source.read(Box(0, 0, 100, 64)).values[:, :, 0], values)


def test_a_file_cut_short_is_an_error_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise((64, 64), np.uint8), tile=(16, 16))
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with open_image(path) as source:
        source.read(Box(0, 0, 16, 16))
        with pytest.raises(SourceError, match="cut short"):
            source.read(Box(48, 48, 64, 64))


def entry(code: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", code, kind, count, value)


PLAIN = [
    (256, 4, 1, 64),
    (257, 4, 1, 64),
    (258, 3, 1, 8),
    (259, 3, 1, 1),
    (262, 3, 1, 1),
    (273, 4, 1, 300),
    (279, 4, 1, 4096),
]


def classic(tags: list[tuple[int, int, int, int]], after: int = 0) -> bytes:
    body = struct.pack("<H", len(tags)) + b"".join(entry(*tag) for tag in sorted(tags)) + struct.pack("<I", after)
    return b"II*\0\x08\0\0\0" + body + bytes(8192)


def changed(**values: tuple[int, int, int]) -> list[tuple[int, int, int, int]]:
    codes = {"width": 256, "height": 257, "bits": 258, "offsets": 273, "rows": 278, "sizes": 279, "samples": 277}
    return [tag for tag in PLAIN if tag[0] not in {codes[key] for key in values}] + [
        (codes[key], *value) for key, value in values.items()
    ]


@pytest.mark.parametrize(
    "data",
    [
        classic(PLAIN, after=8),
        classic([*PLAIN, (330, 4, 1, 8)]),
        classic(changed(width=(4, 1, 0))),
        classic(changed(width=(4, 1, 0xFFFFFFFF), height=(4, 1, 0xFFFFFFFF))),
        classic(changed(height=(4, 1, 1 << 30), width=(4, 1, 1 << 30))),
        classic(changed(offsets=(4, 0xFFFFFFFF, 8))),
        classic(changed(offsets=(4, LONGEST_TAGS // 4 + 1, 8))),
        classic(changed(offsets=(4, 1, 0xFFFFFFF0))),
        classic(changed(sizes=(4, 1, 10))),
        classic(changed(samples=(3, 1, 0))),
        classic(changed(samples=(3, 1, 0xFFFF))),
        classic(changed(bits=(3, 1, 7))),
        classic(changed(rows=(4, 1, 0))),
        classic([*PLAIN, (322, 4, 1, 0), (323, 4, 1, 16)]),
        classic([*PLAIN, (322, 4, 1, 0xFFFFFFF0), (323, 4, 1, 0xFFFFFFF0)]),
        classic([*(tag for tag in PLAIN if tag[0] != 259), (259, 3, 1, 8)]),
        classic([*(tag for tag in PLAIN if tag[0] != 259), (259, 3, 1, 7)]),
        classic([(330, 4, 1 << 20, 8)]),
        classic([]),
        b"II*\0\x08\0\0\0",
        b"II*\0\0\0\0\0" + bytes(64),
        b"II*\0\xff\xff\xff\xff" + bytes(64),
        b"MM\0\x2b\0\x08\0\0" + b"\xff" * 64,
        b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 4096,
    ],
    ids=range(24),
)
def test_absurd_directories_are_typed_errors(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(SourceError), open_image(tmp_path / "a.tif") as source:
        source.read(Box(0, 0, min(source.width, 1024), min(source.height, 1024)))
        for level in range(len(source.levels)):
            source.read(Box(0, 0, 1, 1), level)


def test_an_image_that_is_too_large_is_told_what_one_may_be(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(classic(changed(width=(4, 1, 0xFFFFFFFF))))
    with pytest.raises(SourceError, match="an image has 1 to 1073741824 on each side"), open_image(tmp_path / "a.tif"):
        pass


@FEW
@given(
    flips=st.lists(st.tuples(st.integers(0, 399), st.integers(0, 255)), min_size=1, max_size=8), kind=st.integers(0, 2)
)
def test_flipped_bytes_give_pixels_or_a_typed_error(
    flips: list[tuple[int, int]], kind: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("flips") / "a.tif"
    values = noise((48, 48, 3), np.uint8)
    options: dict[str, object] = [{}, {"compression": "jpeg"}, {"compression": "zlib", "predictor": True}][kind]
    tifffile.imwrite(path, values, tile=(16, 16), photometric="rgb", metadata=None, **options)
    data = bytearray(path.read_bytes())
    for place, value in flips:
        data[place % len(data)] ^= value
    path.write_bytes(data)
    try:
        with open_image(path, max_pixels=1 << 20) as source:
            source.read(Box(0, 0, min(source.width, 64), min(source.height, 64)))
    except (SourceError, UsageError):
        pass
