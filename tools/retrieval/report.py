"""How are the results told?  The page `docs/retrieval.md`, tables and all."""

from __future__ import annotations

from collections.abc import Iterable

from tools.retrieval.study import INHERITED, RECALLS, Contender, Study

__all__ = ["page"]


def page(studies: list[Study]) -> str:
    """The whole page."""
    return "\n".join(_corpus(study) for study in studies)


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
