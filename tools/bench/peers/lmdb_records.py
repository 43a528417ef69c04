"""LMDB with a value per record: one per gist, and one per 2,044 tokens, which fills its pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.bench.data import Data, expand
from tools.bench.peers.protocol import About, library
from tools.bench.sizes import Sizes

__all__ = ["LmdbAppend", "LmdbRecords"]

_RECORD = 2044
_MAP = 1 << 38


def _keys(numbers: NDArray[Any]) -> bytes:
    """Keys of 8 bytes each, one behind another, in an order that is that of the numbers."""
    return numbers.astype(">u8").tobytes()


class LmdbRecords:
    """Two environments: gists and tokens."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        note = "a value per gist and per 2,044 tokens, read as buffers"
        self.about = About("LMDB per record", "record store", note, requires=("lmdb",))

    def write(self, data: Data, folder: Path) -> None:
        """In ascending order, a transaction per chunk, synced once at the end."""
        s = self._sizes
        for name, values, width, step in (
            ("gists", data.gists.reshape(-1), s.dim, s.chunk_rows),
            ("tokens", data.tokens, _RECORD, max(1, s.chunk_tokens // _RECORD)),
        ):
            with library("lmdb").open(str(folder / name), map_size=_MAP, sync=False) as env:
                count = -(-values.size // width)
                for first in range(0, count, step):
                    numbers = range(first, min(first + step, count))
                    items = [(k.to_bytes(8, "big"), values[k * width : (k + 1) * width].tobytes()) for k in numbers]
                    with env.begin(write=True) as transaction, transaction.cursor() as cursor:
                        cursor.putmulti(items, append=True)
                env.sync(True)

    def open(self, folder: Path) -> _LmdbReader:
        """Open both environments for reading."""
        lmdb = library("lmdb")
        gists, tokens = (lmdb.open(str(folder / name), readonly=True, lock=False) for name in ("gists", "tokens"))
        return _LmdbReader(gists, tokens)


class _LmdbReader:
    def __init__(self, gists: Any, tokens: Any) -> None:
        self._gists = gists
        self._tokens = tokens

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.float16]) -> None:
        """A lookup per gist, copied out of the map while the transaction lasts."""
        keys = _keys(rows)
        size = out.shape[1] * out.itemsize
        held = out.view(np.uint8).data.cast("B")
        with self._gists.begin(buffers=True) as transaction:
            get = transaction.get
            for k in range(len(rows)):
                held[k * size : (k + 1) * size] = get(keys[8 * k : 8 * k + 8])

    def runs(self, starts: NDArray[np.int64], length: int, out: NDArray[np.float16]) -> None:
        """A lookup per gist, which is faster than a cursor."""
        self.gather(expand(starts, length), out)

    def windows(self, starts: NDArray[np.int64], out: NDArray[np.uint32]) -> None:
        """A lookup per record that a window touches."""
        length = out.shape[1]
        with self._tokens.begin(buffers=True) as transaction:
            for k, start in enumerate(starts.tolist()):
                filled = 0
                while filled < length:
                    record, place = divmod(start + filled, _RECORD)
                    held = np.frombuffer(transaction.get(record.to_bytes(8, "big")), np.uint32)
                    part = held[place : place + length - filled]
                    out[k, filled : filled + len(part)] = part
                    filled += len(part)

    def scan(self, out: NDArray[np.float16]) -> Iterator[int]:
        """A cursor over everything."""
        size = out.shape[1] * out.itemsize
        held = out.view(np.uint8).data.cast("B")
        with self._gists.begin(buffers=True) as transaction, transaction.cursor() as cursor:
            place = 0
            for value in cursor.iternext(keys=False):
                held[place : place + size] = value
                place += size
                if place == len(held):
                    yield len(out)
                    place = 0
        if place:
            yield place // size

    def close(self) -> None:
        """Close both environments."""
        self._gists.close()
        self._tokens.close()


class LmdbAppend:
    """A value and a commit per piece."""

    def __init__(self, sizes: Sizes) -> None:
        self.about = About("LMDB alone", "record store", "a value and a synced commit per piece", requires=("lmdb",))

    def create(self, folder: Path) -> None:
        """An empty environment."""
        self._env = library("lmdb").open(str(folder / "tokens"), map_size=1 << 30)
        self._count = 0

    def append(self, tokens: NDArray[np.uint16]) -> None:
        """One put, one commit."""
        with self._env.begin(write=True) as transaction:
            transaction.put(self._count.to_bytes(8, "big"), tokens.tobytes(), append=True)
        self._count += 1

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def read(self, folder: Path) -> NDArray[np.uint16]:
        """All values, in order."""
        with library("lmdb").open(str(folder / "tokens"), readonly=True) as env, env.begin() as transaction:
            return np.frombuffer(b"".join(value for _, value in transaction.cursor()), np.uint16)
