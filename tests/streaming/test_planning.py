"""The parts that plan, each against the plainest way to do the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mctree.errors import UsageError
from mctree.geometry import IMAGE, TEXT
from mctree.streaming import MISSING, Lineage, Nodes, Pool, Request
from mctree.streaming.fetch import Fetch
from mctree.streaming.nodes import STEPS, Key, plane_of
from mctree.streaming.queue import Queue, Wanted
from mctree.streaming.standing import replaced
from mctree.testing import PaperRows

ROWS: Fetch = PaperRows("a world", 1, 1 << 20)


def wanted(key: Key, *, pinned: bool = False, score: float = 0.0, asked: int = 0) -> Wanted:
    return Wanted(key, ROWS, (not pinned, -key[1], -score, asked), needed=False)


keys = st.builds(
    lambda space, level, at, version: (space, level, at * STEPS[plane_of(space, level)], version),
    st.sampled_from([0, 0, 1]),
    st.integers(0, 3),
    st.integers(0, 12),
    st.sampled_from([1, 1, 1, 2]),
)
asked = st.lists(st.tuples(keys, st.booleans(), st.sampled_from([0.0, 0.5, 1.0])), unique_by=lambda one: one[0])


@given(asked, st.tuples(*[st.integers(1, 20)] * 3))
def test_a_batch_is_what_is_most_urgent_and_what_lies_beside_it(
    rows: list[tuple[Key, bool, float]], most: tuple[int, ...]
) -> None:
    queue = Queue(10_000)
    waiting = {key: wanted(key, pinned=pinned, score=score, asked=i) for i, (key, pinned, score) in enumerate(rows)}
    for one in waiting.values():
        queue.add(one)
    while waiting:
        assert len(queue) == len(waiting)
        batch = queue.pop(most)
        assert batch is not None
        first = min(waiting.values(), key=lambda one: one.rank)
        assert batch.rank == first.rank and batch.plane == first.plane
        taken = {one.key for one in batch.rows}
        assert first.key in taken and len(taken) == len(batch.rows) <= most[batch.plane]
        # Whoever of the plane stayed behind is less urgent than all that came for their own sake.
        left = [one for key, one in waiting.items() if key not in taken and one.plane == batch.plane]
        if left:
            assert len(taken) == most[batch.plane]
            bound = min(one.rank for one in left)
            step = STEPS[batch.plane]
            for one in batch.rows:
                beside = [(*one.key[:2], one.key[2] + way * step, one.key[3]) for way in (-1, 1)]
                assert one.rank < bound or any(key in taken for key in beside)
        segments = list(batch.segments())
        assert sum(len(part.index) for part in segments) == len(batch.rows)
        for part in segments:
            assert (np.diff(part.index) >= 0).all()
            found = [one.key[:3] for one in batch.rows[part.first : part.first + len(part.index)]]
            assert found == [(part.space, part.level, at) for at in part.index.tolist()]
        assert 1 <= batch.runs() <= len(batch.rows)
        for key in taken:
            del waiting[key]
    assert queue.pop(most) is None


@given(asked, st.integers(1, 20))
def test_a_full_queue_gives_up_what_is_least_urgent_and_nothing_pinned(
    rows: list[tuple[Key, bool, float]], most: int
) -> None:
    queue = Queue(most)
    waiting = [wanted(key, pinned=pinned, score=score, asked=i) for i, (key, pinned, score) in enumerate(rows)]
    for one in waiting:
        queue.add(one)
    pinned = sum(one.pinned for one in waiting)
    if len(waiting) > most < pinned:
        with pytest.raises(UsageError, match="pinned rows wait"):
            queue.shed()
        return
    gone = queue.shed()
    kept = [one for one in waiting if one.key in queue]
    assert len(kept) + len(gone) == len(waiting) and len(kept) <= most
    assert not any(one.pinned for one in gone)
    if len(waiting) <= most:
        assert not gone
    else:
        assert len(kept) >= most - most // 8
    assert all(one.rank < other.rank for one in kept for other in gone)


def test_what_becomes_more_urgent_is_read_sooner() -> None:
    queue = Queue(10)
    late, soon = (0, 1, 5, 1), (0, 1, 90, 1)
    queue.add(wanted(soon, score=0.5, asked=1))
    queue.add(wanted(late, score=0.1, asked=2))
    queue.hurry(late, (True, -1, -0.9, 3), needed=True)
    batch = queue.pop((1, 1, 1))
    assert batch is not None and batch.rows[0].key == late and batch.rows[0].needed
    queue.hurry(soon, (True, -1, 0.0, 4), needed=False)
    batch = queue.pop((1, 1, 1))
    assert batch is not None and batch.rank == (True, -1, -0.5, 1), "nothing becomes less urgent by being asked for"


class ModelPool:
    """The same by lists."""

    def __init__(self, slots: int, high: int, low: int, linger: int) -> None:
        self.slots, self.high, self.low, self.linger = slots, high, low, linger
        self.rows: dict[Key, list[int]] = {}  # kept, used last
        self.filling: set[Key] = set()
        self.pins: dict[Key, int] = {}

    def evictable(self, step: int, unused: int) -> list[Key]:
        some = [key for key, (kept, last) in self.rows.items() if not kept and last <= step - unused]
        return sorted(some, key=lambda key: (self.rows[key][1], key[1]))

    @property
    def taken(self) -> int:
        return len(self.rows) + len(self.filling)


@settings(max_examples=80)
@given(st.integers(1, 12), st.sampled_from([(0.95, 0.8), (0.5, 0.5), (1.0, 0.0)]), st.integers(0, 4), st.data())
def test_a_pool_does_what_lists_do(slots: int, band: tuple[float, float], linger: int, data: st.DataObject) -> None:
    pool = Pool(slots, high=band[0], low=band[1], linger=linger)
    model = ModelPool(slots, int(band[0] * slots), int(band[1] * slots), linger)
    names: st.SearchStrategy[Key] = st.builds(lambda level, at: (0, level, at, 1), st.integers(1, 3), st.integers(0, 9))
    flying: dict[Key, int] = {}
    for step in range(1, data.draw(st.integers(1, 25)) + 1):
        what = data.draw(st.sampled_from(["take", "take", "publish", "hold", "let go", "pin", "unpin", "trim"]))
        resident = sorted(model.rows)
        if what == "take":
            fresh = data.draw(st.lists(names, max_size=5, unique=True))
            fresh = [key for key in fresh if key not in model.rows and key not in model.filling]
            needed = data.draw(st.booleans())
            free = slots - model.taken
            unused = 1 if needed else linger
            could = free + len(model.evictable(step, unused))
            assert pool.room(step, needed=needed) == could
            gone = model.evictable(step, unused)[: max(len(fresh) - free, 0)]
            found = pool.take(fresh, step, needed=needed)
            assert (found[: min(could, len(fresh))] != MISSING).all() and (found[could:] == MISSING).all()
            evicted = pool.evictions()
            assert [(model.rows[key][1], key[1]) for key in evicted] == [(model.rows[key][1], key[1]) for key in gone]
            for key in evicted:
                del model.rows[key]
            model.filling |= {key for key, slot in zip(fresh, found.tolist(), strict=True) if slot != MISSING}
            flying.update({key: slot for key, slot in zip(fresh, found.tolist(), strict=True) if slot != MISSING})
        elif what == "publish" and model.filling:
            some = data.draw(st.lists(st.sampled_from(sorted(model.filling)), min_size=1, unique=True))
            pool.publish(np.array([flying[key] for key in some]), step)
            for key in some:
                model.filling.remove(key)
                model.rows[key] = [model.pins.get(key, 0), step]
        elif what in ("hold", "let go") and resident:
            held = [key for key in resident if model.rows[key][0] > model.pins.get(key, 0)]
            some = data.draw(st.lists(st.sampled_from(resident), unique=True)) if what == "hold" else held
            (pool.hold(pool.find(some)) if what == "hold" else pool.let_go(pool.find(some), step))
            for key in some:
                model.rows[key][0] += 1 if what == "hold" else -1
                model.rows[key][1] = model.rows[key][1] if what == "hold" else step
        elif what == "pin":
            key = data.draw(names)
            pool.pin(key)
            model.pins[key] = model.pins.get(key, 0) + 1
            if key in model.rows:
                model.rows[key][0] += 1
        elif what == "unpin" and any(model.pins.values()):
            key = data.draw(st.sampled_from(sorted(key for key, count in model.pins.items() if count)))
            pool.unpin(key, step)
            model.pins[key] -= 1
            if key in model.rows:
                model.rows[key][0] -= 1
                model.rows[key][1] = step
        elif what == "trim":
            pool.trim(step)
            count = model.taken - model.low if model.taken > model.high else 0
            gone = model.evictable(step, linger)[:count]
            evicted = pool.evictions()
            assert [(model.rows[key][1], key[1]) for key in evicted] == [(model.rows[key][1], key[1]) for key in gone]
            for key in evicted:
                del model.rows[key]
        assert set(pool.keys()) == set(model.rows)
        assert pool.taken == model.taken <= slots
        assert pool.kept == sum(kept > 0 for kept, _ in model.rows.values())


@given(st.integers(1, 3000), st.lists(st.integers(0, 2999), max_size=3, unique=True), st.data())
def test_parents_are_found_by_division(blocks: int, images: list[int], data: st.DataObject) -> None:
    images = sorted(block for block in images if block < blocks)
    levels = [data.draw(st.integers(1, 6)) for _ in images]
    lineage = Lineage(blocks * 32, np.array(images, np.int64), np.array(levels, np.int64))
    for _ in range(5):
        if images and data.draw(st.booleans()):
            which = data.draw(st.integers(0, len(images) - 1))
            level = data.draw(st.integers(0, levels[which] - 1))
            index = data.draw(st.integers(0, 1000)) * (64 if level == 0 else 1)
            node = (1, level, index, images[which] * 32)
            above = (1, level + 1, index // IMAGE.fanout(level), images[which] * 32)
            if level + 1 == levels[which]:
                above = (0, 1, images[which], images[which] * 32)
            expected: tuple[int, ...] | None = above
        else:
            level = data.draw(st.integers(0, 4))
            width = TEXT.width(level)
            index = data.draw(st.integers(0, max(blocks * 32 // width, 1) + 1)) * (32 if level == 0 else 1)
            node = (0, level, index, index * width)
            wide = TEXT.width(level + 1)
            at = index * width // wide
            expected = (0, level + 1, at, at * wide) if (at + 1) * wide <= blocks * 32 else None
        found, has = lineage.parents(Nodes(*(np.array([number], np.int64) for number in node)))
        assert has.tolist() == [expected is not None]
        if expected is not None:
            assert (found.space[0], found.level[0], found.index[0], found.slot[0]) == expected


def test_the_outer_one_of_two_stand_ins_is_shown() -> None:
    index = np.arange(64, dtype=np.int64)
    entries = Nodes(index * 0, index * 0 + 1, index, index * 32)
    above = Nodes(*(np.array(column, np.int64) for column in ([0, 0, 0], [2, 3, 2], [1, 0, 1], [1024, 0, 1024])))
    seen = replaced(entries, index, above, np.array([70, 71, 70]))
    assert (seen.nodes.addresses(), seen.slots.tolist(), seen.replaced) == ([(0, 3, 0)], [71], 64)
    two = above.take(np.array([0, 2]))
    seen = replaced(entries, index, two, np.array([70, 70]))
    assert seen.slots.tolist() == [*range(32), 70]
    assert seen.row.tolist() == [*range(32), -1]


def test_a_request_is_done_once() -> None:
    withdrawn: list[Request] = []
    request = Request(Nodes.none(), [], withdrawn.append)
    request.left = 2
    request.arrived()
    assert not request.done()
    assert request.cancel() and withdrawn == [request] and request.cancelled()
    request.arrived()
    request.failed(ValueError())
    assert request.cancelled() and withdrawn == [request]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Pool(0),
        lambda: Pool(5, high=0.5, low=0.6),
        lambda: Pool(5, high=1.5),
        lambda: Pool(5, linger=-1),
    ],
)
def test_numbers_out_of_range_are_refused(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(UsageError):
        wrong()
