"""What does a node look like in one line?  Its address, its tokens, where it comes from, and how its text begins.

Costs a few look-ups for a node of any level: only its first and its last block are read.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from mctree import Document, Node, Snapshot
from mctree.cli.escaping import escape
from mctree.cli.formatting import cells, clip
from mctree.format.records import BLOCK
from mctree.geometry import TEXT, Address, intervals
from mctree.tree import Image, Provenance
from mctree.tree.codecs import decoded
from mctree.tree.intact import intact_tokens

__all__ = ["Ends", "beginning", "byte_range", "children", "clip_front", "ends", "image_of", "origin", "pixels"]

_BLOCKS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Ends:
    """Where the first and the last block of a node come from."""

    first: Provenance
    last: Provenance


def pixels(snapshot: Snapshot, document: Document) -> tuple[int, int] | None:
    """Width and height of a document that is an image; None of any other."""
    if document.record.media != "image" or (graft := snapshot.gallery.places.of_document(document.id)) is None:
        return None
    return int(graft["width"]), int(graft["height"])


def image_of(snapshot: Snapshot, node: Node) -> Image | None:
    """The image that a node of the timeline is; None if it is none, or holds more."""
    if node.level != 1 or (graft := snapshot.gallery.places.at_block(node.index)) is None:
        return None
    return snapshot.image(int(graft["document"]))


def ends(snapshot: Snapshot, node: Node) -> Ends:
    """Where a node begins and ends."""
    start, stop = (bound // BLOCK for bound in node.span)
    alive = snapshot.world.geometry.existing(TEXT, 1, start, max(stop, start + 1))
    first, last = int(alive[0, 0]), int(alive[-1, 1]) - 1
    found = [snapshot.provenance(block * BLOCK, (block + 1) * BLOCK)[0] for block in (first, last)]
    return Ends(*found)


def origin(found: Ends, width: int) -> str:
    """Where a node comes from, in at most so many cells: a source and its bytes, or the sources at its ends."""
    first, last = escape(found.first.source), escape(found.last.source)
    if found.first.document == found.last.document:
        span = byte_range(found.first.start, found.last.stop)
        return f"{clip_front(first, max(width - len(span) - 1, 8))} {span}"
    # What the two have in common is said once.
    folders = zip(first.split("/")[:-1], last.split("/")[:-1], strict=False)
    shared = sum(len(folder) + 1 for folder, _ in takewhile(lambda pair: pair[0] == pair[1], folders))
    last = clip_front(last[shared:], (width - 3) // 2)
    return f"{clip_front(first, width - 3 - cells(last))} … {last}"


def byte_range(start: int, stop: int) -> str:
    """Bytes [start, stop)."""
    return f"{start}..{stop}"


def clip_front(text: str, width: int) -> str:
    """A line cut to so many cells at its front: of a path the end says most."""
    return clip(text[::-1], width)[::-1]


def children(node: Node, snapshot: Snapshot) -> list[Node]:
    """The children of a node that exist; none for blocks, whose children are tokens."""
    if node.level < 2:
        return []
    first, stop = TEXT.children(node.level, node.index)
    alive = intervals.points(snapshot.world.geometry.existing(TEXT, node.level - 1, int(first), int(stop)))
    return [Node(snapshot, Address(0, node.level - 1, int(index))) for index in alive]


def beginning(snapshot: Snapshot, node: Node, characters: int) -> tuple[str, bool]:
    """How a node's text begins, and whether that is all of it.

    Without a tokenizer it is the tokens' numbers.
    """
    text = ""
    for part in _parts(snapshot, *node.span, characters):
        text += part
        if len(text) > characters:
            break
    return text[:characters], len(text) <= characters


def _parts(snapshot: Snapshot, start: int, stop: int, characters: int) -> Iterator[str]:
    """The text of a span, a few blocks at a time; a character that two parts share is put together."""
    # A token has a character or more, mostly: look at little where little is wanted.
    step = min(max(characters // BLOCK, 2), _BLOCKS_AT_ONCE)
    tokenizer = snapshot.tree.tokenizer
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for first, last in snapshot.world.geometry.existing(TEXT, 1, start // BLOCK, -(-stop // BLOCK)).tolist():
        for at in range(first, last, step):
            tokens = intact_tokens(snapshot, max(at * BLOCK, start), min(min(at + step, last) * BLOCK, stop))
            if tokenizer is None:
                yield "".join(f"{token} " for token in tokens.tolist())
            else:
                yield decoder.decode(decoded(tokenizer, tokens))
    yield decoder.decode(b"", final=True)
