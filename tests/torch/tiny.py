"""Small models with random weights, of the kinds that the adapter is made for."""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "initializer_range": 0.3,
    "tie_word_embeddings": False,
}
KINDS = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}


def model(kind: str = "llama", *, vocabulary: int = 97, attention: str = "sdpa", **more: Any) -> Any:
    """A model with random weights that are always the same."""
    config, net = KINDS[kind]
    head = {"head_dim": 16} if kind == "qwen3" else {}
    torch.manual_seed(0)
    made = net(config(vocab_size=vocabulary, attn_implementation=attention, **{**SIZES, **head, **more}))
    return made.eval()
