"""How do they learn?  The base model by recalling, gists by standing in for blocks, the lens by what detail is worth.

Four steps, each on fresh draws of the task:

1. The base model answers questions about histories at LOD0, short ones first.
2. *Saying what is rare*: a gist is to point to the embeddings of those of its tokens that are rarer than chance.  This
   needs no model, and gives one something to read.  Without it nothing is learned for a long time, as a model that is
   shown noise learns to look away from it.
3. *Substitutability*: some blocks are shown as gists, and the questions stay.  By how much answers cost more than with
   everything at LOD0 is what gists lose (ΔNLL); gradients go through the model into the GistNet, and the model itself
   is tuned along with it, for it has never seen a gist.  A model that is to read means is tuned as long on means.
4. *Counterfactuals*: for each block of a history, how much less would the answer cost if just this one were at LOD0?
   The LensNet learns that as a wish: 1 where the gain is at least half a nat, −1 where there is none.  It is shown
   what a working context would show it, with what has happened before drawn at random.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from mctree.focus import FEATURES, Look, WorkingContext
from mctree.geometry import TEXT
from mctree.testing import PaperWorld
from mctree_torch.networks import GistConfig, GistNet, LensConfig, LensNet
from tools.train.feeding import FINE, GIST, Base, block_at, everywhere
from tools.train.recall import Histories, Recall

__all__ = ["Gister", "Sizes", "looks", "mean_gists", "network_gists", "taught_base", "taught_lens", "tuned"]

Gister = Callable[[torch.Tensor], torch.Tensor]
"""Tokens `int64 [b, blocks, 32]` → gists `float32 [b, blocks, width]`."""

_SPAN = 0.5
"""A gain of so many nats is worth all the detail there is."""
_SHARPNESS = 0.1
"""By what cosines are divided to become logits."""
_TAIL = 64
"""Tokens that the lens is shown, as `mctree_torch.base.Speaker` shows them."""


@dataclass(frozen=True)
class Sizes:
    """How large everything is, and how long it learns: steps of `batch` histories."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    batch: int = 16
    questions: int = 8
    base_steps: int = 300
    rare_steps: int = 250
    gist_steps: int = 500
    lens_rounds: int = 96
    lens_epochs: int = 8
    histories: int = 512
    through_store: int = 32

    @classmethod
    def smoke(cls) -> Sizes:
        """So small that nothing is learned to speak of, and everything is run."""
        return cls(
            width=16, batch=4, questions=4, base_steps=12, rare_steps=3, gist_steps=6, lens_rounds=2, lens_epochs=1,
            histories=16, through_store=2,
        )  # fmt: skip


def taught_base(task: Recall, sizes: Sizes, generator: torch.Generator) -> Base:
    """A base model that recalls what stands at LOD0."""
    base = Base.made(task.vocabulary, sizes.width, sizes.layers, sizes.heads)
    optimizer = _optimizer(base.model.parameters(), 3e-3)
    for step in range(sizes.base_steps):
        # Recalling is learned on short histories, which cost little; then it is a matter of getting used to long ones.
        blocks = min((2, 2, 2, 4, 8)[5 * step // sizes.base_steps], task.blocks)
        histories = task.draw(sizes.batch, generator, blocks)
        questions = min(sizes.questions, histories.keys.shape[1])
        loss = _loss(base, task, histories, None, everywhere(FINE, len(histories), blocks), questions, generator)
        _descend(optimizer, loss, base.model)
    return base


def mean_gists(base: Base) -> Gister:
    """The mean of the embeddings of a block's tokens."""
    return lambda tokens: base.embedding[tokens].mean(2)


def network_gists(net: GistNet) -> Gister:
    """What a GistNet makes of blocks."""

    def made(tokens: torch.Tensor) -> torch.Tensor:
        flat = tokens.flatten(0, 1)
        gists: torch.Tensor = net(flat, torch.ones_like(flat, dtype=torch.bool), 1)
        return gists.view(*tokens.shape[:2], -1)

    return made


def tuned(
    base: Base, task: Recall, sizes: Sizes, generator: torch.Generator, *, network: bool
) -> tuple[Base, GistNet, Gister]:
    """A copy of a base model that has learned to read gists, and what makes them.

    Args:
        base: stays as it is.
        task: what is recalled.
        sizes: how long it learns.
        generator: draws histories.
        network: whether gists are learned as well; else they are means, and stay so.

    Returns:
        The tuned model, a GistNet (untrained it gives means), and the gists.
    """
    ours = copy.deepcopy(base)
    ours.embedding.requires_grad_(False)
    config = GistConfig(dim=sizes.width, vocabulary=task.vocabulary, width=sizes.width, heads=sizes.heads, layers=0)
    net = GistNet(config, ours.embedding)
    gists = network_gists(net) if network else mean_gists(ours)
    if network:
        _say_what_is_rare(net, task, sizes, generator)
    mine = [weight for weight in ours.model.parameters() if weight.requires_grad]
    optimizer = _optimizer(mine, 1e-3)
    if network:
        optimizer.add_param_group({"params": [w for w in net.parameters() if w.requires_grad], "lr": 3e-3})
    for _ in range(sizes.gist_steps):
        histories = task.draw(sizes.batch, generator)
        loss = _loss(ours, task, histories, gists, _some_fine(histories, generator), sizes.questions, generator)
        _descend(optimizer, loss, ours.model, net)
    return ours, net.eval(), gists


def _say_what_is_rare(net: GistNet, task: Recall, sizes: Sizes, generator: torch.Generator) -> None:
    """Let gists point to the embeddings of the rarer tokens of their blocks."""
    optimizer = _optimizer([weight for weight in net.parameters() if weight.requires_grad], 5e-3)
    assert net.embedding is not None
    table = functional.normalize(net.embedding.weight, dim=-1)
    rare = task.frequency() < 1 / task.vocabulary
    for _ in range(sizes.rare_steps):
        tokens = task.draw(sizes.batch // 2, generator).tokens
        gists = functional.normalize(network_gists(net)(tokens), dim=-1)
        said = torch.log_softmax(gists @ table.T / _SHARPNESS, -1).gather(-1, tokens)
        _descend(optimizer, -said[rare[tokens]].mean(), net)


def looks(task: Recall, fine: int | None) -> Look:
    """What a lens is shown of a history, at most one block being at LOD0, with a question of one token behind it."""
    world = PaperWorld()
    world.place(1, [TEXT.block] * task.blocks)
    world.tails = [(2, 1)]
    context = WorkingContext.smallest(world.ground(), budget_of(task))
    if fine is not None:
        context.expand((1, fine))
    return Look(context.entries, context.history, context.budget, context.steps, context.ground.world)


def budget_of(task: Recall) -> int:
    """What a context costs of which one block is at LOD0 and the others are gists, the question included."""
    return task.blocks - 1 + TEXT.block + 1


def taught_lens(base: Base, gists: Gister, task: Recall, sizes: Sizes, generator: torch.Generator) -> LensNet:
    """A LensNet that has learned what detail is worth to a base model."""
    net = LensNet(LensConfig(dim=sizes.width, width=32, heads=4, layers=1, linked=0))
    optimizer = _optimizer(net.parameters(), 5e-3)
    known = [_counterfactuals(base, gists, task, sizes, generator) for _ in range(sizes.lens_rounds)]
    for _ in range(sizes.lens_epochs):
        for vectors, questions, tokens, wishes in known:
            fine = int(torch.randint(-1, task.blocks, (), generator=generator))
            which = torch.randint(0, questions.shape[1], (len(vectors), 1), generator=generator)
            question = questions.gather(1, which)
            scores = net(*lens_input(base, task, vectors, tokens, question, None if fine < 0 else fine, generator))
            wish = wishes[torch.arange(len(vectors)), which[:, 0]]
            # Seven of eight blocks are of no use: those that are weigh as much as all others.
            weight = torch.where(wish > 0, float(task.blocks), 1.0)
            _descend(optimizer, (weight * (scores[:, :-1] - wish) ** 2).mean(), net)
    return net.eval()


def lens_input(
    base: Base,
    task: Recall,
    vectors: torch.Tensor,
    tokens: torch.Tensor,
    question: torch.Tensor,
    fine: int | None,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What a LensNet is given of histories of which the same block is at LOD0, or none.

    Args:
        base: gives embeddings.
        task: what is recalled.
        vectors: gists of the blocks, `float32 [b, blocks, width]`.
        tokens: `int64 [b, blocks, 32]`.
        question: `int64 [b, 1]`.
        fine: the block at LOD0.
        generator: draws what has happened before, which says nothing.

    Returns:
        Features, vectors, which are known, and the tail, of the blocks and of the question behind them.
    """
    count = len(vectors)
    features = torch.from_numpy(looks(task, fine).features()).expand(count, -1, -1).clone()
    heat, stay = FEATURES.index("heat"), FEATURES.index("stay")
    features[..., heat] = 2 * torch.rand(features.shape[:2], generator=generator) - 1
    features[..., stay] = 3 * torch.rand(features.shape[:2], generator=generator)
    asked = base.embedding[question].detach()
    said = question if fine != task.blocks - 1 else torch.cat((tokens[:, fine], question), 1)
    entries = torch.cat((vectors, asked), 1)
    return features, entries, torch.ones(entries.shape[:2], dtype=torch.bool), base.embedding[said[:, -_TAIL:]].detach()


def cost_of(
    base: Base,
    task: Recall,
    histories: Histories,
    gists: torch.Tensor | None,
    shown: torch.Tensor,
    facts: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the answer to one question costs, and whether it is right: `float32 [b]`, `bool [b]`.

    Args:
        base: who answers.
        task: what is recalled.
        histories: b of them.
        gists: `float32 [b, blocks, width]`.
        shown: see `Base.expect`.
        facts: which fact is asked for, `int64 [b, 1]`.
    """
    question = task.question(histories.keys.gather(1, facts))
    answer = task.answer(histories.values.gather(1, facts))[:, 0]
    with torch.no_grad():
        logits = base.expect(histories.tokens, gists, shown, question)[:, -1]
    return functional.cross_entropy(logits, answer, reduction="none"), logits.argmax(-1) == answer


def _counterfactuals(
    base: Base, gists: Gister, task: Recall, sizes: Sizes, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What detail is worth in some histories, to each of some questions, which are asked one after the other.

    Returns:
        Gists `[b, blocks, width]`, questions `int64 [b, q]`, tokens, and the wish for each block `[b, q, blocks]`.
    """
    count = 4 * sizes.batch
    histories = task.draw(count, generator)
    tail, facts = task.ask(histories, sizes.questions, generator)
    answers = task.answer(histories.values.gather(1, facts))

    def cost(shown: torch.Tensor) -> torch.Tensor:
        logits = base.expect(histories.tokens, vectors, shown, tail)[:, ::2]
        return functional.cross_entropy(logits.transpose(1, 2), answers, reduction="none")

    with torch.no_grad():
        vectors = gists(histories.tokens)
        coarse = cost(everywhere(GIST, count, task.blocks))
        one = (block_at(torch.full((count,), block), FINE, task.blocks) for block in range(task.blocks))
        gains = torch.stack([coarse - cost(shown) for shown in one], -1)
    wishes = 2 * (gains / _SPAN).clamp(0, 1) - 1
    return vectors, tail[:, ::2], histories.tokens, wishes


def _loss(
    base: Base,
    task: Recall,
    histories: Histories,
    gists: Gister | None,
    shown: torch.Tensor,
    questions: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """What answers cost on average."""
    tail, facts = task.ask(histories, questions, generator)
    vectors = None if gists is None or bool((shown != GIST).all()) else gists(histories.tokens)
    logits = base.expect(histories.tokens, vectors, shown, tail)[:, ::2]
    answers = task.answer(histories.values.gather(1, facts))
    return functional.cross_entropy(logits.flatten(0, 1), answers.flatten())


def _some_fine(histories: Histories, generator: torch.Generator) -> torch.Tensor:
    """How blocks are shown while gists are learned: mostly all as gists, else one at LOD0, and now and then all."""
    count, blocks = histories.tokens.shape[:2]
    chance = float(torch.rand((), generator=generator))
    if chance < 0.6:
        return everywhere(GIST, count, blocks)
    if chance < 0.9:
        return block_at(torch.randint(0, blocks, (count,), generator=generator), FINE, blocks)
    return everywhere(FINE, count, blocks)


def _optimizer(weights: object, rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(weights, rate, betas=(0.9, 0.95), weight_decay=0.0)  # type: ignore[arg-type]


def _descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor, *nets: nn.Module) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    for net in nets:
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
