"""Places in Hugging Face models: text as before, widths as the formula says, and after any norm of queries and keys."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from mctree.errors import UsageError
from mctree_torch.positions import PlacedRotary, Places, frequencies, install, uninstall
from tests.torch import tiny


def scores(model: Any, kind: str, places: Places, embeds: torch.Tensor) -> list[torch.Tensor]:
    """The first layer's attention scores for each head, before masks and softmax, and the queries and keys."""
    seen: list[torch.Tensor] = []
    attention = model.model.layers[0].self_attn

    def watch(module: Any, arguments: Any, given: dict[str, Any]) -> None:
        hidden, (cos, sin) = arguments[0] if arguments else given["hidden_states"], given["position_embeddings"]
        shape = (*hidden.shape[:-1], -1, module.head_dim)
        query, key = module.q_proj(hidden).view(shape), module.k_proj(hidden).view(shape)
        if kind == "qwen3":
            query, key = module.q_norm(query), module.k_norm(key)
        query, key = query.transpose(1, 2), key.transpose(1, 2).repeat_interleave(module.num_key_value_groups, 1)
        half = module.head_dim // 2

        def turned(x: torch.Tensor) -> torch.Tensor:
            return x * cos[:, None] + torch.cat((-x[..., half:], x[..., :half]), -1) * sin[:, None]

        seen.append(turned(query) @ turned(key).transpose(-1, -2))
        seen.append(torch.stack([query, key]))

    hook = attention.register_forward_pre_hook(watch, with_kwargs=True)
    try:
        with model.model.rotary_emb.at(places):
            model(inputs_embeds=embeds, use_cache=False)
    finally:
        hook.remove()
    return seen


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.parametrize("plane", [False, True])
def test_text_is_read_as_before(kind: str, plane: bool) -> None:
    model = tiny.model(kind)
    before = list(model.state_dict())
    tokens = torch.arange(60)[None] % 97
    with torch.no_grad():
        plain = model(tokens).logits
        install(model, plane=plane)
        assert torch.allclose(model(tokens).logits, plain, atol=1e-4)
        with model.model.rotary_emb.at(Places.of_text(torch.arange(60))):
            assert torch.allclose(model(tokens).logits, plain, atol=1e-4)
        # Where all of it stands does not matter, however far off: what a float32 position could not do.
        with model.model.rotary_emb.at(Places.of_text(torch.arange(60)).shifted(10**9)):
            assert torch.allclose(model(tokens).logits, plain, atol=1e-3)
        assert list(model.state_dict()) == before
        uninstall(model)
        assert torch.equal(model(tokens).logits, plain)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_scores_are_those_expected_of_what_is_spread_out(kind: str) -> None:
    model = tiny.model(kind)
    install(model, plane=False)
    generator = torch.Generator().manual_seed(1)
    embeds = torch.randn(1, 3, 32, generator=generator)
    position, sigma = torch.tensor([5.0, 60.0, 75.0]).double(), torch.tensor([9.0, 3.0, 0.0]).double()
    with torch.no_grad():
        found = scores(model, kind, Places.of_text(position, sigma), embeds)[0][0]
        where = position + sigma * torch.randn(4000, 3, generator=generator, dtype=torch.float64)
        drawn = scores(model, kind, Places.of_text(where), embeds.expand(4000, -1, -1))[0]
    for i, j in ((1, 0), (2, 0), (2, 1)):
        mean, error = drawn[:, :, i, j].mean(0), drawn[:, :, i, j].std(0) / math.sqrt(4000)
        assert bool(((found[:, i, j] - mean).abs() <= 5 * error + 1e-3).all())


def test_damping_comes_behind_the_norm_of_queries_and_keys() -> None:
    model = tiny.model("qwen3")
    install(model, plane=False)
    embeds = torch.randn(1, 2, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        sharp, heads = scores(model, "qwen3", Places.of_text(torch.tensor([0.0, 0.0])), embeds)
        wide, _ = scores(model, "qwen3", Places.of_text(torch.tensor([0.0, 0.0]), torch.tensor([1e6, 0.0])), embeds)
    assert torch.allclose(heads[0].square().mean(-1), torch.ones(1, 4, 2), atol=1e-3)  # normalised
    assert float(wide[0, :, 1, 0].abs().max()) < 1e-5 < 0.1 < float(sharp[0, :, 1, 0].abs().max())


def test_a_scaled_window_keeps_its_scaling() -> None:
    model = tiny.model(
        "llama",
        rope_parameters={"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0},
        max_position_embeddings=64,
    )
    tokens = torch.arange(50)[None]
    with torch.no_grad():
        plain = model(tokens).logits
        placed = install(model)
        assert placed.scaling != 1.0
        assert torch.allclose(model(tokens).logits, plain, atol=1e-4)


def test_slow_bands_go_in_and_only_change_the_slowest() -> None:
    model = tiny.model()
    placed = install(model, slow=(2, 1e9))
    usual = frequencies(8).float().double()
    assert torch.allclose(placed.bands.frequency[:2], usual[:2])
    assert float(placed.bands.frequency[-1]) == pytest.approx(math.pi / 1e9)


class Interleaved(LlamaRotaryEmbedding):
    """Pairs side by side."""

    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angles = (position_ids[..., None].float() * self.inv_freq).repeat_interleave(2, -1)
        return angles.cos().to(x), angles.sin().to(x)


class Odd(LlamaRotaryEmbedding):
    """Something else."""

    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cos, sin = super().forward(x, position_ids)
        return sin, cos


def test_layouts_are_found_out_and_strange_ones_refused() -> None:
    config = LlamaConfig(**tiny.SIZES)
    model = tiny.model()
    model.model.rotary_emb = Interleaved(config)
    placed = install(model)
    assert placed.interleaved
    model.model.rotary_emb = Odd(config)
    with pytest.raises(UsageError, match="not known"):
        install(model)


def test_what_cannot_know_of_places_is_refused() -> None:
    with pytest.raises(UsageError, match="has 0 modules"):
        install(GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=1, n_embd=8, vocab_size=9)))
    model = tiny.model()
    with pytest.raises(UsageError, match="its own"):
        uninstall(model)
    placed = install(model)
    with pytest.raises(UsageError, match="already"):
        install(model)
    with pytest.raises(UsageError, match=r"3 rows.*2 places"), placed.at(Places.of_text(torch.arange(2))):
        model(torch.tensor([[1, 2, 3]]))
    assert isinstance(model.model.rotary_emb, PlacedRotary)
    uninstall(model)
    model.config.model_type = "hunyuan_v1_dense"
    with pytest.raises(UsageError, match="normalise"):
        install(model)
