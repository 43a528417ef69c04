"""`mctree keep`: how far back can one travel?"""

from __future__ import annotations

import click

import mctree
from mctree.cli.arguments import store_argument
from mctree.cli.formatting import plural
from mctree.cli.output import line

__all__ = ["command"]


@click.command("keep")
@store_argument
@click.argument("commits", type=click.IntRange(min=0, max=(1 << 32) - 1))
def command(store: str, commits: int) -> None:
    """Keep so many of the newest commits (0: all).

    Older ones stop opening as new ones are made, unless a process holds them; what they alone needed leaves the disk.
    """
    with mctree.open(store) as tree:
        tree.keep(commits)
    line(f"the newest {plural(commits, 'commit')} will be kept" if commits else "all commits will be kept")
