"""Images that threads or processes paint: the same store whoever does it, and what is found out meanwhile."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tifffile

import mctree
from mctree.ingest import plan
from mctree.ingest.plan import begun_name
from mctree.processes import Processes
from mctree.sources import plain
from mctree.sources.files import RegularFile
from mctree.sources.images import Box
from mctree.sources.images.tiff_image import TiffImage
from tests.ingest.corpora import write
from tests.ingest.pictures import png, sync, told

pytestmark = pytest.mark.usefixtures("clocks_are_fine")


def test_any_number_of_workers_and_batches_gives_the_same_store(root, folder):
    write(root, {"a.png": png(4200, 40), "a.txt": b"A caption.", "b.png": png(40, 1100, channels=1), "c": png(5, 5)})
    stores = []
    for workers, batch in ((1, 8 << 20), (2, 8 << 20), (2, 1 << 16), (1, 1)):
        stores.append(os.path.join(folder, f"{workers}-{batch}"))
        sync(root, stores[-1], workers=workers, batch_bytes=batch)
    first, *others = map(told, stores)
    assert all(other == first for other in others)
    assert any(line.startswith("link ") for line in first)


def test_processes_read_a_large_image_and_give_the_same_store_and_the_same_progress(root, folder, monkeypatch):
    os.mkdir(root)
    wide = np.random.default_rng(0).integers(0, 256, (64, 40 << 10), np.uint8)
    tifffile.imwrite(f"{root}/wide.tif", wide, tile=(64, 64))
    read, real = list[Box](), TiffImage.read
    monkeypatch.setattr(TiffImage, "read", lambda self, box: read.append(box) or real(self, box))
    monkeypatch.setattr(Processes, "withdraw", lambda self, job: False)  # this thread leaves all of it to them
    found, here = [], []
    for processes in (False, True):
        store, events = os.path.join(folder, str(processes)), list[Any]()
        report = sync(root, store, workers=3, processes=processes, on_event=events.append)
        found.append((told(store), report.images, report.pixels))
        here.append(len(read))
        assert events[-1].bytes == events[-1].total_bytes == os.path.getsize(f"{root}/wide.tif")
        assert all(a.bytes <= b.bytes for a, b in itertools.pairwise(events))
        read.clear()
    assert found[0] == found[1] and found[0][1:] == (1, wide.size)
    assert here == [41, 1], "a look at a pixel, and the blocks, which others read"


@pytest.mark.parametrize("changes", [False, True])
@pytest.mark.parametrize("racy_ns", [0, 10**18])
def test_a_file_is_digested_while_processes_paint_unless_it_could_change_unseen(
    root, store, monkeypatch, racy_ns, changes
):
    os.mkdir(root)
    path, names, real = f"{root}/wide.tif", list[str](), plain._content
    wide = np.random.default_rng(0).integers(0, 256, (64, 40 << 10), np.uint8)
    tifffile.imwrite(path, wide, tile=(64, 64))
    monkeypatch.setattr(plan, "RACY_NS", racy_ns)

    def content(file: RegularFile, between: Callable[[], object]) -> bytes:
        names.append(threading.current_thread().name)
        if changes:
            os.utime(path, ns=(1, len(names)))
        return real(file, between)

    monkeypatch.setattr(plain, "_content", content)
    report = sync(root, store, workers=2, processes=True, batch_bytes=1 << 20)
    assert names[0].startswith("mctree-digest") == (not racy_ns)
    assert (report.images, report.skipped_count) == ((0, 1) if changes else (1, 0))
    assert all("changed while it was being read" in skipped.reason for skipped in report.skipped)
    with mctree.open(store, writable=False) as tree, tree.snapshot() as snapshot:
        assert (snapshot.stamp(b"t/wide.tif") is None) == changes, "what was read is not known to be what was seen"
        assert snapshot.stamp(begun_name(b"t/wide.tif")) is None
    monkeypatch.setattr(plain, "_content", real)
    again = sync(root, store, workers=1)
    assert (again.added, again.unchanged) == ((1, 0) if changes else (0, 1))
