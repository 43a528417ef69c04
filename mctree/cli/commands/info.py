"""`mctree info`: what does a store hold, in numbers?"""

from __future__ import annotations

import click

from mctree.cli.arguments import at_commit, in_json, reading, store_argument
from mctree.cli.output import json_line, line
from mctree.cli.picture import draw_levels, draw_numbers
from mctree.cli.summary import summarise

__all__ = ["command"]


@click.command("info")
@store_argument
@at_commit
@in_json
def command(store: str, commit: int | None, as_json: bool) -> None:
    """Say what a store holds, in numbers."""
    with reading(store, commit) as snapshot:
        summary = summarise(snapshot)
    if as_json:
        json_line(summary.json())
        return
    draw_numbers(summary)
    line()
    draw_levels(summary.levels)
