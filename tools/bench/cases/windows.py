"""How fast are random training windows of tokens read?"""

from __future__ import annotations

import numpy as np

from tools.bench.cases.reads import Trial, same
from tools.bench.data import Data, Plans
from tools.bench.peers import Reader
from tools.bench.sizes import Sizes

__all__ = ["Windows"]

_CHECKED = 3


class Windows:
    """A batch of windows per call, each beginning anywhere."""

    name = "windows"
    title = "Random training windows"
    limit = "Megatron bin/idx"

    def what(self, sizes: Sizes) -> str:
        """How many windows, of what length, of how many tokens."""
        return (
            f"A batch of {sizes.windows} windows of {sizes.window:,} tokens, beginning at any of {sizes.tokens:,} "
            "uint32 tokens, into the caller's buffer."
        )

    def trial(self, reader: Reader, data: Data, plans: Plans, sizes: Sizes) -> Trial:
        """One batch per call."""
        out = np.empty((sizes.windows, sizes.window), np.uint32)

        def call(number: int) -> None:
            reader.windows(plans.windows[number % len(plans.windows)], out)

        def right() -> bool:
            for number in range(min(_CHECKED, len(plans.windows))):
                out.fill(0)
                call(number)
                stored = [data.tokens[start : start + sizes.window] for start in plans.windows[number]]
                if not same(out, np.stack(stored)):
                    return False
            return True

        return Trial(call, right)
