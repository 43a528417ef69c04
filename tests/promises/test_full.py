"""Full disks, limits on the size of files, and media that are read-only: faults that their harness must find."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import lmdb
import pytest

import mctree
from mctree.errors import WriterFailedError
from mctree.storage import leases
from mctree.storage.environment import WriteTransaction
from mctree.testing.stores import scratch
from tools.crash.aged import ENCODER, back_up, make
from tools.crash.disks import fill, on_small_disk, why_no_mounts
from tools.crash.full import live_below_limit, live_on_small_disk, make_read_only
from tools.crash.readers import on_full_disk
from tools.crash.scenario import LIFE
from tools.crash.victims import in_judgement

PAGE = 4096
Patch = pytest.MonkeyPatch
pytestmark = [pytest.mark.damages, pytest.mark.skipif(bool(why_no_mounts()), reason=why_no_mounts())]


@pytest.fixture
def folder() -> Iterator[Path]:
    LIFE.foresee()  # before anything fails
    with scratch() as folder:
        yield Path(folder)


def on_disks(folder: Path) -> Iterator[str]:
    for size in range(240 << 10, 480 << 10, 16 << 10):
        yield from in_judgement(partial(live_on_small_disk, LIFE, folder, size))


def pages_short(disk: Path, make: Callable[[Path], object]) -> list[str]:
    """Make something where no page is free, then one, then two …, until there is room; what is wrong."""
    filler = fill(disk)
    while (size := filler.stat().st_size) > 0:
        with suppress(WriterFailedError):
            make(disk / "made")
            return []
        os.truncate(filler, size - PAGE)
    return ["there was never room"]


def below_limits(folder: Path) -> Iterator[str]:
    for size in range(36 << 10, 512 << 10, 36 << 10):
        yield from in_judgement(partial(live_below_limit, LIFE, folder, size, signal.SIG_IGN))


def on_read_only_media(folder: Path) -> Iterator[str]:
    yield from make_read_only(LIFE, "quick", folder, print).failures


def in_a_crowd(folder: Path) -> Iterator[str]:
    yield from on_full_disk(folder, readers=3)


def the_index_is_written_through_a_map(patch: Patch) -> None:
    """Where there is no room for a page of it, whoever writes that page is ended by a signal."""
    real = lmdb.open

    def open_mapped(path: str, **options: Any) -> lmdb.Environment:
        return real(path, **{**options, "writemap": not options.get("readonly", False)})

    patch.setattr(lmdb, "open", open_mapped)


def a_commit_that_failed_is_taken_for_made(patch: Patch) -> None:
    real = WriteTransaction.__exit__

    def leave(self: WriteTransaction, kind: type[BaseException] | None, *rest: object) -> None:
        with suppress(WriterFailedError):
            real(self, kind, *rest)

    patch.setattr(WriteTransaction, "__exit__", leave)


def readers_need_a_lease(patch: Patch) -> None:
    patch.setattr(leases, "_NO_LEASE", ())


MUTANTS: dict[tuple[Callable[[Patch], None], Callable[[Path], Iterator[str]]], str] = {
    (the_index_is_written_through_a_map, on_disks): f"the process ended with -{signal.SIGBUS:d}",
    (a_commit_that_failed_is_taken_for_made, below_limits): r"the newest commit of .* is \d+, but \d+ was committed",
    (readers_need_a_lease, on_read_only_media): "a reader is told OSError: .*(Read-only|Permission)",
    (readers_need_a_lease, in_a_crowd): "OSError: .*No space left",
}
"""Each where it is to be found, with the words that tell of it."""


MAKERS: dict[str, Callable[[Path, Path], object]] = {
    "creation": lambda source, path: mctree.create(path, chunk_bytes=1 << 16).close(),
    "copy": back_up,
    "compaction": lambda source, path: compact(source),
}


def compact(source: Path) -> None:
    with mctree.open(source, encoders=[ENCODER]) as tree:
        tree.compact()


@pytest.mark.parametrize("maker", MAKERS)
def test_where_there_is_no_room_for_a_new_store_its_maker_lives(tmp_path: Path, maker: str) -> None:
    """Found by lives on small disks: where it was the lock file of its index that had none, SIGBUS ended its maker."""

    def work(disk: Path) -> list[str]:
        source = make(disk / "source")
        return pages_short(disk, partial(MAKERS[maker], source))

    assert on_small_disk(tmp_path, work, patience=60) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant[0].__name__}-{mutant[1].__name__}")
def test_planted_faults_are_found(
    folder: Path, monkeypatch: Patch, mutant: tuple[Callable[[Patch], None], Callable[[Path], Iterator[str]]]
) -> None:
    plant, harness = mutant
    with monkeypatch.context() as patch:
        plant(patch)
        seen = []
        for problem in harness(folder):
            seen.append(problem)
            if re.search(MUTANTS[mutant], problem):
                return
    pytest.fail(f"it was not found; what was seen: {seen[:5]}")
