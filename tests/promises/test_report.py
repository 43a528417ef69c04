"""What the parts find is kept, goes on where it was interrupted, and becomes a table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.crash import __main__ as command
from tools.crash.parts import Part, Result, Row, Say, Scale
from tools.crash.report import BEGIN, END, Results, to_table, write_into

RUNS: list[tuple[str, Scale]] = []


def part(name: str, *rows: Row) -> Part:
    def run(scale: Scale, scratch: Path, say: Say) -> Result:
        assert list(scratch.iterdir()) == []
        say("begins")
        RUNS.append((name, scale))
        return Result(list(rows))

    return Part(name, f"the promise of {name}", run)


def test_results_are_kept_and_shown(tmp_path: Path) -> None:
    results = Results()
    sweep = part("sweep", Row("a | b", 1000, [], 3.4), Row("only quick", 5, ["broke"], 1.0))
    results.add("quick", sweep, sweep.run("quick", tmp_path, print), "2026-01-02", "a machine")
    again = part("sweep", Row("a | b", 20000, [], 7200.0, "a note"))
    results.add("long", again, again.run("long", tmp_path, print), "2026-01-03", "a machine")
    results.write(tmp_path / "kept")
    assert Results.read(tmp_path / "kept").records == results.records
    assert Results.read(tmp_path / "none").records == {}
    assert to_table(results).splitlines() == [
        "| | suite: points | failures | s | long form: points | failures | s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| **the promise of sweep** | | | | | | |",
        "| a \\| b | 1,000 | 0 | 3 | 20,000 | 0 | 7,200 |",
        "| only quick | 5 | **1** | 1 | – |  |  |",
        "| **all together** | 1,005 | **1** | 4 | 20,000 | 0 | 7,200 |",
        "",
        "Run on a machine, 2026-01-02 … 2026-01-03.",
    ]


def test_the_table_goes_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\n\nan older one\n\n{END}\n\nafter\n")
    write_into(page, "| a |\n")
    assert page.read_text() == f"before\n\n{BEGIN}\n\n| a |\n\n{END}\n\nafter\n"
    page.write_text("no place")
    with pytest.raises(ValueError, match="no place for the table"):
        write_into(page, "| a |\n")
    assert BEGIN in Path("docs/promises.md").read_text()


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", Path("docs/promises.md").read_text())
    assert len(named) >= 5
    for file, test in named:
        assert f"def {test}(" in Path(file).read_text(), f"{file}::{test}"


def test_a_run_goes_on_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {"sweep": part("sweep", Row("one", 7)), "kills": part("kills", Row("two", 8, ["it broke"]))}
    monkeypatch.setattr(command, "NAMES", tuple(parts))
    monkeypatch.setattr(command, "load", parts.__getitem__)
    RUNS.clear()
    out, page = tmp_path / "kept", tmp_path / "page"
    page.write_text(f"{BEGIN}\n{END}\n")
    assert command.main(["sweep", "--long", "--out", str(out)]) == 0
    assert command.main(["--long", "--out", str(out), "--page", str(page), "--scratch", str(tmp_path)]) == 1
    assert RUNS == [("sweep", "long"), ("kills", "long")]
    assert "| one | – |  |  | 7 | 0 | 0 |" in page.read_text()
    assert "| two | – |  |  | 8 | **1** | 0 |" in page.read_text()
    said = capsys.readouterr()
    assert "sweep: done before" in said.err
    assert "kills: BROKEN: it broke" in said.err
    assert command.main(["sweep", "--long", "--again", "--out", str(out)]) == 0
    assert RUNS[2:] == [("sweep", "long")]
    assert "| one |" in capsys.readouterr().out


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["weather"])
    assert "invalid choice" in capsys.readouterr().err
