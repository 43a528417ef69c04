"""Which arrays hold the rows of images?  One for each level of statistics, and of each gist set, and one of pixels.

Statistics of images with the same number of channels share their arrays, and so do the gists of a set, whatever image
they are of.  All kept pixels lie in one column of bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mctree.errors import CorruptError
from mctree.format.arrays import ArrayLayout, rows_per_chunk
from mctree.format.facts import GistSetRecord
from mctree.format.fields import Fields
from mctree.format.images import statistics_columns
from mctree.format.keys import Table
from mctree.format.values import pack
from mctree.storage.index import Reading

__all__ = [
    "PIXELS",
    "Family",
    "gist_family",
    "pixels_array",
    "pixels_layout",
    "pixels_setting",
    "read_statistics",
    "statistics_family",
    "statistics_name",
    "statistics_setting",
]

PIXELS = b"pixels"
"""The setting that says in which array kept pixels lie."""
_MOST_ARRAYS = 1 << 31


def statistics_name(channels: int) -> bytes:
    """The setting that says in which arrays the statistics of images with so many channels lie."""
    return b"statistics-%d" % channels


@dataclass(slots=True)
class Family:
    """The arrays of one kind of rows, by level.

    Attributes:
        numbers: of the arrays that there are, from LOD0 on; more are added behind.
        layout: says how the rows of a level lie.
        added: layouts of arrays that the next commit records, by number.
    """

    numbers: list[int]
    layout: Callable[[int], ArrayLayout]
    added: dict[int, ArrayLayout] = field(default_factory=dict)


def statistics_family(channels: int, numbers: tuple[int, ...], chunk_bytes: int) -> Family:
    """The arrays of statistics of images with so many channels."""

    def layout(level: int) -> ArrayLayout:
        columns = statistics_columns(channels, level)
        path = f"images/statistics{channels}/lod{level}"
        return ArrayLayout(path, "float64", (columns,), rows_per_chunk(8 * columns, chunk_bytes))

    return Family(list(numbers), layout)


def gist_family(record: GistSetRecord, chunk_bytes: int) -> Family:
    """The arrays of a gist set for images."""

    def layout(level: int) -> ArrayLayout:
        path = f"gists/{record.folder}/arena1/lod{level}"
        row_bytes = ArrayLayout(path, record.dtype, (record.dim,), 1).row_bytes
        return ArrayLayout(path, record.dtype, (record.dim,), rows_per_chunk(row_bytes, chunk_bytes))

    return Family(list(record.images), layout)


def pixels_layout(chunk_bytes: int) -> ArrayLayout:
    """How kept pixels lie."""
    return ArrayLayout("images/pixels", "uint8", (), rows_per_chunk(1, chunk_bytes))


def read_statistics(index: Reading, commit: int, channels: int) -> tuple[int, ...]:
    """The arrays of statistics of images with so many channels at a commit, from LOD0 on; none if there are none."""
    payload = index.version(Table.SETTING, statistics_name(channels), commit)
    if payload is None:
        return ()
    levels = Fields(payload, "the setting of statistics").get("levels", list)
    if any(type(n) is not int or not 0 <= n < _MOST_ARRAYS for n in levels):
        raise CorruptError("the setting of statistics: its levels are damaged; run `mctree verify`")
    return tuple(levels)


def statistics_setting(numbers: list[int]) -> bytes:
    """What the setting of statistics says."""
    return pack({"levels": list(numbers)})


def pixels_array(index: Reading, commit: int) -> int | None:
    """The array of kept pixels at a commit, if there is one."""
    payload = index.version(Table.SETTING, PIXELS, commit)
    if payload is None:
        return None
    array = Fields(payload, "the setting of kept pixels").count("array")
    if array >= _MOST_ARRAYS:
        raise CorruptError("the setting of kept pixels is damaged; run `mctree verify`")
    return array


def pixels_setting(array: int) -> bytes:
    """What the setting of kept pixels says."""
    return pack({"array": array})
