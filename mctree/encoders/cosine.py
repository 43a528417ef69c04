"""What does a node of an image look like, as a vector, without a model?  Like itself, from far away.

`CosineEncoder` divides a node's square into `side × side` cells and takes the mean colour of each: a tiny picture of
the node.  Its vector is that picture, rotated by the discrete cosine transform (DCT-II: N. Ahmed, T. Natarajan,
K. R. Rao, *Discrete Cosine Transform*, IEEE Trans. Computers C-23, 1974), coarse patterns before fine ones:

    coefficient of (u, v) = mean over the cells of φu(x)·φv(y)·colour(x, y)
    φ0 = 1,  φu(x) = √2·cos(π·u·(x + ½) / side)

The φ are orthonormal under the mean over the square.  So the first `channels` numbers are the mean colour, a prefix of
a vector is a coarser one, the scale is the same at every level, a dot product is the mean product of two pictures, and
`decode` gives the picture back.  Cells nest: a cell of a node is made of whole cells of its children, or of whole
children.  So the picture of a node that has all its pixels is exactly that of its pixels, whatever stood between.

Nothing is made up where pixels are missing: a missing pixel, or child, deviates from the node's mean colour by nothing.
The mean is over real pixels alone, each counted once.  In symbols, with `cover` the real part of a child's area,

    patch   deviation of a cell  = Σ over real pixels of (pixel − mean) / pixels of a cell
    above   deviation of a child = its own deviations + cover·(its mean − mean)

which agrees with the patches' rule but for where in a partly real child the real pixels lie, as nobody knows there.

Colours are parts of the largest value of the pixels' type, so uint8 and uint16 agree.  A vector depends on its own row
alone, to the last bit, and hardly on the machine: everything is summed as whole numbers that float64 holds exactly, so
that neither the batch, nor the order of a sum, nor a fused multiplication changes it.
"""

from __future__ import annotations

import hashlib
import struct
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mctree.encoders.patches import real_pixels, require_patches, without_masked
from mctree.errors import CorruptError, UsageError
from mctree.geometry import IMAGE, PATCH, morton

__all__ = ["CosineEncoder"]

_SIDES: Final = (1, 2, 4, 8, 16)
_MAX_CHANNELS: Final = 64
_HEADER: Final = struct.Struct("<8sHH")
_MAGIC: Final = b"mcosine1"
_LARGEST: Final = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}
_AREA: Final = PATCH * PATCH
_AT_ONCE: Final = 1 << 20
"""Values worked on at once: they stay in the processor's cache."""

_BASIS_STEP: Final = 2.0**-27
"""Σ of a patch's pixels ≤ 256·65535 < 2**24, and |φφ| ≤ 2 is 2**28 steps at most: all sums stay below 2**52."""
_MAP_STEP: Final = 2.0**-22
_CHILD_STEP: Final = 2.0**-24
"""Of the power of two at or above the largest number of a row: 2**24 at most, times the maps' 2**22 steps of 1.  The
entries of a row of a map sum to less than 2**6 (`_maps` checks that), so that all sums stay below 2**52."""


class CosineEncoder:
    """The built-in encoder of images: orthonormal cosines of a tiny picture of each node.

    Attributes:
        channels: of the pixels.
        side: of the tiny picture, in cells.
        dim: length of a vector: `channels · side²`; number `k · channels + c` is coefficient `k` of channel `c`.
        fingerprint: hex digits over everything that the vectors depend on.
    """

    kind: Final = "cosine"
    modalities: Final = frozenset({"image"})

    def __init__(self, channels: int = 3, side: int = 4) -> None:
        """Make one.

        Args:
            channels: of the pixels, 1 … 64.
            side: 1, 2, 4, 8 or 16.  With 1, a vector is the mean colour; with 16, that of a patch is all of it.

        Raises:
            UsageError: an argument is out of range.
        """
        if not 1 <= channels <= _MAX_CHANNELS:
            raise UsageError(f"a cosine encoder takes 1 … {_MAX_CHANNELS} channels, not {channels}")
        if side not in _SIDES:
            raise UsageError(f"the side of a cosine encoder's picture must be one of {_SIDES}, not {side}")
        self.channels: Final = channels
        self.side: Final = side
        self.dim: Final = channels * side * side
        self.fingerprint: Final = hashlib.sha256(self.kind.encode() + b"\0" + self.dump()).hexdigest()

    def encode_patches(self, pixels: NDArray[np.generic], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Encode patches: see `mctree.encoders.VisualEncoder.encode_patches`.

        Raises:
            UsageError: the arrays are not of the right shapes and types.
        """
        channels = require_patches(pixels, mask)
        if channels != self.channels:
            raise UsageError(f"this encoder takes {self.channels} channels, and the patches have {channels}")
        vectors = np.empty((len(pixels), self.dim), np.float32)
        for rows in _slices(len(pixels), _AT_ONCE // (_AREA * channels)):
            vectors[rows] = self._patches(pixels[rows], mask[rows]).reshape(-1, self.dim)
        return vectors

    def encode_tiles(
        self,
        level: int,
        children: NDArray[np.float32],
        mask: NDArray[np.bool_],
        weight: NDArray[np.float64],
    ) -> NDArray[np.float32]:
        """Encode nodes from their children: see `mctree.encoders.VisualEncoder.encode_tiles`.

        Raises:
            UsageError: the arrays are not of the right shapes.
        """
        fanout = IMAGE.fanout(level - 1) if level > 0 else 0
        if (
            level < 1
            or children.shape[1:] != (fanout, self.dim)
            or not mask.shape == weight.shape == children.shape[:2]
        ):
            raise UsageError(
                f"level {level} was given children of shape {children.shape}, a mask of shape {mask.shape} and weights "
                f"of shape {weight.shape}; vectors have {self.dim} numbers"
            )
        vectors = np.empty((len(children), self.dim), np.float32)
        for rows in _slices(len(children), _AT_ONCE // (fanout * self.dim)):
            vectors[rows] = self._tiles(level, children[rows], mask[rows], weight[rows]).reshape(-1, self.dim)
        return vectors

    def decode(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """The tiny pictures that vectors of any level stand for.

        Where a node has all its pixels, a cell is the mean of those in it, up to how the vector was rounded; where it
        has only part of them, cells fade to the node's mean as their pixels get fewer.

        Args:
            vectors: `[n, dim]`.

        Returns:
            `float32 [n, side, side, channels]`, parts of the largest value of the pixels' type.

        Raises:
            UsageError: the vectors are of another length.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise UsageError(f"vectors must be [n, {self.dim}], not {list(vectors.shape)}")
        coefficients = vectors.astype(np.float64).reshape(-1, self.side**2, self.channels)
        cells: NDArray[np.float32] = np.einsum("xk,nkc->nxc", self._basis, coefficients).astype(np.float32)
        return cells.reshape(-1, self.side, self.side, self.channels)

    def dump(self) -> bytes:
        """The number of channels and the side."""
        return _HEADER.pack(_MAGIC, self.channels, self.side)

    @classmethod
    def load(cls, dump: bytes) -> CosineEncoder:
        """Make an encoder again from what `dump` gave.

        Raises:
            CorruptError: the bytes are no dump of this encoder.
        """
        if len(dump) == _HEADER.size:
            magic, channels, side = _HEADER.unpack(dump)
            if magic == _MAGIC and 1 <= channels <= _MAX_CHANNELS and side in _SIDES:
                return cls(channels, side)
        raise CorruptError("the stored bytes are no cosine encoder that this release can read")

    def __repr__(self) -> str:
        return f"CosineEncoder(channels={self.channels}, side={self.side})"

    def _patches(self, pixels: NDArray[np.generic], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Coefficients `[n, side², channels]`, of patches."""
        count = real_pixels(mask)
        sums = _cell_sums(without_masked(pixels, mask, count), self.side)
        found = _by_channel(sums, self._basis)
        mean = found[:, 0] / np.maximum(count, 1)[:, None]
        partial = np.flatnonzero(count < _AREA)
        if len(partial):
            real = _cell_sums(mask[partial, :, :, None].view(np.uint8), self.side)[..., 0] @ self._basis
            found[partial] -= mean[partial, None, :] * real[:, :, None]
        scale = _LARGEST[pixels.dtype]
        found /= _AREA * scale
        found[:, 0] = mean / scale
        return found

    def _tiles(
        self, level: int, children: NDArray[np.float32], mask: NDArray[np.bool_], weight: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Coefficients `[n, side², channels]`, of nodes."""
        n, fanout = mask.shape
        vectors = np.where(mask[:, :, None], children, 0).astype(np.float64)
        vectors = vectors.reshape(n, fanout, self.side**2, self.channels)
        pixels = np.where(mask, weight, 0)
        total, mean = np.zeros(n), np.zeros((n, self.channels))
        for child in range(fanout):  # in this order, whatever the batch
            total += pixels[:, child]
            mean += pixels[:, child, None] * vectors[:, child, 0]
        mean /= np.where(total > 0, total, 1)[:, None]
        cover = pixels / (_AREA * IMAGE.width(level - 1))
        vectors[:, :, 0] = cover[:, :, None] * (vectors[:, :, 0] - mean[:, None])
        used, table = self._maps[fanout]
        parts = vectors[:, :, used].reshape(n, -1, self.channels)
        largest = np.abs(parts).max(axis=(1, 2), initial=0.0)
        unit = np.ldexp(_CHILD_STEP, np.frexp(largest)[1])[:, None, None]
        found: NDArray[np.float64] = _by_channel(np.rint(parts / unit), table) * unit
        found[:, 0] = mean
        return found

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """The place v·side + u of each coefficient, by the length of (u, v)."""
        u, v = np.meshgrid(np.arange(self.side), np.arange(self.side))
        return np.lexsort((u.ravel(), (u * u + v * v).ravel()))

    @cached_property
    def _basis(self) -> NDArray[np.float64]:
        """φ of each coefficient at each cell, `[side², side²]`, cells from the upper left one, in whole steps."""
        waves = _waves(self.side)
        grid = np.einsum("vy,ux->yxvu", waves, waves).reshape(self.side**2, -1)
        return _in_steps(grid[:, self._order], _BASIS_STEP)

    @cached_property
    def _maps(self) -> dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """By fan-out: which coefficients of children count, and what becomes of them, `[fanout · used, side²]`."""
        return {fanout: self._map(fanout) for fanout in IMAGE.fanouts}

    def _map(self, fanout: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        waves, across = _waves(self.side), int(np.sqrt(fanout))
        cells = across * self.side  # of all children along one side; each cell of the parent is `across` of them
        into = np.repeat(np.eye(self.side), across, axis=1).reshape(self.side, across, self.side) / across
        axis = np.einsum("ux,xis,ws->iuw", waves, into, waves) / self.side  # [child, of parent, of child]
        assert into.size == self.side * cells
        x, y = morton.decode(np.arange(fanout))
        both = np.einsum("jvw,juz->jwzvu", axis[y], axis[x]).reshape(fanout, self.side**2, self.side**2)
        table = _in_steps(both[:, self._order][:, :, self._order], _MAP_STEP)
        used = np.flatnonzero(table.any(axis=(0, 2)))
        table = np.ascontiguousarray(table[:, used]).reshape(-1, self.side**2)
        assert np.abs(table).sum(axis=0).max() < 64, "sums of whole steps may not be exact"
        return used, table


def _waves(side: int) -> NDArray[np.float64]:
    """φ `[frequency, cell]`."""
    u, x = np.arange(side)[:, None], np.arange(side)
    waves: NDArray[np.float64] = np.where(u > 0, np.sqrt(2.0), 1.0) * np.cos(np.pi * u * (x + 0.5) / side)
    return waves


def _in_steps(values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """The nearest multiples of a step: also what differs in its last bits between libraries is then alike."""
    steps: NDArray[np.float64] = np.rint(values / step) * step
    return steps


def _cell_sums(pixels: NDArray[np.unsignedinteger], side: int) -> NDArray[np.float64]:
    """The sums over the cells of patches, `[n, side², channels]`, exact."""
    n, channels, across = len(pixels), pixels.shape[3], PATCH // side
    exact = np.dtype(np.uint16 if pixels.dtype == np.uint8 else np.uint32)  # 256 · 255 < 2**16, and 256 · 65535 < 2**32
    rows = pixels.reshape(n, side, across, PATCH * channels)
    strips: NDArray[np.unsignedinteger] = rows[:, :, 0].astype(exact)
    for row in range(1, across):
        strips += rows[:, :, row]
    columns = strips.reshape(n, side * side, across, channels)
    cells: NDArray[np.unsignedinteger] = columns[:, :, 0].copy()
    for column in range(1, across):
        cells += columns[:, :, column]
    return cells.astype(np.float64)


def _by_channel(values: NDArray[np.float64], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """`values` `[n, any, channels]` times `table` `[any, out]`, for each channel: `[n, out, channels]`."""
    found = np.empty((len(values), table.shape[1], values.shape[2]))
    for channel in range(values.shape[2]):
        found[:, :, channel] = np.ascontiguousarray(values[:, :, channel]) @ table
    return found


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, start + max(size, 1)) for start in range(0, count, max(size, 1))]
