"""What would a working context stand on if stores held images?  A ground on paper: lists, with images grafted in.

`PaperWorld` is a timeline that grows, loses documents, has unfinished blocks, and takes images, whole or with missing
tiles.  Its `ground` is what a working context stands on at that moment.  All that is known of a node is worked out
from the positions that it stands for, one by one, in exact arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from mctree.errors import NotFoundError
from mctree.focus.entries import IMAGE_MODALITY, SEVERAL, TEXT_MODALITY, Facts, Nodes
from mctree.focus.ground import BLOCK, TILE, Grafts, Ground, Tails
from mctree.geometry import IMAGE, TEXT, Leaves, World, intervals, morton

__all__ = ["PaperGround", "PaperImage", "PaperWorld"]


@dataclass(frozen=True)
class PaperImage:
    """An image of so many patches.

    Attributes:
        height: rows of patches.
        width: columns of patches.
        missing: tiles (column, row) that were not written.
        closed: nodes (level, number in Z-order) that hold patches and below which nothing is there yet: known from an
            overview alone, and none below another.
    """

    height: int
    width: int
    missing: frozenset[tuple[int, int]] = frozenset()
    closed: frozenset[tuple[int, int]] = frozenset()

    @property
    def extent(self) -> int:
        """Positions that it reserves in its arena."""
        return morton.extent(self.height, self.width)

    def patches(self) -> list[tuple[int, int]]:
        """The patches (x, y) that exist."""
        side = morton.TILE
        every = ((x, y) for y in range(self.height) for x in range(self.width))
        return [(x, y) for x, y in every if (x // side, y // side) not in self.missing]

    def nodes(self, level: int) -> list[int]:
        """The nodes of a level, by their numbers in Z-order, that hold patches."""
        return sorted({int(morton.encode(x, y)) // IMAGE.width(level) for x, y in self.patches()})

    def opened(self, level: int, code: int) -> PaperImage:
        """With the children of a closed node, which are closed themselves if they are above patches."""
        below = [node for node in self.nodes(level - 1) if node // IMAGE.fanout(level - 1) == code] if level > 1 else []
        return replace(self, closed=self.closed - {(level, code)} | {(level - 1, node) for node in below})


@dataclass
class PaperWorld:
    """A timeline that changes; `ground` is a view of it as it is.

    Attributes:
        counts: real tokens of each block that was placed; 1 for the block of an image.
        documents: the document of each block.
        dead: blocks of documents that are gone.
        images: images by the block that they take.
        tails: (document, tokens) of the unfinished blocks.
        commit: goes up with every ground.
    """

    counts: list[int] = field(default_factory=list)
    documents: list[int] = field(default_factory=list)
    dead: set[int] = field(default_factory=set)
    images: dict[int, PaperImage] = field(default_factory=dict)
    tails: list[tuple[int, int]] = field(default_factory=list)
    commit: int = 0
    _identity: object = field(default_factory=object)
    _bases: dict[int, int] = field(default_factory=dict)

    def place(self, document: int, counts: Sequence[int]) -> None:
        """Put blocks of a document at the end."""
        self.counts += counts
        self.documents += [document] * len(counts)

    def graft(self, document: int, image: PaperImage) -> int:
        """Put an image at the end; the block that it takes.  It needs a patch that exists."""
        block = len(self.counts)
        self.place(document, [1])
        self.images[block] = image
        # All lie in one arena, each at a multiple of its own extent.
        last = max((base + self.images[at].extent for at, base in self._bases.items()), default=0)
        self._bases[block] = -(-last // image.extent) * image.extent
        return block

    def write(self, block: int, tile: tuple[int, int]) -> None:
        """Write a tile of an image that was missing."""
        image = self.images[block]
        self.images[block] = replace(image, missing=image.missing - {tile})

    def open(self, block: int, node: tuple[int, int]) -> None:
        """Let the children of a closed node of an image come."""
        self.images[block] = self.images[block].opened(*node)

    def remove(self, document: int) -> None:
        """Let a document be gone."""
        self.dead |= {block for block, owner in enumerate(self.documents) if owner == document}
        self.tails = [tail for tail in self.tails if tail[0] != document]

    def ground(self) -> PaperGround:
        """What a working context stands on now."""
        self.commit += 1
        alive = {block: self._bases[block] for block in self.images if block not in self.dead}
        return PaperGround(self, alive)


class PaperGround(Ground):
    """A `PaperWorld` at one moment.

    Attributes:
        bases: for the block of each image, the first position of its root.
        patches: (x, y) of each patch, by its position in the arena.
        closed: the closed nodes, by level and first position in the arena.
        fails_after: after so many questions about facts it raises `RuntimeError`; None: never.
    """

    def __init__(self, world: PaperWorld, bases: dict[int, int]) -> None:
        self.identity = world._identity
        self.commit = world.commit
        self.fails_after: int | None = None
        self.counts, self.documents, self.dead = list(world.counts), list(world.documents), set(world.dead)
        self.images = {block: world.images[block] for block in bases}
        self.bases = bases
        gone = np.array(sorted(self.dead), np.int64)
        self.world = World(len(self.counts) * BLOCK, np.column_stack((gone, gone + 1)).reshape(-1, 2) * BLOCK)
        document, tokens = np.array(world.tails, np.int64).reshape(-1, 2).T
        self.tails = Tails.made(len(world.tails), document=document, tokens=tokens)
        roots = [(block, *self._root(block)) for block in sorted(bases)]
        block, level, index = np.array(roots, np.int64).reshape(-1, 3).T
        self.grafts = Grafts.made(len(roots), block=block, space=1, level=level, index=index)
        alive = [0 if at in self.dead else count for at, count in enumerate(self.counts)]
        sums = (BLOCK * at * count + count * (count - 1) // 2 for at, count in enumerate(alive))
        self._tokens, self._sums = list(accumulate(alive, initial=0)), list(accumulate(sums, initial=0))
        self.patches = {
            base + morton.encode(x, y): (x, y) for at, base in bases.items() for x, y in self.images[at].patches()
        }
        self._codes = np.array(sorted(self.patches), np.int64)
        self.closed = {
            (level, base + code * IMAGE.width(level))
            for at, base in bases.items()
            for level, code in self.images[at].closed
        }
        found = np.array(sorted((start, level) for level, start in self.closed), np.int64).reshape(-1, 2)
        self._leaves = Leaves(IMAGE, found[:, 0], found[:, 1])
        last = max((base + self.images[at].extent for at, base in bases.items()), default=0)
        codes = intervals.normalise(np.column_stack((self._codes, self._codes + 1)))
        self._arena = World(last, intervals.complement(codes, 0, last))

    def _root(self, block: int) -> tuple[int, int]:
        extent = self.images[block].extent
        return IMAGE.widths.index(extent), self.bases[block] // extent

    def arena(self, space: int) -> World:
        """All images lie in space 1."""
        if space != 1:
            raise NotFoundError(f"there is no space {space}")
        return self._arena

    def leaves(self, space: int) -> Leaves | None:
        """The closed nodes of all images."""
        return self._leaves if space and self.closed else None

    def tokens(self, first: int, stop: int) -> int:
        """See `Ground.tokens`."""
        return self._tokens[stop] - self._tokens[first]

    def facts(self, nodes: Nodes, document: NDArray[np.int64]) -> Facts:
        """See `Ground.facts`; what is known of documents already is not made use of."""
        if self.fails_after is not None:
            self.fails_after -= 1
            if self.fails_after < 0:
                raise RuntimeError("this ground was to fail")
        rows = [
            (self._patch_facts if space else self._text_facts)(level, index, slot)
            for space, level, index, slot in nodes.integers.T.tolist()
        ]
        names = ("cost", "growth", "position", "sigma", "document", "modality", "x", "y", "sigma_x", "sigma_y")
        return Facts.made(len(rows), **{name: [row[i] for row in rows] for i, name in enumerate(names)})

    def _text_facts(self, level: int, index: int, slot: int) -> tuple[float, ...]:
        if level == 0 and slot >= len(self.counts) * BLOCK:
            owner, count = self.tails.integers[:, (slot - len(self.counts) * BLOCK) // BLOCK].tolist()
            return count, 0, slot + (count - 1) / 2, 0.0, owner, TEXT_MODALITY, 0.0, 0.0, 0.0, 0.0
        first = slot // BLOCK
        stop = first + max(TEXT.widths[level] // BLOCK, 1)
        alive = [block for block in range(first, stop) if block not in self.dead]
        count, total = self.tokens(first, stop), self._sums[stop] - self._sums[first]
        assert alive, f"facts are asked of {level}:{index}, which does not exist"
        position = total / count  # of whole numbers, so it is rounded once
        owners = {self.documents[block] for block in alive}
        owner = owners.pop() if len(owners) == 1 else SEVERAL
        if level == 0:
            return count, 0, position, 0.0, owner, TEXT_MODALITY, 0.0, 0.0, 0.0, 0.0
        length = BLOCK * alive[-1] + self.counts[alive[-1]] - BLOCK * alive[0]
        step = max(TEXT.widths[level - 1] // BLOCK, 1)
        below = count if level == 1 else len({block // step for block in alive})
        if level == 1 and index in self.images:
            found = self._patch_facts(*self._root(index), slot)
            return (1, found[1], position, length / math.sqrt(12), owner, *found[5:])
        return 1, below - 1, position, length / math.sqrt(12), owner, TEXT_MODALITY, 0.0, 0.0, 0.0, 0.0

    def _patch_facts(self, level: int, index: int, slot: int) -> tuple[float, ...]:
        width = IMAGE.widths[level]
        first, stop = index * width, index * width + max(width, TILE)
        codes = self._codes[np.searchsorted(self._codes, first) : np.searchsorted(self._codes, stop)].tolist()
        assert codes, f"facts are asked of a1/{level}:{index}, which does not exist"
        block = slot // BLOCK
        position, owner = float(slot), self.documents[block]
        places = [self.patches[code] for code in codes]
        means = [sum(axis) / len(places) for axis in zip(*places, strict=True)]
        sides = [max(axis) - min(axis) + 1 for axis in zip(*places, strict=True)]
        if level == 0:
            return len(places), 0, position, 0.0, owner, IMAGE_MODALITY, *means, 0.0, 0.0
        step = IMAGE.widths[level - 1]
        below = len(places) if level == 1 else len({code // step for code in codes})
        if (level, first) in self.closed:
            below = 0
        spread = [side / math.sqrt(12) for side in sides]
        return 1, below - 1, position, 0.0, owner, IMAGE_MODALITY, *means, *spread
