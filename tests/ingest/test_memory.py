"""What a run holds in memory does not grow with what it reads."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.ingest.pictures import pixels

DEFAULTS = """
import resource, sys, threading
from mctree.ingest import ingest

root, store = sys.argv[1:]
own, ended = 0, threading.Event()

def watch():
    global own
    while not ended.wait(0.05):
        with open("/proc/self/status") as file:
            own = max(own, *(int(line.split()[1]) for line in file if line.startswith("RssAnon")))

watching = threading.Thread(target=watch)
watching.start()
ingest([root], store, include=["*.py"])
ended.set()
watching.join()
print(own, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

LIMITED = """
import resource, sys
from mctree.ingest import ingest, preparing
root, store = sys.argv[1:]
assert {"_TRAINING_LEAST", "_TRAINING_MOST", "_FITTING_LEAST", "_FITTING_MOST"} <= set(vars(preparing))
preparing._TRAINING_LEAST = preparing._TRAINING_MOST = 1 << 19
preparing._FITTING_LEAST = preparing._FITTING_MOST = 1 << 18
ingest([root], store, batch_bytes=1 << 19)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

SCRIPT = """
import resource, sys
from mctree.ingest import ingest
root, store, workers = sys.argv[1:]
ingest([root], store, tokenizer="bytes", encoder="none", workers=int(workers), batch_bytes=1 << 19)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
MB = 1 << 20


def peak(root: str, store: str, workers: int) -> int:
    """The most memory, in bytes, that a process held while it ingested a folder."""
    out = subprocess.run([sys.executable, "-c", SCRIPT, root, store, str(workers)], check=True, capture_output=True)
    return int(out.stdout) * 1024


@pytest.mark.skipif(not hasattr(resource, "RUSAGE_SELF"), reason="the system does not tell")
@pytest.mark.parametrize(("kind", "workers"), [("files", 2), ("one file", 1), ("records", 2)])
def test_eight_times_the_input_takes_no_more_memory(folder, kind, workers):
    peaks = []
    line = random.Random(1).randbytes(700).hex().encode() + b"\n"
    for name, size in (("small", 4 * MB), ("large", 32 * MB)):
        root = os.path.join(folder, name)
        os.mkdir(root)
        if kind == "files":
            for i in range(size // (100 * len(line))):
                with open(os.path.join(root, f"{i}.txt"), "wb") as file:
                    file.write(line * 100)
        else:
            record = line if kind == "one file" else b'{"text": "' + line[:-1] + b'"}\n'
            with open(os.path.join(root, "all.jsonl" if kind == "records" else "all.txt"), "wb") as file:
                for _ in range(size // (100 * len(record))):
                    file.write(record * 100)
        peaks.append(peak(root, os.path.join(folder, f"{name}.mctree"), workers))
    small, large = peaks
    assert large < small + 16 * MB + small // 4


@pytest.mark.skipif(not hasattr(resource, "RUSAGE_SELF"), reason="the system does not tell")
def test_eight_times_the_text_takes_hardly_more_memory_once_samples_grow_no_more(folder):
    """With all that is done by default, but with samples and batches so small that both corpora are large."""
    library = sysconfig.get_path("stdlib")
    modules = sorted(os.path.join(library, name) for name in os.listdir(library) if name.endswith(".py"))
    text = b"".join(Path(module).read_bytes() for module in modules)[: 2 * MB]
    peaks = []
    for copies in (1, 8):
        root = os.path.join(folder, str(copies))
        os.mkdir(root)
        for copy in range(copies):
            for at in range(0, len(text), 1 << 15):
                with open(os.path.join(root, f"{copy}-{at}.py"), "wb") as file:
                    file.write(text[at : at + (1 << 15)])
        store = os.path.join(folder, f"{copies}.mctree")
        out = subprocess.run([sys.executable, "-c", LIMITED, root, store], check=True, capture_output=True)
        peaks.append(int(out.stdout) * 1024)
    one, eight = peaks
    print(
        f"peak memory of {len(text) / MB:.1f} MiB and of eight times as much: {one / MB:.0f} and {eight / MB:.0f} MiB"
    )
    assert eight < one + 16 * MB + one // 8


@pytest.mark.skipif(not hasattr(resource, "RUSAGE_SELF"), reason="the system does not tell")
@pytest.mark.parametrize("kind", ["pictures", "one image"])
def test_eight_times_the_pixels_take_no_more_memory(folder, kind):
    peaks = []
    for name, count in (("small", 4), ("large", 32)):
        root = os.path.join(folder, name)
        os.mkdir(root)
        if kind == "pictures":
            for i in range(count):
                tifffile.imwrite(f"{root}/{i}.tif", pixels(500, 700, seed=i), photometric="rgb")
        else:
            values = np.tile(pixels(512, 512), (1, count, 1))
            tifffile.imwrite(f"{root}/a.tif", values, photometric="rgb", tile=(256, 256), compression="zlib")
        peaks.append(peak(root, os.path.join(folder, f"{name}.mctree"), 2))
    small, large = peaks
    assert large < small + 16 * MB + small // 4


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the system does not tell whose memory it is")
@pytest.mark.parametrize("fewer", [1, 8])
def test_eight_times_as_many_standard_libraries_take_no_more_memory(tmp_path, fewer):
    """With all that is done by default: a trained tokenizer, an encoder that is fitted, gists, long batches.

    What counts is the memory of the process's own.  Pages of files, of the index above all, are mapped as well as long
    as there is room, and the system takes them back as it likes.
    """
    library = sysconfig.get_path("stdlib")
    owned = []
    for count in (fewer, 8 * fewer):
        root = os.path.join(tmp_path, str(count))
        for copy in range(count):
            shutil.copytree(
                library, os.path.join(root, str(copy)), ignore=shutil.ignore_patterns("site-packages", "__pycache__")
            )
        store = os.path.join(tmp_path, f"{count}.mctree")
        out = subprocess.run([sys.executable, "-c", DEFAULTS, root, store], check=True, capture_output=True)
        own, peak_of_all = (int(number) // 1024 for number in out.stdout.split())
        print(f"{count} standard libraries: at most {own} MiB of its own, {peak_of_all} MiB with pages of files")
        owned.append(own)
        shutil.rmtree(root)
        shutil.rmtree(store)
    assert owned[1] < owned[0] + 64 + owned[0] // 4
