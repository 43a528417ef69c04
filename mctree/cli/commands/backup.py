"""`mctree backup`: how does a store get a copy that can be trusted, without anybody having to stop?"""

from __future__ import annotations

import time

import click

import mctree
from mctree.cli.arguments import in_json, store_argument
from mctree.cli.escaping import one_line
from mctree.cli.formatting import duration, plural, size
from mctree.cli.output import json_line, prose
from mctree.cli.progress import advancing
from mctree.cli.summary import disk_bytes

__all__ = ["command"]


@click.command("backup")
@store_argument
@click.argument("copy", type=click.Path())
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@in_json
def command(store: str, copy: str, quiet: bool, as_json: bool) -> None:
    """Copy a store, whole and verified, also while somebody writes to it.

    The copy is as of one commit: the newest at the start.  It gets its name once everything in it was compared with its
    checksums; if something is damaged there is no copy.  Nothing may stand where it is to be.
    """
    began = time.monotonic()
    with mctree.open(store) as tree, advancing("copying", "bytes", quiet=quiet) as progress:
        commit = tree.backup(copy, progress=progress)
    with mctree.open(copy, writable=False) as tree, tree.snapshot() as snapshot:
        documents, blocks, path = snapshot.documents_count, snapshot.blocks, tree.path
    used = disk_bytes(path)
    if as_json:
        json_line({"path": path, "commit": commit, "documents": documents, "blocks": blocks, "disk_bytes": used})
        return
    held = f"commit {commit}, {plural(documents, 'document')}, {plural(blocks, 'block')}"
    prose(f"{one_line(path)}: {held}, {size(used)} on disk")
    prose(f"copied and verified in {duration(time.monotonic() - began)}")
