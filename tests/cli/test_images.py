"""Images of a tree, in words and as pictures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mctree
from mctree.cli.painting import PAPER
from mctree.encoders import CosineEncoder
from mctree.sources.images import ArraySource, Box
from mctree.testing import ProceduralSource
from tests.cli.command_lines import bad, good, objects


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    picture = np.zeros((150, 260, 3), np.uint8)
    picture[:, 130:] = (200, 100, 50)
    return picture


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("album") / "album.mctree"
    with mctree.create(path) as tree:
        with tree.writer() as writer:
            writer.add("notes.txt", "Half of it is brown.")
            writer.add_image("half.png", pixels)
        tree.build_gists(CosineEncoder(channels=3), "pictures")
    return path


def test_a_node_of_an_image_is_told_of_as_one(album: Path) -> None:
    said = good("show", album, "a1/1:1")
    assert "half.png" in said and "x 128..256, y 0..128" in said and "notes.txt" not in said
    (told,) = objects(good("show", album, "a1/1:1", "--json"))
    assert told["box"] == [128, 0, 256, 128] and told["pixels"] == 128 * 128 and told["gists"] == ["pictures"]
    assert told["mean"] == pytest.approx([200 * 126 / 128, 100 * 126 / 128, 50 * 126 / 128])
    assert told["parent"] == "a1/2:0" and len(told["children"]) == 64


def test_a_node_of_an_image_stands_for_no_bytes_of_a_text(album: Path) -> None:
    with mctree.open(album) as tree, tree.snapshot() as snapshot:
        assert snapshot.node("1:0").provenance() and not snapshot.node("a1/1:0").provenance()


@pytest.mark.parametrize("options", [(), ("--level", "0"), ("--region", "100,20,160,80")])
def test_an_image_is_drawn(album: Path, pixels: np.ndarray, tmp_path: Path, options: tuple[str, ...]) -> None:
    drawn = tmp_path / "drawn.png"
    assert str(drawn.name) in good("show", album, "half.png", "--png", str(drawn), "--size", "130", *options)
    found = np.asarray(Image.open(drawn))
    assert max(found.shape[:2]) == 130
    left, right = found[:, : found.shape[1] // 4], found[:, -found.shape[1] // 4 :]
    assert not left.any() and (right == (200, 100, 50)).all()


def test_an_image_is_drawn_as_a_working_context_holds_it(tmp_path: Path) -> None:
    noisy = np.full((512, 512, 3), 90, np.uint8)
    noisy[256:, 256:] = np.random.default_rng(0).integers(0, 256, (256, 256, 3))
    store, drawn = tmp_path / "album.mctree", tmp_path / "drawn.png"
    with mctree.create(store) as tree, tree.writer() as writer:
        writer.add("notes.txt", "One quarter of it is noise.")
        writer.add_image("noisy.png", noisy)

    def draw(*options: str) -> str:
        said = good("show", store, "noisy.png", "--png", str(drawn), "--size", "512", *options)
        return " ".join(said.split())

    # Three quarters at LOD2, and the tiles of the noisy one at LOD0, where the budget allows it, or one of them.
    assert "(4 × LOD0, 3 × LOD2)" in draw("--budget", "400")
    found = np.asarray(Image.open(drawn)).astype(int)
    patches = noisy[256:, 256:].reshape(16, 16, 16, 16, 3).mean(axis=(1, 3))
    assert np.abs(found[264::16, 264::16] - patches).max() <= 1
    assert (found[8:240, 8:240] == 90).all() and np.ptp(found[256]) > 0
    assert "1 × LOD0, 3 × LOD1, 3 × LOD2" in draw("--budget", "80")
    assert "1 entry (1 × LOD1)" in draw("--budget", "2")

    # A region is fine however flat it is, and nothing else.
    assert "1 × LOD0, 3 × LOD1, 3 × LOD2" in draw("--budget", "400", "--region", "0,0,10,10")
    found = np.asarray(Image.open(drawn))
    assert np.ptp(found[300:500, 300:500, 0]) == 0 and np.ptp(found[4:124, 4:124]) > 0


def test_a_working_context_gets_down_to_an_image_in_the_middle_of_much_else(tmp_path: Path) -> None:
    """Where the smallest cover has a node above the image, that node is opened too: else paper is drawn."""
    store, drawn = tmp_path / "album.mctree", tmp_path / "drawn.png"
    noisy = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    with mctree.create(store) as tree, tree.writer() as writer:
        writer.add("before.txt", "a" * 32 * 1500)
        writer.add_image("noisy.png", noisy)
        writer.add("behind.txt", "b" * 32 * 1500)
    command = ("show", store, "noisy.png", "--png", str(drawn), "--size", "256", "--budget")
    said = " ".join(good(*command, "400").split())
    assert "4 entries (4 × LOD0)" in said
    found, patches = np.asarray(Image.open(drawn)), noisy.reshape(16, 16, 16, 16, 3).mean(axis=(1, 3))
    assert np.abs(found[8::16, 8::16].astype(int) - patches).max() <= 1
    assert not (found == PAPER).all(axis=2).any()
    needed = re.search("too small to get down to noisy.png: that costs ([0-9]+)", bad(*command, "100", code=1))
    assert needed is not None
    bad(*command, str(int(needed[1]) - 1), code=1)
    assert "1 entry (1 × LOD1)" in " ".join(good(*command, needed[1]).split())


def test_what_cannot_be_drawn_is_refused_by_one_line(album: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "x.png")
    for words, code, arguments in (
        ("reaches beyond", 2, ("half.png", "--png", file, "--region", "0,0,261,10")),
        ("X0,Y0,X1,Y1", 2, ("half.png", "--png", file, "--region", "0,0,10")),
        ("is no image", 1, ("notes.txt", "--png", file)),
        ("no document", 1, ("none.png", "--png", file)),
        ("levels 0..", 1, ("half.png", "--png", file, "--level", "9")),
        ("give --png", 2, ("half.png", "--level", "1")),
        ("give --png", 2, ("half.png", "--budget", "10")),
        ("give one of them", 2, ("half.png", "--png", file, "--budget", "10", "--level", "1")),
        ("reaches beyond", 2, ("half.png", "--png", file, "--budget", "99", "--region", "0,0,261,10")),
        ("budget of 1", 1, ("half.png", "--png", file, "--budget", "1")),
        ("no image format", 2, ("half.png", "--png", file + ".nothing")),
        ("give one of them", 2, ("half.png", "--png", file, "--gist-set", "nothing")),
        ("give one of them", 2, ("half.png", "--png", file, "--json")),
    ):
        assert words in bad("show", album, *arguments, code=code)


def test_sixteen_bits_are_drawn_as_the_nearest_eight(tmp_path: Path) -> None:
    """By its own pixels no darker than by its nodes."""
    values = np.repeat(np.repeat(np.arange(0, 65535, 257, np.uint16) + 200, 16)[np.newaxis, :, np.newaxis], 16, axis=0)
    store, drawn = tmp_path / "t.mctree", tmp_path / "drawn.png"
    with mctree.create(store) as tree, tree.writer() as writer:
        writer.add_image("deep", values)
    found = []
    for options in ((), ("--level", "0")):
        good("show", store, "deep", "--png", str(drawn), "--size", str(16 * 255), *options)
        found.append(np.asarray(Image.open(drawn))[8, 8::16, 0].tolist())
    assert found[0] == found[1] == np.rint((np.arange(0, 65535, 257) + 200) / 257).tolist()


def test_what_does_not_exist_is_drawn_as_paper(tmp_path: Path) -> None:
    """Also where a picture is made of the image's own pixels, which are 0 there."""
    mask = np.zeros((120, 160), np.bool_)
    mask[:, :80] = True
    with mctree.create(tmp_path / "t.mctree") as tree, tree.writer() as writer:
        writer.add_image("half", ArraySource(np.full((120, 160, 1), 9, np.uint8), mask))
    for name, options in (("pixels.png", ()), ("nodes.png", ("--level", "0"))):
        said = good("show", tmp_path / "t.mctree", "half", "--png", str(tmp_path / name), "--size", "320", *options)
        assert ("its own pixels" in said) == (name == "pixels.png")
        found = np.asarray(Image.open(tmp_path / name))
        middle = found.shape[1] // 2
        assert (found[:, : middle - 1] == 9).all() and (found[:, middle + 1 :] == PAPER).all()


def test_an_image_that_is_coarse_is_drawn_by_what_there_is(tmp_path: Path) -> None:
    source = ProceduralSource(1000, 1500, levels=(1, 2, 4, 8, 16))
    drawn = tmp_path / "drawn.png"
    with mctree.create(tmp_path / "t.mctree") as tree, tree.writer() as writer:
        writer.add_image("map", source, finest=3)
        writer.commit()
        writer.deepen_image("map", source, region=Box(0, 0, 100, 100))
    said = good("show", tmp_path / "t.mctree", "map", "--png", str(drawn), "--size", "300")
    assert "of nodes of level 0, 2, 3" in said
    found = np.asarray(Image.open(drawn)).astype(int)
    assert not (found == PAPER).all(axis=2).any(), "all of it is there, in one detail or another"
    box = Box(1024, 512, 1500, 1000)
    seen = found[512 // 5 + 2 :, 1024 // 5 + 2 :].reshape(-1, 3)
    assert np.abs(seen - source.mean(box)).max() < 2, "one colour, of a closed node"
    with mctree.open(tmp_path / "t.mctree") as tree, tree.snapshot() as snapshot:
        image = snapshot.image("map")
        address = str(image.node(3, 2, 1).address)
    assert "made from overview; nothing below it is in the tree" in good("show", tmp_path / "t.mctree", address)
    (told,) = objects(good("show", tmp_path / "t.mctree", address, "--json"))
    assert told["closed"] is True and told["children"] == []
