"""What is a decoder that is fuzzed?  A function of bytes, what it is made for, and when it is at fault."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from mctree.errors import MctreeError
from mctree.testing.stores import scratch
from tools.crash.confined import lacks_memory

__all__ = ["Target", "as_path", "attempt"]

_LONGEST_MESSAGE = 2000


@dataclass(frozen=True, slots=True)
class Target:
    """A decoder.

    Attributes:
        run: decodes; may raise an error of mctree.
        seeds: bytes of the kind that it is made for.
        longest: how many bytes the fuzzer tries at most.
        needs: modules that it loads when it runs, of which libraries may not be installed.
    """

    run: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]
    longest: int = 4096
    needs: tuple[str, ...] = ()

    @property
    def lacks(self) -> str | None:
        """A library that it needs and that is not installed; None if there is none."""
        libraries = (name.partition(".")[0] for name in self.needs)
        return next((name for name in libraries if find_spec(name) is None), None)

    def load(self) -> None:
        """Load what it needs."""
        for name in self.needs:
            import_module(name)


def attempt(target: Target, data: bytes) -> bool:
    """Decode; whether it was decoded, and not refused.

    Raises:
        AssertionError: it was refused in words that are not one printable line, or for want of memory.
        BaseException: whatever else than an error of mctree was raised.
    """
    try:
        target.run(data)
    except MctreeError as error:
        message = str(error)
        assert message and message.isprintable(), f"{type(error).__name__} in several lines: {message!r}"
        assert len(message) <= _LONGEST_MESSAGE, f"{type(error).__name__} of {len(message)} characters"
        assert not lacks_memory(error), f"{type(error).__name__} for want of memory: {message}"
        return False
    return True


@contextmanager
def as_path(data: bytes) -> Iterator[bytes]:
    """The path of a file with these bytes."""
    with scratch() as folder:
        path = os.fsencode(os.path.join(folder, "file"))
        with open(path, "wb") as file:
            file.write(data)
        yield path
