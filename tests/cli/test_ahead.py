"""What begins before it is known what is to be done: when it does, and that nothing else depends on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tifffile

import mctree
from mctree.cli import ahead
from mctree.cli.commands import ingest as command
from mctree.processes import Processes
from mctree.sources import Format
from mctree.sources.images.bounded import MOST_PIXELS
from mctree.testing.dump import dump
from tests.cli.command_lines import environment


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ahead, "_LARGE", 1 << 12)
    path = tmp_path / "large.TIF"
    path.write_bytes(bytes(1 << 12))
    return path


def begun(paths: list[Path], store: Path, workers: int) -> int:
    """How many processes are begun."""
    with ahead.painters_for([str(path) for path in paths], str(store), workers) as found:
        return found.count if isinstance(found, Processes) else 0


def test_as_many_processes_begin_as_there_are_other_cores(tmp_path: Path, image: Path) -> None:
    assert begun([image], tmp_path / "s", 3) == 2
    assert begun([tmp_path, image], tmp_path / "s", 2) == 1
    assert begun([image], tmp_path / "s", 1) == 0


def test_none_begins_where_there_may_be_nothing_to_do(tmp_path: Path, image: Path) -> None:
    assert begun([image], tmp_path, 2) == 0, "what is there may be known already"
    text, small, folder = tmp_path / "a.txt", tmp_path / "a.tif", tmp_path / "b.tif"
    text.write_bytes(bytes(1 << 12))
    small.write_bytes(bytes((1 << 12) - 1))
    folder.mkdir()
    odd = [Path("a\0.tif"), Path("-"), tmp_path / "gone.tif", tmp_path]
    assert begun([text, small, folder, *odd], tmp_path / "s", 2) == 0


def test_what_is_said_before_anything_is_loaded_is_what_is_loaded_then() -> None:
    assert get_args(Format) == command._FORMATS
    assert command._MOST_PIXELS == MOST_PIXELS


EARLY = """
import sys
from mctree.cli import ahead
from mctree.cli.main import main
from mctree.processes import Processes

ahead._LARGE = 1 << 12
expect = Processes.expect
def expected(self, pieces):
    print("numpy" in sys.modules, len(self._workers or ()), file=sys.stderr)
    expect(self, pieces)
Processes.expect = expected
main()
"""


def test_processes_that_began_before_the_rest_paint_the_same_image(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    values = np.random.default_rng(0).integers(0, 256, (64, 4500, 3), np.uint8)
    tifffile.imwrite(source, values, tile=(64, 64), photometric="rgb")
    found = []
    for workers in ("1", "2"):
        store = tmp_path / workers
        done = subprocess.run(
            [sys.executable, "-c", EARLY, "ingest", source, "-o", store, "--workers", workers, "-q"],
            capture_output=True,
            env=environment(),
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.split(b"\n")[:-1] == ([b"False 0", b"True 1"] if workers == "2" else [])
        with mctree.open(store, writable=False) as tree, tree.snapshot() as snapshot:
            found.append([*dump(snapshot)])
            assert not [*tree.verify()]
    assert found[0] == found[1]
