"""The limit: how fast can it be?  One flat file per array, mapped, and one `take` into the caller's buffer.

Nothing that reads from files is faster in NumPy: no index, no chunks, no checks.  It cannot grow while it is read,
holds no record of what was committed, and must be whole.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.bench.data import Data, expand
from tools.bench.peers.protocol import About, library
from tools.bench.sizes import Sizes

__all__ = ["ByHand", "FlatMemmap", "FlatReader", "SyncedFile"]


class FlatMemmap:
    """Flat files; writing them costs nothing, since the run's own data are such files."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self.about = About("flat memmap", "the limit", "np.memmap, take(out=, mode='clip')")

    def write(self, data: Data, folder: Path) -> None:
        """Link the run's own files."""
        os.link(data.gists_file, folder / "gists")
        os.link(data.tokens_file, folder / "tokens")

    def open(self, folder: Path) -> FlatReader:
        """Map both files."""
        gists = np.memmap(folder / "gists", np.float16, mode="r", shape=(self._sizes.rows, self._sizes.dim))
        return FlatReader(np.asarray(gists), np.asarray(np.memmap(folder / "tokens", np.uint32, mode="r")))


class FlatReader:
    """Reads from two arrays that lie in memory, or look as if they did."""

    def __init__(self, gists: NDArray[np.float16], tokens: NDArray[np.uint32]) -> None:
        self._gists = gists
        self._tokens = tokens

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.float16]) -> None:
        """One `take`; `clip` spares the copy that `raise` makes of its result."""
        np.take(self._gists, rows, axis=0, out=out, mode="clip")

    def runs(self, starts: NDArray[np.int64], length: int, out: NDArray[np.float16]) -> None:
        """One `take` of all rows: measured to be faster than slices, and than wide rows."""
        np.take(self._gists, expand(starts, length), axis=0, out=out, mode="clip")

    def windows(self, starts: NDArray[np.int64], out: NDArray[np.uint32]) -> None:
        """A slice per window."""
        length = out.shape[1]
        for k, start in enumerate(starts.tolist()):
            out[k] = self._tokens[start : start + length]

    def scan(self, out: NDArray[np.float16]) -> Iterator[int]:
        """A slice per piece."""
        for start in range(0, len(self._gists), len(out)):
            piece = self._gists[start : start + len(out)]
            out[: len(piece)] = piece
            yield len(piece)

    def close(self) -> None:
        """Unmap, when the last view is gone."""
        del self._gists, self._tokens


class SyncedFile:
    """A durable append at its least: overwrite a part of a file that has its full size, and sync the data.

    Args:
        sizes: how much will be appended.
        grows: let the file grow with each append instead, so that its length is synced, too.
    """

    def __init__(self, sizes: Sizes, *, grows: bool = False) -> None:
        self._size = 0 if grows else -(-sizes.append_calls * sizes.piece * 2 // mmap.PAGESIZE) * mmap.PAGESIZE
        self._fd = -1
        self._end = 0
        self.how = f"{'growing' if grows else 'preallocated'} file, pwrite, fdatasync"
        self.about = About("file alone", "part of the limit", f"{self.how}; no index")

    def create(self, folder: Path) -> None:
        """Write zeros: blocks that were merely reserved cost a change of metadata at each sync."""
        self._fd = os.open(folder / "tokens", os.O_RDWR | os.O_CREAT)
        os.pwrite(self._fd, bytes(self._size), 0)
        os.fsync(self._fd)
        self._end = 0

    def append(self, tokens: NDArray[np.uint16]) -> None:
        """One write, one sync."""
        self._end += os.pwrite(self._fd, tokens.tobytes(), self._end)
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def read(self, folder: Path) -> NDArray[np.uint16]:
        """What was written, without the zeros that follow."""
        return np.fromfile(folder / "tokens", np.uint16, count=self._end // 2)


class ByHand:
    """The limit of a durable append with an index: a file written and synced, one LMDB transaction committed.

    Args:
        sizes: how much will be appended.
        grows: the same with a file that grows, which is no limit, but what is written first where this is done by hand.
    """

    def __init__(self, sizes: Sizes, *, grows: bool = False) -> None:
        self._file = SyncedFile(sizes, grows=grows)
        self._count = 0
        name, kind = ("by hand: growing file + LMDB", "by hand") if grows else ("by hand: file + LMDB", "the limit")
        note = f"{self._file.how}, then one LMDB put and commit"
        self.about = About(name, kind, note, requires=("lmdb",))

    def create(self, folder: Path) -> None:
        """Make the file and the environment."""
        self._file.create(folder)
        self._env = library("lmdb").open(str(folder / "index"), map_size=1 << 30)
        self._count = 0

    def append(self, tokens: NDArray[np.uint16]) -> None:
        """Data first, then the record that makes them count."""
        self._file.append(tokens)
        self._count += len(tokens)
        with self._env.begin(write=True) as transaction:
            transaction.put(b"length", self._count.to_bytes(8, "little"))

    def close(self) -> None:
        """Close both."""
        self._file.close()
        self._env.close()

    def read(self, folder: Path) -> NDArray[np.uint16]:
        """As much of the file as the index says."""
        with library("lmdb").open(str(folder / "index"), readonly=True) as env, env.begin() as transaction:
            count = int.from_bytes(transaction.get(b"length"), "little")
        return self._file.read(folder)[:count]
