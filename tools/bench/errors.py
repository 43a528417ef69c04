"""What can go wrong in a run?

    BenchError
    ├── CallError          the command, or the sizes, ask for what cannot be
    ├── WrongValuesError   a contender gives other values than it was given
    ├── ContenderFailed    a contender raised while it was timed
    └── ChildError         a process that was to measure something ended without an answer

These do not stand in mctree's own tree, since importing that imports the engine: a process that measures a peer would
then measure mctree's imports and memory with it.
"""

from __future__ import annotations

__all__ = ["BenchError", "CallError", "ChildError", "ContenderFailed", "WrongValuesError"]


class BenchError(Exception):
    """The root of what a run raises on purpose."""


class CallError(BenchError, ValueError):
    """The command, or the sizes, ask for what cannot be."""


class WrongValuesError(BenchError):
    """A contender gives other values than it was given."""


class ContenderFailed(BenchError):  # noqa: N818 - it says who, its cause says what
    """A contender raised while it was timed.

    Attributes:
        name: whose call it was; the exception that it raised is the cause.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} raised while it was timed")
        self.name = name


class ChildError(BenchError):
    """A process that was to measure something ended without an answer."""
