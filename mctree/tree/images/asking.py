"""Does an image source of somebody's own keep what it promises?  As far as a store depends on it.

A source is asked here, and nowhere else in this room: what it says of itself before anything is begun, and whatever it
hands over before anything is made of it.  So one that does not keep the protocol is refused by a typed error, and
leaves nothing behind that others cannot read.  Errors of its own pass through.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

import numpy as np

from mctree.errors import SourceError, UsageError
from mctree.format.values import checked_text
from mctree.sources.images import Box, ImageSource, Pixels

__all__ = ["fingerprint_of", "may_show", "read_pixels", "require_sound"]

_DTYPES: Final = (np.dtype(np.uint8), np.dtype(np.uint16))
_LONGEST: Final = 1 << 20
"""Characters of a URI or of a fingerprint."""
_NOTHING: Final = object()


def require_sound(source: ImageSource) -> None:
    """Make sure that what a source says of itself is of the kinds that the protocol names.

    Raises:
        UsageError: it is not.
    """
    for name in ("height", "width", "channels"):
        value: object = getattr(source, name)
        if type(value) is not int:
            raise UsageError(f"the {name} of an image source is an int, not {type(value).__name__}")
    _checked(source.uri, "uri")
    dtype: object = source.dtype
    if not isinstance(dtype, np.dtype) or dtype not in _DTYPES:
        raise UsageError(
            f"the dtype of an image source is np.dtype(np.uint8) or np.dtype(np.uint16), not {dtype!r:.80}"
        )
    levels: object = source.levels
    if not (
        isinstance(levels, tuple)
        and levels[:1] == (1,)
        and all(type(factor) is int and factor.bit_count() == 1 for factor in levels)
        and all(finer < coarser for finer, coarser in pairwise(levels))
    ):
        raise UsageError(
            f"the levels of an image source are a tuple of powers of two, ascending, 1 first: not {levels!r:.80}"
        )
    if source.access not in ("random", "rows"):
        raise UsageError(f"the access of an image source is 'random' or 'rows', not {source.access!r:.80}")


def fingerprint_of(source: ImageSource) -> str:
    """The fingerprint of a source; it may take a look at each of many files, so it is asked where it is needed.

    Raises:
        UsageError: it is none.
    """
    return _checked(source.fingerprint, "fingerprint")


def read_pixels(source: ImageSource, box: Box, level: int = 0) -> Pixels:
    """The pixels of a box of a level.

    Raises:
        SourceError: what comes is not the pixels of that box; or whatever the source raises.
    """
    found: object = source.read(box, level)
    if not isinstance(found, Pixels):
        raise _broken(source, f"read a box as {type(found).__name__}, and not as Pixels")
    values: object = found.values
    mask: object = found.mask
    expected = box.height, box.width, source.channels
    if not isinstance(values, np.ndarray) or values.shape != expected or values.dtype != source.dtype:
        raise _broken(source, f"gave {_told(values)} for a box of {source.dtype.name} {list(expected)}")
    if mask is not None and not (
        isinstance(mask, np.ndarray) and mask.shape == expected[:2] and mask.dtype == np.bool_
    ):
        raise _broken(source, f"gave {_told(mask)} for the mask of a box, which is bool {list(expected[:2])}")
    return found


def may_show(source: ImageSource, box: Box, level: int = 0) -> bool:
    """Whether a source may have pixels in a box of a level.

    Raises:
        SourceError: it does not say where; or whatever the source raises.
    """
    found: object = source.covered(box, level)
    first = next(iter(found), _NOTHING) if isinstance(found, Iterable) else found
    if first is _NOTHING:
        return False
    if not isinstance(first, Box):
        raise _broken(source, f"said where there are pixels by {type(first).__name__}, and not by boxes")
    return True


def _checked(value: object, what: str) -> str:
    text = checked_text(value, f"the {what} of an image source")
    if len(text) > _LONGEST:
        raise UsageError(f"the {what} of an image source has {_LONGEST} characters at most, not {len(text)}")
    return text


def _broken(source: ImageSource, what: str) -> SourceError:
    return SourceError(f"{source.uri!r:.200} does not keep the protocol of image sources: it {what}")


def _told(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
