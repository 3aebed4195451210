"""Zero-cost proxies: what a network with fresh weights says of how well it will learn, from one batch and no training."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from launcher.adapters.torch import BatchNorm

RECTIFIERS = (nn.ReLU, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU)
"""Activations that are (nearly) linear on either side of zero."""
SMALLEST = 1e-9
"""The least eigenvalue beside the largest that single precision can tell from zero."""
NORMS = (BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def ntk(gradients: Tensor) -> float:
    """How evenly a network learns at its start: minus the logarithm of the condition number of its empirical neural tangent
    kernel (Chen et al., 2021, "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired
    Perspective", section 3.1.1).

    `gradients` are those of each sample's loss, shape [samples, parameters]; they take the network's outputs. The kernel
    is their Gram matrix. No gradient at all, or one that is not finite, is minus infinity.
    """
    rows = gradients.double()
    if not bool(rows.isfinite().all()):
        return -math.inf
    values = torch.linalg.eigvalsh(rows @ rows.T)
    smallest, largest = float(values[0]), float(values[-1])
    return math.log(max(smallest, largest * SMALLEST) / largest) if largest > 0 else -math.inf


def naswot(codes: Sequence[Tensor]) -> float:
    """How differently a network sees the samples of a batch: log |det K_H| (Mellor et al., 2021, "Neural Architecture
    Search without Training", equation 2).

    `codes` holds, for each layer, which units are active for which sample: bool, shape [samples, units]. K_H[i, j] is the
    number of units, over all layers, that are alike for samples i and j. Samples that no unit tells apart make it
    singular: minus infinity.
    """
    kernel = torch.zeros(len(codes[0]), len(codes[0]), dtype=torch.float64, device=codes[0].device)
    for code in codes:
        on = code.double()
        kernel += on @ on.T + (1 - on) @ (1 - on).T
    return float(torch.linalg.slogdet(kernel).logabsdet)


@contextlib.contextmanager
def activations(model: nn.Module) -> Iterator[list[Tensor]]:
    """The codes that `naswot` takes, of each forward pass meanwhile: on which side of zero each rectifier's input lies.

    Mellor et al. have ReLU alone; GELU and its like are linear on either side of zero too, but near it.
    """
    found: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append((inputs[0].detach() > 0).flatten(1))

    handles = [each.register_forward_pre_hook(note) for each in model.modules() if isinstance(each, RECTIFIERS)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def grad_norm(parameters: Sequence[nn.Parameter]) -> float:
    """The sum over the parameters of the 2-norms of their gradients (Abdelfattah et al., 2021, "Zero-Cost Proxies for
    Lightweight NAS", section 3.2)."""
    return float(sum(each.grad.norm() for each in parameters if each.grad is not None))


def synflow(model: nn.Module, forward: Callable[[nn.Module], Tensor]) -> float:
    """The logarithm of the sum of |w * dR/dw| over the parameters w, where R is the sum of the outputs of the network with
    the absolute values of its weights for an input of ones (Tanaka et al., 2020, "Pruning neural networks without any data by iteratively
    conserving synaptic flow"; as a proxy Abdelfattah et al., 2021). The norms are passed over, in double precision.

    `forward` gives the model that input. The model's weights are as they were afterwards.
    """
    before = {name: each.detach().clone() for name, each in model.state_dict().items()}
    handles = [
        each.register_forward_hook(lambda module, inputs, output: inputs[0])
        for each in model.modules()
        if isinstance(each, NORMS)
    ]
    training = model.training
    try:
        model.double().eval()
        with torch.no_grad():
            for each in model.parameters():
                each.abs_()
        model.zero_grad()
        forward(model).sum().backward()
        total = sum(
            float((each.detach() * each.grad).abs().sum()) for each in model.parameters() if each.grad is not None
        )
    finally:
        for handle in handles:
            handle.remove()
        model.zero_grad()
        model.float().train(training)
        model.load_state_dict(before)
    return math.log(total) if total > 0 else -math.inf
