"""Gists of an image that somebody changed without having their encoder: told to be stale everywhere, and made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import mctree
from mctree.sources.images import Box
from tests.tree.albums import EYES, JOINT, WORDS, made, pixels, told, with_sets


def test_a_set_of_both_kinds_is_told_to_be_stale_and_refreshed_where_an_image_changed(tmp_path: Path) -> None:
    """Somebody without the encoder changed an image: its gists, its block's, and those above are of what was before."""
    box, changed = Box(200, 200, 210, 210), pixels(10, 10, seed=1)

    def fill(tree: mctree.Tree) -> None:
        with tree.writer() as writer:
            writer.add("before", b"b" * 40)
            writer.add_image("picture", pixels(500, 500))
            writer.add("after", b"a" * 32 * 80)
        with_sets(tree)

    with made(tmp_path / "t.mctree") as tree:
        fill(tree)
    with mctree.open(tmp_path / "t.mctree") as tree, tree.writer() as writer:
        writer.change_image("picture", changed, box)
    with mctree.open(tmp_path / "t.mctree", encoders=[JOINT, EYES, WORDS]) as tree:
        with tree.snapshot() as snapshot:
            slot, level = snapshot.image("picture").block, 2
            joint, words = snapshot.gists("joint"), snapshot.gists("words")
            assert joint.stale(1, np.arange(snapshot.blocks)).tolist() == [
                block == slot for block in range(snapshot.blocks)
            ]
            assert joint.stale(level, np.arange(joint.rows(level))).tolist()[:2] == [True, False]
            assert not words.stale(1, np.arange(snapshot.blocks)).any()
            in_image, above = 64 + 1 + 2, 1 + 1  # patches, tile, what is above; a block, and what is above
            assert joint.stale_in_images() == snapshot.gists("eyes").stale_in_images() == in_image
            assert words.stale_in_images() == 0
        assert tree.refresh_gists("joint") == in_image + above
        before = tree.commits()[-1].number
        assert tree.refresh_gists("joint") == 0 and tree.commits()[-1].number == before, "nothing is left to do"
        assert tree.refresh_gists("eyes") == in_image
        with tree.snapshot() as snapshot:
            joint = snapshot.gists("joint")
            assert not joint.stale(1, np.arange(snapshot.blocks)).any() and not joint.stale_in_images()
        lines = told(tree)
    with made(tmp_path / "anew.mctree") as anew:
        fill(anew)
        with anew.writer() as writer:
            writer.change_image("picture", changed, box)
        assert lines == told(anew)
