"""backup: a copy that is named only once it is whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import mctree
from tests.cli.command_lines import assert_printable, bad, good, objects, process


@pytest.fixture
def own(store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store, tmp_path / "own.mctree"))


def test_a_copy_holds_the_same(own: Path, tmp_path: Path) -> None:
    said = good("backup", own, tmp_path / "copy.mctree")
    assert "copied and verified in" in said
    assert "all is well" in good("verify", tmp_path / "copy.mctree")
    for command in ("docs", "log"):
        assert good(command, tmp_path / "copy.mctree", "--json") == good(command, own, "--json")


def test_json_says_what_the_copy_holds(own: Path, tmp_path: Path) -> None:
    (said,) = objects(good("backup", own, tmp_path / "copy", "--json"))
    with mctree.open(tmp_path / "copy", writable=False) as tree, tree.snapshot() as snapshot:
        assert said["path"] == str(tmp_path / "copy")
        assert said["commit"] == snapshot.commit
        assert (said["documents"], said["blocks"]) == (snapshot.documents_count, snapshot.blocks)
        assert said["disk_bytes"] > 0


def test_nothing_is_overwritten(own: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(b"precious")
    assert "exists already" in bad("backup", own, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"precious"
    assert "itself" in bad("backup", own, own / "copy", code=2)
    assert "no mctree store" in bad("backup", tmp_path / "nothing", tmp_path / "other")


@pytest.mark.damages
def test_a_damaged_store_has_no_copy(own: Path, tmp_path: Path) -> None:
    file = own / "text/lod0/c.0"
    with file.open("r+b") as opened:
        opened.write(b"\0\1\2\3")
    said = bad("backup", own, tmp_path / "copy")
    assert "is damaged, so there is no copy of it: node 1:0" in said
    assert_printable(said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.mctree"]


def test_the_name_of_a_copy_is_shown_with_escapes(own: Path, tmp_path: Path) -> None:
    name = tmp_path / "\x1b[31m\u202e copy"
    assert_printable(good("backup", own, name))
    assert mctree.open(name, writable=False).snapshot().documents_count


def test_progress_is_shown_where_it_takes_long(own: Path, tmp_path: Path) -> None:
    done = process("backup", own, tmp_path / "copy", "--quiet")
    assert done.returncode == 0
    assert done.stderr == b""
