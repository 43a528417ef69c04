"""`mctree search`: where does it say something like this?"""

from __future__ import annotations

import click

from mctree import Node, Snapshot
from mctree.cli.arguments import at_commit, in_json, reading, store_argument
from mctree.cli.escaping import escape
from mctree.cli.formatting import plural, wrapped
from mctree.cli.nodes import beginning, byte_range
from mctree.cli.output import bold, json_line, line, name, prose, warn, width
from mctree.tree.search import Hit, search

__all__ = ["command"]

_CONTEXT = 4096
_INDENT = 10
_LINES = 3


@click.command("search")
@store_argument
@click.argument("query", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="Blocks to show at most.")
@click.option(
    "--beam",
    type=click.IntRange(min=1),
    help="Nodes to go on with at each level; by default, as many as a twentieth of all gists allows.",
)
@click.option("--flat", is_flag=True, help="Compare the gists of all blocks instead of descending.")
@click.option("--gist-set", metavar="NAME", help="The gist set to descend by; the default one if none is named.")
@at_commit
@in_json
def command(
    store: str,
    query: tuple[str, ...],
    top: int,
    beam: int | None,
    flat: bool,
    gist_set: str | None,
    commit: int | None,
    as_json: bool,
) -> None:
    """Find the blocks that answer QUERY best, by descending from the coarsest gists.

    Shows each block's score, address, source, bytes [start..stop) and text, and how many gists were compared and
    blocks read.
    """
    with reading(store, commit) as snapshot:
        found = search(snapshot, " ".join(query), gist_set=gist_set, top=top, beam=beam, flat=flat)
        for hit in found.hits:
            if as_json:
                json_line(_json(snapshot, hit))
            else:
                _print(snapshot, hit)
        if not as_json:
            compared = f"{plural(found.visited, 'gist')} of {plural(snapshot.blocks, 'block')} compared"
            compared += f", {plural(found.read, 'block')} read" if found.read else ""
            warn(compared if found.hits else f"nothing found; {compared}")


def _print(snapshot: Snapshot, hit: Hit) -> None:
    where = hit.node.provenance(1)[0]
    address = bold(f"{hit.node.address}")
    source = f"{name(escape(where.source))} {byte_range(where.start, where.stop)}"
    prose(f"{hit.score:8.4f}  {address}  {source}", _INDENT)
    for part in wrapped(_text(snapshot, hit.node), width() - _INDENT, _LINES):
        line(" " * _INDENT + part)


def _json(snapshot: Snapshot, hit: Hit) -> dict[str, object]:
    where = hit.node.provenance(1)[0]
    return {
        "score": hit.score,
        "node": str(hit.node.address),
        "document": where.document,
        "source": escape(where.source),
        "start": where.start,
        "stop": where.stop,
        "text": _text(snapshot, hit.node),
    }


def _text(snapshot: Snapshot, node: Node) -> str:
    return beginning(snapshot, node, _CONTEXT)[0]
