"""The study of learning in its smoke form, and that what it feeds and asks is what it says."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mctree_torch.base import Reader, Rows
from mctree_torch.positions import Places, uninstall
from tools.train.__main__ import main
from tools.train.feeding import DROPPED, FINE, GIST, Base, everywhere
from tools.train.learning import budget_of, lens_input, looks, mean_gists
from tools.train.recall import Recall
from tools.train.report import interval
from tools.train.study import FULL, LENS, STORE


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(1, 8))
def test_each_question_is_answered_by_one_token_of_one_block(seed: int, blocks: int, questions: int) -> None:
    task, generator = Recall(), torch.Generator().manual_seed(seed)
    histories = task.draw(3, generator, blocks)
    tail, facts = task.ask(histories, questions, generator)
    assert float(task.frequency().sum()) == pytest.approx(1)
    assert int(histories.tokens.max()) < task.vocabulary and int(tail.max()) < task.vocabulary - task.fillers
    for i in range(3):
        for j, fact in enumerate(facts[i].tolist()):
            key, value = (
                int(tail[i, 2 * j]) - task.keys * task.values,
                int(tail[i, 2 * j + 1]) - int(task.answer(torch.tensor(0))),
            )
            holds = histories.tokens[i] // task.values == key
            assert int(holds.sum()) == 1 and bool(holds[fact // task.facts].any())
            assert int(histories.tokens[i][holds]) % task.values == value


def test_a_batch_is_fed_as_a_reader_is() -> None:
    torch.manual_seed(0)
    task, generator = Recall(blocks=4), torch.Generator().manual_seed(0)
    base = Base.made(task.vocabulary, 16, 2, 4)
    histories = task.draw(2, generator)
    gists = mean_gists(base)(histories.tokens).detach()
    shown = torch.tensor([[GIST, FINE, GIST, DROPPED], [FINE, DROPPED, GIST, GIST]])
    tail, _ = task.ask(histories, 2, generator)
    with torch.no_grad():
        found = base.expect(histories.tokens, gists, shown, tail)
    uninstall(base.model)
    reader = Reader(base.model, plane=False)
    for i in range(2):
        parts = []
        for block in range(4):
            if shown[i, block] == FINE:
                at = 32.0 * block + torch.arange(32, dtype=torch.float64)
                parts.append(Rows.of_tokens(histories.tokens[i, block], at, 16))
            elif shown[i, block] == GIST:
                at, wide = (torch.tensor([x], dtype=torch.float64) for x in (32.0 * block + 15.5, 32 / math.sqrt(12)))
                gist = gists[i, block][None]
                parts.append(Rows(torch.tensor([-1]), gist, torch.tensor([True]), Places.of_text(at, wide)))
        parts.append(Rows.of_tokens(tail[i], 128 + torch.arange(4, dtype=torch.float64), 16))
        assert torch.allclose(reader.read(Rows.joined(parts)), found[i, -1], atol=1e-4)


def test_a_lens_learns_from_what_a_working_context_shows() -> None:
    task, generator = Recall(), torch.Generator().manual_seed(0)
    base = Base.made(task.vocabulary, 16, 1, 4)
    histories = task.draw(3, generator)
    vectors = mean_gists(base)(histories.tokens).detach()
    question = task.question(histories.keys[:, :1])
    for fine in (None, 5, 7):
        look = looks(task, fine)
        assert int(look.entries.cost.sum()) == (9 if fine is None else budget_of(task))
        features, entries, known, tail = lens_input(base, task, vectors, histories.tokens, question, fine, generator)
        assert features.shape == (3, 9, 16) and entries.shape == (3, 9, 16) and bool(known.all())
        assert tail.shape == (3, 33 if fine == 7 else 1, 16)


def test_smoke(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, kept = tmp_path / "page.md", tmp_path / "kept.json"
    main(["--smoke", "--seeds", "0", "1", "--out", str(page), "--json", str(kept)])
    text, results = page.read_text(), json.loads(kept.read_text())
    assert set(results) == {"0", "1"} and LENS in text and "±" in text
    for lines in results.values():
        assert lines[FULL]["cost"] == 256 and lines[FULL]["found"] == 1.0
        assert lines[STORE]["cost"] <= 39
        assert all(math.isfinite(line["loss"]) for line in lines.values())
    capsys.readouterr()
    main(["--smoke", "--seeds", "0", "1", "--out", str(page), "--json", str(kept)])
    assert "seed" not in capsys.readouterr().err and page.read_text() == text
    with pytest.raises(SystemExit):
        main(["--seeds", "1", "2"])
    assert "take others" in capsys.readouterr().err


def test_intervals_are_those_of_student() -> None:
    mean, half = interval([1.0, 2.0, 3.0])
    assert mean == 2.0 and half == pytest.approx(4.302652730 / math.sqrt(3))
    assert interval([5.0]) == (5.0, math.inf)


def test_everywhere_is() -> None:
    assert everywhere(FINE, 2, 3).tolist() == [[FINE] * 3] * 2
