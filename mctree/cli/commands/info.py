"""`mctree info`: what does a store hold, in numbers?"""

from __future__ import annotations

import click

from mctree.cli.arguments import at_commit, in_json, reading, store_argument
from mctree.cli.failures import FAILED
from mctree.cli.output import json_line, line
from mctree.cli.picture import draw_levels, draw_numbers
from mctree.cli.summary import summarise

__all__ = ["command"]


@click.command("info")
@store_argument
@at_commit
@in_json
@click.pass_context
def command(ctx: click.Context, store: str, commit: int | None, as_json: bool) -> None:
    """Say what a store holds, in numbers.

    Where its tokenizer is damaged, so that there is no text, all else is shown, and the exit code is 1.
    """
    with reading(store, commit) as snapshot:
        summary = summarise(snapshot)
    if as_json:
        json_line(summary.json())
    else:
        draw_numbers(summary)
        line()
        draw_levels(summary.levels)
    if summary.tokenizer_fault is not None:
        ctx.exit(FAILED)
