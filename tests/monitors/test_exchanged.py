"""What `monitor=[step_time]` says of the exchange between two ranks, by torch's own clock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Launch
from tests.support.fits import curve


@pytest.mark.slow
def test_bytes_and_bandwidth_of_two_ranks(launch: Launch, tmp_path: Path) -> None:
    words = ["model=mlp", "training.max_steps=20", "training.max_epochs=null", "training.log_every=5", "tracker=[]"]
    many = ["parallel=ddp", "parallel.num_processes=2", "monitor=[step_time]", "hydra.run.dir=run"]
    done = launch(*words, *many, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "run"
    sent = 4 * json.loads((folder / "result.json").read_text())["trainable_parameters"]
    told = {name: curve(folder, f"communication/{name}") for name in ("total_ms", "hidden", "mib", "gib_s")}
    assert list(told["total_ms"]) == [5, 10, 15, 20]
    for step, milliseconds in told["total_ms"].items():
        assert milliseconds > 0
        assert 0 <= told["hidden"][step] <= 1
        assert told["mib"][step] * 2**20 == sent, "every gradient once, in 32 bits"
        ring = 2 * (2 - 1) / 2 * sent  # each of n ranks sends and gets 2 (n - 1) / n of them
        assert told["gib_s"][step] == pytest.approx(ring / (milliseconds / 1000) / 2**30)
    assert min(curve(folder, "time/communication_ms").values()) >= 0
