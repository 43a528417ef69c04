"""How large is a network?  Its sizes, and the ranges within which they are believed, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import ClassVar, Self

from mctree.errors import UsageError
from mctree.focus import FEATURES
from mctree.geometry import TEXT

__all__ = ["Config", "GistConfig", "LensConfig", "VisualConfig"]

_RANGES = {
    "dim": (1, 1 << 16),
    "vocabulary": (0, 1 << 24),
    "fanout": (1, 1 << 10),
    "width": (1, 1 << 14),
    "heads": (1, 1 << 8),
    "layers": (0, 1 << 6),
    "slots": (1, 1 << 8),
    "levels": (1, 1 << 8),
    "text_dim": (0, 1 << 16),
    "patch_dim": (0, 1 << 16),
    "features": (1, 1 << 12),
    "linked": (0, 1),
}


@dataclass(frozen=True, slots=True)
class Config:
    """What all networks have.

    Raises:
        UsageError: a size is no whole number, or out of range; or heads do not divide the width.
    """

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        sizes = asdict(self)
        for name, value in sizes.items():
            least, most = _RANGES[name]
            if type(value) is not int or not least <= value <= most:
                raise UsageError(
                    f"{name} of a {self.kind} network is a number from {least} to {most}, not {value!r:.40}"
                )
        if sizes["width"] % sizes["heads"]:
            raise UsageError(f"{sizes['heads']} heads do not divide a width of {sizes['width']}")

    @classmethod
    def of(cls, sizes: Mapping[str, object]) -> Self:
        """The config that says this, as `asdict` gives it.

        Raises:
            UsageError: a size is missing, unknown or out of range.
        """
        known = [each.name for each in fields(cls)]
        if sorted(sizes) != sorted(known):
            raise UsageError(f"the sizes of a {cls.kind} network are {', '.join(known)}, not {sorted(sizes)!s:.200}")
        return cls(**sizes)  # of whatever type: that is looked at by __post_init__


@dataclass(frozen=True, slots=True)
class GistConfig(Config):
    """Sizes of a GistNet.

    Attributes:
        dim: of gists, and of the embeddings of tokens.
        vocabulary: how many tokens there are; 0 for a network that takes vectors at level 1 too.
        fanout: the most children of a node.
        width: of what the network computes in between; a multiple of `heads`.
        heads: of attention.
        layers: of attention among children.
        slots: how many questions are asked of the children.
        levels: how many levels are told apart; what lies above the last is taken for it.
    """

    kind: ClassVar[str] = "gist"

    dim: int
    vocabulary: int
    fanout: int = TEXT.block
    width: int = 128
    heads: int = 4
    layers: int = 2
    slots: int = 4
    levels: int = 8


@dataclass(frozen=True, slots=True)
class VisualConfig(Config):
    """Sizes of a VisualGistNet.

    Attributes:
        dim: of gists, and of patches.
        text_dim: of vectors of linked text; 0: the network takes none.
        patch_dim: of the vectors of patches that another encoder makes, which the network brings to `dim`; 0: they
            have `dim` already and stay as they are.
        width: of what the network computes in between; a multiple of `heads`.
        heads: of attention.
        layers: of attention along rows and along columns.
        slots: how many questions are asked of the patches.
        levels: how many levels are told apart; what lies above the last is taken for it.
    """

    kind: ClassVar[str] = "visual-gist"

    dim: int
    text_dim: int = 0
    patch_dim: int = 0
    width: int = 128
    heads: int = 4
    layers: int = 2
    slots: int = 4
    levels: int = 16


@dataclass(frozen=True, slots=True)
class LensConfig(Config):
    """Sizes of a LensNet.

    Attributes:
        dim: of gists, and of the embeddings of tokens.
        features: columns of `Look.features`.
        width: of what the network computes in between; a multiple of `heads`.
        heads: of attention, and of matching.
        layers: of looks from entries to the tail and back.
        linked: 1 if it also takes summaries of what entries are linked to.
    """

    kind: ClassVar[str] = "lens"

    dim: int
    features: int = len(FEATURES)
    width: int = 64
    heads: int = 4
    layers: int = 2
    linked: int = 1
