"""How does a network become an encoder of mctree?  By the members that `Encoder` and `VisualEncoder` ask for.

A store keeps the dump of an encoder, but knows no PyTorch; so whoever opens it to make more gists passes the encoder
again: `mctree.open(path, encoders=[GistEncoder(…)])`.  Gists that are made already are read without.

An encoder's gist has to be a function of the node alone, whatever batch it comes in, or a store that was written bit
by bit would differ from one written at once.  Libraries of linear algebra choose their ways by the size of a batch, so
every batch is cut and filled up to one size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from mctree.encoders import Tokenizer, VisualEncoder
from mctree.errors import UsageError
from mctree_torch.networks.files import dumps, loads
from mctree_torch.networks.gistnet import GistNet
from mctree_torch.networks.visual import VisualGistNet

__all__ = ["GistEncoder", "VisualGistEncoder", "best_device"]

_Net = TypeVar("_Net", GistNet, VisualGistNet)

_ROWS: Final = 256
"""Nodes that are encoded at once, always so many."""


def best_device() -> torch.device:
    """A GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class _OfNet(Generic[_Net]):
    """What encoders have alike whose gists a network makes.

    Args:
        net: the network; it is moved to the device.
        others: names what gists depend on beside the network.
        device: where to compute; the best there is if None.
    """

    def __init__(self, net: _Net, others: str, device: torch.device | str | None) -> None:
        self._dump = dumps(net)
        self.fingerprint: Final = hashlib.sha256(f"{others}\0".encode() + self._dump).hexdigest()
        self.dim: Final = net.config.dim
        self._device = best_device() if device is None else torch.device(device)
        self._net: _Net = net.to(self._device).eval()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.fingerprint[:12]}: {self.dim} dimensions on {self._device}>"

    def dump(self) -> bytes:
        """The network as safetensors, with all that it has learned; what it was given beside is not in it."""
        return self._dump

    def _gists(self, level: int, children: torch.Tensor, mask: torch.Tensor) -> NDArray[np.float32]:
        """What the network makes of any number of nodes of a level, so many at a time: `float32 [n, dim]`."""
        net = self._net
        return self._batched(lambda some, there: net(some, there, level), children, mask)

    def _batched(self, make: Callable[..., torch.Tensor], *rows: torch.Tensor) -> NDArray[np.float32]:
        """What is made of any number of rows, so many at a time; what a batch lacks of that is zeros."""
        count = len(rows[0])
        made = np.empty((count, self.dim), np.float32)
        with torch.inference_mode():
            for first in range(0, count, _ROWS):
                some = [each[first : first + _ROWS].to(self._device) for each in rows]
                lacking = _ROWS - len(some[0])
                if lacking:
                    some = [torch.cat((each, each.new_zeros(lacking, *each.shape[1:]))) for each in some]
                made[first : first + _ROWS] = make(*some)[: _ROWS - lacking].cpu().numpy()
        return made


class GistEncoder(_OfNet[GistNet]):
    """A GistNet that makes the gists of text.

    Args:
        net: the network, which must not be trained on while this is in use; it is moved to the device.
        tokenizer: cuts questions into tokens; without one, none can be asked.
        device: where to compute; the best there is if None.

    Raises:
        UsageError: the network has no vocabulary, or its fan-out is not that of text.
    """

    kind: Final = "torch-gist"
    modalities: Final = frozenset({"text"})
    span_level: Final = 0

    def __init__(
        self, net: GistNet, tokenizer: Tokenizer | None = None, device: torch.device | str | None = None
    ) -> None:
        if not net.config.vocabulary:
            raise UsageError("a network without a vocabulary cannot encode tokens")
        super().__init__(net, self.kind, device)
        self._tokenizer = tokenizer

    def encode(
        self,
        level: int,
        children: NDArray[np.generic],
        mask: NDArray[np.bool_],
        span: tuple[NDArray[np.uint32], NDArray[np.bool_]] | None = None,
    ) -> NDArray[np.float32]:
        """See `mctree.encoders.Encoder.encode`.

        Raises:
            UsageError: a token is not below the vocabulary.
        """
        given = torch.from_numpy(np.array(children, np.int64 if level == 1 else np.float32))
        exist = torch.from_numpy(np.array(mask))
        if level == 1 and len(given):
            given = torch.where(exist, given, 0)
            if int(given.max()) >= self._net.config.vocabulary:
                raise UsageError(f"a token is not below {self._net.config.vocabulary}, the vocabulary of the network")
        return self._gists(level, given, exist)

    def encode_query(self, text: str, level: int = 1) -> NDArray[np.float32]:
        """The mean gist of the question's blocks, as those of level 1; the same for every level.

        Raises:
            UsageError: the encoder was made without a tokenizer.
        """
        if self._tokenizer is None:
            raise UsageError("this encoder has no tokenizer: make it with one to ask questions")
        ids = self._tokenizer.encode([text.encode("utf-8", "replace")])[0].ids
        width = self._net.config.fanout
        blocks = max(-(-len(ids) // width), 1)
        grid = np.zeros(blocks * width, np.uint32)
        grid[: len(ids)] = ids
        mask = np.arange(blocks * width) < len(ids)
        gists = self.encode(1, grid.reshape(blocks, width), mask.reshape(blocks, width))
        mean: NDArray[np.float32] = gists.mean(axis=0)
        return mean

    @classmethod
    def load(
        cls, dump: bytes, tokenizer: Tokenizer | None = None, device: torch.device | str | None = None
    ) -> GistEncoder:
        """Make an encoder again from what `dump` gave.

        Raises:
            CorruptError: the bytes are no dump of this encoder.
        """
        return cls(loads(dump, GistNet), tokenizer, device)


class VisualGistEncoder(_OfNet[VisualGistNet]):
    """A VisualGistNet that makes the gists of images from the vectors of their patches, which another encoder makes.

    Args:
        net: the network, which must not be trained on while this is in use; it is moved to the device.
        patches: makes the vectors of patches, which the network brings to the length of gists if that is another.
        device: where to compute; the best there is if None.

    Raises:
        UsageError: the vectors of patches are of another length than the network takes.
    """

    kind: Final = "torch-visual-gist"
    modalities: Final = frozenset({"image"})

    def __init__(self, net: VisualGistNet, patches: VisualEncoder, device: torch.device | str | None = None) -> None:
        taken = net.config.patch_dim or net.config.dim
        if patches.dim != taken:
            raise UsageError(f"patches have vectors of {patches.dim}, and the network takes {taken}")
        super().__init__(net, f"{self.kind} {patches.fingerprint}", device)
        self._patches = patches

    @property
    def channels(self) -> int:
        """How many channels the pixels have that its patches take."""
        return self._patches.channels

    def encode_patches(self, pixels: NDArray[np.generic], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """See `mctree.encoders.VisualEncoder.encode_patches`."""
        found = self._patches.encode_patches(pixels, mask)
        return found if self._net.patch is None else self._batched(self._net.patches, torch.from_numpy(np.array(found)))

    def encode_tiles(
        self,
        level: int,
        children: NDArray[np.float32],
        mask: NDArray[np.bool_],
        weight: NDArray[np.float64],
    ) -> NDArray[np.float32]:
        """See `mctree.encoders.VisualEncoder.encode_tiles`; `weight` changes nothing."""
        return self._gists(level, torch.from_numpy(np.array(children, np.float32)), torch.from_numpy(np.array(mask)))

    @classmethod
    def load(cls, dump: bytes, patches: VisualEncoder, device: torch.device | str | None = None) -> VisualGistEncoder:
        """Make an encoder again from what `dump` gave, and from its encoder of patches, which has a dump of its own.

        Raises:
            CorruptError: the bytes are no dump of this encoder.
        """
        return cls(loads(dump, VisualGistNet), patches, device)
