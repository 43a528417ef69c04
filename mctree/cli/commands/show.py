"""`mctree show`: what is there to know about a node, or about the tree as a whole?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import click
import numpy as np

from mctree import Node, Snapshot
from mctree.cli.arguments import NumbersBelowZero, at_commit, in_json, reading, store_argument
from mctree.cli.contexts import draw_context
from mctree.cli.escaping import escape, one_line, visible
from mctree.cli.formatting import number, plural
from mctree.cli.imagery import as_region, draw_image, find_image, node_json, node_rows
from mctree.cli.nodes import beginning, byte_range, children, image_of
from mctree.cli.output import bold, dim, fields, json_line, line, name, prose
from mctree.cli.picture import draw_children, draw_tree
from mctree.cli.summary import summarise
from mctree.errors import NotFoundError, UsageError
from mctree.geometry import Address
from mctree.tree import GistView, Provenance
from mctree.tree.images.nodes import ImageNode

__all__ = ["command"]

_CHILDREN = 8


@click.command("show", cls=NumbersBelowZero)
@store_argument
@click.argument("address", required=False)
@click.option("--gist-set", metavar="NAME", help="Only this gist set.")
@click.option(
    "--chars", type=click.IntRange(min=0), default=1000, show_default=True, help="Characters of text to show at most."
)
@click.option("--sources", type=click.IntRange(min=1), default=10, show_default=True, help="Sources to list at most.")
@click.option("--png", metavar="FILE", help="Draw the image that ADDRESS names (its source, or # and its number).")
@click.option("--level", type=click.IntRange(min=0), metavar="K", help="Draw nodes of this level.")
@click.option("--region", metavar="X0,Y0,X1,Y1", help="Draw only this part, in pixels of the image.")
@click.option(
    "--budget",
    type=click.IntRange(min=1),
    metavar="N",
    help="Draw nodes of several sizes, as a working context of N holds them: fine in --region, or where colours vary.",
)
@click.option(
    "--size", type=click.IntRange(1, 8192), default=1024, show_default=True, help="Longer side of the drawing."
)
@at_commit
@in_json
def command(
    store: str,
    address: str | None,
    gist_set: str | None,
    chars: int,
    sources: int,
    png: str | None,
    level: int | None,
    region: str | None,
    budget: int | None,
    size: int,
    commit: int | None,
    as_json: bool,
) -> None:
    """Show a node with all there is to know about it, or the whole tree.

    ADDRESS is LEVEL:INDEX, such as 2:17: level 0 are tokens, level 1 blocks of 32 tokens, and each level above has 32
    children to a node.  Nodes of images are a1/LEVEL:INDEX; an image, by its source or by # and its number, is its
    topmost node.  With --png, ADDRESS is an image, which is drawn.
    """
    if png is not None:
        if gist_set is not None or as_json:
            raise UsageError(
                "--gist-set and --json say how to tell of a node in words, and --png draws: give one of them"
            )
        with reading(store, commit) as snapshot:
            drawn = _draw(snapshot, address, png, level, region, budget, size)
        prose(f"{one_line(png)}: {drawn}")
        return
    if level is not None or region is not None or budget is not None:
        raise UsageError("--level, --region and --budget say what to draw: give --png FILE, too")
    with reading(store, commit) as snapshot:
        if address is None:
            if as_json:
                json_line(summarise(snapshot).json())
            else:
                draw_tree(snapshot)
            return
        node = snapshot.node(_address(snapshot, address))
        if isinstance(node, ImageNode):
            if as_json:
                json_line(node_json(snapshot, node))
            else:
                fields(node_rows(snapshot, node))
            return
        views = [snapshot.gists(gist_set)] if gist_set is not None else snapshot.gist_sets()
        if as_json:
            json_line(_json(snapshot, node, views, chars, sources))
        else:
            _print(snapshot, node, views, chars, sources)


def _draw(
    snapshot: Snapshot,
    address: str | None,
    path: str,
    level: int | None,
    region: str | None,
    budget: int | None,
    longest: int,
) -> str:
    """Draw an image into a file; what was drawn, in words."""
    if address is None:
        raise UsageError("--png draws an image: say which, by its source, or by # and its number")
    image, part = find_image(snapshot, address), None if region is None else as_region(region)
    if budget is None:
        return draw_image(image, path, level=level, region=part, longest=longest)
    if level is not None:
        raise UsageError("--budget draws nodes of several levels, and --level those of one: give one of them")
    return draw_context(snapshot, image, path, budget=budget, region=part, longest=longest)


def _address(snapshot: Snapshot, text: str) -> Address:
    """An address, or that of the topmost node of an image that is named.

    Raises:
        UsageError: it is no address, and no image is called so.
    """
    try:
        return Address.parse(text)
    except UsageError:
        with suppress(NotFoundError):
            image = find_image(snapshot, text)
            return Address(image.space, image.root, image.first(image.root))
        if text.startswith("#"):
            raise UsageError(f"{one_line(text)} is no image; `mctree docs` lists what is") from None
        raise


def _print(snapshot: Snapshot, node: Node, views: Sequence[GistView], chars: int, sources: int) -> None:
    start, stop = node.span
    below = children(node, snapshot)
    parent, image = node.parent, image_of(snapshot, node)
    rows = [
        ("node", bold(str(node.address)) + dim(f" at commit {snapshot.commit}")),
        ("span", f"positions {byte_range(start, stop)} · {plural(node.tokens, 'token')}"),
        ("parent", name(str(parent.address)) if parent else dim("none yet: the node above is not complete")),
    ]
    if node.level == 0:
        text = "" if snapshot.tree.tokenizer is None else f" “{visible(beginning(snapshot, node, chars)[0])}”"
        rows.append(("token", f"{int(snapshot.tokens(start, stop)[0])}{text}"))
    elif image is not None:
        root = name(str(Address(image.space, image.root, image.first(image.root))))
        size = f"{number(image.width)} × {number(image.height)} pixels"
        source = f"{name(escape(image.document.source))} {dim(f'#{image.id}')}"
        rows.append(("image", f"{source} · {size} · opens as {root}"))
    elif node.level == 1:
        rows.append(("children", _token_range(node)))
    else:
        rows.append(("children", _range(below)))
    if image is None:
        rows += [("source" if i == 0 else "", text) for i, text in enumerate(_sources(node, sources))]
    rows += [("gist" if i == 0 else "", _gist(snapshot, node, view)) for i, view in enumerate(views)]
    rows += [
        ("link", f"{one_line(link.kind)} {_span(link.source)} → {_span(link.target)} · {link.score:.2f}")
        for link in snapshot.links(start, stop)[:sources]
    ]
    fields(rows)
    if chars and node.level:
        text, whole = beginning(snapshot, node, chars)
        line()
        for part in (visible(text.rstrip("\n")) + ("" if whole else dim(" …"))).split("\n"):
            prose(part)
    if below:
        line()
        draw_children(snapshot, node, _CHILDREN)


def _range(nodes: Sequence[Node]) -> str:
    first, last = name(str(nodes[0].address)), name(str(nodes[-1].address))
    gaps = nodes[-1].index - nodes[0].index + 1 - len(nodes)
    dead = f", {number(gaps)} between them dead" if gaps else ""
    return first if len(nodes) == 1 else f"{first} … {last} · {plural(len(nodes), 'node')}{dead}"


def _token_range(node: Node) -> str:
    start = node.span[0]
    return f"{name(f'0:{start}')} … {name(f'0:{start + node.tokens - 1}')} · {plural(node.tokens, 'token')}"


def _sources(node: Node, limit: int) -> list[str]:
    found = node.provenance(limit + 1)
    lines = [
        f"{name(escape(p.source))} {dim('bytes')} {byte_range(p.start, p.stop)} {dim(f'#{p.document}')}"
        for p in found[:limit]
    ]
    return lines + ([dim("… and more; --sources N shows them")] if len(found) > limit else [])


def _gist(snapshot: Snapshot, node: Node, view: GistView) -> str:
    said = f"{one_line(view.name)} · {one_line(view.record.kind)}, {view.dim} × {one_line(view.record.dtype)}"
    if view.name == snapshot.default_gists:
        said += " · default"
    norm, stale = _norm(node, view)
    if norm is None and node.level == 0:
        return said + dim(" · tokens have no gist")
    if norm is None:
        return said + dim(" · no gist yet" if _covers(node, view) else " · no gist")
    return f"{said} · norm {norm:.4g}" + (bold(" · stale") if stale else "")


def _covers(node: Node, view: GistView) -> bool:
    """Whether a set may come to have a gist of a node: not one of images of text, nor one of text of images alone."""
    made_of = view.record.modalities
    return "text" in made_of and ("image" in made_of or not view.absent(node.level, np.array([node.index]))[0])


def _norm(node: Node, view: GistView) -> tuple[float | None, bool]:
    """The norm of a node's gist, if it has one, and whether it is stale."""
    vector = node.gist(view.name)
    if vector is None:
        return None, False
    norm = float(np.linalg.norm(np.asarray(vector, np.float64)))
    return norm, bool(view.stale(node.level, np.array([node.index]))[0])


def _span(span: tuple[int, int, int]) -> str:
    space, start, stop = span
    return f"{f'a{space}/' if space else ''}{byte_range(start, stop)}"


def _json(snapshot: Snapshot, node: Node, views: Sequence[GistView], chars: int, sources: int) -> dict[str, object]:
    start, stop = node.span
    parent = node.parent
    text, whole = beginning(snapshot, node, chars)
    found = node.provenance(sources + 1)
    below = [str(child.address) for child in children(node, snapshot)]
    if node.level == 1:
        below = [f"0:{position}" for position in range(start, start + node.tokens)]
    return {
        "address": str(node.address),
        "level": node.level,
        "index": node.index,
        "commit": snapshot.commit,
        "span": [start, stop],
        "tokens": node.tokens,
        "parent": None if parent is None else str(parent.address),
        "children": below,
        "sources": [_provenance(p) for p in found[:sources]],
        "more_sources": len(found) > sources,
        "gists": [_gist_json(snapshot, node, view) for view in views],
        "links": [
            {"id": at.id, "kind": one_line(at.kind), "score": at.score, "from": list(at.source), "to": list(at.target)}
            for at in snapshot.links(start, stop)
        ],
        "text": text,
        "whole_text": whole,
    }


def _provenance(p: Provenance) -> dict[str, object]:
    return {"document": p.document, "source": escape(p.source), "start": p.start, "stop": p.stop}


def _gist_json(snapshot: Snapshot, node: Node, view: GistView) -> dict[str, object]:
    norm, stale = _norm(node, view)
    return {
        "set": one_line(view.name),
        "encoder": one_line(view.record.kind),
        "dim": view.dim,
        "dtype": one_line(view.record.dtype),
        "default": view.name == snapshot.default_gists,
        "norm": norm,
        "stale": stale,
    }
