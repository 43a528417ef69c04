"""Zarr arrays of every form, and OME-NGFF images: what the zarr package wrote is what is read."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

from mctree.errors import SourceError, UsageError
from mctree.sources.images import Box, open_image
from mctree.sources.images.protocol import level_box
from tests.sources.images.reading import FEW, Whole, check_source
from tests.sources.images.test_tiff import noise


@dataclass(frozen=True)
class Form:
    """How an array is made."""

    version: int
    dtype: str
    axes: str
    chunk: tuple[int, int]
    sharded: bool
    packing: str | None
    separator: str
    turned: bool
    checksum: bool

    def create(self, path: Path, shape: tuple[int, ...], chunks: tuple[int, ...]) -> zarr.Array[Any]:
        names = {"dimension_names": list(self.axes)} if self.version == 3 else {}
        if self.version == 2:
            made = {"blosc": numcodecs.Blosc(), "zstd": numcodecs.Zstd(), "gzip": numcodecs.GZip()}
            made |= {"zlib": numcodecs.Zlib(), "lz4": numcodecs.LZ4()}
            packing = made.get(self.packing or "")
            options: dict[str, Any] = {
                "compressors": packing,
                "order": "F" if self.turned else "C",
                "chunk_key_encoding": {"name": "v2", "separator": self.separator},
            }
        else:
            packed = {"blosc": BloscCodec(), "zstd": ZstdCodec(), "gzip": GzipCodec()}.get(self.packing or "")
            order = tuple(range(len(shape)))[::-1]
            options = {
                "filters": [TransposeCodec(order=order)] if self.turned else None,
                "compressors": ([packed] if packed else []) + ([Crc32cCodec()] if self.checksum else []),
                "serializer": BytesCodec(endian=None if self.dtype == "u1" else "big"),
                "chunk_key_encoding": {"name": "default", "separator": self.separator},
                "shards": tuple(2 * side for side in chunks) if self.sharded else None,
            }
        return zarr.create_array(
            path, shape=shape, chunks=chunks, dtype=self.dtype, zarr_format=self.version, **options, **names
        )


FORMS = st.builds(
    Form,
    version=st.sampled_from([2, 3]),
    dtype=st.sampled_from(["u1", "<u2", ">u2"]),
    axes=st.sampled_from(["yx", "cyx", "yxc", "tczyx", "xy"]),
    chunk=st.tuples(st.integers(9, 24), st.integers(9, 24)),
    sharded=st.booleans(),
    packing=st.sampled_from([None, "blosc", "zstd", "gzip", "zlib", "lz4"]),
    separator=st.sampled_from("./"),
    turned=st.booleans(),
    checksum=st.booleans(),
)


@FEW
@given(form=FORMS, height=st.integers(1, 40), width=st.integers(1, 40), data=st.data())
def test_every_form_of_array_gives_what_was_written(
    form: Form, height: int, width: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("zarr") / "a.zarr"
    sides = {"y": height, "x": width, "c": 3, "t": 2, "z": 4}
    parts = {"y": form.chunk[0], "x": form.chunk[1], "c": 2, "t": 1, "z": 3}
    shape = tuple(sides[axis] for axis in form.axes)
    array = form.create(path, shape, tuple(min(parts[axis], sides[axis]) for axis in form.axes))
    values = noise(shape, np.dtype(form.dtype).newbyteorder("="))
    values[values == 0] = 1  # chunks of the fill value are not written
    array[:] = values
    at = {axis: data.draw(st.integers(0, sides[axis] - 1)) for axis in "tz" if axis in form.axes}
    seen = values[tuple(at.get(axis, slice(None)) for axis in form.axes)]
    left = [axis for axis in form.axes if axis not in at]
    seen = seen.transpose([left.index(axis) for axis in "yxc" if axis in left]).reshape(height, width, -1)
    with open_image(path, axes=form.axes, **at) as source:
        check_source(data, source, {1: Whole.dense(seen)}, reads=2)


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize("version", [2, 3])
def test_chunks_that_are_not_there_are_masked(tmp_path: Path, version: int, separator: str, sharded: bool) -> None:
    form = Form(version, "u1", "cyx", (8, 8), sharded and version == 3, "zstd", separator, turned=False, checksum=False)
    array = form.create(tmp_path / "a.zarr", (2, 100, 90), (1, 8, 8))
    array[:, 16:32, 32:40] = 7
    array[0, 64:72, 0:8] = 9  # of one channel only: the other holds the fill value there
    with open_image(tmp_path / "a.zarr", axes="cyx") as source:
        whole = level_box(source)
        pixels = source.read(whole)
        real = np.zeros((100, 90), np.bool_)
        real[16:32, 32:40] = real[64:72, 0:8] = True
        np.testing.assert_array_equal(pixels.real(), real)
        assert pixels.values[20, 35].tolist() == [7, 7]
        assert pixels.values[70, 5].tolist() == [9, 0]
        painted = np.zeros((100, 90), np.uint8)
        for box in source.covered(whole):
            painted[box.slices] += 1
        assert painted.max() == 1
        assert painted[real].all()
        assert painted.sum() <= (2 if not sharded else 8) * real.sum()
        assert list(source.covered(Box(48, 0, 90, 100))) == []


def multiscale(path: Path, version: int, wholes: dict[int, np.ndarray], axes: str = "cyx") -> None:
    """An OME-NGFF image, 0.4 in Zarr v2 and 0.5 in v3."""
    group = zarr.create_group(path, zarr_format=version)
    for number, values in enumerate(wholes.values()):
        array = group.create_array(
            str(number), shape=values.shape, chunks=(1,) * (values.ndim - 2) + (16, 16), dtype="u1"
        )
        array[:] = values
    described = {
        "version": {2: "0.4", 3: "0.5"}[version],
        "axes": [{"name": axis, "type": "channel" if axis == "c" else "space"} for axis in axes],
        "datasets": [
            {"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": [1.0, factor, factor]}]}
            for number, factor in enumerate(wholes)
        ],
    }
    group.attrs["multiscales" if version == 2 else "ome"] = (
        [described] if version == 2 else {"multiscales": [described]}
    )


@FEW
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    up=st.booleans(),
    version=st.sampled_from([2, 3]),
    data=st.data(),
)
def test_the_sizes_of_a_multiscale_image_are_its_levels(
    height: int, width: int, up: bool, version: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("ome") / "a.ome.zarr"
    stored: dict[int, np.ndarray] = {}
    wholes: dict[int, Whole] = {}
    for factor in (1, 2, 4, 8):
        full = -(-height // factor), -(-width // factor)
        sides = full if up else (height // factor, width // factor)
        if min(sides) < 1 or sides in [values.shape[1:] for values in stored.values()]:
            break
        stored[factor] = np.maximum(noise((3, *sides), np.uint8, factor), 1)
        values, mask = np.zeros((*full, 3), np.uint8), np.zeros(full, np.bool_)
        values[: sides[0], : sides[1]] = np.moveaxis(stored[factor], 0, 2)
        mask[: sides[0], : sides[1]] = True
        wholes[factor] = Whole(values, mask)
    multiscale(path, version, stored)
    with open_image(path) as source:
        check_source(data, source, wholes, reads=1)


def test_sizes_that_lack_the_plane_that_is_looked_at_are_an_error(tmp_path: Path) -> None:
    stored = {1: noise((4, 32, 32), np.uint8), 2: noise((2, 16, 16), np.uint8)}
    multiscale(tmp_path / "a", 3, stored, axes="zyx")
    with open_image(tmp_path / "a", z=1) as source:
        np.testing.assert_array_equal(source.read(level_box(source, 1), 1).values[:, :, 0], stored[2][1])
    with pytest.raises(SourceError, match="no place 3 along z"):
        open_image(tmp_path / "a", z=3)


def test_an_image_inside_a_hierarchy_is_named(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
    values = np.maximum(noise((3, 40, 50), np.uint8), 1)
    multiscale(tmp_path / "a.zarr" / "plate" / "0", 3, {1: values})
    with pytest.raises(SourceError, match="name an image or array in it by inner="):
        open_image(tmp_path / "a.zarr")
    for inner in ("plate/0", "plate/0/0"):
        with open_image(tmp_path / "a.zarr", inner=inner) as source, open_image(source.uri) as again:
            assert again.uri == source.uri
            np.testing.assert_array_equal(again.read(level_box(again)).values, np.moveaxis(values, 0, 2))


@pytest.mark.parametrize(
    ("shape", "options", "why"),
    [
        ((5, 6, 7), {}, "does not say what its axes are"),
        ((2, 50, 3), {}, "does not say what its axes are"),
        ((2, 3, 4, 5), {}, "does not say what its axes are"),
        ((5, 6, 7), {"axes": "cxx"}, "cannot be 'cxx'"),
        ((5, 6, 7), {"axes": "yx"}, "cannot be 'yx'"),
        ((5, 6, 7), {"axes": "ycq"}, "cannot be 'ycq'"),
        ((5, 6, 7), {"axes": "zyx"}, "5 places along z: choose one"),
        ((5, 6, 7), {"axes": "zyx", "z": 5}, "counted from 0, and no 5"),
        ((5, 6, 7), {"axes": "cyx", "z": 0}, "no axis z"),
        ((5, 6, 7), {"page": 0}, "takes no option 'page'"),
    ],
)
def test_axes_that_are_not_clear_are_asked_for(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any], why: str
) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=shape, dtype="u1", chunks=shape)
    with pytest.raises(UsageError, match=why):
        open_image(tmp_path / "a.zarr", **options)


def made(path: Path, **options: Any) -> Path:
    array = zarr.create_array(
        path, **{"shape": (64, 64), "chunks": (32, 32), "dtype": "u1", "compressors": None, **options}
    )
    array[:] = 5
    return path


def test_the_files_of_an_array_are_its_fingerprint(tmp_path: Path) -> None:
    path = made(tmp_path / "a.zarr")
    with open_image(path) as source:
        before = source.fingerprint
    os.utime(path / "c" / "1" / "1", ns=(1, 1))
    with open_image(path) as source:
        assert source.fingerprint != before


@pytest.mark.parametrize("packing", ["blosc", "zstd", "gzip", "zlib", "lz4"])
def test_a_chunk_that_unpacks_to_more_than_it_may_is_an_error(tmp_path: Path, packing: str) -> None:
    form = Form(2, "u1", "yx", (32, 32), False, packing, ".", turned=False, checksum=False)
    bomb = form.create(tmp_path / "bomb.zarr", (4096, 4096), (4096, 4096))
    bomb[:] = 1
    small = form.create(tmp_path / "a.zarr", (64, 64), (32, 32))
    small[:] = 1
    shutil.copy(tmp_path / "bomb.zarr" / "0.0", tmp_path / "a.zarr" / "1.0")
    with open_image(tmp_path / "a.zarr") as source:
        assert source.read(Box(0, 0, 64, 32)).mask is None
        with pytest.raises(SourceError, match=r"chunk 1\.0 is no readable chunk|bytes: at most"):
            source.read(Box(0, 32, 32, 64))


def test_damage_is_a_typed_error(tmp_path: Path) -> None:
    path = made(tmp_path / "a.zarr", compressors=[Crc32cCodec()])
    chunk = path / "c" / "0" / "0"
    data = bytearray(chunk.read_bytes())
    data[5] ^= 1
    chunk.write_bytes(data)
    with open_image(path) as source, pytest.raises(SourceError, match="its checksum is wrong"):
        source.read(Box(0, 0, 8, 8))
    chunk.write_bytes(data[:-1])
    with open_image(path) as source, pytest.raises(SourceError, match="no readable chunk"):
        source.read(Box(0, 0, 8, 8))
    chunk.unlink()
    os.mkfifo(chunk)
    with open_image(path) as source, pytest.raises(SourceError, match="is a FIFO"):
        source.read(Box(0, 0, 8, 8))
    chunk.unlink()
    chunk.symlink_to("/etc/hostname")
    with open_image(path) as source, pytest.raises(SourceError, match="lies outside of"):
        source.read(Box(0, 0, 8, 8))


def test_a_damaged_shard_is_a_typed_error(tmp_path: Path) -> None:
    path = made(tmp_path / "a.zarr", shards=(64, 64))
    shard = path / "c" / "0" / "0"
    whole = shard.read_bytes()
    for damage in (whole[:10], whole[:-1] + b"\0", whole[: len(whole) // 2], b""):
        shard.write_bytes(damage)
        with open_image(path) as source, pytest.raises(SourceError):
            source.read(Box(0, 0, 64, 64))


GZIP = {"name": "gzip", "configuration": {"level": 1}}


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [1 << 40, 64]},
        {"shape": [64, 0]},
        {"shape": [64]},
        {"data_type": "float64"},
        {"data_type": "int8"},
        {"codecs": []},
        {"codecs": [{"name": "bytes"}, GZIP, GZIP]},
        {"codecs": "bytes"},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1 << 20, 1 << 20]}}},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 1]}}},
        {"fill_value": "x"},
        {"zarr_format": 4},
        {"node_type": "table"},
    ],
    ids=range(13),
)  # fmt: skip
def test_absurd_metadata_are_typed_errors(tmp_path: Path, change: dict[str, Any]) -> None:
    path = made(tmp_path / "a.zarr")
    metadata = json.loads((path / "zarr.json").read_text())
    (path / "zarr.json").write_text(json.dumps(metadata | change))
    with pytest.raises((SourceError, UsageError)), open_image(path) as source:
        source.read(Box(0, 0, 1, 1))


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"node_type": "group", "attributes": 7}'],
    ids=range(7),
)
def test_garbage_for_metadata_is_a_typed_error(tmp_path: Path, document: bytes) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_bytes(document)
    with pytest.raises(SourceError):
        open_image(tmp_path / "a.zarr")


@pytest.mark.parametrize("path", ["../b.zarr", "/etc", "0/../../b.zarr", "", ".", 7, None, "a\0b"])
def test_a_multiscale_image_cannot_lead_out_of_its_folder(tmp_path: Path, path: object) -> None:
    made(tmp_path / "b.zarr")
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
    group.attrs["ome"] = {"multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": path}]}]}
    with pytest.raises((SourceError, UsageError)):
        open_image(tmp_path / "a.zarr")


@pytest.mark.parametrize("path", ["\ud800", "0/\udcff"])
def test_a_size_that_no_file_is_called_by_is_a_typed_error(tmp_path: Path, path: str) -> None:
    """Found by reading: JSON can spell what no name holds, and it ended in a UnicodeEncodeError."""
    (tmp_path / "a.zarr").mkdir()
    ome = {"multiscales": [{"axes": ["y", "x"], "datasets": [{"path": path}]}]}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
    (tmp_path / "a.zarr/zarr.json").write_text(json.dumps(group))
    with pytest.raises(SourceError, match="which is no path in it") as refused:
        open_image(tmp_path / "a.zarr")
    assert str(refused.value).isprintable()
