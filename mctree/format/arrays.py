"""How do rows lie in an array's chunk files?  Pure arithmetic over one frozen description.

A level on disk is a Zarr v3 array `[rows, *row]` whose chunks are cut along the first axis only and stored raw: row
`r` is in chunk `r // rows_per_chunk`, at byte `(r % rows_per_chunk) * row_bytes` of that chunk's file.  Every file has
its full size from the start; rows not written hold the fill value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mctree.errors import CorruptError, UsageError

__all__ = ["CHUNK_ALIGNMENT", "HUGE_PAGE", "MAX_CHUNK_BYTES", "ArrayLayout", "plain_name", "rows_per_chunk"]

CHUNK_ALIGNMENT = 64 * 1024
"""Chunk files are a multiple of this many bytes, the largest page size of the platforms that map them."""
HUGE_PAGE = 2 * 1024 * 1024
"""A chunk of a multiple of this many bytes can be mapped with huge pages."""
MAX_CHUNK_BYTES = 256 * 1024 * 1024
"""Larger chunks are refused: sizes that come from a file are not trusted."""
_LONGEST_NAME = 255

_DTYPES: dict[str, np.dtype[np.generic]] = {
    "uint8": np.dtype("u1"),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
    "int8": np.dtype("i1"),
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
}
_MOST_FILL = {
    "uint8": 0xFF,
    "uint16": 0xFFFF,
    "uint32": 0xFFFFFFFF,
    "uint64": 0xFFFFFFFFFFFFFFFF,
    "int8": 0x7F,
    "float16": 1 << 11,
    "float32": 1 << 24,
    "float64": 1 << 53,
}
"""What rows that were never written can hold: integers that the type holds exactly."""


@dataclass(frozen=True, slots=True)
class ArrayLayout:
    """Where each row of one array lies.

    Attributes:
        path: the array's folder below the store, `/`-separated, as in `text/lod0`.
        dtype: the Zarr name of the element type, such as `uint16`.
        row: shape of one row: `()` for a plain column, `(dim,)` for vectors.
        rows_per_chunk: rows in each chunk file.
        fill: the value of rows that were never written.
    """

    path: str
    dtype: str
    row: tuple[int, ...]
    rows_per_chunk: int
    fill: int = 0

    def __post_init__(self) -> None:
        if not all(map(plain_name, self.path.split("/"))):
            raise CorruptError(f"array path {self.path!r:.200} is not a plain relative path")
        if self.dtype not in _DTYPES:
            raise CorruptError(f"array {self.path!r}: element type {self.dtype!r:.60} is not one of {sorted(_DTYPES)}")
        if len(self.row) > 7 or any(n < 1 or n > 1 << 24 for n in self.row):
            raise CorruptError(f"array {self.path!r}: row shape {self.row!r:.60} is out of range")
        if self.rows_per_chunk < 1 or not 0 < self.chunk_bytes <= MAX_CHUNK_BYTES:
            raise CorruptError(f"array {self.path!r}: chunks of {self.rows_per_chunk} rows are out of range")
        if not 0 <= self.fill <= _MOST_FILL[self.dtype]:
            raise CorruptError(f"array {self.path!r}: {self.fill} is no {self.dtype} that rows are filled with")

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The element type as NumPy knows it (little-endian)."""
        return _DTYPES[self.dtype]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.numpy.itemsize * math.prod(self.row)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one chunk file."""
        return self.row_bytes * self.rows_per_chunk

    def chunks(self, rows: int) -> int:
        """How many chunks an array of so many rows reaches into."""
        return -(-rows // self.rows_per_chunk)

    def chunk_key(self, chunk: int) -> str:
        """The file name of a chunk: the Zarr default encoding with `.` as separator."""
        return "c." + ".".join([str(chunk)] + ["0"] * len(self.row))


def plain_name(part: str) -> bool:
    """Whether a part of a path is a name that leads nowhere else, and that can be shown: not hidden, not a way up."""
    fits = 0 < len(part.encode("utf-8", "replace")) <= _LONGEST_NAME
    return fits and part.isprintable() and not part.startswith(".") and not set(part) & {"\\", "/"}


def rows_per_chunk(row_bytes: int, target_bytes: int) -> int:
    """The fewest rows that fill `target_bytes` with chunk files of a mappable size.

    Args:
        row_bytes: bytes of one row.
        target_bytes: wished chunk size: a multiple of 64 KiB, better of 2 MiB.

    Returns:
        `r` such that `r * row_bytes` is at least `target_bytes` and a multiple of 64 KiB: of 2 MiB where the target is
        one and rows fit it without making chunks more than four times as large as wished.

    Raises:
        UsageError: the target is no multiple of 64 KiB, or chunks would exceed 256 MiB.
    """
    if target_bytes < CHUNK_ALIGNMENT or target_bytes % CHUNK_ALIGNMENT:
        raise UsageError(f"chunk size {target_bytes} is not a positive multiple of {CHUNK_ALIGNMENT} bytes")
    sizes = [
        -(-target_bytes // step) * step
        for step in (math.lcm(row_bytes, HUGE_PAGE), math.lcm(row_bytes, CHUNK_ALIGNMENT))
    ]
    huge = target_bytes % HUGE_PAGE == 0 and sizes[0] <= 4 * target_bytes
    size = sizes[0] if huge else sizes[1]
    if size > MAX_CHUNK_BYTES:
        raise UsageError(f"rows of {row_bytes} bytes would need chunks of {size} bytes; the most is {MAX_CHUNK_BYTES}")
    return size // row_bytes
