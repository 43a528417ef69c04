"""How does PyTorch read a level?  As one tensor over the mapped files, or by a gather into a tensor of the caller's.

Nothing is copied by `as_tensor` where the level is mapped as a whole; `gather` copies just the rows asked for,
straight into the tensor given, which may be pinned for an asynchronous copy to a device.  Neither needs a GPU.
"""

from __future__ import annotations

import warnings
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["ReadableRows", "as_tensor", "gather"]


class ReadableRows(Protocol):
    """The committed rows of a level: what `GistView.level` and `Snapshot.rows` give."""

    def view(self) -> NDArray[np.generic]:
        """All rows, read-only."""
        ...

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.generic]) -> NDArray[np.generic]:
        """Copy rows into `out`."""
        ...


def as_tensor(rows: ReadableRows) -> torch.Tensor:
    """All rows of a level as a tensor on the CPU that shares the mapped memory.

    The files are mapped for reading: writing to the tensor ends the process, so treat it as a constant.

    Returns:
        `[rows, *row]`, of the level's element type.
    """
    with warnings.catch_warnings():
        # PyTorch has no read-only tensors and says so.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(rows.view())


def gather(rows: ReadableRows, index: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Copy rows of a level into a tensor; other threads run meanwhile.

    Args:
        rows: the level.
        index: `int64 [n]` on the CPU.
        out: `[n, *row]` on the CPU, contiguous, of the level's element type; pinned memory is fine.

    Returns:
        `out`.
    """
    rows.gather(index.numpy(), out.numpy())
    return out
