"""After a power cut a store is at an acknowledged commit or the one in flight: the suite's form of the replay."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mctree.errors import MctreeError
from mctree.storage import creation
from mctree.testing.stores import scratch
from tools.crash import replay
from tools.crash.aged import back_up, make, state
from tools.crash.lives import LIVES
from tools.crash.operations import ROOT, Acknowledged, Named, Operation, Resized, Synced, Trace, Written
from tools.crash.power import Disk, Torn, Walk, compare, cuts
from tools.crash.trace import CALLS, look, read_trace
from tools.crash.victims import in_judgement, recorded, sound


def test_a_power_cut_leaves_an_acknowledged_commit_or_the_one_in_flight() -> None:
    with scratch() as folder:
        result = replay.run("quick", Path(folder), print)
    assert result.failures == []
    assert result.points >= 180
    assert all(row.points for row in result.rows)
    assert len(result.rows) == 2 * len(LIVES)


def copied(folder: Path, plant: Callable[[], None] = sound) -> Iterator[str]:
    """Back a store up, with power cuts while that lasts and behind it: what is wrong with what each has left."""
    source, disk, log = make(folder / "source"), folder / "disk", folder / "calls"
    wanted = state(source)
    disk.mkdir()

    def work(say: Callable[[str], None]) -> None:
        plant()
        back_up(source, disk / "copy")
        say("copied")

    def judged(copy: Path, acknowledged: int) -> list[str]:
        if not copy.exists():
            return ["the copy is not there"] if acknowledged else []
        try:
            return [] if state(copy) == wanted else ["the copy holds something else"]
        except (AssertionError, MctreeError, OSError) as error:
            return [f"{type(error).__name__}: {error}"]

    ending = recorded(work, CALLS, log)
    assert ending.acknowledged == ("copied",), ending.failure
    trace = read_trace(log, str(disk), ending.acknowledged)
    every = [*cuts(trace)]
    chosen = random.Random(1).sample(every[:-60], 20) + every[-60:]  # it has its name only in the end
    walk, left = Walk(trace), folder / "left"
    for cut in sorted(chosen, key=lambda cut: cut.moment):
        walk.at(cut).write_out(str(left))
        problems = in_judgement(partial(judged, left / "copy", cut.acknowledged))
        shutil.rmtree(left)
        yield from (f"moment {cut.moment}, kept {cut.what}: {problem}" for problem in problems)


def test_a_power_cut_leaves_a_whole_copy_or_none() -> None:
    with scratch() as folder:
        assert list(copied(Path(folder))) == []


@pytest.mark.damages
def test_a_copy_that_is_not_durable_is_found() -> None:
    def nothing_of_a_copy_is_synced() -> None:
        creation.sync_tree = lambda at: None  # type: ignore[attr-defined]  # this process ends with it

    with scratch() as folder:
        found = list(copied(Path(folder), nothing_of_a_copy_is_synced))
    assert any(re.search("copy holds no index|is not there", problem) for problem in found), found


def walked(*operations: Operation) -> list[tuple[dict[str, int], dict[int, bytes], int]]:
    """What is there for sure at each moment: names, contents, and how much is pending."""
    walk = Walk(Trace(operations, {ROOT: {}, 1: {}}, {}))
    found = []
    while walk.forward():
        files = {inode: bytes(data) for inode, data in walk.disk.files.items()}
        found.append((dict(walk.disk.folders[ROOT]), files, len(walk.pending)))
    return found


def test_only_what_was_synced_is_there_for_sure() -> None:
    name, data = Named(((ROOT, "a", 2),), "create"), Written(2, 0, b"abc")
    assert walked(name, data, Synced(2), Acknowledged("x"), Synced(ROOT)) == [
        ({}, {}, 2),
        ({}, {2: b"abc"}, 1),
        ({}, {2: b"abc"}, 1),
        ({"a": 2}, {2: b"abc"}, 0),
    ]


def test_a_rename_between_folders_happens_in_both_or_neither() -> None:
    made = Named(((ROOT, "a", 2),), "create")
    moved = Named(((1, "b", 2), (ROOT, "a", None)), "rename")
    walk = Walk(Trace((made, Synced(ROOT), moved, Synced(1)), {ROOT: {}, 1: {}}, {}))
    states = []
    while walk.forward():
        states.append((dict(walk.disk.folders[ROOT]), dict(walk.disk.folders[1])))
    assert states == [({}, {}), ({"a": 2}, {}), ({}, {"b": 2})]


def test_what_a_durable_rename_has_taken_away_does_not_come_back() -> None:
    made, moved = Named(((ROOT, "a", 2),), "create"), Named(((1, "b", 2), (ROOT, "a", None)), "rename")
    again = Named(((ROOT, "a", 3),), "create")
    walk = Walk(Trace((made, moved, again, Synced(1)), {ROOT: {}, 1: {}}, {}))
    while walk.forward():
        pass
    assert [operation for operation, _ in walk.pending] == [again]
    assert (walk.disk.folders[ROOT], walk.disk.folders[1]) == ({}, {"b": 2})


def test_a_durable_write_is_there_with_nothing_else() -> None:
    before, meta = Written(2, 0, b"0" * 1024), Written(2, 512, b"1" * 8, durable=True)
    states = walked(before, meta, Written(2, 2048, b"2"))
    assert states[0] == ({}, {}, 2)  # in flight, it may be there or not
    assert states[1] == ({}, {2: bytes(512) + b"1" * 8}, 3)  # what was written around it still may
    walk = Walk(Trace((before, meta), {ROOT: {}}, {}))
    while walk.forward():
        pass
    for operation, _ in walk.pending:
        walk.disk.apply(operation)
    assert bytes(walk.disk.files[2]) == b"0" * 512 + b"1" * 8 + b"0" * 504


def test_writes_are_torn_at_sectors() -> None:
    def torn(how: Torn, offset: int = 100, size: int = 1500) -> list[bool]:
        disk = Disk({ROOT: {}}, {2: bytearray()})
        disk.apply(Written(2, offset, b"x" * size), how)
        data = bytes(disk.files[2])
        assert set(data) <= {0, ord("x")}
        return [b"x" in data[start : start + 512] for start in range(0, len(data), 512)]

    assert torn("whole") == [True, True, True, True]
    assert torn("head") == [True, True]
    assert torn("tail") == [False, False, True, True]
    assert torn("comb") == [True, False, True]
    assert torn("length") == [False, False, False, False]
    disk = Disk({ROOT: {}}, {2: bytearray(b"abcdef")})
    disk.apply(Resized(2, 3))
    disk.apply(Resized(2, 5))
    assert bytes(disk.files[2]) == b"abc\0\0"


def test_a_recording_has_every_byte_and_every_name(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "there").write_bytes(b"before")
    os.link(disk / "there", disk / "there too")
    every = bytes(range(256)) * 5
    before = look(str(disk))

    def work(say: Callable[[str], None]) -> None:
        at = os.open(disk, os.O_RDONLY)
        os.mkdir("folder", dir_fd=at)
        fd = os.open("folder/ä b\n", os.O_RDWR | os.O_CREAT, dir_fd=at)
        os.write(fd, every)
        os.writev(os.dup(fd), [b"one", b"two"])
        os.pwritev(fd, [b"\0\1", every], 3000)
        os.lseek(fd, 10, os.SEEK_SET)
        os.read(fd, 5)
        os.write(fd, b'"\\x41", 7')
        os.fsync(fd)
        say("done")
        os.link("folder/ä b\n", "other", src_dir_fd=at, dst_dir_fd=at)
        os.rename("folder/ä b\n", f"/proc/self/fd/{at}/folder/c", src_dir_fd=at)
        os.unlink(disk / "other")
        os.ftruncate(fd, 3500)
        os.pwrite(os.open("there too", os.O_WRONLY, dir_fd=at), b"after", 3)

    ending = recorded(work, CALLS, tmp_path / "calls")
    assert (ending.acknowledged, ending.failure) == (("done",), "")
    trace = read_trace(tmp_path / "calls", str(disk), ending.acknowledged, before)
    compare(trace, str(disk))
    kinds = [type(operation).__name__ for operation in trace.operations]
    assert kinds == [
        *("Named", "Named", "Written", "Written", "Written", "Written", "Synced", "Acknowledged"),
        *("Named", "Named", "Named", "Resized", "Written"),
    ]
