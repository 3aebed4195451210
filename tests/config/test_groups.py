"""The table of the groups: what derives from it, and what a new group costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.support.copies import copy_source
from tests.support.harness import Outcome, cold

LINE = '    "finetune": Group("many", ("launcher.algorithms.finetune.*",), bases=_ALGORITHM, effect="changes"),\n'
"""All that a new group of algorithms takes, beside its folder in conf/ and its room."""
FREEZE = '''
"""Freezing."""

from launcher.core.algorithm import Algorithm


class Freeze(Algorithm):
    """Leaves the first parameters of a model as they are."""

    def __init__(self, num_parameters: int = 1) -> None:
        self.num_parameters = num_parameters

    def model(self, run, model):
        for weight in list(model.parameters())[: self.num_parameters]:
            weight.requires_grad_(False)
        return model
'''
ENTRY = "# The first parameters stay as they are.\nfreeze:\n  _target_: launcher.algorithms.finetune.freeze.Freeze\n"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source with one more group in it."""
    root = copy_source(tmp_path_factory.mktemp("copy"))
    table = root / "launcher" / "config" / "groups.py"
    before = '    "regularization": Group(\n'
    assert before in table.read_text()
    table.write_text(table.read_text().replace(before, LINE + before))
    (root / "conf" / "finetune").mkdir()
    (root / "conf" / "finetune" / "freeze.yaml").write_text(ENTRY + "  num_parameters: 2\n")
    wrong = ENTRY.replace("freeze:", "mixed:").replace("finetune.freeze.Freeze", "augment.mixup.Mixup")
    (root / "conf" / "finetune" / "mixed.yaml").write_text(wrong)
    (root / "launcher" / "algorithms" / "finetune").mkdir()
    (root / "launcher" / "algorithms" / "finetune" / "__init__.py").touch()
    (root / "launcher" / "algorithms" / "finetune" / "freeze.py").write_text(FREEZE)
    return root


def run(root: Path, *words: str) -> Outcome:
    return cold("tracker=[]", *words, cwd=root, env={"PYTHONPATH": str(root)})


def test_a_new_group_begins_empty_and_is_listed(copy: Path) -> None:
    shown = run(copy, "--cfg", "job", "-p", "finetune")
    assert shown.stdout.strip().endswith("{}"), shown.stderr
    helped = run(copy, "--help")
    assert "finetune: freeze, mixed" in helped.stdout, helped.stderr


def test_a_new_group_is_composed_checked_and_built(copy: Path) -> None:
    done = run(copy, "finetune=[freeze]", "model=mlp", "training.max_steps=2", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load((copy / "run" / "config.yaml").read_text())
    assert config["finetune"]["freeze"]["num_parameters"] == 2
    result = json.loads((copy / "run" / "result.json").read_text())
    assert 0 < result["trainable_parameters"] < result["parameters"]
    assert "<td>finetune</td><td>freeze" in (copy / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("finetune=[freze]", "finetune=[freze]: no such option of the group 'finetune'. Did you mean 'freeze'? (conf/finetune has: freeze, mixed)"),
        ("finetune=[mixed]", "conf/finetune/mixed.yaml:3: finetune.mixed._target_: launcher.algorithms.augment.mixup.Mixup is nothing that finetune can be; it belongs to augment"),
        ("finetune=[freeze] finetune.freeze.num_parameter=1", "finetune.freeze.num_parameter=1: 'finetune.freeze' has no key 'num_parameter'. Did you mean 'num_parameters'?"),
        ("finetune=[freeze] finetune.freeze.num_parameters=some", "finetune.freeze.num_parameters=some: expected a whole number"),
        ("finetune=[freeze] +finetune.freeze._partial_=true", "+finetune.freeze._partial_=true: an entry of finetune is built at once; leave _partial_ out"),
        ("finetune=[freeze] task=tabular model=logistic_regression", "finetune=[freeze]: LogisticRegression is fitted in one call; there are no steps that freeze could change"),
    ],
)  # fmt: skip
def test_a_wrong_entry_of_a_new_group_is_refused_by_name(copy: Path, words: str, error: str) -> None:
    refused = run(copy, *words.split())
    assert refused.returncode == 2
    assert refused.stderr == f"error: {error}\n"
