"""Files that are lost, or put back from before: faults that the harness of `flips` must find there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from mctree.storage import store
from mctree.testing.stores import scratch
from mctree.tree import check, row_checks
from tools.crash import mislaid
from tools.crash.damage import Verdict, looked_at_in_child
from tools.crash.specimen import Specimen

Patch = pytest.MonkeyPatch
pytestmark = pytest.mark.damages


@pytest.fixture(scope="module")
def specimen() -> Iterator[tuple[Specimen, list[Path]]]:
    with scratch() as folder:
        path, stages = Path(folder, "specimen.mctree"), list[Path]()
        made = Specimen.make(path, lambda: stages.append(Path(shutil.copytree(path, f"{folder}/stage {len(stages)}"))))
        yield made, stages


def an_index_of_before_is_believed(patch: Patch) -> None:
    """Nobody compares the newest commit with the store's own note of it."""
    patch.setattr(store, "_head", lambda at: 0)


def rows_that_are_lost_are_passed_over(patch: Patch) -> None:
    """`verify` compares the rows that it can read."""
    real = row_checks._read

    def silent(*what: Any) -> Generator[Any, None, Any]:
        reading = real(*what)
        try:
            while True:
                next(reading)
        except StopIteration as end:
            return end.value
        yield  # what makes it one that is iterated over

    patch.setattr(row_checks, "_read", silent)


def metadata_that_are_lost_are_passed_over(patch: Patch) -> None:
    """`verify` leaves what other readers go by to them."""
    patch.setitem(check._CHECKS, "arrays", lambda snapshot, looked: iter(()))


MUTANTS: dict[Callable[[Patch], None], tuple[str, set[Verdict]]] = {
    an_index_of_before_is_believed: ("index.lmdb/data.mdb is put back from before", {Verdict.UNNOTICED}),
    rows_that_are_lost_are_passed_over: (
        "text/count/c.0 is lost",
        {Verdict.NOT_NAMED, Verdict.BROKEN_UNNOTICED},
    ),
    metadata_that_are_lost_are_passed_over: ("text/count/zarr.json is lost", {Verdict.UNNOTICED}),
}
"""Each with what is done to a file, and what comes of it."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_planted_faults_are_found(
    specimen: tuple[Specimen, list[Path]], monkeypatch: Patch, mutant: Callable[[Patch], None]
) -> None:
    what, wanted = MUTANTS[mutant]
    changes = [change for change in mislaid.changes_of(*specimen) if change.what == what]
    assert changes
    with monkeypatch.context() as patch:
        mutant(patch)
        found = {come_of(specimen[0], change) for change in changes}
    assert found & wanted, found
    assert not {come_of(specimen[0], change) for change in changes} & wanted


def come_of(specimen: Specimen, change: mislaid.Change) -> Verdict:
    copy = shutil.copytree(specimen.path, f"{specimen.path}.copy")
    try:
        change.do(copy)
        return looked_at_in_child(copy, specimen, change.file)
    finally:
        shutil.rmtree(copy)
