"""What do very many very small images cost one store?

    python -m tools.endurance.icons --icons 10000

Every icon is an image of its own, with a name, statistics of its patches, its kept pixels and gists.  They are added a
few hundred to a commit, in one order, then asked for in another: by name, pixel by pixel.  Disk and files are counted
as they are at the end, the index among them.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import mctree
from mctree.encoders import CosineEncoder
from mctree.sources.images import Box
from tools.endurance.disk import disk_usage, files

__all__ = ["Result", "icon", "run"]

SIDE = 32
_TO_A_COMMIT = 256


@dataclass(frozen=True)
class Result:
    """What a run measured; sizes in bytes, times in seconds.

    Attributes:
        icons: how many images.
        pixels: bytes of their pixels.
        files: of the whole store.
        disk: what these take.
        index: what of that is the index, where names, pages and checksums are.
        disk_per_icon: disk, shared out.
        cpu_adding: to add all.
        cpu_opening: to open the store and to find one icon by its name.
        cpu_reading: to find one icon and read its pixels, the mean of a thousand.
        wrong: icons that did not come back as they were.
        problems: what `verify` found.
        peak: resident memory, in bytes.
    """

    icons: int
    pixels: int
    files: int
    disk: int
    index: int
    disk_per_icon: float
    cpu_adding: float
    cpu_opening: float
    cpu_reading: float
    wrong: int
    problems: int
    peak: int


def icon(number: int) -> NDArray[np.uint8]:
    """An icon `uint8 [32, 32, 3]`: a shape of one colour on another, as icons are."""
    rng = np.random.default_rng(number)
    ground, ink = rng.integers(0, 256, (2, 3), dtype=np.uint8)
    y, x = np.mgrid[:SIDE, :SIDE] - rng.integers(8, 24, (2, 1, 1))
    shape = (x * x + y * y < rng.integers(20, 200)) | (np.abs(x + y) < 2)
    drawn: NDArray[np.uint8] = np.where(shape[..., None], ink, ground)
    return drawn


def run(folder: Path, icons: int, *, quiet: bool = False) -> Result:
    """Make a store of so many icons, read them back, and measure."""
    path = folder / "icons.mctree"
    began = time.process_time()
    with mctree.create(path, vocabulary=2) as tree:
        tree.build_gists(CosineEncoder(3), "colours")
        for first in range(0, icons, _TO_A_COMMIT):
            with tree.writer() as writer:
                for number in range(first, min(first + _TO_A_COMMIT, icons)):
                    writer.add_image(f"icons/{number}.png", icon(number))
            if not quiet:
                print(f"{first:,} icons", file=sys.stderr, end="\r", flush=True)
        adding = time.process_time() - began
        index = tree.store.environment.size()
        problems = sum(1 for _ in tree.verify())
    began = time.process_time()
    asked = np.random.default_rng(0).permutation(icons)[:1000].tolist()
    with mctree.open(path, writable=False) as tree, tree.snapshot() as snapshot:
        snapshot.image(f"icons/{icons - 1}.png")
        opening = time.process_time() - began
        began = time.process_time()
        wrong = 0
        for number in asked:
            pixels = snapshot.image(f"icons/{number}.png").pixels(Box(0, 0, SIDE, SIDE))
            wrong += not np.array_equal(pixels.values, icon(number))
        reading = (time.process_time() - began) / len(asked)
    disk = disk_usage(path)
    return Result(
        icons=icons,
        pixels=icons * SIDE * SIDE * 3,
        files=len(files(path)),
        disk=disk,
        index=index,
        disk_per_icon=round(disk / icons, 1),
        cpu_adding=round(adding, 2),
        cpu_opening=round(opening, 4),
        cpu_reading=round(reading, 5),
        wrong=wrong,
        problems=problems,
        peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def main() -> int:
    """Run as a script; prints the result as JSON."""
    parser = argparse.ArgumentParser(description="Keep many small images in one store.")
    parser.add_argument("--icons", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where to make the store; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        result = run(Path(folder), options.icons)
    print(json.dumps(asdict(result), indent=2))
    return int(result.problems > 0 or result.wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
