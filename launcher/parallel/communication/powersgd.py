"""Gradients sent as products of thin matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from launcher.core.communication import Communication

if TYPE_CHECKING:
    from launcher.adapters.torch import GradBucket


class PowerSGD(Communication):
    """Vogels et al., 2019, "PowerSGD: Practical Low-Rank Gradient Compression", algorithms 1 and 2.

    M = gradient + error            (a matrix [n, m]: the first axis, and all others)
    P = orthonormal(mean(M Q)),   Q = mean(Mᵀ P),   gradient = P Qᵀ,   error = M - P Qᵀ

    with `rank` columns in P and Q. Q is kept from step to step, error on each rank. Vectors, and matrices of which P
    and Q together would be no smaller, are sent whole; so is everything in the first `start_step` steps, in which
    gradients change fastest. State is kept by parameter, not by bucket as in torch, whose buckets change after the
    first step of a process: so a run that was killed goes on exactly.
    """

    def __init__(self, rank: int = 4, start_step: int = 10) -> None:
        super().__init__()
        self.rank = rank
        self.start_step = start_step
        self.step = 0
        self.qs: dict[str, Tensor] = {}
        self.errors: dict[str, Tensor] = {}

    def start(self, model: nn.Module, num_ranks: int) -> None:
        super().start(model, num_ranks)
        self.hook()

    def exchange(self, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        buffer, step = bucket.buffer(), self.step
        if bucket.is_last():
            self.step += 1
        if step < self.start_step:
            return self.all_reduce(buffer.div_(self.num_ranks))
        whole, names, matrices = [], [], []
        for parameter, gradient in zip(bucket.parameters(), bucket.gradients(), strict=True):
            if self._thin(gradient):
                names.append(self.names[parameter])
                matrices.append(gradient.view(len(gradient), -1))
            else:
                whole.append(gradient)
        self._average(whole)
        self._approximate(names, matrices)
        done: torch.futures.Future[Tensor] = torch.futures.Future()
        done.set_result(buffer)
        return done

    def _thin(self, gradient: Tensor) -> bool:
        if gradient.ndim < 2:
            return False
        rows, columns = len(gradient), gradient.numel() // len(gradient)
        return (rows + columns) * self.rank < rows * columns

    def _average(self, tensors: list[Tensor]) -> None:
        """The mean over the ranks of each, in place and in one message."""
        if tensors:
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).div_(self.num_ranks)
            self.all_reduce(flat).wait()
            for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(mean.view_as(tensor))

    def _approximate(self, names: list[str], matrices: list[Tensor]) -> None:
        for name, matrix in zip(names, matrices, strict=True):
            if name in self.errors:
                matrix.add_(self.errors[name])
            if name not in self.qs:
                self.qs[name] = self._first(name, matrix)
        ps = [matrix @ self.qs[name] for name, matrix in zip(names, matrices, strict=True)]
        self._average(ps)
        ps = [torch.linalg.qr(p).Q for p in ps]
        qs = [matrix.T @ p for matrix, p in zip(matrices, ps, strict=True)]
        self._average(qs)
        for name, matrix, p, q in zip(names, matrices, ps, qs, strict=True):
            product = p @ q.T
            self.errors[name] = matrix - product
            self.qs[name] = q
            matrix.copy_(product)

    def _first(self, name: str, matrix: Tensor) -> Tensor:
        """A random Q, the same on every rank."""
        generator = torch.Generator().manual_seed(sum(name.encode()) + matrix.numel())
        return torch.randn(matrix.shape[1], self.rank, generator=generator).to(matrix)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "qs": dict(self.qs), "errors": dict(self.errors)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        device = next(iter(self.names)).device
        for name, ours in (("qs", self.qs), ("errors", self.errors)):
            ours.clear()
            ours.update({key: tensor.to(device) for key, tensor in state[name].items()})
