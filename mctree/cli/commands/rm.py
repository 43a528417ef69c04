"""`mctree rm`: let documents be gone."""

from __future__ import annotations

import click

import mctree
from mctree.cli.arguments import find_document, in_json, store_argument
from mctree.cli.escaping import escape
from mctree.cli.formatting import number, plural
from mctree.cli.output import dim, json_line, line, name, prose

__all__ = ["command"]


@click.command("rm")
@store_argument
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@in_json
def command(store: str, sources: tuple[str, ...], as_json: bool) -> None:
    """Remove documents, all of them in one commit or none.

    SOURCE is a name as `mctree docs` shows it, or #ID.  Older commits still see them; `mctree compact` gives the disk
    space back.
    """
    with mctree.open(store) as tree:
        with tree.writer() as writer:
            # Looked up while the writer's lock is held: what is named is what is removed.
            with tree.snapshot() as snapshot:
                found = {document.id: document for document in (find_document(snapshot, name) for name in sources)}
                sizes = {number: (document.tokens, document.blocks) for number, document in found.items()}
            for document in found:
                writer.remove(document)
        with tree.snapshot() as snapshot:
            commit = snapshot.commit
    for document, (tokens, blocks) in sizes.items():
        source = escape(found[document].source)
        if as_json:
            json_line({"id": document, "source": source, "tokens": tokens, "blocks": blocks, "commit": commit})
        else:
            line(f"removed {name(source)}  {dim(f'#{document}, {number(tokens)} tokens')}")
    if not as_json:
        prose(dim(f"{plural(len(found), 'document')} removed in commit {commit}; older commits still have them"))
