"""What does a store know of the nodes of its timeline and its images?  What they cost, and where they sit, at a commit.

Nothing is kept in memory but what a process knows of the commit anyway, so what is asked costs the same in a small
store and in a large one: a few gathers, and a look-up for each document that has to be found out.  Only the mean
position of a wide node that has padding or dead blocks is a sum over it, which is remembered (`mctree.tree.moments`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mctree.errors import NotFoundError, UsageError
from mctree.focus.entries import IMAGE_MODALITY, SEVERAL, TEXT_MODALITY, UNKNOWN, Facts, Nodes
from mctree.focus.ground import BLOCK, TILE, Grafts, Ground, Tails, widths
from mctree.focus.runs import Runs
from mctree.geometry import TEXT, Leaves, World, intervals

if TYPE_CHECKING:
    from mctree.tree import Snapshot

__all__ = ["SnapshotGround", "sigma_of"]

_ROOT_12 = np.sqrt(12.0)


def sigma_of(length: NDArray[np.int64]) -> NDArray[np.float64]:
    """The standard deviation of a uniform distribution of so many positions: `float64 [n]`."""
    sigma: NDArray[np.float64] = length / _ROOT_12
    return sigma


class SnapshotGround(Ground):
    """A snapshot, as a working context sees it, or as much of it as lies before a position.

    Args:
        snapshot: stays open as long as the ground is used.
        until: a position between two blocks, behind which nothing exists, unfinished blocks neither; all exists if
            None.

    Raises:
        UsageError: `until` lies within a block, or behind all that was placed.
    """

    def __init__(self, snapshot: Snapshot, until: int | None = None) -> None:
        self.snapshot = snapshot
        self.identity = snapshot.store.identity
        self.commit = snapshot.commit
        self.world = snapshot.world.geometry if until is None else _before(snapshot.world.geometry, until)
        places = snapshot.gallery.places.grafts
        if until is not None:
            places = places[places["block"] < until // BLOCK]
        root = places["level"].astype(np.int64)
        self.grafts = Grafts.made(
            len(places),
            block=places["block"].astype(np.int64),
            space=places["space"].astype(np.int64),
            level=root,
            index=places["base"].astype(np.int64) // widths(places["space"].astype(np.int64), root),
        )
        waiting = [(document.id, document.tail) for document in snapshot.tails()] if until is None else []
        found = [(number, len(tail.tokens)) for number, tail in waiting if tail is not None]
        document, tokens = np.array(found, np.int64).reshape(-1, 2).T
        self.tails = Tails.made(len(found), document=document, tokens=tokens)
        self._runs: dict[int, NDArray[np.int64]] = {}

    def arena(self, space: int) -> World:
        """All images of a store lie in one.

        Raises:
            NotFoundError: there is none of that number, or no image.
        """
        if not len(self.grafts) or space != int(self.grafts.space[0]):
            raise NotFoundError(f"space {space} is not in this store at commit {self.commit}")
        return self.snapshot.arena.world

    def leaves(self, space: int) -> Leaves | None:
        """The closed nodes of images: those that were made from an overview and have nothing below them."""
        closed = self.snapshot.arena.closed if space and len(self.grafts) else None
        return closed if closed is not None and len(closed) else None

    def tokens(self, first: int, stop: int) -> int:
        """See `Ground.tokens`."""
        world = self.snapshot.world
        before = world.tokens_before(np.array([first, stop]))
        images = world.slots_in(np.array([first]), np.array([stop]))
        return int(before[1] - before[0] + images[0])

    def facts(self, nodes: Nodes, document: NDArray[np.int64]) -> Facts:
        """See `Ground.facts`."""
        if not len(self.grafts):
            return self._of_timeline(nodes, document)
        image = nodes.space > 0
        if image.all() and len(nodes):
            return self._of_images(nodes)
        if image.any():
            parts = [self._of_timeline(nodes.take(~image), document[~image]), self._of_images(nodes.take(image))]
            back = np.argsort(np.concatenate((np.flatnonzero(~image), np.flatnonzero(image))))
            return Facts.joined(parts).take(back)
        return self._of_timeline(nodes, document)

    def _of_images(self, nodes: Nodes) -> Facts:
        """The facts of what lies in images: tiles at LOD0 cost their patches and are sharp."""
        tile = nodes.level == 0
        index = np.where(tile, nodes.index // TILE, nodes.index)
        found = self.snapshot.arena.extents(np.maximum(nodes.level, 1), index)
        return Facts.made(
            len(nodes),
            cost=np.where(tile, found.patches, 1),
            growth=np.where(tile, 0, found.children - 1),
            position=nodes.slot.astype(np.float64),
            sigma=0.0,
            document=found.document,
            modality=IMAGE_MODALITY,
            x=found.x,
            y=found.y,
            sigma_x=np.where(tile, 0.0, sigma_of(found.width)),
            sigma_y=np.where(tile, 0.0, sigma_of(found.height)),
        )

    def _of_timeline(self, nodes: Nodes, document: NDArray[np.int64]) -> Facts:
        if not len(self.tails):
            return self._placed(nodes, document)
        late = (nodes.level == 0) & (nodes.index >= self.end)
        if not late.any():
            return self._placed(nodes, document)
        which = (nodes.index[late] - self.end) // BLOCK
        tokens = self.tails.tokens[which]
        start = nodes.index[late].astype(np.float64)
        tails = _facts(tokens, tokens, start + (tokens - 1) / 2, tokens, self.tails.document[which], nodes.level[late])
        if late.all():
            return tails
        both = Facts.joined([self._placed(nodes.take(~late), document[~late]), tails])
        return both.take(np.argsort(np.concatenate((np.flatnonzero(~late), np.flatnonzero(late)))))

    def _placed(self, nodes: Nodes, document: NDArray[np.int64]) -> Facts:
        level = np.maximum(nodes.level, 1)
        index = nodes.slot // widths(nodes.space, level)
        found = self.snapshot.world.extents(level, index)
        unknown = (document == UNKNOWN).nonzero()[0]
        if len(unknown):
            document = document.copy()
            document[unknown] = self._documents(level[unknown], index[unknown])
        below = found.tokens.copy()
        wide = (level > 1).nonzero()[0]
        below[wide] = self._existing_children(level[wide], index[wide])
        facts = _facts(found.tokens, below, found.position, found.length, document, nodes.level)
        if not len(self.grafts):
            return facts
        graft = self.grafts.at(np.where(nodes.level == 1, nodes.index, -1))
        slots = np.flatnonzero(graft >= 0)
        return facts if not len(slots) else self._with_roots(facts, slots, self.grafts.take(graft[slots]))

    def _with_roots(self, facts: Facts, slots: NDArray[np.int64], grafts: Grafts) -> Facts:
        """The same facts, where some nodes are images: these look like what their roots hold."""
        root = self.snapshot.arena.extents(grafts.level, grafts.index)
        integers, reals = facts.integers.copy(), facts.reals.copy()
        integers[Facts.INTEGERS.index("growth"), slots] = root.children - 1
        integers[Facts.INTEGERS.index("modality"), slots] = IMAGE_MODALITY
        sides = {"x": root.x, "y": root.y, "sigma_x": sigma_of(root.width), "sigma_y": sigma_of(root.height)}
        for name, values in sides.items():
            reals[Facts.REALS.index(name), slots] = values
        return Facts(integers, reals)

    def _existing_children(self, level: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many children nodes from level 2 up have."""
        fanout = TEXT.block
        count = np.full(len(level), fanout, np.int64)
        if not len(self.world.dead):
            return count
        spans = np.column_stack(TEXT.span(level, index))
        holed = intervals.meets(self.world.dead, spans).nonzero()[0]
        if len(holed):
            below = (index[holed, None] * fanout + np.arange(fanout)).ravel()
            exist = self.world.exists(TEXT, np.repeat(level[holed] - 1, fanout), below)
            count[holed] = exist.reshape(-1, fanout).sum(axis=1)
        return count

    def _documents(self, level: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.int64]:
        """The documents of nodes from level 1 up; `SEVERAL` where the living blocks of one are of more than one."""
        start, stop = TEXT.span(level, index)
        first, last = self.snapshot.world.reach(start // BLOCK, stop // BLOCK)
        alive = np.column_stack((first, last + 1))
        # Where one large document has most of them, its runs say so without a look at each.
        likely = int(self.snapshot.documents_of(alive[:1, 0])[0])
        inside = intervals.covers(self._runs_of(likely), alive)
        found = np.full(len(alive), likely, np.int64)
        found[~inside] = self._documents_by_blocks(level[~inside], alive[~inside])
        return found

    def _documents_by_blocks(self, level: NDArray[np.int64], alive: NDArray[np.int64]) -> NDArray[np.int64]:
        """The same by the records of blocks, for nodes whose first and last living blocks these are."""
        found = np.empty(len(alive), np.int64)
        narrow = level <= 2
        found[narrow], found[~narrow] = self._documents_by_each(alive[narrow]), self._documents_by_ends(alive[~narrow])
        return found

    def _documents_by_each(self, alive: NDArray[np.int64]) -> NDArray[np.int64]:
        """For nodes of few blocks, whose records are in one page or two: all are looked at."""
        blocks = intervals.points(alive)
        node = np.repeat(np.arange(len(alive)), alive[:, 1] - alive[:, 0])
        if len(self.world.dead):
            living = self.world.exists(TEXT, 1, blocks)
            blocks, node = blocks[living], node[living]
        bounds = np.searchsorted(node, np.arange(len(alive) + 1))
        runs = Runs(np.column_stack((bounds[:-1], bounds[1:])))
        return runs.common(self.snapshot.documents_of(blocks), SEVERAL)

    def _documents_by_ends(self, alive: NDArray[np.int64]) -> NDArray[np.int64]:
        """For nodes of many blocks: by the first and the last one, and the runs of a document that has both."""
        ends = self.snapshot.documents_of(np.concatenate((alive[:, 0], alive[:, 1] - 1))).reshape(2, -1)
        found = np.where(ends[0] == ends[1], ends[0], SEVERAL)
        # One document at both ends may have let another one in between, where it was open.
        for number in set(found[found != SEVERAL].tolist()):
            some = np.flatnonzero(found == number)
            spans = alive[some]
            others = spans[:, 1] - spans[:, 0] - intervals.overlap(self._runs_of(number), spans)
            dead = intervals.overlap(self.world.dead, spans * BLOCK) // BLOCK
            found[some[others != dead]] = SEVERAL
        return found

    def _runs_of(self, document: int) -> NDArray[np.int64]:
        """The blocks of a document, as intervals."""
        runs = self._runs.get(document)
        if runs is None:
            spans = [(run.block, run.block + run.blocks) for run in self.snapshot.document(document).runs]
            runs = self._runs[document] = intervals.normalise(np.array(spans, np.int64).reshape(-1, 2))
        return runs


def _before(world: World, until: int) -> World:
    """What exists of a world before a position."""
    if until % BLOCK or not 0 <= until <= world.positions:
        raise UsageError(f"nothing ends at position {until}: give a multiple of {BLOCK} up to {world.positions}")
    return World(until, intervals.within(world.dead, 0, until))


def _facts(
    tokens: NDArray[np.int64],
    below: NDArray[np.int64],
    position: NDArray[np.float64],
    length: NDArray[np.int64],
    document: NDArray[np.int64],
    level: NDArray[np.int64],
) -> Facts:
    """The facts of text: blocks at LOD0 cost their tokens and are sharp; gists cost 1 and are as wide as they reach."""
    block = (level == 0).nonzero()[0]
    cost, growth, sigma = np.ones(len(level), np.int64), below - 1, sigma_of(length)
    cost[block], growth[block], sigma[block] = tokens[block], 0, 0.0
    return Facts.made(
        len(level),
        cost=cost,
        growth=growth,
        position=position,
        sigma=sigma,
        document=document,
        modality=TEXT_MODALITY,
        x=0.0,
        y=0.0,
        sigma_x=0.0,
        sigma_y=0.0,
    )
