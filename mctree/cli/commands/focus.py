"""`mctree focus`: what would a model be shown of all this, to answer that?"""

from __future__ import annotations

import click

from mctree import Snapshot
from mctree.cli.arguments import at_commit, in_json, reading, store_argument
from mctree.cli.escaping import escape, visible
from mctree.cli.formatting import folded, number, plural, share
from mctree.cli.nodes import byte_range
from mctree.cli.output import bold, dim, draw, json_line, line, name, prose, warn, width
from mctree.cli.strip import LEGEND, Stretch, level_counts, stretches, strip
from mctree.focus import Change, SimilarityLens, WorkingContext, converge

__all__ = ["command"]

_INDENT = 2


@click.command("focus")
@store_argument
@click.argument("query", nargs=-1, required=True)
@click.option(
    "--budget", type=click.IntRange(min=1), default=2048, show_default=True, help="Tokens and gists to show at most."
)
@click.option("--steps", is_flag=True, help="Show each step on the way.")
@click.option("--png", type=click.Path(dir_okay=False, writable=True), metavar="FILE", help="Draw it as an image too.")
@click.option(
    "--effort",
    type=click.IntRange(min=1),
    help="Gists and blocks to compare, about; by default 5 % of all, from 2,048 to 65,536.",
)
@click.option("--gist-set", metavar="NAME", help="The gist set to go by; the default one if none is named.")
@at_commit
@in_json
def command(
    store: str,
    query: tuple[str, ...],
    budget: int,
    steps: bool,
    png: str | None,
    effort: int | None,
    gist_set: str | None,
    commit: int | None,
    as_json: bool,
) -> None:
    """Show all there is within a budget: as text where QUERY is answered, and as gists elsewhere.

    First comes the whole timeline as a strip, the darker the more detail, and how much of each level there is; then
    the text, each stretch below its source, bytes [start..stop) and address.
    """
    with reading(store, commit) as snapshot:
        context = WorkingContext.smallest(snapshot, budget)
        lens = SimilarityLens(snapshot, " ".join(query), budget, gist_set=gist_set, effort=effort)
        if steps:
            _show_step(context, None, as_json)
        for change in converge(context, lens):
            if steps:
                _show_step(context, change, as_json)
        if png is not None:
            # Imported here: it needs an extra, and takes a while.
            from mctree.cli.drawing import draw_context  # noqa: PLC0415

            draw_context(context, " ".join(query), png)
        shown = stretches(snapshot, context)
        if as_json:
            json_line(_json(snapshot, context, lens, shown))
        else:
            _print(context, shown, strip_too=not steps)
            compared = f"{plural(lens.sought.compared, 'gist')} and {plural(lens.sought.read, 'block')}"
            warn(f"{compared} of {plural(snapshot.blocks, 'block')} compared; {plural(context.steps, 'step')}")


def _print(context: WorkingContext, shown: list[Stretch], *, strip_too: bool) -> None:
    if strip_too:
        draw(strip(context, width()))
    for part in folded(LEGEND, width()):
        draw(dim(part))
    used = share(context.cost, context.budget)
    entries = bold(plural(len(context), "entry", "entries"))
    levels = " · ".join(_level(*row) for row in level_counts(context))
    prose(f"{entries} cost {number(context.cost)} of {number(context.budget)} ({used}): {levels}", _INDENT)
    for stretch in shown:
        line()
        at = bold(stretch.first) if stretch.blocks else dim("unfinished")
        prose(f"{name(escape(stretch.source))} {byte_range(stretch.start, stretch.stop)} {at}", _INDENT)
        for part in visible(stretch.text.strip("\n")).split("\n"):
            prose(" " * _INDENT + part.rstrip(), 2 * _INDENT)


def _level(level: int, entries: int, cost: int) -> str:
    if level == 0:
        return f"{plural(cost, 'token')} in {plural(entries, 'block')}"
    return f"{number(entries)} × LOD{level}"


def _show_step(context: WorkingContext, change: Change | None, as_json: bool) -> None:
    """One line for a state on the way: the step's number and the cost, and the strip in what room is left."""
    if as_json:
        json_line(
            {
                "step": context.steps,
                "expanded": change.expanded if change else 0,
                "collapsed": change.collapsed if change else 0,
                "blocked": change.blocked.total if change else 0,
                "entries": len(context),
                "cost": context.cost,
            }
        )
        return
    label = f"{context.steps:>4} {context.cost:>6}  "
    draw(dim(label) + strip(context, max(width() - len(label), 8)))


def _json(snapshot: Snapshot, context: WorkingContext, lens: SimilarityLens, shown: list[Stretch]) -> dict[str, object]:
    entries = context.entries
    return {
        "commit": snapshot.commit,
        "budget": context.budget,
        "cost": context.cost,
        "compared": lens.sought.compared,
        "read": lens.sought.read,
        "tally": context.tally.json(),
        "entries": [
            {
                "address": str(entries.address(i)),
                "span": [int(entries.start[i]), int(entries.stop[i])],
                "cost": int(entries.cost[i]),
                "position": float(entries.position[i]),
                "sigma": float(entries.sigma[i]),
                "document": int(entries.document[i]) or None,
            }
            for i in range(len(entries))
        ],
        "text": [
            {
                "source": escape(stretch.source),
                "document": stretch.document,
                "start": stretch.start,
                "stop": stretch.stop,
                "address": stretch.first or None,
                "blocks": stretch.blocks,
                "text": stretch.text,
            }
            for stretch in shown
        ],
    }
