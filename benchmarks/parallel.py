"""What several processes cost beside the plain way: `python benchmarks/parallel.py [start|ddp|fsdp|scale …]`.

start   from the call to the first collective of two workers, beside `torch.multiprocessing.spawn` of a function that
        imports the same modules
ddp     a step of two ranks beside a loop with DistributedDataParallel that is written by hand
fsdp    the same beside `fully_shard`
scale   samples a second of two ranks beside one process, each with one thread

All but the first train a Llama of 4 layers, 128 wide, on 128 tokens, with AdamW and clipping. Each is a process of its
own; medians of ROUNDS rounds, in turn.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 3
STEPS = (10, 40)
BATCH = {"ddp": 16, "fsdp": 16, "scale": 32}
RUN = (
    "task=pretrain_clm",
    "model.width=128",
    "model.depth=4",
    "task.sequence_length=128",
    "optimizer=adamw",
    "scheduler=constant",
    "training.clip_norm=1",
    "training.max_epochs=null",
    f"training.max_steps={STEPS[1]}",
    f"training.log_every={STEPS[0]}",
    "training.eval_every=null",
    "training.checkpoint_every=null",
    "tracker=[]",
    "hydra.run.dir=run",
)


def ours(*words: str) -> float:
    """Milliseconds a step of the real command, between two of its log lines."""
    from launcher.artifacts.metrics_file import read

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "launcher", *RUN, *words]
        done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        lines = list(read(Path(folder) / "run" / "metrics.jsonl"))
        when = {line["step"]: line["time_s"] for line in lines if "train/loss" in line}
    return (when[STEPS[1]] - when[STEPS[0]]) / (STEPS[1] - STEPS[0]) * 1e3


def own(*words: str) -> float:
    """The number that this file prints last, with `words`."""
    command = [sys.executable, __file__, *words]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout.split()[-1])


def environment() -> dict[str, str]:
    trust = {"LAUNCHER_TRUST": "benchmarks.*", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return os.environ | trust


def by_hand(rank: int, kind: str, meet: str) -> None:
    """The loop that a person writes; prints the milliseconds a step."""
    import torch
    import torch.distributed as dist
    from loop import llama
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel
    from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    torch.manual_seed(0)
    model, tokens = llama()
    data = TensorDataset(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
    sampler: DistributedSampler[Any] = DistributedSampler(data)
    loader = DataLoader(data, batch_size=BATCH[kind] // 2, sampler=sampler, drop_last=True)
    if kind == "ddp":
        model = DistributedDataParallel(model)
    else:
        for layer in model.model.layers:
            fully_shard(layer)
        fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    step, started = 0, 0.0
    while True:
        for batch, target in loader:
            loss = torch.nn.functional.cross_entropy(model(batch).logits.flatten(0, 1), target.flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if step % STEPS[0] == 0:
                loss.item()
            if step == STEPS[0]:
                started = time.perf_counter()
            if step == STEPS[1]:
                if rank == 0:
                    print(f"{(time.perf_counter() - started) / (STEPS[1] - STEPS[0]) * 1e3:.4f}", flush=True)
                dist.barrier()
                os._exit(0)


def first_collective(rank: int, meet: str, path: str) -> None:
    """A bare worker: the imports, the process group, one collective."""
    from launcher.launch.elastic import PRELOAD

    for name in PRELOAD.split(","):
        __import__(name)
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    dist.all_reduce(torch.zeros(1))
    if rank == 0:
        Path(path).write_text(str(time.time()))
    dist.barrier()
    os._exit(0)


@contextlib.contextmanager
def meeting() -> Iterator[tuple[str, str]]:
    """Where two processes meet, and a file for what one of them has to say."""
    with tempfile.TemporaryDirectory() as folder:
        yield f"file://{folder}/meet", f"{folder}/said"


def spawned(function: Callable[..., None], *words: str) -> float:
    """Seconds from the call to the first collective, or 0 where the function prints what it found."""
    import torch.multiprocessing as mp

    with meeting() as (meet, path):
        arguments = (meet, path) if function is first_collective else (*words, meet)
        started = time.time()
        mp.spawn(function, args=arguments, nprocs=2)  # type: ignore[no-untyped-call]  # torch's own
        return float(Path(path).read_text()) - started if function is first_collective else 0.0


def start() -> float:
    """Seconds from the call of `run_workers` to the first collective of its workers."""
    import torch  # noqa: F401  # as in the process beside

    from launcher.artifacts.folder import write_config
    from launcher.config import compose
    from launcher.config.checks.nodes import check
    from launcher.console.console import Console
    from launcher.launch.elastic import run_workers
    from launcher.process.signals import Interrupt

    with meeting() as (_, path):
        with compose.session() as hydra:
            words = ["model=mlp", "parallel=ddp", "parallel.num_processes=2", "tracker=[]", "training.max_steps=1"]
            probe = [
                "+monitor.first._target_=benchmarks.probes.FirstCollective",
                f"+monitor.first.path={path}",
            ]
            found = compose.compose(hydra, [*words, *probe])
            check(found.config, found.origins)
        folder = Path(path).parent / "run"
        folder.mkdir()
        write_config(found.config, folder)
        started = time.time()
        run_workers(found.config, folder, False, Console(quiet=True), Interrupt())
        return float(Path(path).read_text()) - started


def compared(title: str, unit: str, measures: dict[str, Callable[[], float]], bound: float) -> None:
    """Time both in turn; print the medians and the first one's ratio to the second."""
    taken: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(ROUNDS):
        for name, measure in measures.items():
            taken[name].append(measure())
    medians = {name: statistics.median(values) for name, values in taken.items()}
    print(f"\n{title}")
    for name, values in taken.items():
        print(f"  {name:24} {medians[name]:9.3f} {unit}   ({min(values):.3f} to {max(values):.3f})")
    first, second = medians.values()
    print(f"  ratio {first / second:.3f}   bound {bound}", flush=True)


PARTS: dict[str, Callable[[], None]] = {
    "start": lambda: compared(
        "the call to the first collective of two workers",
        "s",
        {"launcher": lambda: own("--start"), "torch.multiprocessing": lambda: own("--bare")},
        1.2,
    ),
    "ddp": lambda: compared(
        "a step of two ranks, data parallel",
        "ms",
        {
            "parallel=ddp": lambda: ours("parallel=ddp", f"training.batch_size={BATCH['ddp']}"),
            "by hand": lambda: own("--hand", "ddp"),
        },
        1.03,
    ),
    "fsdp": lambda: compared(
        "a step of two ranks, fully sharded",
        "ms",
        {
            "parallel=fsdp": lambda: ours("parallel=fsdp", f"training.batch_size={BATCH['fsdp']}"),
            "by hand": lambda: own("--hand", "fsdp"),
        },
        1.05,
    ),
    "scale": lambda: compared(
        "samples a second, one thread a process",
        "/s",
        {
            "two ranks": lambda: BATCH["scale"] / ours("parallel=ddp", f"training.batch_size={BATCH['scale']}") * 1e3,
            "one process": lambda: BATCH["scale"] / ours(f"training.batch_size={BATCH['scale']}") * 1e3,
        },
        1.8,
    ),
}


def main() -> None:
    asked = sys.argv[1:] or list(PARTS)
    if asked[0] == "--hand":
        spawned(by_hand, asked[1])
    elif asked[0] == "--bare":
        print(spawned(first_collective))
    elif asked[0] == "--start":
        print(start())
    else:
        for part in asked:
            if part not in PARTS:
                raise SystemExit(f"{part}: no such part; there are {', '.join(PARTS)}")
            PARTS[part]()


if __name__ == "__main__":
    main()
