"""Do other people's tools show an exported image as it is?  ome-zarr-py, its models, and napari's reader."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import mctree
from mctree.sources.images import Box
from mctree.testing import ProceduralSource

_LOOK = """
import json, sys, warnings
import numpy as np, zarr
from napari_ome_zarr import napari_get_reader
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models.v05.image import Image

path, seen = sys.argv[1:]
image = Image.from_zarr(zarr.open_group(path, mode="r"))
(node,) = Reader(parse_url(path))()
((levels, options, kind),) = napari_get_reader(path)(path)
json.dump({
    "version": image.attributes.ome.version,
    "name": node.metadata["name"],
    "samples": [np.asarray(level).tolist() for level in node.data],
    "napari": [np.asarray(level).tolist() for level in levels],
    "kind": kind,
    "axis": options["channel_axis"],
    "scale": list(options["scale"]),
}, open(seen, "w"))
"""
"""In a process of its own: these tools warn while they are imported, and change settings of the process."""


def test_others_read_what_is_exported(tmp_path: Path) -> None:
    if not all(map(find_spec, ("ome_zarr", "ome_zarr_models", "napari_ome_zarr"))):
        pytest.skip("ome-zarr and napari-ome-zarr are not installed: they come with the extra `viewers`")
    source = ProceduralSource(500, 387, 3, seed=5)
    with mctree.create(tmp_path / "store", vocabulary=2) as tree:
        with tree.writer() as writer:
            writer.add_image("picture", source)
        with tree.snapshot() as snapshot:
            factors = snapshot.image("picture").export(tmp_path / "picture.ome.zarr")
    paths = [str(tmp_path / "picture.ome.zarr"), str(tmp_path / "seen.json")]
    run = subprocess.run([sys.executable, "-c", _LOOK, *paths], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["version"] == "0.5" and seen["name"] == "picture"
    assert seen["kind"] == "image" and seen["axis"] == 0 and seen["scale"] == [16.0, 16.0]
    assert len(seen["samples"]) == len(factors)
    assert seen["samples"] == seen["napari"], "both show the same"
    for factor, level in zip(factors, seen["samples"], strict=True):
        shown = np.array(level)
        for row in range(shown.shape[1]):
            for column in range(shown.shape[2]):
                x, y = column * factor, row * factor
                box = Box(x, y, min(x + factor, 387), min(y + factor, 500))
                assert np.abs(shown[:, row, column] - source.mean(box)).max() <= 0.5, (factor, row, column)
