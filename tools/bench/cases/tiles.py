"""How fast are tiles of an image read, at random places, into arrays?

Everybody stores the same image without loss, and beside it the means of 16 × 16 pixels.  Where tiles begin decides who
has to decode more than was asked for, so there are two alignments.  At multiples of 128 a tile is four of mctree's
pieces and touches, on average, 2.25 of the others' chunks; at multiples of 256 it is one of these, and four of
mctree's.

All pixels of both levels are compared before anybody is timed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.bench.bench import Bench
from tools.bench.beside import races
from tools.bench.cases.pyramid import picture
from tools.bench.cases.reads import same
from tools.bench.errors import WrongValuesError
from tools.bench.peers import TileReader, TileStore
from tools.bench.results import Line, Table
from tools.bench.timing import Round, Spread, race, ratios, values

__all__ = ["COARSER", "LIMIT", "NAME", "levels_of", "run"]

NAME = "tiles"
LIMIT = "flat memmap"
COARSER = 16
_TILE = 256
_CHECKED = 16
_HEADS = ("aligned to 256, ms", "on disk, MB")


class _Places:
    """One kind of request: squares of one size, at random places of a level."""

    def __init__(self, name: str, level: int, image: NDArray[np.uint8], side: int, aligned: int, count: int) -> None:
        self.name, self.level, self.side = name, level, side
        self._image = image
        rng = np.random.default_rng([5, level, aligned])
        self.corners = (rng.integers(0, (len(image) - side) // aligned + 1, (count, 2)) * aligned).tolist()

    def call(self, reader: TileReader) -> Callable[[int], object]:
        """What reads the square of a given number."""

        def read(number: int) -> object:
            x, y = self.corners[number % len(self.corners)]
            return reader.read(self.level, x, y, self.side)

        return read

    def right(self, reader: TileReader) -> bool:
        """Whether some random squares are what was stored, and then all pixels of the level."""
        covering = range(0, len(self._image), self.side)
        for x, y in (*self.corners[:_CHECKED], *((x, y) for y in covering for x in covering)):
            if not same(reader.read(self.level, x, y, self.side), self._image[y : y + self.side, x : x + self.side]):
                return False
        return True


def run(bench: Bench, stores: tuple[TileStore, ...]) -> tuple[Table, ...]:
    """Race every store beside the limit, one after another; one that raises ends its own race only."""
    levels = levels_of(picture(bench.sizes.image))
    count = max(bench.sizes.plans, _CHECKED)
    kinds = (
        _Places("tiles", 0, levels[0], _TILE, 128, count),
        _Places("whole", 0, levels[0], _TILE, 256, count),
        _Places("coarse", 1, levels[1], max(len(levels[1]) // 2, 1), 8, count),
    )
    limit = next(store for store in stores if store.about.name == LIMIT)
    root = bench.folder(NAME)
    met: dict[str, tuple[TileStore, float]] = {}
    other: list[Line] = []
    rounds: list[Round] = []
    try:
        at = root / "limit"
        met[LIMIT] = (limit, _written(limit, levels, at))
        sizes: dict[str, float] = {}

        def race_of(store: TileStore) -> list[Round]:
            own = root / "store"
            try:
                sizes[store.about.name] = _written(store, levels, own)
                return _race(kinds, bench, [(limit, at), (store, own)])
            finally:
                shutil.rmtree(own, ignore_errors=True)

        for store, found in races(bench, NAME, LIMIT, stores, race_of):
            if isinstance(found, Line):
                other.append(found)
            else:
                rounds += found
                met[store.about.name] = (store, sizes[store.about.name])
        rounds = rounds or _race(kinds, bench, [(limit, at)])
    finally:
        shutil.rmtree(root)
    side, coarse = bench.sizes.image, kinds[2].side
    whole = (
        f"{_TILE} × {_TILE} pixels of an image of {side:,} × {side:,}, uint8, three channels "
        f"({levels[0].nbytes / 1e6:,.0f} MB), at random multiples of 128. Such a tile is four of mctree's pieces, and "
        "touches 2.25 of the others' chunks on average; at multiples of 256, which favours these, it is one of them."
    )
    less = (
        f"{coarse} × {coarse} means of {COARSER} × {COARSER} pixels each, at random multiples of 8. mctree computes "
        "them from exact sums; the others have stored them, rounded."
    )
    fine, coarser = (*_lines(met, rounds, True), *other), (*_lines(met, rounds, False), *other)
    return (
        Table(NAME, "Tiles of an image", whole, "ms", LIMIT, fine, _HEADS),
        Table(f"{NAME}/coarse", "Tiles of a coarser level", less, "ms", LIMIT, coarser),
    )


def levels_of(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image, and the means of its squares of 16 × 16, exact but for one rounding: sides must be multiples of 16."""
    height, width, channels = pixels.shape
    squares = pixels.reshape(height // COARSER, COARSER, width // COARSER, COARSER, channels)
    return pixels, np.rint(squares.sum(axis=(1, 3), dtype=np.int64) / COARSER**2).astype(np.uint8)


def _lines(met: dict[str, tuple[TileStore, float]], rounds: list[Round], fine: bool) -> list[Line]:
    lines = []
    kind = "tiles" if fine else "coarse"
    for name, (store, size) in met.items():
        about = store.about
        seconds = Spread.of(values(rounds, f"{name}/{kind}"))
        ratio = Spread.of(ratios(rounds, f"{name}/{kind}", f"{LIMIT}/{kind}"))
        extra = (Spread.of(values(rounds, f"{name}/whole")).median * 1e3, size / 1e6) if fine else ()
        lines.append(Line(name, about.kind, "measured", seconds.scaled(1e3), ratio, extra, about.note))
    return lines


def _written(store: TileStore, levels: tuple[NDArray[np.uint8], ...], folder: Path) -> float:
    """Store the image; how many bytes of the disk that took."""
    folder.mkdir()
    store.write(levels, folder)
    os.sync()
    return float(sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()))


def _race(kinds: tuple[_Places, ...], bench: Bench, entrants: list[tuple[TileStore, Path]]) -> list[Round]:
    opened: list[TileReader] = []
    try:
        calls = {}
        for store, folder in entrants:
            reader = store.open(folder)
            opened.append(reader)
            for kind in kinds:
                if not kind.right(reader):
                    raise WrongValuesError(f"{store.about.name} gives other values than were stored")
                calls[f"{store.about.name}/{kind.name}"] = kind.call(reader)
        return race(calls, bench.pace())
    finally:
        for reader in opened:
            reader.close()
