"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the checkout."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import Launch
from tests.support.harness import ROOT, environment
from tests.test_docs import commands, composes
from tests.test_layers import ROWS

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
FILES: dict[str, str] = dict(re.findall(r"`([\w/]+\.(?:py|yaml))`:\n\n```(?:python|yaml)\n(.*?)```", TEXT, re.DOTALL))


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with every file that the recipes name, as they show it."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("launcher", "conf", "tasks"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    for path, code in FILES.items():
        assert not (root / path).exists(), f"{path} is there already: the recipe needs another example"
        (root / path).write_text(code)
    return root


def trained(launch: Launch, checkout: Path, *overrides: str) -> dict[str, Any]:
    outcome = launch(*overrides, "tracker=[]", env={"PYTHONPATH": str(checkout)})
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.folder is not None
    result: dict[str, Any] = json.loads((outcome.folder / "result.json").read_text())
    return result


def test_the_recipes_name_their_files() -> None:
    assert sorted(FILES) == [
        "conf/optimizer/rmsprop.yaml",
        "conf/optimizer/signum.yaml",
        "conf/procedure/longest_for_best.yaml",
        "conf/task/parity.yaml",
        "launcher/optim/signum.py",
        "launcher/procedures/longest_for_best.py",
        "tasks/parity.py",
    ]


def test_the_walks_lead_through_functions_that_are_there() -> None:
    """`file:function` or `file:Class.method`, as the walks name them."""
    named = re.findall(r"`([\w/]+\.py):([\w.]+)`", TEXT)
    assert len(named) > 20
    lost = []
    for file, name in named:
        scope: ast.AST = ast.parse((ROOT / file).read_text())
        for part in name.split("."):
            inside = [node for node in ast.iter_child_nodes(scope) if getattr(node, "name", None) == part]
            if not inside:
                lost.append(f"{file}:{name}")
                break
            scope = inside[0]
    assert lost == []


def test_the_rooms_are_told_in_their_order() -> None:
    """Every room of the layers once, none above one that it may import from: what `tests/test_layers.py` holds."""
    table = TEXT[TEXT.index("| room |") : TEXT.index("`launcher` never imports `tasks`")]
    told = re.findall(r"`(?:launcher/)?(\w+)(?:/|\.py)`(?=[^|]*\| )", table)
    rows = {name: number for number, names in enumerate(ROWS) for name in names}
    assert sorted(told) == sorted(set(rows) - {"tasks", "errors", "launcher"})
    assert [rows[name] for name in told] == sorted(rows[name] for name in told)


@pytest.mark.parametrize("name", ["rmsprop", "signum"])
def test_an_optimizer_is_added_in_one_file(launch: Launch, followed: Path, name: str) -> None:
    result = trained(launch, followed, f"optimizer={name}", "training.max_epochs=3")
    assert result["objective"]["value"] > 0.8  # ten classes: chance is 0.1
    assert name in launch("--help", env={"PYTHONPATH": str(followed)}).stdout
    refused = launch(f"optimizer={name}", "+optimizer.momentun=0.5", env={"PYTHONPATH": str(followed)})
    assert refused.returncode == 2
    assert "momentum" in refused.stderr


def test_the_optimizer_takes_the_step_that_it_documents() -> None:
    scope: dict[str, Any] = {}
    exec(compile(FILES["launcher/optim/signum.py"], "signum.py", "exec"), scope)
    torch.manual_seed(0)
    weight = torch.randn(5, dtype=torch.float64, requires_grad=True)
    gradients = torch.randn(3, 5, dtype=torch.float64)
    expected, momentum = weight.detach().clone(), torch.zeros(5, dtype=torch.float64)
    optimizer = scope["Signum"]([weight], lr=0.1, momentum=0.7, weight_decay=0.3)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
        momentum = 0.7 * momentum + 0.3 * gradient
        expected = expected - 0.1 * (momentum.sign() + 0.3 * expected)
    torch.testing.assert_close(weight.detach(), expected, rtol=0, atol=1e-12)


def test_a_procedure_is_added_in_one_file(launch: Launch, followed: Path, tmp_path: Path) -> None:
    words = ("procedure=longest_for_best", "training.max_epochs=4", "model=mlp", "hydra.run.dir=outputs/a/b")
    result = trained(launch, followed, *words)
    assert [each["name"] for each in result["fits"]] == ["long"]
    folders = [tmp_path / "outputs/a/b" / name for name in ("short-0", "short-1", "short-2", "long")]
    own = [json.loads((folder / "result.json").read_text()) for folder in folders]
    assert [each["epochs"] for each in own] == [1, 1, 1, 4]
    best = max(own[:3], key=lambda each: float(each["objective"]["value"]))
    assert own[3]["seed"] == best["seed"] == result["fits"][0]["seed"]
    assert result["objective"]["value"] == own[3]["objective"]["value"]


def test_a_task_is_added_in_one_file(launch: Launch, followed: Path) -> None:
    result = trained(launch, followed, "task=parity", "optimizer.lr=0.01", "scheduler=constant")
    assert result["objective"]["name"] == "val/accuracy"
    assert result["metrics"]["train/loss"] < 0.1  # log 2 is 0.69


def test_the_commands_between_the_recipes_compose(launch: Launch, followed: Path) -> None:
    found = commands(TEXT)
    assert ["optimizer=rmsprop"] in found
    for words in found:
        composes(launch, words, env={"PYTHONPATH": str(followed)})


@pytest.mark.slow
def test_what_the_recipes_show_passes_the_checks(followed: Path) -> None:
    python = [path for path in FILES if path.endswith(".py")]
    if (ROOT / ".mypy_cache").is_dir():  # what `make lint` found out about the libraries
        shutil.copytree(ROOT / ".mypy_cache", followed / ".mypy_cache")
    for words in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]):
        command = [sys.executable, "-m", *words, *python]
        done = subprocess.run(command, cwd=followed, env=environment(), capture_output=True, text=True)
        complaints = [line for line in done.stdout.splitlines() if any(path in line for path in python)]
        assert complaints == [], done.stdout
        assert done.stderr == ""
