"""How does a model get what it reads, step by step?  A working context whose rows stay on the device, and one gather.

    resident = ResidentContext(WorkingContext.smallest(snapshot, 8192), snapshot, device="cuda")
    for _ in range(steps):
        resident.step(lens)          # takes a turn of the stream, then a step of the context
        read = resident.gather()     # [entries, dim], and where each entry sits

A step uploads what entered, within a budget, and never waits.  An expand takes effect once all children are resident;
while something else is missing, the nearest resident ancestor is read in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from mctree.errors import BudgetTooSmall, UsageError
from mctree.focus import Change, Entries, Ground, Lens, SnapshotGround, WorkingContext
from mctree.focus import Nodes as FocusNodes
from mctree.focus.covers import least_cost
from mctree.streaming import GISTS, PATCHES, TOKENS, Counters, Fetch, Request, Residency, Seen, StoredRows, Stream
from mctree.tree import Snapshot
from mctree_torch.device import Sender, TorchDevice

__all__ = ["Gathered", "ResidentContext"]

_SPARE = (4, 1, 1 / 8)
"""Slots of gists, blocks and tiles for each unit of the budget: room for what is shown, what is above, and what comes.

A block costs up to 32, and a tile 64, so that far fewer of them are shown than gists."""

_FEWEST = 64


@dataclass(frozen=True, eq=False, slots=True)
class Gathered:
    """What a model reads: one row for each entry, or for the ancestor that stands in for some, in order.

    All tensors are on the device.  A gist's vector is in `vectors`; a block at LOD0 has zeros there, and its tokens in
    `tokens`; likewise a tile and its patches.

    Attributes:
        vectors: of gists, `[n, dim]`, of the gist set's type.
        has_vector: which rows have one: gists that were made, `bool [n]`.
        position: on the timeline, `float64 [n]`; see `mctree.focus.Entries`.
        sigma: of the position, `float64 [n]`.
        x: mean column in an image, `float64 [n]`, 0 for text, as the next three.
        y: mean row.
        sigma_x: of x.
        sigma_y: of y.
        level: level of detail, `int64 [n]`.
        modality: 0 for text, 1 for images, `int64 [n]`.
        cost: what each row costs: 1, or the real tokens or patches of a block or tile, `int64 [n]`.
        tokens: of blocks at LOD0, `int64 [b, 32]`; real ones first, as many as `cost` says.
        token_rows: which rows these are, `int64 [b]`.
        patches: of tiles at LOD0, `[t, 64, dim]`; None if there are none, or the gist set covers no images.
        patch_rows: which rows these are, `int64 [t]`.
        entries: the same rows on the host.
        seen: which of them stand in, and for how many.
    """

    vectors: torch.Tensor
    has_vector: torch.Tensor
    position: torch.Tensor
    sigma: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    sigma_x: torch.Tensor
    sigma_y: torch.Tensor
    level: torch.Tensor
    modality: torch.Tensor
    cost: torch.Tensor
    tokens: torch.Tensor
    token_rows: torch.Tensor
    patches: torch.Tensor | None
    patch_rows: torch.Tensor
    entries: Entries
    seen: Seen

    def __len__(self) -> int:
        return len(self.entries)


class ResidentContext:
    """A working context on a device; closed by `close` or a `with` block.

    Args:
        context: a working context; from now on it is changed through this.
        on: the snapshot that it stands on, or any other `Fetch` of its rows.  A snapshot stays open meanwhile.
        device: where its rows are to be.
        gist_set: the set whose gists are read; the default one if none is named.
        slots: how many gists, blocks and tiles stay on the device; if not given, four gists, one block and an eighth of
            a tile for each unit of the budget.
        gated: expand only what has all children resident; otherwise at once, and ancestors stand in until they come.
        stream: more arguments for `mctree.streaming.Stream`.
        families: see `mctree.streaming.Residency`.

    Waits until the coarsest view is resident.

    Raises:
        NotFoundError: there is no such gist set.
        UsageError: a number is out of range.
    """

    def __init__(
        self,
        context: WorkingContext,
        on: Snapshot | Fetch,
        device: torch.device | str = "cpu",
        *,
        gist_set: str | None = None,
        slots: int | Sequence[int] | None = None,
        gated: bool = True,
        families: int = 64,
        **stream: Any,
    ) -> None:
        fetch = StoredRows(on, gist_set) if isinstance(on, Snapshot) else on
        self.context = context
        self._gist_set = gist_set
        self._gated = gated
        if slots is None:
            slots = [max(int(spare * context.budget), _FEWEST) for spare in _SPARE]
        self._device = TorchDevice(fetch.planes, slots, device)
        self._sender = Sender(self._device.device)
        self.stream = Stream(fetch, self._device, **stream)
        try:
            self.residency = Residency(self.stream, context.ground, families=families)
            self._update()
        except BaseException:
            self.stream.close()
            raise

    def __repr__(self) -> str:
        return f"<ResidentContext on {self._device.device}: {self.context!r}, {self.residency.missing} missing>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Read no more; the device's memory goes back when this object does.  What was gathered is not touched."""
        self.stream.close()

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self._device.device

    @property
    def counters(self) -> Counters:
        """What has happened so far."""
        return self.stream.counters

    def step(self, lens: Lens | NDArray[np.floating[Any]]) -> Change:
        """Let rows arrive, then follow a lens: see `WorkingContext.step`.

        Raises:
            UsageError: there is not one score for each entry.
            CorruptError: something that is shown could not be read.  The step was taken, and an ancestor stands in.
        """
        return self._changed(lambda: self.context.step(lens, self.residency.resident if self._gated else None))

    def change(self, change: Callable[[WorkingContext], Change]) -> Change:
        """Let rows arrive, then change the context by hand, as in `change(lambda context: context.expand("2:7"))`."""
        return self._changed(lambda: change(self.context))

    def foresee(self, snapshot: Snapshot) -> Request:
        """Let the coarsest view at a newer commit come, so that `refocus` need not wait for it."""
        return self.residency.foresee(SnapshotGround(snapshot), StoredRows(snapshot, self._gist_set))

    def refocus(self, on: Snapshot | Ground, fetch: Fetch | None = None, *, foreseen: Request | None = None) -> Change:
        """Move to a newer snapshot: see `WorkingContext.refocus`.

        Args:
            on: the snapshot, which stays open as long as it is read from; or another ground.
            fetch: where to read the rows; needed for a ground that is no snapshot.
            foreseen: what `foresee` gave for this snapshot.

        Waits until the coarsest view there is resident, which counts as a stall, unless it was foreseen and has come.

        Raises:
            BudgetTooSmall: not even the smallest cover fits.  Nothing has changed.
            UsageError: it is an older one, or one of another tree: make a new context.
        """
        ground = SnapshotGround(on) if isinstance(on, Snapshot) else on
        source = StoredRows(on, self._gist_set) if isinstance(on, Snapshot) else fetch
        if source is None:
            raise UsageError("rows of a ground that is no snapshot are read from somewhere: say from where")
        if ground.identity != self.context.ground.identity or ground.commit < self.context.commit:
            raise UsageError("a working context moves on to newer commits of its own tree only: make a new one")
        needed = least_cost(ground)
        if needed > self.context.budget:
            raise BudgetTooSmall(f"a budget of {self.context.budget} is too small: all there is costs {needed}", needed)
        self.residency.follow(ground, source, foreseen)
        change = self.context.refocus(ground)
        self._update()
        return change

    def gather(self, out: torch.Tensor | None = None, *, wake: bool = True) -> Gathered:
        """What a model reads now; does not wait for rows.

        Args:
            out: where to put the vectors, `[n, dim]` on the device; made anew if not given.
            wake: ask at once for what comes next, and let it be read.  False leaves that to `stream.wake`, best called
                when the model was launched and computes by itself; the next step does it otherwise.

        Raises:
            UsageError: the context was changed, but not through this.
        """
        self._check()
        seen = self.residency.seen()
        entries = self._shown(seen)
        send = self._sender.begun()
        blocks = entries.level == 0
        zeros = self._device.slots[GISTS]
        slots = np.where(blocks, zeros, seen.slots)
        text, image = np.flatnonzero(blocks & (entries.space == 0)), np.flatnonzero(blocks & (entries.space > 0))
        vectors = self._device.take(GISTS, send(slots), out)
        position, sigma, x, y, sigma_x, sigma_y = send(entries.reals)
        level, modality, cost = send(np.stack((entries.level, entries.modality, entries.cost)))
        tokens = self._device.take(TOKENS, send(seen.slots[text]))
        found = Gathered(
            vectors,
            send(slots != zeros),
            position,
            sigma,
            x,
            y,
            sigma_x,
            sigma_y,
            level,
            modality,
            cost,
            _unsigned(tokens),
            send(text),
            self._device.take(PATCHES, send(seen.slots[image])) if len(image) and self._device.slots[PATCHES] else None,
            send(image),
            entries,
            seen,
        )
        self._sender.done()
        if wake:
            self.stream.wake()
        return found

    # Within

    def _changed(self, call: Callable[[], Change]) -> Change:
        self._check()
        self.stream.turn()
        self.stream.hush()  # until what is to be read by the model was gathered
        change = call()
        self._update(change)
        return change

    def _update(self, change: Change | None = None) -> None:
        """The entries are others now: those that a change says, or all."""
        self._known = self.context.entries
        if change is None:
            self.residency.update(self._known)
        else:
            self.residency.update(self._known, change.diff.left_at, change.diff.entered_at)

    def _check(self) -> None:
        if self.context.entries is not self._known:
            raise UsageError("this working context was changed behind its residency: use `change`")

    def _shown(self, seen: Seen) -> Entries:
        """The rows of what is seen: those of the context, and what the ground says of stand-ins."""
        if seen.whole:
            return self.context.entries
        others = np.flatnonzero(seen.row < 0)
        nodes = seen.nodes.take(others)
        made = FocusNodes.made(len(nodes), space=nodes.space, level=nodes.level, index=nodes.index, slot=nodes.slot)
        kept = self.context.entries.take(seen.row[seen.row >= 0])
        every = Entries.joined([kept, Entries.of(self.context.ground, made)])
        order = np.empty(len(seen), np.int64)
        order[seen.row >= 0] = np.arange(len(kept))
        order[others] = len(kept) + np.arange(len(others))
        return every.take(order)


def _unsigned(tokens: torch.Tensor) -> torch.Tensor:
    """Tokens as `int64`, whatever unsigned type they are stored in."""
    if tokens.dtype == torch.uint8:
        return tokens.to(torch.int64)
    return tokens.to(torch.int64) & ((1 << 8 * tokens.dtype.itemsize) - 1)
