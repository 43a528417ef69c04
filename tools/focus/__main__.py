"""Measure how often a working context shows what a question asks for, and write the page about it.

    python -m tools.focus --out docs/focus.md
    python -m tools.focus "standard library=/usr/lib/python3.11,!test" "packages=/usr/lib/python3/dist-packages:40"

A corpus is a name and folders, as `tools.retrieval` takes them; by default it is the standard library of the Python
that runs this.  Settings were chosen by the questions of seed 5, which are left out of those of any other seed.
"""

from __future__ import annotations

import argparse
import sysconfig
from pathlib import Path

from tools.focus.report import page
from tools.focus.study import study
from tools.retrieval.corpus import corpus_at

_TUNED = 5


def main(arguments: list[str] | None = None) -> None:
    """Run the studies that the command line asks for."""
    standard = f"Python's standard library={sysconfig.get_paths()['stdlib']},!test,!site-packages"
    parser = argparse.ArgumentParser(prog="python -m tools.focus", description=__doc__.split("\n")[0])
    parser.add_argument("corpus", nargs="*", default=[standard], help="NAME=FOLDER[:MEGABYTES],…,!LEFT_OUT,…")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=23)
    parser.add_argument("--budget", type=int, default=2048)
    parser.add_argument("--out", type=Path, help="where to write the page; by default it is printed")
    options = parser.parse_args(arguments)
    if options.seed == _TUNED:
        parser.error(f"the settings were chosen by the questions of seed {_TUNED}: take another one")
    studies = []
    for described in options.corpus:
        name, _, places = described.partition("=")
        corpus = corpus_at(places)
        studies.append(study(name, corpus, options.questions, options.seed, _TUNED, options.budget))
    text = page(studies)
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
