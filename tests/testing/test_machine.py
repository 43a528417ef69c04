"""The machine finds nothing: with bytes, bare tokens, tokenizers of both kinds, a real encoder, and a real source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from mctree.encoders import HFTokenizer, train_bpe
from mctree.sources import open_source
from mctree.testing import ToyEncoder, TreeMachine, tree_machine


def run(machine: type[TreeMachine], examples: int, steps: int, *, shrink: bool = True) -> None:
    sizes = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        report_multiple_bugs=shrink,
    )
    run_state_machine_as_test(machine, settings=sizes)


def words() -> HFTokenizer:
    """A tokenizer that forgets case, blanks, and every word but a few: nothing of what it is given comes back."""
    model = tokenizers.models.WordLevel({"[UNK]": 0, "a": 1, "b": 2, "0": 3, "!": 4}, unk_token="[UNK]")
    engine = tokenizers.Tokenizer(model)
    engine.normalizer = tokenizers.normalizers.Lowercase()
    engine.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return HFTokenizer(engine.to_str().encode())


def test_a_store_of_bytes() -> None:
    run(TreeMachine, examples=40, steps=25)


def test_a_store_of_bare_tokens_of_which_there_are_many() -> None:
    run(tree_machine(vocabulary=70_000), examples=10, steps=20)


def test_a_tokenizer_that_learned_its_words() -> None:
    run(tree_machine(tokenizer=train_bpe([Path(__file__).read_bytes()], 400), keep=1), examples=8, steps=20)


def test_a_tokenizer_that_gives_nothing_back() -> None:
    run(tree_machine(tokenizer=words(), extends=False), examples=8, steps=20)


def test_documents_of_a_source(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(5):
        (tmp_path / "in" / f"{i}.txt").write_bytes(f"document {i}\n".encode() * 30 * i)
    run(tree_machine(source=open_source([str(tmp_path / "in")]), keep=0), examples=6, steps=15)


class Forgetful(ToyEncoder):
    """An encoder that breaks its promise: a gist depends on the batch that it was made in."""

    def encode(self, level, children, mask, span=None):
        return super().encode(level, children, mask, span) + np.float32(len(children) % 7)


def test_an_encoder_that_breaks_its_promise_is_found() -> None:
    with pytest.raises(Exception, match="not what the encoder makes"):
        run(tree_machine(encoder=Forgetful()), examples=100, steps=25, shrink=False)


def test_the_long_form_says_how_it_went() -> None:
    command = [sys.executable, "-m", "mctree.testing", "--examples", "2", "--steps", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("2 stores of up to 4 steps")


@pytest.mark.slow
def test_for_a_long_time() -> None:
    run(TreeMachine, examples=2000, steps=50)
    run(tree_machine(vocabulary=70_000), examples=500, steps=50)
    run(tree_machine(tokenizer=words(), extends=False), examples=500, steps=50)
