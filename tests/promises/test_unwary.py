"""Who writes to a damaged store drops nothing of it, and makes no damage pass for sound: as the suite runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mctree.errors import CorruptError
from mctree.format.keys import Table, commit_key
from mctree.storage import recovery
from mctree.storage.index import Reading
from mctree.testing.stores import scratch
from mctree.tree import Tree, compact, intact, retention
from mctree.tree.intact import intact_blocks
from tests.planting import wrapped
from tools.crash import collected, unwary
from tools.crash.damage import Damage
from tools.crash.naming import INDEX
from tools.crash.records import in_records, lose
from tools.crash.specimen import Specimen, opened
from tools.crash.trial import Point, Trial

pytestmark = pytest.mark.damages
Patch = pytest.MonkeyPatch
TOKENS = "text/lod0/c.0"


def test_who_writes_to_a_damaged_store_drops_nothing_and_hides_nothing() -> None:
    with scratch() as folder:
        result = unwary.run("quick", Path(folder), print)
    assert result.failures == []
    assert all(row.points for row in result.rows)
    assert sum("steps refused" in row.notes for row in result.rows) > 2


@pytest.fixture(scope="module")
def specimen() -> Iterator[Specimen]:
    with scratch() as folder:
        yield Specimen.make(Path(folder, "specimen.mctree"))


def a_writer_drops_commits_whose_rows_do_not_check(patch: Patch) -> None:
    """As the writer's recovery might: what cannot be read is no commit."""

    def writer(real: Callable[[Tree], Any], tree: Tree) -> Any:
        *older, _ = tree.commits()
        for commit in older:
            with tree.snapshot(commit.number) as snapshot:
                try:
                    intact_blocks(snapshot, 0, snapshot.blocks, snapshot.world.geometry)
                except CorruptError:
                    with tree.store.environment.writing() as txn:
                        txn.delete(commit_key(Table.COMMIT, commit.number))
        return real(tree)

    wrapped(patch, Tree, "writer", writer)


def a_compaction_believes_rows(patch: Patch) -> None:
    class Always(np.ndarray):  # what equals everything
        def __ne__(self, other: object) -> np.ndarray:  # type: ignore[override]
            return np.zeros(len(self), np.bool_)

    patch.setattr(intact, "row_sums", lambda rows: np.zeros(len(rows), np.uint32).view(Always))


def a_compaction_believes_its_index(patch: Patch) -> None:
    wrapped(patch, compact, "intact_index", lambda real, snapshot: None)


def a_writer_sweeps_what_a_damaged_index_does_not_name(patch: Patch) -> None:
    def names(real: Callable[..., set[bytes] | None], index: Reading, table: Table, tables: Any) -> set[bytes]:
        return {key[1:] for key, _ in index.raw(table)}

    wrapped(patch, recovery, "whole_table", names)


def of_an_open_document(specimen: Specimen) -> list[Damage]:
    """A bit of each of its blocks: there is no digest of it that would find what their checksums do not."""
    size = specimen.naming.rows[TOKENS].size
    with opened(specimen.path) as tree, tree.snapshot() as snapshot:
        runs = snapshot.document("stream").runs
    return [
        Damage(TOKENS, size * block + 3, b"\x01") for run in runs for block in range(run.block, run.block + run.blocks)
    ]


def of_records(*tables: Table) -> Callable[[Specimen], list[Damage]]:
    """The last bit of the tag of each record of some tables, and of its key."""

    def found(specimen: Specimen) -> list[Damage]:
        records = [damages for key, damages in in_records(specimen.path) if key[:1] in tables]
        return [Damage(damages[i].file, damages[i].offset, b"\x01") for damages in records for i in (0, 2)]

    return found


FAULTS: dict[Callable[[Patch], None], tuple[Callable[[Specimen], list[Damage]], str]] = {
    a_writer_drops_commits_whose_rows_do_not_check: (of_an_open_document, "were dropped"),
    a_compaction_believes_rows: (of_an_open_document, "verify is silent, and"),
    a_compaction_believes_its_index: (of_records(Table.TAIL), "verify is silent, and"),
    a_writer_sweeps_what_a_damaged_index_does_not_name: (of_records(Table.CHUNK), "held are there no more"),
}
"""Each with the bits that are flipped until it is found, and the words in which it is."""


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_planted_faults_are_found(specimen: Specimen, monkeypatch: Patch, plant: Callable[[Patch], None]) -> None:
    damages, sign = FAULTS[plant]
    told = []
    for damage in damages(specimen):
        point = Point(damage.file, f"{damage}", damage.do)
        with monkeypatch.context() as patch:
            plant(patch)
            told.append(Trial(specimen, unwary.STEPS).failure(point))
        if sign in told[-1]:
            assert Trial(specimen, unwary.STEPS).failure(point) == ""
            return
    pytest.fail(f"it was not found: {[*filter(None, told)]}")


def test_a_collection_that_takes_every_table_for_whole_is_found(monkeypatch: Patch) -> None:
    with scratch() as folder:
        collecting = collected.make_specimen(Path(folder, "collected.mctree"))
        lost = [key for key, _ in in_records(collecting.path) if key[:1] == Table.GIST_SET]
        told = []
        for key in lost:
            point = Point(INDEX, f"{key!r} is lost", partial(lose, key), key)
            with monkeypatch.context() as patch:
                wrapped(patch, retention, "whole_table", lambda real, *of: set())
                told.append(Trial(collecting, collected.STEPS).failure(point))
            if "is there no more" in told[-1]:
                assert Trial(collecting, collected.STEPS).failure(point) == ""
                return
    pytest.fail(f"it was not found: {[*filter(None, told)]}")
