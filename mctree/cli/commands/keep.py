"""`mctree keep`: how far back can one travel?"""

from __future__ import annotations

import click

import mctree
from mctree.cli.arguments import NumbersBelowZero, store_argument
from mctree.cli.formatting import plural
from mctree.cli.output import prose

__all__ = ["command"]


@click.command("keep", cls=NumbersBelowZero)
@store_argument
@click.argument("commits", type=click.IntRange(min=0, max=(1 << 32) - 1))
def command(store: str, commits: int) -> None:
    """Keep so many of the newest commits (0: all).

    It takes effect when old commits are next collected, which every 16th commit does: till then older ones still
    open.  Those that a process holds are kept as long as it does.  What the others alone needed leaves the disk.
    """
    with mctree.open(store) as tree:
        tree.keep(commits)
    if commits:
        prose(f"the newest {plural(commits, 'commit')} will be kept, from the next collection on (every 16th commit)")
    else:
        prose("all commits will be kept")
