"""What do folders of images say of themselves, in files that anybody can write?  Which arrays are sizes of an image,
and from which end rows of tiles are counted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from mctree.format.ngff import view_group
from mctree.sources.images import Box, open_image
from mctree.sources.images.schemes import METADATA, RESOURCE, counts_from_below
from mctree.testing.stores import scratch
from tools.crash.fuzz.target import Target

__all__ = ["FOLDER_TARGETS"]

_MOST_PIXELS = 1 << 12
_ARRAYS = {"0": (1, 16, 16), "1": (1, 8, 8), "flat": (8, 8), "deep/0": (2, 1, 3, 8, 8)}
"""What there is in a hierarchy, whatever is said of it."""


def _put(folder: str, name: str, content: bytes) -> None:
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def _array(shape: tuple[int, ...]) -> bytes:
    return json.dumps(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": shape,
            "data_type": "uint8",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0,
            "codecs": [{"name": "bytes"}],
            "attributes": {},
        }
    ).encode()


def _group(data: bytes) -> None:
    """What the group of an OME-Zarr image says, by Zarr's version 2 if the first byte is odd; from 2 on, one inside."""
    if not data:
        return
    with scratch() as folder:
        inner = "image" if data[0] & 2 else None
        image = os.path.join(folder, inner or "")
        for name, shape in _ARRAYS.items():
            _put(image, f"{name}/zarr.json", _array(shape))
        _put(image, "0/c/0/0/0", bytes(range(256)))
        _put(folder, "zarr.json", b'{"zarr_format": 3, "node_type": "group"}')
        if data[0] & 1:
            if inner is None:
                os.remove(os.path.join(folder, "zarr.json"))
            _put(image, ".zgroup", b'{"zarr_format": 2}')
            _put(image, ".zattrs", data[1:])
        else:
            _put(image, "zarr.json", data[1:])
        with open_image(folder, inner=inner, max_pixels=_MOST_PIXELS) as source:
            for level in range(len(source.levels)):
                factor = source.levels[level]
                box = Box(0, 0, -(-source.width // factor), -(-source.height // factor))
                assert source.read(box, level).values.shape == (box.height, box.width, source.channels)


def _group_seeds() -> Iterator[bytes]:
    def spelled(attributes: object) -> bytes:
        return json.dumps(attributes, separators=(",", ":")).encode()

    yield b"\0" + spelled(json.loads(view_group("a", "uint8", 1, (1, 2))))
    forms: tuple[dict[str, Any], ...] = (
        {"axes": [{"name": name} for name in "cyx"], "datasets": [{"path": "0"}, {"path": "1"}]},
        {"axes": ["y", "x"], "datasets": [{"path": "flat"}]},
        {"axes": [{"name": name} for name in ("time", "c", "z", "y", "x")], "datasets": [{"path": "deep/0"}]},
        {"datasets": [{"path": "1"}] * 70},
        {"axes": [[[]], None, {"name": {}}], "datasets": [{"path": 0}]},
        {"datasets": [{"path": "../../0"}, {"path": "a\0b"}]},
        {"datasets": [{"path": "\ud800"}]},
        {"datasets": [{"path": "x" * 3000}]},
        {"datasets": []},
    )
    for kind, form in enumerate(forms):
        said = {"multiscales": [form]}
        if kind % 2:
            yield bytes([kind % 4]) + spelled(said)
        else:
            yield bytes([kind % 4]) + spelled({"zarr_format": 3, "node_type": "group", "attributes": {"ome": said}})
    yield b"\0" + b'{"attributes":' * 250
    yield b'\1{"multiscales":[{"datasets":[{"path":' + b"[" * 900 + b"]" * 900 + b"}]}]}"


def _scheme(data: bytes) -> None:
    """The `metadata.json` of a folder of tiles; beside it lies another tool's if the first byte is odd."""
    with scratch() as folder:
        if data and data[0] % 2:
            _put(folder, os.fsdecode(RESOURCE), b"<TileMap/>")
        _put(folder, os.fsdecode(METADATA), data[1:])
        assert counts_from_below(os.fsencode(folder)) in (True, False)


def _scheme_seeds() -> Iterator[bytes]:
    for kind, said in enumerate(
        ({"scheme": "xyz"}, {"scheme": "TMS"}, {"scheme": "\x1b[31m\ud800" * 100}, {"scheme": 1}, {"name": "a"}, [1])
    ):
        yield bytes([kind]) + json.dumps(said).encode()
    yield b"\1" + b"\xff\xfe\0"
    yield b"\0" + b"[" * 1000
    yield b'\0{"scheme":' + b"9" * 1000 + b"}"


FOLDER_TARGETS: dict[str, Target] = {
    "OME group": Target(_group, _group_seeds, longest=2048),
    "tile scheme": Target(_scheme, _scheme_seeds, longest=1024),
}
"""By the names of their corpora."""
