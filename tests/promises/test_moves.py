"""Clocks that jump, stores that are moved, copies of all kinds: the harness as the suite runs it, and faults for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import mctree
from mctree.errors import MctreeError
from mctree.format import commits
from mctree.storage import creation, place, store
from mctree.storage.files import read_small
from mctree.storage.leases import Leases
from mctree.testing.stores import scratch
from mctree.tree import backup
from mctree.tree.tree import Tree
from tools.crash import backups, moves
from tools.crash.aged import ENCODER

Patch = pytest.MonkeyPatch


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch() as folder:
        yield Path(folder)


def test_time_and_place_cost_nothing(folder: Path) -> None:
    result = moves.run("quick", folder, print)
    assert result.failures == []
    assert all(row.points for row in result.rows)
    assert result.points >= 100


def clocks_are_believed(patch: Patch, folder: Path) -> Iterator[str]:
    """What a clock says is written down, even if it cannot be read back."""
    patch.setattr(commits, "_storable", lambda time_ns: time_ns)
    return moves.jump(folder, 40)


def stores_are_looked_for_by_path(patch: Patch, folder: Path) -> Iterator[str]:
    """Whoever has a store open looks at its path again."""
    patch.setattr(Tree, "_whichever", lambda self: self.store)
    return moves.move(folder, 3)


def copies_are_not_verified(patch: Patch, folder: Path) -> Iterator[str]:
    """A copy gets its name unseen."""
    patch.setattr(Tree, "verify", lambda self, **options: iter(()))
    return backups.back_up_damaged(folder, 40)


def copies_are_made_in_place(patch: Patch, folder: Path) -> Iterator[str]:
    """A copy has its name from the start."""
    real = backup.making
    patch.setattr(backup, "making", lambda path: real(path, alone=True))
    return backups.kill_backups(folder, 8)


def nothing_is_held_while_it_is_copied(patch: Patch, folder: Path) -> Iterator[str]:
    """What a copy needs may go while it is made; here somebody is busy just then."""
    real = backup.copy_store

    def copy(store: Any, *args: Any) -> None:
        with mctree.open(folder / "fired at", encoders=[ENCODER]) as other:
            for i in range(36):
                with other.writer() as writer:
                    writer.add("meanwhile", f"{i} " * 99, replace=True)
                if i % 9 == 0:
                    other.refresh_gists()
        real(store, *args)

    patch.setattr(backup, "copy_store", copy)
    patch.setattr(Leases, "acquire", lambda self, *commits: None)
    patch.setattr(Leases, "release", lambda self, *commits: None)
    patch.setattr(backups, "writing", _nobody)
    return backups.back_up_under_fire(folder, 2)


@contextmanager
def _nobody(path: Path, seed: int) -> Iterator[int]:
    yield 0


def hints_are_relied_upon(patch: Patch, folder: Path) -> Iterator[str]:
    """What is not synced, and need not be copied, is read as if it were always there."""
    patch.setattr(store, "_head", lambda at: int.from_bytes(read_small(store.HEAD_NAME, at)[:8], "little"))
    return moves.copy(folder)


def networks_are_not_asked_for_where_a_store_is_made(patch: Patch, folder: Path) -> Iterator[str]:
    patch.setattr(creation, "check_place", lambda at, where: None)
    return moves.refuse_networks(folder)


def what_is_in_user_space_is_local(patch: Patch, folder: Path) -> Iterator[str]:
    patch.setattr(place, "_REMOTE", re.compile("$^"))
    return moves.refuse_networks(folder)


MUTANTS: dict[Callable[[Patch, Path], Iterator[str]], str] = {
    clocks_are_believed: "'time_ns' is out of range",
    stores_are_looked_for_by_path: "does not exist",
    copies_are_not_verified: "the copy holds something else",
    copies_are_made_in_place: "copy (has [0-9]+ problems|holds no index)",
    nothing_is_held_while_it_is_copied: "run `mctree verify`",
    hints_are_relied_upon: "No such file or directory: 'head'",
    networks_are_not_asked_for_where_a_store_is_made: "half a store was made",
    what_is_in_user_space_is_local: r"a store is opened on fuse\.sshfs, which is a network's",
}
"""Each with the words that tell of it."""
FAILURES = AssertionError, MctreeError, OSError


@pytest.mark.damages
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_planted_faults_are_found(
    folder: Path, monkeypatch: Patch, mutant: Callable[[Patch, Path], Iterator[str]]
) -> None:
    with monkeypatch.context() as patch, pytest.raises(FAILURES, match=MUTANTS[mutant]):
        list(mutant(patch, folder))
