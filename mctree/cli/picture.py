"""What does a tree look like?  Its numbers, its levels as a pyramid, and the way from its top down to text.

The numbers are those of `summary`; the pyramid has one bar per level, as long as its number of nodes has digits; the
way down starts at the nodes of the smallest cover and follows the first of them to a block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mctree import Node, Snapshot
from mctree.cli.escaping import escape
from mctree.cli.formatting import cells, clip, compact, excerpt, number, plural, share, size, when
from mctree.cli.nodes import beginning, children, clip_front, ends, image_of, origin
from mctree.cli.output import bold, dim, draw, fields, line, name, width
from mctree.cli.summary import LevelCount, SetCount, Summary, summarise
from mctree.geometry import Address

__all__ = ["draw_children", "draw_levels", "draw_numbers", "draw_tree", "draw_way_down"]

_ROOTS = 4
_SHOWN_CHILDREN = 3
_LONGEST_BAR = 32
_WORTH_A_RATIO = 1_000_000
_WIDEST_ORIGIN = 44
_LEAST_EXCERPT = 8
_FANOUT_DIGITS = math.log(32)


def draw_tree(snapshot: Snapshot) -> None:
    """Print all of it."""
    summary = summarise(snapshot)
    draw_numbers(summary)
    line()
    draw_levels(summary.levels)
    if snapshot.blocks > summary.dead_blocks:
        line()
        draw_way_down(snapshot)


def draw_numbers(summary: Summary) -> None:
    """Print what a store holds."""
    documents = number(summary.documents)
    if summary.source_bytes is not None:
        documents += f" · {size(summary.source_bytes)}" + (" of text" if summary.images else "")
    blocks = number(summary.blocks)
    if summary.dead_blocks:
        blocks += f", {number(summary.dead_blocks)} of them dead ({share(summary.dead_blocks, summary.blocks)})"
    tokens = number(summary.tokens)
    if waiting := summary.tokens - summary.placed_tokens:
        tokens += f", {number(waiting)} of them in unfinished blocks"
    made = _tokenizer(summary.tokenizer) if summary.tokenizer_fault is None else "a damaged tokenizer"
    if summary.vocabulary is not None:
        made += f", vocabulary of {number(summary.vocabulary)}"
    disk = size(summary.disk)
    if summary.source_bytes is not None and summary.source_bytes >= _WORTH_A_RATIO and not summary.images:
        disk += f" ({summary.disk / summary.source_bytes:.2f} × the sources)"
    rows = [
        ("store", bold(escape(summary.path.encode("utf-8", "surrogateescape")))),
        ("commit", f"{summary.commit} · {when(summary.time_ns)} · {_openable(summary)}"),
        ("documents", documents),
        *([("images", f"{number(summary.images)} · {compact(summary.pixels)} pixels")] if summary.images else []),
        ("tokens", tokens),
        ("made by", made),
        *([("", bold(summary.tokenizer_fault))] if summary.tokenizer_fault is not None else []),
        ("blocks", blocks),
        ("on disk", disk),
        *_set_rows(summary.sets),
    ]
    fields(rows)


def draw_levels(levels: list[LevelCount]) -> None:
    """Print a bar for each level, the coarsest on top."""
    texts = _level_rows(levels, number)
    if len(texts[0]) > width():
        texts = _level_rows(levels, compact)
    room = min(_LONGEST_BAR, max(width() - len(texts[0]) - 4, 0))
    longest = max(math.log(max(at.nodes, 1)) for at in levels) + _FANOUT_DIGITS
    line(dim(texts[0]))
    for at, text in zip(levels, texts[1:], strict=True):
        # A bar of a level is longer than that of the level above by the same for each factor of 32.
        bar = 0 if not at.nodes else max(1, round(room * (math.log(at.nodes) + _FANOUT_DIGITS) / longest))
        bar += (room - bar) % 2
        bar = min(bar, room)
        draw(f"{text}  {' ' * ((room - bar) // 2)}{'█' * bar}".rstrip())


def draw_way_down(snapshot: Snapshot) -> None:
    """Print the first nodes of the smallest cover, and the way from the first of them down to a block."""
    cover = snapshot.cover()
    shown = list(range(len(cover))) if len(cover) <= _ROOTS else [*range(_ROOTS - 2), len(cover) - 1]
    skipped = len(cover) - len(shown)
    rows: list[_Row] = []
    for place, i in enumerate(shown):
        if skipped and place == len(shown) - 1:
            rows.append(_Row("", f"… {plural(skipped, 'more node')} of the smallest cover"))
        node = snapshot.node(Address(0, int(cover.level[i]), int(cover.index[i])))
        rows.append(_Row("", str(node.address), node))
        if place == 0:
            rows += _below(snapshot, node, "", _SHOWN_CHILDREN, deep=True)
    _draw(snapshot, rows)


def draw_children(snapshot: Snapshot, node: Node, limit: int) -> None:
    """Print the first children of a node."""
    _draw(snapshot, _below(snapshot, node, "", limit, deep=False))


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of a tree: a node, or a remark."""

    indent: str
    text: str
    node: Node | None = None


def _below(snapshot: Snapshot, node: Node, indent: str, limit: int, *, deep: bool) -> list[_Row]:
    """The first children of a node, and, if `deep`, those of the first of them, and so on down."""
    below = children(node, snapshot)
    shown = below if len(below) <= limit else below[: limit - 1]
    rows = []
    for i, child in enumerate(shown):
        last = i == len(below) - 1
        rows.append(_Row(indent + ("└─ " if last else "├─ "), str(child.address), child))
        if deep and i == 0:
            rows += _below(snapshot, child, indent + ("   " if last else "│  "), limit, deep=True)
    if len(shown) < len(below):
        rows.append(_Row(indent + "└─ ", f"… {number(len(below) - len(shown))} more"))
    return rows


def _draw(snapshot: Snapshot, rows: Sequence[_Row]) -> None:
    """Print nodes in columns: address, tokens, origin, and how the text begins."""
    addresses = max(cells(row.indent + row.text) for row in rows if row.node is not None)
    tokens = {i: compact(row.node.tokens) for i, row in enumerate(rows) if row.node is not None}
    counts = max(map(len, tokens.values()))
    room = width() - addresses - counts - 4
    widest = min(max(room // 2, 16), _WIDEST_ORIGIN)
    origins = {i: _origin(snapshot, row.node, widest) for i, row in enumerate(rows) if row.node is not None}
    column = min(max(map(cells, origins.values())), room)
    for i, row in enumerate(rows):
        if row.node is None:
            draw(dim(clip(row.indent + row.text, width())))
            continue
        left = dim(row.indent) + name(row.text) + " " * (addresses - cells(row.indent + row.text))
        where = clip(origins[i], room)
        drawn = f"{left}  {tokens[i]:>{counts}}  {where}"
        rest = room - column - 4
        if rest >= _LEAST_EXCERPT and image_of(snapshot, row.node) is None:
            text = excerpt(beginning(snapshot, row.node, 4 * rest)[0], rest)
            drawn += " " * (column - cells(where)) + f"  {dim('“')}{text}{dim('”')}"
        draw(drawn)


def _origin(snapshot: Snapshot, node: Node, room: int) -> str:
    """Where a node comes from, in so many cells."""
    image = image_of(snapshot, node)
    if image is None:
        return origin(ends(snapshot, node), room)
    said = f"{image.width} × {image.height} px"
    return f"{clip_front(escape(image.document.source), max(room - len(said) - 1, 8))} {said}"


def _level_rows(levels: list[LevelCount], written: Callable[[int], str]) -> list[str]:
    """A head and a line for each level, in columns."""
    rows = [["level", "nodes", "each spans"]]
    rows += [[str(at.level), written(at.nodes), written(at.width)] for at in levels]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{text:>{wide}}" for text, wide in zip(row, widths, strict=True)) for row in rows]


def _tokenizer(kind: str | None) -> str:
    """What a tokenizer is called."""
    if kind is None:
        return "no tokenizer: given as tokens"
    names = {"hf": "a tokenizer in Hugging Face's format", "bytes": "bytes as tokens"}
    return names.get(kind, f"a tokenizer of the kind {kind}")


def _openable(summary: Summary) -> str:
    if summary.commits <= 1:
        return "the only one that opens"
    return f"{number(summary.commits)} open, from {summary.oldest} on"


def _set_rows(sets: list[SetCount]) -> list[tuple[str, str]]:
    rows = []
    for of in sets:
        encoder = "" if of.kind == of.name else f"{of.kind}, "
        parts = [of.name, f"{encoder}{of.dim} × {of.dtype}", plural(of.gists, "gist")]
        parts += ["default set"] if of.default else []
        parts += [f"{number(of.stale)} stale"] if of.stale else []
        rows.append(("gist set", " · ".join(parts)))
    return rows or [("gist set", dim("none; `mctree gist build` makes one"))]
