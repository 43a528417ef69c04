from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mctree.errors import SourceError
from mctree.sources import Item, open_source
from tests.sources.source_trees import entry_names, file_trees, items, names, tree, write


@settings(deadline=None)
@given(file_trees(), st.data())
def test_what_is_covered_and_was_not_handed_over_is_gone(files: dict[bytes, bytes], data: st.DataObject) -> None:
    """Folders whose ignore file is too large to honour cannot be known; all else can."""
    folders = sorted({name[:place] for name in files for place, byte in enumerate(name) if byte == ord("/")})
    sick = data.draw(st.sets(st.sampled_from(folders), max_size=3)) if folders else set()
    gone = data.draw(st.sets(st.sampled_from(sorted(files)))) if files else set()
    with tree(files) as root:
        for name in gone:
            os.remove(os.path.join(os.fsencode(root), name))
        for folder in sick:
            write(os.path.join(os.fsencode(root), folder), {".gitignore": b""})
            os.truncate(os.path.join(os.fsencode(root), folder, b".gitignore"), (1 << 20) + 1)
        source = open_source([root])
        found = set(names(source))
        for name in files:
            hidden = any(name.startswith(folder + b"/") for folder in sick)
            assert (b"t/" + name in found) is not (hidden or name in gone)
        for name in (*files, data.draw(entry_names)):
            doubted = any((name + b"/").startswith((folder + b"/", folder + b"#")) for folder in sick)
            assert source.covers(b"t/" + name) is not doubted
        assert not source.covers(b"other/x")
        assert source.covers(b"t"), "a folder that was an image, or a file, bore this name itself"


def test_nothing_is_covered_before_the_end(tmp_path: Path) -> None:
    write(tmp_path, {"t/a": b"", "t/b": b"", "u/c": b""})
    source = open_source([tmp_path / "t", tmp_path / "u"])
    assert not source.covers(b"t/x")
    walk = iter(source)
    next(walk)
    assert not source.covers(b"t/x")
    next(walk)
    assert next(walk).name == b"u/c"
    assert source.covers(b"t/x")
    assert not source.covers(b"u/x")
    assert list(walk) == []
    assert source.covers(b"u/x")
    iter(source)
    assert not source.covers(b"t/x")


def test_a_single_file_covers_itself_alone(tmp_path: Path) -> None:
    write(tmp_path, {"a": b"", "b.jsonl": b'{"text": "x"}\n'})
    source = open_source([tmp_path / "a", tmp_path / "b.jsonl"])
    for item in items(source):
        list(item.documents())
    assert [source.covers(name) for name in (b"a", b"b.jsonl#7", b"b.jsonl", b"a/x", b"ab", b"b", b"a#1")] == [
        True,
        True,
        True,
        False,
        False,
        False,
        False,
    ]


def test_a_root_that_vanishes_after_opening_covers_nothing(tmp_path: Path) -> None:
    write(tmp_path, {"t/a": b"", "f": b""})
    source = open_source([tmp_path / "t", tmp_path / "f"])
    shutil.rmtree(tmp_path / "t")
    (tmp_path / "f").unlink()
    assert names(source) == []
    assert not source.covers(b"t/a")
    assert not source.covers(b"f")


def test_a_container_covers_its_documents_only_once_read_to_the_end(tmp_path: Path) -> None:
    write(tmp_path, {"t/a.jsonl": b'{"text": "x"}\n' * 3, "t/b": b""})
    source = open_source([tmp_path / "t"])
    container, plain = items(source)
    assert container.container
    assert not plain.container
    assert not source.covers(b"t/a.jsonl#9")
    documents = container.documents()
    next(documents)
    assert not source.covers(b"t/a.jsonl#9")
    list(documents)
    assert source.covers(b"t/a.jsonl#9")
    assert source.covers(b"t/gone.jsonl#1")


def test_a_container_that_is_gone_covers_its_documents(tmp_path: Path) -> None:
    write(tmp_path / "t", {"a": b""})
    source = open_source([tmp_path / "t"])
    assert names(source) == [b"t/a"]
    assert source.covers(b"t/deep/gone.jsonl#1")


def test_a_container_that_breaks_off_leaves_its_documents_in_doubt(tmp_path: Path) -> None:
    path = tmp_path / "t" / "a.jsonl"
    write(tmp_path / "t", {"a.jsonl": (b'{"text": "%s"}\n' % (b"x" * 4000)) * 500})
    source = open_source([tmp_path / "t"])
    (container,) = items(source)
    documents = container.documents()
    next(documents)
    with path.open("ab") as file:
        file.write(b"\n")
    with pytest.raises(SourceError, match="changed while it was being read"):
        list(documents)
    assert not source.covers(b"t/a.jsonl#999999")


def test_a_line_without_its_id_leaves_all_ids_of_its_container_in_doubt(tmp_path: Path) -> None:
    write(tmp_path / "t", {"a.jsonl": b'{"id": "1", "text": "x"}\n{"id": 1.5}\n'})
    for id_field, covered in ((None, True), ("id", False)):
        source = open_source([tmp_path / "t"], id_field=id_field)
        for item in source:
            assert isinstance(item, Item)
            list(item.documents())
        assert source.covers(b"t/a.jsonl#2") is covered
        assert source.covers(b"t/a.jsonl#3") is covered
