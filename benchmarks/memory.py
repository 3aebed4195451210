"""The plan's estimate of memory beside the measured peak, and what each way of saving memory saves.

    python benchmarks/memory.py [NAME ...]
    python benchmarks/memory.py --users [NAME ...]

With `--users`: what a run takes as its user runs it, whatever the allocator keeps. Each configuration is run by the real command, and
its `peak_memory_bytes` stands beside what the plan measured. Without:

Each configuration runs in a process of its own, or in as many as it has ranks, on one thread each: seven steps, with
evaluations and checkpoints on the way. Measured is the peak of its resident set (`VmHWM`) over what is resident before
the model is made, after a small run of the same kind has loaded all that is loaded late; of several ranks the largest. The allocator gives back what is freed at once, as an
accelerator's does for other tensors.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

IMAGES = ("model=vit", "training.batch_size=256", "model.width=256", "model.num_heads=8", "model.depth=6")
DEEP = ("model=vit", "training.batch_size=64", "model.width=256", "model.num_heads=8", "model.depth=12")
TEXTS = ("task=text_classification", "model=transformer", "model.width=512", "model.depth=4", "training.batch_size=16")
LM = ("task=pretrain_clm", "model=llama", "model.width=256", "model.depth=6", "training.batch_size=8")
WIDE = ("model=mlp", "model.width=4096", "training.batch_size=256")
SPREAD = ("model=vit", "training.batch_size=16", "model.width=512", "model.num_heads=8", "model.depth=8")
CONFIGS: dict[str, tuple[str, ...]] = {
    "vit": IMAGES,
    "vit-sgd": (*IMAGES, "optimizer=sgd"),
    "vit-bf16": (*IMAGES, "precision=bf16"),
    "vit-accumulate": (*IMAGES, "training.accumulate=4"),
    "vit-ema": (*IMAGES, "regularization=[ema]"),
    "deep": DEEP,
    "deep-checkpointing": (*DEEP, "memory=checkpointing"),
    "transformer": TEXTS,
    "transformer-lion": (*TEXTS, "optimizer=lion"),
    "transformer-checkpointing": (*TEXTS, "memory=checkpointing"),
    "llama": LM,
    "llama-checkpointing": (*LM, "memory=checkpointing"),
    "llama-adafactor": (*LM, "optimizer=adafactor"),
    "mlp": WIDE,
    "mlp-muon": (*WIDE, "optimizer=muon"),
    "spread-single": SPREAD,
    "spread-ddp-2": (*SPREAD, "parallel=ddp"),
    "spread-zero1-2": (*SPREAD, "parallel=zero1"),
    "spread-zero2-2": (*SPREAD, "parallel=zero2"),
    "spread-zero3-2": (*SPREAD, "parallel=zero3"),
    "spread-zero3-4": (*SPREAD, "parallel=zero3", "parallel.num_processes=4"),
    "spread-zero3-4-checkpointing": (*SPREAD, "parallel=zero3", "parallel.num_processes=4", "memory=checkpointing"),
    "spread-hsdp-4": (*SPREAD, "parallel=hsdp", "parallel.num_processes=4"),
    "spread-tensor-2": (*SPREAD, "parallel=tensor"),
    "spread-pipeline-2": (*SPREAD, "parallel=pipeline"),
    "spread-deepspeed-2": (*SPREAD, "parallel=deepspeed"),
}
USERS: dict[str, tuple[str, ...]] = {
    "mlp": ("model=mlp", "model.width=2048", "training.batch_size=256", "training.max_steps=30"),
    "cnn": ("model=cnn", "training.max_epochs=2"),
    "vit": ("model=vit", "training.batch_size=128", "training.max_epochs=3"),
    "texts": ("task=text_classification", "training.max_steps=40", "training.eval_every=20"),
    "llama": ("task=pretrain_clm", "model=llama", "training.max_steps=20", "training.eval_every=10"),
}
COMMON = (
    "tracker=[]",
    "parallel.device=cpu",
    "training.max_steps=7",
    "training.eval_every=3",
    "training.eval_batch_size=16",
    "scheduler.warmup=0",
)


def resident(field: str) -> int:
    """A field of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def run(words: list[str], folder: Path) -> float:
    """Train in `folder`, which the ranks of a run share; returns the seconds a step."""
    import torch

    from launcher.console.console import Console
    from launcher.data.samples import TensorSamples
    from launcher.process.signals import Interrupt
    from launcher.train.build import build_parallel, build_run, build_task
    from launcher.train.loops.supervised import Supervised

    config = composed(words)
    folder.mkdir(exist_ok=True)
    task = build_task(config)
    data = task.datasets()
    assert data.val is not None
    data.val = TensorSamples(**data.val.fetch(torch.arange(64)))  # the time goes into the steps
    torch.manual_seed(0)
    model = task.model()
    fit = build_run(config, folder, task, data, model, build_parallel(config), print, Interrupt())
    gc.collect()
    started = time.process_time()
    Supervised(Console(quiet=True)).fit(fit)
    return (time.process_time() - started) / fit.progress.step


def composed(words: list[str], common: tuple[str, ...] = COMMON) -> Any:
    from launcher.config import compose
    from launcher.config.checks.nodes import check

    with compose.session() as hydra:
        found = compose.compose(hydra, [*common, *words])
        check(found.config, found.origins)
    return found.config


def measure(words: list[str]) -> dict[str, float]:
    """In fresh processes: the peak over what was there before, of the rank that has the most, and its seconds a step."""
    ranks = int(composed(words).parallel.num_processes)
    with tempfile.TemporaryDirectory() as folder:
        if ranks == 1:
            return peak(words, Path(folder))
        import torch.multiprocessing as mp

        mp.spawn(rank_of, args=(ranks, folder, words), nprocs=ranks)  # type: ignore[no-untyped-call]  # torch's own
        told = [json.loads(path.read_text()) for path in Path(folder).glob("*.json")]
    return {key: max(each[key] for each in told) for key in told[0]}


def rank_of(rank: int, ranks: int, folder: str, words: list[str]) -> None:
    """One of several: joins the others, and writes what it measured into `folder`."""
    import torch.distributed as dist

    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
    os.environ.update({name: str(value) for name, value in numbers.items()})
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=ranks)
    found = peak(words, Path(folder))
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    os._exit(0)


def peak(words: list[str], folder: Path) -> dict[str, float]:
    """In this process, of a run below `folder`."""
    import torch

    torch.set_num_threads(1)
    small = [word for word in words if not word.startswith(("model.", "training.batch_size", "training.accumulate"))]
    run([*small, "training.batch_size=16"], folder / "small")
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now
    before = resident("VmRSS")
    seconds = run(words, folder / "run")
    return {"measured": resident("VmHWM") - before, "step_s": seconds}


def estimate(words: list[str], common: tuple[str, ...] = COMMON) -> dict[str, Any]:
    from launcher.preflight.memory_estimate import Estimator

    config = composed(words, common)
    return dict(vars(Estimator(config).estimate(config)))


def as_users_run(names: list[str]) -> None:
    """Print a line for each: the tensors by the estimate, the process as the plan measured it and as the run had it."""
    from launcher.preflight.first_steps import rehearse

    print("| configuration | tensors | before the model | plan | run | plan / run | over what was before |")
    print("|---|---|---|---|---|---|---|")
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    os.environ.clear()
    os.environ.update(env)
    for name in names or USERS:
        words = ["tracker=[]", "parallel.device=cpu", *USERS[name]]
        config = composed(words, ())
        found = estimate(words, ())
        taken = rehearse(config)
        assert taken is not None, name
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "launcher", f"hydra.run.dir={folder}/run", *words]
            subprocess.run(command, env=env, check=True, capture_output=True)
            peak = json.loads(Path(folder, "run", "result.json").read_text())["peak_memory_bytes"]
        sizes = (found["peak"], taken.before, taken.peak, peak)
        shown = " | ".join(f"{size / 2**20:.0f}" for size in sizes)
        over = (taken.peak - taken.before) / (peak - taken.before)
        print(f"| {name} | {shown} | {taken.peak / peak:.2f} | {over:.2f} |", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--users"]:
        as_users_run(sys.argv[2:])
        return
    if sys.argv[1:2] == ["--one"]:
        kind, name = sys.argv[2:4]
        print(json.dumps({"measure": measure, "estimate": estimate}[kind](list(CONFIGS[name]))))
        return
    print(
        "| configuration | parameters | gradients | optimizer | activations | estimate | measured | ratio | CPU s a step |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    for name in sys.argv[1:] or CONFIGS:
        found: dict[str, Any] = {}
        for kind in ("estimate", "measure"):
            done = subprocess.run(
                [sys.executable, __file__, "--one", kind, name], env=env, capture_output=True, text=True, check=False
            )
            if done.returncode:
                sys.exit(done.stderr)
            found |= json.loads(done.stdout.splitlines()[-1])
        parts = [
            found[key] / 2**20 for key in ("parameters", "gradients", "optimizer", "activations", "peak", "measured")
        ]
        shown = " | ".join(f"{part:.0f}" for part in parts)
        print(f"| {name} | {shown} | {found['peak'] / found['measured']:.2f} | {found['step_s']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
