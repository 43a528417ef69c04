"""What do the values of stretches of rows come to?  The largest of each, their sum, the one that all have in common.

Runs ascend and lie apart.  A reduction is one pass over all rows up to the end of the last run; what lies between two
of them is reduced as well, which costs less than to gather what does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Runs"]

Value = TypeVar("Value", np.int64, np.float64)


@dataclass(frozen=True, eq=False, slots=True)
class Runs:
    """Stretches of rows, none of them empty.

    Attributes:
        bounds: of each its first row and the row behind its last, `int64 [g, 2]`, C-contiguous.
    """

    bounds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.bounds)

    @property
    def first(self) -> NDArray[np.int64]:
        """The first row of each, `int64 [g]`."""
        return self.bounds[:, 0]

    @property
    def stop(self) -> NDArray[np.int64]:
        """The row behind the last of each, `int64 [g]`."""
        return self.bounds[:, 1]

    def most(self, values: NDArray[Value]) -> NDArray[Value]:
        """The largest of the values of each run's rows: `[g]`."""
        return self._reduced(np.maximum, values)

    def total(self, values: NDArray[Value]) -> NDArray[Value]:
        """The sum of the values of each run's rows: `[g]`."""
        return self._reduced(np.add, values)

    def common(self, values: NDArray[np.int64], otherwise: int) -> NDArray[np.int64]:
        """The value that all rows of a run have, or another number where they have several: `int64 [g]`."""
        least, most = self._reduced(np.minimum, values), self._reduced(np.maximum, values)
        return np.where(least == most, least, otherwise)

    def _reduced(self, pick: np.ufunc, values: NDArray[Value]) -> NDArray[Value]:
        if not len(self.bounds):
            return values[:0]
        bounds = self.bounds.reshape(-1)
        found: NDArray[Any] = pick.reduceat(values[: bounds[-1]], bounds[:-1])[::2]
        return found
