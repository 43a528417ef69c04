"""PNG, JPEG, WebP, GIF and BMP: what their pixels become, and that nothing is lost on the way."""

from __future__ import annotations

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import skimage
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from mctree.errors import SourceError, UsageError
from mctree.sources.images import Box, ImageSource, open_image
from mctree.sources.images.pictures import Picture
from mctree.sources.images.protocol import level_box
from tests.sources.images.reading import FEW, Whole, check_source
from tests.sources.sparse import lengthened

DATA = Path(skimage.__file__).parent / "data"


def read(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    with open_image(path) as source:
        return source.read(level_box(source)).values


def saved(folder: Path, image: Image.Image, name: str = "a.png", **options: object) -> Path:
    image.save(folder / name, **options)
    return folder / name


@FEW
@given(
    values=st.sampled_from([1, 2, 3, 4]).flatmap(
        lambda c: arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(c)))
    ),
    name=st.sampled_from(["a.png", "a.webp", "a.bmp"]),
    data=st.data(),
)
def test_lossless_pictures_give_their_pixels(
    values: NDArray[np.uint8], name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    channels = values.shape[2]
    folder = tmp_path_factory.mktemp("pictures")
    expected = values
    if name != "a.png" and channels < 3:
        values = expected = np.repeat(values[:, :, :1], 3, axis=2)
    elif name == "a.bmp":
        values = expected = values[:, :, :3]
    image = Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values)
    path = saved(folder, image, name, **({"lossless": True, "exact": True} if name == "a.webp" else {}))
    with open_image(path) as source:
        check_source(data, source, {1: Whole.dense(expected)})


@FEW
@given(values=arrays.arrays(np.uint16, st.tuples(st.integers(1, 20), st.integers(1, 20))), channels=st.integers(1, 4))
def test_sixteen_bits_stay_sixteen_bits(
    values: NDArray[np.uint16], channels: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("deep") / "a.png"
    deep = np.stack([values ^ np.uint16(257 * c) for c in range(channels)], axis=2)
    path.write_bytes(imagecodecs.png_encode(deep[:, :, 0] if channels == 1 else deep))
    assert np.array_equal(read(path), deep)


def test_a_picture_with_gigabytes_behind_it_is_refused(tmp_path: Path) -> None:
    """Found by hostile inputs: to know it again, ingest read a sparse terabyte."""
    path = tmp_path / "a.png"
    Image.new("L", (3, 2), 9).save(path)
    lengthened(path, (1 << 32) + 1)
    with pytest.raises(SourceError, match="a picture has 4294967296 at most"):
        open_image(path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("astronaut.png", (512, 512, 3)),
        ("camera.png", (512, 512, 1)),
        ("chelsea.png", (300, 451, 3)),
        ("coffee.png", (400, 600, 3)),
        ("hubble_deep_field.jpg", (872, 1000, 3)),
        ("ihc.png", (512, 512, 3)),
        ("logo.png", (500, 500, 4)),
        ("no_time_for_that_tiny.gif", (25, 14, 3)),
        ("page.png", (191, 384, 1)),
        ("retina.jpg", (1411, 1411, 3)),
        ("rocket.jpg", (427, 640, 3)),
        ("text.png", (172, 448, 1)),
    ],
)
def test_real_pictures_are_what_pillow_makes_of_them(name: str, shape: tuple[int, int, int]) -> None:
    with Image.open(DATA / name) as image:
        expected = np.asarray(image.convert({1: "L", 3: "RGB", 4: "RGBA"}[shape[2]])).reshape(shape)
    got = read(DATA / name)
    assert got.shape == shape
    assert np.array_equal(got, expected)


def test_one_bit_is_black_or_white(tmp_path: Path) -> None:
    bits = np.array([[True, False, True], [False, False, True]])
    assert np.array_equal(read(saved(tmp_path, Image.fromarray(bits)))[:, :, 0], bits * 255)


def palette(transparent: bool) -> tuple[Image.Image, NDArray[np.uint8]]:
    colours = np.array([[10, 20, 30, 255], [200, 100, 50, 0 if transparent else 255]], np.uint8)
    numbers = np.array([[0, 1, 1], [1, 0, 1]], np.uint8)
    image = Image.fromarray(numbers, "P")
    image.putpalette(colours[:, :3].tobytes())
    if transparent:
        image.info["transparency"] = 1
    return image, colours[numbers]


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.bmp"])
def test_a_palette_becomes_its_colours(tmp_path: Path, name: str) -> None:
    image, colours = palette(transparent=False)
    assert np.array_equal(read(saved(tmp_path, image, name)), colours[:, :, :3])


@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_a_palette_with_a_transparent_colour_becomes_colours_with_alpha(tmp_path: Path, name: str) -> None:
    image, colours = palette(transparent=True)
    options = {"transparency": 1}
    assert np.array_equal(read(saved(tmp_path, image, name, **options)), colours)


@pytest.mark.parametrize(("mode", "colour", "channels"), [("L", 7, 2), ("RGB", (7, 8, 9), 4)])
def test_one_colour_that_is_marked_as_transparent_gives_alpha(
    tmp_path: Path, mode: str, colour: int | tuple[int, ...], channels: int
) -> None:
    image = Image.new(mode, (4, 3), colour)
    image.putpixel((1, 2), 200 if mode == "L" else (200, 201, 202))
    got = read(saved(tmp_path, image, transparency=colour))
    assert got.shape == (3, 4, channels)
    assert got[2, 1, -1] == 255
    assert (got[:, :, -1] == 0).sum() == 11
    assert got[0, 0, 0] == 7


def test_a_transparent_grey_of_sixteen_bits_gives_alpha(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[300, 40000], [300, 5]], np.uint16))
    got = read(saved(tmp_path, image, transparency=300))
    assert got[:, :, 0].tolist() == [[300, 40000], [300, 5]]
    assert got[:, :, 1].tolist() == [[0, 65535], [0, 65535]]


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    image = Image.new("CMYK", (20, 10), (255, 0, 0, 0))
    got = read(saved(tmp_path, image, "a.jpg", quality=100))
    assert got.shape == (10, 20, 3)
    assert np.abs(got.astype(int) - [0, 255, 255]).max() <= 2


def test_an_animation_is_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for name in ("a.gif", "a.webp", "a.png"):
        path = tmp_path / name
        options = {"lossless": True} if name == "a.webp" else {}
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, **options)
        assert (read(path)[:, :, :3] == [255, 0, 0]).all()


TURNS = {  # EXIF 2.32: where the stored row 0 and column 0 are to be seen
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("orientation", TURNS)
def test_pictures_come_upright(tmp_path: Path, name: str, orientation: int) -> None:
    stored = np.kron(np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6), np.ones((8, 8), np.uint8))
    image = Image.fromarray(np.repeat(stored[:, :, None], 3, axis=2))
    exif = Image.Exif()
    exif[274] = orientation
    lossless = {"lossless": True} if name == "a.webp" else {"quality": 100} if name == "a.jpg" else {}
    got = read(saved(tmp_path, image, name, exif=exif, **lossless))
    assert np.abs(got[:, :, 0].astype(int) - TURNS[orientation](stored).astype(int)).max() <= 3


def test_a_damaged_exif_block_turns_nothing(tmp_path: Path) -> None:
    image = Image.new("L", (4, 2), 9)
    for exif in (b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0XX"):
        assert read(saved(tmp_path, image, exif=exif)).shape == (2, 4, 1)


def test_an_image_is_decoded_only_when_it_is_read(tmp_path: Path) -> None:
    whole = saved(tmp_path, Image.new("RGB", (64, 64)), "a.png").read_bytes()
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole[: len(whole) // 2])
    with open_image(cut) as source:
        assert (source.width, source.height, source.channels) == (64, 64, 3)
        with pytest.raises(SourceError, match=r"cut\.png is no readable PNG picture"):
            source.read(Box(0, 0, 1, 1))


def test_more_pixels_than_allowed_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("L", (30, 40)))
    with pytest.raises(SourceError, match=r"allow 1200 pixels \(max_pixels"):
        open_image(path, max_pixels=1199)
    assert open_image(path, max_pixels=1200).height == 40


@pytest.mark.parametrize("name", ["a.gif", "a.jpg", "a.png", "a.webp", "a.bmp"])
def test_what_only_begins_like_a_picture_is_an_error(tmp_path: Path, name: str) -> None:
    whole = saved(tmp_path, Image.new("RGB", (64, 64), (1, 2, 3)), name).read_bytes()
    for length in (12, 24, 40, len(whole) // 2):
        with pytest.raises(SourceError):
            source = Picture(io.BytesIO(whole[:length]), "it", 1 << 20)
            source.decode()


def test_a_file_that_changes_is_no_longer_what_was_opened(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("L", (8, 8), 1))
    source: ImageSource = open_image(path)
    before = source.fingerprint
    Image.new("L", (9, 8), 2).save(path)
    with pytest.raises(SourceError, match="changed while it was being read"):
        source.read(Box(0, 0, 8, 8))
    with open_image(path) as after:
        assert after.fingerprint != before


def test_pictures_take_no_options(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("L", (8, 8), 1))
    with pytest.raises(UsageError, match="takes no option 'page': give none"):
        open_image(path, page=1)
