"""A Llama of any size with fresh weights, built from its config by `transformers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.errors import ConfigError

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


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


llama.packages = {"transformers": "transformers"}  # type: ignore[attr-defined]  # as a class would state it
llama.offers = frozenset({"blocks"})  # type: ignore[attr-defined]
