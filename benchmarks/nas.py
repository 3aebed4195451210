"""What scores with fresh weights foretell: `python benchmarks/nas.py [SEED]`.

64 networks of `search=nas`, drawn at random by that seed, are trained on the digits for four epochs each; then each score
of `launcher.search.early.proxies` and the number of parameters beside the accuracies, by Spearman's rank correlation, over all
and kind by kind. Last, the area under the front of the quarter that the filter would have trained by that score, as the
share of a thousand random quarters that it exceeds.
"""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
NUM = 64
SAMPLES = {"ntk": 32, "naswot": 128, "grad_norm": 128, "synflow": 1}
"""Of conf/hydra/sweeper/proxy."""


def trained(folder: Path, seed: int) -> list[dict[str, Any]]:
    """The table of a sweep that trains every candidate."""
    words = (
        "search=nas", "hydra/sweeper/sampler=random", "hydra.sweeper.proxy.keep=1", f"hydra.sweeper.n_trials={NUM}",
        "hydra.sweeper.n_jobs=2", "hydra.sweeper.keep_trials=1", "hydra.sweeper.study_name=bench", f"seed={seed}",
        "training.max_epochs=4", "tracker=[]",
    )  # fmt: skip
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "launcher", "-m", *words], cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL
    )
    with (folder / "multirun" / "bench" / "trials.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["state"] == "completed"]


def scores(folder: Path, name: str) -> float:
    """A score of the network in a trial's folder."""
    import torch

    from launcher.artifacts.folder import read_config
    from launcher.search.early import proxies
    from launcher.search.early.scoring import fresh

    return float(getattr(proxies, name)(*fresh(read_config(folder), SAMPLES[name], torch.device("cpu"))))


def main(seed: int) -> None:
    from scipy.stats import spearmanr

    from tests.e2e.test_nas import chosen, covered

    with tempfile.TemporaryDirectory() as name:
        rows = trained(Path(name), seed)
        for row in rows:
            row |= {each: scores(Path(name) / "multirun" / "bench" / row["number"], each) for each in SAMPLES}
    accuracy = {row["number"]: float(row["val/accuracy"]) for row in rows}
    kinds = {"all": rows} | {kind: [row for row in rows if row["model"] == kind] for kind in ("mlp", "cnn", "vit")}
    print("  ".join(f"{len(own)} {kind}" for kind, own in kinds.items()))
    drawn = [covered(random.Random(index).sample(rows, len(rows) // 4)) for index in range(1000)]
    for each in (*SAMPLES, "parameters", "val/accuracy"):
        ranks = [
            spearmanr([float(row[each]) for row in own], [accuracy[row["number"]] for row in own]).statistic
            for own in kinds.values()
        ]
        area = covered(chosen([row | {"proxy": row[each]} for row in rows], 0.25))
        share = sum(area > other for other in drawn) / len(drawn)
        told = "  ".join(f"{rank:.2f}" for rank in ranks)
        print(f"{each:12} {told}   front above {share:.0%} of random quarters", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
