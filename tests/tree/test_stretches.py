"""Do stretches hold every placed token of every live document, in order, and nothing else?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given

import mctree
from mctree.testing import Plan, made, strategies
from mctree.tree import Snapshot, Stretches, stretches
from mctree.tree.text_arrays import LOD0


def tokens_by_document(snapshot: Snapshot, found: Stretches) -> dict[int, list[int]]:
    """The tokens that stretches name, read one stretch at a time."""
    held: dict[int, list[int]] = {}
    for position, tokens, document in zip(found.position, found.tokens, found.document, strict=True):
        held.setdefault(int(document), []).extend(snapshot.rows(LOD0).read(int(position), int(position + tokens)))
    return held


@given(plan=strategies.plans(text=False, vocabulary=300))
def test_stretches_are_the_placed_tokens_of_live_documents(plan: Plan) -> None:
    with made(plan) as sample:
        for number, state in sample.model.commits.items():
            try:
                snapshot = sample.tree.snapshot(number)
            except mctree.MctreeError:
                continue
            with snapshot:
                found = stretches(snapshot)
                assert (np.diff(found.document) >= 0).all()
                wanted = {d.id: d.tokens[: d.placed].tolist() for d in state.documents.values() if d.placed}
                assert tokens_by_document(snapshot, found) == wanted


def test_a_document_is_one_stretch_unless_it_was_opened_again_or_others_came_between(tmp_path: Path) -> None:
    with mctree.create(tmp_path / "t.mctree", vocabulary=1000) as tree, tree.writer() as writer:
        one, two = writer.begin("one"), writer.begin("two")
        one.extend(range(40))
        two.extend(range(100, 140))
        one.extend(range(40, 70))
        one.close()
        two.close()
        writer.commit()
        again = writer.reopen("two")
        again.extend(range(200, 265))
        again.close()
        writer.commit()
        with tree.snapshot() as snapshot:
            found = stretches(snapshot)
            assert tokens_by_document(snapshot, found) == {
                1: list(range(70)),
                2: [*range(100, 140), *range(200, 265)],
            }
            assert found.tokens.tolist() == [32, 38, 32, 8, 65]


def test_none_in_an_empty_store(tmp_path: Path) -> None:
    with mctree.create(tmp_path / "t.mctree") as tree, tree.snapshot() as snapshot:
        assert len(stretches(snapshot)) == 0


def test_images_have_no_stretches(tmp_path: Path) -> None:
    with mctree.create(tmp_path / "t.mctree", vocabulary=1000) as tree:
        with tree.writer() as writer:
            for number in range(3):
                writer.add_image(f"image {number}", np.zeros((20, 20, 3), np.uint8))
                document = writer.begin(f"text {number}")
                document.extend(np.arange(40) + 100 * number)
                document.close()
            writer.commit()
            writer.remove("image 1")
        with tree.snapshot() as snapshot:
            held = tokens_by_document(snapshot, stretches(snapshot))
            assert list(held.values()) == [list(range(100 * n, 100 * n + 40)) for n in range(3)]
