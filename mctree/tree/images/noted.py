"""What of images stands between two commits?  Pages as the next one will see them, rows to be copied, ingests begun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError
from mctree.format.values import pack
from mctree.storage.chunks import row_sums
from mctree.storage.sums import committed_sums
from mctree.tree.images.pages import MOST_GROUPS, PageReader, popcount

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot

__all__ = ["UNFINISHED", "Noted", "intact_rows", "unfinished", "unfinished_setting"]

UNFINISHED = b"unfinished-images"
"""The setting that names images whose ingest was begun: their numbers and names."""


class Noted(PageReader):
    """Pages as the next commit will see them.

    Args:
        snapshot: the newest commit.
        noted: the pages of groups that are about to change, by (array, group).
    """

    def __init__(self, snapshot: Snapshot, noted: Mapping[tuple[int, int], NDArray[np.void]]) -> None:
        super().__init__(snapshot.reading, snapshot.commit)
        self._snapshot = snapshot
        self._noted = noted

    def group(self, array: int, group: int) -> NDArray[np.void]:
        """The pages of one group of an array's level, ascending."""
        found = self._noted.get((array, group))
        return super().group(array, group) if found is None else found

    def _load(self, array: int, group: int) -> NDArray[np.void]:
        """The pages of a group as they were committed.

        Raises:
            CorruptError: they name rows that were not, for which those would be taken that the next commit adds.
        """
        pages = super()._load(array, group)
        some = pages[pages["present"] != 0]
        ends = some["row"].astype(np.int64) + popcount(np.ascontiguousarray(some["present"]))
        if len(some) and ends.max() > self._snapshot.state(array).rows:
            path = self._snapshot.layout(array).path
            raise CorruptError(f"pages of nodes of an image name rows that {path} does not have; run `mctree verify`")
        return pages

    def _written(self, array: int, first: int, stop: int) -> list[int]:
        numbers = super()._written(array, first, stop)
        if len(numbers) == MOST_GROUPS:
            stop = numbers[-1]  # there may be more of them between
        noted = (group for own, group in self._noted if own == array and first <= group < stop)
        return sorted({*numbers, *noted})


def intact_rows(snapshot: Snapshot, array: int, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Committed rows of an array of images, compared with their checksums.

    Raises:
        CorruptError: one is not what was committed.
    """
    level = snapshot.rows(array)
    values = level.gather(rows)
    with snapshot.reading() as index:
        sums = committed_sums(index, array, level.layout, rows, snapshot.commit)
    wrong = rows[row_sums(values) != sums]
    if len(wrong):
        raise CorruptError(
            f"row {wrong[0]} of {level.layout.path} is not the one that was committed; restore the store from a copy, "
            "or remove or replace the image that `mctree verify` names"
        )
    return values


def unfinished(settings: Mapping[str, Any]) -> dict[bytes, int]:
    """Names and numbers of images whose ingest was begun, from the setting that names them.

    Raises:
        CorruptError: it is damaged.
    """
    images = settings.get("images")
    if not isinstance(images, list) or any(
        not isinstance(one, list) or len(one) != 2 or type(one[0]) is not int or type(one[1]) is not bytes
        for one in images
    ):
        raise CorruptError("the setting of unfinished images is damaged; run `mctree verify`")
    return {name: number for number, name in images}


def unfinished_setting(begun: Mapping[bytes, int]) -> bytes:
    """What that setting says; nothing if there are none."""
    return pack({"images": [[number, name] for name, number in sorted(begun.items())]}) if begun else b""
