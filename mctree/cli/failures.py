"""What becomes of an error?  One printable line on standard error, and an exit code.

    0     done
    1     not done, or something is wrong with the store
    2     the command line makes no sense
    130   interrupted
    141   whoever read the output went away

`MCTREE_DEBUG=1` shows the traceback before the line.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import Final

import click

from mctree.cli.escaping import one_line
from mctree.cli.output import warn
from mctree.errors import MctreeError, UsageError

__all__ = ["DONE", "FAILED", "INTERRUPTED", "PIPE", "USAGE", "reason", "report", "say"]

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
PIPE: Final = 141

_DEBUG = "MCTREE_DEBUG"


def report(error: BaseException) -> int:
    """Say what went wrong; gives the exit code."""
    if os.environ.get(_DEBUG) and not isinstance(error, click.ClickException):
        traceback.print_exception(error)
    code = FAILED
    match error:
        case KeyboardInterrupt() | click.Abort():
            # Everything is unwound: from here on a second Ctrl-C just ends the process.
            with suppress(ValueError):
                signal.signal(signal.SIGINT, signal.SIG_DFL)
            code = INTERRUPTED
            if sys.stderr is not None and sys.stderr.isatty():
                warn("")  # the terminal has written ^C
            say("\n".join(["interrupted", *getattr(error, "__notes__", [])]))
        case BrokenPipeError():
            code = PIPE
        case click.exceptions.NoArgsIsHelpError():
            code = USAGE
            warn(error.format_message())
        case click.UsageError():
            code = USAGE
            say(error.format_message().rstrip("."))
            warn(f"try `{error.ctx.command_path if error.ctx else 'mctree'} --help`")
        case click.ClickException():
            say(error.format_message())
        case MctreeError():
            code = USAGE if type(error) is UsageError else FAILED
            say(str(error))
        case OSError():
            say(reason(error))
        case MemoryError():
            say("out of memory; give the process more, or ask for less at once")
        case _:
            what = f"{type(error).__name__}: {error}"
            say(f"this should not happen: {what}; {_DEBUG}=1 shows where, please report it")
    return code


def say(message: str) -> None:
    """Print a message on standard error."""
    with suppress(OSError):
        warn(f"mctree: {'; '.join(map(one_line, message.splitlines()))}")


def reason(error: OSError) -> str:
    """What the operating system says, and of what."""
    what = error.strerror or (os.strerror(error.errno) if error.errno else str(error) or type(error).__name__)
    if error.errno == errno.ENOSPC:
        what += "; make room and run the command again"
    if error.filename is None:
        return what
    name = error.filename
    return f"{os.fsdecode(name) if isinstance(name, bytes | str) else name}: {what}"
