"""The study of focus in its short form, on the project's own sources."""

from __future__ import annotations

from pathlib import Path

import pytest

import mctree
from tools.focus.__main__ import main
from tools.focus.study import study
from tools.focus.ways import BY_TERMS, FOCUS
from tools.retrieval.corpus import corpus_at, questions

SOURCES = Path(mctree.__file__).parent


def test_the_page_tells_of_every_way_and_no_name_of_a_place(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    main([f"sources={SOURCES / 'storage'}", "--questions", "1", "--budget", "700", "--out", str(page)])
    text = page.read_text()
    assert BY_TERMS in text and FOCUS in text and "recency" in text
    assert str(SOURCES) not in text


def test_what_settings_were_chosen_by_is_not_asked_and_budgets_are_kept() -> None:
    corpus = corpus_at(f"{SOURCES / 'format'},{SOURCES / 'geometry'}")
    found = study("sources", corpus, count=2, seed=23, tuned=5, budget=600)
    total = len(questions(corpus, 10**9, 23))
    assert 0 < found.questions <= 2 and found.questions + found.left_out <= total
    ways = {line.name: line for line in found.ways}
    assert ways[FOCUS].cost <= 600 and ways[FOCUS].blocks > 0
    assert ways[BY_TERMS].blocks == 600 // 32 and ways[BY_TERMS].compared == 0
    assert ways[FOCUS].compared + ways[FOCUS].read > 0 and ways["recency"].cost <= 600


def test_the_seed_that_settings_were_chosen_by_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--seed", "5"])
    assert "take another" in capsys.readouterr().err
