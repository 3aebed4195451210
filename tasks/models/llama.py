"""A Llama of any size with fresh weights, built from its config by `transformers`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from launcher.config.trust import factory
from launcher.errors import ConfigError

from ..stages import Piece

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


@factory("model")
def llama(
    vocab_size: int,
    max_length: int,
    eos_token_id: int,
    width: int = 128,
    depth: int = 4,
    num_heads: int = 4,
    num_kv_heads: int | None = None,
    mlp_width: int | None = None,
    attention_dropout: float = 0.0,
    tie_embeddings: bool = True,
) -> LlamaForCausalLM:
    """A decoder with rotary positions, RMS norm and a gated perceptron (Touvron et al., 2023).

    `num_kv_heads` below `num_heads` shares keys and values among heads (grouped-query attention; Ainslie et al.,
    2023), null is one each. `mlp_width` is 8/3 of `width`, rounded up to a multiple of 32, where null. Input
    `input_ids` [batch, tokens], output an object with `logits` [batch, tokens, vocab_size].

    Raises ConfigError for widths and heads that do not divide.
    """
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    if width % num_heads or (width // num_heads) % 2:
        raise ConfigError(
            f"model.width={width} over model.num_heads={num_heads}: a head's width has to be a whole, even number (rotary positions)"
        )
    if num_heads % kv_heads:
        raise ConfigError(f"model.num_heads={num_heads} is not a multiple of model.num_kv_heads={kv_heads}")
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab_size,
        max_position_embeddings=max_length,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=num_heads,
        num_key_value_heads=kv_heads,
        intermediate_size=-(-width * 8 // 3 // 32) * 32 if mlp_width is None else mlp_width,
        attention_dropout=attention_dropout,
        tie_word_embeddings=tie_embeddings,
        bos_token_id=eos_token_id,
        eos_token_id=eos_token_id,
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def pieces(model: LlamaForCausalLM) -> list[nn.Module]:
    """Where a Llama can be cut: between layers, after the embeddings and before the head. For whole sequences without
    padding; every layer computes the rotary angles, which have no weights, by itself."""
    inner = model.model

    def decode(x: Tensor, batch: object, layer: nn.Module) -> Tensor:
        positions = torch.arange(x.shape[1], device=x.device).unsqueeze(0)
        angles = inner.rotary_emb(x, position_ids=positions)
        found: Any = layer(x, attention_mask=None, position_ids=positions, position_embeddings=angles)
        return found[0] if isinstance(found, tuple) else found  # type: ignore[no-any-return]  # transformers'

    return [
        Piece(lambda x, batch: inner.embed_tokens(x), inner.embed_tokens),
        *(Piece(partial(decode, layer=layer), layer, inner.rotary_emb) for layer in inner.layers),
        Piece(lambda x, batch: model.lm_head(inner.norm(x)), inner.norm, model.lm_head),
    ]


llama.packages = {"transformers": "transformers"}  # type: ignore[attr-defined]  # as a class would state it
llama.offers = frozenset({"blocks", "tensor_plan"})  # type: ignore[attr-defined]
