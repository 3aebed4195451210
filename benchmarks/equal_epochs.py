"""What searches that end or change runs early find in as many epochs: `python benchmarks/equal_epochs.py [SEARCH…]`.

Runs of nine epochs of the digits, some 138 epochs in all: 15 to the end at random, or as many as the rungs leave time
for, or a population of 15. It is the real command, but its trials run in this process one after the other, so that nothing
but training takes time; no search begins with a point that is known.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SEARCHES = {
    "random": ("search=random", "hydra.sweeper.n_trials=15"),
    "halving": ("search=halving", "hydra.sweeper.n_trials=62", "hydra.sweeper.pruner.promote=true"),
    "hyperband": ("search=hyperband", "hydra.sweeper.n_trials=34"),
    "bohb": ("search=bohb", "hydra.sweeper.n_trials=34", "hydra.sweeper.default_first=false"),
    "pbt": ("search=pbt", "hydra.sweeper.sampler.population=15"),
}
SPACE = (
    "model=mlp", "model.width=32", "training.batch_size=128", "training.max_epochs=9", "tracker=[]", "training.export=false",
    "optimizer.lr=tag(log,interval(1e-5,1))", "optimizer.weight_decay=tag(log,interval(1e-4,1))",
    "model.dropout=interval(0,0.5)", "hydra.sweeper.keep_trials=1", "hydra.sweeper.study_name=bench", "hydra.sweeper.n_jobs=1",
)  # fmt: skip


def searched(name: str, seed: int) -> tuple[float, float]:
    """The best accuracy that a search comes to, and the epochs that it has trained."""
    from launcher.__main__ import main
    from launcher.core.trial import VARIABLE
    from launcher.launch.in_process import Here
    from launcher.process.signals import Interrupt
    from launcher.search import sweeper

    class Alone(Here):
        def submit(self, folder: Path, resume: bool = False, environment: Mapping[str, str] | None = None) -> int:
            os.environ.pop(VARIABLE, None)
            os.environ.update(environment or {})
            return super().submit(folder, resume, environment)

    sweeper.pool_of = lambda config, slots, preload=(): Alone(Interrupt())  # type: ignore[assignment]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        said = io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(said):
            status = main(["-m", *SPACE, *SEARCHES[name], f"seed={seed}"])
        assert status == 0, said.getvalue()
        own = Path(folder) / "multirun" / "bench"
        with (own / "trials.csv").open() as file:
            rows = list(csv.DictReader(file))
        epochs = 0.0
        for row in rows:
            inherited = own / row["number"] / "inherited.json"
            before = json.loads(inherited.read_text())["step"] if inherited.exists() else 0
            epochs += (int(row["steps"]) - before) / 11  # 1437 rows, 128 a step
    return max(float(row["value"]) for row in rows if row["state"] == "completed"), epochs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("searches", nargs="*", default=list(SEARCHES))
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    for name in args.searches:
        found = [searched(name, seed) for seed in range(args.seeds)]
        best, epochs = zip(*found, strict=True)
        spread = statistics.stdev(best) if len(best) > 1 else 0.0
        told = " ".join(f"{value:.4f}" for value in best)
        print(
            f"{name}: {statistics.fmean(best):.4f} ± {spread:.4f} ({told}), {statistics.fmean(epochs):.0f} epochs",
            flush=True,
        )


if __name__ == "__main__":
    main()
