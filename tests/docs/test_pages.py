"""Every command and code block of the README and the guides does what it says.

Blocks run in the order of the page: shell blocks in one folder, Python blocks in one interpreter.  A block behind a
comment `<!-- not run: reason -->` is left out.  Where a page takes Python's whole standard library, the modules at its
top are taken, a sixth of it; the long form takes all.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
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


GUIDES = ("guide", "imagery", "models", "streaming", "training")
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in GUIDES)]
STANDARD_LIBRARY = """import sysconfig; print(sysconfig.get_path("stdlib"))"""
FRAMEWORKS_WARN = pytest.mark.filterwarnings("default")


def on_a_part(body: str, folder: Path) -> str:
    """A shell block that takes the modules at the top of the standard library, in a folder, for the whole of it."""
    if STANDARD_LIBRARY not in body:
        return body
    folder.mkdir()
    for module in Path(sysconfig.get_path("stdlib")).glob("*.py"):
        shutil.copy(module, folder)
    return body.replace(STANDARD_LIBRARY, f"""print("{folder}")""")


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.stem, marks=[FRAMEWORKS_WARN] if page.stem == "training" else []) for page in PAGES],
)
def test_every_block_of_the_page_runs(
    page: Path, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
    namespace: dict[str, object] = {"__name__": "__main__"}
    found = blocks(page)
    assert found
    for block in found:
        where = f"{page.name}, line {block.line}"
        if block.kind == "sh":
            body = block.body if request.config.getoption("--slow") else on_a_part(block.body, tmp_path / "library")
            command = "set -euo pipefail\n" + body.replace(".venv/bin/", f"{binaries}/")
            done = subprocess.run(
                ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False, timeout=280
            )
            assert done.returncode == 0, f"{where}:\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr, f"{where}:\n{done.stderr}"
        else:
            exec(compile(block.body, where, "exec"), namespace)  # the page's own code


def test_the_readme_takes_the_standard_library() -> None:
    assert any(STANDARD_LIBRARY in block.body for block in blocks(ROOT / "README.md"))


def anchors(page: Path) -> set[str]:
    """What `#…` after the name of a page can be: its headings, as forges write them."""
    headings = re.findall(r"^#+ +(.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_somewhere() -> None:
    found = 0
    for page in {*PAGES, *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")}:
        for link in re.findall(r"\]\((?![a-z]+:)([^)\s]+)\)", page.read_text()):
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), f"{page.name} links to {name}, which is not there"
            assert not anchor or anchor in anchors(target), f"{page.name} links to {link}: there is no such heading"
            found += 1
    assert found >= len(list((ROOT / "docs").glob("*.md")))


def test_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f"](docs/{page.name})" in readme, f"nothing in the README leads to {page.name}"


def pip_arguments(script: str) -> list[list[str]]:
    """What each command of a script gives to `pip install`, with the long names of options."""
    long = {"-c": "--constraint", "-e": "--editable", "-q": "--quiet"}
    commands = (shlex.split(line, comments=True) for line in script.splitlines() if "-m pip install" in line)
    return [[long.get(word, word) for word in words[words.index("install") + 1 :]] for words in commands]


def test_ci_makes_the_environment_that_the_readme_makes_and_runs_its_check() -> None:
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    setup, check = (re.findall(rf"^## {title}\n(.*?)(?=^## )", readme, re.M | re.S) for title in ("Set up", "Check.*?"))
    make, *more = (line for line in BLOCK.findall(setup[0])[0][2].splitlines())
    (install,) = pip_arguments("\n".join(more))
    assert install == ["--constraint", "constraints.txt", "--editable", ".[dev]"]
    pinned, same = pip_arguments(ci)
    assert make in ci
    assert [word for word in same if word != "--quiet"] == install
    # What CI installs before is a pin of the very file that the README's command is bound by.
    assert [word for word in pinned if word != "--quiet"] == ["$(grep -m1 '^torch==' constraints.txt)"]
    last = ci.strip().splitlines()[-1]
    assert last.removeprefix("exec ") == BLOCK.findall(check[0])[0][2].strip()
