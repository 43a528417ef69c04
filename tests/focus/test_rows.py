"""Are rows with columns left out the same as rows with all of them?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import mctree
from mctree.focus import Allocator, WorkingContext
from mctree.focus.entries import Facts
from mctree.focus.rows import Exchange
from mctree.sources.images import ArraySource
from mctree.testing import scratch

NAMES = (*Facts.INTEGERS, *Facts.REALS)


@st.composite
def facts(draw: st.DrawFn, n: int | None = None) -> tuple[Facts, NDArray[np.float64]]:
    """Some rows, and all of their columns as one matrix: any of them may be one number for all rows, often 0."""
    n = draw(st.integers(0, 6)) if n is None else n
    number = st.sampled_from([0, 0, 0, 1, -3, np.int64(0), np.float64(0.0)])
    columns = {name: draw(number | st.lists(st.integers(-2, 2), min_size=n, max_size=n)) for name in NAMES}
    whole = np.zeros((len(NAMES), n))
    for row, name in enumerate(NAMES):
        whole[row] = columns[name]
    return Facts.made(n, **columns), whole


def check(rows: Facts, whole: NDArray[np.float64]) -> None:
    """Compare rows with a matrix of all their columns, by every way to look at them."""
    assert len(rows) == whole.shape[1]
    assert np.array_equal(np.concatenate((rows.integers, rows.reals)), whole)
    for name, wanted in zip(NAMES, whole, strict=True):
        column = getattr(rows, name)
        assert column.dtype == (np.int64 if name in Facts.INTEGERS else np.float64)
        assert column.flags.c_contiguous
        assert np.array_equal(column, wanted)
        with pytest.raises(ValueError, match="read-only"):
            column[:] = 1
    for matrix in (rows.integers, rows.reals):
        assert not matrix.flags.writeable


@given(one=facts(), other=facts(), data=st.data())
def test_rows_are_what_their_columns_are(
    one: tuple[Facts, NDArray[np.float64]], other: tuple[Facts, NDArray[np.float64]], data: st.DataObject
) -> None:
    check(*one)
    n, m = len(one[0]), len(other[0])
    check(Facts.joined([one[0], other[0], one[0]]), np.concatenate((one[1], other[1], one[1]), axis=1))
    some = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=5) if n else st.just([])), np.int64)
    check(one[0].take(some), one[1][:, some])
    first, stop = sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))
    begin, end = sorted(data.draw(st.tuples(st.integers(0, m), st.integers(0, m))))
    spliced = np.concatenate((one[1][:, :first], other[1][:, begin:end], one[1][:, stop:]), axis=1)
    check(one[0].splice(other[0], [Exchange(first, stop, begin, end)]), spliced)
    alike = data.draw(facts(n))
    assert np.array_equal(one[0].same(alike[0]), (one[1] == alike[1]).all(axis=0))


def test_columns_of_zeros_are_not_stored_where_nothing_has_them() -> None:
    zeros = dict.fromkeys(NAMES, 0)
    assert Facts.made(5, **zeros).stored_integers.shape == Facts.made(5, **zeros).stored_reals.shape == (0, 5)
    assert Facts.made(5, **{**zeros, "sigma": 1.5}).stored_reals.shape == (2, 5)


def test_an_image_that_comes_to_a_context_of_text_has_its_columns() -> None:
    """What was left out of all rows so far is there for the rows that have it, and zero for the others."""
    with scratch() as folder, mctree.create(f"{folder}/t.mctree", vocabulary=9, chunk_bytes=1 << 16) as tree:
        with tree.writer() as writer:
            document = writer.begin("text")
            document.extend(np.full(40 * 32, 3))
            document.close()
        with tree.snapshot() as before:
            context = WorkingContext.recent(before, 2000, Allocator(max_edits=100, cooldown=0))
            assert context.entries.stored_reals.shape[0] == 2
            assert not context.entries.x.any()
            with tree.writer() as writer:
                writer.add_image("image", ArraySource(np.full((80, 112, 1), 7, np.uint8)))
            with tree.snapshot() as after:
                old = context.entries
                change = context.refocus(after)
                assert change.diff.apply(old).same(context.entries).all()
                for _ in range(3):
                    old = context.entries
                    change = context.step(np.where(context.entries.modality == 1, 1.0, 0.0))
                    assert change.diff.apply(old).same(context.entries).all()
                    assert context.check() is None
                entries = context.entries
                text = entries.space == 0
                assert entries.sigma_x[~text].any() or entries.x[~text].any()
                assert not entries.x[text & (entries.modality == 0)].any()
                assert set(entries.modality.tolist()) == {0, 1}
