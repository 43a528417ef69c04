"""What do the index records of images look like?  One dtype or dataclass each, and the arithmetic of their groups.

Nodes of images are numbered along the Z-curve of an arena, far apart and for the most part not there; their rows lie
one behind the other, in the order in which they were written.  A *page* is what joins the two: a square of 8 × 8 nodes
of a level (at level 0 the patches of a tile), which of them exist, and the row of the first.  The rows of a page's
nodes follow each other in order.  Pages are kept in groups of 64.

All integers are little-endian.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError
from mctree.format.fields import Fields
from mctree.format.values import pack

__all__ = [
    "ARENA",
    "ARENA_LIMIT",
    "GRAFTS_PER_PAGE",
    "GRAFT_DTYPE",
    "LARGEST_SIDE",
    "NODES_PER_GROUP",
    "NODES_PER_PAGE",
    "PAGE_DTYPE",
    "PIECE_DTYPE",
    "ImageRecord",
    "decode_grafts",
    "decode_pages",
    "decode_pieces",
    "statistics_columns",
]

ARENA = 1
"""The space in which all images of a store lie."""
ARENA_LIMIT = 1 << 58
"""Positions of an arena: as many as a node's address can name."""
LARGEST_SIDE = 1 << 30
"""Pixels that an image can be high or wide."""
_MOST_CHANNELS = 64
_MOST_ROWS = 1 << 58
_DTYPES = ("uint8", "uint16")

NODES_PER_PAGE = 64
PAGES_PER_GROUP = 64
NODES_PER_GROUP = NODES_PER_PAGE * PAGES_PER_GROUP

PAGE_DTYPE = np.dtype(
    [
        ("page", "<u8"),
        ("row", "<u8"),
        ("present", "<u8"),
        ("empty", "<u8"),
        ("stale", "<u8"),
        ("overview", "<u8"),
    ]
)
"""64 nodes of a level, bit i of each mask for node 64 · page + i: which have a row, the first of which is `row`; which
are known to have nothing; of which rows something has changed below since; which were made from an overview."""

PIECE_DTYPE = np.dtype([("tile", "<u8"), ("start", "<u8"), ("size", "<u4"), ("sum", "<u4")])
"""The kept pixels of one tile: where its compressed bytes begin, how many there are, and their crc32c."""

GRAFT_DTYPE = np.dtype(
    [
        ("block", "<u8"),
        ("document", "<u8"),
        ("base", "<u8"),
        ("height", "<u4"),
        ("width", "<u4"),
        ("space", "<u4"),
        ("level", "<u2"),
        ("channels", "<u2"),
    ]
)
"""One image: its block on the timeline, its document, the arena and the position in it where it begins, the level of
its root, its size in pixels and its channels."""

GRAFTS_PER_PAGE = 101
"""Graft records in one index value: 101 × 40 bytes fit one overflow page of LMDB."""


def statistics_columns(channels: int, level: int) -> int:
    """How many numbers a row of statistics has.

    At level 0: pixels, the sum of each channel, the sum of squares of each channel.  From level 1 up, the pixels are
    followed by: patches, the sums of their columns and of their rows, and the box that they reach over, x0, y0, x1, y1.
    """
    return 1 + 2 * channels + (7 if level else 0)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """What one version of an image's record says; the image's number is its document's.

    Attributes:
        uri: where its pixels come from.
        fingerprint: of the source, when it was read.
        height: pixels from top to bottom.
        width: pixels from left to right.
        channels: values of each pixel.
        dtype: their type, `uint8` or `uint16`.
        space: the arena that it lies in.
        base: the position of its first patch there.
        level: the level of its root.
        kept: whether its pixels are kept.
        sets: numbers of the gist sets that have gists of all of it.
        region: which pixels were looked at when it was added, x0, y0, x1, y1: what of them is not there is empty.
        done: how far an ingest has come that is not finished (see `order`).
        order: `z`: blocks along the Z-curve, of which those below `done` are done; `rows`: in rows of blocks.
        finest: down to which level an ingest goes that is not finished.
    """

    uri: str
    fingerprint: str
    height: int
    width: int
    channels: int
    dtype: str
    space: int
    base: int
    level: int
    kept: bool
    region: tuple[int, int, int, int]
    sets: tuple[int, ...] = ()
    done: int = 0
    order: str = "z"
    finest: int = 0

    def at(self, done: int) -> ImageRecord:
        """The record of an ingest that has come so far."""
        return replace(self, done=done)

    def encode(self) -> bytes:
        """The record's bytes."""
        return pack(
            {
                **{name: getattr(self, name) for name in self.__slots__},
                "sets": list(self.sets),
                "region": list(self.region),
            }
        )

    @classmethod
    def decode(cls, payload: bytes) -> ImageRecord:
        """The record of these bytes."""
        f = Fields(payload, "an image's record")
        sets, region = f.get("sets", list), f.get("region", list)
        if len(region) != 4 or any(type(n) is not int or not 0 <= n <= LARGEST_SIDE for n in region):
            raise CorruptError("an image's record: its region is damaged")
        if any(type(n) is not int or not 0 <= n < 1 << 32 for n in sets):
            raise CorruptError("an image's record: its gist sets are damaged")
        found = cls(
            f.get("uri", str),
            f.get("fingerprint", str),
            f.count("height"),
            f.count("width"),
            f.count("channels"),
            f.get("dtype", str),
            f.count("space"),
            f.count("base"),
            f.count("level"),
            f.get("kept", bool),
            (region[0], region[1], region[2], region[3]),
            tuple(sets),
            f.count("done"),
            f.get("order", str),
            f.count("finest") if "finest" in f.map else 0,
        )
        if not (1 <= found.height <= LARGEST_SIDE and 1 <= found.width <= LARGEST_SIDE):
            raise CorruptError("an image's record: its size cannot be")
        if not 1 <= found.channels <= _MOST_CHANNELS or found.dtype not in _DTYPES or found.order not in ("z", "rows"):
            raise CorruptError("an image's record: its pixels cannot be")
        _check_place(found.space, found.level, found.base, "an image's record")
        return found


def decode_grafts(payload: bytes) -> NDArray[np.void]:
    """A page of graft records as a structured array of `GRAFT_DTYPE`."""
    found = _records(payload, GRAFT_DTYPE, GRAFTS_PER_PAGE, "a page of graft records")
    for space, level, base in {(int(one["space"]), int(one["level"]), int(one["base"])) for one in found}:
        _check_place(space, level, base, "a graft record")
    sizes = np.stack([found["height"], found["width"]])
    if (sizes < 1).any() or (sizes > LARGEST_SIDE).any() or not _between(found["channels"], 1, _MOST_CHANNELS):
        raise CorruptError("a graft record: its size cannot be; run `mctree verify`")
    return found


def decode_pages(payload: bytes, group: int) -> NDArray[np.void]:
    """The pages of a group as a structured array of `PAGE_DTYPE`, ascending."""
    found = _records(payload, PAGE_DTYPE, PAGES_PER_GROUP, "a group of pages")
    _check_ascending(found["page"], group, "a group of pages")
    present = found["present"]
    if (present & found["empty"]).any() or ((found["stale"] | found["overview"]) & ~present).any():
        raise CorruptError("a group of pages: some node is there and is not; run `mctree verify`")
    if not _between(found["row"], 0, _MOST_ROWS):
        raise CorruptError("a group of pages: a row cannot be; run `mctree verify`")
    return found


def decode_pieces(payload: bytes, group: int) -> NDArray[np.void]:
    """The kept pieces of a group of tiles as a structured array of `PIECE_DTYPE`, ascending."""
    found = _records(payload, PIECE_DTYPE, PAGES_PER_GROUP, "a group of kept pixels")
    _check_ascending(found["tile"], group, "a group of kept pixels")
    if not _between(found["start"], 0, _MOST_ROWS):
        raise CorruptError("a group of kept pixels: a place cannot be; run `mctree verify`")
    return found


def _records(payload: bytes, dtype: np.dtype[np.void], most: int, what: str) -> NDArray[np.void]:
    if len(payload) > most * dtype.itemsize or len(payload) % dtype.itemsize:
        raise CorruptError(f"{what} has {len(payload)} bytes")
    return np.frombuffer(payload, dtype)


def _check_ascending(numbers: NDArray[np.uint64], group: int, what: str) -> None:
    if (numbers[1:] <= numbers[:-1]).any() or (len(numbers) and (numbers // np.uint64(PAGES_PER_GROUP) != group).any()):
        raise CorruptError(f"{what} is out of order; run `mctree verify`")


def _check_place(space: int, level: int, base: int, what: str) -> None:
    if space == ARENA and 1 <= level <= 27:  # before anything is raised to it: a power of any number never ends
        width = 16 * 4**level  # positions under a node: 64 patches in a tile, four times as many above
        if not base % width and base + width <= ARENA_LIMIT:
            return
    raise CorruptError(f"{what}: it lies where no image can; run `mctree verify`")


def _between(values: NDArray[np.generic], least: int, most: int) -> bool:
    return not len(values) or bool(values.min() >= least and values.max() <= most)
