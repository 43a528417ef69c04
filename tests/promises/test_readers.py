"""Many readers under a writer that is killed see whole commits only, and live on where the disk is full."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mctree
from mctree import Snapshot
from mctree.sources.images import Box
from mctree.storage.leases import Leases
from mctree.storage.pages import DATA_NAME, read_meta
from tools.crash import rounds
from tools.crash.disks import why_no_mounts
from tools.crash.galleries import IMAGES, shade
from tools.crash.planted import Planted
from tools.crash.planted_readers import FOUND_AT_ONCE, OF_IMAGES_AT_ONCE
from tools.crash.readers import on_full_disk, under_fire
from tools.crash.reading import Fire, Seen, read
from tools.crash.rounds import ENCODER, TEXTS, SeenError, begin, look, write_round
from tools.crash.victims import MISFIT, strace

HANGS = 120


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rounds.mctree"
    with mctree.create(path, chunk_bytes=1 << 16, keep=4, encoders=[ENCODER]) as tree:
        begin(tree)
    return path


def test_readers_under_fire_see_whole_commits(tmp_path: Path) -> None:
    seen = under_fire(tmp_path, readers=4, snapshots=125)
    assert seen.failures == []
    assert seen.snapshots >= 500
    assert seen.again > 50
    assert seen.forked >= 4 * 3
    assert seen.spawned >= 4 * 2
    assert seen.verified > 2
    assert seen.compactions >= 4
    assert seen.refreshes >= 4
    assert seen.growths >= 2
    assert seen.backups >= 2
    assert seen.kills >= 10
    assert seen.rounds > 5


def test_readers_under_fire_see_whole_commits_of_images(tmp_path: Path) -> None:
    seen = under_fire(tmp_path, readers=3, snapshots=20, kills=4, rounds=IMAGES)
    assert seen.failures == []
    assert seen.snapshots >= 60
    assert seen.again > 10
    assert seen.forked >= 3 * 2
    assert seen.spawned >= 3
    assert seen.compactions >= 3
    assert seen.refreshes >= 3
    assert seen.growths >= 2
    assert seen.backups >= 1
    assert seen.kills >= 4
    assert seen.rounds > 2


@pytest.mark.skipif(bool(why_no_mounts()), reason=why_no_mounts())
def test_a_hundred_readers_on_a_full_disk_live(tmp_path: Path) -> None:
    """Found by this test: who found no room for a lease could not take a snapshot."""
    assert on_full_disk(tmp_path, readers=100) == []


# What shows that these tests would see it


FAULTS = dict.fromkeys(FOUND_AT_ONCE, TEXTS) | dict.fromkeys(OF_IMAGES_AT_ONCE, IMAGES)


@pytest.mark.parametrize("planted", FAULTS, ids=lambda planted: planted.plant.__name__)
def test_planted_faults_are_found_under_fire(tmp_path: Path, planted: Planted) -> None:
    # So many turns that what is missed once, as an epoch that has not gone yet when a child opens it, comes again.
    failures = under_fire(
        tmp_path, readers=2, snapshots=20, kills=30, rounds=FAULTS[planted], plant=planted.plant.__name__
    ).failures
    assert any(re.search(planted.sign, failure) for failure in failures), failures
    assert not any(MISFIT in failure for failure in failures), failures


def test_a_run_in_which_something_never_happened_has_failed() -> None:
    seen = Seen(snapshots=500, compactions=1, refreshes=1, forked=1, spawned=1, kills=10)
    assert seen.lacking() == ["growths", "backups"]
    assert Seen().lacking() == ["compactions", "refreshes", "growths", "forked", "spawned", "backups", "kills"]


def test_a_reader_to_which_nothing_happens_says_so(path: Path) -> None:
    kills = Path(f"{path}.kills")
    kills.touch()
    (failure,) = read(str(path), 0, 1, fire=Fire(str(kills), 1, grows=True, patience=0.0)).failures
    assert "what has to happen under a reader did not: {'snapshots': " in failure


def test_a_snapshot_of_two_rounds_is_seen(path: Path) -> None:
    with mctree.open(path, encoders=[ENCODER]) as tree:
        write_round(tree, gists=True)
        with tree.writer() as writer:
            writer.add("document 3", rounds.content(0, 3), replace=True)
        with pytest.raises(SeenError, match="mixes rounds"):
            look(tree.snapshot())


def test_a_snapshot_of_two_rounds_of_images_is_seen(tmp_path: Path) -> None:
    with mctree.create(tmp_path / "images.mctree", chunk_bytes=1 << 16, encoders=IMAGES.encoders) as tree:
        IMAGES.begin(tree)
        IMAGES.write(tree, gists=True)
        assert IMAGES.look(tree.snapshot()).round == 1
        with tree.writer() as writer:
            writer.change_image("replaced", np.full((20, 128, 1), shade(2), np.uint8), Box(0, 0, 128, 20))
        with pytest.raises(SeenError, match="mixes round 1 with another: image 'replaced', its pixels"):
            IMAGES.look(tree.snapshot())
        rounds.write_round(tree, gists=False)
        with pytest.raises(SeenError, match="mixes round 2 with another"):
            IMAGES.look(tree.snapshot())


def test_a_reader_whose_commits_are_not_kept_for_it_is_seen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutant: leases that hold nothing."""
    monkeypatch.setattr(Leases, "acquire", lambda self, *commits: None)
    monkeypatch.setattr(Leases, "release", lambda self, *commits: None)
    with mctree.open(path, encoders=[ENCODER]) as tree:
        tree.keep(1)
        snapshot = tree.snapshot()
        view = look(snapshot)
        for number in range(40):
            write_round(tree, gists=False)
            if number % 4 == 3:
                tree.refresh_gists()
        with pytest.raises(SeenError, match=r"commit 4 shows documents \['stream'\]"):
            assert look(snapshot) == view


def test_a_reader_that_goes_backwards_is_seen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutant: every second snapshot is of the commit before."""
    with mctree.open(path, encoders=[ENCODER]) as tree:
        write_round(tree, gists=True)
        write_round(tree, gists=True)
    real, calls = mctree.Tree.snapshot, []

    def snapshot(self: mctree.Tree, commit: int | None = None) -> Snapshot:
        calls.append(commit)
        newest: Snapshot = real(self, commit)
        return newest if len(calls) % 2 else real(self, newest.commit - 1)

    monkeypatch.setattr(mctree.Tree, "snapshot", snapshot)
    assert "came after" in read(str(path), 0, 4).failures[0]


# Named faults


@pytest.mark.parametrize("refresh", [False, True])
def test_a_commit_that_its_writer_did_not_live_to_announce_is_whole(path: Path, refresh: bool) -> None:
    """Found by readers under fire: while others have the index open, it shows the commit before, until somebody writes.

    The next writer took what that commit had written for left over: it swept its generations, and wrote over its rows.
    """
    with mctree.open(path, encoders=[ENCODER]) as tree:
        write_round(tree, gists=True)
        write_round(tree, gists=True)
        snapshot = tree.snapshot()  # as long as somebody has the index open, LMDB goes by what its writers announce
        before = _transaction(path)
        _kill_unannounced(path, refresh=refresh)
        assert _transaction(path) == before + 1
        assert tree.commits()[-1].number == snapshot.commit
        with tree.writer() as writer:
            writer.add("one more", b"x" * 2000)
        assert tree.snapshot().commit == snapshot.commit + 2
        assert [str(problem) for problem in tree.verify()] == []
        with tree.snapshot(snapshot.commit + 1) as unannounced:
            assert look(unannounced).round == look(snapshot).round + (not refresh)


def _transaction(path: Path) -> int:
    data = (path / DATA_NAME).read_bytes()
    return max(read_meta(data[place:]).number for place in (0, 4096))


def _kill_unannounced(path: Path, *, refresh: bool) -> None:
    """Let a writer die after its commit is on disk, and before it says so to others: each of its writes is held up."""
    act = "tree.refresh_gists()" if refresh else "write_round(tree, gists=True)"
    code = (
        "import sys, mctree\n"
        "from tools.crash.rounds import ENCODER, write_round\n"
        f"with mctree.open(sys.argv[1], encoders=[ENCODER]) as tree: {act}\n"
    )
    held_up = ["-e", "trace=pwrite64", "-e", "inject=pwrite64:delay_exit=300000", "-o", os.devnull]
    before = _transaction(path)
    process = subprocess.Popen([strace(), *held_up, sys.executable, "-c", code, str(path)])
    while _transaction(path) == before:
        assert process.poll() is None, "the writer ended before it could be killed"
    (victim,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(victim), signal.SIGKILL)
    process.wait(HANGS)
