"""A run that ends in the middle of an image goes on there, and ends with the store that it would have made at once."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

import mctree
from mctree.ingest import ingest
from mctree.ingest.plan import begun_name
from mctree.sources.images import Box, Pixels, open_image
from mctree.sources.images.pictures import PictureSource
from mctree.testing import scratch
from mctree.testing.processes import KILLED, in_child, kill_after
from tests.ingest.corpora import write
from tests.ingest.pictures import OPTIONS, held, pixels, png, sync, told

FILES = {
    "a.txt": b"Before it. " * 40,
    "b.png": png(7200, 30, channels=1),  # eight blocks, one above the other
    "b.txt": b"Its caption.",
    "c.png": png(20, 30),
    "d.txt": b"After it. " * 40,
}
SMALL = {**OPTIONS, "batch_bytes": 1 << 16, "workers": 1}
"""A commit for each block."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[str, list[str]]:
    """The folder, and what a store of it holds that was made in one go."""
    above = tmp_path_factory.mktemp("whole")
    root = str(above / "t")
    write(root, FILES)
    sync(root, str(above / "s"), **SMALL)
    return root, told(str(above / "s"))


@given(st.integers(1, 500))
@settings(max_examples=8)
def test_a_run_that_dies_anywhere_is_gone_on_with(whole, calls):
    root, expected = whole
    with scratch() as above:
        store = os.path.join(above, "s")

        def dying() -> None:
            kill_after(calls)
            ingest([root], store, **SMALL)

        assert in_child(dying) in (0, KILLED)
        ingest([root], store, **{**SMALL, "workers": 2})
        assert told(store) == expected
        assert not ingest([root], store, workers=1).changed


READS = """
import os, sys
from functools import partial
import mctree.ingest
from mctree.cli.main import main
from mctree.sources.images.pictures import PictureSource
root, store, left, end = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
read = PictureSource._read
def told(self, box, level):
    global left
    if self.height > 3000 and box.area > 1:
        print(box.x0, box.y0, flush=True)
        left -= 1
        if not left:
            os.kill(os.getpid(), end)
    return read(self, box, level)
PictureSource._read = told
mctree.ingest.ingest = partial(mctree.ingest.ingest, batch_bytes=1 << 16, chunk_bytes=1 << 16)
sys.argv = ["mctree", "ingest", root, "-o", store, "--tokenizer", "bytes", "--workers", "2", "-q"]
main()
"""
"""The command, with a commit for each block: a line for each block of the large image that it reads, and a signal."""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_the_command_goes_on_with_an_image_where_it_was_stopped(whole, tmp_path, end):
    root, expected = whole
    store = str(tmp_path / "s")
    blocks: list[list[bytes]] = []
    for stop_at in (4, 4, 0):
        done = subprocess.run(
            [sys.executable, "-c", READS, root, store, str(stop_at), str(int(end))], capture_output=True, check=False
        )
        blocks.append([line for line in done.stdout.splitlines() if line.replace(b" ", b"").isdigit()])
        if not stop_at:
            assert done.returncode == 0, done.stderr
        elif end is signal.SIGKILL:
            assert done.returncode == -end
        else:
            assert done.returncode == 130 and b"goes on from there" in done.stderr
            with mctree.open(store) as tree:
                tree.writer().close()
    assert told(store) == expected
    # Each run goes on where the last commit of the one before ended: what was read and not committed is read again.
    assert len({block for run in blocks for block in run}) == 8
    assert blocks[1][0] in blocks[0][1:] and blocks[2][0] in blocks[1][1:]
    assert sum(map(len, blocks)) <= 8 + 2 * 3


BY_PROCESSES = """
import os, signal, sys
from mctree.ingest import ingest, plan
from mctree.processes import Processes
from mctree.tree.images.canvas import Canvas

if __name__ == "__main__":
    root, store, left, plan.RACY_NS = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    put = Canvas.put_part
    def told(self, part, changed):
        global left
        print(part.box.x0, flush=True)
        put(self, part, changed)
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
    Canvas.put_part = told
    Processes.withdraw = lambda self, job: False  # they make all of it
    options = {"tokenizer": "bytes", "chunk_bytes": 1 << 16} if not os.path.exists(store) else {}
    ingest([root], store, batch_bytes=1 << 18, workers=3, processes=True, **options)
"""
"""A run in which processes read and make all blocks: a line for each block that is put down, and a kill."""


@pytest.mark.parametrize("racy_ns", [0, 10**18], ids=["digested meanwhile", "digested before"])
def test_a_killed_run_whose_image_is_read_by_processes_goes_on_and_makes_nothing_twice(tmp_path, racy_ns):
    root, script = str(tmp_path / "t"), tmp_path / "run.py"
    os.mkdir(root)
    script.write_text(BY_PROCESSES)
    wide = np.random.default_rng(0).integers(0, 256, (64, 40 << 10), np.uint8)
    tifffile.imwrite(f"{root}/wide.tif", wide, tile=(64, 64), compression="deflate")
    sync(root, str(tmp_path / "one"), workers=1)
    store, runs = str(tmp_path / "s"), []
    for stop_at in (9, 18, 0):
        done = subprocess.run(
            [sys.executable, str(script), root, store, str(stop_at), str(racy_ns)],
            capture_output=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == (-signal.SIGKILL if stop_at else 0), done.stderr
        runs.append([int(line) // 1024 for line in done.stdout.split()])
        with mctree.open(store) as tree, tree.snapshot() as snapshot:
            marker = snapshot.stamp(begun_name(b"t/wide.tif"))
        assert (marker is None) == (not stop_at)
        if marker is not None:
            content = hashlib.blake2b(Path(f"{root}/wide.tif").read_bytes(), digest_size=32).digest()
            assert marker.digest[:32] == content, "what is begun is known by what its file holds"
    assert told(store) == told(str(tmp_path / "one"))
    # A run begins behind what was committed, a batch behind where the one before ended at most.
    for before, after in itertools.pairwise(runs):
        assert before[0] < after[0] <= before[-1] + 1 and after == list(range(after[0], after[-1] + 1))
    assert runs[-1][-1] == 39 and sum(map(len, runs)) <= 40 + 2 * 2


def test_an_image_that_changed_or_vanished_meanwhile_leaves_nothing_behind(tmp_path, clocks_are_fine):
    root, store = str(tmp_path / "t"), str(tmp_path / "s")

    def broken_off() -> None:
        def dying() -> None:
            read, left = PictureSource._read, 4

            def last(self: PictureSource, box: Box, level: int) -> Pixels:
                nonlocal left
                left -= box.area > 1
                return read(self, box, level) if left else os._exit(KILLED)

            PictureSource._read = last  # type: ignore[method-assign]  # this process ends with it
            ingest([root], store, **SMALL)

        write(root, FILES)
        assert in_child(dying) == KILLED
        with mctree.open(store) as tree:
            assert list(tree.snapshot().gallery.unfinished()) == [b"t/b.png"]

    broken_off()
    write(root, {**FILES, "b.png": png(1100, 1100, seed=3)})
    sync(root, store, **SMALL)
    assert (held(store)["t/b.png"] == pixels(1100, 1100, seed=3)).all()
    os.rename(store, store + "1")
    broken_off()
    write(root, {name: content for name, content in FILES.items() if name != "b.png"})
    assert ingest([root], store, keep_vanished=True, workers=1)
    with mctree.open(store) as tree:
        assert tree.snapshot().gallery.unfinished()
    sync(root, store)
    with mctree.open(store) as tree:
        assert not tree.snapshot().gallery.unfinished()
    assert "t/b.png" not in held(store)
    assert not sync(root, store).changed


def test_an_image_that_breaks_in_its_middle_is_left_where_it_broke(tmp_path, clocks_are_fine):
    """It stays begun, so that each run that finds it as it was ends there at once and nothing grows."""
    root, store = tmp_path / "t", str(tmp_path / "s")
    write(str(root), {"b.txt": b"text"})
    tifffile.imwrite(root / "a.tif", pixels(2100, 2100), photometric="rgb", tile=(256, 256), compression="zlib")
    data = bytearray((root / "a.tif").read_bytes())
    data[-len(data) // 3 : -len(data) // 3 + 5000] = bytes(5000)
    (root / "a.tif").write_bytes(data)
    first = sync(str(root), store, **SMALL)
    assert (first.added, first.skipped_count) == (1, 1)
    size = sum(file.stat().st_size for file in Path(store).rglob("*"))
    with mctree.open(store) as tree:
        assert list(tree.snapshot().gallery.unfinished()) == [b"t/a.tif"]
    again = sync(str(root), store, batch_bytes=1 << 16)
    assert again.skipped_count == 1 and not again.changed
    assert sum(file.stat().st_size for file in Path(store).rglob("*")) <= size
    assert open_image(root / "a.tif").width == 2100
