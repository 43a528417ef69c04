"""Looking for damage reads each row once, and finds none where somebody writes meanwhile: what is newer is no fault."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mctree
from mctree.encoders import CosineEncoder
from mctree.format.arrays import ArrayLayout
from mctree.format.pixels import pack_pixels
from mctree.sources.images import ArraySource, Box
from mctree.storage import audit, environment, pages
from mctree.testing import ToyEncoder
from mctree.testing.processes import in_child
from mctree.tree import Snapshot, check, row_checks
from mctree.tree.images import patches

ENCODER = ToyEncoder(dim=64)
_WRITES = """
with mctree.open(sys.argv[1]) as tree:
    for i in range(30):
        with tree.writer() as writer:
            writer.add(f"document {i}", bytes(range(97, 122)) * 20)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "t.mctree"
    with mctree.create(path, chunk_bytes=65536, keep=2, encoders=[ENCODER, ToyEncoder(dim=4)]) as tree:
        with tree.writer() as writer:
            for i in range(20):
                writer.add(f"{i}", bytes(range(97, 122)) * 200)
        tree.build_gists(ENCODER, "kept")
        tree.build_gists(ToyEncoder(dim=4), "dropped", default=False)
        with tree.writer() as writer:
            writer.remove("0")
        tree.refresh_gists("kept")
        tree.drop_gists("dropped")
    return path


def write(tree: mctree.Tree, rounds: int) -> None:
    """So many commits, with a refresh, that what only old ones needed goes."""
    with tree.writer() as writer:
        writer.remove(f"{1 + rounds % 19}")
    tree.refresh_gists("kept")
    for i in range(40):
        with tree.writer() as writer:
            writer.add(f"{rounds}, {i}", b"more " * 60)


class Somebody:
    """Goes on writing, a round whenever he is called, but not from within one."""

    def __init__(self, path: Path, act: Callable[[mctree.Tree, int], None] = write) -> None:
        self._path = path
        self._act = act
        self._writing = False
        self.rounds = 0

    def writes(self, *_: object) -> None:
        if self._writing:
            return
        self._writing = True
        with mctree.open(self._path, encoders=[ENCODER, ToyEncoder(dim=4)]) as tree:
            self._act(tree, self.rounds)
        self.rounds += 1
        self._writing = False


def before(patch: pytest.MonkeyPatch, owner: Any, name: str, what: Callable[..., None]) -> None:
    real = getattr(owner, name)

    def call(*args: Any, **options: Any) -> Any:
        what()
        return real(*args, **options)

    patch.setattr(owner, name, call)


def paint(tree: mctree.Tree, rounds: int) -> None:
    """More images, others instead, changed ones, and sets of gists that come and go."""
    rng = np.random.default_rng(rounds)
    fresh = [rng.integers(0, 255, (150, 200, channels), np.uint8) for channels in (3, 3, 1)]
    with tree.writer() as writer:
        writer.add_image(f"new {rounds}", fresh[0])
        writer.add_image("old", fresh[1], replace=True)
        writer.add_image(f"grey {rounds}", fresh[2])
    with tree.writer() as writer:
        writer.change_image("kept", fresh[0][:100, :100], Box(30, 20, 130, 120))
        if rounds:
            writer.remove(f"new {rounds - 1}")
    if rounds:
        tree.drop_gists(f"more-{rounds - 1}")
    tree.build_gists(CosineEncoder(side=(1, 2, 8)[rounds]), f"more-{rounds}", default=False)


@pytest.mark.parametrize("moment", [0, 1, 2, 4, 7, 10, 13, 16])
def test_what_somebody_does_to_images_meanwhile_is_no_damage(path: Path, moment: int) -> None:
    """Found by review: rows and kept pixels of newer commits were said to lie behind all there are."""
    rng = np.random.default_rng(7)
    with mctree.open(path, encoders=[ENCODER]) as tree:
        tree.build_gists(CosineEncoder(), "eyes", default=False)
        with tree.writer() as writer:
            for name in ("old", "kept"):
                writer.add_image(name, rng.integers(0, 255, (150, 200, 3), np.uint8))
    painter, looks = Somebody(path, paint), [0]

    def now(*_: object) -> None:
        looks[0] += 1
        if looks[0] in (moment, moment + 5):
            painter.writes()

    with mctree.open(path, writable=False, encoders=[ENCODER]) as tree, pytest.MonkeyPatch.context() as patch:
        real = Snapshot.reading

        def reading(self: Snapshot) -> Any:
            if sys._getframe(1).f_code.co_filename.endswith("images/check.py"):
                now()
            return real(self)

        patch.setattr(Snapshot, "reading", reading)
        assert [f"{problem.where} {problem.what}" for problem in tree.verify()] == []
    assert painter.rounds or looks[0] < moment


@pytest.mark.damages
@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("wrong", ["fewer", "more", "cut", "noise"])
def test_kept_pixels_that_are_not_those_of_a_whole_tile_are_damage(tmp_path: Path, wrong: str, dies: bool) -> None:
    """What a broken codec has packed, its sum being that of what it gave."""

    def packed(values: NDArray[Any], mask: NDArray[np.bool_]) -> bytes:
        if values.shape != (22, 72, 3):
            return pack_pixels(values, mask)
        if wrong == "fewer":
            return pack_pixels(values[1:], mask[1:])
        if wrong == "more":
            return pack_pixels(np.vstack([values, values[:1]]), np.vstack([mask, mask[:1]]))
        return pack_pixels(values, mask)[:-1] if wrong == "cut" else b"no piece at all"

    path = tmp_path / "wrong.mctree"
    with mctree.create(path) as tree, pytest.MonkeyPatch.context() as patch:
        pixels = np.random.default_rng(7).integers(0, 255, (150, 200, 3), np.uint8)
        mask = np.ones(pixels.shape[:2], np.bool_)
        mask[100:] = False
        with tree.writer() as writer:
            writer.add_image("sound", pixels)
            writer.add_image("in part", ArraySource(pixels, mask))
            writer.commit()
            assert [*tree.verify()] == []
            patch.setattr(patches, "pack_pixels", packed)
            number = writer.add_image("wrong", pixels)
            writer.commit()
            if dies:
                writer.remove(number)
    with mctree.open(path) as tree:
        (problem,) = tree.verify()
        assert problem.where.endswith(", pixels [128, 200) × [128, 150)")
        assert (problem.kind, problem.source) == ("pixels", b"wrong")
        assert re.match("its kept pixels (are not as many as the tile has|cannot be unpacked)", problem.what)


def test_what_is_left_of_gists_of_images_that_no_commit_sees_is_no_damage(path: Path) -> None:
    """Found by trying: their pages go with later commits than the rows, and lay behind none."""
    with mctree.open(path, encoders=[ENCODER]) as tree:
        tree.build_gists(CosineEncoder(), "eyes", default=False)
        with tree.writer() as writer:
            writer.add_image("seen", np.random.default_rng(7).integers(0, 255, (150, 200, 3), np.uint8))
        tree.drop_gists("eyes")
        for number in range(12):
            with tree.writer() as writer:
                writer.add(f"later {number}", b"more " * 60)
            assert [f"{problem.where} {problem.what}" for problem in tree.verify()] == []


MOMENTS = {"small_file": check, "committed_rows": row_checks, "array_layout": check}


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_somebody_does_meanwhile_is_no_damage(path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Found by trying: shapes and records of newer commits, and generations that went, were called faults."""
    somebody = Somebody(path)

    def now_and_then() -> None:
        if somebody.rounds < 2:
            somebody.writes()

    with mctree.open(path, writable=False, encoders=[ENCODER]) as tree:
        before(monkeypatch, MOMENTS[moment], moment, now_and_then)
        assert [f"{problem.where} {problem.what}" for problem in tree.verify()] == []
    assert somebody.rounds


def test_a_table_is_summed_up_although_somebody_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    somebody = Somebody(path)
    with mctree.open(path, writable=False, encoders=[ENCODER]) as tree:
        before(monkeypatch, check, "damaged_pages", somebody.writes)
        real = check.table_sums
        monkeypatch.setattr(check, "table_sums", lambda index: ((tag, n + 1, total) for tag, n, total in real(index)))
        assert {problem.kind for problem in tree.verify()} == {"table"}


def test_pages_that_a_writer_took_who_does_not_see_this_reader_are_no_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by trying, as a user who may only read."""
    real = pages.damaged_below

    def damaged_below(fd: int, size: int, meta: pages.Meta) -> Any:
        if not looks:
            code = f"import sys, mctree\n{_WRITES}"
            subprocess.run([sys.executable, "-c", code, str(path)], check=True)
        looks.append(meta.number)
        return real(fd, size, meta)

    looks: list[int] = []
    monkeypatch.setattr(environment, "may_lock", lambda folder: False)
    monkeypatch.setattr(pages, "damaged_below", damaged_below)
    if os.geteuid() == 0:
        (path / "index.lmdb").chmod(0o555)

    def child() -> None:
        monkeypatch.setattr("mctree.storage.store.may_write", lambda at: False)
        with mctree.open(path, writable=False, encoders=[ENCODER]) as tree:
            assert not tree.store.environment.locked
            assert list(pages.damaged_pages(tree.store)) == []
            assert len(looks) == 2

    assert in_child(child) == 0


def test_who_may_write_to_the_lock_file_alone_has_a_place_among_readers(path: Path) -> None:
    with mctree.open(path):  # which makes it as long as it has to be
        pass
    (path / "index.lmdb" / "lock.mdb").chmod(0o666)
    for folder in (path, path / "index.lmdb"):
        folder.chmod(0o555)

    def child() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        with mctree.open(path, encoders=[ENCODER]) as tree:
            assert not tree.store.writable
            assert tree.store.environment.locked
            assert list(tree.verify()) == []

    os.chmod(path.parent, 0o755)
    for above in path.parents:
        if above.stat().st_uid == os.geteuid():
            above.chmod(above.stat().st_mode | 0o055)
    try:
        assert in_child(child) == 0
    finally:
        for folder in (path, path / "index.lmdb"):
            folder.chmod(0o755)


def test_each_row_is_read_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by reading: each step read its chunk from the start, so that one of 256 MiB was read 128 times over."""
    read: Counter[str] = Counter()
    real = audit.read_chunk

    def read_chunk(fd: int, layout: ArrayLayout, stop: int, start: int = 0) -> Any:
        read[layout.path] += stop - start
        return real(fd, layout, stop, start)

    monkeypatch.setattr(audit, "read_chunk", read_chunk)
    monkeypatch.setattr(row_checks, "BLOCKS_AT_ONCE", 64)
    with mctree.open(path, writable=False, encoders=[ENCODER]) as tree, tree.snapshot() as snapshot:
        assert list(tree.verify()) == []
        blocks = snapshot.blocks
        assert read["text/lod0"] == 32 * blocks
        assert read["text/count"] == blocks
        assert read["text/before"] == -(-blocks // 32)
