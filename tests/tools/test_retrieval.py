"""The retrieval study in its short form, on the project's own sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import mctree
from tools.retrieval.__main__ import main
from tools.retrieval.measures import BEST, descend
from tools.retrieval.scoring import Scores
from tools.retrieval.timeline import FANOUT, Answers


def test_the_page_has_every_level_and_no_name_of_a_place(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    sources = Path(mctree.__file__).parent
    main([f"sources={sources / 'tree'},{sources / 'storage'}", "--questions", "9", "--dims", "--out", str(page)])
    text = page.read_text()
    assert "lexical, 512 (default)" in text
    assert "LOD1" in text and "LOD2" in text
    assert str(sources) not in text


@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_a_descent_that_keeps_everything_finds_what_the_comparison_of_all_blocks_finds(parents: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = int(rng.integers((parents - 1) * FANOUT + 1, parents * FANOUT + 1))
    scores: Scores = {1: rng.random((blocks, 3), np.float32), 2: rng.random((parents, 3), np.float32)}
    place = rng.integers(0, blocks, 3)
    answers = Answers(first=place, last=place, block=place)
    every = descend(scores, answers, {})
    found = descend(scores, answers, {2: parents, 1: BEST})
    assert (found.file, found.block) == (every.file, every.block)
