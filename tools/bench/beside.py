"""How do contenders meet the limit?  One after another, each in a race of its own, so that no failure ends the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from tools.bench.bench import Bench, missing, reason
from tools.bench.errors import ContenderFailed
from tools.bench.peers import About
from tools.bench.results import Line
from tools.bench.timing import Round

__all__ = ["races"]


class _Contender(Protocol):
    @property
    def about(self) -> About: ...


Contender = TypeVar("Contender", bound=_Contender)


def races(
    bench: Bench,
    case: str,
    limit: str,
    contenders: Iterable[Contender],
    race: Callable[[Contender], list[Round]],
) -> Iterator[tuple[Contender, list[Round] | Line]]:
    """Have each contender that takes part race the limit.

    Args:
        bench: the run.
        case: what it is about.
        limit: the name of the limit, which has no race of its own.
        contenders: whoever may take part.
        race: lets one of them race the limit.

    Yields:
        The contender, and the rounds of its race; or the line that says why there are none.
    """
    for one in contenders:
        about = one.about
        if about.name == limit or not bench.wants(about):
            continue
        if why := about.absent:
            yield one, missing(about, why)
            continue
        bench.say(f"{case}: {about.name}")
        try:
            found = race(one)
        except Exception as error:
            cause = error.__cause__ if isinstance(error, ContenderFailed) and error.__cause__ else error
            yield one, Line(about.name, about.kind, "failed", note=reason(cause, bench.scratch))
        else:
            yield one, found
