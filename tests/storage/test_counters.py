"""Counters count what was counted, whatever the order, and no module is imported in the middle of it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mctree.storage
import mctree.tree
from mctree.storage.counters import add_counts, read_counts
from mctree.storage.rows import distinct
from mctree.testing import scratch

NUMBERS = st.lists(st.integers(0, 5000) | st.sampled_from([1023, 1024, 2047]), max_size=30)


@given(batches=st.lists(NUMBERS, max_size=4))
def test_what_was_counted_is_read(batches: list[list[int]]) -> None:
    with scratch() as folder:
        at = os.open(folder, os.O_RDONLY)
        expected = np.zeros(5001, np.uint32)
        for batch in batches:
            add_counts(at, "access", np.array(batch, np.int64))
            np.add.at(expected, np.array(batch, np.int64), 1)
        assert np.array_equal(read_counts(at, "access", 0, 5001), expected)
        os.close(at)


@given(values=st.lists(st.integers(0, 40)), dtype=st.sampled_from([np.int64, np.uint32]))
def test_distinct_values_ascend(values: list[int], dtype: type) -> None:
    found = distinct(np.array(values, dtype))
    assert found.dtype == dtype
    assert found.tolist() == sorted(set(values))


@pytest.mark.parametrize("room", [mctree.storage, mctree.tree])
def test_nothing_is_imported_while_others_may_fork(room: object) -> None:
    """`np.unique` imports a module when first called: a child that is forked meanwhile waits for it for ever."""
    folder = Path(room.__file__).parent
    used = [path.name for path in folder.glob("*.py") if "np.unique(" in path.read_text()]
    assert used == []
