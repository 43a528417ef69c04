"""What a level holds, and for how long: files, maps, slots, threads and forked children."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mctree.storage.level import open_level
from mctree.storage.mapped import MappedLevel
from mctree.storage.pooled import PooledLevel
from mctree.storage.portable import PortableLevel
from mctree.storage.region import maps_to_spare
from tests.storage.level_files import KINDS, Files, paged_layout

CHUNKS = 12


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path, paged_layout("uint32", (16,), fill=5))
    for chunk in range(0, CHUNKS, 2):
        files.write(chunk)
    return files


def maps() -> int:
    return len(Path("/proc/self/maps").read_text(encoding="utf8").splitlines())


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_only_what_is_needed_is_opened_and_only_once(files: Files, kind: str) -> None:
    size = files.layout.rows_per_chunk
    with files.level(kind, CHUNKS * size, slots=3) as level:
        assert not files.opened
        for _ in range(3):
            level.gather(np.array([3 * size, 8 * size, 8 * size + 1, 3 * size]), limit=CHUNKS * size)
            level.read(8 * size, 8 * size + 3, limit=CHUNKS * size)
        assert sorted(files.opened) == [3, 8]


def test_an_absent_chunk_is_asked_for_again_once_more_of_it_is_visible(files: Files, kind: str) -> None:
    size = files.layout.rows_per_chunk
    with files.level(kind, CHUNKS * size, slots=3) as level:
        for limit in (size + 1, size + 1, size, size + 9, size + 9):
            level.gather(np.array([limit - 1]), limit=limit)
        assert files.opened.count(1) == 2
        for limit in (2 * size, 2 * size, 5 * size, 5 * size):
            level.gather(np.array([size]), limit=limit)
        assert files.opened.count(1) == 3


def test_the_chunk_that_was_not_used_for_longest_makes_room(files: Files) -> None:
    size = files.layout.rows_per_chunk
    with files.level("pooled", CHUNKS * size, slots=3) as level:
        for chunk in (0, 1, 2, 0, 3, 0, 2):
            level.gather(np.array([chunk * size]), limit=CHUNKS * size)
        assert files.opened == [0, 1, 2, 3]
        level.gather(np.array([1 * size]), limit=CHUNKS * size)
        level.gather(np.array([0]), limit=CHUNKS * size)
        assert files.opened == [0, 1, 2, 3, 1]


def test_views_outlive_the_level(files: Files, kind: str) -> None:
    size = files.layout.rows_per_chunk
    level = files.level(kind, CHUNKS * size)
    view = level.view(size - 2, 3 * size + 2, limit=CHUNKS * size)[1:]
    expected = files.expected(range(size - 1, 3 * size + 2))
    level.close()
    np.testing.assert_array_equal(view, expected)
    del level
    gc.collect()
    np.testing.assert_array_equal(view, expected)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 0


@pytest.mark.parametrize("how", ["closed", "dropped", "view dropped last"])
def test_nothing_leaks(files: Files, kind: str, how: str) -> None:
    size = files.layout.rows_per_chunk

    def once() -> None:
        level = files.level(kind, CHUNKS * size, slots=3)
        level.gather(np.arange(0, CHUNKS * size, 7), limit=CHUNKS * size)
        view = level.view(0, 5, limit=CHUNKS * size)
        if how != "dropped":
            level.close()
        if how == "closed":
            del view
            assert maps() <= before[0] + 2, "unmapped while the level is still referred to"

    before = [maps() + 99, descriptors()]
    once()
    gc.collect()
    before = [maps(), descriptors()]
    for _ in range(60):
        once()
    gc.collect()
    # The allocator may take another arena or two meanwhile: 60 leaked regions would be far more.
    assert maps() < before[0] + 20
    assert descriptors() == before[1]


@pytest.mark.parametrize("slots", [1, 2, 5])
@pytest.mark.parametrize("kind", ["mapped", "pooled", "pooled cold", "portable"])
def test_many_threads(files: Files, kind: str, slots: int) -> None:
    size = files.layout.rows_per_chunk
    every = files.expected(range(CHUNKS * size))
    level = files.level(kind, CHUNKS * size, slots)
    if isinstance(level, PortableLevel):
        level = PortableLevel(
            files.layout, files.open, capacity_rows=CHUNKS * size, cache_bytes=slots * files.layout.chunk_bytes
        )

    def hammer(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(15):
            rows = rng.integers(0, CHUNKS * size, rng.integers(1, 60))
            np.testing.assert_array_equal(level.gather(rows, limit=CHUNKS * size), every[rows])
            start = int(rng.integers(0, (CHUNKS - 3) * size))
            stop = start + int(rng.integers(0, 3 * size))
            np.testing.assert_array_equal(level.read(start, stop, limit=CHUNKS * size), every[start:stop])
            starts = rng.integers(0, CHUNKS * size - 20, 6)
            runs = level.runs(starts, 20, limit=CHUNKS * size)
            np.testing.assert_array_equal(runs, every[starts[:, None] + np.arange(20)])
            level.prefetch(rows, limit=CHUNKS * size)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(6) as pool:
            for done in [pool.submit(hammer, seed) for seed in range(6)]:
                done.result(120)
    finally:
        sys.setswitchinterval(interval)
    level.close()


def ran_meanwhile(work: Callable[[], object]) -> bool:
    """Whether another thread, which waits for nothing but the interpreter's lock, ran before some work was done."""
    ran = []
    gate, ready = threading.Lock(), threading.Event()
    gate.acquire()

    def other() -> None:
        ready.set()
        gate.acquire()
        ran.append(True)

    thread = threading.Thread(target=other)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # so that nobody is made to give the lock up
    try:
        thread.start()
        ready.wait(60)
        gate.release()
        work()
        return bool(ran)
    finally:
        sys.setswitchinterval(interval)
        thread.join(60)


def test_other_threads_run_while_rows_are_copied(tmp_path: Path, kind: str) -> None:
    layout = paged_layout("uint32", (256,), pages=256)
    files = Files(tmp_path, layout)
    for chunk in range(4):
        files.write(chunk)
    rows = np.random.default_rng(1).integers(0, limit := 4 * layout.rows_per_chunk, 20_000)
    out = np.empty((20_000, 256), np.uint32)
    with files.level(kind, limit, slots=4) as level:
        level.gather(rows, limit=limit)  # what has to be opened is
        runs = rows[:600] // 64 * 64
        calls = {
            "gather": lambda: level.gather(rows, out, limit=limit),
            "runs": lambda: level.runs(runs, 32, out[: 600 * 32].reshape(600, 32, 256), limit=limit),
        }
        for name, call in calls.items():
            # Where all cores are busy, the other thread is often woken only when the copy is over: try again.
            given_up = time.monotonic() + 60
            while not (ran := ran_meanwhile(call)) and time.monotonic() < given_up:
                pass
            assert ran, name
    assert not any(ran_meanwhile(lambda: sum(range(1_000_000))) for _ in range(5))


def test_threads_decode_a_chunk_once(files: Files) -> None:
    size = files.layout.rows_per_chunk
    together = threading.Barrier(6, timeout=60)
    decoded = []

    def decode(data: bytes) -> bytes:
        decoded.append(len(data))
        time.sleep(0.05)
        return data

    level = PortableLevel(files.layout, files.open, capacity_rows=CHUNKS * size, decode=decode)

    def read() -> None:
        together.wait()
        level.gather(np.array([0, 1]), limit=CHUNKS * size)

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(decoded) == 1


def test_a_cache_keeps_no_more_than_it_may(files: Files) -> None:
    size = files.layout.rows_per_chunk
    level = PortableLevel(
        files.layout, files.open, capacity_rows=CHUNKS * size, cache_bytes=2 * files.layout.chunk_bytes
    )
    for chunk in (0, 2, 0, 4, 0, 2):  # 4 takes the place of 2
        level.gather(np.array([chunk * size]), limit=CHUNKS * size)
    assert files.opened == [0, 2, 4, 2]


def test_levels_share_the_mappings_that_a_process_may_have(files: Files) -> None:
    size = files.layout.rows_per_chunk
    levels = [open_level(files.layout, files.open, capacity_rows=size << 30) for _ in range(20)]
    assert maps_to_spare() > 1000
    for level in levels:
        assert isinstance(level, PooledLevel)
        rows = np.array([0, 2 * size, 4 * size + 1])
        np.testing.assert_array_equal(level.gather(rows, limit=size << 30), files.expected(rows))
    small = open_level(files.layout, files.open, capacity_rows=16 * size)
    assert isinstance(small, MappedLevel)
    spare = maps_to_spare()
    del level
    levels.clear()
    gc.collect()
    assert maps_to_spare() > spare + 10_000


PRELUDE = """
import os, resource, signal, sys, threading, time
import numpy as np
from pathlib import Path
sys.path.insert(0, {tests!r})
from tests.storage.level_files import Files, paged_layout
files = Files(Path({folder!r}), paged_layout("uint32", (16,), fill=5))
for chunk in range(0, 12, 2):
    files.write(chunk)
size = files.layout.rows_per_chunk
limit = 12 * size
every = files.expected(range(limit))

def child(check):
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)  # a child that waits for a lock that nobody holds
        try:
            check()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]

def check(level):
    def run():
        rng = np.random.default_rng(os.getpid())
        for _ in range(5):
            rows = rng.integers(0, limit, 50)
            assert (level.gather(rows, limit=limit) == every[rows]).all()
    return run
"""


def script(tmp_path: Path, text: str) -> None:
    source = PRELUDE.format(tests=str(Path(__file__).parent), folder=str(tmp_path)) + text
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


@pytest.mark.parametrize("kind", ["mapped", "pooled", "portable"])
def test_forked_children_read_on(tmp_path: Path, kind: str) -> None:
    """Children are forked at any moment of what other threads do."""
    script(
        tmp_path,
        f"""
sys.setswitchinterval(1e-5)
level = files.level({kind!r}, limit, slots=3)
if {kind!r} == "portable":
    from mctree.storage.portable import PortableLevel
    level = PortableLevel(files.layout, files.open, capacity_rows=limit, cache_bytes=2 * files.layout.chunk_bytes)
stop = False
def hammer(seed):
    rng = np.random.default_rng(seed)
    while not stop:
        rows = rng.integers(0, limit, 8)
        assert (level.gather(rows, limit=limit) == every[rows]).all()
        level.refresh()
threads = [threading.Thread(target=hammer, args=(i,)) for i in range(3)]
[t.start() for t in threads]
codes = [child(check(level)) for _ in range(25)]
stop = True
[t.join() for t in threads]
assert codes == [0] * 25, codes
check(level)()
print("fine")
""",
    )


@pytest.mark.parametrize("kind", ["mapped", "pooled", "portable"])
def test_a_child_forked_while_a_chunk_is_opened(tmp_path: Path, kind: str) -> None:
    script(
        tmp_path,
        f"""
entered, go = threading.Event(), threading.Event()
main = os.getpid()
def slow(chunk):
    if os.getpid() == main:
        entered.set()
        assert go.wait(120)
    return Files.open(files, chunk)
files_open, files.open = files.open, slow
level = files.level({kind!r}, limit, slots=2)
thread = threading.Thread(target=check(level))
thread.start()
assert entered.wait(120)
code = child(check(level))
go.set()
thread.join()
assert code == 0, code
check(level)()
print("fine")
""",
    )


def test_little_address_space(tmp_path: Path) -> None:
    script(
        tmp_path,
        """
from mctree.storage.mapped import MappedLevel
from mctree.storage.pooled import PooledLevel
from mctree.storage.portable import PortableLevel
level = files.level("mapped", 12 * size)  # loads what there is to load
check(level)()
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (48 << 20), -1))
from mctree.storage.level import open_level
small = open_level(files.layout, files.open, capacity_rows=size << 20)
assert type(small) is PooledLevel, small
rows = np.arange(limit)
assert (small.gather(rows, limit=limit) == every).all()
small.close()
assert type(open_level(files.layout, files.open, capacity_rows=size)) is MappedLevel
resource.setrlimit(resource.RLIMIT_AS, (used, -1))
assert type(open_level(files.layout, files.open, capacity_rows=size << 20)) in (PooledLevel, PortableLevel)
print("fine")
""",
    )


@pytest.mark.parametrize("forbidden", [False, True], ids=["at once", "one by one"])
def test_prefetch_brings_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forbidden: bool) -> None:
    if forbidden:
        monkeypatch.setattr("mctree.storage.region._SYS_PROCESS_MADVISE", 100_000)  # no such call
    files = Files(tmp_path, paged_layout("uint8", (os.sysconf("SC_PAGESIZE"),), 64))
    for chunk in range(4):
        files.write(chunk)
        with files.path(chunk).open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if cached(files).any():
        pytest.skip("files here cannot be pushed out of memory")
    for asked in (np.arange(0, 256, 5)[::-1], range(130, 192)):
        with files.level("mapped cold", 256) as level:
            level.prefetch(asked, limit=256)
            until = time.monotonic() + 30
            while not cached(files)[asked].all() and time.monotonic() < until:
                time.sleep(0.01)
            assert cached(files)[asked].all()


def cached(files: Files) -> np.ndarray:
    """Which rows, of a page each, are in memory."""
    found = []
    for chunk in range(4):
        with files.path(chunk).open("rb") as file:
            pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        bits = np.zeros(64, np.uint8)
        address = np.frombuffer(pages, np.uint8).ctypes.data
        call = ctypes.CDLL(None).mincore
        assert call(ctypes.c_void_p(address), ctypes.c_size_t(len(pages)), ctypes.c_void_p(bits.ctypes.data)) == 0
        found.append(bits & 1 == 1)
    return np.concatenate(found)
