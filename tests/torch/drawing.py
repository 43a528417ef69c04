"""Networks whose weights are all drawn at random, also those that begin as 0."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Net = TypeVar("Net", bound=nn.Module)


def drawn(net: Net, seed: int = 0) -> Net:
    """The same network, always with the same random weights, for inference."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.4)
    net.eval()
    return net
