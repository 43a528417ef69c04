"""A store that is compacted while somebody opens it is opened: the new epoch, which stands at the path by then."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import mctree
import mctree.storage.store as store_module
from mctree.errors import NotAStoreError


@pytest.mark.parametrize("times", [1, 3])
def test_an_epoch_that_goes_while_it_is_opened_is_not_damage(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by backups under compactions: the folder that was open had lost its index, and was called damaged."""
    path = tmp_path / "t.mctree"
    with mctree.create(path) as tree, tree.writer() as writer:
        writer.add("a", b"text " * 100)
    real, left = store_module._open_index, [times]

    def meanwhile(*args: Any, **options: Any) -> Any:
        if left[0]:
            left[0] -= 1
            shutil.copytree(path, tmp_path / "new")
            shutil.rmtree(path)
            (tmp_path / "new").rename(path)
        return real(*args, **options)

    monkeypatch.setattr(store_module, "_open_index", meanwhile)
    with mctree.open(path, writable=False) as tree, tree.snapshot() as snapshot:
        assert snapshot.document("a").read() == b"text " * 100
    assert not left[0]


def test_a_store_that_stands_where_it_was_and_lacks_its_index_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "t.mctree"
    mctree.create(path).close()
    shutil.rmtree(path / "index.lmdb")
    with pytest.raises(NotAStoreError, match="holds no index"):
        mctree.open(path)
    shutil.rmtree(path)
