"""How does a language model read a tree, and write to it?  Its window is a working context, and what it says goes back.

    reader    a Hugging Face model that reads rows, and computes anew only from the first that has changed
    speaker   a conversation over a store: hear, say, and look again every few tokens

What a model is fed are rows: tokens and vectors, and where each of them stands (`mctree_torch.rows`).  Needs the extra
`models`.
"""

from __future__ import annotations

from mctree_torch.base.reader import Reader
from mctree_torch.base.speaker import Moment, Speaker
from mctree_torch.rows import Rows, RowSource, SnapshotRows

__all__ = ["Moment", "Reader", "RowSource", "Rows", "SnapshotRows", "Speaker"]
