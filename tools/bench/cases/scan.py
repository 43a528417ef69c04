"""How fast are all gists read in order?"""

from __future__ import annotations

import numpy as np

from tools.bench.cases.reads import Trial, same
from tools.bench.data import Data, Plans
from tools.bench.peers import Reader
from tools.bench.sizes import Sizes

__all__ = ["Scan"]


class Scan:
    """Everything, a piece at a time, into one buffer."""

    name = "scan"
    title = "Sequential scan"
    limit = "flat memmap"

    def what(self, sizes: Sizes) -> str:
        """How much, in what pieces."""
        size = sizes.rows * sizes.dim * 2 / 1e6
        return f"All {sizes.rows:,} gists ({size:,.0f} MB) in order, {sizes.scan_rows:,} at a time, into one buffer."

    def trial(self, reader: Reader, data: Data, plans: Plans, sizes: Sizes) -> Trial:
        """One whole scan per call."""
        out = np.empty((sizes.scan_rows, sizes.dim), np.float16)

        def call(number: int) -> int:
            return sum(reader.scan(out))

        def right() -> bool:
            end = 0
            for count in reader.scan(out):
                if not same(out[:count], data.gists[end : end + count]):
                    return False
                end += count
            return end == len(data.gists)

        return Trial(call, right)
