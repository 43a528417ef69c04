"""How fast do the coarser levels of an image come to be, and how much faster by two cores?

An image beside other people's libraries, and a larger one, whose pixels no store keeps unasked, made by two processes
beside one core.  It lies in memory.  What is made stays there, but with those whose work it is to write.  Before
anybody is timed, the mean colours that it found of squares of 128 × 128 pixels are compared with those of the pixels.
Beside others, each contender uses as many threads as it likes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tools.bench.bench import Bench
from tools.bench.beside import races
from tools.bench.errors import WrongValuesError
from tools.bench.ours import NAME as OURS
from tools.bench.peers import PyramidMaker
from tools.bench.results import Line, Table
from tools.bench.timing import Round, Spread, race, ratios, values

__all__ = ["LARGE", "LIMIT", "NAME", "ONE_CORE", "picture", "run"]

NAME = "pyramid"
LARGE = "pyramid/large"
LIMIT = "a copy"
ONE_CORE = f"{OURS}, one core"
_SQUARE = 128


def run(bench: Bench, makers: tuple[PyramidMaker, ...], of_large: tuple[PyramidMaker, ...]) -> tuple[Table, ...]:
    """Race every maker beside the limit, one after another; one that raises ends its own race only.

    Args:
        bench: the run.
        makers: of the pyramid of an image.
        of_large: of that of an image whose pixels are too many to be kept.
    """
    sizes, tables = bench.sizes, []
    if makers:
        tables.append(_table(bench, NAME, "The pyramid of an image", LIMIT, makers, picture(sizes.image)))
    if any(bench.wants(one.about) for one in of_large):
        pixels = np.tile(picture(sizes.large_image // 4), (4, 4, 1))
        tables.append(_table(bench, LARGE, "The pyramid of a larger image", ONE_CORE, of_large, pixels))
    return tuple(tables)


def _table(
    bench: Bench, name: str, title: str, limit: str, makers: tuple[PyramidMaker, ...], pixels: NDArray[np.uint8]
) -> Table:
    side = len(pixels)
    first = next(maker for maker in makers if maker.about.name == limit)
    rounds: list[Round] = []
    lines: list[Line] = []
    for maker, found in races(bench, name, limit, makers, lambda one: _race(bench, pixels, [first, one])):
        if isinstance(found, Line):
            lines.append(found)
        else:
            rounds += found
            lines.append(_line(maker, found, pixels.nbytes, limit))
    if not rounds:
        rounds = _race(bench, pixels, [first])
    what = (
        f"All levels of an image of {side:,} × {side:,} pixels, uint8, three channels ({pixels.nbytes / 1e6:,.0f} MB)."
    )
    heads = ("MB/s",)
    return Table(name, title, what, "ms", limit, (_line(first, rounds, pixels.nbytes, limit), *lines), heads)


def picture(side: int) -> NDArray[np.uint8]:
    """Waves, edges and noise; always the same ones: uint8 `[side, side, 3]`."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / np.float32(side)
    waves = 128 + 60 * np.sin(40 * x + 9 * y) + 40 * ((x * 7 % 1) > y)
    noise = rng.integers(-20, 21, (side, side, 3), dtype=np.int16)
    seen = waves.astype(np.int16)[..., None] + noise + np.array([0, 9, -9], np.int16)
    pixels: NDArray[np.uint8] = np.clip(seen, 0, 255).astype(np.uint8)
    return pixels


def _call_of(maker: PyramidMaker) -> Callable[[int], object]:
    return lambda number: maker.make()


def _line(maker: PyramidMaker, rounds: list[Round], size: int, limit: str) -> Line:
    about = maker.about
    seconds = Spread.of(values(rounds, about.name))
    ratio = Spread.of(ratios(rounds, about.name, limit))
    rate = size / seconds.median / 1e6
    return Line(about.name, about.kind, "measured", seconds.scaled(1e3), ratio, (rate,), about.note)


def _race(bench: Bench, pixels: NDArray[np.uint8], makers: list[PyramidMaker]) -> list[Round]:
    side = len(pixels)
    squares = pixels.reshape(side // _SQUARE, _SQUARE, side // _SQUARE, _SQUARE, 3)
    expected = squares.sum(axis=(1, 3), dtype=np.int64) / _SQUARE**2
    root = bench.folder(NAME)
    try:
        for maker in makers:
            own = root / str(makers.index(maker))
            own.mkdir()
            maker.take(pixels, own)
            maker.make()
            means = maker.means()
            if means.shape != expected.shape or not np.allclose(means, expected, rtol=0, atol=maker.tolerance):
                raise WrongValuesError(f"{maker.about.name} found other means than the pixels have")
        return race({maker.about.name: _call_of(maker) for maker in makers}, bench.pace())
    finally:
        shutil.rmtree(root)
