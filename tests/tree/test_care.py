"""Faults that were found by reading, each with the promise that it broke."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

import mctree
from mctree.errors import CommitGoneError, LockedError, UsageError, WriterFailedError
from mctree.testing.toys import ToyEncoder
from mctree.tree import compact as compacting
from mctree.tree import making

SMALL = 65536


def new(path: Path, **options: int) -> mctree.Tree:
    return mctree.create(path, chunk_bytes=SMALL, encoders=[ToyEncoder()], **options)


def names(tree: mctree.Tree) -> list[str]:
    return [document.name for document in tree.snapshot().documents()]


@pytest.mark.parametrize("where", ["making.held_commits", "upcoming.row_sums"])
def test_a_commit_that_is_broken_off_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    tree = new(tmp_path / "t.mctree")
    monkeypatch.setattr(making, "_COLLECT_EVERY", 1)
    with tree.writer() as writer:
        writer.add("A", b"A" * 100)
    writer = tree.writer()
    writer.add("B", b"B" * 100)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"mctree.tree.{where}", interrupt)
        with pytest.raises(KeyboardInterrupt):
            writer.commit()
    with pytest.raises(WriterFailedError, match="broken off"):
        writer.commit()
    writer.close()
    with tree.writer() as writer:
        writer.add("C", b"C" * 100)
    assert {d.name: d.read() for d in tree.snapshot().documents()} == {"A": b"A" * 100, "C": b"C" * 100}
    assert list(tree.verify()) == []


def test_a_lease_that_fails_after_a_commit_ends_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = new(tmp_path / "t.mctree")
    writer = tree.writer()
    writer.add("A", b"A" * 100)

    def fail(*_: object) -> None:
        raise OSError(24, "too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("mctree.storage.leases.pwrite_all", fail)
        with pytest.raises(WriterFailedError):
            writer.commit()
    with pytest.raises(WriterFailedError):
        writer.commit()
    writer.close()
    assert names(tree) == ["A"]
    assert list(tree.verify()) == []


@pytest.mark.parametrize("span_level", [0, 2])
def test_who_adds_up_children_is_given_numbers_wide_enough_for_it(tmp_path: Path, span_level: int) -> None:
    class Recording(ToyEncoder):
        def encode(self, level: int, children: np.ndarray, *rest: object, **options: object) -> np.ndarray:
            seen[level] = children.dtype
            return super().encode(level, children, *rest, **options)

    seen: dict[int, np.dtype] = {}
    encoder = Recording(span_level=span_level)
    tree = mctree.create(tmp_path / "t.mctree", chunk_bytes=SMALL, encoders=[encoder])
    with tree.writer() as writer:
        writer.add("A", bytes(32**3))
    tree.build_gists(encoder, "toy")
    assert seen == {1: np.uint32, 2: np.float32, 3: np.float32}


def test_a_bad_vector_shifts_no_other_gist(tmp_path: Path) -> None:
    class Fragile(ToyEncoder):
        broken = False

        def encode(self, level: int, *arguments: object, **options: object) -> np.ndarray:
            made = super().encode(level, *arguments, **options)
            return made * np.nan if self.broken and level == 2 else made

    encoder = Fragile()
    tree = mctree.create(tmp_path / "t.mctree", chunk_bytes=SMALL, encoders=[encoder])
    tree.build_gists(encoder, "toy")
    writer = tree.writer()
    encoder.broken = True
    writer.add("A", np.random.default_rng(0).bytes(1500))
    with pytest.raises(UsageError, match="not finite"):
        writer.commit(gists=True)
    encoder.broken = False
    with pytest.raises(WriterFailedError):
        writer.commit(gists=True)
    writer.close()
    with tree.writer() as writer:
        writer.add("B", np.random.default_rng(1).bytes(3000))
    snapshot = tree.snapshot()
    grid = snapshot.tokens(0, 1024).reshape(32, 32)
    blocks = encoder.encode(1, grid, np.ones((32, 32), bool))
    expected = encoder.encode(2, blocks[None], np.ones((1, 32), bool))
    assert np.array_equal(snapshot.gists().gather(2, np.array([0])), expected.astype(np.float16))


@pytest.mark.parametrize("what", ["removed", "moved aside", "another"])
def test_a_lock_file_that_is_gone_lets_nobody_else_write(tmp_path: Path, what: str) -> None:
    """Found by reading: a second writer came in, and rows of its commit were written over by the first one's."""
    path = tmp_path / "t.mctree"
    tree = new(path)
    with tree.writer() as one:
        (path / "lock").rename(tmp_path / "aside")
        if what == "another":
            (path / "lock").write_text("process 1 on another machine")
        for _ in range(2):
            with pytest.raises(LockedError, match="another machine" if what == "another" else "unknown process"):
                mctree.open(path).writer()
        if what == "moved aside":
            (tmp_path / "aside").rename(path / "lock")
            with pytest.raises(LockedError, match=str(os.getpid())):
                mctree.open(path).writer()
        one.add("one", b"1" * 100)
    with mctree.open(path) as other, other.writer() as two:
        two.add("two", b"2" * 100)
    assert names(tree) == ["one", "two"]
    assert list(tree.verify()) == []


@pytest.mark.parametrize("committed_before", [False, True])
def test_a_commit_of_somebody_who_ignores_the_lock_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, committed_before: bool
) -> None:
    path = tmp_path / "t.mctree"
    tree = new(path)
    one = tree.writer()
    if committed_before:
        one.add("zero", b"0")
        one.commit()
    one.stamp("nothing", None)
    one.keep_stamps()  # a transaction that changes nothing: LMDB does not count it
    with monkeypatch.context() as patch:
        patch.setattr("mctree.storage.lock.fcntl.flock", lambda *_: None)
        with mctree.open(path) as other, other.writer() as two:
            two.add("two", b"2")
    one.begin("one").write(b"1")  # in a tail, so that no row is written over
    with pytest.raises(WriterFailedError, match="somebody else has written"):
        one.commit()
    one.close()
    assert names(tree) == ["zero"] * committed_before + ["two"]


def test_an_epoch_in_use_survives_two_compactions_and_a_crash_in_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = new(tmp_path / "t.mctree")
    for name in ("A", "B", "C"):
        with tree.writer() as writer:
            writer.add(name, name.encode() * 100)
    held = tree.snapshot()
    with tree.writer() as writer:
        writer.remove("A")
    tree.compact()

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mctree.storage.epochs._keep_epoch", crash)
        with pytest.raises(KeyboardInterrupt):
            tree.compact()
    tree = mctree.open(tmp_path / "t.mctree")
    for _ in range(2):
        tree.writer().close()
    assert [d.read()[:1] for d in held.documents()] == [b"A", b"B", b"C"]
    sent = pickle.loads(pickle.dumps(held))
    assert [d.read()[:1] for d in sent.documents()] == [b"A", b"B", b"C"]
    sent.close()
    held.close()
    tree.writer().close()
    assert list((tmp_path / "t.mctree" / "epochs").iterdir()) == []
    assert names(tree) == ["B", "C"]


def test_compacting_through_a_link_compacts_what_it_leads_to(tmp_path: Path) -> None:
    new(tmp_path / "real.mctree").close()
    (tmp_path / "link.mctree").symlink_to("real.mctree")
    tree = mctree.open(tmp_path / "link.mctree")
    with tree.writer() as writer:
        writer.add("A", b"A")
    tree.compact()
    assert (tmp_path / "link.mctree").is_symlink()
    assert names(mctree.open(tmp_path / "real.mctree")) == ["A"]
    assert mctree.open(tmp_path / "real.mctree").epoch == 1


def test_two_gist_sets_never_share_a_folder(tmp_path: Path) -> None:
    tree = new(tmp_path / "t.mctree")
    with tree.writer() as writer:
        writer.add("A", bytes(range(200)))
    held = []
    for seed, name in enumerate(("x", "x.2")):
        tree.build_gists(ToyEncoder(seed=seed), name)
        held.append(tree.snapshot())
        tree.drop_gists(name)
    tree.build_gists(ToyEncoder(seed=3), "x")
    tree.build_gists(ToyEncoder(seed=4), "x.2")
    folders = [view.record.folder for snapshot in (*held, tree.snapshot()) for view in snapshot.gist_sets()]
    assert len(set(folders)) == len(folders)
    assert list(tree.verify()) == []
    with pytest.raises(UsageError, match="must be"):
        tree.build_gists(ToyEncoder(seed=5), "zarr.json")


def test_a_replacement_that_fails_leaves_the_old_document(tmp_path: Path) -> None:
    tree = new(tmp_path / "t.mctree")
    with tree.writer() as writer:
        writer.add("A", b"old")

    def pieces() -> object:
        yield b"x" * 1000
        raise RuntimeError("the network is gone")

    with tree.writer() as writer:
        writer.add("B", b"before")
        with pytest.raises(RuntimeError):
            writer.add("A", pieces(), replace=True)
        with pytest.raises(UsageError):
            writer.begin("A", locator={"x": 1.5}, replace=True)
        writer.add("C", b"after")
    assert {d.name: d.read() for d in tree.snapshot().documents()} == {"A": b"old", "B": b"before", "C": b"after"}
    assert list(tree.verify()) == []


def test_a_compaction_keeps_links_to_what_is_not_placed_and_to_other_spaces(tmp_path: Path) -> None:
    tree = new(tmp_path / "t.mctree")
    with tree.writer() as writer:
        writer.add("dead", b"x" * 320)
        writer.add("alive", b"y" * 320)
        writer.link((320, 352), (1000, 1032), kind="later")
        writer.link((5, 9), (5, 9), kind="elsewhere", spaces=(1, 2))
        writer.link((0, 32), (320, 352), kind="of the dead")
    with tree.writer() as writer:
        writer.remove("dead")
    tree.compact()
    links = {link.kind: (link.source, link.target) for link in tree.snapshot().all_links()}
    assert links == {"later": ((0, 0, 32), (0, 680, 712)), "elsewhere": ((1, 5, 9), (2, 5, 9))}


@pytest.mark.parametrize("blocks", [0, 3, 70])
def test_no_step_of_a_compaction_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int) -> None:
    """Found by reading: time travel to half a copy, which was never the tree."""
    monkeypatch.setattr(compacting, "_BLOCKS_AT_ONCE", 2)
    tree = new(tmp_path / "t.mctree", keep=0)
    with tree.writer() as writer:
        for number in range(blocks):
            writer.add(f"document {number}", b"x" * 32)
        writer.add("dead", b"y" * 32)
    tree.build_gists(ToyEncoder(), "toy")
    with tree.writer() as writer:
        writer.remove("dead")
    before = tree.snapshot()
    tree.compact()
    (only,) = tree.commits()
    assert only.number > before.commit
    assert (only.documents, only.blocks) == (blocks, blocks)
    assert list(tree.verify()) == []
    with tree.writer() as writer:
        writer.add("more", b"z")
    assert list(tree.verify()) == []


def test_a_compaction_that_leaves_nothing_gives_no_number_out_again(tmp_path: Path) -> None:
    tree = new(tmp_path / "t.mctree")
    with tree.writer() as writer:
        document = writer.add("A", b"x" * 320)
        link = writer.link((0, 32), (32, 64), kind="of the dead")
    with tree.writer() as writer:
        writer.remove("A")
    tree.compact()
    with tree.writer() as writer:
        assert writer.add("A", b"y" * 32) == document + 1
        assert writer.link((0, 32), (0, 32), kind="new") == link + 1


def test_a_forked_child_keeps_what_its_parent_lets_go(tmp_path: Path) -> None:
    tree = new(tmp_path / "t.mctree", keep=1)
    with tree.writer() as writer:
        writer.add("A", b"A" * 100)
    snapshot = tree.snapshot()
    forked, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(forked[1], b".")
            os.read(go[0], 1)
            status = 0 if snapshot.document("A").read() == b"A" * 100 else 2
        except CommitGoneError:
            status = 3
        finally:
            os._exit(status)
    os.read(forked[0], 1)
    snapshot.close()
    with tree.writer() as writer:
        writer.add("A", b"B" * 100, replace=True)
        for i in range(70):
            writer.add(f"{i}", b"x")
            writer.commit()
    os.write(go[1], b".")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    for fd in (*forked, *go):
        os.close(fd)


def test_folders_that_a_killed_session_left_are_removed(tmp_path: Path) -> None:
    tree = new(tmp_path / "t.mctree")
    with tree.writer() as writer:
        writer.add("A", bytes(range(200)))
    tree.build_gists(ToyEncoder(), "kept")
    left = tmp_path / "t.mctree" / "gists" / "left"
    (left / "text" / "lod1").mkdir(parents=True)
    tree.writer().close()
    assert not left.exists()
    assert tree.snapshot().gists("kept").rows(1) == tree.snapshot().blocks
