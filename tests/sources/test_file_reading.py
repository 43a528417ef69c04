from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mctree.errors import SourceError
from mctree.sources import Item, RawDocument, Skipped, files, open_source
from mctree.sources.files import CHUNK, HEAD
from tests.sources.source_trees import contents, items, reasons, tree
from tests.sources.sparse import lengthened

LARGE = b"line of text\n" * (3 * CHUNK // 13)


def only_item(path: Path, **options: object) -> Item:
    (item,) = items(open_source([path], **options))
    return item


def only_document(path: Path) -> RawDocument:
    (document,) = only_item(path).documents()
    assert isinstance(document, RawDocument)
    return document


def skipped(item: Item) -> Skipped:
    (found,) = item.documents()
    assert isinstance(found, Skipped)
    return found


@settings(deadline=None, max_examples=20)
@given(st.integers(-2, 2), st.sampled_from([0, HEAD, CHUNK, 2 * CHUNK]), st.integers(1, 2 * CHUNK))
def test_sizes_around_every_boundary_come_out_exactly(nudge: int, size: int, piece: int) -> None:
    content = (b"ab\xff\n" * (size // 4 + 2))[: max(size + nudge, 0)]
    with tree({"a": content}) as root:
        assert contents(open_source([root]), max(piece, 1 << 12)) == {b"t/a": content}


@pytest.mark.parametrize("content", [b"", b"small", LARGE])
def test_a_document_can_be_read_again_and_late(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    document = only_document(tmp_path / "a")
    assert document.locator == {}
    assert b"".join(document.read()) == content == b"".join(document.read(1000))


@pytest.mark.parametrize(
    ("content", "binary"),
    [
        (b"a\0b", True),
        (b"\0", True),
        (b"a" * 8191 + b"\0", True),
        (b"a" * 8192 + b"\0", False),
        ("a".encode("utf-16"), False),
        (b"\xfe\xff\0a", False),
        ("a".encode("utf-32"), False),
        (b"\x00\x00\xfe\xff\0\0\0a", False),
        (b"\xff\xff caf\xe9", False),
        (b"\x01\x1b\x7f", False),
    ],
)
def test_a_nul_near_the_start_makes_a_file_binary_unless_it_is_wide_text(
    tmp_path: Path, content: bytes, binary: bool
) -> None:
    (tmp_path / "a").write_bytes(content)
    source = open_source([tmp_path / "a"])
    assert contents(source) == {b"a": "binary" if binary else content}
    assert source.covers(b"a")


def test_a_gigantic_sparse_file_is_passed_over_at_once(tmp_path: Path) -> None:
    for name, head in (("empty", b""), ("text", b"text\n" * HEAD)):
        (tmp_path / name).write_bytes(head)
        os.truncate(tmp_path / name, 1 << 40)
    assert skipped(only_item(tmp_path / "empty")).reason == "binary"
    assert skipped(only_item(tmp_path / "text")).reason.startswith("binary: sparse")


def test_holes_are_counted_wherever_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_MOST_HOLES", 1 << 20)
    path = tmp_path / "a"
    with path.open("wb") as file:
        for place in (0, 1 << 30, 3 << 30):
            file.seek(place)
            file.write(b"here")
    lengthened(path, 4 << 30)
    with path.open("rb") as file:
        assert (found := files.too_sparse(file.fileno())) is not None and found.startswith("3 GiB of it are holes: ")
        monkeypatch.setattr(files, "_STRETCHES", 2)  # of more stretches, what the system says of all of it
        assert files.too_sparse(file.fileno()) == found
        monkeypatch.setattr(files, "_MOST_HOLES", 4 << 30)
        assert files.too_sparse(file.fileno()) is None


def test_a_file_that_a_file_system_compresses_has_no_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_MOST_HOLES", 1 << 16)
    (tmp_path / "a").write_bytes(b"x" * (1 << 20))
    real = os.fstat

    def compressed(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        return os.stat_result(tuple(status), {"st_blocks": 1, "st_mtime_ns": status.st_mtime_ns})

    monkeypatch.setattr(os, "fstat", compressed)
    with (tmp_path / "a").open("rb") as file:
        assert os.fstat(file.fileno()).st_blocks == 1
        assert files.too_sparse(file.fileno()) is None


def test_max_bytes_refuses_what_is_larger_without_opening_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "b").write_bytes(b"1234")
    source = open_source([tmp_path / "a", tmp_path / "b"], max_bytes=3)
    assert reasons(source) == {b"b": "larger than 3 bytes (4)"}
    assert [item.name for item in items(source)] == [b"a"]


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"X")


def replace(path: Path) -> None:
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(path)


def touch_back(path: Path) -> None:
    status = path.stat()
    overwrite(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def shrink(path: Path) -> None:
    os.truncate(path, 1)


def become_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def become_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def vanish(path: Path) -> None:
    path.unlink()


CHANGES = [append, overwrite, replace, touch_back, shrink, become_fifo, become_link, vanish]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("content", [b"small", LARGE])
def test_a_change_between_listing_and_reading_is_noticed(
    tmp_path: Path, content: bytes, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "t" / "a"
    path.parent.mkdir()
    path.write_bytes(content)
    source = open_source([path.parent])
    (item,) = items(source)
    change(path)
    assert not skipped(item).certain
    assert not source.covers(b"t/a")


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_before_the_pieces_are_read_is_an_error(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "t" / "a"
    path.parent.mkdir()
    path.write_bytes(LARGE)
    (item,) = items(open_source([path.parent]))
    (document,) = item.documents()
    assert isinstance(document, RawDocument)
    change(path)
    with pytest.raises(SourceError, match=r"t/a .*run again"):
        list(document.read())


@pytest.mark.parametrize("change", [append, overwrite, touch_back, shrink])
def test_a_change_amid_the_pieces_is_an_error_before_the_next_pieces(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "a"
    path.write_bytes(LARGE * 2)
    pieces = only_document(path).read()
    next(pieces)
    change(path)
    with pytest.raises(SourceError, match="changed while it was being read"):
        for _ in range(2):
            next(pieces)


@pytest.mark.parametrize(("age", "rest"), [(5_000_000, 0.015), (50_000_000, None), (-1_000_000_000, None)])
def test_a_file_changed_in_this_tick_of_the_clock_is_read_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: int, rest: float | None
) -> None:
    """File systems stamp changes with a clock of some milliseconds, so two changes may leave equal times."""
    path = tmp_path / "a"
    path.write_bytes(b"x")
    item = only_item(path)
    assert item.stamp is not None
    now, slept = item.stamp.ctime_ns + age, []
    monkeypatch.setattr("mctree.sources.files.time.time_ns", lambda: now)
    monkeypatch.setattr("mctree.sources.files.time.sleep", slept.append)
    list(item.documents())
    assert slept == ([] if rest is None else [rest])


def test_a_file_whose_size_is_a_lie_is_not_taken() -> None:
    found = skipped(only_item(Path("/proc/self/limits")))
    assert found.reason == "changed while it was being read"
    with pytest.raises(SourceError, match="changed while it was being read"):
        list(only_item(Path("/proc/self/limits"), format="jsonl").documents())


def test_reading_leaves_no_descriptor_open(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(LARGE)
    before = len(os.listdir("/proc/self/fd"))
    document = only_document(tmp_path / "a")
    pieces = document.read()
    next(pieces)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del pieces
    assert len(os.listdir("/proc/self/fd")) == before
