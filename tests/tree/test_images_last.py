"""What befalls images: kills, sources that fail, compactions, backups, damage, stores of an older format."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mctree
from mctree.errors import CorruptError, SourceError, UsageError
from mctree.format.facts import Stamp
from mctree.sources.images import ArraySource, Box
from mctree.testing import assert_whole
from mctree.testing.dump import dump
from mctree.testing.procedural import ProceduralSource
from mctree.testing.processes import in_child, kill_after
from tests.format.story import ENCODERS
from tests.tree.albums import EYES, JOINT, WORDS, made, pixels, told, with_sets


@pytest.mark.parametrize("access", ["random", "rows"])
def test_an_ingest_that_is_killed_goes_on_where_it_was(tmp_path: Path, access: str) -> None:
    """No block that was committed is read again, and in the end all is as if nothing had happened."""
    path = tmp_path / "killed.mctree"
    covered = [Box(0, 0, 900, 700), Box(2048, 1024, 3000, 3300)]

    class Source(ProceduralSource):
        reads: list[Box] = []  # noqa: RUF012  # one for all of a process

        def read(self, box: Box, level: int = 0) -> Any:
            self.reads.append(box)
            return super().read(box, level)

    def source() -> Source:
        found = Source(3300, 3100, covered=covered)
        found.access = access
        return found

    def ingest() -> None:
        with mctree.open(path, encoders=[JOINT, EYES, WORDS]) as tree, tree.writer() as writer:
            writer.add_image("picture", source(), commit_every=1)

    with made(path) as tree:
        with_sets(tree)
    with made(tmp_path / "whole.mctree") as whole:
        with_sets(whole)
        with whole.writer() as writer:
            writer.add_image("picture", source(), commit_every=1)
        expected = told(whole)
    every = len(Source.reads)
    done, kills = set[int](), 0
    calls, later = 200, [45, 75, 30, 300]
    while later:
        kills += in_child(functools.partial(_killed, ingest, calls)) != 0
        with mctree.open(path, encoders=[JOINT, EYES, WORDS]) as tree:
            assert_whole(tree)
            with tree.snapshot() as snapshot:
                assert not list(snapshot.images()) or told(tree) == expected
                done.add(len(snapshot.gallery.unfinished()))
        calls = later.pop(0) if 1 in done else calls + 60
        assert calls < 1000, "it was never killed in the middle"
    assert kills >= 3
    Source.reads.clear()
    with mctree.open(path, encoders=[JOINT, EYES, WORDS]) as tree:
        if not list(tree.snapshot().images()):
            ingest()
        assert told(tree) == expected
    assert len(Source.reads) < every, "what was committed was not read again"


def test_stamps_of_an_image_that_is_committed_on_the_way_go_with_each_commit(tmp_path: Path) -> None:
    path, asked = tmp_path / "stamped.mctree", list[int]()
    with made(path) as tree, tree.writer() as writer:

        def stamps() -> dict[bytes, Stamp | None]:
            asked.append(writer.snapshot.commit)
            first = len(asked) == 1
            return {b"a": Stamp(len(asked), 0, 0, 0, 0, b"a"), b"b": Stamp(0, 0, 0, 0, 0, b"b") if first else None}

        seen = list[tuple[int, bool]]()

        class Source(ProceduralSource):
            def read(self, box: Box, level: int = 0) -> Any:
                with mctree.open(path, writable=False) as other, other.snapshot() as snapshot:
                    found = snapshot.stamp(b"a")
                    seen.append((0 if found is None else found.size, snapshot.stamp(b"b") is not None))
                return super().read(box, level)

        before = writer.snapshot.commit
        writer.add_image("picture", Source(64, 4 * 1024), commit_every=1, stamps=stamps)
        assert asked == [before, before + 1, before + 2, before + 3]
        assert seen == [(0, False), (1, True), (2, False), (3, False)]
        writer.add_image("in one", ProceduralSource(64, 4 * 1024), commit_every=None, stamps=stamps)
        assert len(asked) == 4


def _killed(work: Any, calls: int) -> None:
    kill_after(calls)
    work()


def test_a_source_that_fails_leaves_nothing_behind(tree: mctree.Tree) -> None:
    class Failing(ArraySource):
        def read(self, box: Box, level: int = 0) -> Any:
            if box.x0 or box.y0:
                raise SourceError("it is torn")
            return super().read(box, level)

    before = told(tree)
    with tree.writer() as writer:
        writer.add_image("fine", pixels(10, 10))
        with pytest.raises(SourceError, match="torn"):
            writer.add_image("torn", Failing(pixels(100, 2000)))
        with pytest.raises(SourceError, match="no pixels"):
            writer.add_image("nothing", ArraySource(pixels(10, 10), np.zeros((10, 10), np.bool_)))
        writer.add_image("torn", pixels(100, 2000))
    with tree.snapshot() as snapshot:
        assert [image.name for image in snapshot.images()] == ["fine", "torn"]
        assert not snapshot.gallery.unfinished()
    assert before != told(tree)


def test_compaction_and_backup_keep_what_lives(tree: mctree.Tree, tmp_path: Path) -> None:
    with tree.writer() as writer:
        writer.add("stays", b"stays " * 20)
        writer.add("words", b"words " * 100)
        for name in "abc":
            writer.add_image(name, pixels(200, 150, seed=ord(name)))
        writer.add_image("grey", pixels(33, 44, 1), sets=[])
    with tree.writer() as writer:
        writer.change_image("b", pixels(9, 9), Box(0, 0, 9, 9))
        writer.remove("a")
        writer.remove("words")
        image = writer.snapshot.image("c")
        writer.link(image.spans(Box(0, 0, 5, 5))[0], (32, 64), kind="caption", spaces=(1, 0))
    with tree.snapshot() as snapshot:
        rows = [snapshot.state(array).rows for array in snapshot.gallery.statistics_arrays(3)]
        images = [line for line in dump(snapshot) if line.startswith(("  ", "image"))]
        at = snapshot.image("c").base
        assert [link.kind for link in snapshot.links(at + 3, at + 4, space=1)] == ["caption"]
    lines = told(tree)
    tree.backup(tmp_path / "copy.mctree")
    with mctree.open(tmp_path / "copy.mctree", encoders=[JOINT, EYES, WORDS]) as copy:
        assert told(copy) == lines
    tree.compact()
    with tree.snapshot() as snapshot:
        assert snapshot.state(snapshot.gallery.statistics_arrays(3)[0]).rows < rows[0]
        found = [line for line in dump(snapshot) if line.startswith(("  ", "image"))]
        names = [[line.split(" block ")[0] for line in lines if line.startswith("image")] for lines in (images, found)]
        assert names[0] == names[1] and len(names[0]) == 3
        assert [line for line in found if "nodes" in line or "pixels" in line] == [
            line for line in images if "nodes" in line or "pixels" in line
        ]
        assert [link.kind for link in snapshot.links(at + 3, at + 4, space=1)] == ["caption"]
    with tree.writer() as writer:
        writer.add_image("new", pixels(40, 40))
    assert_whole(tree)


@pytest.mark.damages
@pytest.mark.parametrize(
    "where", ["statistics3/lod0", "statistics3/lod1", "pixels", "eyes/arena1/lod0", "joint/arena1/lod2"]
)
def test_a_flipped_byte_is_found_and_its_pixels_named(tmp_path: Path, where: str) -> None:
    path = tmp_path / "t.mctree"
    with made(path) as tree:
        with_sets(tree)
        with tree.writer() as writer:
            writer.add_image("a", pixels(200, 300))
            writer.add_image("picture", pixels(300, 200, seed=1))
    folder = path / ("images" if where.startswith(("stat", "pix")) else "gists") / where
    file = next(iter(folder.glob("c.*")))
    data = bytearray(file.read_bytes())
    at = len(data.rstrip(b"\0")) - 3
    data[at] ^= 8
    file.write_bytes(data)
    with mctree.open(path, encoders=[JOINT, EYES, WORDS]) as tree:
        found = list(tree.verify())
        hits = [problem for problem in found if problem.kind in ("image", "pixels")]
        assert hits, found
        assert all(problem.source == b"picture" for problem in hits)
        assert "pixels [" in hits[0].where
        assert hits[0].node is not None and hits[0].node.space == 1
        if where == "pixels":
            with tree.snapshot() as snapshot, pytest.raises(CorruptError, match="not those that were committed"):
                snapshot.image("picture").pixels()
        with pytest.raises(CorruptError):
            tree.compact()


def test_a_store_of_the_first_format_takes_images_once_it_was_compacted(tmp_path: Path) -> None:
    path = shutil.copytree(Path(__file__).parents[1] / "fixtures" / "v1.mctree", tmp_path / "old.mctree")
    with mctree.open(path, encoders=ENCODERS) as tree:
        with tree.writer() as writer, pytest.raises(UsageError, match="older release"):
            writer.add_image("picture", pixels(5, 5))
        tree.compact()
        with tree.writer() as writer:
            writer.add_image("picture", pixels(5, 5))
        assert tree.snapshot().image("picture").width == 5
        assert_whole(tree)
