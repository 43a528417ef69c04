"""What is a life that a store lives through, act by act?  What a sweep kills, and how it is judged what is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Life"]


@dataclass(frozen=True, slots=True)
class Life:
    """One life, the same each time; its functions are those of a module, so that other processes know them.

    Attributes:
        acts: what is done with one open tree each, in order.
        steps: for each step the act that it belongs to, and the name that it is acknowledged as.
        live: lets the store at a path live through some acts, and acknowledges each step.
        judge: says what is wrong with the store at a path, given the steps that were acknowledged, from the first on.
        look_in: comes by as the next writer, and changes nothing.
        foresee: works out, once in a process, what a judge will have to know.
        apart: the quick form kills at every so many of the calls that change something.
    """

    acts: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]
    live: Callable[[str, Callable[[str], None], Sequence[str]], None]
    judge: Callable[[str, Sequence[str]], list[str]]
    look_in: Callable[[str], None]
    foresee: Callable[[], object]
    apart: int

    def steps_of(self, acts: Sequence[str]) -> list[str]:
        """The names of all steps of some acts, in order."""
        return [name for act, name in self.steps if act in acts]
