"""Whatever bit is flipped, and whatever file is lost, is found before it is believed: as the suite runs it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mctree.storage import audit, gate, pages
from mctree.storage.walk import Walk
from mctree.testing.stores import scratch
from mctree.tree import check, row_checks
from tests.planting import wrapped
from tools.crash import damage, flips
from tools.crash.damage import Damage, Verdict, in_children
from tools.crash.specimen import Specimen

pytestmark = pytest.mark.damages
Patch = pytest.MonkeyPatch
_AT_ONCE = 12
INDEX, TOKENS = "index.lmdb/data.mdb", "text/lod0/c.0"


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch() as folder:
        yield Path(folder)


def test_whatever_is_flipped_or_lost_is_found(folder: Path) -> None:
    result = flips.run("quick", folder, print)
    assert result.failures == []
    assert all(row.points for row in result.rows)
    assert {row.what for row in result.rows} >= {
        "bits of the index",
        "bits of gists",
        "bits of an older generation",
        "bits of `text/lod0`",
        "files lost, cut, resized, swapped, put back",
    }


@pytest.fixture(scope="module")
def specimen() -> Iterator[Specimen]:
    with scratch() as folder:
        yield Specimen.make(Path(folder, "specimen.mctree"))


def found(specimen: Specimen, damages: list[Damage]) -> set[Verdict]:
    return {verdict for _, verdict in in_children(specimen, damages)}


def test_every_row_of_an_older_generation_is_named(specimen: Specimen) -> None:
    older = [file for file in specimen.places if file.startswith("generations/")]
    assert older
    for file in older:
        row_bytes, _ = specimen.places[file]
        flipped = [Damage(file, at, b"\x01") for at in range(8 * row_bytes)]
        assert found(specimen, flipped) == {Verdict.FOUND, Verdict.HARMLESS}


def records_are_believed(patch: Patch) -> None:
    patch.setattr(audit, "unframe", lambda key, value: value[4:])
    patch.setattr(check, "table_sums", lambda index: iter(()))


def rows_are_believed(patch: Patch) -> None:
    class Always(np.ndarray):  # what equals everything
        def __ne__(self, other: object) -> np.ndarray:  # type: ignore[override]
            return np.zeros(len(self), np.bool_)

    patch.setattr(row_checks, "row_sums", lambda rows: np.zeros(len(rows), np.uint32).view(Always))


def pages_are_believed(patch: Patch) -> None:
    patch.setattr(check, "damaged_pages", lambda store: iter(()))
    patch.setattr(gate, "damaged_way", lambda fd, size, meta: None)


def keys_that_lead_the_way_are_believed(patch: Patch) -> None:
    patch.setattr(Walk, "_disorder", lambda self, keys, low, high: "")


def the_wrong_node_is_named(patch: Patch) -> None:
    wrapped(patch, row_checks, "_at_node", lambda real, snapshot, level, _, *what: real(snapshot, level, 0, *what))


def root(specimen: Specimen) -> range:
    """The bytes of the root of the index, where its keys lie."""
    data = Path(specimen.path, INDEX).read_bytes()
    newest = max((pages.read_meta(data[at:]) for at in (0, 4096)), key=lambda meta: meta.number)
    start = newest.main.root * 4096
    return range(start + int.from_bytes(data[start + 14 : start + 16], "little"), start + 4096, 11)


UNNOTICED, UNREADABLE, DIED = Verdict.UNNOTICED, Verdict.BROKEN_UNNOTICED, Verdict.DIED
FAULTS: dict[Callable[[Patch], None], tuple[Callable[[Specimen], tuple[str, range]], set[Verdict]]] = {
    records_are_believed: (
        lambda specimen: (INDEX, range(8192, specimen.size(INDEX), 397)),
        {UNNOTICED, UNREADABLE},
    ),
    rows_are_believed: (lambda _: (TOKENS, range(0, 2000, 160)), {UNNOTICED}),
    pages_are_believed: (lambda specimen: (INDEX, root(specimen)), {UNNOTICED, UNREADABLE, DIED}),
    keys_that_lead_the_way_are_believed: (lambda specimen: (INDEX, root(specimen)), {UNNOTICED, UNREADABLE, DIED}),
    the_wrong_node_is_named: (lambda _: (TOKENS, range(40, 2000, 160)), {Verdict.NOT_NAMED}),
}
"""Where each is looked for, and what becomes of damage there."""
GOOD = {Verdict.HARMLESS, Verdict.FOUND, Verdict.REFUSED}


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_planted_faults_are_found(specimen: Specimen, monkeypatch: Patch, plant: Callable[[Patch], None]) -> None:
    where, wanted = FAULTS[plant]
    file, offsets = where(specimen)
    damages = [Damage(file, at, bytes([1 << at % 8])) for at in offsets]
    random.Random(1).shuffle(damages)
    for start in range(0, len(damages), _AT_ONCE):
        some = damages[start : start + _AT_ONCE]
        with monkeypatch.context() as patch:
            plant(patch)
            patch.setattr(damage, "_PATIENCE", 2)  # some of what follows would go on for ever
            bad = found(specimen, some) - GOOD
        assert Verdict.UNFIT not in bad, "the plant does not fit the code"
        if bad & wanted:
            assert found(specimen, some) <= GOOD
            return
    pytest.fail("it was not found")


def test_where_nobody_reads_is_where_no_page_is_in_use(specimen: Specimen) -> None:
    """What LMDB says of its own pages: as many stretches are silent as there are pages that nobody uses."""
    data = Path(specimen.path, INDEX).read_bytes()
    newest = max((pages.read_meta(data[at:]) for at in (0, 4096)), key=lambda meta: meta.number)
    in_use = sum(tree.branches + tree.leaves + tree.overflows for tree in (newest.free, newest.main))
    read, unread = flips.stretches(specimen, INDEX, (4096,))
    assert len(read) == 2 + in_use
    assert unread == len(data) - 4096 * (2 + in_use)
