"""Shapes against pure Python integers, up to the edge of 63 bits."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mctree.errors import UsageError
from mctree.geometry import IMAGE, TEXT, Shape

LIMIT = 2**63 - 1
SHAPES = st.one_of(
    st.sampled_from([TEXT, IMAGE]),
    st.lists(st.integers(2, 70), min_size=1, max_size=3).map(tuple).map(Shape),
)
LANDMARKS = (0, 1, 31, 32, 33, 2**58, 10**15, 10**15 // 32 * 32, 4**26, LIMIT)


def model_width(shape: Shape, level: int) -> int:
    width = 1
    for at in range(level):
        width *= shape.fanouts[at] if at < len(shape.fanouts) else shape.fanouts[-1]
    return width


def near(bound: int) -> st.SearchStrategy[int]:
    """Integers from 0 to `bound`, often beside a landmark."""
    beside = st.tuples(st.sampled_from(LANDMARKS), st.integers(-40, 40)).map(sum)
    return st.one_of(beside.filter(lambda n: 0 <= n <= bound), st.integers(0, bound))


@st.composite
def nodes(draw: st.DrawFn) -> tuple[Shape, int, int]:
    shape = draw(SHAPES)
    level = draw(st.integers(0, shape.max_level))
    return shape, level, draw(near(LIMIT // model_width(shape, level) - 1))


@given(SHAPES)
def test_the_highest_level_is_the_last_that_63_bits_span(shape: Shape) -> None:
    assert shape.width(shape.max_level) <= LIMIT < model_width(shape, shape.max_level + 1)
    for level in range(shape.max_level + 1):
        assert shape.width(level) == model_width(shape, level)
        assert shape.capacity(level) == LIMIT // model_width(shape, level)
    with pytest.raises(UsageError):
        shape.width(shape.max_level + 1)


@given(nodes())
def test_family_of_a_node(node: tuple[Shape, int, int]) -> None:
    shape, level, index = node
    width = model_width(shape, level)
    start, stop = shape.span(level, index)
    assert (start, stop) == (index * width, (index + 1) * width)
    assert shape.node_at(level, start) == shape.node_at(level, stop - 1) == index
    for other in range(shape.max_level + 1):
        ratio = model_width(shape, max(level, other)) // model_width(shape, min(level, other))
        if other >= level:
            assert shape.ancestor(level, index, other) == index // ratio
        if other <= level:
            assert shape.descendants(level, index, other) == (index * ratio, (index + 1) * ratio)
        with pytest.raises(UsageError):
            (shape.descendants if other > level else shape.ancestor)(
                level, index, other if other != level else shape.max_level + 1
            )
    if level < shape.max_level:
        assert shape.parent(level, index) == index // shape.fanout(level)
    else:
        with pytest.raises(UsageError):
            shape.parent(level, index)
    if level:
        first, last = shape.children(level, index)
        assert last - first == shape.fanout(level - 1)
        assert shape.parent(level - 1, first) == shape.parent(level - 1, last - 1) == index
    else:
        with pytest.raises(UsageError):
            shape.children(level, index)


@given(SHAPES, near(LIMIT), st.integers(0, 62))
def test_what_is_complete(shape: Shape, positions: int, level: int) -> None:
    assume(level <= shape.max_level)
    count = shape.complete(level, positions)
    assert count * model_width(shape, level) <= positions < (count + 1) * model_width(shape, level)
    top = shape.top(positions)
    assert top == max([0] + [at for at in range(shape.max_level + 1) if model_width(shape, at) <= positions])


@given(SHAPES, st.sampled_from([np.int64, np.uint64, np.int32, np.uint8]), st.data())
def test_arrays_answer_as_integers_do_and_in_kind(shape: Shape, kind: type, data: st.DataObject) -> None:
    shape_nodes = st.integers(0, shape.max_level).flatmap(
        lambda level: st.tuples(
            st.just(level), near(min(LIMIT // model_width(shape, level) - 1, int(np.iinfo(kind).max)))
        )
    )
    drawn = data.draw(st.lists(shape_nodes, max_size=6))
    levels = np.array([level for level, _ in drawn], dtype=data.draw(st.sampled_from([np.uint8, np.int64])))
    indices = np.array([index for _, index in drawn], dtype=kind)
    answer = np.uint64 if kind is np.uint64 else np.int64

    def same(result: np.ndarray, expected: list[int]) -> None:
        assert result.dtype == answer
        assert result.tolist() == expected

    starts, stops = shape.span(levels, indices)
    same(starts, [shape.span(*node)[0] for node in drawn])
    same(stops, [shape.span(*node)[1] for node in drawn])
    same(shape.ancestor(levels, indices, shape.max_level), [shape.ancestor(*n, shape.max_level) for n in drawn])
    same(shape.descendants(levels, indices, levels // 2)[1], [shape.descendants(*n, n[0] // 2)[1] for n in drawn])
    same(shape.node_at(levels, indices), [shape.node_at(*node) for node in drawn])
    same(shape.complete(levels, indices), [shape.complete(*node) for node in drawn])
    same(shape.top(indices), [shape.top(index) for _, index in drawn])
    assert shape.width(levels).tolist() == [shape.width(level) for level, _ in drawn]
    for level, index in drawn[:1]:
        column = np.full((2, 1), index, dtype=kind)
        assert shape.span(level, column)[0].tolist() == [[shape.span(level, index)[0]]] * 2
        scalar = shape.node_at(level, kind(index))
        assert type(scalar) is int
        assert scalar == shape.node_at(level, index)


@given(nodes(), st.sampled_from([np.int64, np.uint64]))
def test_what_is_no_node_is_refused(node: tuple[Shape, int, int], kind: type) -> None:
    shape, level, index = node
    beyond = LIMIT // model_width(shape, level)
    for wrong in (beyond, beyond + 1, LIMIT + 1, 2**64 - 1):
        with pytest.raises(UsageError, match="index must be"):
            shape.span(level, wrong)
        with pytest.raises(UsageError, match="index must be"):
            shape.span(level, np.array([index, wrong], dtype=np.uint64))
    for wrong in (-1, -(2**63)):
        with pytest.raises(UsageError, match=f"not {wrong}"):
            shape.span(level, wrong)
        with pytest.raises(UsageError, match=f"not {wrong}"):
            shape.span(np.full(2, level), np.array([index, wrong]))
        with pytest.raises(UsageError, match="position must be"):
            shape.node_at(level, np.array(wrong))
    with pytest.raises(UsageError, match="level must be"):
        shape.span(np.array([level, 63]), np.array([index, 0], dtype=kind))
    for wrong_type in (1.0, None, "1", np.array([1.0]), [1], np.array([True])):
        with pytest.raises(UsageError):
            shape.span(level, wrong_type)


def test_an_index_that_only_some_levels_have_is_refused_for_the_others() -> None:
    levels = np.array([0, 12], dtype=np.uint8)
    with pytest.raises(UsageError):
        TEXT.span(levels, 2**40)
    assert TEXT.span(levels, 3)[1].tolist() == [4, 4 * 2**60]


@pytest.mark.parametrize("fanouts", [(), (1,), (32, 0), (-2,), (2.0,), ("32",), (2**63,), (2**40, 2**41), None])
def test_what_is_no_tree_is_refused(fanouts: object) -> None:
    with pytest.raises(UsageError):
        Shape(fanouts)


def test_equal_trees_are_equal() -> None:
    assert Shape((64, 4, 4)) == IMAGE == pickle.loads(pickle.dumps(IMAGE))
    assert hash(Shape((32, 32))) == hash(TEXT)
    assert IMAGE != TEXT
    assert (TEXT.block, TEXT.max_level, IMAGE.block, IMAGE.max_level) == (32, 12, 64, 29)
