"""What do commands take alike?  A store, a commit, a source, numbers below zero, and the switch to JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import click

import mctree
from mctree.cli.escaping import escape, one_line, unescape
from mctree.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from mctree import Document, Snapshot

__all__ = ["NumbersBelowZero", "at_commit", "find_document", "in_json", "reading", "store_argument"]

_Command = TypeVar("_Command", bound=Callable[..., object])

_SEARCHED = 100_000
_BELOW_ZERO = re.compile(r"-[0-9]")


class NumbersBelowZero(click.Command):
    """A command that takes `-5` for an argument, so that whoever expects one can say what is wrong with it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse a command line; no option begins with a digit."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if not _BELOW_ZERO.match(error.option_name):
                raise
            ctx.ignore_unknown_options = True
            return super().parse_args(ctx, given)


def store_argument(command: _Command) -> _Command:
    """The store's folder."""
    return click.argument("store", type=click.Path())(command)


def at_commit(command: _Command) -> _Command:
    """`--commit N`: what the store held then."""
    option = click.option(
        "--commit", type=click.IntRange(min=1), metavar="N", help="What the store held at commit N (see `mctree log`)."
    )
    return option(command)


def in_json(command: _Command) -> _Command:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON, one object a line.")(command)


@contextmanager
def reading(store: str, commit: int | None) -> Iterator[Snapshot]:
    """A store at a commit, open for reading."""
    with mctree.open(store, writable=False) as tree, tree.snapshot(commit) as snapshot:
        yield snapshot


def find_document(snapshot: Snapshot, source: str) -> Document:
    """The document that an argument names: `#7`, a name as it is shown, or else the name's own bytes.

    Raises:
        NotFoundError: there is none; the message offers one that ends alike.
    """
    if source.startswith("#") and source[1:].isascii() and source[1:].isdigit() and len(source) < 20:
        return snapshot.document(int(source[1:]))
    names = [source.encode("utf-8", "surrogateescape")]
    with suppress(UsageError):  # a name with a backslash, typed as it is
        names.insert(0, unescape(source))
    for name in names:
        try:
            return snapshot.document(name)
        except NotFoundError:
            continue
    alike = _alike(snapshot, names[0])
    hint = f"did you mean {escape(alike)}?" if alike is not None else "`mctree docs` lists them"
    raise NotFoundError(f"no document {one_line(source)!r} at commit {snapshot.commit}; {hint}")


def _alike(snapshot: Snapshot, name: bytes) -> bytes | None:
    """A source whose last part is that of `name`."""
    last = name.rstrip(b"/").rpartition(b"/")[2]
    sources = (source for source, _, _ in islice(snapshot.sources(), _SEARCHED))
    return next((source for source in sources if last and source.rpartition(b"/")[2] == last), None)
