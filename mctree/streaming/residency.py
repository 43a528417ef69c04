"""How does a working context stay on a device?  By what changes: rows that enter are held, and fetched if need be.

    update      the entries are now these: hold what has come, let go of what has left, ask for what is missing
    want        the lens wants these expanded: let their children come ahead of need
    ready       all children of these are resident, so that they can be expanded at once
    resident    both, as a step of a working context asks for them
    seen        entries and the slots of their rows; ancestors stand in for what is missing

The coarsest view of everything is pinned, so something stands in for every entry, and `seen` never waits.  A context
that expands only what is `ready` is never missing anything, save after a jump to a view of one's own.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.streaming.ancestors import Ancestors, Node, nearest
from mctree.streaming.families import Families
from mctree.streaming.fetch import Fetch
from mctree.streaming.lineage import Ground, Lineage, roots
from mctree.streaming.nodes import GISTS, PATCHES, TOKENS, Columns, Nodes, plane_of
from mctree.streaming.pool import MISSING
from mctree.streaming.requests import Request
from mctree.streaming.standing import Seen, replaced
from mctree.streaming.stream import Stream

__all__ = ["Residency"]


class Residency:
    """One working context on the device of a stream; let go of by `close`, or a `with` block.

    Args:
        stream: brings the rows.
        ground: what the context stands on, at the commit that the stream reads from.
        families: the children of how many entries may be on their way, or waiting to be shown, at a time.
        patience: for so many turns they stay when the entry is not wanted any more.

    Waits for the coarsest view, if that is not resident yet.

    Raises:
        BusyError: the pool has not even slots for that.
        CorruptError: what is on disk is not what was committed.
    """

    def __init__(self, stream: Stream, ground: Ground, *, families: int = 64, patience: int = 4) -> None:
        self.stream = stream
        self._ground = ground
        self._lineage = Lineage.of(ground)
        self._families = Families(stream, families, patience)
        self._nodes = Nodes.none()
        self._slots = np.empty(0, np.int64)
        self._ancestors = Ancestors(self._lineage)
        self._above: dict[Node, int] = {}
        self._above_missing: set[Node] = set()
        self._requests: dict[Node, Request] = {}
        self._open: dict[Request, int] = {}
        self._roots = self._settled(stream.request(roots(ground), pinned=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Residency of {len(self)} entries, {self.missing} missing, {len(self._families)} families>"

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def missing(self) -> int:
        """How many entries are not resident."""
        return int(np.count_nonzero(self._slots == MISSING))

    def close(self) -> None:
        """Let go of everything, and want nothing any more."""
        for node in list(self._requests):
            self._no_longer(node)
        self._families.forget()
        self._show(Nodes.none(), np.arange(len(self)), np.empty(0, np.int64))
        self.stream.unpin(self._roots)

    # A step

    def update(
        self,
        entries: Columns,
        left_at: NDArray[np.int64] | None = None,
        entered_at: NDArray[np.int64] | None = None,
    ) -> None:
        """The entries of the context are now these; call it after each turn of the stream, changed or not.

        Args:
            entries: all of them, in order.
            left_at: which of the old ones have left, ascending, as `Diff` says.
            entered_at: which of these are new, ascending; without the two, all are taken for new.

        Raises:
            CorruptError: one of these, or of their ancestors, could not be read.  It is tried again at the next call,
                and until then an ancestor stands in.
            UsageError: the changes do not lead from the old entries to these.
        """
        if left_at is None or entered_at is None:
            left_at, entered_at = np.arange(len(self)), np.arange(len(entries.index))
        if len(self) - len(left_at) + len(entered_at) != len(entries.index):
            raise UsageError(
                f"{len(self)} entries less {len(left_at)} plus {len(entered_at)} are not {len(entries.index)}: "
                "give what has changed since the last update"
            )
        if len(left_at) or len(entered_at):
            self._show(Nodes.of(entries), left_at, entered_at)
        self.stream.later(self._families.look)
        self._look()

    def want(self, entries: Columns, scores: NDArray[np.float64]) -> None:
        """Let the children of entries come ahead of need; what was wanted and is no longer is given up in a while.

        Args:
            entries: above level 0, of the context.
            scores: how much each is wanted, `float64 [n]`.
        """
        self._families.want(entries, scores, self._ground)

    def ready(self, entries: Columns) -> NDArray[np.bool_]:
        """Which entries can be expanded at once, since all their children are resident: `bool [n]`.

        Only what `want` was told of is ready.
        """
        return self._families.ready(entries)

    def resident(self, entries: Columns, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
        """`want` and `ready` in one: what `WorkingContext.step` asks of entries that a lens wants expanded."""
        return self._families.want(entries, scores, self._ground)

    def seen(self) -> Seen:
        """What can be looked at now; does not wait.

        Raises:
            UsageError: the entries are of another commit.
        """
        missing = (self._slots == MISSING).nonzero()[0]
        if not len(missing):
            return Seen(self._nodes, self._slots, np.arange(len(self)), 0)
        some = self._nodes.take(missing)
        stand_ins, slots, found = nearest(some, self._lineage, self._resident)
        parts, places = [stand_ins.take(found)], [slots[found]]
        if not found.all():
            # No gist was made of anything above these: then one without will do.
            stand_ins, slots, last = nearest(some.take(~found), self._lineage, self._anything)
            if not last.all():
                raise UsageError("entries of another commit than the residency is at: let it follow first")
            parts.append(stand_ins)
            places.append(slots)
        for image in (False, True):
            self.stream.counters.of(image).fallbacks += int(np.count_nonzero((some.space > 0) == image))
        return replaced(self._nodes, self._slots, Nodes.joined(parts), np.concatenate(places))

    # Another commit

    def foresee(self, ground: Ground, fetch: Fetch) -> Request:
        """Let the coarsest view at another commit come; when that is done, `follow` does not have to wait."""
        return self.stream.request(roots(ground), pinned=True, fetch=fetch)

    def follow(self, ground: Ground, fetch: Fetch, foreseen: Request | None = None) -> None:
        """Move to another commit, with the stream; `update` has to be told of all entries then, as if all were new.

        Waits for the coarsest view there, unless it was foreseen and has arrived.

        Raises:
            UsageError: it is one of another tree, or another one was foreseen.
            BusyError, CorruptError: as when it was made.  Nothing has changed.
        """
        if foreseen is not None and foreseen.nodes.addresses() != roots(ground).addresses():
            raise UsageError(
                "what was foreseen is the coarsest view of another snapshot: give what `foresee` gave for this"
            )
        coming = self._settled(self.foresee(ground, fetch) if foreseen is None else foreseen)
        self._families.forget()
        self._show(Nodes.none(), np.arange(len(self)), np.empty(0, np.int64))
        self.stream.follow(fetch)
        self.stream.unpin(self._roots)
        self._roots = coming
        self._ground, self._lineage = ground, Lineage.of(ground)
        self._ancestors = Ancestors(self._lineage)

    # Within

    def _settled(self, pinned: Request) -> Request:
        """The same request, done; if it fails, nothing is pinned by it."""
        try:
            self.stream.wait(pinned)
        except BaseException:
            pinned.cancel()
            self.stream.unpin(pinned)
            raise
        return pinned

    def _show(self, nodes: Nodes, left_at: NDArray[np.int64], entered_at: NDArray[np.int64]) -> None:
        """Hold what has entered, then let go of what has left: what is an ancestor now stays in between."""
        stream = self.stream
        entered, left = nodes.take(entered_at), self._nodes.take(left_at)
        found, gone = stream.find(entered), self._slots[left_at]
        stream.hold(entered, found)
        self._hold_above(self._ancestors.enter(entered))
        self._let_go_above(self._ancestors.leave(left))
        stream.let_go(left, gone)
        slots = np.empty(len(nodes), np.int64)
        kept = np.ones(len(nodes), np.bool_)
        kept[entered_at] = False
        slots[kept] = np.delete(self._slots, left_at)
        slots[entered_at] = found
        self._nodes, self._slots = nodes, slots
        missed, absent = found == MISSING, found == self._zeros(entered)
        images = entered.space > 0
        for image in (False, True) if images.any() else (False,):
            here = images == image
            count = stream.counters.of(image)
            misses, none = int(np.count_nonzero(here & missed)), int(np.count_nonzero(here & absent))
            count.misses += misses
            count.absent += none
            count.hits += int(np.count_nonzero(here)) - misses - none

    def _zeros(self, nodes: Nodes) -> NDArray[np.int64]:
        slots = self.stream.device.slots
        return np.where(nodes.level > 0, slots[GISTS], np.where(nodes.space > 0, slots[PATCHES], slots[TOKENS]))

    def _hold_above(self, nodes: Nodes) -> None:
        slots = self.stream.find(nodes)
        self.stream.hold(nodes, slots)
        for node, slot in zip(nodes.addresses(), slots.tolist(), strict=True):
            self._above[node] = slot
            if slot == MISSING:
                self._above_missing.add(node)

    def _let_go_above(self, nodes: Nodes) -> None:
        addresses = nodes.addresses()
        self.stream.let_go(nodes, np.array([self._above.pop(node) for node in addresses], np.int64))
        self._above_missing.difference_update(addresses)

    def _look(self) -> None:
        """See what has arrived of what is missing, and ask for the rest."""
        rows = (self._slots == MISSING).nonzero()[0]
        if not len(rows) and not self._above_missing and not self._requests:
            return
        some = self._nodes.take(rows)
        found = self.stream.find(some)
        self.stream.hold(some, found)
        self._slots[rows] = found
        if self._above_missing:
            self._hold_above(self._found_above())
        space, level, index = np.array(sorted(self._above_missing), np.int64).reshape(-1, 3).T
        lacking = Nodes.joined([some.take(found == MISSING), Nodes(space, level, index, index)])
        wanted = lacking.addresses()
        for node in self._requests.keys() - set(wanted):
            self._no_longer(node)
        error = self.stream.error(lacking)
        if error is not None:
            raise error
        asked = [node in self._requests and not self._requests[node].done() for node in wanted]
        self._ask(lacking.take(~np.array(asked, np.bool_)))

    def _found_above(self) -> Nodes:
        """Ancestors that were missing and are not any more."""
        space, level, index = np.array(sorted(self._above_missing), np.int64).reshape(-1, 3).T
        nodes = Nodes(space, level, index, index)
        arrived = nodes.take(self.stream.find(nodes) != MISSING)
        self._above_missing.difference_update(arrived.addresses())
        return arrived

    def _ask(self, nodes: Nodes) -> None:
        """Ask for what is missing, the coarsest first, as far as there would be slots."""
        for plane in (GISTS, TOKENS, PATCHES):
            here = np.flatnonzero([plane_of(*node[:2]) == plane for node in nodes.addresses()])
            if not len(here):
                continue
            room = self.stream.room(plane, len(here), needed=True)
            if room < len(here):
                # What comes ahead of need must not keep out what is needed.
                self._families.forget()
                room = self.stream.room(plane, len(here), needed=True)
            order = np.argsort(-nodes.level[here], kind="stable")[:room]
            if not len(order):
                continue
            some = nodes.take(here[order])
            request = self.stream.request(some, 1.0, needed=True)
            for node in some.addresses():
                self._no_longer(node)
                self._requests[node] = request
            self._open[request] = len(some)

    def _no_longer(self, node: Node) -> None:
        """A node is not missing any more, or need not be had; a request of which that is true of all is withdrawn."""
        request = self._requests.pop(node, None)
        if request is not None:
            self._open[request] -= 1
            if not self._open[request]:
                del self._open[request]
                request.cancel()

    def _resident(self, node: Node) -> int | None:
        """The slot of an ancestor that is resident and has a row."""
        slot = self._above.get(node, MISSING)
        return slot if 0 <= slot < self.stream.device.slots[GISTS] else None

    def _anything(self, node: Node) -> int | None:
        """The slot of an ancestor that is resident, or is known to have no row."""
        slot = self._above.get(node, MISSING)
        return slot if slot >= 0 else None
