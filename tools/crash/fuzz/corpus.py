"""Where are the finds of the fuzzer kept?  In a text file for each target, a line for each input, for all to try.

What a line holds was worth keeping once: it reached code that nothing before it had reached, or broke something that
was then mended.  Lines are compressed, in base64, and sorted, so that two corpora are merged like any text.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from pathlib import Path

__all__ = ["FOLDER", "keep", "kept"]

FOLDER = Path(__file__).parent / "corpora"


def kept(name: str, folder: Path = FOLDER) -> list[bytes]:
    """The inputs that are kept for a target."""
    file = folder / f"{name}.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    return [zlib.decompress(base64.b64decode(line)) for line in lines]


def keep(name: str, inputs: Iterable[bytes], folder: Path = FOLDER) -> int:
    """Keep these inputs, and no others; how many there are."""
    distinct = {base64.b64encode(zlib.compress(data, 9)).decode() for data in inputs}
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_text(
        "".join(f"{line}\n" for line in sorted(distinct, key=lambda one: (len(one), one)))
    )
    return len(distinct)
