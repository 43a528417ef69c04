from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mctree.sources import open_source
from mctree.sources.patterns import Rules
from tests.sources.source_trees import names, write

GIT = shutil.which("git")


@pytest.mark.parametrize(
    ("lines", "path", "verdict"),
    [
        (["foo"], "foo", True),
        (["foo"], "a/b/foo", True),
        (["foo"], "foo/a", None),
        (["/foo"], "foo", True),
        (["/foo"], "a/foo", None),
        (["a/foo"], "b/a/foo", None),
        (["foo/"], "foo", None),
        (["foo/"], "foo/", True),
        (["*.o", "!a.o"], "a.o", False),
        (["!a.o", "*.o"], "a.o", True),
        (["*"], ".hidden", True),
        (["*", "!*/", "!*.py"], "a/", False),
        (["*", "!*/", "!*.py"], "a/b.py", False),
        (["*", "!*/", "!*.py"], "a/b.c", True),
        (["a/*"], "a/b", True),
        (["a/*"], "a/b/c", None),
        (["**/foo"], "foo", True),
        (["a/**"], "a/b/c", True),
        (["a/**"], "a/", None),
        (["a/**/b"], "a/b", True),
        (["a/**/b"], "a/x/y/b", True),
        (["a/**/x/**/b"], "a/x/x/b", True),
        (["a/**/x/**/b"], "a/y/b", None),
        (["a?c"], "abc", True),
        (["a?c"], "a/c", None),
        (["[a-c]x"], "bx", True),
        (["[!a-c]x"], "bx", None),
        (["[^a-c]x"], "dx", True),
        (["[]x]"], "]", True),
        (["[[:digit:]]"], "7", True),
        (["[a"], "[a", None),
        (["\\#a"], "#a", True),
        (["#a"], "#a", None),
        (["\\!a"], "!a", True),
        (["a  "], "a", True),
        (["a\\ "], "a ", True),
        (["a\\"], "a\\", None),
        (["é"], "é", True),
        (["a?b"], "a\nb", True),
        (["a*b"], "a\nb", True),
        (["a"], "a\n", None),
        (["a"], "A", None),
        (["a//b"], "a/b", None),
        (["/a[!x]b"], "a/b", None),
        (["a[/]b"], "a/b", None),
        (["a/**"], "a/x\ny", True),
        (["//**"], "a", None),
        (["**//"], "a/", None),
        (["**/"], "a/", True),
        (["/"], "a/", None),
        (["!"], "a", None),
        ([""], "a", None),
    ],
)
def test_examples(lines: list[str], path: str, verdict: bool | None) -> None:
    rules = Rules.parse(os.fsencode(line) for line in lines)
    assert rules.decide(os.fsencode(path.rstrip("/")), path.endswith("/")) is verdict


@pytest.mark.parametrize(
    "pattern",
    [b"*a" * 60 + b"b", b"**/a/" * 60 + b"b", b"/" + b"*a*/" * 60 + b"b", b"*" * 3000 + b"b", b"?*" * 100 + b"b"],
)
def test_no_pattern_takes_for_ever(pattern: bytes) -> None:
    for path in (b"a" * 255, b"a/" * 2000 + b"a", b"/".join([b"a" * 200] * 20)):
        assert Rules.parse([pattern]).decide(path, folder=False) is None


@given(st.binary(max_size=12), st.binary(min_size=1, max_size=8))
def test_any_bytes_are_a_pattern(line: bytes, path: bytes) -> None:
    assert Rules.parse([line]).decide(path, folder=False) in (True, False, None)


@given(st.binary(min_size=1, max_size=6).filter(lambda name: b"/" not in name))
def test_a_name_with_every_byte_escaped_matches_itself_alone(name: bytes) -> None:
    pattern = b"/" + b"".join(b"\\" + bytes([byte]) for byte in name)
    rules = Rules.parse([pattern])
    assert rules.decide(name, folder=False) is True
    assert rules.decide(name + b"x", folder=False) is None
    assert rules.decide(b"x/" + name, folder=False) is None


# A literal right before `**` is left out: git takes such stars for folders, against its own documentation.
_PARTS = """
a b ab a.b foo é * ** ? a* *b *.b f?o *** *a*b* ?* [ab] [!a] [^a] [a-c] []] []-] [[:alpha:]] [[:foo:]] [a [z-a]
[!z-a] [a-] [\\]] [--a] [[:alpha:]-z] [a/b] [[:digit:]a]* [[a] [[:a] [\\a-\\c] \\a a\\ \\* \\!a \\#a #a !a \\/
"""
_WORDS = [*_PARTS.split(), "a ", "a\\ ", "x y", " ", ""]
_NAMES = ["a", "b", "ab", "a.b", "foo", "x y", "[", "-", "é", "a]", "A", "a\\", " ", "a ", "!a", "#a", "**"]


@st.composite
def patterns(draw: st.DrawFn) -> str:
    parts = draw(st.lists(st.sampled_from(_WORDS), min_size=1, max_size=3))
    before, after = (
        draw(st.sampled_from(["", "", "/", "!", "!/"])),
        draw(st.sampled_from(["", "", "", "/", " ", "\t", "\r"])),
    )
    return before + "/".join(parts) + after


ignore_texts = st.lists(patterns(), min_size=1, max_size=5).map(lambda lines: "\n".join(lines).encode())


@pytest.fixture(scope="module")
def repository() -> Iterator[str]:
    if GIT is None:
        pytest.skip("git is not installed")
    with tempfile.TemporaryDirectory() as root:
        subprocess.run([GIT, "init", "-q", root], check=True)
        yield root


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.lists(st.sampled_from(_NAMES), min_size=1, max_size=4), max_size=12),
    st.dictionaries(st.integers(0, 11), ignore_texts, max_size=4),
    ignore_texts,
)
def test_the_walk_finds_what_git_finds(
    repository: str, paths: list[list[str]], nested: dict[int, bytes], top: bytes
) -> None:
    assert GIT is not None
    files: dict[bytes | str, bytes] = {".gitignore": top}
    for place, parts in enumerate(paths):
        if place in nested:
            files["/".join([*parts[:-1], ".gitignore"])] = nested[place]
        files["/".join(parts)] = b"x"
    folders = {name.rsplit("/", depth)[0] for name in map(str, files) for depth in range(1, name.count("/") + 1)}
    files = {name: content for name, content in files.items() if name not in folders}
    for entry in os.listdir(repository):
        if entry != ".git":
            path = os.path.join(repository, entry)
            shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
    write(repository, files)
    listed = subprocess.run(
        [GIT, "-C", repository, "ls-files", "--others", "--exclude-per-directory=.gitignore", "-z"],
        check=True,
        capture_output=True,
    ).stdout
    found = [name.split(b"/", 1)[1] for name in names(open_source([repository]))]
    assert found == sorted(filter(None, listed.split(b"\0")))
