"""How is a Zarr hierarchy an image?  As one array, or as OME-NGFF says (0.4 in Zarr v2, 0.5 in v3): one for each size.

The sizes of a multiscale image are levels where they are smaller by a power of two, rounded up or down, on both sides;
a size that was rounded down lacks the last row or column, which then is masked.  Others are left out.  Where there are
planes or moments, one of each is the image.

An array's axes are those that the multiscale image names, else the array's own names, else, for three of which one is
four or less, `yxc` or `cyx`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import zarr

from mctree.errors import SourceError, UsageError
from mctree.sources.images.bounded import Bounded
from mctree.sources.images.local import reopening
from mctree.sources.images.mosaic import levels_among
from mctree.sources.images.protocol import Box, Pixels
from mctree.sources.images.uris import file_uri
from mctree.sources.images.zarr_array import ZarrArray, described, read_document
from mctree.sources.names import failure, shown
from mctree.sources.records import shown_text

__all__ = ["ZarrSource"]

_MOST_SIZES = 64
_MOST_AXES = 8
_FEW = 4
_LETTERS = {"y": "y", "x": "x", "c": "c", "channel": "c", "z": "z", "t": "t", "time": "t"}


class ZarrSource(Bounded):
    """An image in a Zarr hierarchy.

    Args:
        path: of the folder, absolute.
        inner: the path of the image in it.
        axes: a letter for each axis, for an array that does not name them.
        t: which moment, counted from 0.
        z: which plane, counted from 0.
        max_pixels: the most that one read gives, or that a chunk may have.

    Raises:
        SourceError: it is damaged, holds no image, or is stored in a way that cannot be read.
        UsageError: the axes are not known, or not which plane or moment is meant.
    """

    def __init__(
        self,
        path: bytes,
        *,
        inner: str | None = None,
        axes: str | None = None,
        t: int | None = None,
        z: int | None = None,
        max_pixels: int,
    ) -> None:
        self._path = path
        self.name = shown(path) + (f", '{shown_text(inner)}'" if inner else "")
        below = _plain(inner or "", self.name)
        at = {"t": t, "z": z}
        arrays = self._arrays(below, axes)
        first_path, first, letters = arrays[0]
        chosen = self._chosen(first, letters, at)
        main = ZarrArray(path, first_path, first, letters, chosen, max_pixels)
        others = [ZarrArray(path, each, array, letters, chosen, max_pixels) for each, array, _ in arrays[1:]]
        alike = [other for other in others if (other.channels, other.dtype) == (main.channels, main.dtype)]
        found = levels_among(main, alike)
        levels = tuple(sorted(found))
        self._images = [found[level] for level in levels]
        super().__init__(
            file_uri(path, {"inner": inner, "axes": axes, "t": t, "z": z}),
            main.layout.height,
            main.layout.width,
            main.channels,
            main.dtype,
            levels=levels,
            max_pixels=max_pixels,
        )

    @property
    def fingerprint(self) -> str:
        """Of the name, size and last modification of every file of the levels."""
        digest = hashlib.blake2b(self.uri.partition("#")[2].encode(), digest_size=16)
        for image in self._images:
            for name, size, modified in sorted(_files(image.folder)):
                digest.update(repr((name, size, modified)).encode())
        return digest.hexdigest()

    def _arrays(self, below: str, axes: str | None) -> list[tuple[str, zarr.Array[Any], str]]:
        """Path, description and axes of the array of each size, the largest first."""
        attributes, is_group = self._attributes(below)
        if not is_group:
            array = described(self._path, below)
            return [(below, array, self._letters(array, axes))]
        ome = attributes.get("ome", attributes)
        multiscales: Any = ome.get("multiscales") if isinstance(ome, dict) else None
        try:
            multiscale = multiscales[0]
            paths = [_plain(f"{below}/{dataset['path']}".strip("/"), self.name) for dataset in multiscale["datasets"]]
            named = [axis["name"] if isinstance(axis, dict) else axis for axis in multiscale.get("axes", ())]
        except (TypeError, KeyError, IndexError, AttributeError):
            raise SourceError(
                f"{self.name} is a Zarr group without an OME-NGFF image at its root: name an image or array in it "
                f"by inner='…'"
            ) from None
        if not paths:
            raise SourceError(f"{self.name} is an OME-NGFF image of no arrays")
        found = [(path, described(self._path, path)) for path in paths[:_MOST_SIZES]]
        letters = axes or "".join(_LETTERS.get(str(axis).lower(), "?") for axis in named)
        return [(path, array, self._letters(array, letters or None)) for path, array in found]

    def _attributes(self, below: str) -> tuple[dict[str, Any], bool]:
        """The attributes of what is at a path, and whether it is a group."""
        at = f"{below}/" if below else ""
        try:
            if (node := read_document(self._path, f"{at}zarr.json")) is not None:
                metadata = json.loads(node)
                return _dictionary(metadata.get("attributes")), metadata.get("node_type") == "group"
            is_group = read_document(self._path, f"{at}.zgroup") is not None
            if not is_group and read_document(self._path, f"{at}.zarray") is None:
                raise SourceError(f"{self.name} is no Zarr array or group")
            document = read_document(self._path, f"{at}.zattrs")
            return _dictionary(json.loads(document) if document is not None else None), is_group
        except (ValueError, AttributeError, RecursionError) as error:
            if isinstance(error, UsageError):
                raise
            raise SourceError(f"{self.name} has damaged metadata: {shown_text(error)}") from error

    def _letters(self, array: zarr.Array[Any], axes: str | None) -> str:
        """A letter for each axis of an array."""
        shape = array.shape
        names = getattr(array.metadata, "dimension_names", None)
        if axes is None and names and all(str(name).lower() in _LETTERS for name in names):
            axes = "".join(_LETTERS[str(name).lower()] for name in names)
        if axes is None and len(shape) == 2:
            axes = "yx"
        if axes is None and len(shape) == 3 and (shape[0] <= _FEW) != (shape[2] <= _FEW):
            axes = "cyx" if shape[0] <= _FEW else "yxc"
        if axes is None:
            raise UsageError(f"{self.name} has the shape {list(shape)}, and does not say what its axes are: name them")
        fits = len(axes) == len(shape) <= _MOST_AXES and len(set(axes)) == len(axes) and {"y", "x"} <= set(axes)
        if not fits or not set(axes) <= set("tzcyx"):
            raise UsageError(
                f"{self.name} has the shape {list(shape)}, of which the axes cannot be '{shown_text(axes)}': name each "
                f"by one letter of tzcyx, y and x among them"
            )
        return axes

    def _chosen(self, array: zarr.Array[Any], letters: str, at: Mapping[str, int | None]) -> dict[str, int]:
        """Which place is looked at along each axis other than y, x and c."""
        chosen: dict[str, int] = {}
        for letter, place in at.items():
            if letter not in letters:
                if place is not None:
                    raise UsageError(f"{self.name} has no axis {letter}: leave out {letter}={place}")
                continue
            length = array.shape[letters.index(letter)]
            if place is None and length != 1:
                raise UsageError(f"{self.name} has {length} places along {letter}: choose one by {letter}=0 …")
            if not 0 <= (place or 0) < length:
                raise UsageError(f"{self.name} has {length} places along {letter}, counted from 0, and no {place}")
            chosen[letter] = place or 0
        return chosen

    def _read(self, box: Box, level: int) -> Pixels:
        return self._images[level].read(box)

    def _covered(self, box: Box, level: int) -> Iterator[Box]:
        return self._images[level].covered(box)

    def __reduce__(self) -> tuple[object, ...]:
        return reopening(self, self.max_pixels, None)


def _dictionary(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _plain(path: str, name: str) -> str:
    """A path inside a hierarchy that leads nowhere else."""
    parts = path.strip("/").split("/") if path.strip("/") else []
    if any(part in ("", ".", "..") or not _nameable(part) for part in parts):
        raise SourceError(f"{name} speaks of '{shown_text(path)}', which is no path in it")
    return "/".join(parts)


def _nameable(part: str) -> bool:
    """Whether a file can be called so; JSON can spell what UTF-8 cannot."""
    try:
        return b"\0" not in part.encode()
    except UnicodeEncodeError:
        return False


def _files(folder: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, size and last modification of every file below a folder."""

    def fail(error: OSError) -> None:
        raise SourceError(f"{shown(folder)} cannot be listed: {failure(error)}") from error

    for where, _, names in os.walk(folder, onerror=fail):
        for name in names:
            path = os.path.join(where, name)
            status = os.stat(path, follow_symlinks=False)
            yield os.path.relpath(path, folder), status.st_size, status.st_mtime_ns
