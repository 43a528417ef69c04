"""Running the command, in this process and in one of its own, and the store that most tests look at."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

import mctree
from mctree.cli.program import cli

WORDS = [
    "the",
    "whale",
    "ship",
    "sea",
    "captain",
    "white",
    "harpoon",
    "storm",
    "deck",
    "and",
    "of",
    "to",
    "海",
    "émigré",
]

HOSTILE = (
    b"\x1b[2J\x1b]0;owned\x07",
    b"line\nbreak\r\tand tab",
    b"\xff\xfe\x80 no text",
    "right\u202eto\u2066left".encode(),
    "\x9b31mC1 and \u2028 \u200b \ufeff \U000e0041".encode(),
    b"-rf",
    b"--help",
    b"#1",
    b" spaces ",
    b"back\\slash\\x41\\",
    "鯨 émigré e\u0301 \U0001f433".encode(),
    b"[bold red]markup[/] :smile: %s {0}",
)
"""Names of sources that nobody chose to be nice."""


def run(*args: str | Path, **env: str) -> Result:
    """Run a command line in this process; an error that is not reported as one fails the test."""
    result = CliRunner().invoke(cli, [str(arg) for arg in args], env={"COLUMNS": "80", **env})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result


def good(*args: str | Path, **env: str) -> str:
    """Run a command line that must succeed; what it printed on standard output."""
    result = run(*args, **env)
    assert result.exit_code == 0, result.output
    return result.stdout


def bad(*args: str | Path, code: int = 1, **env: str) -> str:
    """Run a command line that must fail; the one line that says why."""
    result = run(*args, **env)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    first, *rest = result.stderr.splitlines()
    assert first.startswith("mctree: ") and len(first) > 20, result.stderr
    assert not rest or (code == 2 and len(rest) == 1 and rest[0].startswith("try `mctree")), result.stderr
    assert_printable(result.stderr)
    return first


def objects(output: str) -> list[Any]:
    """The objects of an output of one JSON object a line, which must be ASCII."""
    assert output.isascii()
    return [json.loads(line) for line in output.splitlines()]


def assert_printable(text: str) -> None:
    """Nothing in the text moves a cursor, turns the text around, or is no character."""
    assert all(letter.isprintable() or letter == "\n" for letter in text), ascii(text)


def environment(**env: str) -> dict[str, str]:
    """The variables of a process of its own."""
    dropped = ("MCTREE", "LC_", "LANG", "NO_COLOR", "PYTHONIO", "PYTHONUNBUFFERED")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    return {**kept, "LC_ALL": "C.UTF-8", "COLUMNS": "80", **env}


def process(
    *args: str | bytes | Path, env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "mctree", *args],
        env=environment(**(env or {})),
        timeout=60,
        check=False,
        **{"capture_output": True, **options},
    )


def book(seed: int, words: int = 700) -> str:
    """A text that is the same for the same seed."""
    chosen = random.Random(seed)
    return " ".join(chosen.choice(WORDS) for _ in range(words))


def make_store(path: Path) -> Path:
    """A store of four books, one of them removed later, one of them open, and documents of hostile names."""
    with mctree.create(path, chunk_bytes=1 << 16) as tree:
        with tree.writer() as writer:
            for seed in range(4):
                writer.add(f"books/{seed}.txt", book(seed))
            for i, name in enumerate(HOSTILE):
                writer.add(name, f"hostile {i} \x1b[31m \u202e end")
            diary = writer.begin("diary")
            diary.write("dear diary")
        with tree.writer() as writer:
            writer.remove("books/1.txt")
    return path
