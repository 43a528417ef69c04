"""How are the results told?  The page `docs/retrieval.md`, tables and all."""

from __future__ import annotations

from collections.abc import Iterable

from tools.retrieval.study import BM25, DEFAULT, INHERITED, RECALLS, SHARES, Contender, Study

__all__ = ["page"]

_INTRODUCTION = """\
# How well can the tree be descended?

Written by `python -m tools.retrieval`; do not edit.

A search that goes down the tree is only as good as its gists: if the right block's ancestor is not among the nodes
that a level keeps, the block is not found, however well its own gist would have answered. So before the encoder
protocol and the default encoder were settled, this was measured on real text:

- **Questions** are first sentences of Python docstrings, which are cut out of the text before it is stored. The right
  block is the one where the docstring stood. A sentence counts as a question if it has at least five words, does not
  name its module, and opens no other docstring. That is hard on purpose: nothing but the code around it is left.
- **The right file** is found if any of its blocks is. An answer from the same file, a few lines off, serves a reader
  nearly as well, so both figures are given, the right block's in brackets.
- **Among the best k** means that at most k nodes of the whole level, which are scanned, score as well or better.
- The tokenizer and the encoder are made of the corpus as `mctree ingest` makes them, from samples of the sizes given
  below; "fitted elsewhere" has seen none of the files that a question is asked of.
- **BM25** scores a node by the same terms with their exact counts in its whole span: an inverted index's answer, which
  no vector of fixed length can be expected to reach. It bounds what these questions allow.
"""


def page(studies: list[Study]) -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *_summary(studies), *(_corpus(study) for study in studies)])


def _summary(studies: Iterable[Study]) -> list[str]:
    """How often the default encoder has the right ancestor among the best few of each level."""
    chosen = [k for k in RECALLS if k in (8, 24, 64, 256)]
    rows = []
    for study in studies:
        for level, count in study.nodes.items():
            for one in study.contenders:
                if one.name in (BM25, DEFAULT):
                    cells = (
                        _both(one.file[level][RECALLS.index(k)], one.block[level][RECALLS.index(k)])
                        if k < count
                        else "–"
                        for k in chosen
                    )
                    rows.append([study.name, f"LOD{level}, {count:,}", one.name, *cells])
    return [
        "## The right ancestor among the best k of its level",
        "",
        *_table(["corpus", "level, nodes", "", *(f"k = {k}" for k in chosen)], rows),
        "",
        "What that means for a search: a hit is the right file among the best 64 blocks.",
        "",
        *(_arrivals(study) for study in studies),
        "",
        "## In full",
        "",
    ]


def _arrivals(study: Study) -> str:
    """How often a descent with the default encoder arrives, beside the comparison of all blocks."""
    one = next(one for one in study.contenders if one.name == DEFAULT)
    top = max(level for level, _, inherited in one.descents if inherited == 0)
    paths = [(share, one.descents[top, share, 0.0].file) for share in SHARES if (top, share, 0.0) in one.descents]
    flat = one.descents[1, 1.0, 0.0].file
    descents = ", ".join(f"{found:.0%} visiting {share:.0%} of the gists" for share, found in paths)
    compared = f"comparing all blocks hits for {flat:.0%} of the questions"
    return f"- {study.name}: {compared}, a descent from LOD{top} for {descents}."


def _corpus(study: Study) -> str:
    counts = ", ".join(f"{count:,} at LOD{level}" for level, count in study.nodes.items())
    parts = [
        f"### {study.name}",
        "",
        f"{study.documents:,} files, {study.megabytes:.0f} MB without docstrings, {study.questions} questions; "
        f"{counts}; {study.bytes_per_block:.0f} bytes of text to a block. Fitted on {study.sample_megabytes:.1f} MB; "
        f"elsewhere: on {study.elsewhere_megabytes:.1f} MB of files that no question is asked of.",
        "",
    ]
    for level in study.nodes:
        wanted = [k for k in RECALLS if k < study.nodes[level]]
        parts += [
            f"LOD{level}: the right file's (in brackets: the right block's) node among the best k",
            "",
            *_table(
                ["", *(f"k = {k}" for k in wanted)],
                (
                    [one.name, *(_both(one.file[level][i], one.block[level][i]) for i, _ in enumerate(wanted))]
                    for one in study.contenders
                ),
            ),
            "",
        ]
    for inherited in INHERITED:
        paths = sorted({key[:2] for one in study.contenders for key in one.descents if key[2] == inherited})
        parts += [
            "Right file (block) among the best 64 blocks, "
            + (f"a node inheriting {inherited:g} of its parent's score" if inherited else "each node by itself"),
            "",
            *_table(
                ["", *(f"LOD{level} first, ≤ {share:.0%}" if level > 1 else "all blocks" for level, share in paths)],
                ([one.name, *(_found(one, (*path, inherited)) for path in paths)] for one in study.contenders),
            ),
            "",
        ]
    return "\n".join(parts)


def _found(one: Contender, key: tuple[int, float, float]) -> str:
    found = one.descents.get(key)
    return _both(found.file, found.block) if found else "–"


def _both(file: float, block: float) -> str:
    return f"{file:.2f} ({block:.2f})"


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]]
