"""Every way of running in parallel beside one process: the largest difference of 20 losses, in float32.

    python benchmarks/parity.py [strategy …]       all of them, or those named; prints the table of docs/parallel.md

Each cell is a run of the real workers, of the same config but for `parallel=`; the global batch is the same. A
combination that is refused is shown with the reason that the command gives.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch

from launcher import compose
from launcher.check import check
from launcher.console import Console
from launcher.elastic import run_workers
from launcher.errors import ConfigError
from launcher.folder import write_config
from launcher.signals import Interrupt
from launcher.trackers.jsonl import read
from launcher.worker import work

STRATEGIES = {
    "ddp x 2": ("parallel=ddp",),
    "zero1 x 2": ("parallel=zero1",),
    "zero2 x 2": ("parallel=zero2",),
    "zero3 x 2": ("parallel=zero3",),
    "zero3 x 4": ("parallel=zero3", "parallel.num_processes=4"),
    "fsdp x 2": ("parallel=fsdp",),
    "fsdp x 2, offload": ("parallel=fsdp", "parallel.offload=true"),
    "hsdp 2 x 2": ("parallel=hsdp",),
}
MODELS = {
    "classifier": ("model=cnn", "model.dropout=0", "model.norm=layer"),
    "Llama": ("task=pretrain_clm", "model.width=64", "model.depth=2", "task.sequence_length=32"),
}
OPTIMIZERS = ("sgd", "adamw", "lion", "adafactor")
ACCUMULATE = (1, 4)
COMMON = (
    "tracker=[]",
    "training.batch_size=16",
    "training.max_steps=20",
    "training.log_every=1",
    "training.clip_norm=1",
    "scheduler=constant",
)


def losses(folder: Path, *overrides: str) -> list[float]:
    """The training losses of a run, by its workers. Raises ConfigError where it is refused."""
    with compose.session() as hydra:
        composed = compose.compose(hydra, [*COMMON, *overrides])
        check(composed.config, composed.origins)
    config = composed.config
    folder.mkdir()
    write_config(config, folder)
    if config.parallel.num_processes > 1:
        with quiet():
            run_workers(config, folder, False, Console(quiet=True), Interrupt())
    else:
        work(config, folder, False, Console(quiet=True), Interrupt())
    return [line["train/loss"] for line in read(folder / "metrics.jsonl") if "train/loss" in line]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing on stdout, of the workers neither."""
    kept = os.dup(1)
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def cell(folder: Path, reference: list[float], *overrides: str) -> str:
    """The largest difference from one process, or what the refusal says."""
    try:
        found = losses(folder, *overrides)
    except ConfigError as error:
        return f"refused: {str(error).splitlines()[0]}"
    assert len(found) == len(reference) == 20
    return f"{max(abs(a - b) for a, b in zip(found, reference, strict=True)):.0e}"


def main() -> None:
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    chosen = {name: words for name, words in STRATEGIES.items() if not sys.argv[1:] or name.split()[0] in sys.argv[1:]}
    columns = list(product(MODELS, OPTIMIZERS, ACCUMULATE))
    refused: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        table: dict[tuple[str, tuple[str, str, int]], str] = {}
        for number, (model, optimizer, accumulate) in enumerate(columns):
            words = (*MODELS[model], f"optimizer={optimizer}")
            alone = losses(root / f"{number}-alone", *words)  # in one piece a step
            for index, (strategy, placement) in enumerate(chosen.items()):
                found = cell(root / f"{number}-{index}", alone, *words, f"training.accumulate={accumulate}", *placement)
                if found.startswith("refused"):
                    reason = found.removeprefix("refused: ")
                    refused += [reason] if reason not in refused else []
                    found = f"refused ({refused.index(reason) + 1})"
                table[strategy, (model, optimizer, accumulate)] = found
                print(strategy, model, optimizer, accumulate, found, file=sys.stderr, flush=True)
    for model in MODELS:
        heads = [(optimizer, accumulate) for optimizer in OPTIMIZERS for accumulate in ACCUMULATE]
        print(f"\n| {model} | " + " | ".join(f"{optimizer}, {accumulate}" for optimizer, accumulate in heads) + " |")
        print("|---" * (len(heads) + 1) + "|")
        for strategy in chosen:
            cells = [table[strategy, (model, *head)] for head in heads]
            print(f"| {strategy} | " + " | ".join(cells) + " |")
    print()
    for number, reason in enumerate(refused, start=1):
        print(f"{number}. {reason}")


if __name__ == "__main__":
    main()
