from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from mctree.errors import MctreeError, SourceError, UsageError
from mctree.sources import Item, RawDocument, Root, Skipped, Source, open_source
from tests.sources.source_trees import contents, items, names, write


def refused(kind: type[MctreeError], *paths: object, **options: object) -> str:
    with pytest.raises(kind) as caught:
        open_source(list(paths), **options)
    said = str(caught.value)
    assert said.isprintable()
    return said


def test_roots_come_in_the_order_given_with_names_and_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"b/y": b"", "b/x": b"", "a/z": b"", "f": b""})
    monkeypatch.chdir(tmp_path / "a")
    source = open_source(["../b/", ".", b"../f", "-"], stdin=io.BytesIO())
    here = os.fsencode(tmp_path)
    assert source.roots == (
        Root(b"b", here + b"/b"),
        Root(b"a", here + b"/a"),
        Root(b"f", here + b"/f"),
        Root(b"stdin", None),
    )
    monkeypatch.chdir("/")
    assert names(source) == [b"b/x", b"b/y", b"a/z", b"f", b"stdin"]
    assert isinstance(source, Source)


def test_a_path_through_a_link_and_back_means_what_the_system_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"real/deep/x": b"", "real/y": b"", "z": b""})
    (tmp_path / "link").symlink_to("real/deep")
    monkeypatch.chdir(tmp_path)
    assert names(open_source(["link/.."])) == [b"real/deep/x", b"real/y"]


def test_what_does_not_exist_is_an_error_that_names_it(tmp_path: Path) -> None:
    assert "gone\\n\\x1b does not exist" in refused(SourceError, tmp_path / "gone\n\x1b")
    assert "does not exist" in refused(SourceError, "")
    (tmp_path / "file").write_bytes(b"")
    refused(SourceError, tmp_path / "file" / "x")
    refused(SourceError, f"{tmp_path}/file/")
    refused(UsageError, "a\0b")


def test_what_is_neither_file_nor_folder_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "is a FIFO" in refused(SourceError, tmp_path / "fifo")
    assert "is a character device" in refused(SourceError, "/dev/null")


def test_two_inputs_of_one_name_are_refused_with_a_way_out(tmp_path: Path) -> None:
    write(tmp_path, {"a/data/x": b"1", "b/data/x": b"2"})
    pair = [tmp_path / "a" / "data", tmp_path / "b" / "data"]
    said = refused(UsageError, *pair)
    assert "both be named 'data'" in said
    assert "the folder that holds both" in said and "=" not in said
    named = open_source(pair, names=["first", "second"])
    assert contents(named) == {b"first/x": b"1", b"second/x": b"2"}
    assert contents(open_source([tmp_path])).keys() == {
        os.fsencode(tmp_path.name) + b"/a/data/x",
        os.fsencode(tmp_path.name) + b"/b/data/x",
    }


def test_overlapping_inputs_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a/b/x": b"", "c": b""})
    (tmp_path / "link").symlink_to("a")
    assert "given twice" in refused(UsageError, tmp_path / "c", tmp_path / "c")
    assert "given twice" in refused(UsageError, tmp_path / "a", tmp_path / "link")
    assert "given twice" in refused(UsageError, "-", "-", names=["x", "y"])
    assert "lies within" in refused(UsageError, tmp_path / "a", tmp_path / "a" / "b")
    assert "lies within" in refused(UsageError, tmp_path / "a" / "b" / "x", tmp_path / "a")
    assert "lies within" in refused(UsageError, "/", tmp_path / "c", names=["all", "c"])
    open_source([tmp_path / "a" / "b", tmp_path / "c"])


def test_a_store_is_no_input(tmp_path: Path) -> None:
    write(tmp_path, {"s.mctree/zarr.json": b"", "s.mctree/index.lmdb/x": b""})
    assert "is an mctree store" in refused(UsageError, tmp_path / "s.mctree")


def test_arguments_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    refused(UsageError)
    refused(UsageError, tmp_path, names=[])
    assert "list of names" in refused(UsageError, tmp_path, tmp_path / "x", names="ab")
    refused(UsageError, tmp_path, format="csv")
    refused(UsageError, tmp_path, max_bytes=-1)
    refused(UsageError, tmp_path, max_line=0)
    refused(UsageError, "-", format="parquet")
    for name in ("", ".", "..", "a/b", "a\0"):
        refused(UsageError, tmp_path, names=[name])
    assert "give the folders in it" in refused(UsageError, "/")
    for path in ("a", b"a", tmp_path):
        with pytest.raises(UsageError, match="list of paths"):
            open_source(path)


def test_a_name_given_to_a_file_does_not_change_its_format(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "x"}')
    assert contents(open_source([tmp_path / "a.jsonl"], names=["plain"])) == {b"plain#1": b"x"}


@pytest.mark.parametrize("content", [b"\n", b"text\xff\n", b"long\n" * 500_000])
def test_standard_input_is_one_document_that_comes_once(content: bytes) -> None:
    source = open_source(["-"], stdin=io.BytesIO(content))
    (item,) = items(source)
    assert (item.name, item.stamp, item.container) == (b"stdin", None, False)
    (document,) = item.documents()
    assert isinstance(document, RawDocument)
    assert b"".join(document.read()) == content
    for again in (document.read(), item.documents()):
        with pytest.raises(SourceError, match="only once"):
            list(again)
    with pytest.raises(SourceError, match="only once"):
        contents(source)


def test_standard_input_that_is_binary_is_skipped() -> None:
    source = open_source(["-"], names=["piped"], stdin=io.BytesIO(b"a\0"))
    assert contents(source) == {b"piped": "binary"}


def test_a_command_that_wrote_nothing_does_not_empty_the_document() -> None:
    source = open_source(["-"], stdin=io.BytesIO())
    assert contents(source) == {b"stdin": "empty: nothing came in"}
    assert not source.covers(b"stdin")


def test_standard_input_can_be_jsonl() -> None:
    source = open_source(["-"], format="jsonl", stdin=io.BytesIO(b'{"text": "x"}\n{"text": "y"}\n'))
    assert contents(source) == {b"stdin#1": b"x", b"stdin#2": b"y"}
    assert source.covers(b"stdin#3")


def test_the_process_own_standard_input_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
    assert contents(open_source(["-"])) == {b"stdin": b"piped"}
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SourceError, match="standard input is closed"):
        list(open_source(["-"]))


def test_standard_input_that_fails_is_an_error() -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(SourceError, match="stdin cannot be read: Input/output error"):
        contents(open_source(["-"], stdin=Broken()))


def test_a_file_that_becomes_something_else_after_opening_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    source = open_source([tmp_path / "a"])
    (tmp_path / "a").unlink()
    os.mkfifo(tmp_path / "a")
    (found,) = source
    assert found == Skipped(b"a", "has become a FIFO", certain=False)


def test_items_can_be_told_from_skips_by_matching(tmp_path: Path) -> None:
    write(tmp_path / "t", {"a": b"x"})
    os.mkfifo(tmp_path / "t" / "b")
    seen = []
    for found in open_source([tmp_path / "t"]):
        match found:
            case Skipped(name, reason):
                seen.append((name, reason))
            case Item():
                seen.append((found.name, "item"))
    assert seen == [(b"t/a", "item"), (b"t/b", "a FIFO")]
