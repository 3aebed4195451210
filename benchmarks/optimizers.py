"""A step of every optimizer beside `torch.optim.AdamW(fused=True)` and beside the best of the libraries that have it.

    python benchmarks/optimizers.py [large|small|all] [threads] [optimizer…]

`bytes` are those of the optimizer's state for each weight of the model, with all its biases, norms and embeddings.
`large` are the tensors of a transformer with 23 M weights, `small` those of one with 0.1 M. All take turns in one
process, and what counts are the ratios. On one thread the numbers are medians of the process's own time: other work on the
machine slows all of them. On several they are of the clock, each one's fastest turn, and nothing else should run. Threads wait
for each other as under `python -m launcher`.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import yaml
from omegaconf import OmegaConf
from torch import nn

from launcher import CONF
from launcher.optim.build import optimizer_of
from launcher.optim.groups import param_groups
from launcher.tasks.models.transformer import Transformer

Make = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
TURNS = {"large": 11, "small": 15}
REPEATS = {"large": 1, "small": 30}


def model(work: str) -> nn.Module:
    torch.manual_seed(0)
    if work == "large":
        return Transformer(8192, 10, 512, width=512, depth=6, num_heads=8)
    return Transformer(256, 10, 32, width=64, depth=2, num_heads=4)


def ours(entry: str) -> tuple[Make, tuple[str, ...]]:
    node = yaml.safe_load((CONF / "optimizer" / f"{entry}.yaml").read_text())
    partial = optimizer_of(OmegaConf.create(node))[0]
    return partial, getattr(partial.func, "apart", ())


def rivals() -> dict[str, dict[str, Make]]:
    import bitsandbytes
    import lion_pytorch
    import pytorch_optimizer
    import schedulefree
    import transformers

    def plain(cls: Any, **options: Any) -> Make:
        return lambda groups: cls(groups, **options)

    def hidden(cls: Any, other: Any, **options: Any) -> Make:
        """Two optimizers, as a library that has Muon for matrices alone asks for them."""

        class Both(torch.optim.Optimizer):
            def __init__(self, groups: list[dict[str, Any]]) -> None:
                super().__init__(groups, {})
                first = [group for group in self.param_groups if group["role"] == "matrix"]
                rest = [group for group in self.param_groups if group["role"] != "matrix"]
                flat = [weight for group in first for weight in group["params"]]
                keys = ("params", "weight_decay")
                self.parts = [
                    cls(flat, **options),
                    other([{k: g[k] for k in keys if k in g} for g in rest], fused=True),
                ]

            def step(self, closure: Any = None) -> None:
                for part in self.parts:
                    part.step()

        return Both

    def matrices_of_pytorch_optimizer(weights: list[torch.Tensor]) -> torch.optim.Optimizer:
        groups = [{"params": weights, "use_muon": True}]
        optimizer: torch.optim.Optimizer = pytorch_optimizer.Muon(groups, lr=1e-3, weight_decay=0.1)
        return optimizer

    def free(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        optimizer = schedulefree.AdamWScheduleFree(groups, lr=2.5e-3, weight_decay=0.01)
        optimizer.train()
        return optimizer

    return {
        "sgd": {
            f"torch {kind}": plain(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, foreach=kind == "foreach")
            for kind in ("single", "foreach")
        },
        "adam": {f"torch {kind}": plain(torch.optim.Adam, foreach=kind == "foreach") for kind in ("single", "foreach")},
        "adamw": {
            f"torch {kind}": plain(torch.optim.AdamW, foreach=kind == "foreach") for kind in ("single", "foreach")
        },
        "lion": {
            "pytorch-optimizer": plain(pytorch_optimizer.Lion, foreach=False, weight_decay=0.03),
            "pytorch-optimizer foreach": plain(pytorch_optimizer.Lion, foreach=True, weight_decay=0.03),
            "lion-pytorch": plain(lion_pytorch.Lion, weight_decay=0.03),
        },
        "adafactor": {
            "transformers": plain(
                transformers.Adafactor, lr=0.01, scale_parameter=True, relative_step=False, warmup_init=False
            ),
            "torch": plain(torch.optim.Adafactor),
            "torch foreach": plain(torch.optim.Adafactor, foreach=True),
            "pytorch-optimizer": plain(
                pytorch_optimizer.AdaFactor, lr=0.01, relative_step=False, scale_parameter=True, betas=(None, 0.999)
            ),
        },
        "muon": {
            "torch (and AdamW fused)": hidden(torch.optim.Muon, torch.optim.AdamW),
            "pytorch-optimizer (and AdamW fused)": hidden(matrices_of_pytorch_optimizer, torch.optim.AdamW),
        },
        "adamw_8bit": {"bitsandbytes": plain(bitsandbytes.optim.AdamW8bit)},
        "schedule_free": {
            "schedulefree": free,
            "pytorch-optimizer": plain(pytorch_optimizer.ScheduleFreeAdamW, lr=2.5e-3, weight_decay=0.01),
        },
    }


def stepper(make: Make, work: str, apart: tuple[str, ...] = ()) -> Callable[[], object]:
    """A call that takes one step of a fresh model's weights, whose gradients stay."""
    groups = param_groups(model(work), decays=True, apart=apart)
    for group in groups:
        for weight in group["params"]:
            weight.grad = torch.randn_like(weight) * 0.01
    return make(groups).step


def state_bytes(make: Make, work: str, apart: tuple[str, ...]) -> float:
    """Of state a weight, after a step."""
    step = stepper(make, work, apart)
    step()
    optimizer = step.__self__  # type: ignore[attr-defined]  # a bound method
    weights = sum(weight.numel() for group in optimizer.param_groups for weight in group["params"])
    tensors = [
        tensor
        for state in optimizer.state.values()
        for name, tensor in state.items()
        if isinstance(tensor, torch.Tensor) and not name.startswith("qmap")  # a table that all weights share
    ]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / weights


def measure(calls: dict[str, Callable[[], object]], work: str) -> dict[str, float]:
    """Milliseconds a call, in turns: of this process's own time on one thread, of the clock on several."""
    alone = torch.get_num_threads() == 1
    clock, typical = (time.process_time, statistics.median) if alone else (time.perf_counter, min)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(TURNS[work]):
        for name, call in calls.items():
            started = clock()
            for _ in range(REPEATS[work]):
                call()
            times[name].append((clock() - started) / REPEATS[work] * 1000)
    return {name: typical(found) for name, found in times.items()}


def main() -> None:
    chosen = sys.argv[1] if len(sys.argv) > 1 else "all"
    torch.set_num_threads(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    theirs = rivals()
    for work in ("large", "small") if chosen == "all" else (chosen,):
        count = sum(parameter.numel() for parameter in model(work).parameters())
        print(f"\n{work}: {count / 1e6:.2f} M weights\n")
        print("| optimizer | bytes | x AdamW(fused) | the best library, x AdamW(fused) | ours / best |")
        print("|---|---|---|---|---|")
        for entry in sys.argv[3:] or sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml")):
            make, apart = ours(entry)
            calls = {"adamw fused": stepper(ours("adamw")[0], work), "ours": stepper(make, work, apart)}
            roles = ("matrix",) if entry == "muon" else ()
            calls |= {name: stepper(other, work, roles) for name, other in theirs[entry].items()}
            found = measure(calls, work)
            base = found.pop("adamw fused")
            own = found.pop("ours")
            best = min(found, key=found.__getitem__)
            print(
                f"| `{entry}` | {state_bytes(make, work, apart):.2f} | {own / base:.2f} | {found[best] / base:.2f} ({best}) | {own / found[best]:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    if "OMP_WAIT_POLICY" not in os.environ:  # torch has read it by now
        waiting = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "10000"}
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | waiting)
    main()
