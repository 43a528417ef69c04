"""PMTiles archives that are no archives, and directories of all sorts."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pmtiles.tile import Entry, deserialize_header, serialize_directory, zxy_to_tileid

from mctree.errors import SourceError
from mctree.sources.images import LARGEST_SIDE, Box, open_image
from mctree.sources.images.pmtiles_directory import parse_directory
from mctree.sources.images.protocol import level_box
from tests.sources.images.reading import FEW
from tests.sources.images.tile_sets import SIDE, colours, encoded, write_pmtiles


class TestPmtiles:
    """Archives that are no archives."""

    GOOD = encoded(colours(1, 0, 0, 3))

    def header(self, path: Path, **changes: object) -> Path:
        """Change an archive's header: a place and a format for each."""
        write_pmtiles(path, {(1, 0, 0): self.GOOD, (1, 1, 1): self.GOOD})
        data = bytearray(path.read_bytes())
        for place, form, value in changes.values():
            struct.pack_into(form, data, place, value)
        path.write_bytes(data)
        return path

    @pytest.mark.parametrize(
        ("place", "form", "value", "why"),
        [
            (7, "B", 2, "PMTiles archive of version 3"),
            (99, "B", 1, "tiles of kind MVT"),
            (99, "B", 77, "PMTiles archive"),
            (97, "B", 4, "compressed by Brotli or Zstandard"),
            (97, "B", 1, "PMTiles archive"),
            (101, "B", 31, "end at zoom 30"),
            (100, "B", 9, "tiles of zoom 9 to 1"),
            (16, "<Q", 1 << 40, "a directory of 1099511627776 bytes"),
            (8, "<Q", (1 << 64) - 1, "cut short"),
            (16, "<Q", 5, "PMTiles archive"),
            (16, "<Q", 0, "PMTiles archive"),
        ],
    )
    def test_headers(self, tmp_path: Path, place: int, form: str, value: int, why: str) -> None:
        path = self.header(tmp_path / "a", change=(place, form, value))
        with pytest.raises(SourceError, match=why):
            open_image(path)

    def archive(self, path: Path, directory: bytes, leaves: bytes = b"", zoom: int = 1, packing: int = 2) -> Path:
        """An archive with a root directory, leaf directories and one tile."""
        write_pmtiles(path, {(1, 0, 0): self.GOOD})
        head = bytearray(path.read_bytes()[:127])
        start = 127 + len(directory)
        for place, value in ((8, 127), (16, len(directory)), (40, start), (48, len(leaves)), (56, start + len(leaves))):
            struct.pack_into("<Q", head, place, value)
        struct.pack_into("BB", head, 97, packing, 1)
        struct.pack_into("BB", head, 100, 0, zoom)
        path.write_bytes(bytes(head) + directory + leaves + self.GOOD)
        return path

    def test_a_directory_that_unpacks_to_too_much(self, tmp_path: Path) -> None:
        path = self.archive(tmp_path / "a", gzip.compress(bytes(1 << 25)))
        with pytest.raises(SourceError, match="more than 16777216 bytes are compressed in it"):
            open_image(path)

    def test_leaves_that_lead_to_themselves(self, tmp_path: Path) -> None:
        leaf = serialize_directory([Entry(1, 0, 60, 0)])
        root = serialize_directory([Entry(1, 0, len(leaf), 0)])
        path = self.archive(tmp_path / "a", root, serialize_directory([Entry(1, 0, len(leaf), 0)]))
        with pytest.raises(SourceError, match="lead to others more than 4 times"):
            open_image(path)

    def test_leaves_are_followed(self, tmp_path: Path) -> None:
        leaves = [serialize_directory([Entry(1, 0, len(self.GOOD), 1), Entry(3, 0, len(self.GOOD), 2)])]
        root = serialize_directory([Entry(1, 0, len(leaves[0]), 0)])
        with open_image(self.archive(tmp_path / "a", root, leaves[0])) as source:
            assert source.read(level_box(source)).real().sum() == 3 * SIDE * SIDE

    def test_one_run_of_all_tiles_of_zoom_22_is_one_box(self, tmp_path: Path) -> None:
        first = zxy_to_tileid(22, 0, 0)
        out = io.BytesIO()
        Image.fromarray(np.zeros((256, 256, 3), np.uint8)).save(out, "PNG")
        self.GOOD = out.getvalue()
        root = serialize_directory([Entry(first, 0, len(self.GOOD), 1 << 44)])
        with open_image(self.archive(tmp_path / "a", root, zoom=22)) as source:
            assert list(source.covered(level_box(source))) == [level_box(source)]
            inner = Box(1000, 2000, LARGEST_SIDE - 3000, LARGEST_SIDE - 4000)
            first_box = next(source.covered(inner))
            assert inner.holds(first_box)
            far = Box(LARGEST_SIDE - 256, 0, LARGEST_SIDE, 256)
            assert source.read(far).mask is None

    @pytest.mark.parametrize(
        "directory",
        [
            b"",
            b"\x80",
            b"\x01",
            b"\x02\x00\x01\x01\x01\x01\x01\x01",
            b"\x01\x00\x01\x00\x01",
            b"\x01\x00\x01\x05\x00",
            b"\x02\x00\x00\x01\x01\x05\x05\x01\x00",
            b"\x01\x00" + b"\xff" * 8 + b"\x7f\x05\x01",
            b"\x01" + b"\xff" * 9 + b"\x01\x01\x05\x01",
            b"\x02\x00\x01" + b"\xff" * 8 + b"\x3f\x01\x05\x05\x01\x01",
            b"\x02\x00\x01\x01\x01" + (b"\xff" * 8 + b"\x7f") * 2 + b"\x01\x00",
        ],
        ids=range(11),
    )
    def test_directories_that_are_none(self, tmp_path: Path, directory: bytes) -> None:
        with pytest.raises(ValueError, match="director"):
            parse_directory(directory, 0, 1 << 61)
        with pytest.raises(SourceError, match="PMTiles archive"):
            open_image(self.archive(tmp_path / "a", directory, packing=1))

    @FEW
    @given(data=st.binary(max_size=40))
    def test_any_bytes_are_a_directory_in_order_or_an_error(self, data: bytes) -> None:
        try:
            found = parse_directory(data, 0, 1 << 61)
        except ValueError:
            return
        stops = found.ids + np.maximum(found.runs, 1)
        assert (stops[:-1] <= found.ids[1:]).all()
        assert (found.offsets >= 0).all()
        assert (found.lengths > 0).all()

    @FEW
    @given(
        steps=st.lists(
            st.tuples(st.integers(1, 1 << 40), st.integers(0, 3), st.integers(1, 1 << 30), st.integers(0, 1 << 40)),
            max_size=20,
        )
    )
    def test_directories_are_what_the_package_wrote(self, steps: list[tuple[int, int, int, int]]) -> None:
        entries: list[Entry] = []
        place = 0
        for step, run, length, offset in steps:
            place += step + 3
            together = entries and offset % 2
            entries.append(Entry(place, entries[-1].offset + entries[-1].length if together else offset, length, run))
        found = parse_directory(gzip.decompress(serialize_directory(entries)), 0, 1 << 61)
        listed = zip(found.ids, found.offsets, found.lengths, found.runs, strict=True)
        assert [tuple(map(int, each)) for each in listed] == [
            (e.tile_id, e.offset, e.length, e.run_length) for e in entries
        ]

    def test_a_tile_beyond_the_end_is_cut_short(self, tmp_path: Path) -> None:
        path = write_pmtiles(tmp_path / "a", {(1, 0, 0): self.GOOD, (1, 1, 1): encoded(colours(1, 1, 1, 3))})
        assert deserialize_header(path.read_bytes()[:127])["clustered"]
        path.write_bytes(path.read_bytes()[:-10])
        with open_image(path) as source, pytest.raises(SourceError, match="cut short"):
            source.read(level_box(source))
