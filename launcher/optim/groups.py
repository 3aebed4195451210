"""Which parameters are decayed."""

from __future__ import annotations

from typing import Any

from torch import nn


def param_groups(model: nn.Module, decays: bool) -> list[dict[str, Any]]:
    """The trainable parameters as groups for an optimizer.

    Weight decay pulls matrices and convolutions towards zero; on biases, norms and embeddings it only does harm
    (Loshchilov and Hutter leave it open, but GPT-3, ViT and timm all leave these out), so they form a group with
    `weight_decay` 0. Without decay one group is enough.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not decays:
        return [{"params": trainable}]
    embedded = {id(parameter) for module in model.modules() if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) for parameter in module.parameters(recurse=False)}
    decayed = [parameter for parameter in trainable if parameter.ndim >= 2 and id(parameter) not in embedded]
    kept = {id(parameter) for parameter in decayed}
    plain = [parameter for parameter in trainable if id(parameter) not in kept]
    groups = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
