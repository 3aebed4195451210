"""Whether a step's samples can be cut into its portions, and a model's heads dealt out to its ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil
from typing import Any

from launcher.config.parallel_degrees import Degrees, degrees
from launcher.errors import ConfigError

Where = Callable[[str], str]


def _micro_batches(config: dict[str, Any], laid: Degrees, where: Where) -> Iterator[str]:
    """A pipeline's micro-batches."""
    settings, batch, accumulate = config["parallel"], config["training"]["batch_size"], config["training"]["accumulate"]
    num, depth = settings["num_microbatches"] * accumulate, laid.pipeline
    cut = num * laid.data
    if batch % cut:
        near = sorted({max(1, batch // cut) * cut, ceil(batch / cut) * cut})
        yield f"{where('parallel.num_microbatches')}: a step of training.batch_size={batch} samples can not be cut into {cut} portions; training.batch_size={' or '.join(map(str, near))} can"
    elif settings["schedule"] == "1f1b" and num < depth:
        yield f"{where('parallel.num_microbatches')}: schedule=1f1b over {depth} stages needs as many micro-batches at least, and there are {num}"
    elif settings["schedule"] == "interleaved" and num % depth:
        yield f"{where('parallel.num_microbatches')}: schedule=interleaved over {depth} processes needs a multiple of that many micro-batches, and there are {num}"


def portions(config: dict[str, Any], where: Where) -> Iterator[str]:
    """One line for what can not be cut."""
    batch, accumulate = config["training"]["batch_size"], config["training"]["accumulate"]
    try:
        laid = degrees(config["parallel"])
    except ConfigError as error:
        yield str(error)
        return
    if "num_microbatches" in config["parallel"]:
        yield from _micro_batches(config, laid, where)
        return
    for name in ("num_heads", "num_kv_heads"):
        num = config["model"].get(name)
        if isinstance(num, int) and num % laid.tensor:
            yield f"{where(f'model.{name}')}: {num} attention heads can not be dealt out to parallel.tensor_size={laid.tensor} processes; a multiple of it can"
    ranks = laid.data
    cut = accumulate * ranks
    if batch % cut:
        near = sorted({max(1, batch // cut) * cut, ceil(batch / cut) * cut})
        key = "training.batch_size" if accumulate == 1 else "training.accumulate"
        yield (
            f"{where(key)}: a step of training.batch_size={batch} samples can not be cut into training.accumulate={accumulate} "
            f"x {ranks} process(es); training.batch_size={' or '.join(map(str, near))} can"
        )
