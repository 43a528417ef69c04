"""Rows of real stores, read by real threads: what is on the device is what the snapshot holds, and nothing stale."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mctree
from mctree.errors import BusyError, CorruptError, NotFoundError, UsageError
from mctree.focus import Allocator, SnapshotGround, SpansLens, WorkingContext
from mctree.streaming import (
    GISTS,
    MISSING,
    NO_ROW,
    TOKENS,
    Delay,
    HostDevice,
    Nodes,
    Residency,
    Seen,
    SlowRows,
    StoredRows,
    Stream,
    Threads,
)
from mctree.streaming.loading import Loader
from mctree.testing import ToyEncoder, Watch
from mctree.tree import Snapshot
from tests.streaming.stores import DIM, letters, streamed


def right(snapshot: Snapshot, device: HostDevice, seen: Seen) -> None:
    """Compare what is seen with what the snapshot says, row by row."""
    gists = snapshot.gists()
    tails = [tail.tokens for document in snapshot.tails() if (tail := document.tail) is not None]
    for (_, level, index), slot in zip(seen.nodes.addresses(), seen.slots.tolist(), strict=True):
        if level:
            assert index < gists.rows(level)
            expected = gists.gather(level, np.array([index]))[0]
        elif index >= snapshot.positions:
            expected = np.zeros(32)
            tokens = tails[(index - snapshot.positions) // 32]
            expected[: len(tokens)] = tokens
        else:
            expected = snapshot.tokens(index, index + 32)
        assert (device.memory(GISTS if level else TOKENS)[slot] == expected).all(), f"{level}:{index}"


def test_a_context_wanders_over_a_store(tmp_path: Path) -> None:
    with streamed(tmp_path) as tree, tree.snapshot() as snapshot:
        ground = SnapshotGround(snapshot)
        rows = StoredRows(snapshot)
        device = HostDevice(rows.planes, 2500)
        with Stream(rows, device) as stream:
            residency = Residency(stream, ground)
            context = WorkingContext.smallest(snapshot, 700, Allocator(max_edits=16))
            residency.update(context.entries)
            for place in range(0, 60_000, 20_000):
                lens = SpansLens([(place, place + 300)])
                steps = 0
                while steps < 60 or context.blocks[:1].tolist() != [
                    place // 32
                ]:  # when rows come is another thread's affair
                    steps += 1
                    stream.turn()
                    change = context.step(lens, residency.resident)
                    residency.update(context.entries, change.diff.left_at, change.diff.entered_at)
                    seen = residency.seen()
                    assert seen.whole, "what was expanded was resident"
                    if change.blocked.waiting:
                        time.sleep(0.001)
                right(snapshot, device, seen)
            total = stream.counters.total
            assert (total.misses, total.fallbacks, total.stalls) == (0, 0, 1), "one for the coarsest view"
            assert total.hits > 200 and total.read < 2 * total.hits
            assert total.runs < total.read / 4, "children are read in runs"


def test_a_jump_is_seen_through_ancestors_until_it_has_arrived(tmp_path: Path) -> None:
    with streamed(tmp_path) as tree, tree.snapshot() as snapshot:
        ground = SnapshotGround(snapshot)
        rows = SlowRows(StoredRows(snapshot), Delay(0.002, 1e8))
        device = HostDevice(rows.planes, 2500)
        with Stream(rows, device) as stream:
            residency = Residency(stream, ground)
            context = WorkingContext.around(snapshot, [(30_000, 31_000)], 2000)
            residency.update(context.entries)
            missing = residency.missing
            seen = residency.seen()
            assert missing > 50 and not seen.whole and 1 < len(seen) < len(context)
            right(snapshot, device, seen)
            while not residency.seen().whole:
                stream.turn()
                residency.update(context.entries, np.empty(0, np.int64), np.empty(0, np.int64))
                time.sleep(0.001)
            right(snapshot, device, residency.seen())
            assert stream.counters.text.misses == missing
            assert rows.slept > 0
            residency.close()
            assert stream.pool(GISTS).kept == stream.pool(TOKENS).kept == 0


def test_a_refresh_is_never_seen_stale(tmp_path: Path) -> None:
    with streamed(tmp_path) as tree:
        before = tree.snapshot()
        rows = StoredRows(before)
        device = HostDevice(rows.planes, 2500)
        with Stream(rows, device) as stream:
            residency = Residency(stream, SnapshotGround(before))
            context = WorkingContext.smallest(before, 900)
            residency.update(context.entries)
            coarse = Nodes.of(context.entries.take(context.entries.level > 1))
            old = rows.versions(coarse)
            right(before, device, residency.seen())
            with tree.writer() as writer:
                writer.add("document 0", letters(500, 9), replace=True)
                writer.begin("a talk").extend(np.arange(50))
                writer.commit(gists=True)
            assert tree.refresh_gists() > 0
            after = tree.snapshot()
            ground, fresh = SnapshotGround(after), StoredRows(after)
            assert (fresh.versions(coarse) != old).any()
            coming = residency.foresee(ground, fresh)
            while not coming.done():
                stream.turn()
            stalls = stream.counters.total.stalls
            residency.follow(ground, fresh, coming)
            assert stream.counters.total.stalls == stalls, "what was foreseen is not waited for"
            before.close()
            context.refocus(ground)
            residency.update(context.entries)
            right(after, device, residency.seen())
            assert len(after.tails()) == 1
            for _ in range(200):
                stream.turn()
                residency.update(context.entries, np.empty(0, np.int64), np.empty(0, np.int64))
                time.sleep(0.001)
                if residency.seen().whole:
                    break
            seen = residency.seen()
            assert seen.whole
            right(after, device, seen)
        after.close()


def test_versions_tell_what_a_row_is(tmp_path: Path) -> None:
    with streamed(tmp_path) as tree:
        tree.build_gists(ToyEncoder(dim=4, seed=1), "other", default=False)
        with tree.snapshot() as snapshot:
            rows, other = StoredRows(snapshot), StoredRows(snapshot, "other")
            assert rows.identity != other.identity, "two sets are not one"
            assert rows.planes[0] is not None and rows.planes[0].row == (DIM,)
            level = np.array([1, 1, 0, 0, 2, 5, 1], np.int64)
            index = np.array([0, 10**9, 64, 10**9 * 32, 1, 0, 3], np.int64)
            space = np.array([0, 0, 0, 0, 0, 0, 1], np.int64)
            versions = rows.versions(Nodes(space, level, index, index))
            assert (versions[[1, 3, 5, 6]] == NO_ROW).all()
            assert (versions[[0, 4]] > 0).all() and versions[2] == 0
            with pytest.raises(NotFoundError):
                rows.read(0, 9, np.array([0]), np.zeros((1, DIM), np.float16))
            with pytest.raises(NotFoundError):
                rows.read(1, 1, np.array([0]), np.zeros((1, DIM), np.float16))
            with pytest.raises(NotFoundError):
                rows.read(0, 0, np.array([snapshot.positions]), np.zeros((1, 32), np.uint16))


def test_gists_that_were_not_made_are_zeros_and_are_said_to_be(tmp_path: Path) -> None:
    with streamed(tmp_path) as tree:
        writer = tree.writer()
        writer.add("more", letters(32 * 40))
        writer.commit(gists=False)
        writer.close()
        with tree.snapshot() as snapshot:
            rows = StoredRows(snapshot)
            device = HostDevice(rows.planes, 200)
            with Stream(rows, device) as stream:
                residency = Residency(stream, SnapshotGround(snapshot))
                context = WorkingContext.smallest(snapshot, 200)
                residency.update(context.entries)
                seen = residency.seen()
                lacking = (seen.slots == 200) & (seen.nodes.level > 0)
                assert lacking.tolist() == context.without_gist(snapshot.gists()).tolist()
                assert lacking.any() and stream.counters.total.absent == lacking.sum()
                assert not device.take(GISTS, seen.slots[lacking]).any()


def test_damage_is_said_and_an_ancestor_stands_in(tmp_path: Path, stores: Watch) -> None:
    with streamed(tmp_path) as tree:
        path = Path(tree.path)
        stores.forget(path)
        files = (path / "gists").glob("*/text/lod1/*")
        chunk = min(each for each in files if each.is_file() and each.name != "zarr.json")
        os.truncate(chunk, 100)
    with mctree.open(path, writable=False, encoders=[ToyEncoder(dim=DIM)]) as tree, tree.snapshot() as snapshot:
        rows = StoredRows(snapshot)
        with Stream(rows, HostDevice(rows.planes, 500)) as stream:
            residency = Residency(stream, SnapshotGround(snapshot))
            context = WorkingContext.around(snapshot, [(0, 32)], 200)
            with pytest.raises(CorruptError):
                for _ in range(500):
                    stream.turn()
                    residency.update(context.entries, *(() if len(residency) == 0 else (np.empty(0, np.int64),) * 2))
                    time.sleep(0.001)
            seen = residency.seen()
            assert not seen.whole and (seen.row < 0).sum() == 1
            assert stream.counters.text.failures > 0
            residency.close()
            residency = Residency(stream, SnapshotGround(snapshot))
            context = WorkingContext.smallest(snapshot, 2000)
            residency.update(context.entries)
            before = stream.counters.text.failures
            for _ in range(80):
                stream.turn()
                change = context.step(SpansLens([(0, 32)]), residency.resident)
                residency.update(context.entries, change.diff.left_at, change.diff.entered_at)
                assert residency.seen().whole, "what cannot be read is not expanded"
                time.sleep(0.001)
            assert change.blocked.waiting == 1 and not len(context.blocks)
            assert 0 < stream.counters.text.failures - before <= 32 * (1 + 80 // 16), (
                "what failed is left alone a while"
            )


class Held:
    """A loader that reads when it is told to."""

    def __init__(self, desk: Any) -> None:
        self.desk = desk
        self.go = False

    def pump(self) -> None:
        while self.go and (job := self.desk.take(wait=False)) is not None:
            job.read()
            self.desk.give(job)

    def rest(self, seconds: float) -> None:
        self.go = True

    def close(self) -> None:
        pass


def test_requests_are_futures(tmp_path: Path) -> None:
    with streamed(tmp_path) as tree, tree.snapshot() as snapshot:
        rows = StoredRows(snapshot)
        loaders: list[Held] = []

        def held(desk: Any) -> Loader:
            loaders.append(Held(desk))
            return loaders[0]

        stream = Stream(rows, HostDevice(rows.planes, 100), loader=held)
        index = np.arange(10, dtype=np.int64)
        nodes = Nodes(index * 0, index * 0 + 1, index, index * 32)
        some, same = stream.request(nodes), stream.request(nodes, 1.0)
        gone = stream.request(Nodes(index * 0, index * 0 + 1, index + 50, index * 32))
        said: list[Future[None]] = []
        some.add_done_callback(said.append)
        stream.turn()
        assert not some.done() and not said and stream.counters.text.requested == 20
        assert gone.cancel() and gone.cancelled() and stream.counters.text.cancelled == 10
        with pytest.raises(CancelledError):
            stream.wait(gone)
        stream.wait(same)
        assert some.done() and said == [some]
        assert wait([some, same], timeout=0).not_done == set()
        assert stream.counters.text.read == 10, "what two have asked for is read once"
        assert stream.request(nodes).done(), "what is resident need not come"
        assert (stream.counters.text.stalls, stream.counters.image.stalls) == (1, 0)
        with pytest.raises(BusyError, match="no slot"):
            wide = np.arange(150, dtype=np.int64)
            stream.wait(stream.request(Nodes(wide * 0, wide * 0 + 1, wide, wide * 32), pinned=True))
        loaders[0].go = False
        left = stream.request(Nodes(index * 0, index * 0 + 1, index + 300, index * 32))
        stream.close()
        stream.close()
        assert left.cancelled()
        with pytest.raises(UsageError, match="closed"):
            stream.turn()


def test_too_many_rows_are_given_up_and_too_many_pinned_refused(tmp_path: Path) -> None:
    with streamed(tmp_path) as tree, tree.snapshot() as snapshot:
        rows = StoredRows(snapshot)
        with Stream(rows, HostDevice(rows.planes, 1000), loader=Held, waiting=100) as stream:
            index = np.arange(80, dtype=np.int64)
            first = stream.request(Nodes(index * 0, index * 0 + 1, index, index * 32), 0.5)
            second = stream.request(Nodes(index * 0, index * 0 + 1, index + 80, index * 32), 0.1)
            assert isinstance(second.exception(timeout=0), BusyError) and not first.done()
            with pytest.raises(UsageError, match="pinned"):
                wide = np.arange(101, dtype=np.int64)
                stream.request(Nodes(wide * 0, wide * 0 + 1, wide + 200, wide * 32), pinned=True)
            assert not stream.pinned
            stream.wait(first)


def test_threads_end_with_their_stream_and_do_not_cross_a_fork(tmp_path: Path) -> None:
    with streamed(tmp_path, blocks=40) as tree, tree.snapshot() as snapshot:
        rows = StoredRows(snapshot)
        before = threading.active_count()
        stream = Stream(rows, HostDevice(rows.planes, 100), loader=lambda desk: Threads(desk, 3))
        assert threading.active_count() == before + 3
        child = os.fork()
        if child == 0:
            try:
                stream.turn()
            except UsageError:
                stream.close()
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        stream.close()
        assert threading.active_count() == before
        forgotten = Stream(rows, HostDevice(rows.planes, 100))
        del forgotten
        for _ in range(500):
            if threading.active_count() == before:
                break
            time.sleep(0.01)
        assert threading.active_count() == before, "threads outlive a stream that was forgotten"


def test_another_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with (
        streamed(tmp_path / "a", 40) as one,
        streamed(tmp_path / "b", 40) as two,
        one.snapshot() as mine,
        two.snapshot() as other,
    ):
        rows = StoredRows(mine)
        with Stream(rows, HostDevice(rows.planes, 100)) as stream:
            with pytest.raises(UsageError, match="another tree"):
                stream.follow(StoredRows(other))
            with pytest.raises(UsageError, match="another tree"):
                stream.request(Nodes.none(), fetch=StoredRows(other))
            with pytest.raises(UsageError, match="another tree"):
                stream.request(Nodes.none(), fetch=StoredRows(other))
            residency = Residency(stream, SnapshotGround(mine))
            context = WorkingContext.smallest(mine, 200)
            with pytest.raises(UsageError, match="what has changed"):
                residency.update(context.entries, np.array([0]), np.array([0]))
            assert (stream.find(context.entries) != MISSING).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"upload_bytes": 3}, "never be copied"),
        ({"waiting": 0}, "nothing would ever be read"),
        ({"high": 0.1}, "eviction goes"),
        ({"loader": lambda desk: Threads(desk, 0)}, "somebody has to read"),
    ],
)
def test_streams_that_cannot_work_are_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with streamed(tmp_path, blocks=40) as tree, tree.snapshot() as snapshot:
        rows = StoredRows(snapshot)
        device = HostDevice(rows.planes, 10)
        with pytest.raises(UsageError, match=words):
            Stream(rows, device, **options)
        for wrong in ({"slots": 0}, {"slots": (1, 2)}, {"slots": 1, "buffers": 1}, {"slots": 1, "buffer_bytes": 8}):
            with pytest.raises(UsageError):
                HostDevice(rows.planes, **wrong)
        with pytest.raises(UsageError):
            device.memory(2)
        with pytest.raises(UsageError):
            Delay(-1, 5)
