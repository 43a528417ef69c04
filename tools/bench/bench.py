"""What does every case need of the run it is part of?"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tools.bench.peers import About
from tools.bench.results import Line
from tools.bench.sizes import Sizes
from tools.bench.timing import Pace

__all__ = ["Bench", "missing", "reason"]

_REASON = 160
_PATH = re.compile(r"(?<![\w.…])(?:/[\w.+-]+){2,}/?")


@dataclass(frozen=True, slots=True)
class Bench:
    """One run.

    Attributes:
        sizes: how much of everything.
        scratch: an empty folder, deleted at the end.
        say: tells the user what goes on.
        wanted: parts of names; only contenders whose name holds one of them take part, if there are any. Limits
            always do.
    """

    sizes: Sizes
    scratch: Path
    say: Callable[[str], None]
    wanted: tuple[str, ...] = field(default=())

    def wants(self, about: About, limits: tuple[str, ...] = ()) -> bool:
        """Whether a contender takes part."""
        name = about.name.lower()
        return about.name in limits or not self.wanted or any(part.lower() in name for part in self.wanted)

    def pace(self, max_calls: int | None = None) -> Pace:
        """How long the races of this run last."""
        s = self.sizes
        return Pace(s.rounds, s.min_rounds, s.turn_s, s.budget_s, max_calls)

    def folder(self, name: str) -> Path:
        """A new folder below the scratch folder."""
        path = self.scratch / name
        path.mkdir(parents=True)
        return path


def missing(about: About, why: str) -> Line:
    """The line of a contender whose library is not installed."""
    return Line(about.name, about.kind, "absent", note=why)


def reason(error: BaseException, scratch: Path) -> str:
    """What an exception says, on one line, without names of folders."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).replace(str(scratch), "…")
    text = _PATH.sub("…", text)
    return text if len(text) <= _REASON else text[: _REASON - 1] + "…"
