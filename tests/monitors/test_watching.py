"""The monitors that watch a run from outside its mathematics: what each logs, beside a number found another way."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from launcher.errors import ConfigError
from launcher.functional.flops import counter, measured_peak, without_computing
from launcher.monitors.stopping.energy_budget import kilowatt_hours
from launcher.monitors.update_ratio import UpdateRatio
from tests.support.fits import curve, fit, values
from tests.support.runs import build, train

WATCHED = "monitor=[learning_rate,update_ratio,step_time,flops,system,carbon]"
SHORT = ("training.max_steps=40", "training.log_every=10", "training.eval_every=20")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watched")
    fit(folder, *SHORT, WATCHED, "monitor.system.interval_s=0.01", "optimizer.groups={bias:{lr:1e-4}}")
    return folder


def test_watching_changes_no_number_of_the_training(watched: Path, tmp_path: Path) -> None:
    fit(tmp_path, *SHORT, "optimizer.groups={bias:{lr:1e-4}}")
    assert values(watched) == values(tmp_path)
    assert values(watched, "val/loss") == values(tmp_path, "val/loss")


def test_the_rate_of_every_group_is_logged(watched: Path) -> None:
    rates = {
        name
        for line in (watched / "metrics.jsonl").read_text().splitlines()
        for name in line.split('"')
        if name.startswith("lr/")
    }
    assert len(rates) >= 2
    assert values(watched, "lr/bias")[0] == pytest.approx(values(watched, "lr")[0] * 1e-4 / 1e-3)


def test_the_update_ratio_is_that_of_the_weights_in_float64(tmp_path: Path) -> None:
    class Seen(UpdateRatio):
        """Also keeps the weights around each step that it is asked of."""

        def __init__(self) -> None:
            super().__init__()
            self.expected: list[float] = []

        def gradients(self, run: Any) -> None:
            self.weights = torch.cat([p.detach().double().flatten() for p in run.main.model.parameters()])
            super().gradients(run)

        def after_step(self, run: Any) -> None:
            after = torch.cat([p.detach().double().flatten() for p in run.main.model.parameters()])
            self.expected.append(float((after - self.weights).norm() / self.weights.norm()))
            super().after_step(run)

    seen = Seen()
    train(build(tmp_path, "training.max_steps=6", "training.log_every=2", extra=[seen]))
    found = curve(tmp_path, "update_ratio")
    assert found == pytest.approx({2: seen.expected[1], 4: seen.expected[3], 6: seen.expected[5]}, rel=1e-4)


def test_the_parts_of_a_step_are_all_there_and_add_up(watched: Path) -> None:
    parts = [
        values(watched, f"time/{part}_ms") for part in ("data", "forward", "backward", "communication", "optimizer")
    ]
    sums = [sum(each) for each in zip(*parts, strict=True)]
    assert sums == pytest.approx(values(watched, "time/step_ms"))
    assert all(min(part) >= 0 for part in parts)


def test_a_slow_part_is_the_one_that_is_named(tmp_path: Path) -> None:
    """A forward pass, a backward pass and an optimizer's step that each sleep for a known time."""

    class Sleepy(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
            time.sleep(0.02)
            return values.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # torch's is looser
            time.sleep(0.04)
            return gradient

    run = build(tmp_path, "training.max_steps=6", "training.log_every=6", "monitor=[step_time]")
    inner = run.task.forward
    run.task.forward = lambda model, batch: Sleepy.apply(inner(model, batch))  # type: ignore[method-assign, no-untyped-call]
    run.main.optimizer.register_step_pre_hook(lambda *_: time.sleep(0.06))
    train(run)
    (forward,), (backward,), (optimizer,) = (
        values(tmp_path, f"time/{part}_ms") for part in ("forward", "backward", "optimizer")
    )
    assert forward >= 20
    assert backward >= 40
    assert optimizer >= 60


def test_flops_are_those_of_the_formula(tmp_path: Path) -> None:
    run = train(
        build(
            tmp_path,
            "training.max_steps=8",
            "training.log_every=4",
            "training.eval_every=0",
            "monitor=[flops]",
            "monitor.flops.peak_tflops=2",
        )
    )
    linears = [module for module in run.main.model.modules() if isinstance(module, nn.Linear)]
    batch = run.settings.batch_size
    forward = sum(2 * batch * each.in_features * each.out_features for each in linears)
    backward = sum(
        (1 if each is linears[0] else 2) * 2 * batch * each.in_features * each.out_features for each in linears
    )
    assert values(tmp_path, "flops/step_gflop") == [pytest.approx((forward + backward) / 1e9)] * 2
    for speed, share in zip(values(tmp_path, "flops/tflops"), values(tmp_path, "flops/mfu"), strict=True):
        assert share == pytest.approx(speed / 2)


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"
)  # torch's own, as it compiles
def test_a_compiled_model_is_counted_as_it_is_written_and_trained_as_without(tmp_path: Path) -> None:
    words = ("model=vit", "model.width=16", "model.depth=2", "training.max_steps=4", "training.accumulate=2")
    watch = ("monitor=[flops]", "monitor.flops.peak_tflops=2", "training.log_every=2", "training.eval_every=0")
    losses = {}
    for name, more in (("plain", watch), ("compiled", watch), ("unwatched", watch[2:])):
        with torch.random.fork_rng(devices=[]):
            run = build(tmp_path / name, *words, *more, f"training.compile={str(name != 'plain').lower()}")
            if name != "plain":
                run.main.model.compile(backend="eager")  # without the half minute of a C++ compiler
            train(run)
        losses[name] = values(tmp_path / name)
    counted = values(tmp_path / "compiled", "flops/step_gflop")
    assert counted == values(tmp_path / "plain", "flops/step_gflop")
    assert len(counted) == 2
    assert losses["compiled"] == losses["unwatched"], "dropout and all: nothing is drawn for the count"


def test_what_looks_into_its_tensors_is_not_counted_without_them() -> None:
    def curious(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        result: torch.Tensor = model(batch["x"]).sum()
        return result if result.item() > 0 else -result

    assert without_computing(curious, nn.Linear(2, 2), {"x": torch.ones(1, 2)}) is None


def test_attention_on_the_cpu_is_counted() -> None:
    query, key, value = (torch.randn(2, 4, 16, 8, requires_grad=True) for _ in range(3))
    with counter() as counted:
        nn.functional.scaled_dot_product_attention(query, key, value).sum().backward()
    forward = 2 * 2 * (2 * 4 * 16 * 16 * 8)
    assert counted.get_total_flops() == forward + forward * 5 // 2


def test_a_device_without_a_known_peak_is_measured() -> None:
    assert measured_peak(torch.device("cpu"), torch.float32, size=128, seconds=0.01) > 1e6


def test_the_system_is_what_psutil_sees(watched: Path) -> None:
    import psutil

    found = {name: values(watched, f"system/{name}") for name in ("cpu", "ram_mib", "ram_free_mib", "disk_free_gib")}
    assert all(found.values())
    assert all(0 <= value <= 100 for value in found["cpu"])
    total = psutil.virtual_memory().total / (1 << 20)
    assert all(50 < value < total for value in found["ram_mib"])
    assert all(0 < value < total for value in found["ram_free_mib"])
    assert all(0 < value <= psutil.disk_usage(str(watched)).total / (1 << 30) for value in found["disk_free_gib"])


def test_energy_adds_up_over_the_sessions_and_ends_a_run(tmp_path: Path) -> None:
    done = fit(
        tmp_path,
        "training.max_epochs=400",
        "training.log_every=20",
        "stopping=[energy_budget]",
        "stopping.energy_budget.limit=0.00000002",
        "monitor=[carbon]",
    )
    assert (done["status"], done["reason"]) == ("stopped", "the energy budget of 2e-08 kWh is spent")
    energy, carbon = values(tmp_path, "carbon/energy_wh"), values(tmp_path, "carbon/co2_g")
    assert energy == sorted(energy)
    assert energy[-1] >= 2e-5
    assert carbon == pytest.approx([473 * each / 1000 for each in energy])
    (samples,) = {values(tmp_path, "carbon/mwh_per_sample")[-1]}
    assert samples == pytest.approx(energy[-1] * 1000 / (list(curve(tmp_path, "carbon/energy_wh"))[-1] * 32))

    before = build(tmp_path / "resumed", "training.max_steps=3", "monitor=[carbon]")
    (meter,) = before.algorithms
    meter.load_state_dict({"kwh": 2.0, "kg": 0.5})
    train(before)
    kept = meter.state_dict()
    assert kept["kwh"] >= 2.0
    assert kept["kg"] >= 0.5


@pytest.mark.parametrize(("text", "kwh"), [("500Wh", 0.5), ("2kWh", 2.0), (3, 3.0), ("1MWh", 1000.0), ("3.6MJ", 1.0)])
def test_an_energy_is_read_with_its_unit(text: str | float, kwh: float) -> None:
    assert math.isclose(kilowatt_hours(text), kwh)


@pytest.mark.parametrize("text", ["much", "5 watts", "0kWh", -1])
def test_what_is_no_energy_is_refused(text: str | float) -> None:
    with pytest.raises(ConfigError, match="expected kWh"):
        kilowatt_hours(text)
