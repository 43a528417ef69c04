"""How are many columns edited as one?  As rows of two matrices: all integers in the one, all real numbers in the other.

A column is a row of its matrix, so it is contiguous, and a view that costs nothing.  A `splice` replaces stretches of
rows by others and copies each matrix once, whatever the number of columns and of stretches; whoever still holds the old
rows keeps them as they were.  The last columns of a matrix may be left out, if they were given as the number 0 when
rows were made, as what only images have is where there are none: they read as zeros, and nothing is copied for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Exchange", "Integer", "Real", "Rows"]

_NUMBERS = (int, float)


class Exchange(NamedTuple):
    """Rows [first, stop) go, and rows [begin, end) of what is new come in their place."""

    first: int
    stop: int
    begin: int
    end: int


class Integer:
    """A column of integers: `int64 [n]`."""

    def __set_name__(self, owner: type[Rows], name: str) -> None:
        self._row = len(owner.INTEGERS)
        owner.INTEGERS = (*owner.INTEGERS, name)

    @overload
    def __get__(self, rows: None, owner: type[Rows]) -> Integer: ...
    @overload
    def __get__(self, rows: Rows, owner: type[Rows]) -> NDArray[np.int64]: ...
    def __get__(self, rows: Rows | None, owner: type[Rows]) -> Integer | NDArray[np.int64]:
        if rows is None:
            return self
        stored = rows.stored_integers
        return stored[self._row] if self._row < len(stored) else _zeros(stored)


class Real:
    """A column of real numbers: `float64 [n]`."""

    def __set_name__(self, owner: type[Rows], name: str) -> None:
        self._row = len(owner.REALS)
        owner.REALS = (*owner.REALS, name)

    @overload
    def __get__(self, rows: None, owner: type[Rows]) -> Real: ...
    @overload
    def __get__(self, rows: Rows, owner: type[Rows]) -> NDArray[np.float64]: ...
    def __get__(self, rows: Rows | None, owner: type[Rows]) -> Real | NDArray[np.float64]:
        if rows is None:
            return self
        stored = rows.stored_reals
        return stored[self._row] if self._row < len(stored) else _zeros(stored)


class Rows:
    """Columns of one length, which a subclass names; never changed once they are made.

    Attributes:
        stored_integers: the columns of integers, `int64 [k, n]`; those that are left out behind them hold zeros.
        stored_reals: the columns of real numbers, `float64 [m, n]`; likewise.
    """

    INTEGERS: ClassVar[tuple[str, ...]] = ()
    REALS: ClassVar[tuple[str, ...]] = ()
    __slots__ = ("stored_integers", "stored_reals")

    def __init__(self, integers: NDArray[np.int64], reals: NDArray[np.float64]) -> None:
        integers.setflags(write=False)
        reals.setflags(write=False)
        self.stored_integers = integers
        self.stored_reals = reals

    @property
    def integers(self) -> NDArray[np.int64]:
        """All columns of integers, `int64 [k, n]`."""
        return _tall(self.stored_integers, len(self.INTEGERS))

    @property
    def reals(self) -> NDArray[np.float64]:
        """All columns of real numbers, `float64 [m, n]`."""
        return _tall(self.stored_reals, len(self.REALS))

    @classmethod
    def made(cls, n: int, **columns: ArrayLike) -> Self:
        """`n` rows, of one array or one number for each column."""
        integers, reals = [columns[name] for name in cls.INTEGERS], [columns[name] for name in cls.REALS]
        assert len(columns) == len(integers) + len(reals), f"{cls.__name__} has no such columns: {sorted(columns)}"
        return cls(_matrix(n, integers, np.int64), _matrix(n, reals, np.float64))

    @classmethod
    def none(cls) -> Self:
        """No rows."""
        return cls(np.empty((len(cls.INTEGERS), 0), np.int64), np.empty((len(cls.REALS), 0)))

    def __len__(self) -> int:
        return int(self.stored_integers.shape[1])

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} rows>"

    def take(self, rows: NDArray[np.integer[Any]] | NDArray[np.bool_]) -> Self:
        """Some of the rows: those of the given numbers, in that order, or those that are marked."""
        # Not by an index: that would lay columns out side by side, number by number.
        some = rows.nonzero()[0] if rows.dtype == np.bool_ else rows
        return type(self)(self.stored_integers.take(some, axis=1), self.stored_reals.take(some, axis=1))

    def splice(self, new: Self, exchanges: Sequence[Exchange]) -> Self:
        """The rows with stretches of them replaced.

        Args:
            new: all rows that come in.
            exchanges: which of them come in the place of which rows, by place; no row goes twice.
        """
        return type(self)(
            _spliced(self.stored_integers, new.stored_integers, exchanges),
            _spliced(self.stored_reals, new.stored_reals, exchanges),
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """All rows of one after those of the other; there is one part at least."""
        return cls(
            np.concatenate(_alike([part.stored_integers for part in parts]), axis=1),
            np.concatenate(_alike([part.stored_reals for part in parts]), axis=1),
        )

    def same(self, other: Self) -> NDArray[np.bool_]:
        """Which rows are the same in both, number by number: `bool [n]`."""
        same: NDArray[np.bool_] = np.equal(*_alike([self.stored_integers, other.stored_integers])).all(axis=0)
        same &= np.equal(*_alike([self.stored_reals, other.stored_reals])).all(axis=0)
        return same


def _zeros(stored: NDArray[Any]) -> NDArray[Any]:
    """A column that is left out of a matrix."""
    column = np.zeros(stored.shape[1], stored.dtype)
    column.setflags(write=False)
    return column


def _matrix(n: int, columns: Sequence[ArrayLike], dtype: type[np.int64 | np.float64]) -> NDArray[Any]:
    """Columns of `n` numbers, but for the last ones that are given as the number 0."""
    height = len(columns)
    while height and type(columns[height - 1]) in _NUMBERS and columns[height - 1] == 0:
        height -= 1
    matrix = np.empty((height, n), dtype)
    for row in range(height):
        matrix[row] = columns[row]
    return matrix


def _tall(stored: NDArray[Any], height: int) -> NDArray[Any]:
    """A matrix with zeros for the columns up to so many that are left out."""
    if len(stored) == height:
        return stored
    matrix = np.zeros((height, stored.shape[1]), stored.dtype)
    matrix[: len(stored)] = stored
    matrix.setflags(write=False)
    return matrix


def _alike(matrices: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Matrices, all with as many columns as that which has most."""
    height = max(map(len, matrices))
    return [_tall(matrix, height) for matrix in matrices]


def _spliced(old: NDArray[Any], new: NDArray[Any], exchanges: Sequence[Exchange]) -> NDArray[Any]:
    """A matrix with stretches of its columns replaced: see `Rows.splice`."""
    old, new = _alike([old, new])
    parts: list[NDArray[Any]] = []
    done = 0
    for first, stop, begin, end in exchanges:
        parts += (old[:, done:first], new[:, begin:end])
        done = stop
    return np.concatenate((*parts, old[:, done:]), axis=1)
