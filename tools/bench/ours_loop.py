"""mctree's dataset of tokens in a training loop, behind the protocol of the benchmark.

It is asked for samples in its own order, which it works out while it is timed; which windows these are is said to the
others beforehand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.bench.ours import KIND, NAME
from tools.bench.peers import About
from tools.bench.peers.protocol import library
from tools.bench.sizes import Sizes

__all__ = ["MctreeLoop"]

_DOCUMENT = 1000
_COMMIT = 1 << 26


class MctreeLoop:
    """`TokenDataset.read`, a batch at a time.

    Args:
        sizes: of the run.
        documents: whether the tokens lie in documents of a thousand tokens, and not in one.
        everything: whether samples hold positions and documents too.
    """

    def __init__(self, sizes: Sizes, *, documents: bool = False, everything: bool = False) -> None:
        self._length = sizes.window
        self._documents = documents
        self._fields = ("input_ids", "labels", *(("position_ids", "document_ids") if everything else ()))
        name = NAME + (f", documents of {_DOCUMENT} tokens" if documents else "")
        name += ", positions and documents too" if everything else ""
        note = "TokenDataset.read, shuffled by itself"
        note += "; labels end with documents" if documents else ""
        self.about = About(name, KIND, note, requires=("mctree", "torch"))

    def write(self, tokens: NDArray[np.uint32], file: Path, folder: Path) -> None:
        """A store of bare tokens."""
        with library("mctree").create(folder / "store", vocabulary=1 << 32) as tree, tree.writer() as writer:
            step = _DOCUMENT if self._documents else len(tokens)
            waiting = 0
            for first in range(0, len(tokens), step):
                document = writer.begin(f"document {first}")
                document.extend(tokens[first : first + step])
                document.close()
                waiting += step
                if waiting >= _COMMIT:
                    writer.commit(gists=False)
                    waiting = 0
            writer.commit(gists=False)

    def open(self, folder: Path) -> _Loop:
        """Open the dataset."""
        dataset = library("mctree_torch").TokenDataset(folder / "store", self._length, fields=self._fields)
        return _Loop(dataset)


class _Loop:
    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def samples(self, index: NDArray[np.int64]) -> tuple[Any, Any]:
        """Inputs and labels of samples of an epoch."""
        batch = self._dataset.read(index, 0)
        return batch["input_ids"], batch["labels"]

    def close(self) -> None:
        """Let go of the store."""
        del self._dataset
