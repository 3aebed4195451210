"""Every way of running in parallel beside one process: the largest difference of 20 losses, in float32.

    python benchmarks/parity.py [strategy …]       all of them, or those named; writes docs/parity.md

A strategy is an entry of conf/parallel, or one of VARIANTS. Each cell is a run of the real workers, of the same config
but for `parallel=`; the global batch is the same. A combination that is refused is shown with the reason that the
command gives. What was found is kept in benchmarks/parity.json, so that the table can be made in several turns.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch

from launcher import CONF
from launcher.artifacts.folder import write_config
from launcher.artifacts.metrics_file import read
from launcher.config import compose
from launcher.config.checks.nodes import check
from launcher.console.console import Console
from launcher.errors import ConfigError
from launcher.launch.elastic import PRELOAD, run_workers
from launcher.process.forkserver import start_server
from launcher.process.signals import Interrupt
from launcher.train.worker import work

VARIANTS = {
    "deepspeed, stage 1": ("parallel=deepspeed", "parallel.stage=1"),
    "deepspeed, stage 2": ("parallel=deepspeed", "parallel.stage=2"),
    "fsdp, offload": ("parallel=fsdp", "parallel.offload=true"),
    "zero3, 4 processes": ("parallel=zero3", "parallel.num_processes=4"),
    "tensor, 2 shards": ("parallel=tensor", "parallel.num_processes=4", "parallel.shard_size=2"),
    "model, 2 devices": ("parallel=model", "parallel.devices=[cpu,cpu]"),
    "pipeline, gpipe": ("parallel=pipeline", "parallel.schedule=gpipe"),
    "pipeline, interleaved": ("parallel=pipeline", "parallel.schedule=interleaved"),
    "pipeline, 2 copies": (
        "parallel=pipeline",
        "parallel.num_processes=4",
        "parallel.num_stages=2",
        "parallel.num_microbatches=2",  # 16 samples are 2 x 4 x 2
    ),
}
"""What is shown beside the entries of conf/parallel as they are."""
LATE = ("torchmetrics.classification", "transformers.models.llama.modeling_llama", "deepspeed")
"""What workers import after their start, in each run anew: here the server that they are forked from has it."""
MODELS = {
    "classifier": ("model=vit", "model.dropout=0", "model.width=32", "model.depth=2"),
    "Llama": ("task=pretrain_clm", "model.width=64", "model.depth=2", "task.sequence_length=32"),
}
OPTIMIZERS = ("sgd", "adamw", "lion", "adafactor")
ACCUMULATE = (1, 4)
COMMON = (
    "tracker=[]",
    "training.batch_size=16",
    "training.max_steps=20",
    "training.log_every=1",
    "training.eval_every=null",
    "training.clip_norm=1",
    "scheduler=constant",
)
FOUND = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parent.parent / "docs" / "parity.md"
HEAD = """# Beside one process

```
python benchmarks/parity.py          # makes this page
python benchmarks/parity.py zero3    # prints one line of each table
```

The largest difference of 20 training losses from those of one process at the same global batch, in float32, with
`training.clip_norm=1`. The number in a head is `training.accumulate`; the one process takes each step in one piece. The
classifier is a ViT of two blocks 32 wide, the Llama has two blocks 64 wide. The strategies are those of
[several processes](parallel.md), as many processes as an entry has by default on a machine without GPUs, or as said.

Lion takes the sign of what it has summed up: where rounding turns one round, a weight is two whole steps away, which is
what 2e-05 are. A classifier of texts was 4e-05 off from its 17th step on: the signs that differed first were those of 2e-11
and 3e-08, beside a largest of 4e-03. In float64 the same losses differ by less than 1e-12 (`tests/parallel/test_tensor.py`).
"""


def strategies() -> dict[str, tuple[str, ...]]:
    """The overrides of each line of the tables."""
    return {path.stem: (f"parallel={path.stem}",) for path in sorted((CONF / "parallel").glob("*.yaml"))} | VARIANTS


def composed(*overrides: str) -> Any:
    """The finished config of a command. Raises ConfigError where it is refused."""
    with compose.session() as hydra:
        found = compose.compose(hydra, list(overrides))
        check(found.config, found.origins)
    return found.config


def run(config: Any, folder: Path, interrupt: Interrupt) -> None:
    """What the command does with a finished config, in `folder`, without a word."""
    folder.mkdir()
    write_config(config, folder)
    if config.parallel.num_processes > 1:
        with quiet():
            run_workers(config, folder, False, Console(quiet=True), interrupt)
    else:
        work(config, folder, False, Console(quiet=True), interrupt)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing on stdout, of the workers neither."""
    sys.stdout.flush()
    kept = os.dup(1)
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def losses(folder: Path, *overrides: str) -> list[float]:
    """The training losses of a run, by its workers. Raises ConfigError where it is refused."""
    run(composed(*COMMON, *overrides), folder, Interrupt())
    return [line["train/loss"] for line in read(folder / "metrics.jsonl") if "train/loss" in line]


def cell(folder: Path, reference: list[float], *overrides: str) -> float | str:
    """The largest difference from one process, or what the refusal says."""
    try:
        found = losses(folder, *overrides)
    except ConfigError as error:
        return str(error).splitlines()[0]
    assert len(found) == len(reference) == 20
    return max(abs(a - b) for a, b in zip(found, reference, strict=True))


def page(found: dict[str, dict[str, float | str]]) -> str:
    """docs/parity.md: a table a model, and below them why what is refused is."""
    text, refused = HEAD, []
    heads = [f"{optimizer}, {accumulate}" for optimizer, accumulate in product(OPTIMIZERS, ACCUMULATE)]
    for model in MODELS:
        text += f"\n| {model} | " + " | ".join(heads) + " |\n" + "|---" * (len(heads) + 1) + "|\n"
        for strategy in (name for name in strategies() if name in found):
            cells = []
            for head in heads:
                value = found[strategy].get(f"{model}, {head}")
                if isinstance(value, str):
                    refused += [value] if value not in refused else []
                cells.append(
                    ""
                    if value is None
                    else f"{value:.0e}"
                    if isinstance(value, float)
                    else f"({refused.index(value) + 1})"
                )
            text += f"| {strategy} | " + " | ".join(cells) + " |\n"
    text += "\nRefused before anything starts, in these words:\n\n"
    return text + "".join(f"{number}. {reason}\n" for number, reason in enumerate(refused, start=1))


def main() -> None:
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    known = strategies()
    unknown = set(sys.argv[1:]) - set(known)
    if unknown:
        raise SystemExit(f"{', '.join(sorted(unknown))}: no such strategy; there are {', '.join(known)}")
    os.environ["DS_ACCELERATOR"] = "cpu"
    with quiet():
        start_server([*PRELOAD.split(","), *LATE])
    found = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        alone: dict[tuple[str, str], list[float]] = {}
        for index, strategy in enumerate(sys.argv[1:] or known):
            found[strategy] = {}
            for number, (model, optimizer, accumulate) in enumerate(product(MODELS, OPTIMIZERS, ACCUMULATE)):
                words = (*MODELS[model], f"optimizer={optimizer}")
                if (model, optimizer) not in alone:
                    alone[model, optimizer] = losses(root / f"alone-{number}", *words)
                value = cell(
                    root / f"{index}-{number}",
                    alone[model, optimizer],
                    *words,
                    f"training.accumulate={accumulate}",
                    *known[strategy],
                )
                found[strategy][f"{model}, {optimizer}, {accumulate}"] = value
                print(strategy, model, optimizer, accumulate, value, flush=True)
            FOUND.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
            PAGE.write_text(page(found))


if __name__ == "__main__":
    main()
