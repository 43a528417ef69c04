"""`mctree verify`: is everything still as it was committed?"""

from __future__ import annotations

import time

import click

import mctree
from mctree.cli.arguments import in_json, store_argument
from mctree.cli.escaping import escape, one_line
from mctree.cli.failures import FAILED
from mctree.cli.formatting import duration, plural
from mctree.cli.nodes import byte_range
from mctree.cli.output import bold, dim, json_line, line, name
from mctree.cli.progress import advancing
from mctree.errors import CorruptError
from mctree.tree.check import Problem

__all__ = ["command"]


@click.command("verify")
@store_argument
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@in_json
@click.pass_context
def command(ctx: click.Context, store: str, quiet: bool, as_json: bool) -> None:
    """Check everything that is on disk against what was committed.

    Prints what is wrong, with the node, the document and the bytes of its source that are hit, and exits with 1 if
    anything is.  It changes nothing.  With --json, one problem a line: no line, and 0, mean that all is well.
    """
    began = time.monotonic()
    try:
        with mctree.open(store, writable=False, trusted=False) as tree:
            with tree.snapshot() as snapshot:
                commit, documents, blocks = snapshot.commit, snapshot.documents_count, snapshot.blocks
            with advancing("verifying", "blocks", quiet=quiet) as progress:
                found = list(tree.verify(progress=progress))
    except CorruptError as error:
        if as_json:  # a store that does not open is not one of which nothing is to be said
            json_line(_json(Problem(where=store, what=str(error), kind="store")))
        raise
    for problem in found:
        if as_json:
            json_line(_json(problem))
        else:
            _print(problem)
    problems = len(found)
    if not as_json:
        looked = f"commit {commit}: {plural(documents, 'document')}, {plural(blocks, 'block')}"
        took = f"in {duration(time.monotonic() - began)}"
        line(f"{looked} checked {took}: {bold(plural(problems, 'problem')) if problems else 'all is well'}")
    if problems:
        ctx.exit(FAILED)


def _print(problem: Problem) -> None:
    hit = ""
    if problem.source is not None:
        hit = f"  {name(escape(problem.source))}"
        if problem.stop:  # of an image, whose pixels stand there already, no bytes are hit
            hit += f" {dim('bytes')} {byte_range(problem.start, problem.stop)}"
    line(f"{one_line(problem.where)}: {one_line(problem.what)}{hit}")


def _json(problem: Problem) -> dict[str, object]:
    return {
        "kind": problem.kind,
        "where": one_line(problem.where),
        "what": one_line(problem.what),
        "node": None if problem.node is None else str(problem.node),
        "source": None if problem.source is None else escape(problem.source),
        "start": None if problem.source is None else problem.start,
        "stop": None if problem.source is None else problem.stop,
    }
