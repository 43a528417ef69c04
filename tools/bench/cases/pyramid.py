"""How fast do the coarser levels of an image come to be?

The image lies in memory.  What is made stays there, but with those whose work it is to write.  Before anybody is timed,
the mean colours that it found of squares of 128 × 128 pixels are compared with those of the pixels.  Each contender
uses as many threads as it likes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tools.bench.bench import Bench
from tools.bench.beside import races
from tools.bench.errors import WrongValuesError
from tools.bench.peers import PyramidMaker
from tools.bench.results import Line, Table
from tools.bench.timing import Round, Spread, race, ratios, values

__all__ = ["LIMIT", "NAME", "picture", "run"]

NAME = "pyramid"
LIMIT = "a copy"
_SQUARE = 128


def run(bench: Bench, makers: tuple[PyramidMaker, ...]) -> Table:
    """Race every maker beside the limit, one after another; one that raises ends its own race only."""
    side = bench.sizes.image
    pixels = picture(side)
    limit = next(maker for maker in makers if maker.about.name == LIMIT)
    rounds: list[Round] = []
    lines: list[Line] = []
    for maker, found in races(bench, NAME, LIMIT, makers, lambda one: _race(bench, pixels, [limit, one])):
        if isinstance(found, Line):
            lines.append(found)
        else:
            rounds += found
            lines.append(_line(maker, found, pixels.nbytes))
    if not rounds:
        rounds = _race(bench, pixels, [limit])
    what = (
        f"All levels of an image of {side:,} × {side:,} pixels, uint8, three channels ({pixels.nbytes / 1e6:,.0f} MB)."
    )
    heads = ("MB/s",)
    return Table(
        NAME, "The pyramid of an image", what, "ms", LIMIT, (_line(limit, rounds, pixels.nbytes), *lines), heads
    )


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


def _line(maker: PyramidMaker, rounds: list[Round], size: int) -> Line:
    about = maker.about
    seconds = Spread.of(values(rounds, about.name))
    ratio = Spread.of(ratios(rounds, about.name, LIMIT))
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
