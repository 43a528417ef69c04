"""A working context on a device of PyTorch: bit for bit what the snapshot holds, and what the plain device gives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from mctree.errors import BudgetTooSmall, UsageError
from mctree.focus import Allocator, RecencyLens, SnapshotGround, SpansLens, WorkingContext
from mctree.streaming import (
    GISTS,
    PATCHES,
    TOKENS,
    Delay,
    HostDevice,
    Nodes,
    Plane,
    SlowRows,
    StoredRows,
    Stream,
    Timed,
    VirtualClock,
)
from mctree.testing import PaperImage, PaperRows, PaperWorld, StreamMachine, stream_machine
from mctree.tree import Snapshot
from tests.streaming.stores import letters, streamed

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
mctree_torch = pytest.importorskip("mctree_torch")

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")),
]


@pytest.fixture
def snapshot(tmp_path: Path) -> Iterator[Snapshot]:
    with streamed(tmp_path) as tree, tree.snapshot() as found:
        yield found


def compared(snapshot: Snapshot, read: Any) -> None:
    """All that was gathered, beside what the snapshot and the ground say, bit for bit."""
    entries, gists = read.entries, snapshot.gists()
    level, index = entries.level, entries.index
    vectors = read.vectors.cpu().numpy()
    assert vectors.dtype == np.dtype(gists.record.dtype) and vectors.shape == (len(entries), gists.dim)
    for one in set(level.tolist()) - {0}:
        some = level == one
        assert (vectors[some].view(np.uint16) == gists.gather(one, index[some]).view(np.uint16)).all()
    assert not vectors[level == 0].any()
    assert read.has_vector.tolist() == (level > 0).tolist()
    assert read.token_rows.tolist() == np.flatnonzero(level == 0).tolist()
    blocks = [snapshot.tokens(at, at + 32).astype(np.int64) for at in index[level == 0].tolist()]
    assert read.tokens.tolist() == [block.tolist() for block in blocks]
    for name in ("position", "sigma", "x", "y", "sigma_x", "sigma_y", "level", "modality", "cost"):
        column = getattr(read, name)
        assert column.dtype == (torch.int64 if name in ("level", "modality", "cost") else torch.float64)
        assert (column.cpu().numpy() == getattr(entries, name)).all(), name


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_gathered_is_what_the_snapshot_holds(snapshot: Snapshot, device: str) -> None:
    context = WorkingContext.smallest(snapshot, 700, Allocator(max_edits=16))
    with mctree_torch.ResidentContext(context, snapshot, device) as resident:
        for place in (0, 40_000):
            for _ in range(80):
                change = resident.step(SpansLens([(place, place + 300)]))
                if change.blocked.waiting:
                    time.sleep(0.001)
            read = resident.gather()
            assert read.seen.whole and len(read) == len(context) == len(read.vectors)
            compared(snapshot, read)
            assert place // 32 in context.blocks.tolist()
        out = torch.empty_like(read.vectors)
        again = resident.gather(out)
        assert again.vectors is out and torch.equal(out, read.vectors)
        assert resident.counters.total.misses == 0
        assert str(resident.device).startswith(device)


def test_the_model_can_be_launched_before_what_comes_next_is_asked_for(snapshot: Snapshot) -> None:
    context = WorkingContext.smallest(snapshot, 700, Allocator(max_edits=16))
    with mctree_torch.ResidentContext(context, snapshot) as resident:
        before = resident.counters.total.requested
        resident.step(SpansLens([(0, 300)]))
        resident.gather(wake=False)
        assert resident.counters.total.requested == before
        resident.stream.wake()
        assert resident.counters.total.requested > before
        while 0 not in resident.gather(wake=False).entries.level:  # the next step asks
            resident.step(SpansLens([(0, 300)]))
            time.sleep(0.001)


@pytest.mark.parametrize("device", DEVICES)
def test_an_ancestor_is_read_in_place_of_what_is_missing(snapshot: Snapshot, device: str) -> None:
    rows = SlowRows(StoredRows(snapshot), Delay(0.01, 1e8))
    context = WorkingContext.around(snapshot, [(30_000, 30_500)], 2000)
    with mctree_torch.ResidentContext(context, rows, device, gated=False) as resident:
        read = resident.gather()
        assert not read.seen.whole and len(read) < len(context)
        compared(snapshot, read)
        for _ in range(1000):
            resident.step(np.zeros(len(context)))
            read = resident.gather()
            if read.seen.whole:
                break
            time.sleep(0.001)
        compared(snapshot, read)
        assert len(read) == len(context)
        assert resident.counters.total.fallbacks > 0
        resident.change(lambda one: one.collapse("1:940"))
        assert len(resident.gather()) == len(context)
        context.expand("1:940")
        with pytest.raises(UsageError, match="behind"):
            resident.gather()


@pytest.mark.parametrize("device", DEVICES)
def test_a_context_moves_on_with_its_rows(tmp_path: Path, device: str) -> None:
    with streamed(tmp_path) as tree:
        before = tree.snapshot()
        context = WorkingContext.recent(before, 400)
        with mctree_torch.ResidentContext(context, before, device) as resident:
            with tree.writer() as writer:
                talk = writer.begin("a talk")
                talk.extend(np.frombuffer(letters(3000), np.uint8))
                writer.commit(gists=True)
                after = tree.snapshot()
                coming = resident.foresee(after)
                assert resident.refocus(after, foreseen=coming).diff
                before.close()
                for _ in range(300):
                    resident.step(RecencyLens())
                    if (read := resident.gather()).seen.whole and context.entries.level[-2] == 0:
                        break
                    time.sleep(0.001)
                tail = after.document("a talk").tail
                assert tail is not None and read.seen.whole
                assert read.tokens[-1, : len(tail.tokens)].tolist() == list(tail.tokens)
                assert read.cost[-1] == len(tail.tokens) and read.position[-1] > after.positions
                entries = context.entries
                context.budget = 5
                with pytest.raises(BudgetTooSmall):
                    resident.refocus(after)
                context.budget = 400
                with pytest.raises(UsageError):
                    resident.refocus(SnapshotGround(after))
                assert context.entries is entries
            after.close()


class AsTorch(HostDevice):
    """Both devices at once: each copy is made on both, and they are compared at each look."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.other = mctree_torch.TorchDevice(*args, **options)
        self.ring = self.other.ring
        self.bytes, self.patience = 0, 0

    def copy(self, buffer: int, plane: int, first: int, slots: Any) -> None:
        shape = self._planes[plane]
        assert shape is not None
        self.bytes += len(slots) * shape.row_bytes
        super().copy(buffer, plane, first, slots)
        self.other.copy(buffer, plane, first, slots)

    def memory(self, plane: int) -> Any:
        mine, other = super().memory(plane), self.other.memory(plane).numpy()
        kept = slice(0, len(mine) - 1)  # what goes to the last row is lost
        assert (mine[kept].view(np.uint8) == other[kept].view(np.uint8)).all()
        return mine


def test_the_machine_finds_no_difference_to_plain_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_machine, "LazyDevice", AsTorch)
    few = settings(
        max_examples=8,
        stateful_step_count=15,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    run_state_machine_as_test(StreamMachine, settings=few)


def test_text_and_images_together() -> None:
    world = PaperWorld()
    world.place(1, [32] * 70)
    world.graft(2, PaperImage(20, 33))
    world.place(3, [32] * 40 + [7])
    ground = world.ground()
    rows = PaperRows(ground.identity, ground.commit, ground.end)
    clock = VirtualClock()
    context = WorkingContext.smallest(ground, 2000, Allocator(max_edits=8))
    with mctree_torch.ResidentContext(
        context, rows, slots=1000, loader=lambda desk: Timed(desk, clock, Delay(0.001, 1e7))
    ) as resident:
        for _ in range(60):
            clock.now += 0.01
            entries = context.entries
            there = (entries.space > 0) | ((entries.level < 3) & (entries.start <= 2240) & (entries.stop > 2200))
            resident.step(np.where(there & (entries.level > 0), 1.0, 0.0))
        read = resident.gather()
        assert read.seen.whole and read.patches is not None
        for row, (space, level, index) in enumerate(read.seen.nodes.addresses()):
            expected = rows.expected(space, level, index)
            if level:
                assert (read.vectors[row].numpy() == expected).all()
            else:
                found, at = (read.patches, read.patch_rows) if space else (read.tokens, read.token_rows)
                assert (found[at.tolist().index(row)].numpy() == expected).all()
        tiles = read.patch_rows
        assert len(tiles) == 15 and (read.modality[tiles] == 1).all() and (read.sigma_x[tiles] == 0).all()
        assert (read.cost[tiles] <= 64).all() and read.y[tiles].max() > 10
        assert resident.counters.image.hits > 15 and resident.counters.image.misses == 0
        for plane in (GISTS, TOKENS, PATCHES):
            assert resident.stream.pool(plane).kept > 0


@given(st.sampled_from([np.float16, np.float32, np.int8, np.uint8, np.uint16, np.uint32]), st.integers(1, 5))
def test_every_type_of_row_is_kept_as_it_is(dtype: Any, dim: int) -> None:
    planes = (Plane((dim,), np.dtype(dtype)), None, None)
    device = mctree_torch.TorchDevice(planes, 6, buffer_bytes=256)
    raw = np.random.default_rng(dim).integers(0, 256, 3 * planes[0].row_bytes, np.uint8)
    device.ring[1][: len(raw)] = raw
    device.copy(1, 0, 0, np.array([4, 0, 7]))
    assert device.copied(1)
    rows = raw.reshape(3, -1)
    assert (device.memory(0)[4].numpy().view(np.uint8) == rows[0]).all()
    assert (device.take(0, torch.tensor([0, 6]))[0].numpy().view(np.uint8) == rows[1]).all()
    assert not device.memory(0)[6].any(), "the row of zeros stays one"


def test_rows_that_tensors_lack_are_refused() -> None:
    with pytest.raises(UsageError, match="CPU or a CUDA device"):
        mctree_torch.TorchDevice((Plane((3,), np.dtype(np.float16)), None, None), 6, "meta")
    with pytest.raises(UsageError, match="cannot be kept"):
        mctree_torch.TorchDevice((Plane((3,), np.dtype("M8[s]")), None, None), 6)
    device = mctree_torch.TorchDevice((Plane((3,), np.dtype(np.float16)), None, None), 6)
    with pytest.raises(UsageError, match="no rows"):
        device.memory(TOKENS)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here: overlap is shown by events of one")
def test_copies_run_beside_compute(snapshot: Snapshot) -> None:
    rows = StoredRows(snapshot)
    device = mctree_torch.TorchDevice(rows.planes, 2000, "cuda")
    busy = torch.randn(4096, 4096, device="cuda")
    with Stream(rows, device) as stream:
        began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        began.record()
        for _ in range(50):
            busy = busy @ busy * 0.01
        ended.record()
        index = np.arange(500, dtype=np.int64)
        nodes = Nodes(index * 0, index * 0 + 1, index, index * 32)
        stream.wait(stream.request(nodes))
        assert not ended.query(), "rows arrived while the device was still computing"
        read = device.take(GISTS, torch.from_numpy(stream.find(nodes)).cuda()).cpu().numpy()
        assert (read == snapshot.gists().gather(1, index)).all()


needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="there is no GPU here, and no order of its streams"
)


def filled(device: Any, buffer: int, value: int) -> None:
    """Let all slots of a device of 64 rows of 256 numbers hold one number; returns while that is being copied."""
    device.ring[buffer][:] = np.full(64 * 256, value, np.float16).view(np.uint8)
    device.copy(buffer, GISTS, 0, np.arange(64))


@needs_gpu
def test_slots_that_are_being_read_are_not_overwritten_whoever_reads() -> None:
    device = mctree_torch.TorchDevice(
        (Plane((256,), np.dtype(np.float16)), None, None), 64, "cuda", buffer_bytes=1 << 15
    )
    slots, busy = torch.arange(64, device="cuda"), torch.randn(4096, 4096, device="cuda")
    filled(device, 0, 1)
    torch.cuda.synchronize()
    assert device.copied(0)
    found = []
    for reader in (torch.cuda.Stream(), torch.cuda.Stream()):
        reader.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(reader):
            for _ in range(20):
                torch.mm(busy, busy)
            found.append(device.take(GISTS, slots))
    filled(device, 1, 2)
    assert not device.copied(1), "what overwrites waits for who reads"
    torch.cuda.synchronize()
    assert all((one == 1).all() for one in found)
    assert (device.take(GISTS, slots) == 2).all() and device.copied(1)


@needs_gpu
def test_whoever_is_far_ahead_of_the_device_waits_for_a_buffer() -> None:
    sender = mctree_torch.device.Sender(torch.device("cuda", 0))
    busy = torch.randn(4096, 4096, device="cuda")
    sent = []
    for number in range(40):
        for _ in range(5):
            torch.mm(busy, busy)
        send = sender.begun()
        sideways = np.arange(3000.0).reshape(3, 1000).T + number  # laid out the other way round
        sideways.setflags(write=False)
        sent.append((number, send(sideways), send(np.array([number % 2 == 0]))))
        sender.done()
    assert len(sender._resting) <= 8
    for number, numbers, even in sent:
        assert torch.equal(numbers.cpu(), torch.arange(3000.0, dtype=torch.float64).view(3, 1000).T + number)
        assert even.tolist() == [number % 2 == 0]


@needs_gpu
def test_the_device_that_is_meant_stays_the_one() -> None:
    device = mctree_torch.TorchDevice((Plane((256,), np.dtype(np.float16)), None, None), 64, "cuda")
    assert device.device.index == torch.cuda.current_device()
    filled(device, 0, 3)
    del device  # with its copy under way: its memory may only go back when that is done
    other = torch.zeros(1 << 20, device="cuda")
    torch.cuda.synchronize()
    assert not other.any()
