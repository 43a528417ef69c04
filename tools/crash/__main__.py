"""The command: `python -m tools.crash [PART…] [--row PATTERN…] [--long] [--out FILE] [--page PAGE]`.

With `--out`, what a part finds is kept as soon as it is done, and a later run of the same command tries the rows that
are not kept yet.  With `--row`, some rows of one part are tried, and take the place of those that are kept.
Exit status: 0 if no promise was broken, 1 if one was, 2 if the call was wrong, 130 if it was interrupted.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from mctree.testing.stores import scratch
from tools.crash.parts import NAMES, Say, Scale, load
from tools.crash.report import Results, Run, to_table, write_into
from tools.crash.suite import measure

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run, write; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.row and len(options.part) != 1:
        parser.error("rows are those of one part: name it")
    scale: Scale = "long" if options.long else "quick"
    results = Results() if options.out is None else Results.read(options.out)
    commit = _commit({options.out, options.page} - {None})
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:8.1f} s  {line}", file=sys.stderr, flush=True)

    broken = 0
    if options.suite:
        suite = measure()
        say(f"{suite}")
        results.suite = suite, _now(commit)
        if options.out is not None:
            results.write(options.out)
        broken = suite.failed
    try:
        for name in () if options.suite else options.part or NAMES:
            part = load(name)
            say(f"{name}: {part.shows}")
            known = frozenset() if options.again or options.row else results.tried(scale, part)
            with scratch("mctree-crash-") if options.scratch is None else _below(options.scratch) as folder:
                wants = partial(_is_wanted, options.row, known)
                result = part.run(scale, Path(folder), partial(_of_part, say, name), wants)
            if options.row and not result.rows:
                parser.error(f"{name} has no row {' or '.join(map(repr, options.row))}")
            for failure in result.failures:
                say(f"{name}: BROKEN: {failure}")
            broken += len(result.failures)
            (results.add if options.again and not options.row else results.merge)(scale, part, result, _now(commit))
            if options.out is not None:
                results.write(options.out)
    except KeyboardInterrupt:
        say("interrupted; the parts that were done are kept" if options.out else "interrupted")
        return 130
    table = to_table(results)
    if options.page is None:
        print(table)
    else:
        write_into(options.page, table)
    say(f"done, {broken} failures")
    return int(broken > 0)


def _of_part(say: Say, name: str, line: str) -> None:
    say(f"{name}: {line}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.crash", description="Put the promises to the test.")
    parser.add_argument(
        "part", nargs="*", choices=[[], *NAMES], metavar="PART", help=f"of {', '.join(NAMES)}; all if none"
    )
    parser.add_argument(
        "--row", action="append", metavar="PATTERN", help="only rows of the part whose names fit, with * for anything"
    )
    parser.add_argument("--long", action="store_true", help="the long form: hours rather than minutes")
    parser.add_argument("--suite", action="store_true", help="no parts: measure what the tests take in the suite")
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep results here, and go on with what it lacks")
    parser.add_argument("--again", action="store_true", help="run all rows, although results are kept already")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table into this page, not to the output")
    parser.add_argument("--scratch", type=Path, metavar="FOLDER", help="where to make stores; in memory if it can be")
    return parser


def _below(folder: Path) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="mctree-crash-", dir=folder)


def _is_wanted(patterns: Sequence[str] | None, known: frozenset[str], what: str) -> bool:
    return what not in known and (not patterns or any(fnmatchcase(what, pattern) for pattern in patterns))


def _commit(but: set[Path]) -> str:
    """The commit of this project that is tried, with a `+` if files were changed since; empty if nobody can tell.

    Args:
        but: files that do not count: what this run writes.
    """
    root = Path(__file__).resolve().parents[2]
    others = [f":(exclude){path.resolve().relative_to(root)}" for path in but if path.resolve().is_relative_to(root)]
    try:
        found = _git(root, "rev-parse", "--short=7", "HEAD")
        return found + "+" * bool(_git(root, "status", "--porcelain", "--", ".", *others))
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(root), *words], check=True, capture_output=True, text=True).stdout.strip()


def _now(commit: str) -> Run:
    return Run(f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}", _machine(), commit)


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{cores} cores, {platform.system()} {platform.release().partition('-')[0]}, Python {platform.python_version()}"
    )


if __name__ == "__main__":
    sys.exit(main())
