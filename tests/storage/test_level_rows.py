"""Every kind of level reads as the plain array that its chunk files stand for."""

from __future__ import annotations

import os
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mctree.errors import CorruptError, NotFoundError, UsageError
from mctree.format.arrays import ArrayLayout
from mctree.storage.level import open_level
from mctree.storage.mapped import MappedLevel
from mctree.storage.pooled import PooledLevel
from mctree.storage.portable import PortableLevel
from tests.storage.level_files import KINDS, Files, paged_layout

DTYPES = ["uint8", "uint16", "uint32", "uint64", "int8", "float16", "float32"]
CLASSES = {"mapped": MappedLevel, "pooled": PooledLevel, "portable": PortableLevel}


@st.composite
def layouts(draw: st.DrawFn) -> ArrayLayout:
    dtype, fill = draw(st.sampled_from(DTYPES)), draw(st.sampled_from([0, 0, 1, 77]))
    row = draw(st.sampled_from([(), (1,), (3,), (8,), (24,), (2, 5), (384,)]))
    if draw(st.booleans()):
        return paged_layout(dtype, row, draw(st.integers(1, 2)), fill)
    return ArrayLayout("text/lod0", dtype, row, draw(st.integers(1, 40)), fill)


def same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_reads_as_the_plain_array(data: st.DataObject) -> None:
    layout = data.draw(layouts())
    chunks = data.draw(st.integers(1, 6))
    present = data.draw(st.sets(st.integers(0, chunks - 1)))
    limit = data.draw(st.integers(1, chunks * layout.rows_per_chunk))
    kind, slots = data.draw(st.sampled_from(KINDS)), data.draw(st.integers(1, 3))
    one_row = st.integers(0, limit - 1) | st.sampled_from([0, limit - 1])
    with tempfile.TemporaryDirectory() as folder:
        files = Files(Path(folder), layout)
        for chunk in present:
            files.write(chunk)
        with files.level(kind, chunks * layout.rows_per_chunk + data.draw(st.integers(0, 99)), slots) as level:
            for _ in range(data.draw(st.integers(1, 6))):
                what = data.draw(st.sampled_from(["gather", "runs", "read", "view", "prefetch", "stretch"]))
                given_out = data.draw(st.booleans())
                if what in ("gather", "prefetch"):
                    rows = np.array(data.draw(st.lists(one_row, max_size=40)), np.int64)
                    rows = rows.astype(data.draw(st.sampled_from(["i8", "u8", "i4", "u4", ">i8"])))
                    if what == "prefetch":
                        level.prefetch(rows, limit=limit)
                        continue
                    out = np.empty((2 * len(rows), *layout.row), layout.numpy)[::2] if given_out else None
                    found = level.gather(rows, out, limit=limit)
                    expected = files.expected(rows)
                elif what == "runs":
                    length = data.draw(st.integers(1, min(limit, data.draw(st.sampled_from([9, 64, 500])))))
                    step = data.draw(st.sampled_from([1, 2, 4, 32, 64]))
                    first = st.integers(0, (limit - length) // step).map(lambda i, step=step: i * step)
                    starts = np.array(data.draw(st.lists(first, max_size=8)), np.int64)
                    out = np.empty((length, len(starts), *layout.row), layout.numpy).swapaxes(0, 1)
                    found = level.runs(starts, length, out if given_out else None, limit=limit)
                    expected = np.empty(out.shape, layout.numpy)
                    for i, start in enumerate(starts):
                        expected[i] = files.expected(range(start, start + length))
                    flat = level.flat(starts, length, limit=limit)
                    in_place = kind == "mapped" and isinstance(level, MappedLevel) and len(starts) > 0
                    assert (flat is not None) == in_place
                    if flat is not None:
                        assert flat.shape == (limit, *layout.row)
                        assert not flat.flags.writeable
                        for start, run in zip(starts, expected, strict=True):
                            same(flat[start : start + length], run)
                else:
                    start, stop = sorted((data.draw(one_row), data.draw(one_row) + 1))
                    if what == "stretch":
                        level.prefetch(range(start, stop), limit=limit)
                        continue
                    expected = files.expected(range(start, stop))
                    if what == "view":
                        out, found = None, level.view(start, stop, limit=limit)
                        assert not found.flags.writeable
                    else:
                        out = np.empty(expected.shape, layout.numpy) if given_out else None
                        found = level.read(start, stop, out, limit=limit)
                same(found, expected)
                if given_out and what != "view":
                    assert found is out
        same(found, expected) if what not in ("prefetch", "stretch") else None


class Growing(RuleBasedStateMachine):
    """A level that grows under its readers: old limits, new limits, holes that are written later."""

    @initialize(row=st.sampled_from([(), (3,), (256,)]), fill=st.sampled_from([0, 9]), slots=st.integers(1, 3))
    def start(self, row: tuple[int, ...], fill: int, slots: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.files = Files(Path(self.folder.name), paged_layout("uint16", row, 1, fill))
        self.size = self.files.layout.rows_per_chunk
        self.capacity = 8 * self.size
        self.levels = [self.files.level(kind, self.capacity, slots) for kind in KINDS]
        self.limits = [0]
        self.views: list[tuple[np.ndarray, np.ndarray]] = []
        self.seed = 0

    def teardown(self) -> None:
        for level in self.levels:
            level.close()
        self.views_stay()
        self.folder.cleanup()

    def visible(self, limit: int, rows: np.ndarray) -> np.ndarray:
        assert (rows < limit).all()
        return self.files.expected(rows)

    @precondition(lambda self: self.limits[-1] < self.capacity)
    @rule(part=st.floats(0.01, 1.4), commit=st.booleans())
    def append(self, part: float, commit: bool) -> None:
        start = self.limits[-1]
        count = min(max(1, int(part * self.size)), self.capacity - start)
        self.seed += 1
        values = np.random.default_rng(self.seed).integers(1, 99, (count, *self.files.layout.row))
        self.files.append(start, values.astype(np.uint16))
        if commit:
            self.limits.append(start + count)

    @precondition(lambda self: self.limits[-1] < self.capacity)
    @rule(part=st.floats(0.01, 2.5))
    def append_rows_that_do_not_exist(self, part: float) -> None:
        """Lengths grow, but nothing is written: a gist that was not made."""
        start = self.limits[-1]
        stop = min(start + max(1, int(part * self.size)), self.capacity)
        if start // self.size in self.files.chunks:  # what an aborted append left there would become visible
            self.files.append(start, np.full((stop - start, *self.files.layout.row), self.files.layout.fill, "u2"))
        self.limits.append(stop)

    @precondition(lambda self: self.limits[-1])
    @rule(data=st.data())
    def write_into_a_hole(self, data: st.DataObject) -> None:
        holes = sorted(set(range(self.limits[-1] // self.size)) - set(self.files.chunks))
        if holes:
            chunk = data.draw(st.sampled_from(holes))
            self.views.clear()  # views of the hole may show either
            self.files.write(chunk, seed=3)
            for level in self.levels:
                level.refresh(data.draw(st.sampled_from([None, range(chunk, chunk + 1)])))

    @precondition(lambda self: self.limits[-1])
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        limit = data.draw(st.sampled_from([n for n in self.limits if n][-4:]))
        some = data.draw(st.lists(st.integers(0, limit - 1), min_size=1, max_size=12))
        rows = np.array([*some, limit - 1])
        start, stop = min(some), min(limit, min(some) + 2 * self.size)
        for level in self.levels:
            same(level.gather(rows, limit=limit), self.visible(limit, rows))
            expected = self.visible(limit, np.arange(start, stop))
            same(level.read(start, stop, limit=limit), expected)
            view = level.view(start, stop, limit=limit)
            same(view, expected)
            self.views.append((view, expected))

    @invariant()
    def views_stay(self) -> None:
        for view, expected in getattr(self, "views", ())[-10:]:
            same(view, expected)


TestGrowing = Growing.TestCase
TestGrowing.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path, paged_layout("float16", (8,)))
    for chunk in (0, 1, 3):
        files.write(chunk)
    return files


def test_the_kinds_are_what_they_are_called(files: Files, kind: str) -> None:
    assert type(files.level(kind, 5 * files.layout.rows_per_chunk)) is CLASSES[kind.partition(" ")[0]]


@pytest.mark.parametrize("row", [-1, 700, 1 << 40, -(1 << 63)])
def test_rows_that_are_not_there_are_named(files: Files, kind: str, row: int) -> None:
    with files.level(kind, 1024) as level:
        for ask in (
            lambda: level.gather(np.array([3, row, 5]), limit=700),
            lambda: level.prefetch(np.array([3, row, 5]), limit=700),
            lambda: level.runs(np.array([3, row]), 1, limit=700),
            lambda: level.flat(np.array([3, row]), 1, limit=700),
        ):
            with pytest.raises(NotFoundError, match=rf"no row {row}\b.*700 rows"):
                ask()
        with pytest.raises(NotFoundError, match=r"no row 18446744073709551615\b"):
            level.gather(np.array([2**64 - 1], np.uint64), limit=700)
        with pytest.raises(NotFoundError, match=r"no row 700\b"):
            level.runs(np.array([0, 690]), 20, limit=700)
        with pytest.raises(NotFoundError, match=r"no row 700\b"):
            level.runs(np.array([0]), 701, limit=700)
        with pytest.raises(NotFoundError, match=r"no row 700\b"):
            level.read(690, 701, limit=700)
        with pytest.raises(NotFoundError, match=r"no row -2\b"):
            level.view(-2, 5, limit=700)
        with pytest.raises(NotFoundError):
            level.gather(np.array([0]), limit=0)
        assert level.gather(np.array([], np.int64), limit=0).shape == (0, 8)
        assert level.runs(np.array([], np.int64), 7, limit=0).shape == (0, 7, 8)
        assert level.read(0, 0, limit=0).shape == level.view(0, 0, limit=0).shape == (0, 8)
        assert not files.opened


def test_what_does_not_fit_is_refused(files: Files, kind: str) -> None:
    level = files.level(kind, 1024)
    rows = np.arange(4)
    frozen = np.empty((4, 8), np.float16)
    frozen.flags.writeable = False
    for out in (np.empty((4, 7), np.float16), np.empty((5, 8), np.float16), np.empty((4, 8)), frozen, [0.0] * 32):
        with pytest.raises(UsageError, match="out"):
            level.gather(rows, out, limit=1024)
        with pytest.raises(UsageError, match="out"):
            level.read(0, 4, out, limit=1024)
        with pytest.raises(UsageError, match="out"):
            level.runs(rows, 1, out, limit=1024)
    for wrong in (rows.astype(float), rows.reshape(2, 2), rows > 2, np.array(3)):
        with pytest.raises(UsageError, match="rows must be integers"):
            level.gather(wrong, limit=1024)
    for ask in (
        lambda: level.gather(rows, limit=1025),
        lambda: level.gather(rows, limit=-1),
        lambda: level.read(5, 4, limit=1024),
        lambda: level.runs(rows, 0, limit=1024),
        lambda: level.flat(rows, 0, limit=1024),
        lambda: level.prefetch(range(0, 10, 2), limit=1024),
    ):
        with pytest.raises(UsageError):
            ask()
    level.close()
    level.close()
    for ask in (lambda: level.gather(rows, limit=9), lambda: level.view(0, 3, limit=9)):
        with pytest.raises(UsageError, match="closed"):
            ask()
    for bad in ({"capacity_rows": 0}, {"capacity_rows": 9, "slots": 0}):
        with pytest.raises(UsageError, match="at least 1"):
            open_level(files.layout, files.open, **bad)
    with pytest.raises(CorruptError, match="300"):
        ArrayLayout("a", "uint8", (), 4096, fill=300)


@pytest.mark.parametrize("change", [-1, 1, None])
def test_a_chunk_file_of_another_size_is_corrupt(files: Files, kind: str, change: int | None) -> None:
    size = files.layout.chunk_bytes
    if change is None:
        files.open = lambda chunk, asked=files.open: asked(chunk) if chunk != 1 else _folder(files)
    else:
        files.path(1).write_bytes(bytes(size + change))
    rows = files.layout.rows_per_chunk
    with files.level(kind, 1024) as level:
        for ask in (
            lambda: level.gather(np.array([0, rows, 5]), limit=1024),
            lambda: level.read(rows - 1, rows + 1, limit=1024),
            lambda: level.runs(np.array([rows]), 2, limit=1024),
        ):
            with pytest.raises(CorruptError, match=r"'gists/one/lod1'.*chunk 1\b"):
                ask()
        same(level.gather(np.array([0, 5]), limit=1024), files.expected([0, 5]))


def _folder(files: Files) -> int:
    return os.open(files.folder, os.O_RDONLY)


def test_what_the_opener_raises_passes_through_and_does_no_harm(files: Files, kind: str) -> None:
    fail = [True]

    def opener(chunk: int) -> int | None:
        if fail[0] and chunk == 1:
            raise NotFoundError("moved away")
        return Files.open(files, chunk)

    files.open = opener
    rows = np.arange(3) * files.layout.rows_per_chunk
    with files.level(kind, 1024) as level:
        for _ in range(3):
            with pytest.raises(NotFoundError, match="moved away"):
                level.gather(rows, limit=1024)
        fail[0] = False
        same(level.gather(rows, limit=1024), files.expected(rows))


@pytest.mark.parametrize("slots", [2, 3, 40])
def test_a_gigantic_sparse_level(tmp_path: Path, slots: int) -> None:
    files = Files(tmp_path, paged_layout("uint32", (2,)))
    size = files.layout.rows_per_chunk
    far = [0, 5, (1 << 33) + 1, (1 << 40) - 1]
    for chunk in far:
        files.write(chunk)
    rows = np.array([c * size + place for c in [*far, 7, 1 << 39] for place in (0, 3, size - 1)], np.uint64)
    rows = np.random.default_rng(0).permutation(np.repeat(rows, 3))
    for kind in ("pooled", "pooled cold", "portable"):
        with files.level(kind, size << 40, slots) as level:
            same(level.gather(rows, limit=size << 40), files.expected(rows))
    with open_level(files.layout, files.open, capacity_rows=size << 40) as level:
        same(level.gather(rows, limit=size << 40), files.expected(rows))


@pytest.mark.parametrize("pages", [1, 512, 768, 1025])
@pytest.mark.parametrize("kind", ["mapped", "mapped cold", "pooled"])
def test_chunks_of_any_number_of_pages(tmp_path: Path, kind: str, pages: int) -> None:
    files = Files(tmp_path, paged_layout("uint16", (2048,), pages, fill=7))
    files.write(1)
    size = files.layout.rows_per_chunk
    rows = np.array([0, size - 1, size, 2 * size - 1, 2 * size, 3 * size - 1])
    with files.level(kind, 3 * size) as level:
        level.prefetch(range(3 * size), limit=3 * size)
        same(level.gather(rows, limit=3 * size), files.expected(rows))
        same(level.read(size - 1, size + 2, limit=3 * size), files.expected(range(size - 1, size + 2)))


@pytest.mark.parametrize("kind", ["mapped cold", "pooled cold"])
def test_stretches_of_cold_data(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied in steps and asked for ahead, with sizes small enough that there are many of both."""
    monkeypatch.setattr("mctree.storage.mapped._STEP_BYTES", 5000)
    monkeypatch.setattr("mctree.storage.mapped._READ_AHEAD_BYTES", 30_000)
    files = Files(tmp_path, paged_layout("uint16", (3,), 12))
    for chunk in (0, 1, 2, 5):
        files.write(chunk)
    limit = 6 * files.layout.rows_per_chunk
    every = files.expected(range(limit))
    rng = np.random.default_rng(0)
    # What the kernel says it read decides how to go on; any answer is possible, and none may change what is copied.
    monkeypatch.setattr("mctree.storage.mapped._disk_reads", lambda: int(rng.integers(0, 3)))
    with files.level(kind, limit, slots=2) as level:
        for _ in range(60):
            start, stop = np.sort(rng.integers(0, limit, 2)).tolist()
            same(level.read(start, stop, limit=limit), every[start:stop])
            rows = rng.integers(0, limit, 9)
            same(level.gather(rows, limit=limit), every[rows])


@pytest.mark.parametrize("length", [10, 64, 300])
def test_runs_into_a_chunk_that_has_no_slot_yet(tmp_path: Path, length: int) -> None:
    """The slot behind that of the first chunk is not mapped: touching it would end the process."""
    files = Files(tmp_path, paged_layout("uint16", (), 2))
    for chunk in range(4):
        files.write(chunk)
    size = files.layout.rows_per_chunk
    starts = np.array([size - length // 2, 2 * size - 1, 5])
    for slots in (1, 2, 3):
        with files.level("pooled", 4 * size, slots) as level:
            expected = files.expected((starts[:, None] + np.arange(length)).ravel()).reshape(3, length)
            same(level.runs(starts[:1], length, limit=4 * size), expected[:1])
            same(level.runs(starts, length, limit=4 * size), expected)


def test_encoded_chunks(tmp_path: Path) -> None:
    files = Files(tmp_path, paged_layout("uint16", (4,)))
    for chunk in (0, 1, 2, 4):
        files.write(chunk)
        files.path(chunk).write_bytes(zlib.compress(files.path(chunk).read_bytes()))
    size = files.layout.rows_per_chunk
    rows = np.random.default_rng(1).integers(0, 5 * size, 500)
    with open_level(files.layout, files.open, capacity_rows=5 * size, decode=zlib.decompress) as level:
        same(level.gather(rows, limit=5 * size), files.expected(rows))
    for wrong in (b"", b"nonsense", zlib.compress(bytes(8)), bytes(3 * files.layout.chunk_bytes + (1 << 16))):
        files.path(1).write_bytes(wrong)
        with open_level(files.layout, files.open, capacity_rows=5 * size, decode=zlib.decompress) as level:
            with pytest.raises(CorruptError, match=r"chunk 1\b"):
                level.read(0, 5 * size, limit=5 * size)
            same(level.read(0, size, limit=5 * size), files.expected(range(size)))
