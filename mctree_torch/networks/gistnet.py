"""What is the gist of a node?  The mean of its children, and what learned slots read out of them.

The children of a block are tokens, those of a node above are gists.  Both live in the space of the base model's input
embeddings, so that a gist can be fed to it where the children would stand.  A gist is

    mean of the children + W · (answers of the slots)

with W = 0 at first.  So training begins at the mean, the plainest gist there is, and whatever it achieves is seen as a
difference to that.  What slots are for, and why several, is said in `parts.Slots`.  Before they are asked, children
attend to each other, knowing their place among their siblings and the level: a pair such as a key and its value means
something only together.

One network serves all levels.  It takes any number of children up to its fan-out, with a mask; what is masked may be
anything.  For n nodes of c children it costs about n·c·(8·width² per layer) multiplications.
"""

from __future__ import annotations

import torch
from torch import nn

from mctree.errors import UsageError
from mctree_torch.networks.configs import GistConfig
from mctree_torch.networks.parts import Mix, Slots, marks, masked_mean

__all__ = ["GistNet"]


class GistNet(nn.Module):
    """Gists of nodes from their children.

    Args:
        config: its sizes.
        embedding: `[vocabulary, dim]`: the base model's input embeddings, which are copied and not trained on; drawn at
            random if None.

    Raises:
        UsageError: the embedding has another shape.
    """

    Config = GistConfig

    def __init__(self, config: GistConfig, embedding: torch.Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embedding = nn.Embedding(config.vocabulary, config.dim) if config.vocabulary else None
        self.inward = nn.Linear(config.dim, width)
        self.norm = nn.LayerNorm(width)
        self.place = marks(config.fanout, width)
        self.level = marks(config.levels, width)
        self.layers = nn.ModuleList(Mix(width, config.heads) for _ in range(config.layers))
        self.slots = Slots(width, config.heads, config.slots, config.dim)
        if self.embedding is not None:
            self.embedding.weight.requires_grad_(False)
            if embedding is not None:
                wanted = list(self.embedding.weight.shape)
                if list(embedding.shape) != wanted:
                    raise UsageError(f"the embedding is {list(embedding.shape)}, and by the config {wanted}")
                with torch.no_grad():
                    self.embedding.weight.copy_(embedding)

    def vectors(self, tokens: torch.Tensor) -> torch.Tensor:
        """The embeddings of tokens: `int64 [...]` → `float32 [..., dim]`.

        Raises:
            UsageError: the network has none.
        """
        if self.embedding is None:
            raise UsageError("this network has no vocabulary: it takes vectors, not tokens")
        found: torch.Tensor = self.embedding(tokens)
        return found

    def forward(self, children: torch.Tensor, mask: torch.Tensor, level: int) -> torch.Tensor:
        """Gists of `n` nodes of one level.

        Args:
            children: vectors, `float32 [n, c, dim]`, or tokens, `int64 [n, c]`; c up to the fan-out.
            mask: `bool [n, c]`: which children exist.
            level: of the nodes, 1 or more.

        Returns:
            `float32 [n, dim]`; 0 for nodes without children.

        Raises:
            UsageError: there are more children than the fan-out, or the level is below 1.
        """
        if children.shape[1] > self.config.fanout or level < 1:
            raise UsageError(
                f"a node has a level above 0 and at most {self.config.fanout} children, not {level} and "
                f"{children.shape[1]}"
            )
        if children.ndim == 2:
            children = self.vectors(torch.where(mask, children, 0))
        else:
            children = torch.where(mask[..., None], children, 0.0)
        x = self.norm(self.inward(children)) + self.place.weight[: children.shape[1]]
        x = x + self.level.weight[min(level, self.config.levels) - 1]
        for layer in self.layers:
            x = layer(x, mask)
        read: torch.Tensor = self.slots(x, mask)
        return masked_mean(children, mask) + read * mask.any(-1, keepdim=True).to(read)
