"""What the fuzzer has found is kept, for `tools.crash.strangers` to try again."""

from __future__ import annotations

from pathlib import Path

from tools.crash.fuzz.corpus import FOLDER, keep, kept
from tools.crash.fuzz.targets import TARGETS


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == TARGETS.keys()
    for name in TARGETS:
        assert kept(name), f"no inputs are kept for {name}: python -m tools.crash.fuzz {name} --keep"


def test_a_corpus_is_kept_without_repeats(tmp_path: Path) -> None:
    assert keep("a", [b"two", b"", b"two", b"\xff"], tmp_path) == 3
    assert sorted(kept("a", tmp_path)) == [b"", b"two", b"\xff"]
    assert kept("b", tmp_path) == []
