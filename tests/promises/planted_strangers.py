"""Faults of an engine that trusts strangers, each with what is tried to find it, and what becomes of whom it hits."""

from __future__ import annotations

import gzip
import json
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from mctree import encoders
from mctree.errors import CorruptError
from mctree.format import images as records
from mctree.format.keys import Table
from mctree.geometry import Address
from mctree.sources import directory, jsonl, parquet, told
from mctree.sources.files import OpenFile
from mctree.sources.images import (
    folder_tiles,
    mbtiles_archive,
    pmtiles_archive,
    telling,
    tiff_directory,
    zarr_array,
    zarr_chunks,
    zarr_source,
)
from mctree.sources.images.local import open_local
from mctree.sources.images.mbtiles_archive import MbtilesArchive
from mctree.sources.images.pictures import Picture
from mctree.sources.names import joined
from mctree.storage import environment, index, store
from mctree.storage.rows import Level
from mctree.tree import check
from tools.crash import strangers
from tools.crash.fuzz.corpus import kept
from tools.crash.fuzz.forged import forge, forgeries, through_a_forged_store
from tools.crash.fuzz.targets import TARGETS
from tools.crash.hostile import inputs, tokenizers, use_tokenizer
from tools.crash.hostile_images import images, ingest_images

__all__ = ["MUTANTS", "Case", "Patch"]

Patch = pytest.MonkeyPatch
Case = strangers.Case


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


# Inputs of text


def hostile_input(folder: Path, what: str) -> list[Case]:
    return [(what, strangers._read(dict(inputs())[what], folder))]


def descriptions_of_types_are_unpickled(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """What a Parquet file says of a type is made again, as libraries of old did."""

    def column_type(name: bytes, schema: Any, column: str) -> Any:
        for field in schema:
            pickle.loads((field.metadata or {}).get(b"ARROW:extension:metadata", pickle.dumps(None)))
        return real(name, schema, column)

    real = parquet._column_type
    patch.setattr(parquet, "_column_type", column_type)
    return hostile_input(folder, "Parquet: types that are pickles")


def names_of_columns_are_said_as_they_are(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """What a Parquet file calls its columns stands in messages, whatever it does to a terminal."""
    patch.setattr(parquet, "shown_text", str)
    return hostile_input(folder, "Parquet: a name with escapes")


def gzip_is_unpacked_whole(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """All that a compressed file holds is held at once."""

    def inflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
        yield gzip.decompress(b"".join(chunks))

    patch.setattr(jsonl, "inflated", inflated)
    return hostile_input(folder, "JSONL, gzip: a bomb")


def names_of_files_are_taken_for_text(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """Whoever named a file is thought to have written UTF-8."""
    patch.setattr(directory, "joined", lambda above, entry: joined(above, entry.decode().encode()))
    return hostile_input(folder, "name: overlong and truncated UTF-8")


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


def directories_of_tiles_are_unpacked_whole(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """A directory of a PMTiles archive is as long as it turns out to be."""
    patch.setattr(pmtiles_archive, "inflated_within", lambda data, limit: gzip.decompress(data))
    return hostile(folder, "PMTiles: a directory that is a bomb")


def archives_may_ask_for_any_work(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """What an MBTiles file has for a table is asked, however long that takes."""
    patch.setattr(MbtilesArchive, "_check_indexed", lambda *_: None)
    patch.setattr(mbtiles_archive, "_MOST_STEPS", 1 << 60)
    return hostile(folder, "MBTiles: a view that never ends")


def zooms_of_folders_are_believed(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """There are as many tiles at a zoom as its number says."""
    for module in (telling, folder_tiles):
        patch.setattr(module, "DEEPEST_ZOOM", 1 << 60)
    return hostile(folder, "tiles: an absurd zoom")


def links_among_tiles_are_followed(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """A folder of numbered folders is an image of tiles, and each tile is opened, wherever it lies."""
    patch.setattr(told, "speaks_against", lambda path: None)
    patch.setattr(folder_tiles, "open_local", lambda path, follow: open_local(path))
    return hostile(folder, "tiles: one that is a link to the outside")


def directories_of_images_are_followed_for_ever(patch: Patch, specimen: Path, folder: Path) -> Iterable[Case]:
    """Nobody notes which directories of a TIFF file were looked at."""

    def looked_at(read: Any, size: int, form: Any, place: int, seen: set[int]) -> tuple[list[int], int]:
        return real(read, size, form, place, set())

    real = tiff_directory._directory
    patch.setattr(tiff_directory, "_directory", looked_at)
    return hostile(folder, "TIFF: directories in a circle")


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
    descriptions_of_types_are_unpickled: "runs code: pickle.find_class",
    names_of_columns_are_said_as_they_are: r"AssertionError .*it says .*\\x1b",
    gzip_is_unpacked_whole: "MemoryError at sources/jsonl.py",
    names_of_files_are_taken_for_text: "UnicodeDecodeError at sources/directory.py",
    sizes_of_pictures_are_believed: "AssertionError .*it took all memory",
    holes_are_read: "took longer than",
    what_is_compressed_is_unpacked_whole: "AssertionError .*it took all memory",
    codecs_of_anybody_are_called: "runs code: os.system",
    links_out_of_an_image_are_followed: "AssertionError .*shows what lies outside of it",
    directories_of_tiles_are_unpacked_whole: "AssertionError .*it took all memory",
    archives_may_ask_for_any_work: "took longer than",
    zooms_of_folders_are_believed: "AssertionError .*it took all memory",
    links_among_tiles_are_followed: "AssertionError .*shows what lies outside of it",
    directories_of_images_are_followed_for_ever: "took longer than",
    rows_of_nodes_are_believed: "IndexError at storage/mapped.py",
    types_of_pixels_are_believed: "TypeError at tree/images/",
    names_in_images_are_believed: "UnicodeEncodeError at sources/images/",
}
"""Each with what becomes of whom it hits."""
