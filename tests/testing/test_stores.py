"""What the testing room hands to others: strategies that make what they say, stores that are checked at the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import mctree
from mctree.errors import UsageError
from mctree.geometry import TEXT, World, check
from mctree.testing import (
    Edit,
    Plan,
    ToyEncoder,
    assert_whole,
    check_snapshot,
    made,
    strategies,
    verified,
    watched,
)


def damage(path: Path) -> None:
    """Change one committed byte of the tokens."""
    chunk = path / "text/lod0/c.0"
    data = bytearray(chunk.read_bytes())
    data[3] ^= 1
    chunk.write_bytes(data)


def small(path: Path) -> None:
    with mctree.create(path, chunk_bytes=65536) as tree, tree.writer() as writer:
        writer.add("a", b"some text")


@given(data=st.data())
@settings(max_examples=25)
def test_a_drawn_tree_holds_what_its_model_says(data: st.DataObject) -> None:
    with data.draw(strategies.trees(most=500, rounds=3))() as sample, sample.tree.snapshot() as snapshot:
        check_snapshot(snapshot, sample.expected)
        cut = data.draw(strategies.cuts(sample.expected.world))
        assert not check(cut, snapshot.world.geometry)
        start, stop = data.draw(strategies.ranges(snapshot.positions))
        assert 0 <= start <= stop <= snapshot.positions


def test_trees_with_dead_blocks_tails_and_coarse_levels_are_drawn() -> None:
    seen: set[str] = set()

    @given(plan=strategies.plans(most=2000))
    @settings(max_examples=60, derandomize=True, database=None, phases=[Phase.generate])
    def draw(plan: Plan) -> None:
        with made(plan) as sample:
            state = sample.expected.state
            documents = state.documents.values()
            seen.update({"dead"} if state.dead else ())
            seen.update({"tail"} if any(d.open and d.placed < len(d.tokens) for d in documents) else ())
            seen.update({"level 2"} if len(state.blocks) >= 32 else ())

    draw()
    assert seen == {"dead", "tail", "level 2"}


@given(data=st.data(), blocks=st.integers(1, 200))
def test_drawn_cuts_cover_everything_that_exists_once(data: st.DataObject, blocks: int) -> None:
    dead = data.draw(st.lists(st.integers(0, blocks - 1), max_size=10))
    world = World(blocks * 32, [(block * 32, block * 32 + 32) for block in dead])
    assert not check(data.draw(strategies.cuts(world)), world)
    assert data.draw(strategies.cuts(world)).shape == TEXT


def test_a_plan_for_an_encoder_of_ones_own(tmp_path: Path) -> None:
    plan = Plan(((Edit("add", b"a", b"x" * 3000),), (Edit("remove", b"a"), Edit("remove", b"a"))))
    path = tmp_path / "planned.mctree"
    with made(plan, encoder=ToyEncoder(16, seed=9), path=str(path)) as sample:
        assert len(sample.expected.state.dead) == 94
    assert path.exists()


def test_a_plan_of_tokens() -> None:
    with made(Plan(((Edit("begin", b"a"), Edit("extend", b"a", tokens=(999, 7) * 40)),), 1000)) as sample:
        assert sample.expected.blocks == 2
        assert sample.tree.tokenizer is None


@pytest.mark.damages
def test_verified_stores_are_verified(tmp_path: Path) -> None:
    path = tmp_path / "t.mctree"
    with verified(path):
        small(path)
    with pytest.raises(AssertionError, match=r"node 1:0 .*tokens"), verified(path):
        damage(path)


@pytest.mark.damages
def test_every_store_made_while_watched_is_verified(tmp_path: Path) -> None:
    whole, bad = tmp_path / "whole.mctree", tmp_path / "bad.mctree"
    with watched():
        small(whole)
    with pytest.raises(AssertionError, match=r"bad\.mctree has"), watched():
        small(whole.with_name("too"))
        small(bad)
        damage(bad)
    with watched() as watch:
        small(bad.with_name("worse"))
        damage(bad.with_name("worse"))
        watch.forget(bad.with_name("worse"))
    with pytest.raises(AssertionError, match="does not open"), watched():
        small(tmp_path / "gone")
        (tmp_path / "gone/index.lmdb/data.mdb").unlink()


@pytest.mark.damages
def test_a_store_belongs_to_the_innermost_watch(tmp_path: Path) -> None:
    with watched():
        with watched() as inner:
            small(tmp_path / "a")
            inner.forget_all()
        damage(tmp_path / "a")


def test_the_fixture_watches(tmp_path: Path, stores) -> None:
    small(tmp_path / "a")
    damage(tmp_path / "a")
    with mctree.open(tmp_path / "a") as tree, pytest.raises(AssertionError, match="problems"):
        assert_whole(tree)
    with pytest.raises(AssertionError, match="problems"):
        stores.verify()
    stores.forget(tmp_path / "a")
    stores.verify()


def test_toy_encoders_say_when_they_are_called_wrongly() -> None:
    with pytest.raises(UsageError, match="without its span"):
        ToyEncoder(span_level=2).encode(2, np.zeros((1, 32, 4), np.float32), np.ones((1, 32), np.bool_))
