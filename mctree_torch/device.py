"""Where do resident rows lie for PyTorch?  In a tensor for each plane, on any device; rows get there beside compute.

On a GPU the ring is pinned memory, which reading fills directly.  A copy is a transfer of neighbours to a staging
tensor and a scatter from there to their slots, both on a side stream; an event per buffer says when it is done, and
nobody waits for that.  The side stream in turn waits for the last gather of each stream that gathers, so that no slot
is overwritten that is being read.  All of this memory is made once; nothing is pinned or allocated later, and the
tensors are held until the side stream has come to rest, so that no caching allocator has to be told about streams.

On a CPU the same copies are done when they were begun, with the same results bit for bit.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.streaming import Plane
from mctree.streaming.device import BUFFER_BYTES, BUFFERS, EXTRA, ring_bytes

__all__ = ["Sender", "TorchDevice", "element_type"]

_ALIGNED, _SENT_BYTES, _MOST_SENT = 64, 2 << 20, 8
"""Of what goes through pinned buffers beside rows: where each array begins, how large a buffer is at least, and how
many of them there are at most."""

_STORED = {
    np.dtype(np.float16): torch.float16,
    np.dtype(np.float32): torch.float32,
    np.dtype(np.int8): torch.int8,
    np.dtype(np.uint8): torch.uint8,
    # Most operations lack unsigned types; what is gathered is widened, so that nobody sees a sign.
    np.dtype(np.uint16): torch.int16,
    np.dtype(np.uint32): torch.int32,
}


def element_type(dtype: np.dtype[np.generic]) -> torch.dtype:
    """In which type rows of a NumPy type are kept.

    Raises:
        UsageError: in none.
    """
    found = _STORED.get(dtype)
    if found is None:
        raise UsageError(f"rows of {dtype} cannot be kept in a tensor: {', '.join(map(str, _STORED))} can")
    return found


class TorchDevice:
    """Memory of a device; a `mctree.streaming.Device`.

    Args:
        planes: the shapes of rows, as `Fetch.planes` gives them.
        slots: how many slots each plane has, or one number for all.
        device: where; a CPU or a CUDA device, the current one if it is not said which.
        buffers: how many buffers the ring has, each of them pinned where the device is a GPU.
        buffer_bytes: how large each of them is; 0.5 to 2 MB make use of the bus.

    Attributes:
        device: where.

    Raises:
        UsageError: a number is out of range, or rows are of a type that tensors lack.
    """

    def __init__(
        self,
        planes: Sequence[Plane | None],
        slots: int | Sequence[int],
        device: torch.device | str = "cpu",
        *,
        buffers: int = BUFFERS,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        self.device = _this_device(torch.device(device))
        self._planes = tuple(planes)
        self.slots, size = ring_bytes(planes, slots, buffers, buffer_bytes)
        cuda = self.device.type == "cuda"
        self._ring = [torch.zeros(size, dtype=torch.uint8, pin_memory=cuda) for _ in range(buffers)]
        self.ring: list[NDArray[np.uint8]] = [buffer.numpy() for buffer in self._ring]
        self._memory = [
            None
            if plane is None
            else torch.zeros((count + EXTRA, *plane.row), dtype=element_type(plane.dtype), device=self.device)
            for plane, count in zip(planes, self.slots, strict=True)
        ]
        self._beside = _Beside(self.device, planes, self._ring) if cuda else None
        if self._beside is not None:
            # Before any tensor goes back to its allocator, which knows nothing of the side stream.
            weakref.finalize(self, self._beside.rest, os.getpid()).atexit = False

    def __repr__(self) -> str:
        held = sum(memory.nbytes for memory in self._memory if memory is not None)
        return f"<TorchDevice {self.device}: {held >> 20} MiB of rows>"

    def memory(self, plane: int) -> torch.Tensor:
        """The rows of a plane by slot: `[slots + 2, *row]`; do not write to it.

        Raises:
            UsageError: there is no such plane.
        """
        memory = self._memory[plane]
        if memory is None:
            raise UsageError(f"there are no rows of plane {plane} on this device")
        return memory

    def copy(self, buffer: int, plane: int, first: int, slots: NDArray[np.int64]) -> None:
        """See `Device.copy`."""
        memory, shape = self.memory(plane), self._planes[plane]
        assert shape is not None
        part = slice(first * shape.row_bytes, (first + len(slots)) * shape.row_bytes)
        if self._beside is None:
            rows = self._ring[buffer][part].view(memory.dtype).view(len(slots), *shape.row)
            memory.index_copy_(0, torch.from_numpy(slots), rows)
        else:
            self._beside.copy(buffer, part, slice(first, first + len(slots)), slots, memory)

    def copied(self, buffer: int) -> bool:
        """See `Device.copied`; asks the event, and does not wait for it."""
        return self._beside is None or self._beside.copied(buffer)

    def take(self, plane: int, slots: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """The rows in slots, on the device's current stream: `[n, *row]`.

        Args:
            plane: whose.
            slots: `int64 [n]` on the device.
            out: where to put them, if given.
        """
        memory = self.memory(plane)
        found = memory.index_select(0, slots) if out is None else torch.index_select(memory, 0, slots, out=out)
        if self._beside is not None:
            self._beside.read()
        return found


def _this_device(device: torch.device) -> torch.device:
    """The device that is meant, with its number: "cuda" means the current one now, and another one later.

    Raises:
        UsageError: it is of a kind that nothing is known about here.
    """
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"rows are kept on a CPU or a CUDA device, not on {device}")
    if str(device) == "cuda":
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _event(device: torch.device) -> torch.cuda.Event:
    """A new event, on which nothing was recorded: done."""
    with torch.cuda.device(device):
        event: torch.cuda.Event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    return event


def _happened(event: torch.cuda.Event) -> bool:
    """Whether what was recorded is done; does not wait."""
    return bool(event.query())  # type: ignore[no-untyped-call]


def _waited(event: torch.cuda.Event) -> None:
    """Wait until what was recorded is done."""
    event.synchronize()


class _Beside:
    """Copies on a side stream of a GPU, from a pinned ring."""

    def __init__(self, device: torch.device, planes: Sequence[Plane | None], ring: list[torch.Tensor]) -> None:
        self._device = device
        self._stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._ring = ring
        smallest = min(plane.row_bytes for plane in planes if plane is not None)
        rows = len(ring[0]) // smallest
        self._staging = [torch.empty(len(buffer), dtype=torch.uint8, device=device) for buffer in ring]
        self._slots = [torch.empty(rows, dtype=torch.int64, pin_memory=True) for _ in ring]
        self._there = [torch.empty(rows, dtype=torch.int64, device=device) for _ in ring]
        self._done = [_event(device) for _ in ring]
        self._last_reads: dict[int, torch.cuda.Event] = {}
        # The zeros that the tensors begin with are written on the stream that made them; others may read them first.
        torch.cuda.current_stream(device).synchronize()

    def copy(self, buffer: int, part: slice, rows: slice, slots: NDArray[np.int64], memory: torch.Tensor) -> None:
        """Begin to copy bytes `part` of a buffer, which are its rows `rows`, to slots."""
        there, staging = self._there[buffer][rows], self._staging[buffer][part]
        self._slots[buffer][rows].copy_(torch.from_numpy(slots))
        with torch.cuda.stream(self._stream):
            staging.copy_(self._ring[buffer][part], non_blocking=True)
            there.copy_(self._slots[buffer][rows], non_blocking=True)
            # The bus need not wait, only what overwrites slots that the last gathers may still be reading.
            for event in self._last_reads.values():
                self._stream.wait_event(event)
            memory.index_copy_(0, there, staging.view(memory.dtype).view(len(slots), *memory.shape[1:]))
            self._done[buffer].record(self._stream)

    def copied(self, buffer: int) -> bool:
        """Whether all that was begun from a buffer is done."""
        return _happened(self._done[buffer])

    def read(self) -> None:
        """Slots are being read by what was queued on the current stream so far."""
        stream = torch.cuda.current_stream(self._device)
        event = self._last_reads.get(stream.cuda_stream)
        if event is None:
            event = self._last_reads[stream.cuda_stream] = _event(self._device)
        event.record(stream)

    def rest(self, pid: int) -> None:
        """Wait until nothing is being copied any more; but not in a fork of the process of that number."""
        if os.getpid() == pid:
            self._stream.synchronize()


class _Sending(NamedTuple):
    """A pinned buffer, and when the device has read it."""

    buffer: torch.Tensor
    read: torch.cuda.Event


class Sender:
    """Sends a few numbers for each row to a device, through pinned buffers that go round.

    Whoever is so many gathers ahead of the device that all buffers are on their way waits for the oldest one.

    Args:
        device: where to.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._resting: deque[_Sending] = deque()
        self._now: _Sending | None = None
        self._used = 0

    def begun(self) -> Callable[[NDArray[Any]], torch.Tensor]:
        """What sends one array, as a tensor of its own."""
        return self._send if self._device.type == "cuda" else _copied

    def done(self) -> None:
        """All was sent; the buffer goes round once the device has read it."""
        if self._now is not None:
            self._now.read.record(torch.cuda.current_stream(self._device))
            self._resting.append(self._now)
        self._now, self._used = None, 0

    def _send(self, array: NDArray[Any]) -> torch.Tensor:
        size = array.nbytes
        if self._now is None or self._used + size > len(self._now.buffer):
            self.done()
            self._now = self._rested(size)
        place = self._now.buffer[self._used : self._used + size]
        self._used += -(-size // _ALIGNED) * _ALIGNED
        host = place.view(torch.from_numpy(np.empty(0, array.dtype)).dtype).view(array.shape)
        np.copyto(host.numpy(), array)  # row by row, however the array lies in memory
        return host.to(self._device, non_blocking=True)

    def _rested(self, size: int) -> _Sending:
        """A buffer that the device has read and that is large enough."""
        oldest = self._resting[0] if self._resting else None
        if oldest is not None and (len(self._resting) >= _MOST_SENT or _happened(oldest.read)):
            self._resting.popleft()
            _waited(oldest.read)
            if len(oldest.buffer) >= size:
                return oldest
        buffer = torch.empty(max(size, _SENT_BYTES), dtype=torch.uint8, pin_memory=True)
        return _Sending(buffer, _event(self._device))


def _copied(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.array(array, copy=True, order="C"))
