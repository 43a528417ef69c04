"""Where does the process begin and end?  Here, with little imported, so that Ctrl-C finds a handler soon."""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> NoReturn:
    """The entry point of `mctree` and `python -m mctree`."""
    try:
        for stream in (sys.stdout, sys.stderr):
            # A terminal that is no UTF-8 shows the escapes that names are read back from.
            if stream is not None and hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        # Imported here: it takes a while, in which somebody may change their mind.
        from mctree.cli.program import cli  # noqa: PLC0415

        cli.main()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
