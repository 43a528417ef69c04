"""How does a network become a lens of `mctree.focus`?  It is shown entries as vectors, and the newest text as the tail.

A `Look` tells of entries as rows of numbers; what stands in them a lens finds out for itself.  `Sight` is what it needs
of that: a vector for each entry, the tail, and what entries are linked to.  `SnapshotSight` takes them from a store's
gist set; whoever has the vectors on a device already brings a sight of their own.
"""

from __future__ import annotations

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
        """See `Sight.linked`: the mean over links, each summed up by the gists of the blocks at its other end."""
        total = np.zeros((len(entries), self._gists.dim), np.float32)
        count = np.zeros(len(entries), np.float32)
        for (space, start, stop), summary in self._ends:
            meets = (entries.space == space) & (entries.start < stop) & (entries.stop > start)
            total[meets] += summary
            count[meets] += 1
        total /= np.maximum(count, 1)[:, None]
        return total

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


def _link_ends(snapshot: Snapshot, gists: GistView) -> list[tuple[tuple[int, int, int], NDArray[np.float32]]]:
    """Each end of each link, and what the text at the other end says."""
    ends = []
    for link in snapshot.all_links():
        for here, (space, start, stop) in ((link.source, link.target), (link.target, link.source)):
            if space == 0:
                first = start // BLOCK
                blocks = np.arange(first, min(-(-stop // BLOCK), first + _LINKED_BLOCKS))
                found, there = gists.find(np.zeros_like(blocks), np.ones_like(blocks), blocks)
                if there.any():
                    ends.append((here, found[there].astype(np.float32).mean(0)))
    return ends
