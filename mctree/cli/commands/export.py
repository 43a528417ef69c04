"""`mctree export`: how do other tools get to see an image?"""

from __future__ import annotations

import os

import click

from mctree.cli.arguments import at_commit, in_json, reading, store_argument
from mctree.cli.escaping import one_line
from mctree.cli.formatting import number, plural, size
from mctree.cli.imagery import find_image
from mctree.cli.output import json_line, prose
from mctree.cli.progress import advancing
from mctree.cli.summary import disk_bytes

__all__ = ["command"]


@click.command("export")
@store_argument
@click.argument("image")
@click.argument("folder", type=click.Path())
@at_commit
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@in_json
def command(store: str, image: str, folder: str, commit: int | None, quiet: bool, as_json: bool) -> None:
    """Write the colours of an image as an OME-NGFF 0.5 image, which napari and other tools show.

    IMAGE is a name as `mctree docs` shows it, or #ID.  The finest samples are mean colours of patches of 16 x 16
    pixels, or, of an image that would have more than a million chunks of them, of larger squares; every level is half
    as large as the one before.  FOLDER gets its name once it is whole; nothing may stand there.
    """
    with reading(store, commit) as snapshot:
        found = find_image(snapshot, image)
        with advancing("exporting", "chunks", quiet=quiet) as progress:
            factors = found.export(folder, progress=progress)
        path = os.path.abspath(folder)
        samples = -(-found.width // factors[0]), -(-found.height // factors[0])
        if as_json:
            json_line({"path": one_line(path), "commit": snapshot.commit, "pixels_a_side": factors})
            return
        finest = f"the finest {number(samples[0])} × {number(samples[1])} samples"
        prose(
            f"{one_line(path)}: {plural(len(factors), 'level')}, {finest}, one for {factors[0]} × {factors[0]} pixels; "
            f"{size(disk_bytes(path))} on disk"
        )
