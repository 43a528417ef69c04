"""What the fuzzer has found is kept, for `tools.crash.strangers` to try again, and the fuzzer finds what is planted."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tools.crash.fuzz.__main__ import hunt
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


@pytest.mark.slow
def test_the_fuzzer_finds_what_is_planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert importlib.util.find_spec("atheris"), "install the extra `dev`"
    planted = tmp_path / "sitecustomize.py"
    planted.write_text(
        "import mctree.geometry.address as address\n"
        "real = address.Address.parse.__func__\n"
        "def parse(cls, text):\n"
        "    if text.startswith('2:1'):\n"
        "        raise KeyError('planted')\n"
        "    return real(cls, text)\n"
        "address.Address.parse = classmethod(parse)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).resolve().parents[2]}")
    assert hunt("names", 10).broke
