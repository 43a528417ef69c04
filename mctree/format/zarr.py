"""What stands in a `zarr.json`?  The metadata of groups and arrays, as Zarr v3 has it.

The files are made here rather than by a Zarr library because their bytes are part of the format (one raw codec, one key
encoding, names of axes), and because a store must open in milliseconds; that zarr-python and TensorStore read them is
tested.  https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html
"""

from __future__ import annotations

import json
from typing import Any

from mctree.format.arrays import ArrayLayout
from mctree.format.commits import FORMAT

__all__ = ["array_metadata", "group_metadata", "root_metadata", "rows_field"]

_BEGIN = '{"zarr_format": 3, "node_type": "array", "shape": ['
_FIELD = slice(64, 96)
"""Where the number of an array's rows stands in its file, blanks before it: always in the same bytes, so that it can
change without the file being written anew."""


def _dump(metadata: dict[str, Any]) -> bytes:
    return (json.dumps(metadata) + "\n").encode()


def group_metadata(attributes: dict[str, Any] | None = None) -> bytes:
    """The `zarr.json` of a group."""
    return _dump({"zarr_format": 3, "node_type": "group", "attributes": attributes or {}})


def root_metadata(store: bytes, epoch: int, version: int = FORMAT) -> bytes:
    """The `zarr.json` of a store's root: what never changes with a commit."""
    return group_metadata({"mctree": {"format": version, "store": store.hex(), "epoch": epoch}})


def array_metadata(layout: ArrayLayout, rows: int) -> bytes:
    """The `zarr.json` of an array of `rows` rows; its length does not depend on how many."""
    rest = _dump(
        {
            "data_type": layout.dtype,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [layout.rows_per_chunk, *layout.row]},
            },
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": float(layout.fill) if layout.dtype.startswith("float") else layout.fill,
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}]
            if layout.numpy.itemsize > 1
            else [{"name": "bytes"}],
            "attributes": {},
        }
    )
    start, field = rows_field(rows)
    shape = b"".join(b", %d" % n for n in layout.row)
    return _BEGIN.encode().ljust(start) + field + shape + b"], " + rest[1:]


def rows_field(rows: int) -> tuple[int, bytes]:
    """What says how many rows there are: its offset in an array's `zarr.json`, and its bytes."""
    return _FIELD.start, b"%*d" % (_FIELD.stop - _FIELD.start, rows)
