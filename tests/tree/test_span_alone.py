"""An encoder that looks at spans alone is not given the gists below them, and makes the same gists as if it were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import mctree
from mctree.encoders import BytesTokenizer, LexicalEncoder, SpanEncoder
from mctree.encoders.protocol import reads_children
from mctree.testing import ToyEncoder

TEXT = b"what stands in a span is known from its words, as the gists of its blocks are. "


class Whole:
    """A lexical encoder that does not say that it looks at spans alone."""

    def __init__(self, encoder: LexicalEncoder) -> None:
        self._encode = encoder.encode
        self.encode_query, self.dump = encoder.encode_query, encoder.dump
        self.kind, self.fingerprint, self.dim = encoder.kind, encoder.fingerprint, encoder.dim
        self.modalities, self.span_level = encoder.modalities, encoder.span_level
        self.given: set[tuple[int, int]] = set()

    def encode(
        self,
        level: int,
        children: NDArray[np.generic],
        mask: NDArray[np.bool_],
        span: tuple[NDArray[np.uint32], NDArray[np.bool_]] | None = None,
    ) -> NDArray[np.float32]:
        self.given.add((level, children.shape[-1]))
        return self._encode(level, children, mask, span)


class Alone(Whole):
    """One that does."""

    span_alone = True


def levels(path: Path, encoder: Whole) -> list[bytes]:
    """The gists of a tree that is built in pieces, by several writers, refreshed and gone on with."""
    with mctree.create(path, chunk_bytes=1 << 16, encoders=[encoder]) as tree:
        tree.build_gists(encoder, "words")
        for i, blocks in enumerate([5, 30, 2100, 700]):
            with tree.writer() as writer:
                writer.add(f"{i}", (TEXT * blocks)[: 32 * blocks])
        assert encoder.given == {(1, 32), (2, 0 if isinstance(encoder, Alone) else encoder.dim), (3, encoder.dim)}
        with tree.writer() as writer:
            writer.remove("1")
        assert tree.refresh_gists("words") > 0
    with mctree.open(path, encoders=[encoder]) as tree:
        with tree.writer() as writer:
            writer.add("last", TEXT * 900)
        assert list(tree.verify()) == []
        with tree.snapshot() as snapshot:
            gists = snapshot.gists("words")
            assert gists.levels == 3
            return [gists.level(level).view().tobytes() for level in (1, 2, 3)]


def test_gists_are_the_same(tmp_path: Path) -> None:
    encoder = LexicalEncoder.fit(BytesTokenizer(), [TEXT], dim=16)
    assert levels(tmp_path / "whole.mctree", Whole(encoder)) == levels(tmp_path / "alone.mctree", Alone(encoder))


def test_who_says_nothing_is_given_both() -> None:
    encoder = LexicalEncoder.fit(BytesTokenizer(), [], dim=8)
    assert isinstance(encoder, SpanEncoder)
    assert [reads_children(encoder, level) for level in (2, 3)] == [False, True]
    toy = ToyEncoder(span_level=2)
    assert not isinstance(toy, SpanEncoder)
    assert reads_children(toy, 2)
