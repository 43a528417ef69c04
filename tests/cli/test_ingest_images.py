"""Folders with images, from the command line: what is said of them when they come, and afterwards."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.command_lines import bad, good, objects, process


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "album"
    folder.mkdir()
    values = np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)
    Image.fromarray(values).save(folder / "b.png")
    Image.fromarray(values[:, :, 0]).save(folder / "c.jpg")
    (folder / "d.png").write_bytes((folder / "b.png").read_bytes()[:1000])
    (folder / "a.txt").write_text("The first of them all. " * 20)
    (folder / "b.txt").write_text("Noise, seen from close by.")
    return folder


@pytest.fixture(scope="module")
def store(folder: Path) -> Path:
    store = folder.parent / "album.mctree"
    good("ingest", folder, "-o", store, "-q", "--workers", "1")
    return store


def test_the_report_counts_images_and_says_why_one_is_skipped(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    said = good("ingest", folder, "-o", store, "--tokenizer", "bytes", "--workers", "1", "-v")
    assert "4 new" in said and "images   2 written, 300K pixels read" in said
    assert re.search(r"1 × is no readable PNG picture", said)
    assert "album/d.png: is no readable PNG picture" in said
    assert "images     2 · 300K pixels" in said and "images-3 · cosine, 48 × float16" in said
    assert re.search(r"1:17 +0 +album/c\.jpg 500 × 300 px$", said, re.MULTILINE), said
    (told,) = objects(good("ingest", folder, "-o", store, "--json"))
    assert (told["images"], told["pixels"], told["unchanged"], told["skipped"]) == (0, 0, 4, 1)


def test_what_libraries_find_odd_is_not_shouted_at_the_terminal(tmp_path: Path) -> None:
    """Pillow warns of a torn EXIF block, and tifffile logs a tag that cannot be; both can be read all the same."""
    (tmp_path / "t").mkdir()
    exif = Image.Exif()
    exif[0x010E] = "a description"
    image = Image.new("RGB", (40, 30))
    image.save(tmp_path / "t" / "a.jpg", exif=exif.tobytes()[:-10])
    image.save(tmp_path / "t" / "b.tif", description="a description")
    data = bytearray((tmp_path / "t" / "b.tif").read_bytes())
    place = data.index((270).to_bytes(2, "little") + (2).to_bytes(2, "little"))
    data[place + 2] = 99
    (tmp_path / "t" / "b.tif").write_bytes(data)
    done = process("ingest", "t", "-o", "s", "--tokenizer", "bytes", "-q", cwd=tmp_path)
    assert done.stderr == b""
    assert b"images   2 written" in done.stdout


def test_options_reach_images(folder: Path, tmp_path: Path) -> None:
    options = ("--tokenizer", "bytes", "--encoder", "none", "--workers", "1", "-q", "--json")
    (told,) = objects(good("ingest", folder, "-o", tmp_path / "s", "--no-images", *options))
    assert (told["added"], told["images"], told["skipped_reasons"]) == (2, 0, {"binary": 3})
    (told,) = objects(good("ingest", folder, "-o", tmp_path / "s", "--max-pixels", "1000", "--json", "-q"))
    assert (told["unchanged"], told["images"]) == (2, 0)
    assert sum("max_pixels" in skipped["reason"] for skipped in told["first_skipped"]) == 3
    bad("ingest", folder, "-o", tmp_path / "s", "--max-pixels", "0", code=2)


def test_what_a_store_holds_is_said_of_images_too(store: Path) -> None:
    (info,) = objects(good("info", store, "--json"))
    assert (info["documents"], info["images"], info["pixels"]) == (4, 2, 300_000)
    assert {each["name"]: (sum(each["nodes"]) > 0, sum(each["image_nodes"]) > 0) for each in info["gist_sets"]} == {
        "default": (True, False),
        "images-3": (False, True),
        "images-1": (False, True),
    }
    assert [each["waiting"] for each in info["gist_sets"]] == [0, 0, 0]
    for said in (good("info", store), good("show", store)):
        assert "images     2 · 300K pixels" in said
        (gists,) = re.findall(r"images-3 · cosine, 48 × float16 · ([\d,]+) gists", said)
        assert int(gists) == 32 * 19 + 4 * 3 + 2 * 2 + 1, "of patches, tiles, squares of tiles, and all of it"
    listed = good("gist", "list", store)
    assert "images-1" in listed and "lexical" in listed


def test_images_do_not_count_among_the_gists_of_a_text(folder: Path, store: Path, tmp_path: Path) -> None:
    """A set of text has no gist of an image, nor of what stands above nothing but images."""
    (told,) = objects(good("info", store, "--json"))
    (text,) = (each for each in told["gist_sets"] if each["default"])
    assert text["nodes"][0] == told["blocks"] - told["images"] and text["waiting"] == 0
    good("ingest", folder / "c.jpg", "-o", tmp_path / "one", "-q", "--workers", "1")
    (told,) = objects(good("info", tmp_path / "one", "--json"))
    assert [(each["name"], sum(each["nodes"])) for each in told["gist_sets"]] == [("default", 0), ("images-1", 0)]


def test_documents_that_are_images_have_a_size_in_pixels(store: Path) -> None:
    lines = good("docs", store).splitlines()
    assert any(re.fullmatch(r" *\d+ +500 × 300 px +0 +1 +album/b\.png", line) for line in lines)
    documents = {each["source"]: each for each in objects(good("docs", store, "--json"))}
    assert documents["album/b.png"]["pixels"] == [500, 300] and documents["album/b.png"]["media"] == "image"
    assert documents["album/a.txt"]["pixels"] is None and documents["album/a.txt"]["media"] == "text"


def test_an_image_is_shown_by_its_name_and_by_the_block_that_it_takes(store: Path, tmp_path: Path) -> None:
    said = good("show", store, "album/b.png")
    assert "a1/3:0" in said and "500 × 300 pixels" in said and "caption a1/0..896 →" in said
    assert good("show", store, "#2") == said
    good("show", store, "album/b.png", "--png", tmp_path / "b.png", "--size", "50")
    with Image.open(tmp_path / "b.png") as drawn:
        assert max(drawn.size) == 50
    documents = {each["source"]: each["id"] for each in objects(good("docs", store, "--json"))}
    assert documents["album/b.png"] == 2
    (root,) = objects(good("show", store, "album/b.png", "--json"))
    block = next(n for n in range(40) if "opens as" in good("show", store, f"1:{n}"))
    slot = good("show", store, f"1:{block}")
    assert root["address"] == "a1/3:0"
    assert "album/b.png #2 · 500 × 300 pixels · opens as a1/3:0" in slot and "bytes" not in slot
    bad("show", store, "album/a.txt", code=2)
    for said in (slot, good("show", store, "1:0")):  # the block of an image, and one of text
        assert "no gist" in said and "no gist yet" not in said, "no set of one kind waits for gists of the other"


def test_an_image_has_no_bytes_to_write(store: Path) -> None:
    assert "is an image" in bad("cat", store, "album/b.png", code=2)
    assert good("cat", store, "album/b.txt") == "Noise, seen from close by."


def test_what_goes_by_the_default_set_goes_on_working(store: Path) -> None:
    assert "album/b.txt" in good("search", store, "noise seen from close by")
    assert "Noise, seen from close by." in good("focus", store, "noise from close by", "--budget", "64")
    assert "all is well" in good("verify", store)
    assert "images-3" in bad("search", store, "noise", "--gist-set", "images-3", code=2)


def test_a_set_of_images_is_dropped_and_built_again(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    good("ingest", folder, "-o", store, "-q", "--tokenizer", "bytes", "--workers", "1")
    (before,) = objects(good("info", store, "--json"))
    good("gist", "drop", store, "images-3")
    good("ingest", folder, "-o", store, "-q", "--workers", "1")
    assert "images-3" not in good("gist", "list", store)
    said = good("gist", "build", store, "--encoder", "cosine", "--quiet")
    assert said == "gist set images-3: 625 gists in all, not the default set\n"
    good("gist", "build", store, "--encoder", "cosine", "--channels", "1", "--name", "grey", "--quiet")
    (after,) = objects(good("info", store, "--json"))
    assert {each["name"]: each["image_nodes"] for each in after["gist_sets"]} == {
        "grey": [608, 12, 4, 1],
        **{each["name"]: each["image_nodes"] for each in before["gist_sets"]},
    }
    assert not any(each["waiting"] for each in after["gist_sets"])
    bad("gist", "build", store, "--encoder", "cosine", "--dim", "64", code=2)
    bad("gist", "build", store, "--channels", "3", code=2)
    assert "another encoder" in bad("gist", "build", store, "--encoder", "cosine", "--name", "default", code=2)
    assert "all is well" in good("verify", store)


@pytest.mark.parametrize("region", ["0,0,1," + "9" * 5000, "0,0,1", "a,0,1,1", "0,0,-1,1"])
def test_a_region_that_is_none_is_named_in_one_line(folder: Path, tmp_path: Path, region: str) -> None:
    said = bad("ingest", folder / "b.png", "-o", tmp_path / "s", f"--region={region}", code=2)
    assert "is not X0,Y0,X1,Y1" in said and len(said) < 300
