"""How are copies to a GPU measured?  Ours beside plain pinned copies of the same sizes, and beside compute.

Everything is timed from the first call until the device is done.  On a CPU, on which it means nothing, the same code
runs in tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tools.bench.errors import WrongValuesError
from tools.bench.sizes import Sizes
from tools.bench.timing import Pace, Round, race

__all__ = ["LIMIT", "SIZES", "Copied", "measure", "ours", "plain"]

SIZES = (1 << 18, 1 << 20, 1 << 22)
"""Bytes of a buffer."""

LIMIT = "pinned copies of 64 MiB"
_PEAK_BYTES = 1 << 26
_BUFFERS = 4
_MOVED = 1 << 27
_ON_A_CPU = 1 << 22
_SIDE = 4096
_PRODUCTS = 20


def ours(size: int) -> str:
    """What our copies from a ring of buffers of a size are called."""
    return f"mctree, buffers of {size >> 10:,} KiB"


def plain(size: int) -> str:
    """What plain copies of a size are called."""
    return f"pinned copies of {size >> 10:,} KiB"


@dataclass(frozen=True, slots=True)
class Copied:
    """What was measured.

    Attributes:
        bytes: that one call of each contender copies.
        rounds: seconds of each contender.
        compute: seconds of some compute alone, of copies alone, and of both at once, in rounds.
    """

    bytes: int
    rounds: list[Round]
    compute: list[Round]


def measure(sizes: Sizes, device: str = "cuda") -> Copied:
    """Race all sizes, ours and plain, and then copies beside compute.

    Raises:
        WrongValuesError: what was copied is not what was in the buffers.
    """
    import torch  # noqa: PLC0415 - only where there is something to measure

    cuda = device == "cuda"
    moved = _MOVED if cuda else _ON_A_CPU

    def settled() -> None:
        if cuda:
            torch.cuda.synchronize()

    def timed(call: Callable[[], None]) -> Callable[[int], None]:
        def run(_: int) -> None:
            call()
            settled()

        return run

    contenders = {LIMIT: timed(_plain(torch, device, min(_PEAK_BYTES, moved), moved))}
    for size in SIZES:
        contenders[plain(size)] = timed(_plain(torch, device, size, moved))
        contenders[ours(size)] = timed(_ours(device, sizes.dim, size, moved))
    pace = Pace(sizes.rounds, sizes.min_rounds, sizes.turn_s, sizes.budget_s)
    rounds = race(contenders, pace)
    copy = _ours(device, sizes.dim, SIZES[1], moved)
    side = _SIDE if cuda else 64
    left, right = torch.randn(side, side, device=device), torch.randn(side, side, device=device)

    def compute() -> None:
        for _ in range(_PRODUCTS):
            torch.mm(left, right)

    def both() -> None:
        compute()
        copy()

    together = race({"compute": timed(compute), "copies": timed(copy), "both": timed(both)}, pace)
    return Copied(moved, rounds, together)


def _plain(torch: Any, device: str, size: int, moved: int) -> Callable[[], None]:
    """Copies of so many bytes each, from one pinned buffer to another place in turn."""
    host = torch.zeros(size, dtype=torch.uint8, pin_memory=device == "cuda")
    there = torch.empty(moved, dtype=torch.uint8, device=device)

    def call() -> None:
        for first in range(0, moved, size):
            there[first : first + size].copy_(host, non_blocking=True)

    return call


def _ours(device: str, dim: int, size: int, moved: int) -> Callable[[], None]:
    """Copies of whole buffers of a `TorchDevice`, whose rows go to slots at random."""
    import torch  # noqa: PLC0415

    from mctree.streaming import GISTS, Plane  # noqa: PLC0415
    from mctree_torch import TorchDevice  # noqa: PLC0415

    plane = Plane((dim,), np.dtype(np.float16))
    rows = size // plane.row_bytes
    rng = np.random.default_rng(size)
    count = max(moved // size, _BUFFERS)
    target = TorchDevice((plane, None, None), rows * count, device, buffers=_BUFFERS, buffer_bytes=size)
    slots = rng.permutation(rows * count).reshape(count, rows)
    raw = rng.integers(0, 1 << 15, (rows, dim), np.uint16)
    for buffer in target.ring:
        buffer[: raw.nbytes] = raw.view(np.uint8).reshape(-1)

    def call() -> None:
        for number in range(count):
            buffer = number % _BUFFERS
            while not target.copied(buffer):
                pass
            target.copy(buffer, GISTS, 0, slots[number])
        while not all(map(target.copied, range(_BUFFERS))):
            pass

    call()
    found = target.take(GISTS, torch.from_numpy(slots[-1]).to(target.device)).cpu().numpy()
    if not (found.view(np.uint16) == raw).all():
        raise WrongValuesError("what was copied to the device is not what was in the buffer")
    return call
