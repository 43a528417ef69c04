"""How far is a long command, how fast, and how long will it take?

On a terminal a line that is drawn over and over, and gone at the end; elsewhere (a log, a pipe) a plain line now and
then.  Both go to standard error and say the same: what, how much of how much, rate, time left.  The time left is
reckoned from the whole run so far.  Nothing is drawn by a second thread, so that the process may fork at any moment.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from mctree.cli.formatting import duration, number, share, size
from mctree.cli.output import warn

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Meter", "advancing", "meter", "status"]

_BETWEEN_DRAWINGS = 0.1
_BETWEEN_LINES = 10.0

Clock = Callable[[], float]


class Meter(Protocol):
    """Shows how far something is; a `with` block, at the end of which what it drew is gone."""

    def at(self, done: int, whole: int | None, note: str = "") -> None:
        """Say that `done` of `whole` (None: not known) is done."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def meter(what: str, unit: str, *, quiet: bool = False) -> Meter:
    """What shows progress on standard error.

    Args:
        what: what is being done: `ingesting`.
        unit: what is counted: `bytes`, `blocks` ….
        quiet: show nothing.
    """
    if quiet or sys.stderr is None:
        return _Silent()
    return _Drawn(what, unit) if sys.stderr.isatty() else _Lines(what, unit)


@contextmanager
def advancing(what: str, unit: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A callback (done, all) that shows progress."""
    with meter(what, unit, quiet=quiet) as shown:
        yield shown.at


def status(done: int, whole: int | None, unit: str, seconds: float) -> str:
    """`12.3 MB of 45.6 MB · 27.0 % · 3.4 MB/s · 10 s left`, as much of it as is known."""

    def amount(value: float) -> str:
        return size(value) if unit == "bytes" else f"{number(round(value))} {unit}"

    parts = [amount(done) if whole is None else f"{amount(done)} of {amount(whole)}"]
    if whole:
        parts.append(share(min(done, whole), whole))
    if done and seconds >= 1:
        parts.append(f"{amount(done / seconds)}/s")
        if whole is not None and whole > done:
            parts.append(f"{duration(seconds * (whole - done) / done)} left")
    return " · ".join(parts)


class _Silent:
    def at(self, done: int, whole: int | None, note: str = "") -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Lines:
    """Plain lines, the first after some time: what is done at once says nothing."""

    def __init__(self, what: str, unit: str, clock: Clock = time.monotonic) -> None:
        self._what = what
        self._unit = unit
        self._clock = clock
        self._began = self._shown = clock()

    def at(self, done: int, whole: int | None, note: str = "") -> None:
        now = self._clock()
        if now - self._shown >= _BETWEEN_LINES:
            self._shown = now
            tail = f" · {note}" if note else ""
            warn(f"{self._what}: {status(done, whole, self._unit, now - self._began)}{tail}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Drawn:
    """One line of a terminal, drawn over and over."""

    def __init__(self, what: str, unit: str) -> None:
        self._what = what
        self._unit = unit
        self._began = time.monotonic()
        self._shown = 0.0
        self._progress: Progress | None = None

    def at(self, done: int, whole: int | None, note: str = "") -> None:
        now = time.monotonic()
        if self._progress is None:
            return
        task = self._progress.task_ids[0]
        text = status(done, whole, self._unit, now - self._began) + (f" · {note}" if note else "")
        self._progress.update(task, completed=done, total=whole, status=text)
        if now - self._shown >= _BETWEEN_DRAWINGS:
            self._shown = now
            self._progress.refresh()

    def __enter__(self) -> Self:
        # Imported here: it takes as long as many a command.
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415
        from rich.table import Column  # noqa: PLC0415

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[status]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._progress.add_task(self._what, total=None, status="")
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
