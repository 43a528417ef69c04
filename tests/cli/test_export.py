"""export: the colours of an image, in a folder that is named once it is whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

import mctree
from tests.cli.command_lines import assert_printable, bad, good, objects, process


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (150, 260, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("album") / "album.mctree"
    with mctree.create(path) as tree, tree.writer() as writer:
        writer.add("notes.txt", "It is noise.")
        writer.add_image("noise.png", pixels)
        writer.commit()
        writer.remove("noise.png")
    return path


def test_what_is_written_are_the_means_of_the_pixels(album: Path, pixels: np.ndarray, tmp_path: Path) -> None:
    said = good("export", album, "noise.png", tmp_path / "noise.ome.zarr", "--commit", "2")
    assert "the finest 17 × 10 samples, one for 16 × 16 pixels" in said
    found = zarr.open_array(tmp_path / "noise.ome.zarr" / "0", mode="r")[:]
    assert found.shape == (3, 10, 17)
    whole = pixels[:144, :256].reshape(9, 16, 16, 16, 3).mean(axis=(1, 3))
    assert np.array_equal(np.moveaxis(found[:, :9, :16], 0, -1), np.rint(whole))


def test_json_says_what_a_sample_stands_for(album: Path, tmp_path: Path) -> None:
    (said,) = objects(good("export", album, "noise.png", tmp_path / "out", "--commit", "2", "--json"))
    assert said == {"path": str(tmp_path / "out"), "commit": 2, "pixels_a_side": [16, 32, 64, 128, 256, 512]}


def test_progress_ends_where_all_is_done(album: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with mctree.open(album, writable=False) as tree, tree.snapshot(2) as snapshot:
        snapshot.image("noise.png").export(tmp_path / "out", progress=lambda *at: told.append(at))
    assert [done for done, _ in told] == list(range(1, len(told) + 1)) and told[-1][0] == told[-1][1] == 6


def test_nothing_is_overwritten_and_nothing_put_into_a_store(album: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(album, tmp_path / "own.mctree"))
    (tmp_path / "out").write_bytes(b"precious")
    assert "exists already" in bad("export", own, "noise.png", tmp_path / "out", "--commit", "2")
    assert (tmp_path / "out").read_bytes() == b"precious"
    assert "itself" in bad("export", own, "noise.png", own / "out", "--commit", "2", code=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "own.mctree"]


def test_what_is_no_image_is_not_exported(album: Path, tmp_path: Path) -> None:
    for which in ("notes.txt", "noise.png", "#9"):  # the image is gone from the newest commit
        assert_printable(bad("export", album, which, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_name_of_a_folder_is_shown_with_escapes(album: Path, tmp_path: Path) -> None:
    assert_printable(good("export", album, "noise.png", tmp_path / "\x1b[31m\u202e out", "--commit", "2"))
    done = process("export", album, "noise.png", tmp_path / "out", "--commit", "2", "--quiet")
    assert done.returncode == 0 and done.stderr == b""
