"""What is an encoder of images?  The protocol that the tree calls for patches, tiles and what stands above them.

An image is a quad-tree over *patches* of 16 × 16 pixels: its level 0 are the patches in Z-order, each with a vector of
its own; a *tile*, at level 1, has 8 × 8 patches under it, and every node above 2 × 2 of the nodes below.  So a visual
encoder has two doors: `encode_patches` sees pixels, `encode_tiles` sees the vectors of a node's children.  Their names
differ from `Encoder.encode`, so that one object can serve text and images in one gist set.

What is not there is never made up: a mask says which pixels of a patch, and which children of a node, are real; masked
entries hold 0.  `weight` says how many real pixels stand under each child, so that a mean over pixels can be one: the
children at an image's edge are smaller than the others.

Neither a model, a device, nor a number of channels is assumed.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["VisualEncoder"]


@runtime_checkable
class VisualEncoder(Protocol):
    """Makes the vectors of patches and the gists above them."""

    @property
    def kind(self) -> str:
        """Which class reads the result of `dump` back: a key of `mctree.encoders.load_encoder`."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hex digits over everything the vectors depend on: it changes if and only if they would."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector, the same at every level."""
        ...

    @property
    def modalities(self) -> frozenset[str]:
        """What it can encode; holds `"image"`."""
        ...

    @property
    def channels(self) -> int:
        """How many channels the pixels have that it takes."""
        ...

    def encode_patches(self, pixels: NDArray[np.generic], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Encode a batch of `n` patches.

        Args:
            pixels: `[n, 16, 16, channels]`, uint8 or uint16, rows of pixels from top to bottom.  Masked pixels are 0.
            mask: `bool [n, 16, 16]`: which pixels are real.

        Returns:
            `float32 [n, dim]`, finite, a function of each patch alone (not of the batch it came in); 0 where no
            pixel is real.
        """
        ...

    def encode_tiles(
        self,
        level: int,
        children: NDArray[np.float32],
        mask: NDArray[np.bool_],
        weight: NDArray[np.float64],
    ) -> NDArray[np.float32]:
        """Encode a batch of `n` nodes of one level from their children.

        Args:
            level: 1 for tiles, 2 and more for what stands above them.
            children: `float32 [n, f, dim]`, in Z-order, as they are stored: the vectors of 64 patches at level 1, the
                gists of 4 nodes above.  Masked entries hold anything.
            mask: `bool [n, f]`: which children exist and have a vector.
            weight: `float64 [n, f]`: the real pixels under each child; 0 where it is masked.

        Returns:
            `float32 [n, dim]`, finite, a function of each row alone; 0 where there are no children.
        """
        ...

    def dump(self) -> bytes:
        """Everything needed to make this encoder again, without pickle."""
        ...
