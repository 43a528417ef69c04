"""`mctree compact`: how does the disk space of what was removed come back?"""

from __future__ import annotations

import click

import mctree
from mctree.cli.arguments import in_json, store_argument
from mctree.cli.formatting import plural, size
from mctree.cli.output import json_line, prose
from mctree.cli.progress import advancing
from mctree.cli.summary import disk_bytes

__all__ = ["command"]


@click.command("compact")
@store_argument
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@in_json
def command(store: str, quiet: bool, as_json: bool) -> None:
    """Rewrite a store without what was removed.

    Addresses of nodes change, and older commits are gone, but for what a process still has open.  An interrupted
    compaction leaves the store as it was.
    """
    with mctree.open(store) as tree:
        before = disk_bytes(tree.path)
        with tree.snapshot() as snapshot:
            dead = snapshot.record.dead_blocks
        with advancing("compacting", "blocks", quiet=quiet) as progress:
            tree.compact(progress=progress)
        with tree.snapshot() as snapshot:
            blocks, commit = snapshot.blocks, snapshot.commit
        epoch, after = tree.epoch, disk_bytes(tree.path)
    if as_json:
        json_line(
            {
                "epoch": epoch,
                "commit": commit,
                "blocks": blocks,
                "removed_blocks": dead,
                "disk_bytes_before": before,
                "disk_bytes": after,
            }
        )
        return
    prose(f"removed {plural(dead, 'dead block')}, {plural(blocks, 'block')} left: epoch {epoch}, commit {commit}")
    prose(f"on disk {size(before)} before, {size(after)} now")
