"""Do masks and lengths keep attention within documents?"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
from mctree_torch.packing import cumulative_lengths, document_mask, document_numbers, seq_lens  # noqa: E402

LENGTH = 12


def positions(lengths: list[int]) -> list[int]:
    """The positions of documents of these lengths, and of what fills the window up."""
    row = [k for n in lengths for k in range(n)][:LENGTH]
    return row + [0] * (LENGTH - len(row))


WINDOWS = st.lists(st.lists(st.integers(1, 7), max_size=6), min_size=1, max_size=4)


@settings(max_examples=25)
@given(windows=WINDOWS)
def test_lengths_and_masks_say_the_same_documents(windows: list[list[int]]) -> None:
    batch = torch.tensor([positions(lengths) for lengths in windows])
    lengths = seq_lens(batch)
    assert lengths.dtype == torch.int32 and int(lengths.sum()) == batch.numel() and bool((lengths > 0).all())
    bounds = cumulative_lengths(batch).tolist()
    mask = document_mask(batch)
    assert mask.shape == (len(windows), 1, LENGTH, LENGTH)
    whole = torch.zeros(batch.numel(), batch.numel(), dtype=torch.bool)
    for k in range(len(windows)):
        some = slice(k * LENGTH, (k + 1) * LENGTH)
        whole[some, some] = mask[k, 0]
    expected = torch.zeros_like(whole)
    for first, stop in pairwise(bounds):
        expected[first:stop, first:stop] = torch.ones(stop - first, stop - first, dtype=torch.bool).tril()
    assert torch.equal(whole, expected)
    number = document_numbers(batch)
    assert bool((number.diff(dim=1) == (batch[:, 1:] == 0)).all())


@settings(max_examples=25)
@given(windows=WINDOWS)
def test_attention_with_the_mask_is_attention_over_each_document_alone(windows: list[list[int]]) -> None:
    attend = torch.nn.functional.scaled_dot_product_attention
    batch = torch.tensor([positions(lengths) for lengths in windows])
    torch.manual_seed(0)
    query, key, value = torch.randn(3, len(windows), 2, LENGTH, 4, dtype=torch.float64)
    packed = attend(query, key, value, attn_mask=document_mask(batch)).transpose(1, 2).flatten(0, 1)
    flat = [x.transpose(1, 2).flatten(0, 1) for x in (query, key, value)]
    bounds = cumulative_lengths(batch).tolist()
    for first, stop in pairwise(bounds):
        one = [x[first:stop].transpose(0, 1) for x in flat]
        assert torch.allclose(attend(*one, is_causal=True).transpose(0, 1), packed[first:stop])


def test_a_window_that_goes_on_within_a_document_begins_one() -> None:
    assert cumulative_lengths(torch.tensor([[5, 6, 0, 1], [2, 3, 4, 5]])).tolist() == [0, 2, 4, 8]
