"""What does a tree look like?  Its numbers, its levels as a pyramid, and the way from its top down to text.

The numbers are those of `summary`; the pyramid has one bar per level, as long as its number of nodes has digits; the
way down starts at the nodes of the smallest cover and follows the first of them to a block.
"""

from __future__ import annotations

import math

from mctree import Node, Snapshot
from mctree.cli.escaping import escape
from mctree.cli.formatting import cells, clip, compact, excerpt, number, plural, share, size, when
from mctree.cli.nodes import beginning, children, ends, origin
from mctree.cli.output import bold, dim, draw, fields, line, name, width
from mctree.cli.summary import LevelCount, SetCount, Summary, summarise
from mctree.geometry import Address

__all__ = ["draw_children", "draw_levels", "draw_nodes", "draw_numbers", "draw_tree", "node_row"]

_ROOTS = 4
_SHOWN_CHILDREN = 3
_LONGEST_BAR = 32
_FANOUT_DIGITS = math.log(32)


def draw_tree(snapshot: Snapshot) -> None:
    """Print all of it."""
    summary = summarise(snapshot)
    draw_numbers(summary)
    line()
    draw_levels(summary.levels)
    if snapshot.blocks > summary.dead_blocks:
        line()
        draw_nodes(snapshot)


def draw_numbers(summary: Summary) -> None:
    """Print what a store holds."""
    documents = plural(summary.documents, "document")
    if summary.source_bytes is not None:
        documents += f" · {size(summary.source_bytes)}"
    blocks = plural(summary.blocks, "block")
    if summary.dead_blocks:
        blocks += f", {number(summary.dead_blocks)} of them dead ({share(summary.dead_blocks, summary.blocks)})"
    tokenizer = summary.tokenizer or "none"
    disk = size(summary.disk)
    if summary.source_bytes:
        disk += f" ({summary.disk / summary.source_bytes:.2f} × the sources)"
    rows = [
        ("store", bold(escape(summary.path.encode("utf-8", "surrogateescape")))),
        ("commit", f"{summary.commit} · {when(summary.time_ns)} · {_openable(summary)}"),
        ("documents", documents),
        ("tokens", f"{number(summary.tokens)} · {tokenizer} tokenizer, vocabulary of {number(summary.vocabulary)}"),
        ("blocks", blocks),
        ("on disk", disk),
        *_set_rows(summary.sets),
    ]
    fields(rows)


def draw_levels(levels: list[LevelCount]) -> None:
    """Print a bar for each level, the coarsest on top."""
    head = f"{'level':>5}  {'nodes':>13}  {'each spans':>10}"
    room = min(_LONGEST_BAR, width() - len(head) - 4)
    longest = max(math.log(max(at.nodes, 1)) for at in levels) + _FANOUT_DIGITS
    line(dim(head))
    for at in levels:
        # A bar of a level is longer than that of the level above by the same for each factor of 32.
        bar = 0 if not at.nodes else max(1, round(room * (math.log(at.nodes) + _FANOUT_DIGITS) / longest))
        bar += (room - bar) % 2
        spans = "1 token" if at.level == 0 else compact(at.width)
        bars = "█" * min(bar, room)
        draw(f"{at.level:>5}  {number(at.nodes):>13}  {spans:>10}  {' ' * ((room - len(bars)) // 2)}{bars}".rstrip())


def draw_nodes(snapshot: Snapshot) -> None:
    """Print the first nodes of the smallest cover, and the way from the first of them down to a block."""
    cover = snapshot.cover()
    shown = len(cover) if len(cover) <= _ROOTS else _ROOTS - 1
    at = [*range(shown - 1), len(cover) - 1] if shown < len(cover) else list(range(shown))
    skipped = len(cover) - len(at)
    for place, i in enumerate(at):
        if skipped and i == len(cover) - 1:
            draw(dim(f"… {plural(skipped, 'more node')} of the smallest cover"))
        node = snapshot.node(Address(0, int(cover.level[i]), int(cover.index[i])))
        draw(node_row(snapshot, node, ""))
        if place == 0:
            draw_children(snapshot, node, "", limit=_SHOWN_CHILDREN, deep=True)


def draw_children(snapshot: Snapshot, node: Node, indent: str, *, limit: int, deep: bool) -> None:
    """Print the first children of a node, and, if `deep`, those of the first child below it, and so on."""
    below = children(node, snapshot)
    shown = below if len(below) <= limit else below[: limit - 1]
    for i, child in enumerate(shown):
        last = i == len(below) - 1
        draw(node_row(snapshot, child, indent + ("└─ " if last else "├─ ")))
        if deep and i == 0:
            draw_children(snapshot, child, indent + ("   " if last else "│  "), limit=limit, deep=True)
    if len(shown) < len(below):
        draw(dim(f"{indent}└─ … {number(len(below) - len(shown))} more"))


def node_row(snapshot: Snapshot, node: Node, indent: str) -> str:
    """A node in one line: address, tokens, origin, and how its text begins."""
    address = str(node.address)
    left = f"{indent}{name(address)}"
    left += " " * (3 - (cells(indent) + cells(address)) % 3) + dim(f"{compact(node.tokens):>5}") + "  "
    used = cells(indent) + cells(address) + 3 - (cells(indent) + cells(address)) % 3 + 7
    room = width() - used
    source = clip(origin(ends(snapshot, node), min(max(room // 2, 16), 44)), room)
    rest = room - cells(source) - 4
    if rest < 8:
        return left + source
    text = excerpt(beginning(snapshot, node, 4 * rest)[0], rest)
    return f"{left}{source}  {dim('“')}{text}{dim('”')}"


def _openable(summary: Summary) -> str:
    if summary.commits <= 1:
        return "the only one that opens"
    return f"{number(summary.commits)} open, from {summary.oldest} on"


def _set_rows(sets: list[SetCount]) -> list[tuple[str, str]]:
    rows = []
    for of in sets:
        text = f"{of.name} · {of.kind}, {of.dim} × {of.dtype} · {plural(sum(of.nodes), 'gist')}"
        text += " · default" if of.default else ""
        text += f" · {number(of.stale)} stale" if of.stale else ""
        rows.append(("gist set", text))
    return rows or [("gist set", dim("none; `mctree gist build` makes one"))]
