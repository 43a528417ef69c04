"""How does a network become a lens of `mctree.focus`?  It is shown entries as vectors, and the newest text as the tail.

A `Look` tells of entries as rows of numbers; what stands in them a lens finds out for itself.  `Sight` is what it needs
of that: a vector for each entry, the tail, and what entries are linked to.  `SnapshotSight` takes them from a store's
gist set; whoever has the vectors on a device already brings a sight of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.focus import Entries, Look
from mctree.focus.ground import BLOCK, TILE
from mctree.tree import GistView, Snapshot
from mctree_torch.networks.encoder import best_device
from mctree_torch.networks.lensnet import LensNet

__all__ = ["NetLens", "Sight", "SnapshotSight"]

_LINKED_BLOCKS = 8
"""Of a linked span, the gists of so many blocks at most make its summary."""


@runtime_checkable
class Sight(Protocol):
    """What stands in entries, as vectors."""

    def vectors(self, entries: Entries) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """A vector for each entry, `float32 [n, dim]`, and which of them there are, `bool [n]`."""
        ...

    def linked(self, entries: Entries) -> NDArray[np.float32]:
        """What the text says that each entry is linked to, 0 where there is none: `float32 [n, dim]`."""
        ...

    def tail(self) -> NDArray[np.float32]:
        """Embeddings of the newest tokens: `float32 [m, dim]`."""
        ...


class SnapshotSight:
    """A store's own gists: at LOD0 those of whole blocks and tiles, of an unfinished block the mean of its tokens.

    Args:
        snapshot: stays open as long as this is used.
        gists: a gist set of it.
        embedding: `float32 [vocabulary, dim]`: of tokens, in the space of the gists.
        tail: the newest tokens, oldest first: `[m]`.

    Raises:
        UsageError: gists and embeddings are of different length.
    """

    def __init__(
        self, snapshot: Snapshot, gists: GistView, embedding: NDArray[np.float32], tail: NDArray[np.integer[Any]]
    ) -> None:
        if embedding.ndim != 2 or embedding.shape[1] != gists.dim:
            raise UsageError(f"embeddings of shape {list(embedding.shape)} do not go with gists of {gists.dim}")
        self._gists = gists
        self._embedding = embedding
        self._tail = np.asarray(tail, np.int64)
        self._end = snapshot.positions
        self._waiting = [document.tail.tokens for document in snapshot.tails() if document.tail is not None]
        self._ends = _link_ends(snapshot, gists)

    def vectors(self, entries: Entries) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """See `Sight.vectors`; at LOD0 the gist of the whole block or tile."""
        fine = entries.level == 0
        unit = np.where(fine, np.where(entries.space > 0, TILE, BLOCK), 1)
        gists, known = self._gists.find(entries.space, np.maximum(entries.level, 1), entries.index // unit)
        found = gists.astype(np.float32)
        for row in np.flatnonzero(fine & (entries.space == 0) & (entries.start >= self._end)).tolist():
            tokens = self._waiting[(int(entries.start[row]) - self._end) // BLOCK]
            found[row] = self._embedding[tokens].mean(0)
            known[row] = True
        return found, known

    def linked(self, entries: Entries) -> NDArray[np.float32]:
        """See `Sight.linked`: the mean over links, each summed up by the gists of the blocks at its other end.

        What is linked to an image, or to part of one, is linked to the block of the timeline that the image takes.
        """
        total = np.zeros((len(entries), self._gists.dim))
        count = np.zeros(len(entries), np.int64)
        ends = self._ends
        for space in np.unique(ends.space).tolist():
            mine = np.flatnonzero(ends.space == space)
            rows = np.flatnonzero(entries.space == space)
            rows = rows[np.argsort(entries.start[rows], kind="stable")]
            # Entries do not overlap, so each end meets a run of them; its summary comes in where that begins.
            first = np.searchsorted(entries.stop[rows], ends.start[mine], side="right")
            stop = np.maximum(np.searchsorted(entries.start[rows], ends.stop[mine], side="left"), first)
            for at, sign in ((first, 1), (stop, -1)):
                met = at < len(rows)
                np.add.at(total, rows[at[met]], sign * ends.summary[mine[met]])
                np.add.at(count, rows[at[met]], sign)
            total[rows] = np.cumsum(total[rows], axis=0)
            count[rows] = np.cumsum(count[rows])
        mean = total / np.maximum(count, 1)[:, None]
        mean[count == 0] = 0
        return mean.astype(np.float32)

    def tail(self) -> NDArray[np.float32]:
        """See `Sight.tail`."""
        return self._embedding[self._tail]


class NetLens:
    """A LensNet that scores the entries of a working context.

    Args:
        net: the network; it is moved to the device.
        sight: what stands in entries.
        device: where to compute; the best there is if None.
    """

    def __init__(self, net: LensNet, sight: Sight, device: torch.device | str | None = None) -> None:
        self._device = best_device() if device is None else torch.device(device)
        self._net = net.to(self._device).eval()
        self.sight = sight

    def score(self, look: Look) -> NDArray[np.float32]:
        """See `mctree.focus.Lens.score`."""
        vectors, known = self.sight.vectors(look.entries)
        rows = (look.features(), vectors, known, self.sight.tail())
        with torch.inference_mode():
            given = [torch.from_numpy(row)[None].to(self._device) for row in rows]
            linked = None
            if self._net.config.linked:
                linked = torch.from_numpy(self.sight.linked(look.entries))[None].to(self._device)
            scores: NDArray[np.float32] = self._net(*given, linked=linked)[0].cpu().numpy()
        return scores


@dataclass(frozen=True, eq=False, slots=True)
class _Ends:
    """Ends of links, and what the text at the other ends says.

    Attributes:
        space: `int64 [k]`.
        start: the first position of each, `int64 [k]`.
        stop: the position behind it, `int64 [k]`.
        summary: `float32 [k, dim]`.
    """

    space: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    summary: NDArray[np.float32]


def _link_ends(snapshot: Snapshot, gists: GistView) -> _Ends:
    """Each end of each link whose other end is text that has gists."""
    links = snapshot.all_links()
    spans = np.array([(link.source, link.target) for link in links], np.int64).reshape(-1, 2, 3)
    here, there = np.concatenate((spans[:, 0], spans[:, 1])), np.concatenate((spans[:, 1], spans[:, 0]))
    here, there = here[there[:, 0] == 0], there[there[:, 0] == 0]
    blocks = there[:, 1, None] // BLOCK + np.arange(_LINKED_BLOCKS)
    asked = blocks < -(-there[:, 2, None] // BLOCK)
    found, known = gists.find(np.zeros(asked.sum(), np.int64), np.ones(asked.sum(), np.int64), blocks[asked])
    which = np.nonzero(asked)[0][known]
    summary = np.zeros((len(here), gists.dim))
    np.add.at(summary, which, found[known].astype(np.float64))
    count = np.bincount(which, minlength=len(here))
    some = count > 0
    here, mean = here[some], (summary[some] / count[some, None]).astype(np.float32)
    image = np.flatnonzero(here[:, 0] > 0)
    graft = snapshot.gallery.places.at(here[image, 1])
    image, graft = image[graft >= 0], graft[graft >= 0]
    slot = snapshot.gallery.places.grafts["block"][graft].astype(np.int64) * BLOCK
    taken = np.column_stack((np.zeros_like(slot), slot, slot + BLOCK))
    space, start, stop = np.concatenate((here, taken)).T
    return _Ends(space, start, stop, np.concatenate((mean, mean[image])))
