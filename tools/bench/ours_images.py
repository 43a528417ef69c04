"""mctree's images, behind the protocols of the benchmark, by the public interface alone.

`MctreePyramid`: each call makes a store and adds the image to it: counts, sums and sums of squares of every patch, tile
and node above, exact and durable; with the vectors of the built-in encoder beside them, or without.

`measure`: what an image costs of which little is there, whatever its size, from its pixels up or coarse levels first.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mctree.processes import Processes
from mctree.sources.images import Box, Pixels
from tools.bench.errors import WrongValuesError
from tools.bench.ours import KIND, NAME
from tools.bench.peers import About
from tools.bench.peers.protocol import library
from tools.bench.sizes import Sizes

__all__ = ["MctreePyramid", "Scattered", "measure"]

_LOOKS = 500
_STEPS = 40


class MctreePyramid:
    """A store of one image.

    Args:
        sizes: of the run.
        vectors: also make the vectors of the built-in encoder.
        keep: also keep the pixels, compressed, as a store does of images of this size if nobody says otherwise.
        cores: how many cores it has, and threads.
        process: let a process that is there already, as in an ingest of large images, take the second thread's place.
    """

    tolerance = 1e-9

    def __init__(
        self, sizes: Sizes, *, vectors: bool, keep: bool = False, cores: int = 2, process: bool = False
    ) -> None:
        self._vectors = vectors
        self._cores = cores
        self._kept = 1 << 40 if keep else 0
        name = NAME if vectors else f"{NAME}, colours alone"
        name += (", pixels kept" if keep else "") + (", one core" if cores == 1 else "")
        name += ", two processes" if process else ""
        said = "count, Σ, Σ² of every node" + (", vectors of 48 numbers" if vectors else "")
        said += ", pixels" if keep else ""
        said += "; stored, durable; " + (
            "one thread on one core" if cores == 1 else "two processes" if process else f"{cores} threads"
        )
        self.about = About(name, KIND, said, loads=("mctree.tree",))
        self._pixels = np.zeros((0, 0, 3), np.uint8)
        self._store = Path()
        self._workers: int | Processes = Processes(1) if process else cores

    def take(self, pixels: NDArray[np.uint8], folder: Path) -> None:
        """Keep it."""
        self._pixels, self._store = pixels, folder / "pyramid.mctree"
        if isinstance(self._workers, Processes):
            self._workers.submit(max, 1, 2).result()

    def make(self) -> None:
        """A store in place of that of the last call."""
        shutil.rmtree(self._store, ignore_errors=True)
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, sorted(cores)[: self._cores])  # threads that begin from here on are bound with this one
        try:
            with library("mctree").create(self._store) as tree:
                if self._vectors:
                    tree.build_gists(library("mctree.encoders").CosineEncoder(self._pixels.shape[2]), "cosine")
                with tree.writer() as writer:
                    writer.add_image("image", self._pixels, keep_pixels=self._kept, workers=self._workers)
        finally:
            os.sched_setaffinity(0, cores)

    def means(self) -> NDArray[np.float64]:
        """Of tiles."""
        with library("mctree").open(self._store, writable=False) as tree, tree.snapshot() as snapshot:
            found: NDArray[np.float64] = snapshot.image("image").colour(1).mean
        return found


class Scattered:
    """An image of any size of which four squares are there, in all versions down to 256 pixels a side.

    As in archives of tiles, a smaller version shows something wherever a pixel below is there.

    Args:
        side: pixels of the image; a power of two.
        square: pixels on a side of each square; a power of two.
    """

    channels = 3
    access = "random"
    fingerprint = "00"

    def __init__(self, side: int, square: int) -> None:
        self.height = self.width = side
        self.uri = f"scattered:{side}"
        self.dtype = np.dtype(np.uint8)
        self.levels = tuple(1 << power for power in range((side // 256).bit_length()))
        places = np.random.default_rng(4).permutation(4)
        self.squares = []
        for quarter in range(4):  # one somewhere in each quarter of the image
            x, y = (int(place) * (side // 2 - square) // 4 // square * square for place in (places[quarter], quarter))
            x, y = x + quarter % 2 * side // 2, y + quarter // 2 * side // 2
            self.squares.append(Box(x, y, x + square, y + square))

    def read(self, box: Box, level: int = 0) -> Pixels:
        """Waves and edges, by where a pixel is."""
        factor = self.levels[level]
        x, y = np.arange(box.x0, box.x1) * factor, np.arange(box.y0, box.y1) * factor
        values = np.empty((box.height, box.width, 3), np.uint8)
        for channel, step in enumerate((3, 5, 9)):
            values[..., channel] = ((x >> step)[None] * 7 + (y >> step)[:, None] * 11 + (x[None] ^ y[:, None])) & 255
        mask = np.zeros(values.shape[:2], np.bool_)
        for found in self.covered(box, level):
            mask[found.seen_from(box).slices] = True
        values[~mask] = 0
        return Pixels(values, None if mask.all() else mask)

    def covered(self, box: Box, level: int = 0) -> Iterator[Box]:
        """The squares, as large as they are in a version: a pixel at least."""
        factor = self.levels[level]
        seen = set()
        for one in self.squares:
            edges = one.x0 // factor, one.y0 // factor, -(-one.x1 // factor), -(-one.y1 // factor)
            found = Box(*edges).common(box)
            if found is not None and found not in seen:
                seen.add(found)
                yield found

    def close(self) -> None:
        """Nothing is open."""


def measure(side: int, square: int, coarse: bool, folder: Path) -> dict[str, float]:
    """Add an image of which four squares are there, look at it, and change it; seconds of each.

    Args:
        side: pixels of the image.
        square: pixels on a side of each square.
        coarse: begin with the coarse levels, and go on to the pixels from there; else from the pixels up.
        folder: where the store goes.
    """
    focus = library("mctree.focus")
    source, found = Scattered(side, square), dict[str, float]()
    began = time.perf_counter()

    def took(what: str) -> None:
        nonlocal began
        found[what] = time.perf_counter() - began
        began = time.perf_counter()

    with library("mctree").create(folder) as tree:
        tree.build_gists(library("mctree.encoders").CosineEncoder(3), "cosine", default=True)
        began, cpu = time.perf_counter(), time.process_time()
        with tree.writer() as writer:
            finest = max(library("mctree.geometry").Raster(side, side).root - 2, 1) if coarse else 0
            number = writer.add_image("image", source, keep_pixels=0, finest=finest)
            writer.commit()
            took("seen_s")  # from here on it can be looked at, as a whole
            if coarse:
                writer.deepen_image(number, source)
                writer.commit()
            took("rest_s")
            found["cpu_s"] = time.process_time() - cpu
            found["made_s"] = found["seen_s"] + found.pop("rest_s")
            snapshot = writer.snapshot
            image = snapshot.image(number)
            took("")
            rng = np.random.default_rng(1)
            for _ in range(_LOOKS):
                box = source.squares[int(rng.integers(4))]
                x, y = (int(edge + rng.integers(square)) for edge in (box.x0, box.y0))
                level = int(rng.integers(image.root + 1))
                where = image.raster.side(level)
                image.node(level, x // where, y // where).statistics  # noqa: B018
            took("look_s")
            context = focus.WorkingContext.smallest(snapshot, 4096, focus.Allocator(cooldown=0))
            took("")
            for _ in range(_STEPS):
                context.step(rng.uniform(-1, 1, len(context)))
            took("step_s")
            x, y = source.squares[2].x0 + 5, source.squares[2].y0 + 5
            writer.change_image(number, source, Box(x, y, x + 90, y + 90))
            writer.commit()
            took("change_s")
            context.refocus(writer.snapshot)
            took("refocus_s")
            if context.check() is not None:
                raise WrongValuesError("the working context is not what it should be")
    found.pop("")
    return {**found, "look_s": found["look_s"] / _LOOKS, "step_s": found["step_s"] / _STEPS}
