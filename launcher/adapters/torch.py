"""Private names of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (  # torch 2.13
    DataDependentOutputException,
    FakeTensor,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.autograd import Variable
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes  # torch 2.13
from torch.utils._pytree import tree_map_only  # torch 2.13

if TYPE_CHECKING:
    from torch._C._distributed_c10d import GradBucket as GradBucket  # torch 2.13
    from torch.distributed.device_mesh import DeviceMesh

__all__ = [
    "DataDependentOutputException",
    "FakeTensor",
    "FakeTensorMode",
    "TorchDispatchMode",
    "UnsupportedOperatorException",
    "tree_map_only",
]

# One call for a list of tensors; torch's own optimizers are made of these.
foreach_abs = torch._foreach_abs  # torch 2.13
foreach_add_ = torch._foreach_add_  # torch 2.13
foreach_addcmul_ = torch._foreach_addcmul_  # torch 2.13
foreach_copy_ = torch._foreach_copy_  # torch 2.13
foreach_div = torch._foreach_div  # torch 2.13
foreach_lerp = torch._foreach_lerp  # torch 2.13
foreach_lerp_ = torch._foreach_lerp_  # torch 2.13
foreach_mul = torch._foreach_mul  # torch 2.13
foreach_mul_ = torch._foreach_mul_  # torch 2.13
foreach_norm = torch._foreach_norm  # torch 2.13
foreach_rsqrt = torch._foreach_rsqrt  # torch 2.13
foreach_sign_ = torch._foreach_sign_  # torch 2.13
foreach_sqrt = torch._foreach_sqrt  # torch 2.13
foreach_sub = torch._foreach_sub  # torch 2.13


def foreach_clamp_(tensors: list[Tensor], low: float, high: float) -> None:
    """Bring each entry into a range."""
    torch._foreach_clamp_min_(tensors, low)  # torch 2.13
    torch._foreach_clamp_max_(tensors, high)  # torch 2.13


BatchNorm = nn.modules.batchnorm._BatchNorm  # torch 2.13
"""The class of every batch normalisation."""
Norm = nn.modules.batchnorm._NormBase  # torch 2.13
"""The class of every normalisation over batches or instances."""
Convolution = nn.modules.conv._ConvNd  # torch 2.13
"""The class of every convolution."""

without_modes = _disable_current_modes  # torch 2.13
"""A context in which tensors are what they are without any dispatch mode."""


def after_backward(call: Callable[[], None]) -> None:
    """Have `call` called at the end of the backward pass that is under way."""
    Variable._execution_engine.queue_callback(call)  # torch 2.13


def leave_scaling_to_scaler(optimizer: Optimizer) -> None:
    """Have a gradient scaler unscale and leave out a step itself, where a fused kernel would do both."""
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]  # torch 2.13


def overflows(scaler: torch.amp.GradScaler, optimizer: Optimizer) -> list[Tensor]:
    """Whether gradients overflowed, a tensor for each device: 1 where they did. They can be changed."""
    return list(scaler._per_optimizer_states[id(optimizer)]["found_inf_per_device"].values())  # torch 2.13


def count_as_stepped(optimizer: Optimizer) -> None:
    """Have no schedule warn that it was stepped before the optimizer."""
    optimizer._opt_called = True  # type: ignore[attr-defined]  # torch 2.13


def has_matrix_units() -> bool:
    """Whether this CPU multiplies matrices of bfloat16 in units of its own (AMX)."""
    return bool(torch.cpu._is_amx_tile_supported())  # torch 2.13


def has_bfloat16_vectors() -> bool:
    """Whether this CPU multiplies vectors of bfloat16 (AVX-512)."""
    return bool(torch.cpu._is_avx512_bf16_supported())  # torch 2.13


def address(storage: torch.UntypedStorage) -> int:
    """A number that a living storage shares with no other."""
    return int(storage._cdata)  # torch 2.13


def replace_parameter(module: nn.Module, name: str, weight: nn.Parameter) -> None:
    """Put a parameter in the place of another one."""
    module._parameters[name] = weight  # torch 2.13


def is_buffer(module: nn.Module, name: str) -> bool:
    """Whether a name is that of a buffer of a module, and of none below it."""
    return name in module._buffers  # torch 2.13


def flattened(mesh: DeviceMesh, name: str) -> DeviceMesh:
    """The ranks of a mesh along one axis."""
    return mesh._flatten(name)  # torch 2.13


def cpu_attention() -> tuple[Any, Any]:
    """The operators of a CPU's attention kernel: forward, backward."""
    aten = torch.ops.aten
    forward = aten._scaled_dot_product_flash_attention_for_cpu  # torch 2.13
    return forward, aten._scaled_dot_product_flash_attention_for_cpu_backward  # torch 2.13


def communication_times(model: nn.Module) -> Any:
    """What DistributedDataParallel has measured of its own steps; None of another model."""
    logged = getattr(model, "_get_ddp_logging_data", None)  # torch 2.13
    return None if logged is None else logged()
