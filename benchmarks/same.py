"""Two checkouts beside each other: do the same commands train the same weights to the same numbers, bit for bit?

    python benchmarks/same.py BEFORE AFTER [name …]

BEFORE and AFTER are checkouts that each have a `.venv`. Every task, every optimizer, three ways of running in parallel,
a run that is stopped and resumed, and a sweep that promotes its trials are run by both. Compared are the names of the
files of a run's folder, the lines of metrics.jsonl, result.json, the tensors of the checkpoints and of `model/`; times,
versions and addresses of the machine are left out. A change that is not meant to change numbers leaves nothing to print
but `the same`. The exit status is the number of runs that differ.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open

SHORT = (
    "tracker=[]",
    "training.max_epochs=null",
    "training.max_steps=12",
    "training.log_every=1",
    "training.eval_every=6",
    "training.checkpoint_every=6",
)
"""Of every run of a module: long enough for a schedule to move and for two checkpoints."""
ESTIMATOR = ("tracker=[]", "task=tabular", "model=logistic_regression")
TEXT = ("model.width=32", "model.depth=1", "training.batch_size=8")
TIMES = {
    *("time_s", "wall_s", "steps_per_s", "samples_per_s", "peak_memory_bytes", "versions", "git", "started", "ended"),
    *("began", "at", "command", "host", "folder", "tokens_per_s", "train/step_time_s", "energy_kwh", "emissions_kg"),
}


def cases(checkout: Path) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """The name and the commands of each comparison; `RUN` stands for the folder."""
    for path in sorted((checkout / "conf" / "task").glob("*.yaml")):
        words = TEXT if path.stem in ("pretrain_clm", "text_classification") else ()
        yield f"task {path.stem}", [(f"task={path.stem}", *words, *SHORT, "hydra.run.dir=RUN")]
    yield "task tabular, an estimator", [(*ESTIMATOR, "hydra.run.dir=RUN")]
    for path in sorted((checkout / "conf" / "optimizer").glob("*.yaml")):
        words = ("model=mlp", f"optimizer={path.stem}", "training.clip_norm=1.0", *SHORT, "hydra.run.dir=RUN")
        yield f"optimizer {path.stem}", [words]
    for name in ("ddp", "zero3", "pipeline"):
        words = ("model=vit", "model.width=16", "model.num_heads=2", "model.depth=2", f"parallel={name}")
        yield f"parallel {name}", [(*words, *SHORT, "hydra.run.dir=RUN")]
    algorithms = ("regularization=[sam,ema,label_smoothing]", "augment=[mixup]", "training.accumulate=2")
    yield "sam, ema, label smoothing, mixup", [("model=cnn", *algorithms, *SHORT, "hydra.run.dir=RUN")]
    half = ("model=cnn", *SHORT, "hydra.run.dir=RUN")
    yield "resumed", [half, ("resume=RUN", "training.max_steps=20")]
    sweep = ("-m", "search=halving", "model=mlp", "tracker=[]", "training.max_epochs=4", "hydra.sweeper.n_trials=6")
    swept = ("optimizer.lr=tag(log,interval(1e-4,1e-1))", "hydra.sweep.dir=RUN", "hydra.sweeper.study_name=.")
    yield "a sweep that promotes", [(*sweep, *swept, "hydra.sweeper.n_jobs=1")]


def run(checkout: Path, commands: list[tuple[str, ...]], folder: Path) -> str:
    """Run the commands with the checkout's own Python; returns what went wrong, or nothing."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    for words in commands:
        filled = [word.replace("RUN", str(folder)) for word in words]
        command = [str(checkout / ".venv" / "bin" / "python"), "-m", "launcher", *filled]
        done = subprocess.run(command, cwd=folder.parent, env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return f"exit {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"
    return ""


def plain(value: Any) -> Any:
    """The same value without times and what speaks of the machine."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items() if key not in TIMES and not key.startswith("time/")}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


def content(path: Path) -> Any:
    """What of a file has to be equal: numbers of records, bits of tensors; None for a file that only has to be there."""
    if path.name == "metrics.jsonl":
        return [plain(json.loads(line)) for line in path.read_text().splitlines()]
    if path.name == "result.json":
        return plain(json.loads(path.read_text()))
    if path.suffix == ".safetensors":
        with safe_open(str(path), "np") as file:
            return {key: file.get_tensor(key).tobytes() for key in sorted(file.keys())}
    return None


def differences(before: Path, after: Path) -> Iterator[str]:
    names = [
        {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not path.is_symlink()}
        for root in (before, after)
    ]
    for name in sorted(names[0] ^ names[1]):
        yield f"{name} only {'before' if name in names[0] else 'after'}"
    for name in sorted(names[0] & names[1]):
        first, second = content(before / name), content(after / name)
        if first != second:
            keys = [key for key in first if first.get(key) != second.get(key)] if isinstance(first, dict) else ""
            yield f"{name} differs {keys}"


def main(words: list[str]) -> int:
    checkouts, wanted, different = [Path(word).resolve() for word in words[:2]], words[2:], 0
    for name, commands in cases(checkouts[0]):
        if wanted and not any(word in name for word in wanted):
            continue
        with tempfile.TemporaryDirectory() as place:
            folders, errors = [], []
            for side, checkout in zip(("before", "after"), checkouts, strict=True):
                (Path(place) / side).mkdir()
                folders.append(Path(place) / side / "run")
                errors.append(run(checkout, commands, folders[-1]))
            found = [error for error in errors if error] or list(differences(*folders))
        different += bool(found)
        print(f"{name}: {'; '.join(found) or 'the same'}", flush=True)
    return different


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
