"""What is a life that a store lives through, act by act?  What is broken off, and how it is judged what is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mctree.encoders import Encoder, VisualEncoder

__all__ = ["Life"]


@dataclass(frozen=True, slots=True)
class Life:
    """One life, the same each time; its functions are those of a module, so that other processes know them.

    Attributes:
        acts: what is done with one open tree each, in order.
        steps: for each step the act that it belongs to, and the name that it is acknowledged as.
        live: lets the store at a path live through some acts, and acknowledges each step.
        judge: says what is wrong with the store at a path, given the steps that were acknowledged, from the first on;
            it goes on writing to it.
        settle: reads all of the store at a path, and raises an `AssertionError`, or what reading it raises, unless it
            is at the last step that was acknowledged, or at the one in flight, whole.  It writes nothing.
        look_in: comes by as the next writer, and changes nothing.
        foresee: works out, once in a process, what a judge will have to know.
        encoders: what its trees are opened with.
        weight: how many times as long as the life of texts it takes; so many times fewer points are tried, except that
            the long form kills at each call.
        within: what the rows of tables are called behind what was tried; nothing for the life of texts.
    """

    acts: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]
    live: Callable[[str, Callable[[str], None], Sequence[str]], None]
    judge: Callable[[str, Sequence[str]], list[str]]
    settle: Callable[[str, Sequence[str]], None]
    look_in: Callable[[str], None]
    foresee: Callable[[], object]
    encoders: tuple[Encoder | VisualEncoder, ...]
    weight: int = 1
    within: str = ""

    def steps_of(self, acts: Sequence[str]) -> list[str]:
        """The names of all steps of some acts, in order."""
        return [name for act, name in self.steps if act in acts]

    def steps_before(self, act: str) -> list[str]:
        """The names of all steps that come before an act."""
        return self.steps_of(self.acts[: self.acts.index(act)])
