"""What if the small files beside index and rows hold anything?  Hints, counts, and what other Zarr readers go by.

Nothing that was committed lies in them.  So whatever they hold, a store is refused in one line or shows all that it
has, and `verify` comes to its end.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mctree
from mctree.format.values import crc32c
from mctree.testing.toys import ToyEncoder
from tools.crash.fuzz.target import Target

__all__ = ["SIDE_TARGETS"]

_ENCODER = ToyEncoder(dim=16)
_FILES = ("zarr.json", "text/zarr.json", "text/lod0/zarr.json", "head", "telemetry/access.lod1")
_TEXTS = {b"first": b"a text " * 90, b"second": b"\xff another one " * 40}


@dataclass(frozen=True, slots=True)
class _Specimen:
    """A store, and what its small files hold."""

    path: Path
    files: dict[str, bytes]


@cache
def _specimen() -> _Specimen:
    folder = tempfile.mkdtemp(prefix="mctree-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder, "s")
    with mctree.create(path, chunk_bytes=1 << 16, encoders=[_ENCODER]) as tree:
        tree.build_gists(_ENCODER)
        for name, text in _TEXTS.items():
            with tree.writer() as writer:
                writer.add(name, text)
        _count(tree)
    return _Specimen(path, {name: (path / name).read_bytes() for name in _FILES})


def _count(tree: mctree.Tree) -> None:
    with tree.access() as counts:
        counts.record(1, [0, 1, 1])
    assert len(counts.read(1, 0, 9)) == 9


def _beside(data: bytes) -> None:
    """One of these files, which the first byte says, holds the rest."""
    specimen = _specimen()
    name = _FILES[data[0] % len(_FILES)] if data else _FILES[0]
    (specimen.path / name).write_bytes(data[1:])
    try:
        with mctree.open(specimen.path, encoders=[_ENCODER]) as tree:
            with tree.snapshot() as snapshot:
                assert {one.source: one.read() for one in snapshot.documents()} == _TEXTS
            for problem in tree.verify():
                assert f"{problem.where} {problem.what}".isprintable()
            _count(tree)
    finally:
        for one, content in specimen.files.items():
            with suppress(FileNotFoundError):
                os.unlink(specimen.path / one)
            (specimen.path / one).write_bytes(content)


def _beside_seeds() -> Iterator[bytes]:
    for which, content in enumerate(_specimen().files.values()):
        for held in (content, b"", content[:-1], content + b"\0", content * 3):
            yield bytes([which]) + held
    for which in range(3):
        for held in (b"[" * 3000, b'{"a":' * 900, b"{}", b"null", b"9" * 4000, b"\xff\xfe{\0}\0", b'{"shape":[1e999]}'):
            yield bytes([which]) + held
        content = _specimen().files[_FILES[which]]
        for number in (b"-1", b"1.0", b"true", b'"9"', b"9" * 30, b"[]"):
            yield bytes([which]) + content.replace(b"1", number, 1)
    for commit in (0, 1, 3, 1 << 32, (1 << 64) - 1):
        body = commit.to_bytes(8, "little")
        yield b"\3" + body + crc32c(body).to_bytes(4, "little")


SIDE_TARGETS: dict[str, Target] = {"beside": Target(_beside, _beside_seeds, longest=3072)}
"""By the names of their corpora."""
