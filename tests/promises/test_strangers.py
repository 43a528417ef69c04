"""What comes from a stranger is read, or refused with a typed error: the harness as the suite runs it, and faults."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from importlib import import_module
from itertools import islice
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from mctree import encoders
from mctree.errors import CorruptError, MctreeError
from mctree.format import images as records
from mctree.format.keys import Table
from mctree.geometry import Address
from mctree.sources import jsonl
from mctree.sources.files import OpenFile
from mctree.sources.images import zarr_array, zarr_chunks, zarr_source
from mctree.sources.images.local import open_local
from mctree.sources.images.pictures import Picture
from mctree.storage import environment, index, store
from mctree.storage.rows import Level
from mctree.testing.stores import scratch
from mctree.tree import check
from tools.crash import strangers
from tools.crash.confined import DONE, REFUSED, confined
from tools.crash.fuzz.corpus import kept
from tools.crash.fuzz.forged import forge, forgeries, through_a_forged_store
from tools.crash.fuzz.targets import TARGETS, Target, attempt
from tools.crash.hostile import inputs, tokenizers, use_tokenizer
from tools.crash.hostile_images import images, ingest_images

Patch = pytest.MonkeyPatch
Case = strangers.Case


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def specimen() -> Iterator[Path]:
    with scratch() as folder:
        yield strangers.make_specimen(Path(folder) / "specimen")


def test_whatever_a_stranger_gives_is_read_or_refused(folder: Path) -> None:
    result = strangers.run("quick", folder, print)
    assert result.failures == []
    assert all(row.points for row in result.rows)
    assert result.points >= 250


def no_gate(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """An index is mapped whatever its headers say."""
    patch.setattr(environment, "check_index", lambda fd, where: None)
    return strangers.cut_off(specimen, folder, 40)


def no_look_at_pages(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """LMDB is let loose on pages that nobody has looked at."""
    patch.setattr(check, "damaged_pages", lambda store: iter(()))
    return strangers.scribbled(specimen, folder, 60, trusted=True)


def links_are_followed(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """Folders of a store are taken for what they seem to be."""
    patch.setattr(os, "O_NOFOLLOW", 0)
    patch.setattr(store, "check_kinds", lambda *_: None)
    return (case for case in strangers.strange_files(specimen, folder) if case[0] == "generations is link")


def fifos_are_waited_for(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """What stands in a store is opened without asking what it is."""
    real, nonblocking = os.open, os.O_NONBLOCK
    patch.setattr(os, "open", lambda path, flags, *rest, **more: real(path, flags & ~nonblocking, *rest, **more))
    patch.setattr(store, "check_kinds", lambda *_: None)
    return (case for case in strangers.strange_files(specimen, folder) if case[0] == "head is FIFO")


def keys_are_believed(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """The fields of a key are taken apart, however long it is."""
    patch.setattr(index, "checked_key", lambda key: True)
    keys_of_other_lengths = (data for data in forgeries() if data[0] == 6)
    return ((data.hex(), partial(through_a_forged_store, data)) for data in keys_of_other_lengths)


def nesting_is_not_foreseen(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """JSON is parsed by somebody who does not know that it may be deep."""

    def parsed(data: bytes) -> object:
        return jsonl.json.loads(data)

    patch.setattr(jsonl, "_parsed", parsed)
    return ((what, strangers._read(make, folder)) for what, make in inputs() if what == "JSONL: a deep list")


def panics_are_not_foreseen(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """The library of tokenizers raises errors of Python's own kinds, and nothing else."""
    patch.setattr(encoders.tokenizers, "_is_of_the_library", lambda error: isinstance(error, Exception))
    cases = ((what, partial(use_tokenizer, dump)) for what, dump in tokenizers())
    return (case for case in cases if case[0] == "a regular expression that takes for ever")


def addresses_are_taken_apart_unseen(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """What the fuzzer has found on a decoder is found again."""

    def parse(text: str) -> Address:
        level, index = text.split(":")
        return Address(0, int(level), int(index))

    patch.setattr(Address, "parse", parse)
    return [("names", partial(strangers._attempt_all, TARGETS["names"], kept("names")))]


# Images, and stores of images


@cache
def every_image() -> dict[str, Callable[[Path], None]]:
    return dict(images())


def hostile(folder: Path, what: str) -> list[Case]:
    return [(what, strangers._read(every_image()[what], folder, ingest_images))]


def sizes_of_pictures_are_believed(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """A picture's pixels get the memory that its header asks for."""
    patch.setattr(Picture, "_limit", lambda *_: None)
    return hostile(folder, "PNG: a bomb of pixels")


def holes_are_read(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """A file of an image is read to its end, wherever that is said to be."""
    patch.setattr(OpenFile, "require_dense", lambda self: None)
    return hostile(folder, "TIFF: a sparse terabyte")


def what_is_compressed_is_unpacked_whole(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """A chunk of an image is as large as it says, and then it is looked at whether it should be."""
    unpackers = {**zarr_chunks._UNPACKERS, "zstd": lambda data, size: bytes(imagecodecs.zstd_decode(data))}
    patch.setattr(zarr_chunks, "_UNPACKERS", unpackers)
    return hostile(folder, "Zarr: chunks that are bombs, by Zstandard")


def codecs_of_anybody_are_called(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """What chunks are stored by is looked for by the name that the image gives, wherever that leads."""
    real = zarr_source.described

    def described(root: bytes, path: str) -> object:
        for codec in json.loads(zarr_array.read_document(root, "zarr.json") or b"")["codecs"]:
            module, _, name = codec["name"].rpartition(".")
            if module:
                getattr(import_module(module), name)(**codec["configuration"])
        return real(root, path)

    patch.setattr(zarr_source, "described", described)
    return hostile(folder, "Zarr: codecs of somebody's own")


def links_out_of_an_image_are_followed(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """A file below the folder of an image is opened, wherever it lies."""

    def opened(root: bytes, key: str) -> OpenFile | None:
        path = os.path.join(root, os.fsencode(key))
        return open_local(path) if os.path.lexists(path) else None

    patch.setattr(zarr_array, "_opened", opened)
    return hostile(folder, "Zarr: a chunk that is a link to the outside")


def forged_images(table: bytes, wanted: Callable[[bytes], bool]) -> Iterator[Case]:
    """Stores of images in which a record of a table is forged, and of these the ones with what is wanted."""
    whole = forge(b"", images=True)
    for data in forgeries(images=True):
        changed = forge(data, images=True).items() - whole.items()
        if any(key[:1] == table and wanted(payload) for key, payload in changed):
            yield data.hex(), partial(through_a_forged_store, data, images=True)


def rows_of_nodes_are_believed(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """A page of nodes may name any row, and that is where it is looked for."""
    forge(b"", images=True)  # made before anything is planted
    patch.setattr(Level, "_checked_rows", lambda self, rows, *_: self._as_places(rows))

    def far(payload: bytes) -> bool:
        if not payload or len(payload) % records.PAGE_DTYPE.itemsize:
            return False
        return bool((np.frombuffer(payload, records.PAGE_DTYPE)["row"] >= 1 << 32).any())

    return forged_images(Table.PAGES, far)


def types_of_pixels_are_believed(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """An image's pixels are of the type that its record says."""

    class Everything:
        def __contains__(self, value: object) -> bool:
            return True

    forge(b"", images=True)  # made before anything is planted
    patch.setattr(records, "_DTYPES", Everything())

    def absurd(payload: bytes) -> bool:
        try:
            return records.ImageRecord.decode(payload).dtype not in ("uint8", "uint16")
        except CorruptError:
            return False

    return forged_images(Table.IMAGE, absurd)


def names_in_images_are_believed(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """Whatever an image calls a part of it is looked for; found again by what the fuzzer has found."""
    patch.setattr(zarr_source, "_nameable", lambda part: True)
    return [("OME group", partial(strangers._attempt_all, TARGETS["OME group"], kept("OME group")))]


MUTANTS: dict[Callable[[Patch, Path, Path], Iterable[Case]], str] = {
    no_gate: "ended by SIG(BUS|SEGV|ABRT)",
    no_look_at_pages: "ended by SIG(BUS|SEGV|ABRT)|took longer than",
    links_are_followed: "AssertionError .*outside of the store was changed",
    fifos_are_waited_for: "took longer than",
    keys_are_believed: "^error at .*unpack requires a buffer",
    nesting_is_not_foreseen: "RecursionError at sources/jsonl.py",
    panics_are_not_foreseen: "PanicException at encoders/tokenizers.py",
    addresses_are_taken_apart_unseen: "ValueError at ",
    sizes_of_pictures_are_believed: "AssertionError .*it took all memory",
    holes_are_read: "took longer than",
    what_is_compressed_is_unpacked_whole: "AssertionError .*it took all memory",
    codecs_of_anybody_are_called: "runs code: os.system",
    links_out_of_an_image_are_followed: "AssertionError .*shows what lies outside of it",
    rows_of_nodes_are_believed: "IndexError at storage/mapped.py",
    types_of_pixels_are_believed: "TypeError at tree/images/",
    names_in_images_are_believed: "UnicodeEncodeError at sources/images/",
}
"""Each with what becomes of whom it hits."""


@pytest.mark.damages
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_planted_faults_are_found(
    folder: Path, specimen: Path, monkeypatch: Patch, mutant: Callable[[Patch, Path, Path], Iterable[Case]]
) -> None:
    with monkeypatch.context() as patch:
        # A machine that is busy must not pass for what takes for ever, unless that is what is looked for.
        seconds = 5 if "took longer" in MUTANTS[mutant] else 60
        for _, work in reversed(list(mutant(patch, specimen, folder))):
            if (found := confined(work, seconds=seconds)) not in (DONE, REFUSED):
                break
        else:
            pytest.fail("nothing was found")
    assert re.search(MUTANTS[mutant], found), found
    for left in folder.iterdir():
        shutil.rmtree(left)
    assert confined(work) in (DONE, REFUSED), "the engine itself is at fault"


def refuse() -> None:
    raise CorruptError("in one line")


def refuse_in_two_lines() -> None:
    raise CorruptError("in two\nlines")


def refuse_for_want_of_memory() -> None:
    try:
        bytearray(1 << 62)
    except MemoryError as error:
        raise CorruptError("in one line") from error


OUTCOMES: dict[str, tuple[Callable[[], object], str]] = {
    "nothing": (lambda: None, DONE),
    "a typed error": (refuse, REFUSED),
    "an error of two lines": (refuse_in_two_lines, "CorruptError not in one printable line"),
    "too much, told otherwise": (refuse_for_want_of_memory, "CorruptError for want of memory"),
    "another error": (lambda: {}["missing"], "KeyError"),
    "a signal": (lambda: os.kill(os.getpid(), 7), "ended by SIGBUS"),
    "for ever": (lambda: time.sleep(60), "took longer than 2 s"),
    "too much": (lambda: bytearray(1 << 31), "MemoryError"),
    "a program": (lambda: subprocess.run(["true"], check=False), "runs code: subprocess.Popen"),
    "a shell": (lambda: os.system("true"), "runs code: os.system"),
    "a pickle": (lambda: pickle.loads(b"cos\nsystem\n(S'true'\ntR."), "runs code: pickle.find_class"),
}


@pytest.mark.parametrize("what", OUTCOMES)
def test_the_harness_tells_how_work_ends(what: str) -> None:
    work, outcome = OUTCOMES[what]
    assert outcome in confined(work, seconds=2)


def test_a_target_lets_nothing_pass_but_typed_errors_in_one_line() -> None:
    assert attempt(Target(lambda data: data, list), b"")
    assert not attempt(Target(lambda data: refuse(), list), b"")
    for fault in (refuse_in_two_lines, refuse_for_want_of_memory, lambda: {}["missing"]):
        with pytest.raises((AssertionError, KeyError)):
            attempt(Target(lambda data, fault=fault: fault(), list), b"")  # type: ignore[misc]


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in ("store", "image store")])
def test_what_a_decoder_is_made_for_is_decoded(name: str) -> None:
    if (lacking := TARGETS[name].lacks) is not None:
        pytest.skip(f"{lacking} is not installed")
    assert any(attempt(TARGETS[name], data) for data in islice(TARGETS[name].seeds(), 10))


@pytest.mark.parametrize("name", ["store", "image store"])
def test_a_store_that_nobody_forged_is_lived_through(name: str) -> None:
    attempt(TARGETS[name], b"")
    try:
        TARGETS[name].run(b"")
    except MctreeError as error:
        raise AssertionError("the specimen itself is refused") from error
