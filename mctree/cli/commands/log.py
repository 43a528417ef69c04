"""`mctree log`: which commits can be opened?"""

from __future__ import annotations

from collections.abc import Sequence

import click

import mctree
from mctree.cli.arguments import in_json, store_argument
from mctree.cli.formatting import number, plural, when
from mctree.cli.output import fields, fits, json_line, table
from mctree.format.commits import Commit

__all__ = ["command"]

_HEAD = ("commit", "documents", "tokens", "blocks", "dead", "time")


@click.command("log")
@store_argument
@click.option("-n", "--newest", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
@in_json
def command(store: str, newest: int | None, as_json: bool) -> None:
    """List the commits that can be opened, the newest first.

    What `--commit N` of the reading commands takes.
    """
    with mctree.open(store, writable=False) as tree:
        commits = tree.commits()[::-1][:newest]
    if as_json:
        for commit in commits:
            json_line(
                {
                    "commit": commit.number,
                    "parent": commit.parent or None,
                    "time": when(commit.time_ns, utc=True),
                    "documents": commit.documents,
                    "tokens": commit.tokens,
                    "blocks": commit.blocks,
                    "dead_blocks": commit.dead_blocks,
                }
            )
        return
    rows = _rows(commits)
    if fits(_HEAD, rows):
        table(_HEAD, rows, align=">>>>>")
    else:
        fields((str(commit.number), _words(commit)) for commit in commits)


def _rows(commits: Sequence[Commit]) -> list[list[str]]:
    rows = []
    for commit in commits:
        counts = (commit.documents, commit.tokens, commit.blocks, commit.dead_blocks)
        rows.append([str(commit.number), *map(number, counts), when(commit.time_ns)])
    return rows


def _words(commit: Commit) -> str:
    """A commit where a table has no room."""
    blocks = plural(commit.blocks, "block") + (f", {number(commit.dead_blocks)} dead" if commit.dead_blocks else "")
    counts = (plural(commit.documents, "document"), plural(commit.tokens, "token"), blocks)
    return " · ".join((when(commit.time_ns), *counts))
