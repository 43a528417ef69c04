"""What the parts find is kept, goes on where it was interrupted, and becomes a table."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tools.crash import __main__ as command
from tools.crash.parts import Part, Result, Row, Say, Scale, Wants, everything
from tools.crash.report import BEGIN, END, Results, Run, to_table, write_into
from tools.crash.suite import Suite, measure

RUNS: list[tuple[str, Scale, str]] = []


def part(name: str, *rows: Row) -> Part:
    def run(scale: Scale, scratch: Path, say: Say, wants: Wants = everything) -> Result:
        assert list(scratch.iterdir()) == []
        say("begins")
        wanted = [row for row in rows if wants(row.what)]
        RUNS.extend((name, scale, row.what) for row in wanted)
        return Result(wanted)

    return Part(name, f"the promise of {name}", run)


def test_results_are_kept_and_shown(tmp_path: Path) -> None:
    results = Results()
    sweep = part("sweep", Row("a | b", 1000, [], 3.4), Row("only quick", 5, ["broke"], 1.0))
    results.add(
        "quick", sweep, sweep.run("quick", tmp_path, print, everything), Run("2026-01-02", "a machine", "0123abc")
    )
    again = part("sweep", Row("a | b", 20000, [], 7200.0, "a note"))
    results.add(
        "long", again, again.run("long", tmp_path, print, everything), Run("2026-01-03", "a machine", "abcdef0+")
    )
    results.suite = Suite(90, 1, 200.4, 301.7, 2), Run("2026-01-03", "a machine", "0123abc")
    results.write(tmp_path / "kept")
    assert Results.read(tmp_path / "kept") == results
    assert Results.read(tmp_path / "none").records == {}
    assert to_table(results).splitlines() == [
        "| | suite: points | failures | s | of | long form: points | failures | s | of |",
        "| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | --- |",
        "| **the promise of sweep** | | | | | | | | |",
        "| a \\| b | 1,000 | 0 | 3 | 0123abc | 20,000 | 0 | 7,200 | abcdef0+ |",
        "| only quick | 5 | **1** | 1 | 0123abc | – |  |  |  |",
        "| **all together** | 1,005 | **1** | 4 |  | 20,000 | 0 | 7,200 |  |",
        "",
        "Run on a machine, 2026-01-02 … 2026-01-03.",
        "",
        "`tests/promises` in the suite: 91 tests (**1** failed), 200 s on 2 cores, which were busy with them for 302 s "
        "altogether (of 0123abc, 2026-01-03).",
    ]


def test_a_row_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    results, new, old = Results(), Run("2026-01-03", "another", "2222222"), Run("2026-01-02", "a machine", "1111111")
    sweep = part("sweep", Row("one", 1, ["broke"]), Row("two", 2))
    results.merge("quick", sweep, Result([Row("two", 1)]), old)
    assert results.tried("quick", sweep) == {"two"}
    results.add("quick", sweep, sweep.run("quick", tmp_path, print, everything), old)
    results.merge("quick", sweep, Result([Row("one", 7), Row("three", 3)]), new)
    record = results.records["quick", "sweep"]
    assert [(kept.row.what, kept.row.points, kept.run) for kept in record.rows] == [
        ("one", 7, new),
        ("two", 2, old),
        ("three", 3, new),
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
    text, file, named = Path("docs/promises.md").read_text(), "", 0
    for found in re.finditer(r"`(tests/[\w/]+\.py|…)(?:::(\w+))?`", text):
        file = file if found[1] == "…" else found[1]
        assert Path(file).is_file(), f"{file} is named, and is not there"
        if found[2] is not None:
            named += 1
            assert f"def {found[2]}(" in Path(file).read_text(), f"{file}::{found[2]} is named, and is not there"
    assert named >= 15
    assert len(re.findall(r"::\w+", text)) == named, "a test is named in another way than `FILE::TEST` or `…::TEST`"


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
    assert RUNS == [("sweep", "long", "one"), ("kills", "long", "two")]
    assert re.search(r"\| one \| – \|  \|  \|  \| 7 \| 0 \| 0 \| [0-9a-f]{7}\+? \|", page.read_text())
    assert re.search(r"\| two \| – \|  \|  \|  \| 8 \| \*\*1\*\* \| 0 \|", page.read_text())
    said = capsys.readouterr()
    assert "kills: BROKEN: it broke" in said.err
    assert command.main(["sweep", "--long", "--again", "--out", str(out)]) == 0
    assert RUNS[2:] == [("sweep", "long", "one")]
    parts["sweep"] = part("sweep", Row("one", 7), Row("a new one", 9))
    assert command.main(["sweep", "--long", "--out", str(out)]) == 0
    assert RUNS[3:] == [("sweep", "long", "a new one")]
    assert "| one |" in capsys.readouterr().out


def test_a_single_row_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {"sweep": part("sweep", Row("one", 7), Row("two", 8, ["it broke"]))}
    monkeypatch.setattr(command, "NAMES", tuple(parts))
    monkeypatch.setattr(command, "load", parts.__getitem__)
    out, run = str(tmp_path / "kept"), ["sweep", "--long", "--out", str(tmp_path / "kept")]
    assert command.main([*run, "--row", "o*"]) == 0
    assert command.main(run) == 1, "what was tried in part is not done"
    parts["sweep"] = part("sweep", Row("one", 70), Row("two", 80))
    assert command.main([*run, "--row", "two"]) == 0
    rows = Results.read(Path(out)).records["long", "sweep"].rows
    assert [(kept.row.what, kept.row.points, len(kept.row.failures)) for kept in rows] == [
        ("one", 7, 0),
        ("two", 80, 0),
    ]
    for wrong, said in (([*run, "--row", "three"], "sweep has no row 'three'"), (["--row", "two"], "name it")):
        with pytest.raises(SystemExit, match="2"):
            command.main(wrong)
        assert said in capsys.readouterr().err


def test_a_commit_says_whether_files_were_changed_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    monkeypatch.setattr(command, "__file__", str(tmp_path / "tools" / "crash" / "__main__.py"))
    assert command._commit(set()) == ""
    git("init")
    (tmp_path / "code").write_text("one")
    git("add", "code")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "one")
    clean = command._commit(set())
    assert re.fullmatch("[0-9a-f]{7}", clean)
    (tmp_path / "results").write_text("what this run writes")
    assert command._commit({tmp_path / "results"}) == clean
    (tmp_path / "code").write_text("two")
    assert command._commit({tmp_path / "results"}) == f"{clean}+"


def test_what_tests_take_is_measured_with_what_outlives_them(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import subprocess\n"
        f"LATER = '(sleep 1; touch {tmp_path}/done) > /dev/null 2>&1 &'\n"
        "def test_good(): subprocess.Popen(LATER, shell=True).wait()\n"
        "def test_bad(): assert False\n"
    )
    found = measure(str(tmp_path), workers=0)
    assert (found.passed, found.failed) == (1, 1)
    assert found.processor > 0
    assert (tmp_path / "done").exists()


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["weather"])
    assert "invalid choice" in capsys.readouterr().err
