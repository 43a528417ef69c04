"""What does Ctrl-C do while the process is deep in a call that hears nothing?

Python raises `KeyboardInterrupt` between two of its own steps, and one step can be long: a tokenizer is trained in a
single call of a library, and a commit is not broken off in its middle.  So a thread listens where Python notes signals
the moment they come.  The first Ctrl-C is left to Python; if nothing comes of it soon, it is said that a step has to
end first.  The second one ends the process there and then, which no store minds.

Nothing is done where somebody else handles the signal, or outside the main thread.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = ["heeded"]

_SOON = 0.7
_INTERRUPTED = 130
_SHOW_CURSOR = "\x1b[?25h"


@contextmanager
def heeded(say: Callable[[str], None]) -> Iterator[None]:
    """Heed Ctrl-C for a `with` block.

    Args:
        say: prints a message; called in a thread of its own.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    listener = threading.Thread(target=_listen, args=(reader, say), name="mctree-interrupts", daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)  # this ends the thread
        listener.join()
        os.close(reader)


def _listen(reader: int, say: Callable[[str], None]) -> None:
    struck, said = 0, False
    while True:
        if not select.select([reader], [], [], _SOON if struck and not said else None)[0]:
            said = True
            say("stopping when the step that is under way has ended; Ctrl-C again stops at once, and harms no store")
            continue
        numbers = os.read(reader, 64)
        if not numbers:
            return
        struck += numbers.count(signal.SIGINT)
        if struck > 1:
            _end()


def _end() -> None:
    with suppress(OSError, ValueError):
        if sys.stderr is not None and sys.stderr.isatty():
            os.write(sys.stderr.fileno(), f"{_SHOW_CURSOR}\n".encode())
    os._exit(_INTERRUPTED)
