"""What may not be read; in a process of its own that has given up root's rights, if the tests run as root."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.sources.images.tile_sets import encoded, write_folder
from tests.sources.source_trees import write

PROGRAM = """
import os, sys
from mctree.sources import Skipped, open_source
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
source = open_source([sys.argv[1]], images=True)
for found in source:
    if isinstance(found, Skipped):
        print("skipped", found.name, found.reason, found.certain)
        continue
    for document in found.documents():
        if isinstance(document, Skipped):
            print("unread", document.name, document.reason, document.certain)
        else:
            print("read", document.name, b"".join(document.read()))
for name in sys.argv[2:]:
    print("covers", name, source.covers(name.encode()))
"""


def run(*arguments: str) -> list[str]:
    ended = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False)
    return ended.stderr.splitlines()[-1:] if ended.returncode else ended.stdout.splitlines()


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that any user can reach."""
    with tempfile.TemporaryDirectory() as above:
        os.chmod(above, 0o755)
        yield Path(above)


def test_what_may_not_be_read_is_reported_and_does_not_count_as_gone(open_to_all: Path) -> None:
    root = open_to_all / "t"
    write(
        root,
        {
            "a": b"a",
            "closed/x": b"",
            "file": b"x",
            "listable/x": b"",
            "rules/.gitignore": b"y",
            "rules/y": b"",
            "z": b"z",
        },
    )
    modes = {"closed": 0o000, "file": 0o000, "listable": 0o444, "rules/.gitignore": 0o000}
    for name, mode in modes.items():
        os.chmod(root / name, mode)
    try:
        lines = run(str(root), *(f"t/{name}" for name in ("a", "closed/x", "file", "listable/x", "rules/y", "gone")))
    finally:
        for name in modes:
            os.chmod(root / name, 0o700)
    assert lines == [
        "read b't/a' b'a'",
        "skipped b't/closed' cannot be entered: Permission denied False",
        "unread b't/file' cannot be opened: Permission denied False",
        "skipped b't/listable/x' cannot be examined: Permission denied False",
        "skipped b't/rules' its .gitignore cannot be read: Permission denied False",
        "read b't/z' b'z'",
        "covers t/a True",
        "covers t/closed/x False",
        "covers t/file False",
        "covers t/listable/x False",
        "covers t/rules/y False",
        "covers t/gone True",
    ]


def test_a_zarr_folder_that_cannot_be_looked_at_is_in_doubt(open_to_all: Path) -> None:
    root = open_to_all / "t"
    zarr.create_array(root / "a.zarr", shape=(16, 16, 3), dtype="uint8", chunks=(16, 16, 3))[:] = 1
    os.chmod(root / "a.zarr" / "c", 0o000)
    try:
        lines = run(str(root), "t/a.zarr", "t/gone")
    finally:
        os.chmod(root / "a.zarr" / "c", 0o700)
    assert lines == [
        "skipped b't/a.zarr' c cannot be listed: Permission denied False",
        "covers t/a.zarr False",
        "covers t/gone True",
    ]


def test_a_folder_of_tiles_that_cannot_be_looked_at_is_in_doubt(open_to_all: Path) -> None:
    tile = encoded(np.zeros((16, 16, 3), np.uint8))
    write_folder(open_to_all / "t" / "map", {(0, 0, 0): tile, (1, 0, 0): tile, (1, 1, 0): tile})
    column = open_to_all / "t" / "map" / "1" / "1"
    os.chmod(column, 0o000)
    try:
        lines = run(str(open_to_all / "t"), "t/map", "t/gone")
    finally:
        os.chmod(column, 0o700)
    assert lines == [
        "skipped b't/map' 1/1 cannot be listed: Permission denied False",
        "covers t/map False",
        "covers t/gone True",
    ]


def test_a_folder_given_that_may_not_be_entered_is_an_error(open_to_all: Path) -> None:
    (open_to_all / "t").mkdir(mode=0o000)
    lines = run(str(open_to_all / "t"))
    assert lines == [f"mctree.errors.SourceError: {open_to_all}/t cannot be entered: Permission denied"]
