"""What if a store, or an input, comes from somebody who means harm?  Each is tried in a child with limits.

Whatever it holds, what is done with it comes to its end or is refused with a typed error in one printable line; in
bounded time and memory; no process dies; no foreign code runs; and nothing outside of the store is touched.

Stores: what a file or a folder of it can be instead of one; indexes that are cut off, whose headers are forged, whose
pages are zeroed, swapped or scribbled on; records forged under valid checksums (`tools.crash.fuzz.forged`).  Inputs:
JSONL, gzip, Parquet, sparse files, devices, names, Unicode; images, which the command ingests.  Tokenizer files.  The
finds of the fuzzer; in the long form the fuzzer itself.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import mctree
from mctree.testing.toys import ToyEncoder
from tools.crash.confined import DONE, REFUSED, confined
from tools.crash.fuzz.corpus import kept
from tools.crash.fuzz.forged import forgeries, through_a_forged_store
from tools.crash.fuzz.targets import TARGETS, Target, attempt
from tools.crash.hostile import inputs, read_input, tokenizers, use_tokenizer
from tools.crash.hostile_images import images, ingest_images
from tools.crash.parts import Part, Result, Row, Say, Scale, Wants, everything, timed

__all__ = ["PART", "cut_off", "forged_records", "live_with", "run", "scribbled", "strange_files"]

_ENCODER = ToyEncoder(dim=16)
_PAGE = 4096
_SEED = 7
_HUNT_SECONDS = 120
_REPLAYED = "finds of the fuzzer, replayed"
_POINTS = {
    "quick": {"pages": 20, "cuts": 20, "records": 16, "images": 16},
    "long": {"pages": 4000, "cuts": 2000, "records": 20_000, "images": 8_000},
}

_EVERY = {"quick": 7, "long": 1}
"""Of so many strange files one is tried; a file can be ten strange things, so that with 7 each of these comes up."""

Case = tuple[str, Callable[[], object]]
"""What is tried, and what to do in the child."""


def make_specimen(path: Path) -> Path:
    """A small store with a past, whose index has branches and large records."""
    with mctree.create(path, chunk_bytes=1 << 16, keep=3, encoders=[_ENCODER]) as tree:
        tree.build_gists(_ENCODER)
        with tree.writer() as writer:
            for i in range(200):
                writer.add(f"document {i}", f"text number {i} ".encode() * 9)
            writer.add("raw", b"\xff\xfe \0" * 900)
        for i in range(0, 60, 3):
            with tree.writer() as writer:
                writer.remove(f"document {i}")
        tree.refresh_gists()
    return path


def live_with(path: Path, *, trusted: bool = False, anyway: bool = False) -> None:
    """Do with a store what somebody does who was given it: verify, look around, read, write.

    Args:
        path: the store.
        trusted: open it as one's own.
        anyway: do the rest although `verify` finds something.
    """
    with mctree.open(path, encoders=[_ENCODER], trusted=trusted) as tree:
        problems = list(tree.verify())
        assert all(f"{problem.where} {problem.what}".isprintable() for problem in problems)
        if problems and not anyway:
            return
        with tree.snapshot() as snapshot:
            for document in snapshot.documents():
                document.read()
            snapshot.view().sum()
            snapshot.all_links()
        with tree.writer() as writer:
            writer.add("one more", b"text " * 50)
        assert problems or not list(tree.verify())


# Files and folders

_FOLDERS = ("index.lmdb", "text", "text/lod0", "gists", "generations", "leases", "epochs", "telemetry")
_BUSY = ("generations", "leases", "epochs", "telemetry")
_FILES = ("head", "lock", "zarr.json", "index.lmdb/data.mdb", "index.lmdb/lock.mdb", "text/lod0/c.0", "text/zarr.json")


def strange_files(specimen: Path, scratch: Path) -> Iterator[Case]:
    """Each file and folder of a store as something else; what a link leads to must stay as it was."""
    for name in (*_FOLDERS, *_FILES):
        for what in ("nothing", "link", "loop", "FIFO", "device", "folder", "file", "terabyte", "garbage", "deep JSON"):
            yield (
                f"{name} is {what}",
                partial(_live_with_a_strange_file, specimen, scratch, name, what),
            )


def _live_with_a_strange_file(specimen: Path, scratch: Path, name: str, what: str) -> None:
    path, outside = scratch / "strange", scratch / "outside"
    shutil.copytree(specimen, path)
    outside.mkdir()
    try:
        (outside / "precious").write_bytes(b"not of this store")
        file = path / name
        if file.is_dir() or file.exists():
            shutil.move(file, outside / "moved")
        before = _contents(outside)
        match what:
            case "link":
                # Where files come and go, the link leads to files that are not to be touched.
                file.symlink_to(outside if name in _BUSY else outside / "moved")
            case "loop":
                file.symlink_to(file)
            case "FIFO":
                os.mkfifo(file)
            case "device":
                file.symlink_to("/dev/zero")
            case "folder":
                file.mkdir()
            case "file":
                file.write_bytes(b"")
            case "terabyte":
                file.touch()
                os.truncate(file, 1 << 40)
            case "garbage":
                file.write_bytes(random.Random(_SEED).randbytes(1 << 16))
            case "deep JSON":
                file.write_bytes(b"[" * (1 << 19))
        try:
            live_with(path, anyway=True)
        finally:
            assert _contents(outside) == before, "something outside of the store was changed"
    finally:
        shutil.rmtree(path)
        shutil.rmtree(outside)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# The index


def cut_off(specimen: Path, scratch: Path, points: int) -> Iterator[Case]:
    """The index cut off, and its headers forged so that they may hide it."""
    whole = (specimen / "index.lmdb/data.mdb").read_bytes()
    draw = random.Random(_SEED)
    for i in range(points):
        size = draw.choice([draw.randrange(len(whole)), draw.randrange(len(whole) // _PAGE) * _PAGE, len(whole)])
        data = bytearray(whole[:size])
        said = [f"index of {size} bytes"]
        for page in range(2):
            if size < (page + 1) * _PAGE or not draw.randrange(2):
                continue
            at, layout, value = draw.choice(
                [
                    (136, "<Q", max(size // _PAGE - 1, 1)),
                    (144, "<Q", draw.randrange(64)),
                    (128, "<Q", draw.randrange(size // _PAGE + 2)),
                    (80, "<Q", draw.randrange(size // _PAGE + 2)),
                    (94, "<H", draw.randrange(5)),
                    (draw.randrange(16, 152), "<B", draw.randrange(256)),
                ]
            )
            struct.pack_into(layout, data, page * _PAGE + at, value)
            said.append(f"header {page} has {value} at {at}")
        yield ", ".join(said), _with_index(specimen, scratch, bytes(data), trusted=i % 3 > 0)


def scribbled(specimen: Path, scratch: Path, points: int, *, trusted: bool = False) -> Iterator[Case]:
    """Pages of the index zeroed, swapped, or scribbled on where LMDB looks."""
    whole = (specimen / "index.lmdb/data.mdb").read_bytes()
    draw = random.Random(_SEED)
    for _ in range(points):
        data = bytearray(whole)
        said = []
        for _ in range(draw.choice((1, 1, 1, 4))):
            page = draw.randrange(len(whole) // _PAGE) * _PAGE
            what = draw.choice(("zeroed", "another", "bytes", "bytes", "header"))
            if what == "zeroed":
                data[page : page + _PAGE] = bytes(_PAGE)
            elif what == "another":
                other = draw.randrange(len(whole) // _PAGE) * _PAGE
                data[page : page + _PAGE] = whole[other : other + _PAGE]
            else:
                at = page + (
                    draw.randrange(16)
                    if what == "header"
                    else draw.choice((draw.randrange(200), draw.randrange(_PAGE)))
                )
                data[at : at + 2] = draw.randbytes(2)
            said.append(f"page {page // _PAGE}: {what}")
        yield ", ".join(said), _with_index(specimen, scratch, bytes(data), trusted=trusted)


def _with_index(specimen: Path, scratch: Path, data: bytes, *, trusted: bool) -> Callable[[], None]:
    def work() -> None:
        path = scratch / "indexed"
        shutil.copytree(specimen, path)
        try:
            (path / "index.lmdb/data.mdb").write_bytes(data)
            live_with(path, trusted=trusted)
        finally:
            shutil.rmtree(path)

    return work


# Records


def forged_records(points: int, *, images: bool = False) -> Iterator[Case]:
    """Records that say what cannot be, under valid checksums: each field with each value, then several at once."""
    whole = list(forgeries(images=images))
    draw = random.Random(_SEED)
    chosen = whole if points >= len(whole) else whole[:: len(whole) // points]
    several = (
        b"".join(draw.sample(whole, draw.randrange(2, 5))) for _ in range(max(points - len(chosen), points // 4))
    )
    for data in (*chosen, *several):
        yield f"records forged by {data.hex()}", partial(through_a_forged_store, data, images=images)


# All of it


def run(scale: Scale, scratch: Path, say: Say, wants: Wants = everything) -> Result:
    """Try everything that a stranger can give."""
    specimen = make_specimen(scratch / "specimen")
    points, every = _POINTS[scale], _EVERY[scale]
    result = Result()
    kinds: tuple[tuple[str, Iterable[Case]], ...] = (
        ("strange files and folders in a store", islice(strange_files(specimen, scratch), 0, None, every)),
        ("indexes cut off, or with forged headers", cut_off(specimen, scratch, points["cuts"])),
        ("pages of the index that are not themselves", scribbled(specimen, scratch, points["pages"])),
        ("forged records under valid checksums", forged_records(points["records"])),
        ("forged records of images under valid checksums", forged_records(points["images"], images=True)),
        (
            "inputs: text, JSONL, gzip, Parquet, names",
            ((what, _read(data, scratch)) for what, data in inputs()),
        ),
        ("inputs: images", ((what, _read(make, scratch, ingest_images)) for what, make in images())),
        ("tokenizer files", ((what, partial(use_tokenizer, data)) for what, data in tokenizers())),
    )
    for what, cases in kinds:
        if not wants(what):
            continue
        row = Row(what)
        result.rows.append(row)
        with timed(row):
            refused = 0
            for name, work in cases:
                found = confined(work)
                row.points += 1
                refused += found == REFUSED
                if found not in (DONE, REFUSED):
                    row.failures.append(f"{name}: {found}")
        row.notes = f"{refused} refused"
        say(f"{row.what}: {row.points} points, {len(row.failures)} failures, {row.seconds:.0f} s")
    if wants(_REPLAYED):
        result.rows.append(_replayed(say))
    if scale == "long":
        result.rows.extend(_hunts(say, wants))
    return result


def _read(
    make: Callable[[Path], None], scratch: Path, read: Callable[[Callable[[Path], None], Path], None] = read_input
) -> Callable[[], None]:
    def work() -> None:
        folder = scratch / "input"
        folder.mkdir()
        try:
            read(make, folder)
        finally:
            shutil.rmtree(folder)

    return work


def _replayed(say: Say) -> Row:
    """What the fuzzer has found, once more."""
    row = Row(_REPLAYED)
    with timed(row):
        for name, target in TARGETS.items():
            if target.lacks is not None:
                row.notes = f"{row.notes}; {name} passed over, as {target.lacks} is not installed".lstrip("; ")
                continue
            target.load()  # a child must not load libraries
            found = kept(name)
            outcome = confined(partial(_attempt_all, target, found), seconds=240)
            row.points += len(found)
            if outcome != DONE:
                row.failures.append(f"{name}: {outcome}")
    say(f"{row.what}: {row.points} points, {len(row.failures)} failures, {row.seconds:.0f} s")
    return row


def _attempt_all(target: Target, found: list[bytes]) -> None:
    for data in found:
        attempt(target, data)


def _hunts(say: Say, wants: Wants) -> Iterator[Row]:
    """The fuzzer on each decoder."""
    from tools.crash.fuzz.__main__ import hunt  # noqa: PLC0415  # needs more than the rest

    for name in TARGETS:
        row = Row(f"fuzzing: {name}")
        if not wants(row.what) or TARGETS[name].lacks is not None:
            continue
        with timed(row):
            found = hunt(name, _HUNT_SECONDS)
            row.points = found.inputs
            row.failures.extend(f"{data.hex()[:400]}: {found.said[-400:]}" for data in found.broke)
            if not found.inputs and not found.broke:
                row.failures.append(f"the fuzzer tried nothing: {found.said[-400:]}")
        say(f"{row.what}: {row.points} points, {len(row.failures)} failures, {row.seconds:.0f} s")
        yield row


PART = Part("strangers", "hostile input: typed errors, bounded, no code run, nothing outside touched", run)
