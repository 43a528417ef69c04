"""Other Zarr readers see the levels of a store, and `cp -r` makes a good copy of one that nobody writes to."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from zarr.errors import ZarrUserWarning

import mctree
from mctree.errors import CorruptError
from mctree.testing import Sample, strategies
from mctree.tree import Snapshot
from tests.format.agreement import assert_agreement
from tests.format.reader import Store
from tests.format.story import ENCODERS

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
OURS = {"index.lmdb", "head", "generations", "leases", "lock", "epochs"}
"""What of a store is no part of the Zarr hierarchy."""


def levels(snapshot: Snapshot) -> dict[str, NDArray[np.generic]]:
    """The arrays that other readers are to see, as mctree reads them."""
    found = {
        "text/lod0": snapshot.tokens(0, snapshot.positions),
        "text/count": snapshot.counts(0, snapshot.blocks),
    }
    for view in snapshot.gist_sets():
        for level in range(1, view.levels + 1):
            path = f"gists/{view.record.folder}/text/lod{level}"
            found[path] = view.gather(level, np.arange(view.rows(level)))
    return found


def by_zarr(path: Path, array: str) -> NDArray[np.generic]:
    rows: NDArray[np.generic] = zarr.open_array(path / array, mode="r")[:]
    return rows


def by_zarr_group(path: Path, array: str) -> NDArray[np.generic]:
    rows: NDArray[np.generic] = zarr.open_group(path, mode="r")[array][:]
    return rows


def by_tensorstore(path: Path, array: str) -> NDArray[np.generic]:
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path / array}/"}}
    rows: NDArray[np.generic] = tensorstore.open(spec, open=True, read=True).result().read().result()
    return rows


READERS = pytest.mark.parametrize("read", [by_zarr, by_zarr_group, by_tensorstore], ids=lambda read: read.__name__)


@READERS
def test_all_levels_are_read(told: Path, read: Callable[[Path, str], NDArray[np.generic]]) -> None:
    with mctree.open(told, writable=False, encoders=ENCODERS) as tree, tree.snapshot() as snapshot:
        wanted = levels(snapshot)
    assert {"text/lod0", "text/count", "gists/default/text/lod2", "gists/small/text/lod1"} <= set(wanted)
    for array, rows in wanted.items():
        found = read(told, array)
        assert found.dtype == rows.dtype
        assert np.array_equal(found, rows), array


@settings(max_examples=6, deadline=None, suppress_health_check=SLOW)
@given(made=strategies.trees(most=3000))
def test_all_levels_of_a_made_store_are_read(made: Callable[[], AbstractContextManager[Sample]]) -> None:
    with made() as sample, sample.tree.snapshot() as snapshot:
        for array, rows in levels(snapshot).items():
            for read in (by_zarr, by_tensorstore):
                assert np.array_equal(read(Path(sample.tree.path), array), rows), array


@READERS
def test_tokens_without_padding_are_told_by_the_counts(
    told: Path, read: Callable[[Path, str], NDArray[np.generic]]
) -> None:
    grid, counts = read(told, "text/lod0").reshape(-1, 32), read(told, "text/count")
    with mctree.open(told, writable=False) as tree, tree.snapshot() as snapshot:
        real = grid[np.arange(32) < counts[:, None]]
        assert np.array_equal(real, snapshot.packed(0, snapshot.positions, dead=True).tokens)


def test_the_hierarchy_is_listed(told: Path) -> None:
    """zarr-python remarks on what in the root is no part of the hierarchy, and on nothing else."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        members = dict(zarr.open_group(told, mode="r").members(max_depth=None))
    assert all(issubclass(one.category, ZarrUserWarning) for one in caught)
    assert {str(one.message).split()[2] for one in caught} <= OURS
    arrays = {name for name, member in members.items() if isinstance(member, zarr.Array)}
    groups = {name for name, member in members.items() if isinstance(member, zarr.Group)}
    with mctree.open(told, writable=False) as tree:
        known = Store(shutil.copytree(told, told.with_suffix(".listed"))).snapshot()
        assert {known.layout(number)["path"] for number in known.record["arrays"]} <= arrays
        assert tree.epoch == known.store.record["epoch"]
    assert {"text", "gists", "gists/default", "gists/default/text"} <= groups
    assert dict(zarr.open_group(told / "text", mode="r").members()).keys() == {"lod0", "count", "before"}


def test_shapes_follow_while_a_writer_is_at_work(folder: Path) -> None:
    """Other readers never see rows that no commit has, and see all of them once the writer is done."""
    path = folder / "growing.mctree"
    with mctree.create(path, chunk_bytes=1 << 16) as tree:
        with tree.writer() as writer:
            for turn in range(70):
                writer.add(f"{turn}", bytes(1000))
                writer.commit()
                with tree.snapshot() as snapshot:
                    seen = by_zarr(path, "text/count")
                    assert len(seen) <= snapshot.blocks
                    assert np.array_equal(seen, snapshot.counts(0, len(seen)))
            assert len(by_tensorstore(path, "text/count")) > 32 * 60
        with tree.snapshot() as snapshot:
            assert len(by_tensorstore(path, "text/lod0")) == snapshot.positions


def test_cp_makes_a_good_copy_and_so_does_its_copy_after_more_appends(told: Path, folder: Path) -> None:
    first, second = folder / "first.mctree", folder / "second.mctree"
    subprocess.run(["cp", "-r", told, first], check=True)
    with mctree.open(told, writable=False, encoders=ENCODERS) as tree:
        commits = [commit.number for commit in tree.commits()]
    with mctree.open(first, encoders=ENCODERS) as tree:
        assert list(tree.verify()) == []
        assert_agreement(tree, commits[-2:])
        for turn in range(3):
            with tree.writer() as writer:
                writer.add(f"more {turn}", b"more words " * 3000)
        tree.refresh_gists("small")
        newest = tree.commits()[-1].number
        with tree.snapshot() as held:
            subprocess.run(["cp", "-r", first, second], check=True)
            assert held.commit == newest
    with mctree.open(second, encoders=ENCODERS) as tree:
        assert list(tree.verify()) == []
        assert [commit.number for commit in tree.commits()] == [*commits, *range(commits[-1] + 1, newest + 1)]
        assert_agreement(tree, [commits[-1], newest])
        with tree.writer() as writer:
            writer.add("only here", b"and nowhere else")
        assert list(tree.verify()) == []
    with mctree.open(first, encoders=ENCODERS) as tree:
        assert tree.commits()[-1].number == newest
        assert list(tree.verify()) == []


@settings(max_examples=6, deadline=None, suppress_health_check=SLOW)
@given(made=strategies.trees(most=2500), data=st.data())
def test_a_copy_of_any_store_goes_its_own_way(
    made: Callable[[], AbstractContextManager[Sample]], data: st.DataObject
) -> None:
    with made() as sample:
        path = Path(sample.tree.path)
        copy = Path(shutil.copytree(path, path.with_suffix(".copy")))
        add = data.draw(strategies.contents(3000))
        with mctree.open(copy) as tree:
            assert tree.commits() == sample.tree.commits()
            with tree.writer() as writer:
                writer.add("added to the copy", add, replace=True)
            assert list(tree.verify()) == []
            assert tree.snapshot().document("added to the copy").read() == add
        with sample.tree.snapshot() as snapshot:
            assert b"added to the copy" not in [document.source for document in snapshot.documents()]


def test_a_copy_in_which_a_chunk_was_cut_off_is_refused(told: Path, folder: Path) -> None:
    path = shutil.copytree(told, folder / "cut.mctree")
    chunk = path / "text" / "lod0" / "c.1"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with mctree.open(path, writable=False) as tree, tree.snapshot() as snapshot:
        with pytest.raises(CorruptError):
            snapshot.tokens(0, snapshot.positions)
        assert list(tree.verify())
