"""The range test: its rise, its end, its suggestion, what it leaves behind, and the rate as a run takes it."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from launcher import CONF
from launcher.console.console import Console
from launcher.errors import ConfigError
from launcher.preflight.lr_find import centred, default_rate, find, range_test, suggest
from launcher.preflight.memory_estimate import CONSTANT
from tests.conftest import Launch
from tests.support.fits import PLAIN, config_of, fit, values
from tests.support.runs import build, train

FEW = ("lr_find.num_steps=40", "lr_find.min_lr=1e-4")


def found(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "lr_find.json").read_text())
    return content


def constant(folder: Path, *overrides: str) -> Any:
    return build(folder, "scheduler=constant", "optimizer.lr=1e-4", *overrides)


def test_the_rate_rises_by_one_factor_and_the_mean_is_corrected(tmp_path: Path) -> None:
    test = range_test(constant(tmp_path), 1e-4, 1.0, num_steps=41, smoothing=0.8, divergence=1e9)
    assert test.rates == pytest.approx([1e-4 * 10 ** (step / 10) for step in range(41)])
    mean, weight = 0.0, 0.0
    for loss, smoothed in zip(test.losses, test.smoothed, strict=True):
        mean, weight = 0.8 * mean + 0.2 * loss, 0.8 * weight + 0.2
        assert smoothed == pytest.approx(mean / weight)
    assert test.smoothed[0] == test.losses[0] == pytest.approx(math.log(10), abs=0.2)  # ten classes, no idea yet
    assert not test.diverged


def test_each_step_is_one_of_the_optimizer_at_that_rate(tmp_path: Path) -> None:
    """Sign descent moves each weight by the rate: after n steps no weight has gone further than their sum."""
    run = constant(tmp_path, "optimizer=lion", "optimizer.weight_decay=0")
    before = [weight.detach().clone() for weight in run.main.model.parameters()]
    test = range_test(run, 1e-4, 1e-2, num_steps=20, smoothing=0.9, divergence=1e9)
    gone = [(weight - old).abs().max().item() for weight, old in zip(run.main.model.parameters(), before, strict=True)]
    assert sum(test.rates) * 0.9 < max(gone) < sum(test.rates) * 1.001


@pytest.mark.parametrize(
    "words",
    [
        (
            "augment=[mixup,cutmix]",
            "regularization=[sam,ema,label_smoothing]",
            "training.clip_value=0.01",
            "training.accumulate=2",
        ),
        ("model=vit", "regularization=[stochastic_depth]", "training.clip_norm=0.5"),
    ],
    ids=["mlp", "vit"],
)
def test_its_steps_are_those_of_the_run(tmp_path: Path, words: tuple[str, ...]) -> None:
    """At a rate that stays but for its last digits, the test sees what a run sees: algorithms, clipping, random numbers."""
    words = ("scheduler=constant", "optimizer.lr=1e-2", "training.max_steps=12", *words)
    with torch.random.fork_rng(devices=[]):
        run, end = build(tmp_path / "test", *words), 1e-2 * (1 + 1e-12)
        test = range_test(run, 1e-2, end, num_steps=12, smoothing=0.9, divergence=1e9)
        train(build(tmp_path / "run", *words))
    assert test.losses == pytest.approx(values(tmp_path / "run"), rel=1e-6)


def test_it_ends_where_the_loss_diverges(tmp_path: Path) -> None:
    run = constant(tmp_path, "optimizer=sgd")
    test = range_test(run, 1e-4, 1e6, num_steps=100, smoothing=0.5, divergence=3.0)
    assert test.diverged
    assert len(test.rates) < 80
    lowest = math.inf
    for value in test.smoothed:
        assert value <= 3.0 * lowest
        lowest = min(lowest, value)


def test_groups_keep_their_proportion_and_rates_of_their_own(tmp_path: Path) -> None:
    run = constant(tmp_path, "optimizer.groups={head:{lr:0.5}}")
    plain, own = (
        [g for g in run.main.optimizer.param_groups if "name" not in g],
        [g for g in run.main.optimizer.param_groups if "name" in g],
    )
    plain[0]["lr"] = 3e-4  # as an algorithm that gives lower layers lower rates would have it
    range_test(run, 1e-4, 1e-2, num_steps=20, smoothing=0.9, divergence=1e9)
    assert plain[0]["lr"] == pytest.approx(3e-2)
    assert plain[1]["lr"] == pytest.approx(1e-2)
    assert {group["lr"] for group in own} == {0.5}


@pytest.mark.parametrize(
    "words",
    [
        ("model.dropout=0.3", "augment=[mixup]", "regularization=[label_smoothing]", "training.accumulate=2"),
        ("model=cnn", "training.clip_norm=1.0"),
    ],
    ids=["mlp", "cnn"],
)
def test_the_fall_is_from_the_same_batches_at_the_first_weights(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Weights that hardly move leave none, whatever the batches, what is dropped out and how batches are mixed."""
    run = build(tmp_path, "scheduler=constant", "optimizer.lr=1e-12", *words)
    test = range_test(run, 1e-12, 1e-11, num_steps=8, smoothing=0.5, divergence=1e9)
    assert np.std(test.losses) > 0.01
    np.testing.assert_allclose(test.fall, 0, atol=1e-5)
    run = build(tmp_path, "scheduler=constant", "optimizer.lr=1e-3", *words)
    moved = range_test(run, 1e-3, 1e-2, num_steps=8, smoothing=0.5, divergence=1e9)
    falls = np.subtract(moved.losses, test.losses)
    np.testing.assert_allclose(moved.fall, centred(falls.tolist(), 1), atol=1e-4)


RATES = [10 ** (-6 + step / 20) for step in range(141)]


def known(steepest: float) -> np.ndarray:
    """A fall of 1.8, logistic over the logarithm of the rate, and a rise after 0.3."""
    rates = np.array(RATES)
    return -1.8 / (1 + (rates / steepest) ** -4.0) + np.maximum(0, 40 * (rates - 0.3))


@pytest.mark.parametrize("steepest", [2e-5, 2e-3, 4e-2])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_the_suggestion_is_where_most_of_a_known_curve_has_fallen(steepest: float, noise: float) -> None:
    """Two thirds of a logistic are at steepest * 2^(1/4); smoothing moves the place by two steps of the rise at most, noise
    of a tenth of the fall by one more."""
    for seed in range(20):
        falls = known(steepest) + noise * np.random.default_rng(seed).normal(size=len(RATES))
        found = suggest(RATES, falls.tolist(), [2.0] * len(RATES), half=5)
        assert found is not None
        assert abs(math.log10(found / (steepest * 2**0.25))) < (0.1 if noise == 0 else 0.15)


def test_a_loss_that_does_not_clearly_fall_has_no_suggestion() -> None:
    first = [2.0] * len(RATES)
    assert suggest([], [], [], half=5) is None
    assert suggest(RATES, np.linspace(0, 5, 141).tolist(), first, half=5) is None, "it rises"
    assert suggest(RATES, (known(2e-3) / 200).tolist(), first, half=5) is None, "by half of a hundredth"
    for seed in range(200):
        noise = np.random.default_rng(seed).normal(size=len(RATES))
        assert suggest(RATES, noise.tolist(), first, half=5) is None, "noise alone"


def test_a_run_whose_loss_does_not_fall_says_so_and_keeps_the_default(launch: Launch, tmp_path: Path) -> None:
    low = ("model=mlp", "tracker=[]", "lr_find.num_steps=30", "lr_find.min_lr=1e-9", "lr_find.max_lr=1e-8")
    outcome = launch("optimizer.lr=auto", "optimizer=lion", *low, "training.max_steps=2", "hydra.run.dir=run")
    assert outcome.returncode == 0, outcome.stderr
    assert "the loss does not clearly fall at any rate" in outcome.stdout
    assert "optimizer.lr=auto: the run takes the optimizer's default, 3.00e-04" in outcome.stdout + outcome.stderr
    assert "lr: 0.0003\n" in (tmp_path / "run" / "config.yaml").read_text()
    assert found(tmp_path / "run")["suggestion"] is None
    alone = launch("action=lr_find", *low, "hydra.run.dir=alone")
    assert alone.returncode == 0, alone.stderr
    assert "does not clearly fall" in alone.stdout
    assert "train with it" not in alone.stdout
    ElementTree.parse(tmp_path / "alone" / "lr_find.svg")


@pytest.mark.parametrize("entry", sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml")))
def test_every_optimizer_has_a_default_rate(entry: str) -> None:
    text = (CONF / "optimizer" / f"{entry}.yaml").read_text()
    expected = next(float(line.split()[1]) for line in text.splitlines() if line.startswith("lr:"))
    assert default_rate(config_of(f"optimizer={entry}", "optimizer.lr=auto")) == expected


NOISY = {
    "diabetes": ("task=tabular", "data=diabetes", "model=mlp"),
    "sunspots": ("task=forecasting", "model=mlp"),
}


@pytest.mark.parametrize("task", sorted(NOISY))
def test_a_suggestion_is_stable_where_batches_are_noisy(task: str, tmp_path: Path) -> None:
    """From batch to batch the loss moves by a fifth: more than a step of training does."""
    found = []
    for seed in range(6):
        rate = find(config_of(*NOISY[task], "tracker=[]", f"seed={seed}"), tmp_path, Console(quiet=True))
        assert rate is not None
        found.append(rate)
    assert max(found) < 3 * min(found)
    assert min(found) > 3e-4
    assert max(found) < 1e-2


def test_generators_are_left_as_they_were(tmp_path: Path) -> None:
    config = config_of(*PLAIN, *FEW, "model.dropout=0.2")
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    before = (torch.get_rng_state(), np.random.get_state(legacy=True)[1], random.getstate())
    rate = find(config, tmp_path, Console(quiet=True))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state(legacy=True)[1])
    assert before[2] == random.getstate()
    assert config.optimizer.lr == 0.001  # nothing of the config is touched either
    assert config.scheduler._target_ != CONSTANT["_target_"]
    assert rate == found(tmp_path)["suggestion"]


def test_a_run_with_auto_is_the_run_with_the_rate_that_was_found(launch: Launch, tmp_path: Path) -> None:
    """The same model, data order and random numbers: the weights are equal bit for bit, and so is a resume."""
    words = [
        "model=mlp",
        "model.dropout=0.1",
        "training.max_steps=30",
        "training.checkpoint_every=10",
        "tracker=[]",
        *FEW,
    ]
    auto = launch("optimizer.lr=auto", *words, "hydra.run.dir=auto")
    assert auto.returncode == 0, auto.stderr
    content = found(tmp_path / "auto")
    rate = content["suggestion"]
    assert f"lr: {rate}" in (tmp_path / "auto" / "config.yaml").read_text()
    given = launch(f"optimizer.lr={rate}", *words, "hydra.run.dir=given")
    assert given.returncode == 0, given.stderr
    weights = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("auto", "given")]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    longer = [launch(f"resume={name}", "training.max_steps=40") for name in ("auto", "given")]
    assert [each.returncode for each in longer] == [0, 0], longer[0].stderr
    assert "range test" not in longer[0].stdout
    weights = [load_file(tmp_path / name / "checkpoints" / "last" / "model.safetensors") for name in ("auto", "given")]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_the_action_writes_its_numbers_and_a_picture_and_trains_nothing(launch: Launch, tmp_path: Path) -> None:
    outcome = launch("action=lr_find", "model=mlp", "hydra.run.dir=test", *FEW)
    assert outcome.returncode == 0, outcome.stderr
    content = found(tmp_path / "test")
    assert f"optimizer.lr={content['suggestion']:.3g}" in outcome.stdout
    assert len(content["rates"]) == len(content["losses"]) == len(content["smoothed"]) <= 40
    assert content["optimizer"] == "AdamW"
    picture = ElementTree.parse(tmp_path / "test" / "lr_find.svg").getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    words = " ".join(text.strip() for text in picture.itertext())
    assert "learning rate" in words
    assert f"{content['suggestion']:g}: most of the fall" in words
    assert sorted(path.name for path in (tmp_path / "test").iterdir()) == ["config.yaml", "lr_find.json", "lr_find.svg"]
    again = launch("resume=test")
    assert again.returncode == 2
    assert "action=lr_find wrote this folder" in again.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["action=lr_find", "lr_find.max_lr=1e-7"], "lr_find.max_lr=1e-7: expected more than lr_find.min_lr=1e-06"),
        (["action=lr_find", "run=somewhere"], "action=lr_find is of a run that has not begun"),
        (["optimizer.lr=auto", "parallel=ddp"], "optimizer.lr=auto: the range test runs in one process"),
        (["action=lr_find", "parallel=ddp"], "action=lr_find: the range test runs in one process"),
        (["optimizer.lr=automatic"], "optimizer.lr=automatic: expected a number"),
    ],
)
def test_what_can_not_be_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config_of(*words)
    assert message in str(refused.value)


def test_an_estimator_has_no_rate_and_leaves_no_folder(launch: Launch, tmp_path: Path) -> None:
    outcome = launch("action=lr_find", "task=tabular", "data=wine", "hydra.run.dir=test")
    assert outcome.returncode == 2
    assert "has no learning rate" in outcome.stderr
    assert not (tmp_path / "test").exists()


TASKS = {
    "digits": ("task=image_classification", "model=mlp", "training.max_epochs=10"),
    "table": ("task=tabular", "data=breast_cancer", "model=mlp", "training.max_epochs=10"),
    "diabetes": NOISY["diabetes"],
    "sunspots": NOISY["sunspots"],
}


@pytest.mark.slow
@pytest.mark.parametrize("task", sorted(TASKS))
def test_the_suggestion_is_as_good_as_a_grid(task: str, tmp_path: Path) -> None:
    """The objective beside the best of ten rates from 1e-4 to 1, half a decade and less apart: an accuracy within one per
    cent, an error at most 1.1 times as large."""
    words = [*TASKS[task], "training.log_every=50"]

    def reached(rate: str) -> float:
        return float(fit(tmp_path / rate, f"optimizer.lr={rate}", *words)["objective"]["value"])

    grid = [reached(f"{10 ** (-4 + 4 * point / 9):.3g}") for point in range(10)]
    rate = find(config_of("tracker=[]", *words), tmp_path, Console(quiet=True))
    found = reached(f"{rate:g}")
    if task in NOISY:
        assert found <= 1.1 * min(grid)
    else:
        assert found >= max(grid) - 0.01
