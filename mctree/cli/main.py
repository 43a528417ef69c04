"""How does a command line become a call, and an error one clear line?

Commands are looked up by name and imported only when called, so that `mctree --version` loads none.  Whatever goes
wrong becomes one line on standard error, printable and without a traceback (`MCTREE_DEBUG=1` shows it), and one of
these exit codes:

    0     done
    1     not done, or something is wrong with the store
    2     the command line makes no sense
    130   interrupted
    141   whoever read the output went away
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

import click

import mctree
from mctree.cli.escaping import one_line
from mctree.errors import MctreeError, UsageError

__all__ = ["DEBUG", "FAILED", "INTERRUPTED", "cli", "main"]

DEBUG = "MCTREE_DEBUG"
FAILED, USAGE, INTERRUPTED, PIPE = 1, 2, 130, 141

_COMMANDS = {
    "ingest": "Turn files and folders into a tree, or bring a tree up to date.",
    "info": "Say what a store holds, in numbers.",
    "docs": "List the documents of a store.",
    "show": "Show a node with all there is to know about it, or the whole tree.",
    "cat": "Write the exact bytes of a document.",
    "search": "Find the blocks that answer a question best.",
    "gist": "Build, refresh, choose and drop gist sets.",
    "rm": "Remove documents.",
    "compact": "Rewrite a store without what was removed.",
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
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Turn text into a tree of detail on disk, and look into it.

    A name of a source is written in one way everywhere, with \\-escapes for what is not printable, and every command
    takes it back; #7 names document 7.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def main() -> NoReturn:
    """The entry point."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that is no UTF-8 shows the escapes that names are read back from.
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    cli.main()


def _guarded(group: click.Group, args: list[str], extra: dict[str, Any]) -> int:
    """Run a command line; its exit code."""
    try:
        with group.make_context("mctree", args, **extra) as ctx:
            group.invoke(ctx)
        return 0
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except (KeyboardInterrupt, click.Abort):
        _debug()
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return PIPE
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.ClickException as error:
        _say(error.format_message().rstrip("."))
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "mctree"
        if isinstance(error, click.UsageError):
            click.echo(f"try `{path} --help`", err=True)
        return USAGE
    except MctreeError as error:
        _debug()
        _say(str(error))
        return USAGE if type(error) is UsageError else FAILED
    except OSError as error:
        _debug()
        _say(_reason(error))
        return FAILED
    except MemoryError:
        _debug()
        _say("out of memory; give the process more, or ask for less at once")
        return FAILED
    except Exception as error:
        _debug()
        _say(f"this should not happen: {type(error).__name__}: {error}; {DEBUG}=1 shows where, please report it")
        return FAILED


def _flushed(code: int) -> int:
    """Write out what is buffered: a full disk must not pass for success."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        code = code or PIPE
    except OSError as error:
        if code != PIPE:
            _say(f"the output could not be written: {_reason(error)}")
        code = code or FAILED
    except ValueError:  # closed already
        return code
    else:
        return code
    # The interpreter flushes once more on its way out and would complain: let it write to nowhere.
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return code


def _reason(error: OSError) -> str:
    what = error.strerror or (os.strerror(error.errno) if error.errno else str(error) or type(error).__name__)
    if error.errno == errno.ENOSPC:
        what += "; make room and run the command again"
    if error.filename is None:
        return what
    name = error.filename
    return f"{os.fsdecode(name) if isinstance(name, bytes | str) else name}: {what}"


def _say(message: str) -> None:
    with suppress(OSError):
        click.echo(f"mctree: {one_line(message)}", err=True)


def _debug() -> None:
    if os.environ.get(DEBUG):
        traceback.print_exc()
