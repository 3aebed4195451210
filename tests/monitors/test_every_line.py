"""Every monitor at every log line, from the first step, whatever `training.log_every` is."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from launcher import CONF
from launcher.monitors.energy import EnergyMeter
from tests.support.fits import fit, values
from tests.support.runs import build, train

LOGGED = {
    "bubble": set(),  # where there is a pipeline
    "carbon": {"carbon/energy_wh", "carbon/co2_g", "carbon/mwh_per_sample", "carbon/measured"},
    "communication": set(),  # where there are ranks
    "flops": {"flops/step_gflop", "flops/tflops", "flops/mfu"},
    "gradient_health": {"unhealthy_gradients"},
    "gradient_norm": {"gradient_norm"},
    "inference": set(),  # once
    "learning_rate": {"lr/0", "lr/head"},
    "step_time": {f"time/{name}_ms" for name in ("data", "forward", "backward", "communication", "optimizer", "step")},
    "system": {f"system/{name}" for name in ("cpu", "process_cpu", "ram_mib", "ram_free_mib", "disk_free_gib")},
    "update_ratio": {"update_ratio"},
}
"""What each entry of conf/monitor has on every line of one process."""
ONCE = {"inference/mflop", "inference/latency_ms"}


def test_every_entry_is_among_them() -> None:
    assert set(LOGGED) == {path.stem for path in (CONF / "monitor").glob("*.yaml")}


@pytest.mark.parametrize(("every", "steps"), [(1, 4), (2, 5), (3, 7), (50, 3)])
def test_every_monitor_is_on_every_line(tmp_path: Path, every: int, steps: int) -> None:
    """The line at the end too, which may come between."""
    words = ["optimizer.groups={head:{lr:0.002}}", "training.eval_every=2", "training.checkpoint_every=3"]
    fit(tmp_path, f"monitor=[{','.join(LOGGED)}]", f"training.log_every={every}", f"training.max_steps={steps}", *words)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    lines = {record["step"]: set(record) for record in records if "train/loss" in record}
    assert list(lines) == sorted({*range(every, steps + 1, every), steps})
    expected = set().union(*LOGGED.values())
    assert {step: expected - found for step, found in lines.items()} == {step: set() for step in lines}
    assert min(lines.values(), key=len) >= expected
    assert lines[min(lines)] >= ONCE


def test_a_step_is_timed_without_what_is_done_between_steps(tmp_path: Path) -> None:
    """Evaluations that sleep are in no part of a step, and in no speed."""
    run = build(
        tmp_path,
        "training.max_steps=4",
        "training.log_every=1",
        "training.eval_every=1",
        "monitor=[step_time,flops]",
        "monitor.flops.peak_tflops=1",
    )
    inner = run.task.derived

    def slow(metrics: dict[str, float]) -> dict[str, float]:
        time.sleep(2)
        return inner(metrics)

    run.task.derived = slow  # type: ignore[method-assign]
    train(run)
    assert len(values(tmp_path, "time/step_ms")) == len(values(tmp_path, "flops/tflops")) == 4
    steps = values(tmp_path, "time/step_ms")
    assert min(steps[1:]) < 2000
    speeds, work = values(tmp_path, "flops/tflops"), values(tmp_path, "flops/step_gflop")
    seconds = [gflop / 1e3 / speed for gflop, speed in zip(work, speeds, strict=True)]
    assert min(seconds[1:]) < 2


def test_energy_is_counted_from_the_first_step_to_this_moment(tmp_path: Path) -> None:
    """Before the meter has begun, and after its last measurement, at the mean power of what it has measured."""
    run = build(tmp_path, "monitor=[carbon]")
    (meter,) = run.algorithms
    assert isinstance(meter, EnergyMeter)
    meter.fit_start(run)
    at_once, _ = meter.measured()
    assert at_once > 0
    tracker = meter._tracker
    while tracker._last_measured_time - tracker._start_time < 2:
        time.sleep(0.05)
    meter._began_at -= 1000  # as if the first step had been so much earlier
    kwh, kg = meter.measured()
    covered = tracker._last_measured_time - tracker._start_time
    assert kwh == pytest.approx(tracker._total_energy.kWh / covered * (1000 + covered), rel=0.05)
    assert kg == pytest.approx(kwh * 0.473)
