"""How does a command line become a call?

Commands are looked up by name and imported only when called, so that `mctree --version` loads none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

import click

import mctree
from mctree.cli.failures import DONE, FAILED, PIPE, reason, report, say
from mctree.cli.interruption import heeded

__all__ = ["cli"]

_COMMANDS = {
    "ingest": "Turn files and folders into a tree, or bring a tree up to date.",
    "info": "Say what a store holds, in numbers.",
    "docs": "List the documents of a store.",
    "show": "Show a node with all there is to know about it, or the whole tree.",
    "cat": "Write the exact bytes of a document.",
    "export": "Write the colours of an image as OME-NGFF, for other tools to show.",
    "search": "Find the blocks that answer a question best.",
    "focus": "Show all there is within a budget, in detail where a question is answered.",
    "gist": "Build, refresh, choose and drop gist sets.",
    "rm": "Remove documents.",
    "compact": "Rewrite a store without what was removed.",
    "backup": "Copy a store, whole and verified, also while somebody writes to it.",
    "verify": "Check everything that is on disk.",
    "log": "List the commits that can be opened.",
    "keep": "Say how many commits are kept.",
}


class Program(click.Group):
    """The group of all commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in _COMMANDS:
            return None
        command = import_module(f"mctree.cli.commands.{cmd_name}").command
        assert isinstance(command, click.Command), "every module of that folder has one"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = None, *more: Any, **extra: Any
    ) -> NoReturn:
        """Run a command line and end the process with its exit code."""
        if "_MCTREE_COMPLETE" in os.environ:
            super().main(args, "mctree", "_MCTREE_COMPLETE")
        extra.pop("standalone_mode", None)
        code = _guarded(self, list(sys.argv[1:] if args is None else args), extra)
        sys.exit(_flushed(code))


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(mctree.__version__, message="mctree %(version)s")
def cli() -> None:
    """Turn text into a tree of detail on disk, and look into it.

    The name of a source is written in one way everywhere, with escapes for what is not printable, and every command
    takes it back.  '#7' (quoted: # begins a comment for the shell) names document 7.
    """


def _guarded(group: click.Group, args: list[str], extra: dict[str, Any]) -> int:
    """Run a command line; its exit code."""
    try:
        with heeded(say), group.make_context("mctree", args, **extra) as ctx:
            group.invoke(ctx)
        return DONE
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except (Exception, KeyboardInterrupt) as error:
        return report(error)


def _flushed(code: int) -> int:
    """Write out what is buffered: a full disk must not pass for success."""
    if sys.stdout.closed:
        return code
    try:
        sys.stdout.flush()
        return code
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            say(f"the output could not be written: {reason(error)}")
        # The interpreter flushes once more on its way out and would complain: let it write to nowhere.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        return code or (PIPE if isinstance(error, BrokenPipeError) else FAILED)
