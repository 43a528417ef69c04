"""Where does the process begin and end?  Here, with little imported, so that Ctrl-C finds a handler soon.

Nobody promises that the three standard descriptors are open.  A closed one would be given to the next file that is
opened, and what a library complains of would be written into a store; so each is taken before anything else is opened.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> NoReturn:
    """The entry point of `mctree` and `python -m mctree`."""
    try:
        _take_standard_descriptors()
        for stream in (sys.stdout, sys.stderr):
            # A terminal that is no UTF-8 shows the escapes that names are read back from.
            if stream is not None and hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        # Imported here: it takes a while, in which somebody may change their mind.
        from mctree.cli.program import cli  # noqa: PLC0415

        cli.main()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    finally:
        # On its way out the interpreter would look through all that was loaded for what nobody holds: a tenth of a
        # second, for nobody.  Files and locks were let go by those who had them.
        gc.freeze()


def _take_standard_descriptors() -> None:
    """Open those of the standard descriptors that are closed, onto nothing.

    Output that was wanted and has nowhere to go is an error, as it is where the disk is full: so the second one is
    opened for reading, and whatever is written there fails.
    """
    for descriptor, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest one that is free is given, and all below are taken.
            os.open(os.devnull, mode)
            os.set_inheritable(descriptor, True)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - open to the end
