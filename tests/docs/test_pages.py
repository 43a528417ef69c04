"""Every command and code block of the README and the guide does what it says.

Blocks run in the order of the page: shell blocks in one folder, Python blocks in one interpreter.  A block behind a
comment `<!-- not run: reason -->` is left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^(?P<skip><!-- not run: [^\n]* -->\n+)?```(?P<kind>sh|python)\n(?P<body>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A code block of a page."""

    line: int
    kind: str
    body: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(text.count("\n", 0, found.start("body")) + 1, found["kind"], found["body"])
        for found in BLOCK.finditer(text)
        if not found["skip"]
    ]


PAGES = [ROOT / "README.md", ROOT / "docs" / "guide.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_the_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
    namespace: dict[str, object] = {"__name__": "__main__"}
    found = blocks(page)
    assert found
    for block in found:
        where = f"{page.name}, line {block.line}"
        if block.kind == "sh":
            command = "set -euo pipefail\n" + block.body.replace(".venv/bin/", f"{binaries}/")
            done = subprocess.run(
                ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False, timeout=280
            )
            assert done.returncode == 0, f"{where}:\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr, f"{where}:\n{done.stderr}"
        else:
            exec(compile(block.body, where, "exec"), namespace)  # the page's own code


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"
