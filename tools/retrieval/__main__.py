"""Measure how well trees of gists can be searched, and write the page about it.

    python -m tools.retrieval "standard library=/usr/lib/python3.11,!test" "large=/usr/lib:100,/usr/share/man:20" \\
        --out docs/retrieval.md

A corpus is a name and folders; `:100` takes at most 100 MB from a folder, `!test` leaves out folders named so.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.retrieval.corpus import corpus_at, questions
from tools.retrieval.report import page
from tools.retrieval.study import study


def main(arguments: list[str] | None = None) -> None:
    """Run the studies that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tools.retrieval", description=__doc__.split("\n")[0])
    parser.add_argument("corpus", nargs="+", help="NAME=FOLDER[:MEGABYTES],…,!LEFT_OUT,…")
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--dims", type=int, nargs="*", default=[256, 384, 768], help="besides the default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="where to write the page; by default it is printed")
    options = parser.parse_args(arguments)
    studies = []
    for described in options.corpus:
        name, _, places = described.partition("=")
        corpus = corpus_at(places)
        asked = questions(corpus, options.questions, options.seed)
        studies.append(study(name, corpus, asked, options.dims, options.threads))
    text = page(studies)
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
