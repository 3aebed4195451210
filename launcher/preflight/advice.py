"""Whether a run fits into the memory of its device, what would make it fit, and how fast the device is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from launcher import CONF
from launcher.config.signatures import locate, signature
from launcher.console.numbers import size
from launcher.errors import ConfigError

from .capacity import Room, here, room
from .memory_estimate import Estimate, Estimator

PLAIN = "launcher.memory.activations.Memory"


def fits(found: Estimate, there: Room) -> bool:
    return found.peak + there.taken <= there.total


def cheapest(estimator: Estimator, config: DictConfig, found: Estimate, there: Room) -> tuple[str, Estimate] | None:
    """The first of the changes, in the order of what they cost, with which the run fits, in words; None where none does.
    What is known to be taken beside the tensors stays."""
    for words, changed in changes(config, found, there):
        try:
            tried = estimator.estimate(changed)
        except ConfigError:
            continue  # a model without blocks
        left = room(changed)
        if fits(tried, replace(left, taken=max(left.taken, there.taken))):
            return words, tried
    return None


def changes(config: DictConfig, found: Estimate, there: Room) -> Iterator[tuple[str, DictConfig]]:
    """Smaller portions cost next to nothing, computing again a third of a step, splitting the model communication."""
    settings, ranks = config.training, int(config.parallel.num_processes)
    portions = [settings.accumulate]
    while settings.batch_size % (2 * portions[-1] * ranks) == 0:
        portions.append(2 * portions[-1])
    fixed = found.parameters + found.gradients + found.optimizer + found.extra + found.buffers
    if fixed + there.taken < there.total:  # else activations are not what is too much
        plain = config.memory._target_ == PLAIN
        blocks = "blocks" in signature(config.model._target_).facts.get("offers", ())
        for memory in ("", *(("checkpointing",) if plain and blocks else ())):
            for accumulate in portions:
                if memory or accumulate != settings.accumulate:
                    changed = config.copy()
                    changed.training.accumulate = accumulate
                    words = [f"training.accumulate={accumulate}"] if accumulate != settings.accumulate else []
                    if memory:
                        changed.memory = OmegaConf.load(CONF / "memory" / f"{memory}.yaml")
                        words = [f"memory={memory}", *words]
                    yield " ".join(words), changed
    if ranks > 1:
        for name, node in sorted(strategies(config).items(), key=lambda each: each[0]):
            changed = config.copy()
            changed.parallel = node
            yield f"parallel={name}", changed


def strategies(config: DictConfig) -> dict[str, Any]:
    """The entries of conf/parallel that spread more over the ranks than the config's own does, for as many ranks."""

    def spread(node: Any) -> tuple[int, ...]:
        shares = locate(node["_target_"]).shares(node)
        return shares.parameters, shares.gradients, shares.optimizer

    own, found = spread(config.parallel), {}
    for path in CONF.glob("parallel/*.yaml"):
        node: Any = OmegaConf.load(path)
        node.num_processes = config.parallel.num_processes
        for key in ("device", "device_memory_gb"):
            node[key] = config.parallel.get(key)
        try:
            more = spread(node)
        except Exception:  # an entry whose package is not installed, or that needs more than a number of ranks
            continue
        if sum(more) > sum(own):
            found[path.stem] = node
    return found


def refuse(config: DictConfig) -> None:
    """Raise ConfigError where the memory of the device is stated and the run can not fit into it."""
    if config.parallel.get("device_memory_gb") is None:
        return
    estimator, there = Estimator(config), room(config)
    found = estimator.estimate(config)
    if not fits(found, there):
        stated = f"parallel.device_memory_gb={config.parallel.device_memory_gb:g}"
        raise ConfigError(
            f"{stated}: the run {said(found, there)}; {advice(cheapest(estimator, config, found, there))}"
        )


def refuse_at_sight(config: DictConfig) -> None:
    """Raise ConfigError where a rank of the run can not fit into the memory that was found; of a run that can not be gone
    through nothing is said."""
    there, estimator = room(config, here()), Estimator(config)
    try:
        found = estimator.estimate(config)
    except ConfigError:
        return
    if not fits(found, there):
        raise ConfigError(f"the run {said(found, there)}; {advice(cheapest(estimator, config, found, there))}")


def said(found: Estimate, there: Room) -> str:
    """The verdict in words."""
    needed = size(found.peak + there.taken)
    return f"{'fits' if fits(found, there) else 'does not fit'}: {needed} of the {there.words}"


def advice(change: tuple[str, Estimate] | None) -> str:
    if change is None:
        return "no change of portions, memory or strategy makes it fit: a smaller model, or more ranks"
    return f"the cheapest change that fits: {change[0]} ({size(change[1].peak)})"


def speed(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second that products of matrices reach on a device, over about a tenth of a second."""
    edge = 4096 if device.type == "cuda" else 512
    left = torch.ones(edge, edge, device=device, dtype=dtype)
    right, times = left.clone(), 0
    for _ in range(3):
        left @ right

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    wait()
    started = time.perf_counter()
    while time.perf_counter() - started < 0.1:
        left @ right
        times += 1
    wait()
    return times * 2 * edge**3 / (time.perf_counter() - started)
