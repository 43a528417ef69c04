"""How are archives of tiles opened?  Each by its own reader, and all made into images alike."""

from __future__ import annotations

from mctree.sources.files import OpenFile
from mctree.sources.images.folder_tiles import TileFolder
from mctree.sources.images.mbtiles_archive import MbtilesArchive
from mctree.sources.images.pmtiles_archive import PmtilesArchive
from mctree.sources.images.pyramid import Archive, TilePyramid
from mctree.sources.images.uris import file_uri

__all__ = ["open_folder", "open_mbtiles", "open_pmtiles"]


def open_pmtiles(opened: OpenFile, *, channels: int | None = None, max_pixels: int) -> TilePyramid:
    """The image in a PMTiles file; see `PmtilesArchive` and `TilePyramid`."""
    return _made(PmtilesArchive(opened), opened.file.path, channels, max_pixels)


def open_mbtiles(opened: OpenFile, *, channels: int | None = None, max_pixels: int) -> TilePyramid:
    """The image in an MBTiles file; see `MbtilesArchive` and `TilePyramid`."""
    return _made(MbtilesArchive(opened), opened.file.path, channels, max_pixels)


def open_folder(path: bytes, *, channels: int | None = None, max_pixels: int) -> TilePyramid:
    """The image in a folder of tiles; see `TileFolder` and `TilePyramid`."""
    return _made(TileFolder(path), path, channels, max_pixels)


def _made(archive: Archive, path: bytes, channels: int | None, max_pixels: int) -> TilePyramid:
    try:
        return TilePyramid(archive, file_uri(path, {"channels": channels}), channels=channels, max_pixels=max_pixels)
    except BaseException:
        archive.close()
        raise
