"""What watching costs: the same steps without any monitor and with all of them, in turns, as a ratio of medians.

A step's forward pass waits so long that it takes 20 ms; the second half of each run counts. Threads wait for each other as under
`python -m launcher`. `python benchmarks/monitors.py [rounds] [steps]`.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from launcher.artifacts.folder import write_config
from launcher.artifacts.metrics_file import FILE, read
from launcher.config import compose
from launcher.config.checks.nodes import check
from launcher.console.console import Console
from launcher.process.signals import Interrupt
from launcher.tasks.image_classification import ImageClassification
from launcher.train.worker import work

ALL = "monitor=[learning_rate,gradient_norm,gradient_health,update_ratio,step_time,flops,system,carbon]"
STEP_S = 0.02


def config_of(*words: str) -> DictConfig:
    with compose.session() as hydra:
        composed = compose.compose(hydra, ["model=mlp", "tracker=[]", "training.eval_every=0", *words])
        check(composed.config, composed.origins)
    return composed.config


def waiting(forward: Any) -> Any:
    """A forward pass that ends 20 ms after it began."""

    def slow(self: ImageClassification, model: Any, batch: Any) -> Any:
        ends = time.perf_counter() + STEP_S
        output = forward(self, model, batch)
        while time.perf_counter() < ends:
            time.sleep(0.0005)
        return output

    return slow


def main(rounds: int = 5, steps: int = 800) -> None:
    ImageClassification.forward = waiting(ImageClassification.forward)  # type: ignore[method-assign]
    configs = {
        "none": config_of(f"training.max_steps={steps}", "monitor=[]"),
        "all": config_of(f"training.max_steps={steps}", ALL),
    }
    took: dict[str, list[float]] = {name: [] for name in configs}
    for number in range(rounds + 1):
        for name, config in configs.items():
            with tempfile.TemporaryDirectory() as folder:
                write_config(config, Path(folder))
                work(config, Path(folder), False, Console(quiet=True), Interrupt())
                lines = read(Path(folder) / FILE)
            late = lines[len(lines) // 2 :]  # what is done once, at the start, is another matter
            if number:  # the first of each imports what the others have
                took[name].append(
                    1000 * (late[-1]["time_s"] - late[0]["time_s"]) / (late[-1]["step"] - late[0]["step"])
                )
    for name, each in took.items():
        print(f"{name:5} {statistics.median(each):6.2f} ms a step ({min(each):.2f} to {max(each):.2f})")
    print(f"ratio {statistics.median(took['all']) / statistics.median(took['none']):.4f}")


if __name__ == "__main__":
    if "OMP_WAIT_POLICY" not in os.environ:  # torch has read it by now
        waiting = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "10000"}
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | waiting)
    main(*map(int, sys.argv[1:]))
