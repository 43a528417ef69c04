"""Folders of numbered folders: which are taken for one image of tiles, and which are left as they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctree.sources import Item, RawDocument, RawImage, Skipped, open_source
from mctree.sources.images.telling import speaks_against
from mctree.testing import scratch
from tests.sources.images.tile_sets import SIDE, Tiles, encoded, write_folder

TILE = encoded(np.zeros((SIDE, SIDE, 3), np.uint8))
PHOTO = encoded(np.zeros((SIDE, 2 * SIDE, 3), np.uint8))

Leaf = tuple[int, int, int]


def told(path: Path) -> bool:
    """Whether a folder is one image; what a source says must agree."""
    found = speaks_against(os.fsencode(path)) is None
    items = list(open_source([path], images=True))
    assert found == (len(items) == 1 and items[0].name == os.fsencode(path.name))
    return found


def above(leaves: set[Leaf], coarsest: int) -> Tiles:
    """Tiles and all that are above them, down to a zoom."""
    return {
        (zoom, column >> (at - zoom), row >> (at - zoom)): TILE
        for at, column, row in leaves
        for zoom in range(coarsest, at + 1)
    }


def leaves(zoom: int) -> st.SearchStrategy[set[Leaf]]:
    numbers = st.integers(0, (1 << zoom) - 1)
    return st.sets(st.tuples(st.just(zoom), numbers, numbers), min_size=1, max_size=4)


@st.composite
def pyramids(draw: st.DrawFn) -> Tiles:
    coarsest = draw(st.integers(0, 29))
    finest = draw(st.integers(coarsest + bool(coarsest), min(coarsest + 3, 30)))
    tiles = above(draw(leaves(finest)), coarsest)
    dropped = draw(st.integers(coarsest, finest))  # a zoom between may be left out
    return {tile: data for tile, data in tiles.items() if tile[0] != dropped or dropped in (coarsest, finest)}


@given(pyramids())
def test_tiles_below_each_other_are_one_image(tiles: Tiles) -> None:
    with scratch() as folder:
        assert told(write_folder(Path(folder, "map"), tiles))


@given(st.integers(1, 30).flatmap(leaves))
def test_one_zoom_without_the_root_is_no_evidence(found: set[Leaf]) -> None:
    with scratch() as folder:
        assert not told(write_folder(Path(folder, "map"), dict.fromkeys(found, TILE)))


BASE = above({(3, 5, 6), (3, 4, 6), (3, 0, 0)}, 1)


def renamed(name: str, to: str) -> Callable[[Path], object]:
    return lambda map_: (map_ / name).rename(map_ / to)


def written(name: str, data: bytes = b"x") -> Callable[[Path], object]:
    def write(map_: Path) -> None:
        (map_ / name).parent.mkdir(parents=True, exist_ok=True)
        (map_ / name).write_bytes(data)

    return write


def linked(name: str) -> Callable[[Path], object]:
    def link(map_: Path) -> None:
        target = (map_ / name).rename(map_.parent / "elsewhere")
        (map_ / name).symlink_to(target)

    return link


AGAINST = {
    "a text beside the zooms": written("notes.txt"),
    "a text beside the columns": written("3/notes.txt"),
    "a text beside the tiles": written("3/5/notes.txt"),
    "a picture beside the zooms": written("7.png", TILE),
    "a picture beside the columns": written("3/7.png", TILE),
    "a folder that is no zoom": written("photos/1.png", TILE),
    "a folder among the tiles": written("3/5/7/1.png", TILE),
    "a folder called as a tile": written("3/5/7.png/1.png", TILE),
    "another ending": renamed("3/5/6.png", "3/5/6.jpg"),
    "an ending that is none of tiles": renamed("3/5/6.png", "3/5/6.tif"),
    "a leading zero": renamed("3/5/6.png", "3/5/06.png"),
    "a sign": renamed("3/5/6.png", "3/5/+6.png"),
    "digits of another script": renamed("3/5/6.png", "3/5/٦.png"),
    "a name of broken bytes": written(os.fsdecode(b"3/5/\xff6.png"), TILE),
    "a row that the zoom has not": renamed("3/5/6.png", "3/5/8.png"),
    "a column that the zoom has not": renamed("3/5", "3/8"),
    "a zoom beyond all": written("31/0/0.png", TILE),
    "an absurd zoom": written("99999999999999999999/0/0.png", TILE),
    "a tile under none": written("3/7/0.png", TILE),
    "a tile under none in a column that is there": written("2/1/3.png", TILE),
    "a tile that is a link": linked("3/5/6.png"),
    "a column that is a link": linked("3/5"),
    "a zoom that is a link": linked("3"),
    "a FIFO among the tiles": lambda map_: os.mkfifo(map_ / "3/5/7.png"),
    "a picture that is not square": written("1/0/0.png", PHOTO),
    "a square picture of no size that tiles have": written("1/0/0.png", encoded(np.zeros((24, 24, 3), np.uint8))),
    "no picture at all": written("1/0/0.png"),
}


@pytest.mark.parametrize("change", AGAINST.values(), ids=AGAINST.keys())
@pytest.mark.parametrize("follow", [False, True])
def test_whatever_speaks_against_it_leaves_a_folder_as_it_is(
    tmp_path: Path, change: Callable[[Path], object], follow: bool
) -> None:
    path = write_folder(tmp_path / "map", BASE)
    (path / "1" / "0" / "0.png").write_bytes(TILE)
    assert told(path)
    change(path)
    assert not told(path)
    (said,) = {speaks_against(os.fsencode(path)) for _ in range(2)}
    assert said is not None and said.isprintable() and said.startswith(str(path))
    names = {item.name for item in open_source([path], images=True, follow_symlinks=follow)}
    assert b"map" not in names and b"map/2/2/3.png" in names


BESIDE = [
    ".DS_Store",
    "3/.DS_Store",
    "3/5/._6.png",
    "3/5/Thumbs.db",
    "metadata.json",
    "tilemapresource.xml",
    "leaflet.html",
    "3/5/6.png.aux.xml",
    "3/5/7.png.part",
    "3/5/7.png.crdownload",
    "3/5/7.png.tmp",
    "3/5/6.png~",
    "3/5/6.kml",
]


@pytest.mark.parametrize("name", BESIDE)
def test_what_systems_leave_behind_says_nothing(tmp_path: Path, name: str) -> None:
    path = write_folder(tmp_path / "map", BASE)
    written(name)(path)
    (path / "5" / "7").mkdir(parents=True)  # nor does an empty folder
    assert told(path)


def test_nor_does_a_folder_without_tiles(tmp_path: Path) -> None:
    (tmp_path / "map" / "0" / "0").mkdir(parents=True)
    (tmp_path / "map" / "1").mkdir()
    assert not told(tmp_path / "map")


@pytest.mark.parametrize(
    "names",
    [
        ["2023/11/4.png", "2024/1/12.png"],
        ["1/1/1.png", "1/31/2.png"],
        ["11/5/1.png", "12/25/3.png"],
        ["0/7.png", "1/3.png"],
        ["0/0/1.png"],
        ["1/0/0.png", "1/1/1.png"],
        ["0/IMG_1.png", "0/IMG_2.png"],
    ],
)
def test_albums_in_numbered_folders_stay_albums(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        written(name, TILE)(tmp_path / "album")
    assert not told(tmp_path / "album")
    found: list[str] = []
    for item in open_source([tmp_path / "album"], images=True):
        assert isinstance(item, Item)
        found += [os.fsdecode(one.name) for one in item.documents() if isinstance(one, RawImage)]
    assert sorted(found) == sorted(f"album/{name}" for name in names)


def test_pyramids_are_found_wherever_they_lie(tmp_path: Path) -> None:
    for name in ("1/0", "1/1", "maps/a"):
        write_folder(tmp_path / "t" / name, BASE)
    assert [item.name for item in open_source([tmp_path / "t"], images=True)] == [b"t/1/0", b"t/1/1", b"t/maps/a"]
    assert [item.name for item in open_source([tmp_path / "t"], images=True, exclude=["1/"])] == [b"t/maps/a"]
    (tmp_path / "link").symlink_to(tmp_path / "t" / "maps", target_is_directory=True)
    assert [item.name for item in open_source([tmp_path / "link"], images=True)] == [b"link/a"]
    tiles = [item for item in open_source([tmp_path / "t"]) if isinstance(item, Item)]
    assert len(tiles) == 3 * len(BASE)
    kinds: list[RawDocument | RawImage | Skipped] = [one for item in tiles for one in item.documents()]
    assert all(isinstance(one, Skipped) and one.reason == "binary" for one in kinds)


def test_what_speaks_against_it_is_named(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "map", BASE)
    linked("3/5/6.png")(path)
    assert speaks_against(os.fsencode(path)) == f"{path}/3/5/6.png is a symbolic link"
    (path / "3/5/6.png").unlink()
    written("3/5/6.txt")(path)
    assert speaks_against(os.fsencode(path)) == f"{path}/3/5/6.txt is no tile, called ROW.png"
    (path / "3/5/6.txt").unlink()
    written("notes.txt")(path)
    assert speaks_against(os.fsencode(path)) == f"{path}/notes.txt is no folder called by a zoom, 0 to 30"


def test_what_cannot_be_looked_at_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_folder(tmp_path / "map", BASE)

    def refused(_: bytes) -> None:
        raise PermissionError

    monkeypatch.setattr("mctree.sources.images.folder_names.os.scandir", refused)
    assert speaks_against(os.fsencode(path)) is None
