"""Whatever bit is flipped, and whatever file is lost, is found before it is believed: as the suite runs it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mctree.storage import audit, gate, pages, store
from mctree.storage.counters import read_counts
from mctree.storage.files import read_small
from mctree.storage.store import HEAD_NAME
from mctree.storage.walk import Walk
from mctree.testing.stores import scratch
from mctree.tree import Snapshot, check, row_checks
from mctree.tree.images import check as image_check
from mctree.tree.images.image import STATES
from mctree.tree.problem import Problem
from mctree.tree.text_arrays import BEFORE, COUNT
from tests.planting import wrapped
from tools.crash import damage, flips, mislaid
from tools.crash.damage import Damage, Verdict, in_children
from tools.crash.index_bytes import IndexBytes
from tools.crash.naming import INDEX
from tools.crash.specimen import Specimen, kind_of, opened

pytestmark = pytest.mark.damages
Patch = pytest.MonkeyPatch
_AT_ONCE = 12
FIRST = "c.0"
TOKENS, COLOURS, PIXELS = f"text/lod0/{FIRST}", f"images/statistics1/lod0/{FIRST}.0", f"images/pixels/{FIRST}"
READS, OLDER = "telemetry/access.lod1", f"epochs/0/text/lod0/{FIRST}"
KINDS = {
    *("the index", "an older generation", "gists of text", "gists of images", "`text/lod0`", "`text/count`"),
    *("`text/before`", "`images/statistics1`", "`images/pixels`", "`zarr.json`", "`head` (nothing committed)"),
    *("an older epoch (nothing committed)", "counts of reads (nothing committed)"),
}


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch() as folder:
        yield Path(folder)


def test_whatever_is_flipped_or_lost_is_found(folder: Path) -> None:
    result = flips.run("quick", folder, print)
    assert result.failures == []
    assert all(row.points for row in result.rows)
    assert {row.what for row in result.rows} >= {
        *(f"single bits of {kind}" for kind in KINDS),
        "bytes that nobody reads, changed all at once",
        "files lost, cut, resized, swapped, put back",
    }


@pytest.fixture(scope="module")
def specimen() -> Iterator[Specimen]:
    with scratch() as folder:
        yield Specimen.make(Path(folder, "specimen.mctree"))


def test_the_specimen_has_files_of_every_kind_and_images_of_every_state(specimen: Specimen) -> None:
    assert {kind_of(file) for file in specimen.files} >= KINDS
    with opened(specimen.path) as tree:
        assert list(tree.verify()) == []
        with tree.snapshot() as snapshot:
            icon, sparse, coarse = snapshot.images()
            assert icon.keeps_pixels and icon.complete
            assert not sparse.whole and sparse.states(1, np.array([sparse.first(1) + 1])) == [STATES.index("unknown")]
            assert np.count_nonzero(~sparse.pixels(partial=True).real()) > 0
            assert coarse.from_overviews and not coarse.keeps_pixels
        with tree.snapshot(tree.commits()[0].number + 1) as older:
            assert "blank" in {image.name for image in older.images()}


def test_a_file_is_mislaid_in_every_way_and_of_every_kind(specimen: Specimen) -> None:
    every = list(mislaid.changes_of(specimen, []))
    some = list(mislaid.some_of(every))
    assert {kind_of(change.file) for change in some} == {kind_of(change.file) for change in every}
    assert {change.act for change in some} == {change.act for change in every}
    assert len(some) < len(every) / 5


def found(specimen: Specimen, damages: list[Damage]) -> set[Verdict]:
    return {verdict for _, verdict in in_children(specimen, damages)}


def test_every_row_of_an_older_generation_is_named(specimen: Specimen) -> None:
    older = [file for file in specimen.files if file.startswith("generations/")]
    assert older
    for file in older:
        rows = specimen.naming.rows[file]
        flipped = [Damage(file, at, b"\x01") for at in range(0, rows.bytes, rows.size)]
        assert found(specimen, flipped) == {Verdict.FOUND}


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


def rows_of_images_are_believed(patch: Patch) -> None:
    class Always(np.ndarray):  # what equals everything
        def __ne__(self, other: object) -> np.ndarray:  # type: ignore[override]
            return np.zeros(len(self), np.bool_)

    patch.setattr(image_check, "row_sums", lambda rows: np.zeros(len(rows), np.uint32).view(Always))
    patch.setattr(image_check, "_structure", lambda snapshot, image: iter(()))


def kept_pixels_are_believed(patch: Patch) -> None:
    patch.setattr(image_check, "_pieces", lambda snapshot: iter(()))


def tokens_are_counted_unseen(patch: Patch) -> None:
    pass_over(patch, COUNT)


def sums_of_counts_are_believed(patch: Patch) -> None:
    pass_over(patch, BEFORE)


def pass_over(patch: Patch, passed_over: int) -> None:
    """Rows of an array of the timeline are not read."""

    def reading(real: Callable[..., Any], snapshot: Snapshot, array: int, *rest: Any) -> Any:
        return (yield from () if array == passed_over else real(snapshot, array, *rest))

    wrapped(patch, row_checks, "_read", reading)


def gists_are_believed(patch: Patch) -> None:
    patch.setitem(check._CHECKS, "gists", lambda snapshot, looked: iter(()))


def older_generations_are_believed(patch: Patch) -> None:
    def newest_only(real: Callable[..., Iterator[Problem]], *generation: Any, last: bool) -> Iterator[Problem]:
        return real(*generation, last=last) if last else iter(())

    wrapped(patch, row_checks, "_generation", newest_only)


def gists_of_images_are_believed(patch: Patch) -> None:
    def statistics_only(real: Callable[..., dict[int, Any]], snapshot: Snapshot) -> dict[int, Any]:
        return {array: found for array, found in real(snapshot).items() if "gist" not in found[1]}

    wrapped(patch, image_check, "image_arrays", statistics_only)


def metadata_are_believed(patch: Patch) -> None:
    patch.setitem(check._CHECKS, "arrays", lambda snapshot, looked: iter(()))


def metadata_may_show_rows_that_are_not_there(patch: Patch) -> None:
    patch.setattr(check, "_rows_by_now", lambda snapshot, array: 1 << 40)


def metadata_of_dropped_sets_are_believed(patch: Patch) -> None:
    patch.setattr(check, "_older_layouts", lambda snapshot, current: {})


def a_torn_note_of_the_newest_commit_is_believed(patch: Patch) -> None:
    def head(at: int) -> int:
        return int.from_bytes(read_small(HEAD_NAME, at)[:8], "little")

    patch.setattr(store, "_head", head)


def looked_at_as_well(patch: Patch, wrong: Callable[[Snapshot], object], where: str) -> None:
    """`verify` looks at something by which nobody goes, and raises an alarm."""

    def look(snapshot: Snapshot, looked: object) -> Iterator[Problem]:
        if wrong(snapshot):
            yield Problem(where, "is not what it was", "chunk")

    patch.setitem(check._CHECKS, "as well", look)


def counts_of_reads_are_looked_at(patch: Patch) -> None:
    def of_no_node(snapshot: Snapshot) -> bool:
        return bool(read_counts(snapshot.store.at, "access.lod1", snapshot.blocks, 1024).any())

    looked_at_as_well(patch, of_no_node, READS)


def an_older_epoch_is_looked_at(patch: Patch) -> None:
    def within(snapshot: Snapshot) -> bool:
        if snapshot.tree.epoch == 0:
            return False
        with opened(f"{snapshot.tree.path}/epochs/0") as older:
            return any(older.verify())

    looked_at_as_well(patch, within, OLDER)


def what_lies_behind_the_rows_is_looked_at(patch: Patch) -> None:
    def behind(snapshot: Snapshot) -> bool:
        data = Path(snapshot.tree.path, TOKENS).read_bytes()
        return any(data[snapshot.positions :])

    looked_at_as_well(patch, behind, TOKENS)


def the_wrong_record_is_named(patch: Patch) -> None:
    wrapped(patch, check, "hit_by", lambda real, snapshot, key: real(snapshot, key[:8] + bytes([key[8] ^ 1]) + key[9:]))


def records(specimen: Specimen, table: bytes) -> list[int]:
    """Bytes of a table's records in the index."""
    spots = IndexBytes(Path(specimen.path, INDEX).read_bytes()).spots.items()
    return [at for at, spot in spots if spot.key is not None and spot.key[:1] == table][30::60]


def generation(specimen: Specimen) -> str:
    """An older generation of gists of blocks."""
    return max(
        (file for file in specimen.files if file.startswith("generations/")),
        key=lambda one: specimen.naming.rows[one].bytes,
    )


def root(specimen: Specimen) -> range:
    """The bytes of the root of the index, where its keys lie."""
    data = Path(specimen.path, INDEX).read_bytes()
    newest = max((pages.read_meta(data[at:]) for at in (0, 4096)), key=lambda meta: meta.number)
    start = newest.main.root * 4096
    return range(start + int.from_bytes(data[start + 14 : start + 16], "little"), start + 4096, 5)


def bits(file: str, offsets: Iterable[int]) -> list[Damage]:
    """A bit of each of some bytes."""
    return [Damage(file, at, bytes([1 << at % 8])) for at in offsets]


UNNOTICED, UNREADABLE, DIED = Verdict.UNNOTICED, Verdict.BROKEN_UNNOTICED, Verdict.DIED
FAULTS: dict[Callable[[Patch], None], tuple[Callable[[Specimen], list[Damage]], set[Verdict]]] = {
    records_are_believed: (lambda specimen: bits(INDEX, records(specimen, b"l")), {UNNOTICED, UNREADABLE}),
    rows_are_believed: (lambda _: bits(TOKENS, range(0, 2000, 160)), {UNNOTICED, UNREADABLE}),
    pages_are_believed: (lambda specimen: bits(INDEX, root(specimen)), {UNNOTICED, UNREADABLE, DIED}),
    keys_that_lead_the_way_are_believed: (lambda specimen: bits(INDEX, root(specimen)), {UNNOTICED, UNREADABLE, DIED}),
    tokens_are_counted_unseen: (lambda _: bits(f"text/count/{FIRST}", range(0, 47, 4)), {UNNOTICED, UNREADABLE}),
    sums_of_counts_are_believed: (lambda _: bits(f"text/before/{FIRST}", range(8, 16)), {UNNOTICED}),
    gists_are_believed: (lambda _: bits(f"gists/kept/text/lod1/{FIRST}.0", range(0, 188, 16)), {UNNOTICED}),
    older_generations_are_believed: (lambda specimen: bits(generation(specimen), range(0, 148, 16)), {UNNOTICED}),
    the_wrong_node_is_named: (lambda _: bits(TOKENS, range(40, 2000, 160)), {Verdict.NOT_NAMED}),
    the_wrong_record_is_named: (lambda specimen: bits(INDEX, records(specimen, b"d")), {Verdict.NOT_NAMED}),
    rows_of_images_are_believed: (lambda _: bits(COLOURS, range(0, 72, 7)), {UNNOTICED}),
    gists_of_images_are_believed: (lambda _: bits(f"gists/kept/arena1/lod0/{FIRST}.0", range(0, 84, 8)), {UNNOTICED}),
    kept_pixels_are_believed: (lambda _: bits(PIXELS, range(0, 200, 11)), {UNREADABLE}),
    metadata_are_believed: (lambda _: bits("text/lod0/zarr.json", range(0, 340, 30)), {UNNOTICED}),
    metadata_may_show_rows_that_are_not_there: (lambda _: [Damage("text/count/zarr.json", 94, b"\1")], {UNNOTICED}),
    metadata_of_dropped_sets_are_believed: (lambda _: bits("gists/dropped/zarr.json", range(0, 59, 9)), {UNNOTICED}),
    a_torn_note_of_the_newest_commit_is_believed: (lambda _: bits("head", range(8)), {Verdict.REFUSED}),
    counts_of_reads_are_looked_at: (lambda _: bits(READS, range(2000, 4000, 400)), {Verdict.FOUND}),
    an_older_epoch_is_looked_at: (lambda _: bits(OLDER, range(20)), {Verdict.FOUND}),
    what_lies_behind_the_rows_is_looked_at: (lambda _: bits(TOKENS, range(2000, 60_000, 7000)), {Verdict.NOT_NAMED}),
}
"""Where each is looked for, and what becomes of damage there."""


def good(specimen: Specimen, damage: Damage) -> set[Verdict]:
    """What may become of damage: it is found, unless what it hits says nothing."""
    says = any(damage.offset in part for part in flips.read(specimen, damage.file))
    return {Verdict.HARMLESS, Verdict.FOUND, Verdict.REFUSED} if says else {Verdict.HARMLESS}


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_planted_faults_are_found(specimen: Specimen, monkeypatch: Patch, plant: Callable[[Patch], None]) -> None:
    where, wanted = FAULTS[plant]
    damages = where(specimen)
    allowed = good(specimen, damages[0])
    random.Random(1).shuffle(damages)
    for start in range(0, len(damages), _AT_ONCE):
        some = damages[start : start + _AT_ONCE]
        with monkeypatch.context() as patch:
            plant(patch)
            patch.setattr(damage, "_PATIENCE", 2)  # some of what follows would go on for ever
            bad = found(specimen, some) - allowed
        assert Verdict.UNFIT not in bad, "the plant does not fit the code"
        if bad & wanted:
            assert found(specimen, some) <= allowed
            return
    pytest.fail("it was not found")


def test_what_an_index_says_is_what_lmdb_says_of_it(specimen: Specimen) -> None:
    """The harness reads its pages by itself: as many are in use, with as many bytes of records."""
    data = Path(specimen.path, INDEX).read_bytes()
    newest = max((pages.read_meta(data[at:]) for at in (0, 4096)), key=lambda meta: meta.number)
    in_use = sum(tree.branches + tree.leaves + tree.overflows for tree in (newest.free, newest.main))
    read = {at for part in specimen.naming.read(INDEX, len(data)) for at in part}
    assert len({at // 4096 for at in read}) == 2 + in_use
    bytes_of = Counter(spot.key for spot in IndexBytes(data).spots.values() if spot.key is not None)
    with opened(specimen.path) as tree, tree.store.reading() as index:
        for key, value in index.raw():
            assert bytes_of[key] in (8 + len(key) + len(value), 8 + len(key) + 8 + len(value)), key
