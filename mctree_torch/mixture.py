"""How often is each document read in an epoch?  By its weight, exactly, and the same in every run.

Documents are divided into *parts*, each packed into windows of its own.  A part is everything under a name: a source, a
folder, a container; where one name lies under another, the longer one decides.

*Weights* say how often: a part of weight 1 is read once an epoch, one of weight 2 twice, one of weight 0.25 in every
fourth epoch; documents of one weight make one part.  A part of n windows and weight w gives round(w·n) samples, and
at least one.  *Shares* say how much of an epoch's samples each part gives, whatever its size: the largest remainders
decide who gives one more.

A part that gives m samples an epoch goes round its n windows: its samples number e·m to (e+1)·m - 1 are those of epoch
e, and each n of them, counted from the first, are all its windows.  So after any number of epochs no window of a part
was read more than once more often than another.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.sources.names import ancestors, shown
from mctree.tree import Snapshot
from mctree.tree.arguments import as_source
from mctree_torch.permutation import MOST, Permutation

__all__ = ["Names", "Order", "Part", "Wish", "divide", "parts"]

Names = Mapping[str, float | Fraction] | Mapping[bytes, float | Fraction]
"""Weights or shares, by names of sources, folders or containers."""

_WITHIN = 1


@dataclass(frozen=True, slots=True)
class Wish:
    """How often documents shall be read: by weights, by shares, or each once if both are None."""

    weights: Mapping[bytes, Fraction] | None
    shares: Mapping[bytes, Fraction] | None
    samples: int | None

    @classmethod
    def of(cls, weights: object, shares: object, samples: int | None) -> Wish:
        """A wish as callers say it: names of sources, folders or containers, and numbers.

        Raises:
            UsageError: a number is negative, infinite or none; all are 0; both weights and shares are given; or a
                number of samples without shares.
        """
        if weights is not None and shares is not None:
            raise UsageError("give weights (how often) or shares (how much of an epoch), not both")
        if samples is not None and (shares is None or samples < 1):
            raise UsageError("the samples of an epoch follow from windows and weights; give them with shares only")
        return cls(_numbers(weights, "weight"), _numbers(shares, "share"), samples)

    @property
    def digest(self) -> str:
        """Equal for equal wishes: what a state says of one."""
        said = repr((_plain(self.weights), _plain(self.shares), self.samples))
        return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()

    def groups(self) -> tuple[dict[bytes, int], list[str], list[Fraction]]:
        """Which part each name belongs to (-1: none), what each part is called, and its number."""
        if self.shares is not None:
            names = [name for name, share in self.shares.items() if share]
            group = {name: names.index(name) if share else -1 for name, share in self.shares.items()}
            return {b"": -1} | group, [shown(name) or "the rest" for name in names], [self.shares[n] for n in names]
        weights = {b"": Fraction(1)} | dict(self.weights or {})
        values = sorted(set(weights.values()) - {0})
        group = {name: values.index(weight) if weight else -1 for name, weight in weights.items()}
        return group, [f"weight {float(value):g}" for value in values], values


@dataclass(frozen=True, slots=True)
class Part:
    """Documents that are read equally often.

    Attributes:
        name: what it is called in messages.
        tokens: how many tokens it has, ends of documents included.
        windows: how many windows these make.
        samples: how many of an epoch's samples are windows of it.
    """

    name: str
    tokens: int
    windows: int
    samples: int


def divide(snapshot: Snapshot, wish: Wish, document: NDArray[np.int64]) -> NDArray[np.int64]:
    """The part of each document, -1 for those that are left out.

    Args:
        snapshot: where their names are.
        wish: what is asked for.
        document: numbers of live documents, `int64 [n]`.
    """
    group, _, _ = wish.groups()
    if len(group) == 1:  # no names are needed
        return np.full(len(document), group[b""], np.int64)
    known = [
        (number, next(group[name] for name in reversed([b"", *ancestors(source)]) if name in group))
        for source, number, _ in snapshot.sources()
    ]
    numbers, of = np.array(known, np.int64).reshape(-1, 2).T
    return of[np.searchsorted(numbers, document)]


def parts(wish: Wish, tokens: NDArray[np.int64], windows: NDArray[np.int64]) -> list[Part]:
    """What each part gives to an epoch.

    Args:
        wish: what is asked for.
        tokens: how many tokens each part has, `int64 [k]`.
        windows: how many windows these make, `int64 [k]`.

    Raises:
        UsageError: there is nothing to be read, or nothing under a name that has a share.
    """
    _, names, numbers = wish.groups()
    counts = windows.tolist()
    if wish.shares is None:
        samples = [max(round(w * n), 1) if n else 0 for w, n in zip(numbers, counts, strict=True)]
    else:
        for name, n in zip(names, counts, strict=True):
            if not n:
                raise UsageError(f"nothing to read under {name!r}, which has a share: take it out")
        samples = _apportioned(sum(counts) if wish.samples is None else wish.samples, numbers)
    if not 1 <= sum(samples) <= MOST:
        raise UsageError(f"there are {sum(samples)} samples in an epoch: ingest documents, or mend the weights")
    return [Part(*each) for each in zip(names, tokens.tolist(), counts, samples, strict=True)]


class Order:
    """Which window is which sample: a function of seed, epoch and number, at the same cost wherever it is.

    Args:
        seed: 0 to 2^64 - 1.
        held: the parts.
        begins: where their streams begin, `int64 [k]`.
        length: tokens in a window.
    """

    def __init__(self, seed: int, held: list[Part], begins: NDArray[np.int64], length: int) -> None:
        self.seed = seed
        self.samples = sum(part.samples for part in held)
        self._held = held
        self._begins = begins
        self._length = length
        self._bounds = np.cumsum([0, *(part.samples for part in held)])
        self._windows = np.array([part.windows for part in held], np.int64)
        self._uneven = [i for i, part in enumerate(held) if part.samples and part.samples % part.windows]

    def starts(self, epoch: int, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the windows of samples begin in the streams.

        Args:
            epoch: 0 or more.
            index: of each sample in the epoch, `int64 [n]`.
        """
        place = Permutation(self.samples, self.seed, epoch)(index)
        part = np.searchsorted(self._bounds, place, side="right") - 1
        place -= self._bounds[part]
        window = place % self._windows[part]
        for i in self._uneven:
            some = np.flatnonzero(part == i)
            if some.size:
                window[some] = self._rounds(i, epoch, place[some])
        window *= self._length
        window += self._begins[part]
        return window

    def _rounds(self, i: int, epoch: int, place: NDArray[np.int64]) -> NDArray[np.int64]:
        """The windows of a part that does not go round a whole number of times in an epoch."""
        part = self._held[i]
        done, begun = divmod(epoch * part.samples, part.windows)
        turn, place = np.divmod(place + begun, part.windows)
        for one in range(int(turn.min()), int(turn.max()) + 1):
            some = np.flatnonzero(turn == one)
            place[some] = Permutation(part.windows, self.seed, _WITHIN, i, done + one)(place[some])
        return place


def _plain(numbers: Mapping[bytes, Fraction] | None) -> list[tuple[bytes, int, int]] | None:
    """Names and numbers so that equal ones look equal, in the order that matters."""
    return None if numbers is None else [(name, n.numerator, n.denominator) for name, n in numbers.items()]


def _numbers(given: object, what: str) -> dict[bytes, Fraction] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise UsageError(f"{what}s are a mapping from names to numbers, not {type(given).__name__}")
    found = {as_source(name): _number(number, f"the {what} of {name!r}") for name, number in given.items()}
    if what == "share" and not any(found.values()):
        raise UsageError("at least one share must be above 0")
    return found


def _number(number: Any, what: str) -> Fraction:
    if not isinstance(number, int | float | Fraction) or not math.isfinite(number) or number < 0:
        raise UsageError(f"{what} must be a number from 0 up, not {number!r}")
    return Fraction(number)


def _apportioned(total: int, shares: list[Fraction]) -> list[int]:
    """Divide a number in proportion: no one is further than 1 from what is due, and the first of equals goes first."""
    due = [total * share / sum(shares) for share in shares]
    found = [math.floor(exact) for exact in due]
    order = sorted(range(len(due)), key=lambda i: found[i] - due[i])
    for i in order[: total - sum(found)]:
        found[i] += 1
    return found
