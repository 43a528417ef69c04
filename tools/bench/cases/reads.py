"""What is a case of reading?  A name, a limit, and a trial: a call to be timed and a check that it gives the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tools.bench.data import Data, Plans
from tools.bench.peers import Reader
from tools.bench.sizes import Sizes

__all__ = ["ReadCase", "Trial", "same"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One contender at one case.

    Attributes:
        call: answers the request of a given number, which may be any; the answer goes to a buffer that is reused.
        right: answers some requests and says whether every value of the answers is the one that was stored.
    """

    call: Callable[[int], object]
    right: Callable[[], bool]


class ReadCase(Protocol):
    """One kind of read.

    Attributes:
        name: what `--only` calls it, and what `About.reads` names.
        title: a headline.
        limit: the name of the contender that the others are compared with.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def limit(self) -> str: ...

    def what(self, sizes: Sizes) -> str:
        """What is measured, in a sentence or two."""
        ...

    def trial(self, reader: Reader, data: Data, plans: Plans, sizes: Sizes) -> Trial:
        """Prepare a contender."""
        ...


def same(found: NDArray[np.generic], stored: NDArray[np.generic]) -> bool:
    """Whether two arrays of one shape hold the same bits."""
    return found.shape == stored.shape and found.tobytes() == stored.tobytes()
