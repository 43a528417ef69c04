"""What do all contenders store, and what are all of them asked for?

The data lie in two flat files, which are at once the truth that every contender is checked against and the store of
the limit.  Requests are drawn once, so that each contender answers the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.bench.sizes import Sizes

__all__ = ["Data", "Plans", "expand", "make"]

_SEED = 20_240_607
_VOCABULARY = 1 << 17


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """The gists and the tokens of a run.

    Attributes:
        gists: float16 `[rows, dim]`, mapped read-only.
        tokens: uint32 `[tokens]`, mapped read-only; every id is below 2^17.
        gists_file: where the gists lie, row after row, without a header.
        tokens_file: where the tokens lie, without a header.
    """

    gists: NDArray[np.float16]
    tokens: NDArray[np.uint32]
    gists_file: Path
    tokens_file: Path


@dataclass(frozen=True, slots=True, eq=False)
class Plans:
    """The requests of a run, one per row.

    Attributes:
        rows: int64 `[plans, gathered]`, random rows, repeats allowed.
        runs: int64 `[plans, runs]`, first rows of runs, multiples of the run length.
        windows: int64 `[plans, windows]`, first tokens of windows, at any alignment.
    """

    rows: NDArray[np.int64]
    runs: NDArray[np.int64]
    windows: NDArray[np.int64]

    @staticmethod
    def draw(sizes: Sizes) -> Plans:
        """Draw the requests that belong to these sizes; always the same ones."""
        rng = np.random.default_rng(_SEED + 1)
        n = sizes.plans
        return Plans(
            rows=rng.integers(0, sizes.rows, (n, sizes.gathered)),
            runs=rng.integers(0, sizes.rows // sizes.run_length, (n, sizes.runs)) * sizes.run_length,
            windows=rng.integers(0, sizes.tokens - sizes.window + 1, (n, sizes.windows)),
        )


def expand(starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """The rows of runs of one length, in order: int64 `[len(starts) * length]`."""
    return (starts[:, None] + np.arange(length)).reshape(-1)


def make(sizes: Sizes, folder: Path) -> Data:
    """Write the data of a run below `folder`, and map them."""
    rng = np.random.default_rng(_SEED)
    gists_file, tokens_file = folder / "gists.f16", folder / "tokens.u32"
    with gists_file.open("wb") as file:
        for _ in range(sizes.rows // sizes.scan_rows):
            block = rng.standard_normal((sizes.scan_rows, sizes.dim), dtype=np.float32)
            file.write(block.astype(np.float16).tobytes())
    with tokens_file.open("wb") as file:
        for _ in range(sizes.tokens // sizes.chunk_tokens):
            file.write(rng.integers(0, _VOCABULARY, sizes.chunk_tokens, dtype=np.uint32).tobytes())
    return Data(
        gists=np.asarray(np.memmap(gists_file, np.float16, mode="r", shape=(sizes.rows, sizes.dim))),
        tokens=np.asarray(np.memmap(tokens_file, np.uint32, mode="r", shape=(sizes.tokens,))),
        gists_file=gists_file,
        tokens_file=tokens_file,
    )
