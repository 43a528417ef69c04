"""Threads that make rows of an image: what they were given in order comes out in order, whoever was fastest."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from mctree.sources.images import Box, Pixels
from mctree.tree.images.makers import made

COUNT = 40


def boxes(asked: list[int]) -> Iterator[tuple[int, Box]]:
    for at in range(COUNT):
        asked.append(at)
        yield at, Box(at, 0, at + 1, 1)


class Shown:
    """An image of one row, each of whose pixels says where it is."""

    copies = True

    def read(self, box: Box) -> Pixels:
        return Pixels(np.full((1, 1, 1), box.x0, np.uint8))

    def was_read(self, box: Box) -> None:
        raise AssertionError("threads need no copies")

    def close(self) -> None:
        raise AssertionError("whoever opened it closes it")


IMAGE = Shown()


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_results_come_in_the_order_of_their_boxes_and_few_boxes_are_ahead(workers):
    asked: list[int] = []

    def make(box: Box, pixels: Pixels) -> int:
        return int(pixels.values[0, 0, 0]) * 2 + box.x0

    for count, (at, result) in enumerate(made(boxes(asked), IMAGE, make, workers)):
        assert (at, result) == (count, 3 * count)
        assert len(asked) <= count + 1 + workers


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_the_caller_is_one_of_the_threads_and_makes_what_the_others_have_not_begun(workers):
    here, others, mine = threading.current_thread(), set(), []
    all_begun, go_on = threading.Event(), threading.Event()

    def make(box: Box, pixels: Pixels) -> int:
        if threading.current_thread() is not here:
            others.add(threading.current_thread())
            if len(others) == workers - 1:
                all_begun.set()
            assert go_on.wait(60)
        else:
            assert all_begun.wait(60)  # there is room for each of them while this one works
            mine.append(box.x0)
            go_on.set()
        return box.x0

    assert [result for _, result in made(boxes([]), IMAGE, make, workers)] == list(range(COUNT))
    assert mine and len(others) == workers - 1


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_an_error_of_one_box_comes_up_in_its_turn_and_ends_all(workers):
    def make(box: Box, pixels: Pixels) -> int:
        if box.x0 == 11:
            raise ValueError("eleven")
        return box.x0

    before, found = threading.active_count(), []
    with pytest.raises(ValueError, match="eleven"):
        found.extend(at for at, _ in made(boxes([]), IMAGE, make, workers))
    assert found == list(range(11)) and threading.active_count() == before


def test_who_stops_early_leaves_no_thread_behind():
    before = threading.active_count()
    results = made(boxes([]), IMAGE, lambda box, pixels: box.x0, 4)
    assert next(results) == (0, 0)
    results.close()
    assert threading.active_count() == before
