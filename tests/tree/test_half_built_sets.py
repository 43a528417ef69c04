"""A gist set that is being built while images change: in the end it is as if these had changed before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

import mctree
from mctree.sources.images import Box, ImageSource, open_image
from mctree.testing import assert_whole
from mctree.testing.procedural import ProceduralSource
from mctree.testing.toys import ToySight
from mctree.tree import sets
from tests.tree.albums import SMALL, told

VALUES = ProceduralSource(1100, 2200).read(Box(0, 0, 2200, 1100)).values


class Tired(ToySight):
    """An encoder that fails after some calls."""

    left = 1 << 30

    def encode_patches(self, pixels: NDArray[np.generic], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().encode_patches(pixels, mask)


def change(writer: mctree.Writer, source: ImageSource) -> None:
    writer.change_image("picture", np.full((200, 200, 3), 7, np.uint8), Box(0, 0, 200, 200))


def deepen(writer: mctree.Writer, source: ImageSource) -> None:
    writer.deepen_image("picture", source, region=Box(0, 0, 1024, 1024))


def extend(writer: mctree.Writer, source: ImageSource) -> None:
    writer.extend_image("picture", source)


@pytest.mark.parametrize(
    ("act", "options", "calls"),  # a batch is a block, of two calls, or 64 tiles that were made from overviews
    [(change, {}, 3), (deepen, {"finest": 1}, 70), (extend, {"region": Box(0, 0, 1100, 1024)}, 2)],
    ids=lambda what: getattr(what, "__name__", ""),
)
def test_what_changes_while_a_set_is_built_is_encoded_again(
    act: Any, options: dict[str, Any], calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sets, "_BATCH_IMAGE_BLOCKS", 1)
    with tifffile.TiffWriter(tmp_path / "picture.tif") as file:
        for factor in (1, 2):
            file.write(VALUES[::factor, ::factor], subfiletype=int(factor > 1), tile=(128, 128), photometric="rgb")
    source = open_image(tmp_path / "picture.tif")
    eyes = Tired(3, text=False)
    lines = []
    for early in (True, False):
        with mctree.create(tmp_path / f"{early}.mctree", chunk_bytes=SMALL, encoders=[eyes]) as tree:
            with tree.writer() as writer:
                writer.add_image("picture", source, **options)
            if early:
                monkeypatch.setattr(eyes, "left", calls)
                with pytest.raises(KeyboardInterrupt):
                    tree.build_gists(eyes, "eyes")
                monkeypatch.undo()
                monkeypatch.setattr(sets, "_BATCH_IMAGE_BLOCKS", 1)
                with tree.snapshot() as snapshot:
                    image = snapshot.image("picture")
                    tile = np.array([image.first(1)])
                    root = np.array([image.first(image.root)])
                    assert image.gists(1, tile, "eyes")[1] and not image.gists(image.root, root, "eyes")[1]
            with tree.writer() as writer:
                act(writer, source)
            tree.build_gists(eyes, "eyes")
            assert_whole(tree)
            lines.append([line for line in told(tree) if "level" in line or "pixels" in line])
    assert len(lines[0]) > 5 and lines[0] == lines[1]
