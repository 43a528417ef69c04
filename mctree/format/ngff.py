"""What stands in the `zarr.json` files of an image that other tools show?  Metadata of OME-NGFF 0.5.

https://ngff.openmicroscopy.org/0.5/: a group whose attribute `ome` lists arrays `[c, y, x]` of falling size, each half
as large as the one before, and says where the middle of each sample lies.  Units are pixels of the image itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

__all__ = ["chunk_name", "view_array", "view_group"]

_COLOURS = ("FF0000", "00FF00", "0000FF")


def view_group(name: str, dtype: str, channels: int, factors: Sequence[int]) -> bytes:
    """The `zarr.json` of the group.

    Args:
        name: of the image.
        dtype: `uint8` or `uint16`.
        channels: how many.
        factors: for each array, how many pixels of the image are a side of one of its samples.
    """
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0, float(factor), float(factor)]},
                {"type": "translation", "translation": [0.0, (factor - 1) / 2, (factor - 1) / 2]},
            ],
        }
        for level, factor in enumerate(factors)
    ]
    most = 255 if dtype == "uint8" else 65535
    shown = _COLOURS if channels >= 3 else ("FFFFFF",)
    ome: dict[str, Any] = {
        "version": "0.5",
        "multiscales": [
            {
                "name": name,
                "axes": [
                    {"name": "c", "type": "channel"},
                    {"name": "y", "type": "space"},
                    {"name": "x", "type": "space"},
                ],
                "datasets": datasets,
                "type": "area mean",
            }
        ],
        "omero": {
            "channels": [
                {
                    "label": str(channel),
                    "color": shown[channel] if channel < len(shown) else "FFFFFF",
                    "active": channel < len(shown),
                    "window": {"min": 0, "max": most, "start": 0, "end": most},
                }
                for channel in range(channels)
            ]
        },
    }
    return _dump({"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}})


def view_array(dtype: str, shape: tuple[int, int, int], chunk: tuple[int, int, int]) -> bytes:
    """The `zarr.json` of one array, whose chunks are compressed with gzip."""
    endian = {} if dtype == "uint8" else {"configuration": {"endian": "little"}}
    return _dump(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(shape),
            "data_type": dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0,
            "codecs": [{"name": "bytes", **endian}, {"name": "gzip", "configuration": {"level": 5}}],
            "attributes": {},
            "dimension_names": ["c", "y", "x"],
        }
    )


def chunk_name(row: int, column: int) -> str:
    """The name of a chunk below its array."""
    return f"c/0/{row}/{column}"


def _dump(metadata: dict[str, Any]) -> bytes:
    return (json.dumps(metadata, indent=1) + "\n").encode()
