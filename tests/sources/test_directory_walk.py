from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings

from mctree.sources import Item, Skipped, open_source
from mctree.sources.directory import DEEPEST
from tests.sources.source_trees import contents, file_trees, items, names, reasons, tree, write


def walked_naively(root: str) -> list[bytes]:
    found = []
    for folder, _, files in os.walk(os.fsencode(root)):
        below = os.path.relpath(folder, os.fsencode(root))
        found += [os.path.normpath(os.path.join(b"t", below, name)) for name in files]
    return sorted(found)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@settings(deadline=None, max_examples=60)
@given(file_trees())
def test_finds_what_a_naive_walk_finds_sorted_by_bytes(files: dict[bytes, bytes]) -> None:
    with tree(files) as root:
        source = open_source([root], ignore_files=False)
        assert names(source) == walked_naively(root) == sorted(b"t/" + name for name in files)
        assert names(source) == names(source)


@settings(deadline=None, max_examples=25)
@given(file_trees())
def test_hands_over_every_byte_and_an_equal_stamp_each_time(files: dict[bytes, bytes]) -> None:
    with tree(files) as root:
        source = open_source([root], ignore_files=False)
        assert contents(source) == {b"t/" + name: content for name, content in files.items()}
        assert [item.stamp for item in items(source)] == [item.stamp for item in items(source)]
        for item in items(source):
            assert item.stamp is not None
            assert item.stamp.size == len(files[item.name.removeprefix(b"t/")])
            assert not item.container


def test_a_folder_sorts_as_if_it_ended_in_a_slash(tmp_path: Path) -> None:
    write(tmp_path / "t", {"a/z": b"", "a-b": b"", "a.txt": b"", "a0": b""})
    assert names(open_source([tmp_path / "t"])) == [b"t/a-b", b"t/a.txt", b"t/a/z", b"t/a0"]


def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    odd = b"\xff\xfe\n\x1b[31m\x07"
    write(tmp_path / "t", {odd + b"/" + odd: b"x"})
    assert contents(open_source([tmp_path / "t"])) == {b"t/" + odd + b"/" + odd: b"x"}


def test_what_is_no_file_is_reported_and_never_opened(tmp_path: Path) -> None:
    write(tmp_path / "t", {"a": b"x"})
    os.mkfifo(tmp_path / "t" / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "t" / "socket"))
        source = open_source([tmp_path / "t"])
        assert reasons(source) == {b"t/fifo": "a FIFO", b"t/socket": "a socket"}
        assert names(source) == [b"t/a"]
        assert source.covers(b"t/fifo")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
def test_devices_are_reported_and_never_opened(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    try:
        os.mknod(tmp_path / "t" / "null", 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("device nodes are not allowed here")
    assert reasons(open_source([tmp_path / "t"])) == {b"t/null": "a character device"}


def test_version_control_and_stores_are_passed_over_in_silence(tmp_path: Path) -> None:
    write(
        tmp_path / "t",
        {
            ".git/config": b"x",
            ".hg/x": b"x",
            "sub/.svn/x": b"x",
            "sub/.git": b"gitdir: elsewhere",
            "made.mctree/zarr.json": b"{}",
            "store/zarr.json": b"{}",
            "store/index.lmdb/data.mdb": b"x",
            "store/deeper/x": b"x",
            "zarr/zarr.json": b"{}",
            "file.mctree": b"x",
            ".hidden": b"x",
        },
    )
    source = open_source([tmp_path / "t"])
    assert names(source) == [b"t/.hidden", b"t/file.mctree", b"t/zarr/zarr.json"]
    assert reasons(source) == {}


def test_symbolic_links_are_reported_with_where_they_lead(tmp_path: Path) -> None:
    write(tmp_path, {"t/a": b"a", "t/d/b": b"b", "out/c": b"c"})
    root = tmp_path / "t"
    for name, target in {
        "in_file": "a",
        "in_folder": "d",
        "out_file": "../out/c",
        "out_folder": "../out",
        "nowhere": "gone",
        "self": "self",
        "up": ".",
        "device": "/dev/null",
    }.items():
        (root / name).symlink_to(target)
    source = open_source([root])
    assert names(source) == [b"t/a", b"t/d/b"]
    found = reasons(source)
    assert found.pop(b"t/self").startswith("a symbolic link that leads nowhere")
    assert found.pop(b"t/nowhere").startswith("a symbolic link that leads nowhere")
    assert found == {
        b"t/in_file": "a symbolic link to a file inside the tree, not followed",
        b"t/in_folder": "a symbolic link to a folder inside the tree, not followed",
        b"t/out_file": "a symbolic link to a file outside the tree, not followed",
        b"t/out_folder": "a symbolic link to a folder outside the tree, not followed",
        b"t/up": "a symbolic link to a folder inside the tree, not followed",
        b"t/device": "a symbolic link to a character device",
    }


def test_links_are_followed_if_asked_for_and_loops_end(tmp_path: Path) -> None:
    write(tmp_path, {"t/a": b"a", "t/d/b": b"b", "out/c": b"c"})
    root = tmp_path / "t"
    os.mkfifo(tmp_path / "out" / "fifo")
    (root / "link").symlink_to("../out/c")
    (root / "m").symlink_to("../out")
    (root / "n").symlink_to("../out")
    (root / "d" / "up").symlink_to("..")
    (tmp_path / "out" / "back").symlink_to("../t")
    (tmp_path / "out" / "round").symlink_to(".")
    (root / "pipe").symlink_to("../out/fifo")
    (root / "nowhere").symlink_to("gone")
    source = open_source([root], follow_symlinks=True)
    assert contents(source) == {
        b"t/a": b"a",
        b"t/d/b": b"b",
        b"t/d/up": "a symbolic link to a folder above it",
        b"t/link": b"c",
        b"t/m/back": "a symbolic link to a folder above it",
        b"t/m/c": b"c",
        b"t/m/fifo": "a FIFO",
        b"t/m/round": "a symbolic link to a folder above it",
        b"t/n": "by way of a symbolic link, a folder that another one led to",
        b"t/nowhere": "a symbolic link that leads nowhere: No such file or directory",
        b"t/pipe": "a symbolic link to a FIFO",
    }


def test_a_thicket_of_links_is_walked_once(tmp_path: Path) -> None:
    for place in range(40):
        folder = tmp_path / f"d{place}"
        write(folder, {"x": b"x"})
        for link in ("l", "r"):
            (folder / link).symlink_to(f"../d{place + 1}")
    (tmp_path / "d40").mkdir()
    found = names(open_source([tmp_path / "d0"], follow_symlinks=True))
    assert sorted(name.count(b"/") for name in found) == list(range(1, 41))


def test_a_link_into_another_root_is_not_read_twice(tmp_path: Path) -> None:
    write(tmp_path, {"a/x": b"x", "b/y": b"y"})
    (tmp_path / "a" / "b").symlink_to("../b")
    source = open_source([tmp_path / "a", tmp_path / "b"], follow_symlinks=True)
    assert names(source) == [b"a/x", b"b/y"]
    assert b"a/b" in reasons(source)


def test_a_link_given_as_input_is_followed(tmp_path: Path) -> None:
    write(tmp_path, {"real/x": b"x", "file": b"f"})
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "link").symlink_to("file")
    source = open_source([tmp_path / "folder", tmp_path / "link"])
    assert contents(source) == {b"folder/x": b"x", b"link": b"f"}


def test_a_tree_too_deep_is_reported_where_it_ends(tmp_path: Path) -> None:
    before = os.getcwd()
    os.mkdir(tmp_path / "t")
    os.chdir(tmp_path / "t")
    try:
        for _ in range(DEEPEST + 20):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(before)
    source = open_source([tmp_path / "t"])
    (name, reason), *others = reasons(source).items()
    assert not others
    assert (name.count(b"/d"), reason) == (DEEPEST + 1, f"lies more than {DEEPEST} folders deep")
    assert not source.covers(name + b"/d/x")
    assert source.covers(b"t/d/x")


def test_the_walk_is_lazy_and_leaves_no_descriptor_open(tmp_path: Path) -> None:
    write(tmp_path / "t", {f"{letter}/{letter}/x": b"x" for letter in "abc"})
    before = open_descriptors()
    walk = iter(open_source([tmp_path / "t"]))
    first = next(walk)
    assert isinstance(first, Item)
    write(tmp_path / "t", {"c/c/late": b"x"})
    rest = [found.name for found in walk]
    assert rest == [b"t/b/b/x", b"t/c/c/late", b"t/c/c/x"]
    assert open_descriptors() == before
    abandoned = iter(open_source([tmp_path / "t"]))
    next(abandoned)
    assert open_descriptors() > before
    del abandoned
    assert open_descriptors() == before


def test_a_folder_swapped_for_a_link_leads_nobody_out(tmp_path: Path) -> None:
    write(tmp_path, {"t/a": b"a", "t/d/secret": b"mine", "out/secret": b"theirs"})
    walk = iter(open_source([tmp_path / "t"]))
    assert next(walk).name == b"t/a"
    (tmp_path / "t" / "d").rename(tmp_path / "moved")
    (tmp_path / "t" / "d").symlink_to("../out")
    found = list(walk)
    assert [(type(one), one.name) for one in found] == [(Skipped, b"t/d")]
    assert isinstance(found[0], Skipped)
    assert not found[0].certain


def test_a_folder_swapped_while_the_walk_is_in_it_leads_nobody_out(tmp_path: Path) -> None:
    write(tmp_path, {"t/d/a": b"a", "t/d/secret": b"mine", "out/secret": b"theirs"})
    walk = iter(open_source([tmp_path / "t"]))
    assert next(walk).name == b"t/d/a"
    (tmp_path / "t" / "d").rename(tmp_path / "moved")
    (tmp_path / "t" / "d").symlink_to("../out")
    (found,) = walk
    assert isinstance(found, Item)
    (document,) = found.documents()
    assert isinstance(document, Skipped)
    assert not document.certain


def test_a_file_that_vanishes_while_its_folder_is_walked_is_in_doubt(tmp_path: Path) -> None:
    write(tmp_path / "t", {"a": b"a", "b": b"b", "c/x": b"x"})
    source = open_source([tmp_path / "t"])
    walk = iter(source)
    next(walk)
    (tmp_path / "t" / "b").unlink()
    (tmp_path / "t" / "c" / "x").unlink()
    (tmp_path / "t" / "c").rmdir()
    found = list(walk)
    assert [one.name for one in found if isinstance(one, Skipped) and not one.certain] == [b"t/b", b"t/c"]
    assert not source.covers(b"t/b")
    assert not source.covers(b"t/c/x")
    assert source.covers(b"t/other")
