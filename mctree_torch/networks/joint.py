"""How does one gist set hold text and images?  By one encoder with both doors, each of which leads to another encoder.

A model that reads a working context of text and images is fed the gists of one set.  What makes those of text need not
be what makes those of images; both have to give vectors of one length, in one space: that of the model's embeddings.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mctree.encoders import Encoder, VisualEncoder
from mctree.errors import CorruptError, UsageError

__all__ = ["JointEncoder"]

_LENGTH = struct.Struct("<Q")


class JointEncoder:
    """An encoder of text and an encoder of images, as one.

    Args:
        text: makes the gists of text, and those above where both are together.
        image: makes the vectors of patches and the gists of images.

    Raises:
        UsageError: their vectors are of different length.
    """

    kind: Final = "torch-joint-gist"
    modalities: Final = frozenset({"text", "image"})

    def __init__(self, text: Encoder, image: VisualEncoder) -> None:
        if text.dim != image.dim:
            raise UsageError(f"gists of text have {text.dim} dimensions and those of images {image.dim}")
        self._text = text
        self._image = image
        parts = f"{self.kind}\0{text.fingerprint}\0{image.fingerprint}"
        self.fingerprint: Final = hashlib.sha256(parts.encode()).hexdigest()
        self.dim: Final = text.dim

    def __repr__(self) -> str:
        return f"<JointEncoder {self.fingerprint[:12]}: {self._text!r} and {self._image!r}>"

    @property
    def span_level(self) -> int:
        """That of the encoder of text."""
        return self._text.span_level

    @property
    def channels(self) -> int:
        """How many channels the pixels have that the encoder of images takes."""
        return self._image.channels

    def encode(
        self,
        level: int,
        children: NDArray[np.generic],
        mask: NDArray[np.bool_],
        span: tuple[NDArray[np.uint32], NDArray[np.bool_]] | None = None,
    ) -> NDArray[np.float32]:
        """See `mctree.encoders.Encoder.encode`."""
        return self._text.encode(level, children, mask, span)

    def encode_query(self, text: str, level: int = 1) -> NDArray[np.float32]:
        """See `mctree.encoders.Encoder.encode_query`."""
        return self._text.encode_query(text, level)

    def encode_patches(self, pixels: NDArray[np.generic], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """See `mctree.encoders.VisualEncoder.encode_patches`."""
        return self._image.encode_patches(pixels, mask)

    def encode_tiles(
        self, level: int, children: NDArray[np.float32], mask: NDArray[np.bool_], weight: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """See `mctree.encoders.VisualEncoder.encode_tiles`."""
        return self._image.encode_tiles(level, children, mask, weight)

    def dump(self) -> bytes:
        """The dumps of both, one after the other."""
        text = self._text.dump()
        return _LENGTH.pack(len(text)) + text + self._image.dump()

    @classmethod
    def load(
        cls, dump: bytes, text: Callable[[bytes], Encoder], image: Callable[[bytes], VisualEncoder]
    ) -> JointEncoder:
        """Make an encoder again from what `dump` gave, and from what reads the two dumps in it.

        Raises:
            CorruptError: the bytes are no dump of this encoder.
        """
        try:
            (length,) = _LENGTH.unpack_from(dump)
        except struct.error as error:
            raise CorruptError("that is no dump of a joint encoder") from error
        rest = dump[_LENGTH.size :]
        if length > len(rest):
            raise CorruptError("that is no dump of a joint encoder: it is longer than it can be")
        return cls(text(rest[:length]), image(rest[length:]))
