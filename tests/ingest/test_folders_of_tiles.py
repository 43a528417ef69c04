"""A folder of tiles that a store knows as one image: what is left behind in it, and how often it is looked at."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from mctree.errors import UsageError
from mctree.ingest import ingest
from mctree.sources import folders
from mctree.sources.images import Box, telling
from tests.ingest.parts import counts, take
from tests.ingest.pictures import OPTIONS, held, png
from tests.sources.images.tile_sets import write_folder

pytestmark = pytest.mark.usefixtures("clocks_are_fine")

CORNER = Box(0, 0, 10, 10)


@pytest.fixture
def map_(folder: str) -> Path:
    """Three tiles of 256 pixels."""
    tiles = {(0, 0, 0): png(256, 256), (1, 0, 0): png(256, 256, seed=1), (1, 1, 1): png(256, 256, seed=2)}
    return write_folder(Path(folder, "map"), tiles)


@pytest.mark.parametrize("name", ["1/1/1.png.aux.xml", "1/1/3.png.part", "1/.DS_Store"])
@pytest.mark.parametrize("options", [{}, {"region": CORNER}])
def test_what_others_leave_behind_in_it_changes_nothing(map_, store, name, options):
    take(map_, store)
    (map_ / name).write_bytes(b"x")
    assert counts(take(map_, store, **options)) == (0, 0, 0, 1)
    (map_ / name).unlink()
    assert counts(take(map_, store, **options)) == (0, 0, 0, 1)
    assert set(held(store)) == {"map"}


def stray(map_: Path) -> str:
    (map_ / "1/1/notes.txt").write_bytes(b"x")
    return "1/1/notes.txt is no tile"


def link(map_: Path) -> str:
    target = (map_ / "1/1/1.png").rename(map_.parents[1] / "elsewhere")
    (map_ / "1/1/1.png").symlink_to(target)
    return "1/1/1.png is a symbolic link"


@pytest.mark.parametrize("change", [stray, link])
@pytest.mark.parametrize("above", [False, True])
def test_a_known_image_whose_folder_stops_looking_like_one_stays(
    map_: Path, store: str, folder: str, change: Callable[[Path], str], above: bool
) -> None:
    os.mkdir(f"{folder}/t")
    map_ = map_.rename(f"{folder}/t/map")
    paths, name = ([f"{folder}/t"], "t/map") if above else ([map_], "map")
    ingest(paths, store, **OPTIONS)
    before = held(store)[name]
    said = change(map_)
    report = ingest(paths, store, workers=1, on_event=lambda _: None)
    assert not report.changed and report.skipped_count == 1
    (skipped,) = report.skipped
    assert skipped.name == name.encode() and skipped.reason.startswith(said) and "\n" not in skipped.reason
    assert (held(store)[name] == before).all() and set(held(store)) == {name}


@pytest.mark.parametrize("known", [False, True])
def test_a_part_of_a_folder_that_is_no_image_says_which_file_speaks_against_it(map_, store, known):
    if known:
        take(map_, store)
    said = stray(map_)
    with pytest.raises(UsageError, match=f"a region .* is taken of one image, .*{said}"):
        take(map_, store, region=CORNER)


def test_rows_numbered_from_below_are_turned(folder, store):
    """A folder that says so later is another image."""
    tiles = {(0, 0, 0): png(16, 16), (1, 0, 0): png(16, 16, seed=1), (1, 1, 1): png(16, 16, seed=2)}
    root = write_folder(Path(folder, "map"), tiles)
    take(root, store)
    before = held(store)["map"]
    (root / "tilemapresource.xml").write_bytes(b"<TileMap/>")
    assert counts(take(root, store)) == (0, 0, 1, 0)
    after = held(store)["map"]
    assert (after[:16] == before[16:]).all() and (after[16:] == before[:16]).all()


@pytest.mark.parametrize("options", [{}, {"region": CORNER}, {"region": CORNER, "on_event": lambda _: None}])
def test_a_run_looks_at_all_names_of_a_folder_once_to_tell_and_once_for_its_times(map_, store, monkeypatch, options):
    seen: Counter[str] = Counter()
    fits, stamp = telling._Look.fits, folders.folder_stamp

    def counted_fits(self: telling._Look) -> None:
        seen["told"] += 1
        return fits(self)

    def counted_stamp(folder: object) -> object:
        seen["stamped"] += 1
        return stamp(folder)

    monkeypatch.setattr(telling._Look, "fits", counted_fits)
    monkeypatch.setattr("mctree.sources.told.folder_stamp", counted_stamp)
    monkeypatch.setattr("mctree.sources.told.AT_REST_NS", 0)
    for _ in range(2):
        seen.clear()
        take(map_, store, **options)
        assert seen == {"told": 1, "stamped": 1}
        options = {**options, "on_event": lambda _: None}
