"""Processes that work for another: what they make, what of theirs dies with whom, and what Ctrl-C does to them."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mctree
from mctree.encoders import CosineEncoder
from mctree.errors import SourceError, UsageError
from mctree.processes import Processes, memory
from mctree.sources.images import Box, Pixels
from mctree.testing.dump import dump
from mctree.testing.procedural import ProceduralSource
from mctree.testing.processes import in_child
from mctree.tree.images import makers

COUNT = 12


@dataclass(frozen=True)
class Reading:
    image: Any

    def __call__(self, box: Box) -> int:
        return int(self.image.read(box).values[0, 0, 0])

    def close(self) -> None:
        self.image.close()


def _has_loaded(module: str) -> bool:
    return module in sys.modules


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes(3) as found:
        yield found


def _twice(values: NDArray[np.uint16], more: dict[str, NDArray[np.float64]]) -> tuple[int, NDArray[np.uint16], float]:
    values *= 2  # they are its own
    return os.getpid(), values, float(sum(part.sum() for part in more.values()))


def _die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def _maybe_die(number: int, dies: bool, size: int) -> NDArray[np.int64]:
    return np.full(size, _die(number) if dies else number)


def _slow(number: int) -> NDArray[np.int64]:
    time.sleep(0.02)
    return np.full(500_000, os.getpid() + 0 * number)


def _at_work(box: Box, pixels: Pixels) -> tuple[int, int]:
    return int(pixels.values[0, 0, 0]) + box.x0, os.getpid()


def _deadly(box: Box, pixels: Pixels) -> int:
    if box.x0 == 5 and os.getpid() != int(pixels.values[0, 1, 0]) << 16 | int(pixels.values[0, 0, 0]):
        os.kill(os.getpid(), signal.SIGKILL)
    return box.x0


class Shown:
    """An image of one row whose pixels a function gives; a copy does not read it."""

    copies = False

    def __init__(self, read: Callable[[Box], Pixels]) -> None:
        self.read = read

    def was_read(self, box: Box) -> None:
        raise AssertionError("there are no copies")

    def close(self) -> None:
        raise AssertionError("whoever opened it closes it")


class Copied:
    """An image that is read by copies, which say who they are; closed, it leaves a file behind."""

    copies = True

    def __init__(self, folder: Path, only_here: bool = False) -> None:
        self.folder, self.only_here, self.here = folder, only_here, os.getpid()
        self.heard = list[int]()

    def __reduce__(self) -> tuple[object, ...]:
        return _opened, (self.folder, self.only_here)

    def read(self, box: Box) -> Pixels:
        if box.x0 == 7 and (self.folder / "torn").exists():
            raise SourceError("it is torn")
        if os.getpid() == self.here:
            self.heard.append(box.x0)
        return Pixels(np.array([[[2 * box.x0]]], np.uint16))

    def was_read(self, box: Box) -> None:
        self.heard.append(box.x0)

    def close(self) -> None:
        (self.folder / f"closed-{os.getpid()}").touch()


def _opened(folder: Path, only_here: bool) -> Copied:
    if only_here:
        raise SourceError("it is gone")
    (folder / f"opened-{os.getpid()}-{time.monotonic_ns()}").touch()
    return Copied(folder)


def _boxes() -> Iterator[tuple[int, Box]]:
    return ((at, Box(at, 0, at + 1, 1)) for at in range(COUNT))


def test_arrays_go_there_and_come_back_and_are_the_callers_own(processes: Processes) -> None:
    rng = np.random.default_rng(0)
    given = [rng.integers(0, 1000, (n, 3), np.uint16) for n in (0, 1, 5, 100_000, 7)]
    before = [values.copy() for values in given]
    futures = [processes.submit(_twice, values, {"a": np.ones(4), "b": np.ones((3, 1))}) for values in given]
    for values, same, future in zip(given, before, futures, strict=True):
        pid, twice, total = future.result()
        assert (twice == 2 * same).all() and (values == same).all() and total == 7
        assert pid != os.getpid()


def test_somebody_has_to_work() -> None:
    with pytest.raises(UsageError, match="0 processes"):
        Processes(0)


def test_what_does_not_pickle_is_refused(processes: Processes) -> None:
    assert processes.share(_at_work) is not None
    assert processes.share(lambda box, pixels: 0) is None
    assert processes.share(partial(max, b"a" * (1 << 20))) is None, "it would be sent with every job"
    assert processes.share(partial(max, np.zeros(1 << 18))) is None


def test_shared_work_is_taken_up_once_by_each_process_and_let_go_for_the_next(tmp_path: Path) -> None:
    with Processes(2) as some:
        for image in range(2):
            folder = tmp_path / str(image)
            folder.mkdir()
            work = some.share(Reading(Copied(folder)))
            assert work is not None and work(Box(1, 0, 2, 1)) == 2
            assert [some.submit(work, box).result() for _, box in _boxes()] == [2 * at for at in range(COUNT)]
            assert 1 <= len(list(folder.glob("opened-*"))) <= 2
        opened = {path.name.split("-")[1] for path in (tmp_path / "0").iterdir() if path.name.startswith("opened")}
        again = {path.name.split("-")[1] for path in (tmp_path / "1").iterdir() if path.name.startswith("opened")}
        closed = {path.name.split("-")[1] for path in (tmp_path / "0").glob("closed-*")}
        assert closed == opened & again and not list((tmp_path / "1").glob("closed-*"))


def test_work_that_no_process_can_take_up_is_lost_and_the_process_is_not(tmp_path: Path) -> None:
    with Processes(1) as one:
        work = one.share(Reading(Copied(tmp_path, only_here=True)))
        assert work is not None
        for _ in range(3):
            with pytest.raises(BrokenExecutor, match="it is gone"):
                one.submit(work, Box(0, 0, 1, 1)).result()
        assert one.submit(max, 3, 4).result() == 4


def test_they_begin_at_once_for_what_is_worth_it() -> None:
    with Processes(1, spare=3, modules=["mctree.geometry"]) as some:
        some.expect(3)
        assert some.spare == 3
        some.expect(4)
        assert some.spare == 0
        assert some.submit(_has_loaded, "mctree.geometry").result()


def test_what_work_raises_is_raised_here(processes: Processes) -> None:
    with pytest.raises(ZeroDivisionError, match="division"):
        processes.submit(divmod, 1, 0).result()
    with pytest.raises((AttributeError, pickle.PicklingError)):
        processes.submit(max, lambda: 0, 1).result()
    assert processes.submit(max, 3, 4).result() == 4


@pytest.mark.parametrize("count", [1, 3])
def test_what_a_process_that_died_had_to_do_is_lost_and_nothing_else(count: int) -> None:
    with Processes(count) as mortal:
        jobs = [mortal.submit(_maybe_die, number, number == 4, 400_000) for number in range(12)]
        lost = 0
        for number, job in enumerate(jobs):
            try:
                assert (job.result() == number).all()
            except BrokenExecutor:
                lost += 1
        assert 1 <= lost <= (2 if count > 1 else 12)
        assert (mortal.share(_die) is not None) == (count > 1)
        assert count == 1 or mortal.submit(max, 3, 4).result() == 4


def test_a_process_that_dies_in_the_middle_of_an_answer_is_not_waited_for() -> None:
    """Found by review: who waited for the rest of a message that nobody would send held the writer's lock for ever."""
    with Processes(2) as mortal:
        jobs = [mortal.submit(_slow, number) for number in range(30)]
        pid = int(jobs[0].result()[0])
        os.kill(pid, signal.SIGKILL)
        for job in jobs:
            with suppress(BrokenExecutor):
                job.result()


@pytest.mark.parametrize("step", ["put", "got"])
def test_after_ctrl_c_no_answer_passes_for_another(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by review: what was being sent when Ctrl-C struck was given the answer to what was sent next."""
    real, left = getattr(memory, step), [3]

    def struck(*what: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return real(*what)

    with Processes(2) as some:
        monkeypatch.setattr(memory, step, struck)
        with pytest.raises(KeyboardInterrupt):
            for number in range(20):
                some.submit(max, number, -1).result()
        for number in range(100, 120):
            with suppress(BrokenExecutor):
                assert some.submit(max, number, -1).result() == number
        assert some.submit(max, 3, 4).result() == 4, "another one is left"


def test_work_that_nobody_has_begun_can_be_taken_back(processes: Processes) -> None:
    jobs = [processes.submit(_slow, number) for number in range(60)]
    assert jobs[-1].cancel() and not jobs[-1].cancel()
    assert int(jobs[0].result()[0]) != os.getpid() and jobs[0].done() and not jobs[0].cancel()
    for job in jobs[:-1]:
        job.result()


@pytest.mark.parametrize("what", ["memfd_create", "fork_exec"])
def test_where_no_process_can_be_begun_or_reached_all_work_is_lost(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise PermissionError(1, "it is not allowed")

    if what == "memfd_create":
        monkeypatch.setattr(os, what, fail)
    else:
        monkeypatch.setattr("multiprocessing.util.spawnv_passfds", fail)
    with Processes(2) as none:
        with pytest.raises(BrokenExecutor):
            none.submit(max, 3, 4).result()
        for _ in range(3):
            with pytest.raises(BrokenExecutor):
                none.submit(max, 3, 4).result()
        assert none.share(_at_work) is None


def test_a_forked_child_leaves_them_alone(processes: Processes) -> None:
    before = processes.submit(max, 1, 2)

    def child() -> None:
        assert processes.share(_at_work) is None
        with pytest.raises(BrokenExecutor):
            processes.submit(max, 3, 4).result()
        with pytest.raises(BrokenExecutor):
            before.done()
        processes.close()

    assert in_child(child) == 0
    assert before.result() == 2 and processes.submit(max, 3, 4).result() == 4


def test_rows_come_in_order_and_this_process_makes_some(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "spare", COUNT + 3)
    here = os.getpid()

    def read(box: Box) -> Pixels:
        return Pixels(np.full((1, 1, 1), 2 * box.x0, np.uint16))

    for some in range(3):  # images, of which the first and the start of the second are too little for a process
        found = list(makers.made(_boxes(), Shown(read), _at_work, processes))
        assert [(at, value) for at, (value, _) in found] == [(at, 3 * at) for at in range(COUNT)]
        assert {pid for _, (_, pid) in found[: (COUNT, 3, 0)[some]]} <= {here}
        assert some == 0 or {pid for _, (_, pid) in found} - {here}


def test_rows_that_only_this_process_can_make_are_made_by_its_threads(processes: Processes) -> None:
    def read(box: Box) -> Pixels:
        return Pixels(np.full((1, 1, 1), 2 * box.x0, np.uint16))

    found = list(makers.made(_boxes(), Shown(read), lambda box, _: (box.x0, os.getpid()), processes))
    assert found == [(at, (at, os.getpid())) for at in range(COUNT)]


def test_processes_read_for_themselves_and_the_image_is_told_of_every_box_in_order(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "spare", 0)
    image, here = Copied(tmp_path), os.getpid()
    found = list(makers.made(_boxes(), image, _at_work, processes))
    assert [(at, value) for at, (value, _) in found] == [(at, 3 * at) for at in range(COUNT)]
    assert {pid for _, (_, pid) in found} - {here}
    assert sorted(image.heard) == list(range(COUNT)), "each box was read once, there or here"


def test_an_image_that_no_process_can_open_is_read_here(processes: Processes, tmp_path: Path) -> None:
    image = Copied(tmp_path, only_here=True)
    found = list(makers.made(_boxes(), image, _at_work, processes))
    assert found == [(at, (3 * at, os.getpid())) for at in range(COUNT)] and image.heard == list(range(COUNT))


def test_what_a_copy_cannot_read_is_an_error_in_its_turn(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "torn").touch()
    found = list[int]()
    with pytest.raises(SourceError, match="torn"):
        found.extend(at for at, _ in makers.made(_boxes(), Copied(tmp_path), _at_work, processes))
    assert found == list(range(7))


@pytest.mark.parametrize("count", [1, 3])
def test_what_a_process_that_died_was_to_make_is_made_here(count: int) -> None:
    here = os.getpid()

    def read(box: Box) -> Pixels:
        return Pixels(np.array([[[here & 0xFFFF], [here >> 16]]], np.uint16))

    with Processes(count, spare=0) as mortal:
        assert list(makers.made(_boxes(), Shown(read), _deadly, mortal)) == [(at, at) for at in range(COUNT)]


def test_an_image_is_the_same_whoever_makes_its_rows(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "spare", 1)
    source, dumps = ProceduralSource(2900, 2500, covered=[Box(0, 0, 2500, 1100), Box(900, 1500, 1800, 2900)]), []
    for name, workers in (("one", 1), ("many", processes)):
        with mctree.create(tmp_path / name) as tree:
            tree.build_gists(CosineEncoder(source.channels), "eyes")
            with tree.writer() as writer:
                number = writer.add_image("part", source, region=Box(0, 0, 1000, 1000), workers=workers)
                writer.commit()
                writer.extend_image(number, source, workers=workers)
                writer.add_image("whole", source, keep_pixels=1 << 30, workers=workers)
            with tree.snapshot() as snapshot:
                dumps.append(list(dump(snapshot)))
    assert dumps[0] == dumps[1]


_PARENT = """
    import os, sys, time
    from mctree.processes import Processes

    if __name__ == "__main__":
        processes = Processes(2)
        try:
            print(*{job.result() for job in [processes.submit(os.getpid) for _ in range(20)]}, flush=True)
            time.sleep(300)
        except KeyboardInterrupt:
            print("struck", processes.submit(max, 3, 4).result(), flush=True)
            processes.close()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_they_end_with_the_process_that_began_them_and_not_before(how: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(_PARENT))
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert parent.stdout is not None
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert workers
    if how == signal.SIGINT:
        os.killpg(parent.pid, how)  # as a terminal does: all of them
        assert parent.stdout.readline() == "struck 4\n"
    else:
        os.kill(parent.pid, how)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while any(_runs(pid) for pid in workers):
        assert time.monotonic() < deadline, "a process outlived the one that it worked for"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
