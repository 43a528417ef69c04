"""How fast are gists gathered: random ones, and runs of them, as the children of a node are?"""

from __future__ import annotations

import numpy as np

from tools.bench.cases.reads import Trial, same
from tools.bench.data import Data, Plans, expand
from tools.bench.peers import Reader
from tools.bench.sizes import Sizes

__all__ = ["RandomGather", "RunGather"]

_CHECKED = 3


class RandomGather:
    """Rows anywhere, in any order."""

    name = "gather"
    title = "Gather of random gists"
    limit = "flat memmap"

    def what(self, sizes: Sizes) -> str:
        """How many rows, of how many, over how many chunks."""
        return (
            f"{sizes.gathered:,} random rows of {sizes.rows:,} × {sizes.dim} float16, into the caller's buffer; the "
            f"array stores hold them in {sizes.rows // sizes.chunk_rows:,} chunks of {sizes.chunk_rows:,} rows. Which "
            "pages of memory a file got counts for more than who reads it: *Gather of random gists, files written "
            "anew* compares the fastest two."
        )

    def trial(self, reader: Reader, data: Data, plans: Plans, sizes: Sizes) -> Trial:
        """One gather per call."""
        out = np.empty((sizes.gathered, sizes.dim), np.float16)

        def call(number: int) -> None:
            reader.gather(plans.rows[number % len(plans.rows)], out)

        def right() -> bool:
            for number in range(min(_CHECKED, len(plans.rows))):
                out.fill(0)
                call(number)
                if not same(out, data.gists[plans.rows[number]]):
                    return False
            return True

        return Trial(call, right)


class RunGather:
    """Aligned runs of rows, as children are stored."""

    name = "runs"
    title = "Gather of runs of gists"
    limit = "flat memmap"

    def what(self, sizes: Sizes) -> str:
        """How many runs, of what length."""
        return (
            f"{sizes.runs:,} random runs of {sizes.run_length} rows each (the children of {sizes.runs:,} nodes), "
            f"of {sizes.rows:,} × {sizes.dim} float16, into the caller's buffer."
        )

    def trial(self, reader: Reader, data: Data, plans: Plans, sizes: Sizes) -> Trial:
        """All runs of a request in one call."""
        length = sizes.run_length
        out = np.empty((sizes.runs * length, sizes.dim), np.float16)

        def call(number: int) -> None:
            reader.runs(plans.runs[number % len(plans.runs)], length, out)

        def right() -> bool:
            for number in range(min(_CHECKED, len(plans.runs))):
                out.fill(0)
                call(number)
                if not same(out, data.gists[expand(plans.runs[number], length)]):
                    return False
            return True

        return Trial(call, right)
