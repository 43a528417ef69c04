"""How does a network become an encoder of mctree?  By the members that `mctree.encoders.Encoder` asks for.

A store keeps the dump of an encoder, but knows no PyTorch; so whoever opens it to make more gists passes the encoder
again: `mctree.open(path, encoders=[GistEncoder(…)])`.  Gists that are made already are read without.

An encoder's gist has to be a function of the node alone, whatever batch it comes in, or a store that was written bit
by bit would differ from one written at once.  Libraries of linear algebra choose their ways by the size of a batch, so
every batch is cut and filled up to one size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mctree.encoders import Tokenizer
from mctree.errors import UsageError
from mctree_torch.networks.files import dumps, loads
from mctree_torch.networks.gistnet import GistNet
from mctree_torch.networks.visual import VisualGistNet

__all__ = ["GistEncoder", "PatchEncoder", "VisualGistEncoder", "best_device"]

_ROWS: Final = 256
"""Nodes that are encoded at once, always so many."""


def best_device() -> torch.device:
    """A GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _in_batches(
    encode: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    children: torch.Tensor,
    mask: torch.Tensor,
    dim: int,
    device: torch.device,
) -> NDArray[np.float32]:
    """What a network makes of any number of nodes, so many at a time: `float32 [n, dim]`."""
    made = np.empty((len(children), dim), np.float32)
    shape = (_ROWS, *children.shape[1:])
    with torch.inference_mode():
        for first in range(0, len(children), _ROWS):
            some, there = children[first : first + _ROWS], mask[first : first + _ROWS]
            count = len(some)
            if count < _ROWS:
                filled, exist = children.new_zeros(shape), mask.new_zeros(shape[:2])
                filled[:count], exist[:count] = some, there
                some, there = filled, exist
            made[first : first + count] = encode(some.to(device), there.to(device))[:count].cpu().numpy()
    return made


class GistEncoder:
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
        self._dump = dumps(net)
        self.fingerprint: Final = hashlib.sha256(self.kind.encode() + b"\0" + self._dump).hexdigest()
        self.dim: Final = net.config.dim
        self._tokenizer = tokenizer
        self._device = best_device() if device is None else torch.device(device)
        self._net = net.to(self._device).eval()

    def __repr__(self) -> str:
        return f"<GistEncoder {self.fingerprint[:12]}: {self.dim} dimensions on {self._device}>"

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
        return _in_batches(lambda some, there: self._net(some, there, level), given, exist, self.dim, self._device)

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

    def dump(self) -> bytes:
        """The network as safetensors, its embeddings included."""
        return self._dump

    @classmethod
    def load(
        cls, dump: bytes, tokenizer: Tokenizer | None = None, device: torch.device | str | None = None
    ) -> GistEncoder:
        """Make an encoder again from what `dump` gave.

        Raises:
            CorruptError: the bytes are no dump of this encoder.
        """
        return cls(loads(dump, GistNet), tokenizer, device)


class PatchEncoder(Protocol):
    """What turns pixels into the vectors of patches: a part of what an encoder of images does."""

    @property
    def fingerprint(self) -> str:
        """Hex digits over everything the vectors depend on."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    @property
    def channels(self) -> int:
        """How many channels the pixels have that it takes."""
        ...

    def encode_patches(self, pixels: NDArray[np.generic], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Pixels `[n, 16, 16, channels]` and which are real, `bool [n, 16, 16]` → `float32 [n, dim]`."""
        ...


class VisualGistEncoder:
    """A VisualGistNet that makes the gists of images from the vectors of their patches, which another encoder makes.

    Args:
        net: the network, which must not be trained on while this is in use; it is moved to the device.
        patches: makes the vectors of patches; without one, only gists can be made.
        device: where to compute; the best there is if None.

    Raises:
        UsageError: the vectors of patches are of another length than gists.
    """

    kind: Final = "torch-visual-gist"
    modalities: Final = frozenset({"image"})
    span_level: Final = 0

    def __init__(
        self, net: VisualGistNet, patches: PatchEncoder | None = None, device: torch.device | str | None = None
    ) -> None:
        if patches is not None and patches.dim != net.config.dim:
            raise UsageError(f"patches have vectors of {patches.dim}, and the network takes {net.config.dim}")
        self._dump = dumps(net)
        self._patches = patches
        below = "" if patches is None else patches.fingerprint
        self.fingerprint: Final = hashlib.sha256(f"{self.kind} {below} ".encode() + self._dump).hexdigest()
        self.dim: Final = net.config.dim
        self._device = best_device() if device is None else torch.device(device)
        self._net = net.to(self._device).eval()

    @property
    def channels(self) -> int:
        """How many channels the pixels have that its patches take.

        Raises:
            UsageError: it was made without an encoder of patches.
        """
        return self._of_patches().channels

    def encode_patches(self, pixels: NDArray[np.generic], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The vectors of patches; see `PatchEncoder`.

        Raises:
            UsageError: it was made without an encoder of patches.
        """
        return self._of_patches().encode_patches(pixels, mask)

    def encode_tiles(
        self,
        level: int,
        children: NDArray[np.float32],
        mask: NDArray[np.bool_],
        weight: NDArray[np.float64],  # of what stands under a child, this network knows by its gist only
    ) -> NDArray[np.float32]:
        """Gists of squares, as encoders of images are asked for them; see `encode`."""
        return self.encode(level, children, mask)

    def encode(
        self,
        level: int,
        children: NDArray[np.generic],
        mask: NDArray[np.bool_],
        span: tuple[NDArray[np.uint32], NDArray[np.bool_]] | None = None,
    ) -> NDArray[np.float32]:
        """Gists of squares.

        Args:
            level: 1 for tiles of 8×8 patches, 2 and more for squares of 2×2.
            children: `float32 [n, 64 or 4, dim]`, in Z-order.
            mask: `bool [n, 64 or 4]`: which exist.
            span: not looked at.

        Returns:
            `float32 [n, dim]`, a function of each row alone.
        """
        given = torch.from_numpy(np.array(children, np.float32))
        exist = torch.from_numpy(np.array(mask))
        return _in_batches(lambda some, there: self._net(some, there, level), given, exist, self.dim, self._device)

    def encode_query(self, text: str, level: int = 1) -> NDArray[np.float32]:
        """There is no way from text to these gists.

        Raises:
            UsageError: always.
        """
        raise UsageError("gists of images by a VisualGistNet cannot be compared with text")

    def dump(self) -> bytes:
        """The network as safetensors; the encoder of patches, which has a dump of its own, is not in it."""
        return self._dump

    @classmethod
    def load(
        cls, dump: bytes, patches: PatchEncoder | None = None, device: torch.device | str | None = None
    ) -> VisualGistEncoder:
        """Make an encoder again from what `dump` gave, and from its encoder of patches.

        Raises:
            CorruptError: the bytes are no dump of this encoder.
        """
        return cls(loads(dump, VisualGistNet), patches, device)

    def _of_patches(self) -> PatchEncoder:
        if self._patches is None:
            raise UsageError("this encoder was made without an encoder of patches")
        return self._patches
