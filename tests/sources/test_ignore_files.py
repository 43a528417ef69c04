from __future__ import annotations

import os
from pathlib import Path

import pytest

from mctree.errors import UsageError
from mctree.sources import open_source
from tests.sources.source_trees import names, reasons, write


def found(root: Path, **options: object) -> list[str]:
    source = open_source([root], **options)
    return [name.decode().removeprefix("t/") for name in names(source) if b"ignore" not in name]


def test_ignore_files_nest_and_negate(tmp_path: Path) -> None:
    root = tmp_path / "t"
    write(
        root,
        {
            ".gitignore": b"*.log\r\nbuild/\n/only_here\n",
            "a.log": b"",
            "only_here": b"",
            "build/x": b"",
            "sub/.gitignore": b"!keep.log\n/anchored\ndeep/c\n",
            "anchored": b"",
            "sub/anchored": b"",
            "sub/deep/anchored": b"",
            "sub/deep/c": b"",
            "sub/keep.log": b"",
            "sub/b.log": b"",
            "sub/only_here": b"",
            "sub/build/.gitignore": b"!*\n",
            "sub/build/x": b"",
            "sub/deep/keep.log": b"",
        },
    )
    assert found(root) == ["anchored", "sub/deep/anchored", "sub/deep/keep.log", "sub/keep.log", "sub/only_here"]
    assert len(found(root, ignore_files=False)) == 12


def test_what_is_ignored_is_not_reported_and_counts_as_gone(tmp_path: Path) -> None:
    write(tmp_path / "t", {".gitignore": b"a\nd/\n", "a": b"", "d/x": b""})
    os.mkfifo(tmp_path / "t" / "d" / "fifo")
    source = open_source([tmp_path / "t"])
    assert reasons(source) == {}
    assert source.covers(b"t/a")
    assert source.covers(b"t/d/x")


def test_mctreeignore_overrules_gitignore_and_exclude_overrules_both(tmp_path: Path) -> None:
    root = tmp_path / "t"
    write(root, {".gitignore": b"a\nb\n", ".mctreeignore": b"!a\nc\n", "a": b"", "b": b"", "c": b"", "d": b""})
    write(root, {"sub/.gitignore": b"!b\n!c\n", "sub/b": b"", "sub/c": b""})
    assert found(root) == ["a", "d", "sub/b"]
    assert found(root, exclude=["a", "!c"]) == ["c", "d", "sub/b", "sub/c"]


def test_what_lies_above_the_root_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": b"*\n", "t/a": b""})
    assert found(tmp_path / "t") == ["a"]


def test_a_byte_order_mark_in_an_ignore_file_does_not_count(tmp_path: Path) -> None:
    write(tmp_path / "t", {".gitignore": b"\xef\xbb\xbfa\n", "a": b"", "b": b""})
    assert found(tmp_path / "t") == ["b"]


def test_include_takes_files_and_whole_folders(tmp_path: Path) -> None:
    root = tmp_path / "t"
    write(root, {"a.md": b"", "a.py": b"", "docs/x": b"", "docs/deep/y": b"", "docs/private": b"", "sub/b.md": b""})
    assert found(root, include=["*.md"]) == ["a.md", "sub/b.md"]
    assert found(root, include=["docs/"]) == ["docs/deep/y", "docs/private", "docs/x"]
    assert found(root, include=["docs/", "!private"]) == ["docs/deep/y", "docs/x"]
    assert found(root, include=["*.md", "docs/"], exclude=["sub/", "deep"]) == ["a.md", "docs/private", "docs/x"]
    assert found(root, include=["/*.md"]) == ["a.md"]


def test_include_takes_nothing_that_is_ignored(tmp_path: Path) -> None:
    write(tmp_path / "t", {".gitignore": b"a.md\n", "a.md": b"", "b.md": b""})
    assert found(tmp_path / "t", include=["*.md"]) == ["b.md"]


def test_a_file_that_is_named_is_taken_whatever_the_patterns_say(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": b"a\n", "a": b""})
    assert names(open_source([tmp_path / "a"], include=["*.md"], exclude=["a"])) == [b"a"]


def test_patterns_of_bytes_that_are_no_text(tmp_path: Path) -> None:
    write(tmp_path / "t", {b".gitignore": b"\xff*\n", b"\xffa": b"", b"b\xfe": b"", b"c": b""})
    assert names(open_source([tmp_path / "t"], exclude=[os.fsdecode(b"*\xfe"), ".*"])) == [b"t/c"]


def test_an_ignore_file_that_is_no_file_is_none(tmp_path: Path) -> None:
    root = tmp_path / "t"
    write(root, {"a": b"", "d/.gitignore/x": b"", "d/a": b"", "e/a": b"", "rules": b"a\n"})
    os.mkfifo(root / ".gitignore")
    (root / "e" / ".gitignore").symlink_to("../rules")
    assert found(root) == ["a", "d/a", "e/a", "rules"]
    assert found(root, follow_symlinks=True) == ["a", "d/a", "rules"]


def test_a_folder_whose_ignore_file_cannot_be_known_is_left_in_doubt(tmp_path: Path) -> None:
    write(tmp_path / "t", {"d/.gitignore": b"#" * (1 << 20) + b"\nsecret\n", "d/secret": b"", "d/e/x": b"", "a": b""})
    source = open_source([tmp_path / "t"])
    assert names(source) == [b"t/a"]
    assert reasons(source) == {b"t/d": "its .gitignore has more than 1048576 bytes"}
    assert not source.covers(b"t/d/e/x")
    assert names(open_source([tmp_path / "t"], ignore_files=False))[1:] == [
        b"t/d/.gitignore",
        b"t/d/e/x",
        b"t/d/secret",
    ]


@pytest.mark.parametrize("pattern", ["", "#a", "!", "/", "a\\", "[a", "a//b"])
@pytest.mark.parametrize("option", ["include", "exclude"])
def test_a_pattern_that_matches_nothing_is_refused(tmp_path: Path, option: str, pattern: str) -> None:
    with pytest.raises(UsageError, match=f"{option} pattern"):
        open_source([tmp_path], **{option: [pattern]})


def test_one_string_is_no_list_of_patterns(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="list of patterns"):
        open_source([tmp_path], exclude="*.md")
