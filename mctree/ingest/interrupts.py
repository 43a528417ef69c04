"""When may Ctrl-C strike?  While input is read or waited for, and between two steps of the writer, never inside one.

The store survives an interrupt at any instruction, but a handle in this process may not, and who interrupts a notebook
goes on in the same process.  So while a writer's step runs the interrupt is noted, and raised when the step is done; a
second one is raised at once.  Only Python's own handler is ever replaced, in the main thread, for the length of a
`with` block; whoever handles SIGINT otherwise is not interfered with.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

__all__ = ["Held", "Interrupts"]


class Interrupts:
    """Takes charge of Ctrl-C for a `with` block.

    Attributes:
        held: a `with` block within which an interrupt waits for the end of the block, or for a place in it where
            `held.allow()` is called.
    """

    def __init__(self) -> None:
        self.held = Held()
        self._installed = False

    def __enter__(self) -> Self:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self.held.strike)
            self._installed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._installed:
            self._installed = False
            signal.signal(signal.SIGINT, signal.default_int_handler)


class Held:
    """Blocks within which an interrupt waits; `Interrupts` makes one."""

    def __init__(self) -> None:
        self._depth = 0
        self._struck = False

    def strike(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self._depth and not self._struck:
            self._struck = True
        else:
            self._struck = False
            raise KeyboardInterrupt

    def allow(self) -> None:
        """Within a block, where it may as well be broken off: raise what waits.

        Raises:
            KeyboardInterrupt: somebody pressed Ctrl-C.
        """
        if self._struck:
            self._struck = False
            raise KeyboardInterrupt

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._struck and not self._depth and kind is None:
            self._struck = False
            raise KeyboardInterrupt
