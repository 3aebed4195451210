"""The things that `run.py` times as whole processes: `python benchmarks/startup.py THING`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

GROUPS = 20
"""As many groups as the launcher's default experiment is composed of, rounded up."""


def bare_hydra() -> None:
    """A Hydra application that composes as many groups as ours and prints its config."""
    import hydra
    from omegaconf import DictConfig

    with tempfile.TemporaryDirectory() as folder:
        names = [f"group{number}" for number in range(GROUPS)]
        for name in names:
            (Path(folder) / name).mkdir()
            (Path(folder) / name / "one.yaml").write_text("a: 1\nb: 0.5\nc: text\nd: [1, 2]\ne: true\n")
        (Path(folder) / "config.yaml").write_text("defaults:\n" + "".join(f"  - {name}: one\n" for name in names))
        sys.argv = ["bare", "--cfg", "job"]

        @hydra.main(config_path=folder, config_name="config", execution_whitelist=[])
        def main(config: DictConfig) -> None:
            pass

        main()


def bare_step() -> None:
    """What a person writes to take the default experiment's first step, with the same imports."""
    import importlib.util

    import accelerate
    import numpy as np
    import torch
    import torch._dynamo
    from torch import nn

    spec = importlib.util.find_spec("sklearn")
    assert spec is not None
    assert spec.submodule_search_locations
    table = np.loadtxt(
        Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz",
        delimiter=",",
        dtype=np.float32,
    )
    accelerator = accelerate.Accelerator()

    def block(channels: int, out: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]

    body = [
        *block(1, 16),
        *block(16, 16),
        nn.MaxPool2d(2),
        *block(16, 32),
        *block(32, 32),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    ]
    model = accelerator.prepare_model(nn.Sequential(*body))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    rows = torch.from_numpy(table[:32])
    loss = nn.functional.cross_entropy(model(rows[:, :-1].view(-1, 1, 8, 8) / 16), rows[:, -1].long())
    loss.backward()
    optimizer.step()
    os._exit(0)


if __name__ == "__main__":
    {"bare_hydra": bare_hydra, "bare_step": bare_step}[sys.argv[1]]()
