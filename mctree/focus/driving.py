"""How does a question become a working context?  Step by step, from the coarsest view, until nothing changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mctree.focus.allocator import Allocator
from mctree.focus.context import Change, WorkingContext
from mctree.focus.lens import Lens
from mctree.focus.lenses import SimilarityLens

if TYPE_CHECKING:
    from mctree.tree import Snapshot

__all__ = ["MOST_STEPS", "converge", "focus"]

MOST_STEPS = 10_000
"""A lens that never agrees with itself is not followed further."""


def converge(context: WorkingContext, lens: Lens, most: int = MOST_STEPS) -> Iterator[Change]:
    """Take steps until one changes nothing and none of what it would have changed is only cooling down.

    Args:
        context: what to change.
        lens: what to follow.
        most: take no more steps than this.

    Yields:
        What each step changed.
    """
    for _ in range(most):
        change = context.step(lens)
        if not change.edits and not change.blocked.cooldown:
            return
        yield change


def focus(
    snapshot: Snapshot,
    query: str,
    budget: int = 2048,
    *,
    allocator: Allocator | None = None,
    gist_set: str | None = None,
    effort: int | None = None,
) -> WorkingContext:
    """The working context in which what answers a question is at LOD0, and all else is as coarse as can be.

    Args:
        snapshot: where to look; it stays open as long as the context is used.
        query: the question.
        budget: what the entries may cost together.
        allocator: the rules by which it gets there.
        gist_set: the set to go by; the default one if none is named.
        effort: how many gists and blocks to look at together; a small part of all if None.  One node of each level is
            expanded at least, whatever it says.

    Raises:
        BudgetTooSmall: not even the coarsest view fits.
        NotFoundError: there is no such gist set.
        UsageError: the question says nothing that can be searched for.
    """
    context = WorkingContext.smallest(snapshot, budget, allocator)
    for _ in converge(context, SimilarityLens(snapshot, query, budget, gist_set=gist_set, effort=effort)):
        pass
    return context
