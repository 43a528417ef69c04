"""What can processes be asked for?  A call, and what has become of it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mctree.processes.serving import taken_up

if TYPE_CHECKING:
    from mctree.processes.processes import Processes

__all__ = ["Job", "Work"]

Made = TypeVar("Made")
Made_co = TypeVar("Made_co", covariant=True)
_NUMBERS = count()


class Work(Generic[Made_co]):
    """Some work that processes do again and again; see `Processes.share`.

    Args:
        function: what is to be called.
        pickled: the same, pickled.
    """

    def __init__(self, function: Callable[..., Made_co], pickled: bytes) -> None:
        self._function = function
        self._sent = next(_NUMBERS), pickled

    def __call__(self, *given: Any) -> Made_co:
        """Do it here."""
        return self._function(*given)

    def __reduce__(self) -> tuple[object, ...]:
        return taken_up, self._sent


class Job(Generic[Made]):
    """Some work that one of several processes is to do.

    Args:
        processes: which.
        work: a function that pickles.
        given: what it is given.
    """

    def __init__(self, processes: Processes, work: Callable[..., Made], given: tuple[object, ...]) -> None:
        self.parcel = work, given
        self._processes = processes
        self._value: list[Made] = []
        self._error: Exception | None = None

    def cancel(self) -> bool:
        """Take it back if no process has it; whether that was so."""
        return self._processes.withdraw(self)

    def done(self) -> bool:
        """Whether it is known what has become of it."""
        self._processes.look(0)
        return self._known

    def result(self) -> Made:
        """What the work has made, once it is there.

        Raises:
            BrokenExecutor: the process that had it died, or there was none.
            Exception: what the work raised.
        """
        while not self._known:
            self._processes.look(None)
        if self._error is not None:
            raise self._error
        return self._value[0]

    def made(self, value: Made) -> None:
        """Let it be known what the work has made."""
        self._value.append(value)

    def failed(self, error: Exception) -> None:
        """Let it be known that nothing comes of it."""
        self._error = error

    @property
    def _known(self) -> bool:
        return bool(self._value) or self._error is not None
