"""What does a run ask of a store?  One protocol per kind of measurement; ours and the peers satisfy the same.

A peer imports its library when it is first used, through `library`, so that what is not installed is noticed where it
is used and nothing is loaded that a process does not measure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tools.bench.data import Data
from tools.bench.sparse import SparseLevel

__all__ = [
    "READS",
    "About",
    "Appender",
    "Grower",
    "Grown",
    "Ingested",
    "Ingester",
    "Peer",
    "PyramidMaker",
    "Reader",
    "SparseReader",
    "TileReader",
    "TileStore",
    "library",
]

READS = frozenset({"gather", "runs", "windows", "scan"})
"""What a reader may be able to do."""


def library(name: str) -> Any:
    """Import a module that need not be installed."""
    return import_module(name)


@dataclass(frozen=True, slots=True)
class About:
    """What a contender is.

    Attributes:
        name: of this configuration, unique among all contenders of a case.
        kind: what sort of store it is, such as `array store`.
        note: the configuration, in a few words.
        requires: modules that must be installed.
        loads: modules that it loads besides, at the latest with the first read, if they are installed.
        reads: which of `READS` it can do.
    """

    name: str
    kind: str
    note: str = ""
    requires: tuple[str, ...] = ()
    loads: tuple[str, ...] = ()
    reads: frozenset[str] = READS

    @property
    def absent(self) -> str | None:
        """Why it cannot be measured here, or `None`."""
        missing = [name for name in self.requires if find_spec(name) is None]
        return f"not installed: {', '.join(missing)}" if missing else None

    def load(self) -> None:
        """Import everything that it needs, so that what follows is its own time."""
        for name in self.requires:
            library(name)
        for name in self.loads:
            with suppress(ModuleNotFoundError):
                library(name)


class Reader(Protocol):
    """An open store.  Every method writes into the caller's buffer."""

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.float16]) -> None:
        """Read gists: rows int64 `[n]`, any order, repeats allowed; out float16 `[n, dim]`."""
        ...

    def runs(self, starts: NDArray[np.int64], length: int, out: NDArray[np.float16]) -> None:
        """Read runs of `length` gists: starts int64 `[n]`, multiples of it; out float16 `[n * length, dim]`."""
        ...

    def windows(self, starts: NDArray[np.int64], out: NDArray[np.uint32]) -> None:
        """Read windows of tokens: starts int64 `[n]`, at any alignment; out uint32 `[n, length]`."""
        ...

    def scan(self, out: NDArray[np.float16]) -> Iterator[int]:
        """Read all gists in order, a piece at a time, into out float16 `[piece, dim]`; yields the piece's length."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...


class Peer(Protocol):
    """A store that holds gists and tokens."""

    @property
    def about(self) -> About: ...

    def write(self, data: Data, folder: Path) -> None:
        """Store the data in `folder`, which is empty, and close."""
        ...

    def open(self, folder: Path) -> Reader:
        """Open what `write` stored."""
        ...


class Appender(Protocol):
    """A store that small pieces of tokens are appended to."""

    @property
    def about(self) -> About: ...

    def create(self, folder: Path) -> None:
        """Make an empty store in `folder`, which is empty, and open it for appending."""
        ...

    def append(self, tokens: NDArray[np.uint16]) -> None:
        """Append a piece, uint16 `[piece]`, and return once it would survive a loss of power."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...

    def read(self, folder: Path) -> NDArray[np.uint16]:
        """Everything that was appended, uint16 `[all]`, from a store that was closed."""
        ...


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an ingest did.

    Attributes:
        tokens: how many it made.
        seconds: how long it took, without imports and without loading the tokenizer.
    """

    tokens: int
    seconds: float


class Ingester(Protocol):
    """Turns a folder of text files into a store of tokens."""

    @property
    def about(self) -> About: ...

    def ingest(self, corpus: Path, tokenizer: Path, folder: Path) -> Ingested:
        """Ingest the files of `corpus`, with the tokenizer that the JSON file holds, into the empty `folder`."""
        ...


class Grown(Protocol):
    """An open store of many positions."""

    def find(self, position: int) -> int:
        """The index of the finest gist that stands for a position."""
        ...

    def cover(self) -> int:
        """How many entries the smallest cover of everything has."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...


class Grower(Protocol):
    """Makes stores of any number of positions."""

    @property
    def about(self) -> About: ...

    def grow(self, folder: Path, positions: int) -> None:
        """Make a store of so many tokens in `folder`, which is empty, and close it."""
        ...

    def open(self, folder: Path) -> Grown:
        """Open what `grow` made."""
        ...


class PyramidMaker(Protocol):
    """Makes the coarser levels of an image that lies in memory."""

    @property
    def about(self) -> About: ...

    @property
    def tolerance(self) -> float:
        """How far its means of 128 × 128 pixels may be off by rounding, in units of a pixel's value."""
        ...

    def take(self, pixels: NDArray[np.uint8], folder: Path) -> None:
        """Take over an image, uint8 `[height, width, 3]`, and an empty folder for what it must write; not timed."""
        ...

    def make(self) -> None:
        """Make all levels down to a single node or pixel."""
        ...

    def means(self) -> NDArray[np.float64]:
        """Of what was made last, the mean colours of squares of 128 × 128 pixels: `[height / 128, width / 128, 3]`."""
        ...


class TileReader(Protocol):
    """An open image."""

    def read(self, level: int, x: int, y: int, side: int) -> NDArray[np.uint8]:
        """Read the square whose first pixel is in column `x` and row `y` of a level, all of it inside.

        Args:
            level: 0 for the pixels, 1 for the means of 16 × 16.
            x: column, in that level's own pixels.
            y: row.
            side: of the square.

        Returns:
            `uint8 [side, side, 3]`, an array of the caller's own.
        """
        ...

    def close(self) -> None:
        """Let go of the image."""
        ...


class TileStore(Protocol):
    """Keeps an image and a coarser form of it, without loss."""

    @property
    def about(self) -> About: ...

    def write(self, levels: Sequence[NDArray[np.uint8]], folder: Path) -> None:
        """Store an image in `folder`, which is empty, and close.

        Args:
            levels: `uint8 [h, w, 3]` the pixels, and `[h / 16, w / 16, 3]` their means of 16 × 16, rounded.
            folder: where to.
        """
        ...

    def open(self, folder: Path) -> TileReader:
        """Open what `write` stored."""
        ...


class SparseReader(Protocol):
    """Reads a level whose chunks do not all find room."""

    @property
    def about(self) -> About: ...

    def open(self, level: SparseLevel) -> None:
        """Open the level, with as much memory for chunks as it says, and nothing in it."""
        ...

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.float16]) -> None:
        """Read rows: int64 `[n]`, any order, repeats allowed; out float16 `[n, dim]`; 0 where nothing exists."""
        ...

    def close(self) -> None:
        """Let go of the level."""
        ...
