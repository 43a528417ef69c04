"""The command: `python -m tools.bench`.

Exit status: 0 if everything that is installed was measured, 1 if a contender failed, 2 if the call was wrong, 130 if it
was interrupted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tools.bench.errors import CallError
from tools.bench.report import to_markdown
from tools.bench.results import to_json
from tools.bench.runs import NAMES, run
from tools.bench.sizes import FULL, QUICK

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run, write; returns the exit status."""
    options = _parser().parse_args(arguments)
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {line}", file=sys.stderr, flush=True)

    try:
        if options.scratch:
            options.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.scratch, ignore_cleanup_errors=True) as scratch:
            sizes = QUICK if options.quick else FULL
            report = run(sizes, Path(scratch), say, options.only, options.peer)
    except KeyboardInterrupt:
        say("interrupted; nothing was written")
        return 130
    except CallError as error:
        say(str(error))
        return 2
    page = to_markdown(report)
    if options.json:
        options.json.write_text(to_json(report), encoding="utf-8")
    if options.out:
        options.out.write_text(page, encoding="utf-8")
    else:
        print(page)
    for line in report.failed:
        say(f"failed: {line.contender}: {line.note}")
    say("done")
    return 1 if report.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench", description="Measure mctree beside the limit and beside its peers."
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that everything runs, not how fast")
    parser.add_argument(
        "--only", action="append", default=[], metavar="CASE", help=f"one of {', '.join(NAMES)}; repeatable"
    )
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME", help="part of a contender's name; repeatable"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the page here instead of printing it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON too")
    parser.add_argument(
        "--scratch",
        type=Path,
        metavar="FOLDER",
        help="where to put the data (about 10 GB; made if it is not there; a folder below it is deleted at the end)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
