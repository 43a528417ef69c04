"""docs/format.md suffices: a reader written from it says the same as mctree of every commit, whatever happened."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from agreement import assert_agreement
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from reader import DamagedError, Store
from story import ENCODERS, tell, tokenizer

import mctree
from mctree.testing import Sample, TreeMachine, strategies, tree_machine

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@settings(max_examples=12, deadline=None, suppress_health_check=SLOW)
@given(made=strategies.trees(most=2500))
def test_every_commit_of_a_made_store_reads_the_same(made: Callable[[], AbstractContextManager[Sample]]) -> None:
    with made() as sample:
        assert_agreement(sample.tree)


class Comparing(TreeMachine):
    """The machine that does everything to a store, which the reader looks at in between."""

    @rule(data=st.data())
    def read_from_the_page_alone(self, data: st.DataObject) -> None:
        numbers = [commit.number for commit in self.tree.commits()]
        older = data.draw(st.lists(st.sampled_from(numbers), max_size=3, unique=True))
        assert_agreement(self.tree, sorted({numbers[-1], *older}))

    def teardown(self) -> None:
        try:
            self._drop_writer()
            assert_agreement(self.tree)
        finally:
            super().teardown()
