"""Which images does somebody make who means harm, or does not care?  Pictures, TIFF files, archives and Zarr arrays.

Each is ingested by the command, beside a text and a picture that are whole: it is taken or skipped, and these come in;
then whatever was taken is read back and compared with what the file itself gives.  What lies outside of an image is not
in it, and what was skipped was not tried until there was no memory left.
"""

from __future__ import annotations

import io
import json
import os
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

import mctree
from mctree.sources.images import Box, open_image
from tools.crash.confined import tells_of_memory

__all__ = ["images", "ingest_images"]

Make = Callable[[Path], None]
"""Makes an input in a folder."""

_PNG = b"\x89PNG\r\n\x1a\n"
_OPTIONS = ("-q", "--workers", "1", "--tokenizer", "bytes", "--encoder", "none")
_COMPARED = 64
"""Pixels on a side that are read back."""
_OUTSIDE = bytes(range(255, 191, -1))
"""What lies outside of an image, and is in none."""


def images() -> Iterator[tuple[str, Make]]:
    """What to ingest, by what is strange about it."""
    zeros = zlib.compress(bytes(1 << 27), 9)
    sides = struct.pack(">II", 60_000, 60_000)
    huge = _chunk(b"IHDR", sides + b"\x08\x06\0\0\0")
    small = _chunk(b"IHDR", struct.pack(">II", 9, 9) + b"\x08\0\0\0\0")
    png = _PNG + small
    files = {
        "PNG: a bomb of pixels": ("a.png", _PNG + huge + _chunk(b"IDAT", zeros) + _chunk(b"IEND", b"")),
        "PNG: more pixels than it says": ("a.png", png + _chunk(b"IDAT", zeros) + _chunk(b"IEND", b"")),
        "PNG: bombs of text": ("a.png", png + 5 * _chunk(b"zTXt", b"k\0\0" + zeros)),
        "PNG: hundreds of thousands of empty chunks": ("a.png", png + 300_000 * _chunk(b"IDAT", b"")),
        "PNG: no pixels": ("a.png", _PNG + _chunk(b"IHDR", bytes(8) + b"\x08\0\0\0\0") + _chunk(b"IEND", b"")),
        "PMTiles: nothing but a header": ("a.pmtiles", b"PMTiles\3" + bytes(119)),
        "PMTiles: a directory of itself": ("a.pmtiles", _leaf_of_itself()),
        "PMTiles: a directory that is a bomb": ("a.pmtiles", _directory_bomb()),
        "MBTiles: an empty file of SQLite": ("a.mbtiles", b"SQLite format 3\0" + bytes(1000)),
        **{f"{what}: absurd sides": (f"a.{what.lower()}", content) for what, content in _absurd().items()},
    }
    yield from ((what, partial(_put, name, content)) for what, (name, content) in files.items())
    for what, tags in _tiffs(zeros).items():
        yield f"TIFF: {what}", partial(_put, "a.tif", tags)
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        whole = _picture(kind, 96)
        yield f"{kind}: cut off in its middle", partial(_put, f"a.{kind.lower()}", whole[: len(whole) // 2])
        yield f"{kind}: bytes of something else at its end", partial(_put, f"a.{kind.lower()}", whole + b"PK\3\4" * 999)
        yield f"{kind}: a sparse terabyte", partial(_sparse, f"a.{kind.lower()}", whole)
    for name, begin in (("a.tif", b"II\x2a\0"), ("a.pmtiles", b"PMTiles\3"), ("a.mbtiles", b"SQLite format 3\0")):
        yield f"{name[2:]}: a sparse terabyte", partial(_sparse, name, begin)
    yield "MBTiles: a view that never ends", _endless_view
    yield "tiles: an absurd zoom", partial(_tiles, {"9999999999/0/0": 16, "0/0/0": 16})
    yield "tiles: the deepest zoom", partial(_tiles, {"30/1073741823/1073741823": 16, "0/0/0": 16})
    yield "tiles: of many sizes", partial(_tiles, {"0/0/0": 16, "1/0/0": 64, "1/1/1": 16, "2/3/3": 17})
    yield "tiles: links to the outside", _linked_tiles
    yield "tiles: one that is a link to the outside", _linked_tile
    yield "Zarr: chunks that are bombs", _zarr_bomb
    yield "Zarr: chunks that are bombs, by Zstandard", _zstandard_bomb
    yield "Zarr: absurd sides", partial(_zarr, {"shape": [1 << 62, 1 << 62]})
    yield "Zarr: chunks without sides", partial(_zarr, {"chunk_grid": _grid([0, 0])})
    yield "Zarr: a chunk as large as all", partial(_zarr, {"shape": [1 << 20] * 2, "chunk_grid": _grid([1 << 20] * 2)})
    yield (
        "Zarr: codecs of somebody's own",
        partial(_zarr, {"codecs": [{"name": "os.system", "configuration": {"command": "true"}}]}),
    )
    yield "Zarr: a codec that executes", _pickled
    yield "Zarr: deep metadata", partial(_put, "a.zarr/zarr.json", b'{"attributes":' * 100_000)
    yield "Zarr: sizes that lead out of it", _zarr_of_others
    yield "Zarr: a chunk that is a link to the outside", _linked_chunk
    yield "Zarr: an array that is a link to the outside", _linked_array


def ingest_images(make: Make, folder: Path) -> None:
    """Make an input beside what is whole, ingest it by the command, and read back all that was taken."""
    from click.testing import CliRunner  # noqa: PLC0415  # loads the command line

    from mctree.cli.program import cli  # noqa: PLC0415

    inside, store = folder / "in", folder / "out.mctree"
    inside.mkdir(exist_ok=True)
    (inside / "whole.txt").write_bytes(b"some text that is whole")
    (inside / "whole.png").write_bytes(_picture("PNG", 20))
    make(inside)
    done = CliRunner().invoke(cli, ["ingest", *_OPTIONS, "-o", str(store), str(inside)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code in (0, 1), f"the command ended with {done.exit_code}: {done.output[-300:]!r}"
    assert all(line.isprintable() for line in done.output.splitlines()), f"it printed {done.output[-300:]!r}"
    assert not tells_of_memory(done.output), f"it took all memory: {done.output[-300:]!r}"
    with mctree.open(store) as tree, tree.snapshot() as snapshot:
        assert not list(tree.verify())
        assert {"in/whole.txt", "in/whole.png"} <= {document.name for document in snapshot.documents()}
        for image in snapshot.images():
            box = Box(0, 0, min(image.width, _COMPARED), min(image.height, _COMPARED))
            if image.keeps_pixels:
                with closing(open_image(folder / image.name)) as source:
                    kept, there = image.pixels(box, partial=True), source.read(box)
                    channels = (channel.tobytes() for channel in np.moveaxis(kept.values, 2, 0))
                    assert not any(_OUTSIDE in one for one in channels), f"{image.name!r} shows what lies outside of it"
                    same = np.array_equal(kept.values, np.where(there.real()[..., None], there.values, 0))
                    assert same, f"{image.name!r} came back otherwise"


def _put(name: str, content: bytes, folder: Path) -> None:
    _made(folder / name).write_bytes(content)


def _made(path: Path) -> Path:
    """A path whose folder is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _sparse(name: str, begin: bytes, folder: Path) -> None:
    (folder / name).write_bytes(begin)
    os.truncate(folder / name, 1 << 40)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _absurd() -> dict[str, bytes]:
    """Pictures that say that they have more pixels than memory has bytes."""
    bmp = struct.pack("<IiiHHI", 40, 1 << 30, 1 << 30, 1, 24, 0)
    return {
        "GIF": b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x08\xff",
        "BMP": b"BM" + bytes(12) + bmp + bytes(99),
        "WebP": b"RIFF\xff\xff\0\0WEBPVP8X\x0a" + bytes(7) + b"\xff" * 6 + b"VP8L" + bytes(64),
        "JPG": b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\3\1\x22\0\2\x11\1\3\x11\1\xff\xda" + bytes(99),
    }


def _picture(kind: str, side: int) -> bytes:
    out = io.BytesIO()
    values = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(values).save(out, kind)
    return out.getvalue()


def _tiffs(zeros: bytes) -> dict[str, bytes]:
    shorts = {256: 20, 257: 20, 258: 8, 259: 1, 262: 1, 277: 1, 278: 20}
    plain = {**{code: (3, value) for code, value in shorts.items()}, 273: (4, 200), 279: (4, 400)}

    def tiff(changes: dict[int, tuple[int, int]], rest: bytes = bytes(400), following: int = 0) -> bytes:
        tags = sorted((plain | changes).items())
        body = b"".join(struct.pack("<HHII", code, kind, 1, value) for code, (kind, value) in tags)
        head = b"II\x2a\0" + struct.pack("<IH", 8, len(tags)) + body + struct.pack("<I", following)
        return head.ljust(200, b"\0") + rest

    return {
        "absurd sides": tiff({256: (4, 0xFFFFFFFF), 257: (4, 0xFFFFFFFF), 278: (4, 0xFFFFFFFF)}),
        "sides of nothing": tiff({256: (3, 0), 257: (3, 0)}),
        "a bomb": tiff({259: (3, 8), 279: (4, len(zeros))}, zeros),
        "a piece of a terabyte": tiff({256: (4, 1 << 20), 257: (4, 1 << 20), 278: (4, 1 << 20), 259: (3, 8)}),
        "directories in a circle": tiff({}, following=8),
        "a million values of a tag": b"II\x2a\0\x08\0\0\0\1\0"
        + struct.pack("<HHII", 273, 4, 0xFFFFFFFF, 8)
        + bytes(99),
        "tiles without sides": tiff({322: (3, 0), 323: (3, 0), 324: (4, 200), 325: (4, 400)}),
        "more samples than bytes": tiff({277: (3, 0xFFFF)}),
    }


def _pmtiles(root: bytes, leaves: bytes = b"", *, packed: bool = False) -> bytes:
    # Version 3: eleven places and sizes, clustered, two compressions, kind of tiles, zooms, and bounds.
    places = [127, len(root), 127, 0, 127, len(leaves), 127, len(root) + len(leaves), 1, 1, 1]
    head = b"PMTiles\3" + struct.pack("<11Q", *places) + bytes([0, 2 if packed else 1, 1, 2, 0, 20])
    return head.ljust(127, b"\0") + root + leaves


def _leaf_of_itself() -> bytes:
    # One entry: the leaf (a run of 0) that begins where its own directory does.
    return _pmtiles(bytes([1, 0, 0, 5, 1]), bytes([1, 0, 0, 5, 1]))


def _directory_bomb() -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return _pmtiles(packer.compress(bytes(1 << 27)) + packer.flush(), packed=True)


def _endless_view(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "a.mbtiles")) as base:
        base.execute(
            "CREATE VIEW tiles AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) "
            "SELECT -i AS zoom_level, i AS tile_column, i AS tile_row, zeroblob(100000000) AS tile_data FROM n"
        )
        base.commit()


def _tiles(sides: dict[str, int], folder: Path) -> None:
    for name, side in sides.items():
        _put(f"tiles/{name}.png", _picture("PNG", side), folder)


def _linked_tiles(folder: Path) -> None:
    _tiles({"0/0/0": 16}, folder)
    (folder / "tiles/1").symlink_to("/")
    (folder / "tiles/0/0/1.png").symlink_to("/etc/passwd")


def _linked_tile(folder: Path) -> None:
    outside = folder.parent / "outside.png"
    lines = np.frombuffer(_OUTSIDE, np.uint8) * np.ones((len(_OUTSIDE), 1), np.uint8)
    Image.fromarray(lines).save(outside)
    for name in ("0/0/0", "1/0/1"):
        Image.fromarray(np.zeros_like(lines)).save(_made(folder / f"tiles/{name}.png"))
    (folder / "tiles/1/0/0.png").symlink_to(outside)


def _grid(chunk: list[int]) -> dict[str, object]:
    return {"name": "regular", "configuration": {"chunk_shape": chunk}}


def _zarr(changes: dict[str, object], folder: Path) -> None:
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [8, 8],
        "data_type": "uint8",
        "chunk_grid": _grid([8, 8]),
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}],
        "attributes": {},
        **changes,
    }
    _put("a.zarr/zarr.json", json.dumps(metadata).encode(), folder)
    _put("a.zarr/c/0/0", bytes(range(64)), folder)


def _zarr_bomb(folder: Path) -> None:
    sides: dict[str, object] = {"shape": [512, 512], "chunk_grid": _grid([512, 512])}  # may be so long, compressed
    _zarr({**sides, "codecs": [{"name": "bytes"}, {"name": "gzip", "configuration": {"level": 5}}]}, folder)
    packer = zlib.compressobj(9, wbits=31)
    _put("a.zarr/c/0/0", packer.compress(bytes(1 << 27)) + packer.flush(), folder)


def _zstandard_bomb(folder: Path) -> None:
    """Two thousand million bytes in less than what a chunk may have that is stored badly (RFC 8878)."""
    packing = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}
    _zarr({"codecs": [{"name": "bytes"}, packing]}, folder)
    blocks, repeated = 16_000, 1 << 17
    # One segment whose size follows; blocks of one byte that is repeated, the last of which says that it is.
    head = b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", blocks * repeated)
    block, last = ((repeated << 3 | 1 << 1 | end).to_bytes(3, "little") + b"\0" for end in (0, 1))
    _put("a.zarr/c/0/0", head + block * (blocks - 1) + last, folder)


def _pickled(folder: Path) -> None:
    described = {
        "zarr_format": 2,
        "shape": [8, 8],
        "chunks": [8, 8],
        "dtype": "|u1",
        "compressor": {"id": "pickle"},
        "fill_value": 0,
        "order": "C",
        "filters": None,
    }
    _put("a.zarr/.zarray", json.dumps(described).encode(), folder)
    _put("a.zarr/0.0", b"cos\nsystem\n(S'true'\ntR.", folder)


def _linked_chunk(folder: Path) -> None:
    _zarr({}, folder)
    outside, chunk = folder.parent / "outside", folder / "a.zarr/c/0/0"
    outside.write_bytes(_OUTSIDE)
    chunk.unlink()
    chunk.symlink_to(outside)


def _linked_array(folder: Path) -> None:
    outside = folder.parent / "outside"
    _zarr({}, outside)
    (outside / "a.zarr/c/0/0").write_bytes(_OUTSIDE)
    _multiscale(("0",), folder)
    (folder / "a.zarr/0").symlink_to(outside / "a.zarr")


def _zarr_of_others(folder: Path) -> None:
    _multiscale(("../../../../etc", "/", "a\0b", "\x1b[31m"), folder)


def _multiscale(paths: tuple[str, ...], folder: Path) -> None:
    axes = [{"name": name} for name in "yx"]
    ome = {"multiscales": [{"axes": axes, "datasets": [{"path": path} for path in paths]}]}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
    _put("a.zarr/zarr.json", json.dumps(group).encode(), folder)
