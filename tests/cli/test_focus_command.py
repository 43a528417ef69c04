"""focus: what is shown is the working context that the library gives, in words, in JSON and as a picture."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mctree
from mctree.cli.escaping import escape
from mctree.cli.formatting import cells
from mctree.cli.strip import strip
from mctree.focus import WorkingContext, focus
from tests.cli.command_lines import assert_printable, bad, book, good, make_store, objects, run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with gists."""
    path = make_store(tmp_path_factory.mktemp("focus") / "sea.mctree")
    good("gist", "build", path)
    return path


@pytest.fixture(scope="module")
def snapshot(store: Path) -> Any:
    with mctree.open(store, writable=False) as tree, tree.snapshot() as snapshot:
        yield snapshot


def test_json_is_what_the_library_gives(store: Path, snapshot: mctree.Snapshot) -> None:
    (said,) = objects(good("focus", store, "white", "whale", "--budget", "400", "--json"))
    context = focus(snapshot, "white whale", 400)
    assert (said["commit"], said["budget"], said["cost"]) == (snapshot.commit, 400, context.cost)
    entries = context.entries
    assert [entry["address"] for entry in said["entries"]] == [str(entries.address(i)) for i in range(len(entries))]
    assert [entry["cost"] for entry in said["entries"]] == entries.cost.tolist()
    assert [entry["position"] for entry in said["entries"]] == entries.position.tolist()
    shown = [text["address"] for text in said["text"] if text["blocks"]]
    assert sum(text["blocks"] for text in said["text"]) == len(context.blocks) > 0
    assert shown[0] == f"1:{context.blocks[0]}"
    assert said["tally"]["steps"] == context.tally.steps


def test_text_is_that_of_the_blocks_with_their_sources(store: Path, snapshot: mctree.Snapshot) -> None:
    (said,) = objects(good("focus", store, "harpoon", "--budget", "600", "--json"))
    for text in said["text"]:
        document = snapshot.document(text["document"])
        assert text["source"] == escape(document.source)
        assert document.read()[text["start"] : text["stop"]].decode("utf-8", "replace") == text["text"]
    assert said["text"][-1]["text"] == "dear diary" and said["text"][-1]["blocks"] == 0
    printed = good("focus", store, "harpoon", "--budget", "600")
    for text in said["text"]:
        assert f"{text['source']} {text['start']}..{text['stop']}" in " ".join(printed.split())


def test_steps_lead_from_the_coarsest_view_to_what_is_shown(store: Path) -> None:
    *steps, end = objects(good("focus", store, "harpoon", "--budget", "600", "--json", "--steps"))
    assert [step["step"] for step in steps] == list(range(len(steps)))
    assert steps[0]["expanded"] == 0 and all(step["expanded"] > 0 for step in steps[1:])
    assert steps[-1]["cost"] == end["cost"] <= 600
    lines = good("focus", store, "harpoon", "--budget", "600", "--steps").splitlines()
    assert [line.split()[:2] for line in lines[: len(steps)]] == [[str(s["step"]), str(s["cost"])] for s in steps]


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_the_strip_is_as_wide_as_the_terminal_and_dark_where_the_detail_is(
    store: Path, snapshot: mctree.Snapshot, columns: str
) -> None:
    shown = good("focus", store, "harpoon", "--budget", "600", COLUMNS=columns).splitlines()
    assert max(map(cells, shown)) <= int(columns)
    assert len(shown[0]) == int(columns)
    context = focus(snapshot, "harpoon", 600)
    end = int(context.entries.stop.max())
    dark = {int(block * 32 / end * int(columns)) for block in context.blocks.tolist()}
    assert dark <= {place for place, sign in enumerate(shown[0]) if sign == "█"}


def test_a_strip_shows_the_finest_of_each_part(snapshot: mctree.Snapshot) -> None:
    context = WorkingContext.smallest(snapshot, 10_000)
    assert set(strip(context, 60)[:-1]) <= set("▒▓ "), "what is dead is not there"
    every = WorkingContext.around(snapshot, [(0, snapshot.positions)], 10**6)
    assert set(strip(every, 60)) <= set("█ ")


def test_nothing_that_is_printed_controls_the_terminal(store: Path) -> None:
    result = run("focus", store, "whale", "--budget", "3000")
    assert_printable(result.output)


def test_a_picture_shows_the_levels_in_their_colours(store: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "picture.png"
    good("focus", store, "harpoon", "--budget", "600", "--png", path)
    with image.open(path) as picture:
        assert picture.size == (1600, 720)
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    reds = (abs(pixels - np.array([0xC8, 0x37, 0x1F])).sum(axis=2) < 12).sum()
    assert reds > 2000, "what is at LOD0 takes most of what is read"
    assert "no image format" in bad("focus", store, "harpoon", "--png", tmp_path / "picture.nonsense", code=2)


def test_without_pillow_the_picture_says_what_it_needs(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "PIL":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "extra `picture`" in bad("focus", store, "harpoon", "--png", tmp_path / "p.png", code=2)


def test_what_cannot_be_is_refused_in_a_line(store: Path, tmp_path: Path) -> None:
    assert "a budget of 3 is too small" in bad("focus", store, "harpoon", "--budget", "3")
    assert "no gist set" in bad("focus", store, "harpoon", "--gist-set", "nothing")
    assert "says nothing" in bad("focus", store, "?!", code=2)
    with mctree.create(tmp_path / "s") as tree, tree.writer() as writer:
        writer.add("a", book(1).encode())
    assert "no default gist set" in bad("focus", tmp_path / "s", "harpoon")
