"""Is what a caller passed of the right kind?  Asked once, where it comes in, so that nobody below has to ask again.

Each function returns what it was given in the one form that the room works with, or says what was wrong and what to
pass instead.  Whether a thing of the right kind also exists is not asked here.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from mctree.encoders import Encoder, Tokenizer
from mctree.encoders.visual import VisualEncoder
from mctree.errors import UsageError
from mctree.format.facts import Stamp
from mctree.format.values import checked_text
from mctree.geometry import Address
from mctree.sources.images import Box

__all__ = [
    "as_address",
    "as_box",
    "as_encoder",
    "as_indices",
    "as_integer",
    "as_locator",
    "as_name",
    "as_path",
    "as_path_outside",
    "as_piece",
    "as_pieces",
    "as_source",
    "as_stamp",
    "as_tokenizer",
    "source_shown",
]

_MOST_DIM = 1 << 24
_PIECE = bytes | bytearray | memoryview | str


def as_source(source: object) -> bytes:
    """A source's name as the bytes that stand in the store.

    Raises:
        UsageError: it is neither bytes nor text, or text that stands for no bytes.
    """
    if isinstance(source, bytes):
        return source
    if not isinstance(source, str):
        raise UsageError(f"the name of a source is bytes or text, not {_kind(source)}")
    try:
        return source.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UsageError(f"source {ascii(source)[:80]} is no name: give its bytes instead") from None


def as_name(source: object) -> bytes:
    """The name of a document that is to begin.

    Raises:
        UsageError: it is none, or empty, so that nobody could ask for it.
    """
    name = as_source(source)
    if not name:
        raise UsageError("the name of a source cannot be empty")
    return name


def source_shown(which: int | bytes | str) -> int | str:
    """A document's number or name as it stands in a message."""
    return which if isinstance(which, int) else as_source(which).decode("utf-8", "backslashreplace")


def as_path(path: object) -> str:
    """The path of a store.

    Raises:
        UsageError: it names no path.
    """
    try:
        found = os.fsdecode(cast(str, path))
    except TypeError:
        raise UsageError(f"the path of a store is text or a pathlib.Path, not {_kind(path)}") from None
    if not found:  # as of an unset variable, which does not mean the folder that one is in
        raise UsageError("the path of the store is empty")
    if "\0" in found:
        raise UsageError(f"{found!r} is no path: it holds a zero byte")
    return found


def as_path_outside(path: object, store: str) -> str:
    """The path of what a store is written out to: whole, with no link on the way to it.

    Raises:
        UsageError: it names no path, or one in the store's own folder.
    """
    given = as_path(path)
    target = os.path.join(
        os.path.realpath(os.path.dirname(os.path.abspath(given))), os.path.basename(given.rstrip("/"))
    )
    if os.path.commonpath([store, target]) == store:
        raise UsageError(f"{given} lies in {store} itself; choose a place beside it, or elsewhere")
    return target


def as_address(address: object) -> Address:
    """A node's address, given as such, as text such as `2:17`, or as (level, index).

    Raises:
        UsageError: it is none of these.
    """
    if isinstance(address, Address):
        return address
    if isinstance(address, str):
        return Address.parse(address)
    if not isinstance(address, tuple) or len(address) != 2:
        raise UsageError(f"a node is named by an Address, by text such as '2:17' or by (level, index): {address!r:.60}")
    return Address(0, *address)


def as_integer(value: object, what: str) -> int:
    """A Python integer.

    Raises:
        UsageError: it is none; `what` names it.
    """
    try:
        return operator.index(cast(int, value))
    except TypeError:
        raise UsageError(f"{what} must be an integer, not {_kind(value)}") from None


def as_indices(value: object) -> NDArray[np.int64]:
    """Nodes of a level, by their indices: `int64 [n]`.

    Raises:
        UsageError: it is no row of whole numbers.
    """
    found = np.asarray(value)
    if found.ndim != 1 or (len(found) and found.dtype.kind not in "iu"):
        raise UsageError(
            f"nodes are given by their indices, a row of whole numbers, not {found.dtype} {[*found.shape]}"
        )
    return found.astype(np.int64, copy=False)


def as_box(value: object) -> Box:
    """A region of an image, in pixels.

    Raises:
        UsageError: it is no `Box`.
    """
    if not isinstance(value, Box):
        raise UsageError(f"a region is a mctree.sources.images.Box(x0, y0, x1, y1) of pixels, not {_kind(value)}")
    return value


def as_stamp(value: object) -> bytes:
    """What was seen of an input as the record that stands in the store; of None, which forgets it, no bytes.

    Raises:
        UsageError: it is neither.
    """
    if not isinstance(value, Stamp | None):
        raise UsageError(f"what was seen of an input is a Stamp, or None to forget it, not {_kind(value)}")
    return b"" if value is None else value.encode()


def as_piece(data: object) -> bytes:
    """A piece of a document as bytes.

    Raises:
        UsageError: it is neither bytes nor text.
    """
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return data.encode("utf-8", "surrogatepass")
    if isinstance(data, bytearray | memoryview):
        return bytes(data)
    raise UsageError(f"a document is written in bytes or text, not in {_kind(data)}")


def as_pieces(data: object) -> Iterable[bytes | str]:
    """The pieces of a whole document, given at once or one by one.

    Raises:
        UsageError: it is neither bytes nor text, nor does it hold several.
    """
    if isinstance(data, _PIECE):
        return [as_piece(data)]
    if isinstance(data, Mapping) or not isinstance(data, Iterable):
        raise UsageError(f"a document is given as bytes, as text, or as an iterable of these, not as {_kind(data)}")
    return cast("Iterable[bytes | str]", data)


def as_locator(locator: object) -> dict[str, int | str]:
    """A locator that can be stored.

    Raises:
        UsageError: it is no mapping, a key is no text, or a value neither text nor an integer of 64 bits.
    """
    if not isinstance(locator, Mapping):
        raise UsageError(f"a locator is a mapping of names to integers or text, not {_kind(locator)}")
    for key, value in locator.items():
        checked_text(key, "a key of a locator")
        if type(value) is not int:
            checked_text(value, f"the locator's {key!r}, where it is no integer,")
        elif not -(1 << 63) <= value < 1 << 64:
            raise UsageError(f"the locator's {key!r} is out of range: {value}")
    return dict(locator)


def as_tokenizer(tokenizer: object) -> Tokenizer:
    """A tokenizer.

    Raises:
        UsageError: it lacks a member that tokenizers have.
    """
    return cast(Tokenizer, _member_of(Tokenizer, tokenizer, "a tokenizer"))


def as_encoder(encoder: object) -> Encoder | VisualEncoder:
    """An encoder whose description can be stored.

    Raises:
        UsageError: it lacks a member that encoders have, or one of them is of another type.
    """
    if isinstance(encoder, VisualEncoder) and not isinstance(encoder, Encoder):
        return _described(encoder)
    found = cast(Encoder, _member_of(Encoder, encoder, "an encoder"))
    if type(found.span_level) is not int or found.span_level < 0:
        raise UsageError(f"the span_level of an encoder is an integer from 0 up, not {found.span_level!r}")
    return _described(found)


_Any = TypeVar("_Any", Encoder, VisualEncoder)


def _described(found: _Any) -> _Any:
    """An encoder whose members can be stored."""
    for name in ("kind", "fingerprint"):
        checked_text(getattr(found, name), f"the {name} of an encoder")
    if type(found.dim) is not int or not 1 <= found.dim <= _MOST_DIM:
        raise UsageError(f"the dim of an encoder is an integer from 1 to {_MOST_DIM}, not {found.dim!r}")
    modalities: object = found.modalities
    if isinstance(modalities, str) or not isinstance(modalities, Iterable):
        raise UsageError(f"the modalities of an encoder are a set of names, not {_kind(modalities)}")
    for modality in modalities:
        checked_text(modality, "a modality of an encoder")
    return found


def _member_of(protocol: Any, value: object, what: str) -> object:
    where = f"mctree.encoders.{protocol.__name__}"
    if isinstance(value, type):
        raise UsageError(f"{what} is wanted, not the class {value.__name__}: make one of it")
    if not isinstance(value, protocol):
        raise UsageError(f"{_kind(value)} is not {what}: it lacks members that {where} names")
    return value


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
