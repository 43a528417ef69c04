"""The pieces that were decoded last: a limit of bytes, and the latest whatever its size."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mctree.sources.images.recent import Recent

LIMIT = 20


@given(steps=st.lists(st.tuples(st.integers(0, 6), st.one_of(st.none(), st.integers(1, 30)))))
def test_the_latest_pieces_that_fit_are_held(steps: list[tuple[int, int | None]]) -> None:
    recent: Recent[int, np.ndarray] = Recent(LIMIT)
    model: OrderedDict[int, int] = OrderedDict()
    for key, size in steps:
        if size is None:
            found = recent.get(key)
            assert (None if found is None else found.nbytes) == model.get(key)
            if key in model:
                model.move_to_end(key)
        else:
            recent.put(key, np.zeros(size, np.uint8))
            model.pop(key, None)
            model[key] = size
            while sum(model.values()) > LIMIT and len(model) > 1:
                model.popitem(last=False)
    recent.clear()
    assert all(recent.get(key) is None for key in range(7))
