"""AdamW whose moments take eight bits a weight, by bitsandbytes."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from launcher.config.trust import factory


@factory("optimizer")
def adamw_8bit(
    params: ParamsT,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    min_8bit_size: int = 4096,
) -> Optimizer:
    """Dettmers et al., 2022, "8-bit Optimizers via Block-wise Quantization": `bitsandbytes.optim.AdamW8bit`.

    Both moments are kept as one of 256 values times the largest of their block of 256 weights. Embeddings (groups whose
    `role` says so) and tensors of fewer than `min_8bit_size` elements keep moments of 32 bits, as the paper does.
    """
    from bitsandbytes.optim import AdamW8bit, GlobalOptimManager

    optimizer: Optimizer = AdamW8bit(
        params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, min_8bit_size=min_8bit_size
    )
    for group in optimizer.param_groups:
        if group.get("role") == "embedding":
            for weight in group["params"]:
                GlobalOptimManager.get_instance().override_config(weight, "optim_bits", 32)
    return optimizer


adamw_8bit.packages = {"bitsandbytes": "bitsandbytes"}  # type: ignore[attr-defined]
adamw_8bit.apart = ("embedding",)  # type: ignore[attr-defined]
adamw_8bit.needs = frozenset({"full_params"})  # type: ignore[attr-defined]  # blocks of 256 weights of one tensor
