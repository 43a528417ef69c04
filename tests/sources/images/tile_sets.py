"""Tiles of a few pixels, and archives and folders of them, written by other means than those that read them."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pmtiles.tile import Compression, TileType, zxy_to_tileid
from pmtiles.writer import Writer

SIDE = 16
Tiles = dict[tuple[int, int, int], bytes]


def encoded(values: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values).save(out, kind)
    return out.getvalue()


def write_pmtiles(path: Path, tiles: Tiles) -> Path:
    with path.open("wb") as file:
        writer = Writer(file)
        for tile in sorted(tiles, key=lambda tile: zxy_to_tileid(*tile)):
            writer.write_tile(zxy_to_tileid(*tile), tiles[tile])
        writer.finalize({"tile_type": TileType.PNG, "tile_compression": Compression.NONE}, {})
    return path


def write_mbtiles(path: Path, tiles: Tiles, *, split: bool = False) -> Path:
    with sqlite3.connect(path) as base:
        if split:
            base.execute(
                "CREATE TABLE map (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_id INTEGER)"
            )
            base.execute("CREATE TABLE images (tile_id INTEGER PRIMARY KEY, tile_data BLOB)")
            base.execute("CREATE UNIQUE INDEX i ON map (zoom_level, tile_column, tile_row)")
            base.execute(
                "CREATE VIEW tiles AS SELECT map.zoom_level AS zoom_level, map.tile_column AS tile_column, "
                "map.tile_row AS tile_row, images.tile_data AS tile_data FROM map JOIN images USING (tile_id)"
            )
        else:
            base.execute(
                "CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_data BLOB)"
            )
            base.execute("CREATE UNIQUE INDEX i ON tiles (zoom_level, tile_column, tile_row)")
        for number, ((zoom, column, row), data) in enumerate(tiles.items()):
            south = (1 << zoom) - 1 - row
            if split:
                base.execute("INSERT INTO map VALUES (?, ?, ?, ?)", (zoom, column, south, number))
                base.execute("INSERT INTO images VALUES (?, ?)", (number, data))
            else:
                base.execute("INSERT INTO tiles VALUES (?, ?, ?, ?)", (zoom, column, south, data))
    base.close()
    return path


def write_folder(path: Path, tiles: Tiles) -> Path:
    for (zoom, column, row), data in tiles.items():
        folder = path / str(zoom) / str(column)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row}.png").write_bytes(data)
    return path


def write_views(path: Path, tiles: Tiles) -> Path:
    return write_mbtiles(path, tiles, split=True)


WRITERS: dict[str, Callable[[Path, Tiles], Path]] = {
    "pmtiles": write_pmtiles,
    "mbtiles": write_mbtiles,
    "views": write_views,
    "folder": write_folder,
}


def colours(zoom: int, column: int, row: int, channels: int) -> NDArray[np.uint8]:
    return np.random.default_rng((zoom, column, row)).integers(0, 256, (SIDE, SIDE, channels), np.uint8)
