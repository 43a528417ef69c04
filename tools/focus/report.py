"""How are the results told?  The page `docs/focus.md`, tables and all."""

from __future__ import annotations

from collections.abc import Iterable

from tools.focus.study import Line, Study
from tools.focus.ways import BY_TERMS, FOCUS

__all__ = ["page"]

_INTRODUCTION = """\
# How often does a working context show what a question asks for?

Written by `python -m tools.focus`; do not edit.

`mctree focus` starts from the coarsest view of a store and opens it where a question is answered. Everything is
still in view, most of it as gists, and all of it together must fit a budget. What is the price of that, beside a search
engine which looks at every block and owes nobody a view of the rest?

- **Questions** are first sentences of Python docstrings, which are cut out of the text before it is stored
  (`tools/retrieval`): at least five words, not naming the module, opening no other docstring. Settings were chosen by
  the questions of seed 5, at most two of each file, and no question counted in the tables is one of them. So these are
  asked of files that have three docstrings and more, which are longer, and easier to hit for everybody. What the
  questions of seed 5 give is told as well.
- **The right file** is found if one of its blocks is at LOD0, **the right block** if the one where the docstring stood
  is.
- **The budget** is the cost of all entries of the working context: 1 for a gist, its tokens (up to 32) for a block. To
  have one block at LOD0, everything above it is opened, and each step of that adds up to 31 gists. What has no working
  context (BM25, search) shows as many tokens of text, and nothing else.
- **BM25** is [bm25s](https://github.com/xhluca/bm25s) over all blocks, by the terms that gists are made of (words
  without endings, identifiers taken apart), which suits it better here than whole words do. It holds an inverted index
  of all text.
- **Compared** are gists, **read** are blocks whose tokens were looked at; both as shares of the number of all gists.
"""

_METHOD = """\
## How focus gets there

1. **Down by gists.** From the coarsest level on, the best nodes of each level are opened. How many follows from the
   effort, a twentieth of all gists, but at least 2,048 and at most 65,536; coarse levels are compared whole where that
   leaves something. From LOD2 up the question is turned away from what is in every span
   (`mctree/encoders/crosstalk.py`).
2. **Many documents before much of one.** At LOD2, two regions of a document are taken before any more of it.
3. **Read what was reached.** The blocks below are scored by the terms that they hold, not by gists: 32 blocks have
   2 KiB of tokens, and 32 KiB of gists. `mctree search` does this too.
4. **Choose as a whole.** Blocks are taken one by one, always that which is worth most for what it adds to the cost of
   the cut; a document's worth falls with its rank, and with each of its blocks that was taken.
5. **Arrive.** A lens wants what leads to the chosen blocks, and the allocator takes its steps until nothing changes.
"""

_TRIED = (
    (
        "each term compared by itself, as a deviation from the level's mean, small ones cut off (15 ways)",
        "one dot product",
        "0.71 (48)",
        "0.71 (48)",
    ),
    ("a node at LOD2 inheriting 0.3, 0.6, 1 of its parent's score", "none", "0.70, 0.66, 0.62 (48)", "0.71 (48)"),
    ("0.2, 0.4 of its neighbours' scores added", "none", "0.68, 0.62 (48)", "0.71 (48)"),
    ("rarity to the power of 1.5, 2 in questions", "1", "0.70, 0.68 (48)", "0.71 (48)"),
    ("LOD2 gists centred, or centred and given norm 1 anew", "as they are", "0.71, 0.72 (48)", "0.71, 0.73 (48)"),
    ("questions whitened by the gists that are compared (14 ways)", "by frozen statistics", "0.76 (54)", "0.78 (54)"),
    ("blocks read with their neighbours, or weighed with the rest of their region", "by themselves", "0.72", "0.73"),
    ("BM25's k1 from 0.3 to 2 and b from 0 to 1 for blocks read", "1.2 and 0", "0.73 … 0.74", "0.74"),
    ("worth by scores, to the power of 1 … 8", "by rank", "0.73 … 0.74", "0.74"),
    ("another block of a document worth 0.2, 0.3, 0.5 of the one before", "0.1", "0.74, 0.73, 0.72", "0.74"),
    ("English stop words taken off questions", "none", "0.75", "0.75"),
    ("one region of a document before any more of it", "two", "0.75", "0.75"),
)

_ABOUT_TRIED = """\
## What was tried and did not help

On the standard library, by the 400 questions of seed 5, in a simulation of the steps before they were built. With a
number in brackets: how often one of so many best nodes of LOD2 holds text of the right file; without: how often the
right file is at LOD0. Differences up to 0.01 are noise. These figures are kept as they were found; the tool does not
make them anew.
"""

_HELPED = """\
What did help, by the same questions: turning questions away from what is in every span (0.02), two regions of a
document before any more of it (0.02), and showing one or two blocks of each document instead of the best ones. Whether
the blocks that were reached are then scored by their tokens or by their gists makes little difference to the right
file; but their tokens are a sixteenth of the bytes.
"""


def page(studies: list[Study]) -> str:
    """The whole page."""
    tried = _rows(["tried", "instead of", "it gave", "instead of"], _TRIED)
    parts = [_INTRODUCTION, *_summary(studies), _METHOD, *map(_corpus, studies), _ABOUT_TRIED, *tried, "", _HELPED]
    return "\n".join(parts)


def _summary(studies: Iterable[Study]) -> list[str]:
    lines = ["## In short", ""]
    for study in studies:
        bm25, focus = _line(study.ways, BY_TERMS), _line(study.ways, FOCUS)
        lines.append(
            f"- {study.name}: with a budget of {study.budget:,}, the right file is at LOD0 for {focus.file:.1%} of "
            f"{study.questions} questions, and among what BM25 finds for {bm25.file:.1%}: {_share(focus, bm25)} of it. "
            f"Focus compares {focus.compared:.1%} of the gists, and reads blocks as many as {focus.read:.1%} of them. "
            f"The price of showing many files a little is the right block: {focus.block:.1%}, against {bm25.block:.1%}."
        )
    return [*lines, ""]


def _corpus(study: Study) -> str:
    nodes = ", ".join(f"{count:,} at LOD{level}" for level, count in study.nodes.items())
    bm25, focus = _line(study.tuned, BY_TERMS), _line(study.tuned, FOCUS)
    parts = [
        f"## {study.name}",
        "",
        f"{study.documents:,} files, {study.megabytes:.1f} MB without docstrings; gists: {nodes}; {study.cover} nodes "
        f"cover it all. {study.questions} questions; {study.left_out} more were left out: seed 5 draws them too.",
        "",
        f"With a budget of {study.budget:,}:",
        "",
        *_table(study.ways),
        "",
        "Focus with another effort, or with a part of it left out:",
        "",
        *_table(study.variations),
        "",
        "With other budgets, the right file (the right block):",
        "",
        *_rows(["budget", "BM25", "focus", "focus / BM25", "blocks at LOD0"], map(_budget, study.budgets.items())),
        "",
        f"By the first questions of seed 5, which settings were chosen by: BM25 {_hits(bm25)}, focus {_hits(focus)}, "
        f"{_share(focus, bm25)} of it.",
        "",
    ]
    return "\n".join(parts)


def _budget(item: tuple[int, list[Line]]) -> list[str]:
    size, lines = item
    bm25, focus = _line(lines, BY_TERMS), _line(lines, FOCUS)
    return [f"{size:,}", _hits(bm25), _hits(focus), _share(focus, bm25), f"{focus.blocks:.0f}"]


def _table(lines: Iterable[Line]) -> list[str]:
    head = ["", "right file", "right block", "blocks at LOD0", "of files", "cost", "compared", "read"]
    return _rows(
        head,
        (
            [
                line.name,
                f"{line.file:.3f}",
                f"{line.block:.3f}",
                f"{line.blocks:.1f}",
                f"{line.documents:.1f}",
                f"{line.cost:,.0f}",
                f"{line.compared:.1%}" if line.compared else "–",
                f"{line.read:.1%}" if line.read else "–",
            ]
            for line in lines
        ),
    )


def _rows(head: list[str], rows: Iterable[Iterable[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]]


def _line(lines: Iterable[Line], name: str) -> Line:
    return next(line for line in lines if line.name == name)


def _hits(line: Line) -> str:
    return f"{line.file:.3f} ({line.block:.3f})"


def _share(focus: Line, bm25: Line) -> str:
    return f"{focus.file / bm25.file:.2f}" if bm25.file else "–"
