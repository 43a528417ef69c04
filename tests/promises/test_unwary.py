"""Who writes to a damaged store drops nothing of it, and makes no damage pass for sound: as the suite runs it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np
import pytest

from mctree.errors import CorruptError
from mctree.format.arrays import ArrayLayout
from mctree.format.keys import Table, commit_key
from mctree.storage import hints, recovery, session
from mctree.storage.chunks import generation_name
from mctree.storage.files import exists, list_names, read_small, remove_tree
from mctree.storage.index import Reading
from mctree.storage.store import Store
from mctree.testing.stores import scratch
from mctree.tree import Tree, compact, intact, retention
from mctree.tree.intact import intact_blocks
from tests.planting import wrapped
from tools.crash import collected, unwary
from tools.crash.damage import Damage
from tools.crash.mislaid import changes_of
from tools.crash.naming import INDEX
from tools.crash.records import in_records, lose
from tools.crash.specimen import Specimen, opened
from tools.crash.trial import Point, Trial

pytestmark = pytest.mark.damages
Patch = pytest.MonkeyPatch
TOKENS = "text/lod0/c.0"
GENERATION = Struct(">IQQ")


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


def a_writer_forgets_generations_without_a_file(patch: Patch) -> None:
    """As the writer's recovery might: what is not there is nobody's."""

    def writer(real: Callable[[Tree], Any], tree: Tree) -> Any:
        with tree.store.reading() as index:
            keys = [key for key, _ in index.raw(Table.CHUNK)]
        names = {generation_name(*GENERATION.unpack(key[1:])): key for key in keys}
        newest = {key[:13]: key for key in sorted(keys)}
        for name, key in names.items():
            if key != newest[key[:13]] and not exists(name, tree.store.at):
                with tree.store.environment.writing() as txn:
                    txn.delete(key)
        return real(tree)

    wrapped(patch, Tree, "writer", writer)


def a_writer_sweeps_sets_whose_metadata_cannot_be_read(patch: Patch) -> None:
    def swept(real: Callable[..., Any], store: Store, newest: Any) -> Any:
        for name in list_names("gists", store.at):
            try:
                json.loads(read_small(f"gists/{name}/zarr.json", store.at))
            except NotADirectoryError:
                continue
            except (OSError, ValueError):
                remove_tree(f"gists/{name}", store.at)
        return real(store, newest)

    wrapped(patch, session, "recover", swept)


def a_writer_does_not_foresee_that_metadata_are_damaged(patch: Patch) -> None:
    def shown(real: Callable[..., None], at: int, layout: ArrayLayout, rows: int) -> None:
        if json.loads(read_small(f"{layout.path}/zarr.json", at))["shape"][0] < rows:
            real(at, layout, rows)

    patch.setattr(hints, "write_array_rows", partial(shown, hints.write_array_rows))


def flipped(*damages: Damage) -> list[Point]:
    return [Point(damage.file, f"{damage}", damage.do) for damage in damages]


def of_an_open_document(specimen: Specimen) -> list[Point]:
    """A bit of each of its blocks: there is no digest of it that would find what their checksums do not."""
    size = specimen.naming.rows[TOKENS].size
    with opened(specimen.path) as tree, tree.snapshot() as snapshot:
        runs = snapshot.document("stream").runs
    blocks = [block for run in runs for block in range(run.block, run.block + run.blocks)]
    return flipped(*(Damage(TOKENS, size * block + 3, b"\x01") for block in blocks))


def of_records(*tables: Table) -> Callable[[Specimen], list[Point]]:
    """The last bit of the tag of each record of some tables, and of its key."""

    def found(specimen: Specimen) -> list[Point]:
        records = [damages for key, damages in in_records(specimen.path) if key[:1] in tables]
        return flipped(*(Damage(damages[i].file, damages[i].offset, b"\x01") for damages in records for i in (0, 2)))

    return found


def of_metadata(file: str) -> Callable[[Specimen], list[Point]]:
    """A bit of the bracket that it begins with."""
    return lambda specimen: flipped(Damage(file, 0, b"\x01"))


def generations_lost(specimen: Specimen) -> list[Point]:
    changes = [change for change in changes_of(specimen, []) if change.file.startswith("generations/")]
    return [Point(change.file, change.what, change.do) for change in changes if change.act == "lost"]


FAULTS: dict[Callable[[Patch], None], tuple[Callable[[Specimen], list[Point]], str]] = {
    a_writer_drops_commits_whose_rows_do_not_check: (of_an_open_document, "were dropped"),
    a_compaction_believes_rows: (of_an_open_document, "verify is silent, and"),
    a_compaction_believes_its_index: (of_records(Table.TAIL), "verify is silent, and"),
    a_writer_sweeps_what_a_damaged_index_does_not_name: (of_records(Table.CHUNK), "held are there no more"),
    a_writer_forgets_generations_without_a_file: (generations_lost, "index record 'k' .* is there no more"),
    a_writer_sweeps_sets_whose_metadata_cannot_be_read: (
        of_metadata("gists/kept/zarr.json"),
        "the rows that gists/kept/.* held are there no more",
    ),
    a_writer_does_not_foresee_that_metadata_are_damaged: (
        of_metadata("text/lod0/zarr.json"),
        "to append 'raised (JSONDecodeError|UnicodeDecodeError)",
    ),
}
"""Each with the damage that is done until it is found, and the words in which it is."""


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_planted_faults_are_found(specimen: Specimen, monkeypatch: Patch, plant: Callable[[Patch], None]) -> None:
    points, sign = FAULTS[plant]
    told = []
    for point in points(specimen):
        with monkeypatch.context() as patch:
            plant(patch)
            told.append(Trial(specimen, unwary.STEPS).failure(point))
        if re.search(sign, told[-1]):
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
