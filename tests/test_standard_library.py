"""The main job on real input: Python's own standard library becomes a tree, and every file of it comes back.

By default some of its packages, about 6 MB; all of it with `--slow`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import mctree
from mctree import Snapshot

LIBRARY = Path(sysconfig.get_path("stdlib"))
SOME = ("asyncio", "email", "encodings", "importlib", "json", "lib2to3", "logging", "tkinter", "unittest", "xml")


def mctree_command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [sys.executable, "-m", "mctree", *arguments], cwd=folder, capture_output=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr.decode()
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    base = tmp_path_factory.mktemp("library")
    whole = request.config.getoption("--slow")
    chosen = [p.name for p in LIBRARY.iterdir() if p.name != "site-packages"] if whole else SOME
    (base / "lib").mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.so", "*.a", "*.o")
    for name in chosen:
        source = LIBRARY / name
        if source.is_dir():
            shutil.copytree(source, base / "lib" / name, ignore=ignore, symlinks=True)
        else:
            shutil.copy2(source, base / "lib" / name)
    mctree_command("ingest", "lib", "-o", "lib.mctree", folder=base)
    return base


def files(folder: Path) -> dict[str, bytes]:
    """What should be in the tree: every file that is not binary."""
    found = {}
    for path in sorted((folder / "lib").rglob("*")):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            if b"\0" not in data[:8192]:
                found[str(path.relative_to(folder))] = data
    return found


def shown(snapshot: Snapshot) -> dict[str, bytes]:
    """What is in the tree of its texts; the library has some pictures as well."""
    return {document.name: document.read() for document in snapshot.documents() if document.record.media == "text"}


def test_every_file_comes_back_byte_for_byte(folder: Path) -> None:
    expected = files(folder)
    assert len(expected) > 200
    with mctree.open(folder / "lib.mctree", writable=False) as tree, tree.snapshot() as snapshot:
        assert shown(snapshot) == expected
        assert snapshot.tokens_count == sum(document.tokens for document in snapshot.documents())
        assert list(tree.verify()) == []
    for name in sorted(expected)[:: len(expected) // 4]:
        assert mctree_command("cat", "lib.mctree", name, folder=folder).stdout == expected[name]
    assert mctree_command("verify", "lib.mctree", folder=folder).returncode == 0


def test_other_readers_see_the_same_levels(folder: Path) -> None:
    zarr = pytest.importorskip("zarr")
    tensorstore = pytest.importorskip("tensorstore")
    store = folder / "lib.mctree"
    with mctree.open(store, writable=False) as tree, tree.snapshot() as snapshot:
        gists = snapshot.gists()
        levels = {"text/lod0": snapshot.view()}
        levels |= {f"gists/{gists.record.folder}/text/lod{n}": gists.level(n).view() for n in (1, 2)}
        for path, ours in levels.items():
            theirs = zarr.open_array(store / path, mode="r")[:]
            assert np.array_equal(ours, theirs[: len(ours)])
            spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(store / path)}}
            assert np.array_equal(ours, tensorstore.open(spec, open=True).result().read().result()[: len(ours)])
            assert theirs.shape == ours.shape


def test_a_second_ingest_changes_nothing_and_an_edit_touches_only_itself(folder: Path) -> None:
    tree = mctree.open(folder / "lib.mctree")
    before = tree.snapshot()
    mctree_command("ingest", "lib", "-o", "lib.mctree", folder=folder)
    assert tree.snapshot().commit == before.commit

    names = sorted(files(folder))[10:300:100]
    for i, name in enumerate(names):
        path = folder / name
        data = path.read_bytes()
        path.write_bytes([data + b"# one more line\n", b"# another beginning\n" + data, b"# all new\n"][i])
        os.utime(path, ns=(1, 10**18 + i))
    mctree_command("ingest", "lib", "-o", "lib.mctree", folder=folder)
    with tree.snapshot() as after:
        assert shown(after) == files(folder)
        old = {document.name: (document.id, document.runs, document.digest) for document in before.documents()}
        new = {document.name: (document.id, document.runs, document.digest) for document in after.documents()}
        assert {name for name in new if new[name] != old[name]} == set(names)
        grown = new[names[0]]
        assert grown[0] == old[names[0]][0]
        assert grown[1][0].block == old[names[0]][1][0].block, "a file that only grew keeps its blocks"
    assert shown(before).keys() == old.keys()
    before.close()
    assert list(tree.verify()) == []
    tree.close()
