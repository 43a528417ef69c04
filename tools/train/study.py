"""What of all this is worth how much?  One seed: learn everything, then ask the same questions in every way.

The histories and questions that are measured are drawn by a generator of their own, which nothing learns from.  A way
is what is shown of a history: everything, gists alone, one block at LOD0 chosen by somebody, or the newest block and
nothing else.
"""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

import mctree
from mctree.focus import Allocator
from mctree.geometry import TEXT
from mctree_torch.base import Moment, Reader, Speaker
from mctree_torch.networks import GistEncoder, GistNet, LensNet, NetLens, SnapshotSight
from mctree_torch.positions import uninstall
from tools.train.feeding import DROPPED, FINE, GIST, Base, block_at, everywhere
from tools.train.learning import Sizes, budget_of, cost_of, lens_input, mean_gists, taught_base, taught_lens, tuned
from tools.train.recall import Histories, Recall

__all__ = [
    "FULL",
    "FULL_OF",
    "LEARNED",
    "LENS",
    "MEAN",
    "ORACLE",
    "RANDOM",
    "RECENCY",
    "STORE",
    "TRUNCATED",
    "Line",
    "study",
]

FULL = "everything at LOD0"
ORACLE = "the right block at LOD0 (oracle)"
LENS = "one block at LOD0, by the LensNet"
STORE = "what the LensNet wants, through a store"
RECENCY = "one block at LOD0, the newest"
RANDOM = "one block at LOD0, at random"
TRUNCATED = "the newest block and nothing else"
LEARNED = "gists alone"
MEAN = "gists alone, means"
MEAN_ORACLE = "the right block at LOD0 (oracle), means"
MEAN_RECENCY = "one block at LOD0, the newest, means"
MEAN_FULL = "everything at LOD0, by the model tuned on means"
UNTUNED = "everything at LOD0, by the model before tuning"

FULL_OF = {MEAN: MEAN_FULL, MEAN_ORACLE: MEAN_FULL, MEAN_RECENCY: MEAN_FULL, MEAN_FULL: MEAN_FULL, UNTUNED: UNTUNED}
"""With which way the ways of another model than the tuned one are compared."""

_MEASURED = 1 << 20
"""Histories that are measured are drawn by this and the seed; what is learned from, by the seed."""


@dataclass(frozen=True)
class Line:
    """What one way gives.

    Attributes:
        cost: rows that the model reads of a history.
        loss: of the answer, in nats.
        right: share of answers that are right.
        found: share of histories of which the right block is at LOD0.
    """

    cost: float
    loss: float
    right: float
    found: float


def study(task: Recall, sizes: Sizes, seed: int) -> dict[str, Line]:
    """Learn with one seed, and measure all ways."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    before = taught_base(task, sizes, generator)
    base, net, gists = tuned(before, task, sizes, generator, network=True)
    base_of_means, _, means = tuned(before, task, sizes, generator, network=False)
    lens = taught_lens(base, gists, task, sizes, generator)

    measured = torch.Generator().manual_seed(_MEASURED + seed)
    histories = task.draw(sizes.histories, measured)
    _, facts = task.ask(histories, 1, measured)
    count, blocks = sizes.histories, task.blocks
    right = facts[:, 0] // task.facts
    newest = torch.full((count,), blocks - 1)
    drawn = torch.randint(0, blocks, (count,), generator=measured)
    with torch.no_grad():
        learned, mean = gists(histories.tokens), means(histories.tokens)
        question = task.question(histories.keys.gather(1, facts))
        chosen = lens(*lens_input(base, task, learned, histories.tokens, question, None, measured))[:, :-1].argmax(1)

    def line(who: Base, vectors: torch.Tensor | None, shown: torch.Tensor) -> Line:
        loss, correct = cost_of(who, task, histories, vectors, shown, facts)
        fine = shown.gather(1, right[:, None])[:, 0] == FINE
        cost = ((shown == GIST) + TEXT.block * (shown == FINE)).sum(1)
        return Line(*(float(each.float().mean()) for each in (cost, loss, correct, fine)))

    coarse, fine = everywhere(GIST, count, blocks), everywhere(FINE, count, blocks)
    lines = {
        FULL: line(base, None, fine),
        ORACLE: line(base, learned, block_at(right, FINE, blocks)),
        LENS: line(base, learned, block_at(chosen, FINE, blocks)),
        STORE: _through_store(base, net, lens, task, histories, facts, min(sizes.through_store, count)),
        RECENCY: line(base, learned, block_at(newest, FINE, blocks)),
        RANDOM: line(base, learned, block_at(drawn, FINE, blocks)),
        TRUNCATED: line(base, None, block_at(newest, FINE, blocks, DROPPED)),
        LEARNED: line(base, learned, coarse),
        MEAN: line(base_of_means, mean, coarse),
        MEAN_ORACLE: line(base_of_means, mean, block_at(right, FINE, blocks)),
        MEAN_RECENCY: line(base_of_means, mean, block_at(newest, FINE, blocks)),
        MEAN_FULL: line(base_of_means, None, fine),
        UNTUNED: line(before, None, fine),
    }
    assert torch.equal(mean_gists(base_of_means)(histories.tokens), mean)
    return lines


def _through_store(
    base: Base, net: GistNet, lens: LensNet, task: Recall, histories: Histories, facts: torch.Tensor, count: int
) -> Line:
    """The first histories as documents of stores, asked by way of a `Speaker` whose lens is the LensNet."""
    model = copy.deepcopy(base.model)
    uninstall(model)
    reader = Reader(model, plane=False)
    encoder = GistEncoder(copy.deepcopy(net), device="cpu")
    rules = Allocator(max_edits=2 * task.blocks, cooldown=0)
    questions = task.question(histories.keys.gather(1, facts))[:, 0]
    answers = task.answer(histories.values.gather(1, facts))[:, 0]
    cost = loss = correct = found = 0.0

    def by_network(moment: Moment) -> NetLens:
        assert moment.gists is not None
        return NetLens(lens, SnapshotSight(moment.snapshot, moment.gists, moment.embedding, moment.tail), "cpu")

    for i in range(count):
        with tempfile.TemporaryDirectory() as folder:
            tree = mctree.create(Path(folder) / "t.mctree", vocabulary=task.vocabulary, chunk_bytes=1 << 16)
            with tree, tree.writer() as writer:
                document = writer.begin("history")
                document.extend(histories.tokens[i].flatten().numpy())
                document.close()
            with mctree.open(Path(folder) / "t.mctree", encoders=[encoder]) as tree:
                tree.build_gists(encoder, "learned", dtype="float32")
                budget = budget_of(task)
                with Speaker(
                    reader, tree, "talk", budget=budget, sharp=0, lens=by_network, allocator=rules, steps=4
                ) as speaker:
                    speaker.hear([int(questions[i])])
                    logits = speaker.look()
                    context = speaker.context
                    assert context is not None and context.check() is None
                    cost += context.cost - 1
                    found += float((context.blocks == int(facts[i, 0]) // task.facts).any())
        loss += float(functional.cross_entropy(logits, answers[i]))
        correct += float(logits.argmax() == answers[i])
    return Line(cost / count, loss / count, correct / count, found / count)
