"""How often is the right node among the best few, and does a descent arrive there?

`recall` looks at one level by itself.  `descend` starts by scanning one level, keeps the best nodes, goes on to their
children, and so down to the blocks; a node's score may count its parent's in part.  A hit is the right file: one of
its blocks among the best 64 (2,048 tokens).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.retrieval.scoring import Scores
from tools.retrieval.timeline import FANOUT, Answers

__all__ = ["BEST", "Descent", "descend", "ranks", "widest_beams"]

BEST = 64


@dataclass(frozen=True)
class Descent:
    """What a descent found, as shares: of the questions whose file, or block, it hit, and of the gists it visited."""

    file: float
    block: float
    visited: float


def ranks(scores: NDArray[np.float32], answers: Answers) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many nodes of a level score better than the best node of the right file, and than the right block's.

    Nodes with the same score count half, so that an encoder gains nothing by making many alike.
    """
    file: list[int] = []
    block: list[int] = []
    for column in range(scores.shape[1]):
        mine = scores[:, column]
        best = mine[answers.first[column] : answers.last[column] + 1].max()
        for found, value in ((file, best), (block, mine[answers.block[column]])):
            found.append(int((mine > value).sum()) + int((mine == value).sum() - 1) // 2)
    return np.array(file, np.int64), np.array(block, np.int64)


def widest_beams(scores: Scores, start: int, share: float) -> dict[int, int]:
    """The beams with which a descent from a level visits no more than a share of all gists; none if it cannot.

    Below the level that is scanned whole, each level keeps twice as many nodes as the one above it.
    """
    steps = range(start - 1)
    left = share * sum(len(level) for level in scores.values()) - len(scores[start])
    beam = int(left / (FANOUT * sum(2**step for step in steps)))
    return {start - step: beam * 2**step for step in steps} if beam > 0 else {}


def descend(scores: Scores, answers: Answers, beams: dict[int, int], inherited: float = 0.0) -> Descent:
    """Descend for every question.

    Args:
        scores: per level, as `gist_scores` gives them.
        answers: blocks of the answers.
        beams: how many nodes of each level to go on from; the highest level is scanned whole.  None at all: all
            blocks are compared.
        inherited: what share of its parent's score a node is given.
    """
    start = max(beams, default=1)
    everything = sum(len(level) for level in scores.values())
    file = block = visited = 0
    for column in range(scores[1].shape[1]):
        nodes = np.arange(len(scores[start]))
        above = np.zeros(len(nodes), np.float32)
        for level in range(start, 0, -1):
            mine = scores[level][nodes, column] + inherited * above
            visited += len(nodes)
            kept = beams.get(level, BEST)
            if len(nodes) > kept:
                order = np.lexsort((nodes, -mine))[:kept]
                nodes, mine = nodes[order], mine[order]
            if level > 1:
                children = nodes[:, None] * FANOUT + np.arange(FANOUT)
                there = children < len(scores[level - 1])
                above = np.broadcast_to(mine[:, None], children.shape)[there]
                nodes = children[there]
        file += bool(((nodes >= answers.first[column]) & (nodes <= answers.last[column])).any())
        block += bool((nodes == answers.block[column]).any())
    asked = scores[1].shape[1]
    return Descent(file / asked, block / asked, visited / asked / everything)
