"""How far is a long command, how fast, and how long will it take?

On a terminal a line that is drawn over and over, and gone at the end; elsewhere (a log, a pipe) a plain line now and
then.  Both go to standard error and say the same: what, how much of how much, rate, time left.  Nothing is drawn by a
second thread, so that the process may fork at any moment.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from mctree.cli.formatting import cells, clip, duration, number, size
from mctree.cli.output import warn

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Meter", "advancing", "meter", "status"]

_BETWEEN_DRAWINGS = 0.1
_BETWEEN_LINES = 10.0
_BAR = 12

Clock = Callable[[], float]


class Meter(Protocol):
    """Shows how far something is; a `with` block, at the end of which what it drew is gone."""

    def at(self, done: int, whole: int | None, *, what: str = "", rate: float | None = None, note: str = "") -> None:
        """Say how far it is.

        Args:
            done: so much.
            whole: of so much; None if that is not known.
            what: what is being done now, if that has changed.
            rate: so much a second; None for that of the whole run.
            note: something to add.
        """
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


def status(done: int, whole: int | None, unit: str, rate: float | None) -> str:
    """`12.3 MB of 45.6 MB · 3.4 MB/s · 10 s left`, as much of it as is known."""

    def amount(value: float) -> str:
        return size(value) if unit == "bytes" else f"{number(round(value))} {unit}"

    parts = [amount(done) if whole is None else f"{amount(done)} of {amount(whole)}"]
    if rate:
        parts.append(f"{amount(rate)}/s")
        if whole is not None and whole > done:
            parts.append(f"{duration((whole - done) / rate)} left")
    return " · ".join(parts)


class _Silent:
    def at(self, done: int, whole: int | None, *, what: str = "", rate: float | None = None, note: str = "") -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Reckoned:
    """Knows when it began, so that it can reckon a rate."""

    def __init__(self, what: str, unit: str, clock: Clock) -> None:
        self.what = what
        self.clock = clock
        self._unit = unit
        self._began = clock()

    def text(self, done: int, whole: int | None, rate: float | None, note: str) -> str:
        seconds = self.clock() - self._began
        if rate is None and seconds >= 1:
            rate = done / seconds
        if not done and whole is None and note:
            return note
        return status(done, whole, self._unit, rate) + (f" · {note}" if note else "")


class _Lines(_Reckoned):
    """Plain lines, the first after some time: what is done at once says nothing."""

    def __init__(self, what: str, unit: str, clock: Clock = time.monotonic) -> None:
        super().__init__(what, unit, clock)
        self._shown = clock()

    def at(self, done: int, whole: int | None, *, what: str = "", rate: float | None = None, note: str = "") -> None:
        self.what = what or self.what
        if self.clock() - self._shown >= _BETWEEN_LINES:
            self._shown = self.clock()
            warn(f"{self.what}: {self.text(done, whole, rate, note)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Drawn(_Reckoned):
    """One line of a terminal, drawn over and over."""

    def __init__(self, what: str, unit: str, clock: Clock = time.monotonic) -> None:
        super().__init__(what, unit, clock)
        self._shown = clock()
        self._progress: Progress | None = None

    def at(self, done: int, whole: int | None, *, what: str = "", rate: float | None = None, note: str = "") -> None:
        now = self.clock()
        changed = bool(what) and what != self.what
        self.what = what or self.what
        if self._progress is not None and (changed or now - self._shown >= _BETWEEN_DRAWINGS):
            self._shown = now
            room = self._progress.console.width - cells(self.what) - _BAR - 2
            text = clip(self.text(done, whole, rate, note), room)
            task = self._progress.task_ids[0]
            self._progress.update(task, description=self.what, completed=done, total=whole, status=text)
            self._progress.refresh()

    def __enter__(self) -> Self:
        # Imported here: it takes as long as many a command.
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415
        from rich.table import Column  # noqa: PLC0415

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=_BAR),
            TextColumn("{task.fields[status]}", markup=False, table_column=Column(no_wrap=True)),
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._progress.add_task(self.what, total=None, status="")
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
