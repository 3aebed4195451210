"""Which parameters are decayed."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

_SPARED = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, _NormBase)


def param_groups(model: nn.Module, decays: bool) -> list[dict[str, Any]]:
    """The trainable parameters as groups for an optimizer.

    Weight decay pulls matrices and convolutions towards zero; on biases, norms and embeddings it only does harm
    (Loshchilov and Hutter leave it open, but GPT-3, ViT and timm all leave these out), so they form a group with
    `weight_decay` 0: all that has one dimension, the own parameters of embeddings and norms of any shape, and what is
    added to every sample of a batch (position embeddings, class tokens: bare parameters [1, tokens, features]).
    Without decay one group is enough.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not decays:
        return [{"params": trainable}]
    spared = {
        id(parameter)
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
        if isinstance(module, _SPARED)
        or parameter.ndim < 2
        or (parameter.ndim >= 3 and parameter.shape[0] == 1 and not isinstance(module, _ConvNd))
    }
    decayed = [parameter for parameter in trainable if id(parameter) not in spared]
    plain = [parameter for parameter in trainable if id(parameter) in spared]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
