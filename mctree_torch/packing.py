"""How is attention kept within documents that are packed into one window?  By positions, which begin anew with each.

These are the forms that attention kernels ask for: lengths, cumulative lengths, a mask.  What fills a window up has
position 0 throughout, so that each of its tokens is a document of its own, which nobody else sees.
"""

from __future__ import annotations

import torch

__all__ = ["cumulative_lengths", "document_mask", "document_numbers", "seq_lens"]


def document_numbers(position_ids: torch.Tensor) -> torch.Tensor:
    """Which document of its window each token belongs to: `int64 [..., length]`, from 0 or 1 on, ascending.

    A query may attend to a key if their numbers are equal and the key is not behind it: this is what a `mask_mod` of
    `flex_attention` compares.

    Args:
        position_ids: `int64 [..., length]`, as `TokenDataset` gives them.
    """
    return (position_ids == 0).cumsum(-1)


def document_mask(position_ids: torch.Tensor) -> torch.Tensor:
    """Who may attend to whom: `bool [..., 1, length, length]`, for `scaled_dot_product_attention`.

    A token attends to itself and to what is before it in its document.

    Args:
        position_ids: `int64 [..., length]`.
    """
    number = document_numbers(position_ids)
    length = position_ids.shape[-1]
    causal = torch.ones(length, length, dtype=torch.bool, device=position_ids.device).tril()
    return ((number[..., :, None] == number[..., None, :]) & causal).unsqueeze(-3)


def seq_lens(position_ids: torch.Tensor) -> torch.Tensor:
    """The lengths of all documents of a batch, window after window: `int32 [documents]`; they add up to all tokens.

    Args:
        position_ids: `int64 [..., length]`.
    """
    return cumulative_lengths(position_ids).diff()


def cumulative_lengths(position_ids: torch.Tensor) -> torch.Tensor:
    """Where the documents of a batch begin if its windows lie one behind another, and where the last one ends.

    This is `cu_seqlens` of attention over sequences of varying length.  A window begins a document, whatever its first
    position is.

    Args:
        position_ids: `int64 [..., length]`.

    Returns:
        `int32 [documents + 1]`.
    """
    begins = position_ids == 0
    begins[..., 0] = True
    flat = begins.flatten()
    ends = torch.tensor([flat.numel()], device=flat.device)
    return torch.cat([flat.nonzero()[:, 0], ends]).to(torch.int32)
