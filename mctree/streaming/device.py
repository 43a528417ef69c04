"""Where do resident rows lie?  On a device: some memory for each plane, and buffers from which rows are copied there.

`HostDevice` is ordinary memory, and the reference for all others: copying is done when it was begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.streaming.fetch import Plane

__all__ = ["BUFFERS", "BUFFER_BYTES", "EXTRA", "Device", "HostDevice", "ring_bytes"]

BUFFERS, BUFFER_BYTES = 4, 1 << 20
"""Of a ring that nobody says anything about."""

EXTRA = 2
"""Rows of a plane's memory behind its slots: one of zeros, for nodes without a row, and one that is never looked at."""


class Device(Protocol):
    """Memory for resident rows.

    Slot `slots[plane]` of a plane is always zeros; what is copied to the slot behind it is lost.
    """

    @property
    def ring(self) -> Sequence[NDArray[np.uint8]]:
        """The buffers that rows are read into, `uint8 [size]` each."""
        ...

    @property
    def slots(self) -> Sequence[int]:
        """How many slots each plane has, 0 for one that there is none of."""
        ...

    def copy(self, buffer: int, plane: int, first: int, slots: NDArray[np.int64]) -> None:
        """Begin to copy rows of a buffer to slots.

        Args:
            buffer: its number in the ring; what is in it stays until `copied` says that it is done.
            plane: whose rows they are.
            first: the row of the buffer that goes to the first of the slots.
            slots: `int64 [n]`.
        """
        ...

    def copied(self, buffer: int) -> bool:
        """Whether all copies that were begun from a buffer are done; does not wait."""
        ...


class HostDevice:
    """Ordinary memory.

    Args:
        planes: the shapes of rows, as `Fetch.planes` gives them.
        slots: how many slots each plane has, or one number for all.
        buffers: how many buffers the ring has.
        buffer_bytes: how large each of them is; a row of each plane fits at least.

    Raises:
        UsageError: there is no room for a row.
    """

    def __init__(
        self,
        planes: Sequence[Plane | None],
        slots: int | Sequence[int],
        *,
        buffers: int = BUFFERS,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        self.slots, size = ring_bytes(planes, slots, buffers, buffer_bytes)
        self.ring = [np.zeros(size, np.uint8) for _ in range(buffers)]
        self._planes = tuple(planes)
        self._memory: list[NDArray[Any] | None] = [
            None if plane is None else np.zeros((count + EXTRA, *plane.row), plane.dtype)
            for plane, count in zip(planes, self.slots, strict=True)
        ]

    def copy(self, buffer: int, plane: int, first: int, slots: NDArray[np.int64]) -> None:
        """See `Device.copy`."""
        shape = self._planes[plane]
        assert shape is not None
        begin, size = first * shape.row_bytes, len(slots) * shape.row_bytes
        rows = self.ring[buffer][begin : begin + size].view(shape.dtype).reshape(len(slots), *shape.row)
        self.memory(plane)[slots] = rows

    def copied(self, buffer: int) -> bool:
        """Always."""
        return True

    def memory(self, plane: int) -> NDArray[Any]:
        """The rows of a plane by slot: `[slots + 2, *row]`.

        Raises:
            UsageError: there is no such plane.
        """
        memory = self._memory[plane]
        if memory is None:
            raise UsageError(f"there are no rows of plane {plane} on this device")
        return memory

    def take(self, plane: int, slots: NDArray[np.int64], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The rows in slots, into `out` if given: `[n, *row]`."""
        return self.memory(plane).take(slots, axis=0, out=out, mode="clip")


def ring_bytes(
    planes: Sequence[Plane | None], slots: int | Sequence[int], buffers: int, buffer_bytes: int
) -> tuple[tuple[int, ...], int]:
    """Slots by plane, and the size of a buffer: the next multiple of 64.

    Raises:
        UsageError: there are no buffers, they hold no row, or a plane that exists has no slot.
    """
    counts = tuple([slots] * len(planes) if isinstance(slots, int) else slots)
    if len(counts) != len(planes):
        raise UsageError(f"{len(planes)} planes need as many numbers of slots, not {len(counts)}")
    counts = tuple(0 if plane is None else count for plane, count in zip(planes, counts, strict=True))
    for plane, count in zip(planes, counts, strict=True):
        if plane is not None and count < 1:
            raise UsageError(f"a plane has at least 1 slot, not {count}")
        if plane is not None and plane.row_bytes > buffer_bytes:
            raise UsageError(f"a buffer of {buffer_bytes} bytes does not hold a row of {plane.row_bytes}")
    if buffers < 2:
        raise UsageError(f"a ring has 2 buffers at least, one to read into and one to copy from, not {buffers}")
    return counts, -(-buffer_bytes // 64) * 64
