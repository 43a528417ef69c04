"""Which decoders of images of ours are given bytes by somebody?  Those of a store's records, and those of image files.

What decodes by itself is called by itself, and may raise nothing but what it says.  Whole files, archives of tiles,
chunks of Zarr arrays among them, are opened and read as an ingest does it, libraries included, of which whatever they
raise becomes a typed error: there a crash, a hang, too much memory, and an error in several lines are the faults.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from typing import Any

import numpy as np

from mctree.encoders import CosineEncoder, load_visual_encoder
from mctree.errors import MctreeError, SourceError
from mctree.format import images
from mctree.format.images import GRAFT_DTYPE, PAGE_DTYPE, PIECE_DTYPE, ImageRecord
from mctree.format.pixels import pack_pixels, unpack_pixels
from mctree.format.values import pack, unpack
from mctree.geometry import IMAGE, PATCH
from mctree.sources.images import Box, ImageSource, open_image
from mctree.sources.images.folder_names import number
from mctree.sources.images.orientation import exif_orientation, turnable
from mctree.sources.images.pmtiles_directory import inflated_within, parse_directory
from mctree.sources.images.sniffing import kind_among_files, kind_of_bytes
from mctree.sources.images.stated import check_jpeg_tables, jpeg_size, webp_size
from mctree.sources.images.tiff_directory import main_directories
from mctree.sources.images.uris import file_uri, parsed
from mctree.testing.stores import scratch
from mctree.tree.images.noted import unfinished
from mctree.tree.images.pages import located, popcount, set_bits
from tools.crash.fuzz.forged import LONGEST, forgeries, through_a_forged_store
from tools.crash.fuzz.target import Target, as_path

__all__ = ["IMAGE_TARGETS"]

_MOST_PIXELS = 1 << 16
"""Of one read, so that thousands of inputs are tried in a minute."""
_SIDE = 48

# Records of a store


def _pages(data: bytes) -> None:
    """A group of pages; what it says of nodes is asked as well."""
    pages = images.decode_pages(data, 3)
    found = located(pages, np.arange(3 * images.NODES_PER_GROUP, 3 * images.NODES_PER_GROUP + 256))
    present = np.ascontiguousarray(pages["present"])
    nodes = set_bits(pages["page"].astype(np.int64), present)
    assert len(nodes) == int(popcount(present).sum())
    assert set(np.flatnonzero(found.present).tolist()) <= set((nodes - 3 * images.NODES_PER_GROUP).tolist())


def _image_record(data: bytes) -> None:
    found = ImageRecord.decode(data)
    assert ImageRecord.decode(found.encode()) == found


_RECORDS: tuple[Callable[[bytes], object], ...] = (
    _image_record,
    images.decode_grafts,
    _pages,
    lambda data: images.decode_pieces(data, 3),
    lambda data: unfinished(unpack(data, "the setting")),
    lambda data: unpack_pixels(data, (5, 7, 3), np.dtype(np.uint8)),
    lambda data: unpack_pixels(data, (5, 7, 1), np.dtype(np.uint16)),
)


def _record(data: bytes) -> None:
    """A record of images, of the kind that the first byte says."""
    if data:
        _RECORDS[data[0] % len(_RECORDS)](data[1:])


def _record_seeds() -> Iterator[bytes]:
    grafts, pages, pieces = np.zeros(2, GRAFT_DTYPE), np.zeros(3, PAGE_DTYPE), np.zeros(3, PIECE_DTYPE)
    grafts["space"], grafts["level"], grafts["channels"], grafts["height"], grafts["width"] = 1, 2, 3, 20, 130
    grafts["base"] = 0, 256
    pages["page"], pages["present"], pages["empty"], pages["stale"] = 192 + np.arange(3), 0b1101, 0b10, 0b100
    pieces["tile"], pieces["size"] = 192 + np.arange(3), 40
    values = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    record = ImageRecord("file:///a.png", "ab", 20, 130, 3, "uint8", 1, 256, 2, True, (0, 0, 130, 20), (1,), 4, "z", 2)
    payloads = (
        record.encode(),
        grafts.tobytes(),
        pages.tobytes(),
        pieces.tobytes(),
        pack({"images": [[4, b"a"]]}),
        pack_pixels(values, np.ones((5, 7), np.bool_)),
        pack_pixels(np.zeros((5, 7, 1), np.uint16), np.tri(5, 7, dtype=np.bool_)),
    )
    for kind, payload in enumerate(payloads):
        yield bytes([kind]) + payload
    yield b"\5" + zlib.compress(bytes(1 << 20), 9)


def _encoder(data: bytes) -> None:
    """An encoder of images, as a store keeps it; what it makes is made of nothing else."""
    made = load_visual_encoder(CosineEncoder.kind, data)
    assert made.dump() == data
    pixels = np.arange(PATCH * PATCH * made.channels, dtype=np.uint32).astype(np.uint8)
    patch = made.encode_patches(pixels.reshape(1, PATCH, PATCH, -1), np.ones((1, PATCH, PATCH), np.bool_))
    fanout = IMAGE.fanout(0)
    children = np.broadcast_to(patch, (1, fanout, made.dim))
    weight = np.full((1, fanout), PATCH * PATCH, np.float64)
    assert np.isfinite(made.encode_tiles(1, children, np.ones((1, fanout), np.bool_), weight)).all()


def _encoder_seeds() -> Iterator[bytes]:
    yield from (CosineEncoder(channels, side).dump() for channels, side in ((1, 1), (3, 4), (64, 2)))
    yield b"mcosine1" + b"\xff" * 4


# What is taken apart by us


def _stating(look: Callable[[], object]) -> None:
    try:
        look()
    except (ValueError, zlib.error) as error:  # as whoever opens such a file does
        raise SourceError("it is damaged") from error


def _directory(data: bytes) -> None:
    """A directory of PMTiles, compressed or not as the first byte says."""
    content = data[1:]

    def look() -> None:
        plain = inflated_within(content, 1 << 16) if data[:1] == b"\1" else content
        found = parse_directory(plain, 5, 1 << 40)
        assert (np.diff(found.ids) > 0).all()
        assert not len(found.ids) or (found.ids[0] >= 5 and found.ids[-1] < 1 << 40 and found.offsets.min() >= 0)

    _stating(look)


def _directory_seeds() -> Iterator[bytes]:
    def varints(*numbers: int) -> bytes:
        out = bytearray()
        for one in numbers:
            groups = range(0, max(one.bit_length(), 1), 7)
            out += bytes((one >> at) & 0x7F | (0x80 if at < groups[-1] else 0) for at in groups)
        return bytes(out)

    plain = varints(3, 5, 1, 300, 1, 3, 0, 40, 50, 60, 1, 0, 1000)
    yield b"\0" + plain
    yield b"\1" + gzip.compress(plain, mtime=0)
    yield b"\1" + gzip.compress(bytes(1 << 20), mtime=0)
    yield b"\0" + varints(1 << 40)


def _tiff_directory(data: bytes) -> None:
    def read(offset: int, size: int) -> bytes:
        part = data[offset : offset + size]
        if offset < 0 or len(part) != size:
            raise SourceError("it is cut short")
        return part

    _stating(lambda: main_directories(read, len(data)))


def _tiff_directory_seeds() -> Iterator[bytes]:
    yield from _tiffs()
    for order in "<>":
        tags = struct.pack(f"{order}HHHII", 1, 330, 4, 2, 40) + struct.pack(f"{order}I", 0)
        yield (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8) + tags + bytes(10) + bytes([8]) * 8


_STATED: tuple[Callable[[bytes], object], ...] = (jpeg_size, check_jpeg_tables, webp_size)


def _stated(data: bytes) -> None:
    """What headers of pictures say, and names of folders, and what a URI means."""
    kind_of_bytes(data)
    kind_among_files(b"a.mbtiles", data + bytes(100))
    assert turnable(exif_orientation(data))
    if (called := number(data)) is not None:
        assert str(called).encode() == data
    try:
        path, options = parsed("file:" + data.decode("utf-8", "surrogateescape"))
        assert parsed(file_uri(path, options))[1] == options
    except MctreeError as error:
        assert str(error).isprintable()
    for look in _STATED:
        with suppress(ValueError):
            look(data)


def _stated_seeds() -> Iterator[bytes]:
    yield from (_picture("JPEG"), _picture("WEBP"), b"///a/b%20c.tif#page=3&axes=cyx", b"42")
    yield b"Exif\0\0II\x2a\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0"


# Whole files


def _read(source: ImageSource) -> None:
    """A corner of each level."""
    with closing(source):
        for level in range(len(source.levels)):
            side = source.levels[level]
            box = Box(0, 0, min(-(-source.width // side), _SIDE), min(-(-source.height // side), _SIDE))
            next(iter(source.covered(box, level)), None)
            assert source.read(box, level).values.shape == (box.height, box.width, source.channels)


def _image_file(data: bytes) -> None:
    with as_path(data) as path:
        _read(open_image(os.fsdecode(path), max_pixels=_MOST_PIXELS))


def _pixels(channels: int = 3, side: int = 16) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = (
        np.arange(side * side * channels, dtype=np.uint32) * 7 // 5 % 251
    ).astype(np.uint8)
    return values.reshape(side, side, channels)


def _picture(kind: str, channels: int = 3) -> bytes:
    from PIL import Image  # noqa: PLC0415  # only to make a seed

    out, values = io.BytesIO(), _pixels(channels)
    Image.fromarray(values[:, :, 0] if channels == 1 else values).save(out, kind)
    return out.getvalue()


def _tiffs() -> Iterator[bytes]:
    import tifffile  # noqa: PLC0415  # only to make a seed

    forms: tuple[dict[str, Any], ...] = (
        {"photometric": "rgb"},
        {"photometric": "rgb", "tile": (16, 16), "compression": "zlib", "bigtiff": True},
        {"photometric": "rgb", "compression": "lzw", "byteorder": ">", "planarconfig": "separate"},
    )
    for form in forms:
        out, values = io.BytesIO(), _pixels()
        with tifffile.TiffWriter(out, bigtiff=bool(form.get("bigtiff")), byteorder=form.get("byteorder")) as writer:
            kept = {key: value for key, value in form.items() if key not in ("bigtiff", "byteorder")}
            writer.write(np.moveaxis(values, 2, 0) if "planarconfig" in kept else values, **kept)
        yield out.getvalue()


def _archives() -> Iterator[bytes]:
    from pmtiles.tile import Compression, TileType  # noqa: PLC0415  # only to make a seed
    from pmtiles.writer import Writer  # noqa: PLC0415

    tiles = [_picture("PNG"), _picture("JPEG")]
    out = io.BytesIO()
    make: Any = Writer  # which says nothing of types
    writer = make(out)
    for number_of, tile in enumerate(tiles):
        writer.write_tile(number_of, tile)
    writer.finalize({"tile_type": TileType.PNG, "tile_compression": Compression.NONE}, {})
    yield out.getvalue()
    with scratch() as folder:
        path = os.path.join(folder, "a.mbtiles")
        base = sqlite3.connect(path)
        base.execute("PRAGMA page_size = 512")
        base.execute("CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_data BLOB)")
        base.execute("CREATE UNIQUE INDEX i ON tiles (zoom_level, tile_column, tile_row)")
        base.executemany("INSERT INTO tiles VALUES (?, 0, 0, ?)", list(enumerate(tiles)))
        base.commit()
        base.close()
        with open(path, "rb") as file:
            yield file.read()


def _image_file_seeds() -> Iterator[bytes]:
    yield from (_picture(kind, channels) for kind, channels in (("PNG", 3), ("PNG", 1), ("PNG", 4), ("GIF", 1)))
    yield from (_picture(kind) for kind in ("JPEG", "WEBP", "BMP"))
    yield from _tiffs()
    yield from _archives()


def _zarr(data: bytes) -> None:
    """A Zarr array: of which version the first byte says, how long its description is the next two; then a chunk."""
    if len(data) < 3:
        return
    size = int.from_bytes(data[1:3], "little")
    described, chunk = data[3 : 3 + size], data[3 + size :]
    names = {0: ("zarr.json", "c/0/0"), 1: (".zarray", "0.0")}[data[0] % 2]
    with scratch() as folder:
        for name, content in zip(names, (described, chunk), strict=True):
            os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)
        if data[0] & 2:  # a multiscale image of this array alone
            inner = os.path.join(folder, "0")
            os.mkdir(inner)
            for name in ("zarr.json", "c"):
                if os.path.exists(os.path.join(folder, name)):
                    os.rename(os.path.join(folder, name), os.path.join(inner, name))
            with open(os.path.join(folder, "zarr.json"), "w", encoding="utf-8") as group:
                axes = [{"name": name} for name in "yx"]
                ome = {"multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}
                json.dump({"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}, group)
        _read(open_image(folder, max_pixels=_MOST_PIXELS))


def _zarr_seeds() -> Iterator[bytes]:
    import zarr  # noqa: PLC0415  # only to make a seed
    from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec  # noqa: PLC0415

    forms: tuple[tuple[int, dict[str, Any]], ...] = (
        (0, {"compressors": None}),
        (2, {"compressors": [GzipCodec(), Crc32cCodec()]}),
        (0, {"compressors": [BloscCodec()]}),
        (0, {"compressors": None, "chunks": (4, 8), "shards": (8, 8)}),
        (1, {"zarr_format": 2, "compressors": None}),
        (1, {"zarr_format": 2, "order": "F"}),
    )
    for kind, form in forms:
        with scratch() as folder:
            array = zarr.create_array(
                folder, shape=(8, 8), dtype="u1", fill_value=0, overwrite=True, **{"chunks": (8, 8), **form}
            )
            array[:] = _pixels(1, 8)[:, :, 0]
            parts = []
            for name in (".zarray", "0.0") if kind == 1 else ("zarr.json", "c/0/0"):
                with open(os.path.join(folder, name), "rb") as file:
                    parts.append(file.read())
        described = json.dumps(json.loads(parts[0]), separators=(",", ":")).encode()
        yield bytes([kind]) + len(described).to_bytes(2, "little") + described + parts[1]


IMAGE_TARGETS: dict[str, Target] = {
    "image records": Target(_record, _record_seeds),
    "image encoder": Target(_encoder, _encoder_seeds, longest=64),
    "image store": Target(partial(through_a_forged_store, images=True), partial(forgeries, images=True), LONGEST),
    "tile directory": Target(_directory, _directory_seeds, longest=2048),
    "TIFF directory": Target(_tiff_directory, _tiff_directory_seeds, longest=2048),
    "picture headers": Target(_stated, _stated_seeds, longest=2048),
    "image file": Target(_image_file, _image_file_seeds, longest=8192),
    "Zarr image": Target(_zarr, _zarr_seeds),
}
"""By the names of their corpora."""
