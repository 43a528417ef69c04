"""Megatron-style bin/idx: what training on tokens costs at its least.

`.bin` holds the tokens of all documents one after another, `.idx` a header with each document's length and where it
begins.  The layout is that of Megatron-LM's indexed dataset (`MMIDIDX`, version 1); the reading is reduced to its
core, one `frombuffer` on the mapped file per window, without the shuffling and the joining of documents around it.
The format is written in one go, so it has no append.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.bench.data import Data
from tools.bench.errors import CallError, WrongValuesError
from tools.bench.peers.protocol import About
from tools.bench.sizes import Sizes

__all__ = ["MegatronBinIdx", "read_index", "write_index"]

_MAGIC = b"MMIDIDX\x00\x00"
_HEAD = struct.Struct("<9sQBQQ")
_INT32 = 4


def write_index(path: Path, lengths: NDArray[np.int32]) -> None:
    """Write the `.idx` of documents of int32 tokens: lengths int32 `[documents]`."""
    starts = np.zeros(len(lengths), np.int64)
    np.cumsum(lengths[:-1], out=starts[1:], dtype=np.int64)
    with path.open("wb") as file:
        file.write(_HEAD.pack(_MAGIC, 1, _INT32, len(lengths), len(lengths) + 1))
        file.write(lengths.tobytes())
        file.write((starts * 4).tobytes())
        file.write(np.arange(len(lengths) + 1, dtype=np.int64).tobytes())


def read_index(path: Path) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Read an `.idx`: lengths int32 `[documents]` and byte offsets int64 `[documents]`."""
    held = path.read_bytes()
    magic, number, dtype, count, _ = _HEAD.unpack_from(held)
    if (magic, number, dtype) != (_MAGIC, 1, _INT32):
        raise WrongValuesError("the index file is not one of version 1 with int32 tokens")
    lengths = np.frombuffer(held, np.int32, count, _HEAD.size)
    return lengths, np.frombuffer(held, np.int64, count, _HEAD.size + lengths.nbytes)


class MegatronBinIdx:
    """Tokens only."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        note = "tokens only; windows as frombuffer on the mapped .bin"
        self.about = About("Megatron bin/idx", "token file", note, reads=frozenset({"windows"}))

    def write(self, data: Data, folder: Path) -> None:
        """Link the run's own tokens as `.bin`, and index them as documents of a chunk each."""
        os.link(data.tokens_file, folder / "tokens.bin")
        documents = self._sizes.tokens // self._sizes.chunk_tokens
        write_index(folder / "tokens.idx", np.full(documents, self._sizes.chunk_tokens, np.int32))

    def open(self, folder: Path) -> _MegatronReader:
        """Map `.bin`, read `.idx`."""
        return _MegatronReader(folder)


class _MegatronReader:
    def __init__(self, folder: Path) -> None:
        self._lengths, offsets = read_index(folder / "tokens.idx")
        self._first = int(offsets[0])
        with (folder / "tokens.bin").open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def windows(self, starts: NDArray[np.int64], out: NDArray[np.uint32]) -> None:
        """A view of the mapped file per window; documents lie one behind another, so a window may span them."""
        length = out.shape[1]
        for k, start in enumerate(starts.tolist()):
            out[k] = np.frombuffer(self._map, np.uint32, length, self._first + 4 * start)

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.float16]) -> None:
        """Not offered."""
        raise CallError("a token file holds no gists: ask only for what `about.reads` names")

    def runs(self, starts: NDArray[np.int64], length: int, out: NDArray[np.float16]) -> None:
        """Not offered."""
        raise CallError("a token file holds no gists: ask only for what `about.reads` names")

    def scan(self, out: NDArray[np.float16]) -> Iterator[int]:
        """Not offered."""
        raise CallError("a token file holds no gists: ask only for what `about.reads` names")

    def close(self) -> None:
        """Unmap."""
        self._map.close()
