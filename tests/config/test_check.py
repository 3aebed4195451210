"""The checks by themselves: types of values, signatures, trust, and what a person's own code meets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.utils._param_validation import InvalidParameterError

from launcher.artifacts.masking import secrets
from launcher.config import compose
from launcher.config.checks.nodes import check
from launcher.config.signatures import locate, read_signature
from launcher.config.trust import allowed, whitelist
from launcher.config.value_types import expected, matches
from launcher.errors import ConfigError
from tests.support.harness import environment


@dataclass
class Typed:
    """Every kind of annotation that a config's arguments have."""

    whole: int
    share: float = 0.5
    name: str | None = None
    flag: bool = False
    shape: Literal["linear", "cosine"] = "linear"
    sizes: Sequence[int] = ()
    betas: tuple[float, float] = (0.9, 0.999)
    extra: dict[str, Any] | None = None
    folder: Path = Path()
    inner: RandomForestClassifier | None = None
    anything: Any = None


def test_annotations_become_types() -> None:
    found = read_signature(Typed)
    assert found.required == ["whole"]
    assert found.parameters == {
        "whole": ["int"],
        "share": ["float"],
        "name": ["str", "none"],
        "flag": ["bool"],
        "shape": ["'linear'", "'cosine'"],
        "sizes": ["list[int]"],
        "betas": ["list[float]2"],
        "extra": ["dict", "none"],
        "folder": ["str"],
        "inner": ["object", "none"],
        "anything": [],
    }


@pytest.mark.parametrize(
    ("types", "right", "wrong"),
    [
        (["int"], [0, -3, 10**20], [1.0, True, "1", None, [1]]),
        (["float"], [0.5, 1, float("inf")], [True, "0.5", None]),
        (["bool"], [True, False], [0, 1, "true", None]),
        (["str", "none"], ["", "x", None], [1, True]),
        (["'a'", "'b'"], ["a", "b"], ["c", "'a'", 1]),
        (["int[1,inf)"], [1, 2], [0, 1.5, True]),
        (["float(0,1]"], [0.1, 1, 1.0], [0, 0.0, 1.1, float("nan")]),
        (["float(0,inf)"], [1e-9], [float("inf"), 0, -1]),
        (["list[float]2"], [[1, 2.0]], [[1.0], [1, 2, 3], ["a", "b"], 1.0]),
        (["list"], [[], [1, "a"]], ["ab", None]),
        (["dict"], [{}, {"a": 1}], [[], "a"]),
        (["object"], [{"_target_": "x.Y"}], ["x.Y", 3, {"y": 1}]),
        (["int"], [{"_target_": "x.Y"}], [{"y": 1}]),
        ([], [None, 1, "a", {}], []),
    ],
)
def test_values_of_a_type(types: list[str], right: list[Any], wrong: list[Any]) -> None:
    assert [value for value in right if not matches(value, types)] == []
    assert [value for value in wrong if matches(value, types)] == []


@pytest.mark.parametrize(
    ("types", "words"),
    [
        (["int"], "expected a whole number"),
        (["float", "none"], "expected a number or null"),
        (["'gini'", "'entropy'"], "expected gini, entropy"),
        (
            ["int[1,inf)", "float(0.0,1.0]", "'sqrt'"],
            "expected sqrt or a whole number at least 1 or a number above 0 and at most 1",
        ),
        (["list[str]"], "expected a list of texts"),
        (["int[1,1]"], "expected 1"),
    ],
)
def test_types_in_words(types: list[str], words: str) -> None:
    assert expected(types) == words


def test_scikit_learns_own_constraints_are_taken_over() -> None:
    """What the table refuses, the estimator's own validation refuses too, and the other way round."""
    known = read_signature(RandomForestClassifier).parameters
    tried: dict[str, list[Any]] = {
        "n_estimators": [1, 200, 0, 1.5, "many"],
        "criterion": ["gini", "entropy", "ginni", 3],
        "max_depth": [None, 1, 0, 2.5],
        "min_samples_leaf": [1, 0.5, 0, 1.5],
        "max_features": ["sqrt", None, 3, 0.5, "squirt", 0],
        "bootstrap": [True, False, "yes"],
        "ccp_alpha": [0.0, 2.0, -0.1],
    }
    for name, values in tried.items():
        for value in values:
            estimator = clone(RandomForestClassifier()).set_params(**{name: value})
            try:
                estimator._validate_params()
                valid = True
            except InvalidParameterError:
                valid = False
            assert matches(value, known[name]) == valid, (name, value, known[name])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_package.Thing", "there is no package 'no_such_package' here"),
        ("launcher.errors.did_you_men", "launcher.errors has no 'did_you_men'. Did you mean 'did_you_mean'?"),
        ("launcher.errors.DONE", "neither a class nor a function"),
        ("launcher.errors", "neither a class nor a function"),
    ],
)
def test_what_can_not_be_located(name: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        locate(name)
    assert str(refused.value) == said


# -- trust


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.run",
        "builtins.eval",
        "torch.load",
        "torch.hub.load",
        "torch.utils.cpp_extension.load_inline",
        "pickle.loads",
        "importlib.import_module",
        "sklearn.utils._testing.assert_run_python_script_without_output",
        "sklearn.datasets.fetch_openml",
        "transformers.AutoModel.from_pretrained",
        "transformers.pipeline",
        "hydra.utils.instantiate",
        "launcher.launch.driver.place",
        "launcher.config.compose.compose",
        "launcher.train.worker.work",
        "launcherx.tasks.Evil",
        "torch.optimx.Evil",
    ],
)
def test_not_trusted(target: str) -> None:
    assert not allowed(target, whitelist())


@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.AdamW",
        "torch.optim.lr_scheduler.StepLR",
        "launcher.tasks.tabular.TabularClassification",
        "sklearn.svm.SVC",
    ],
)
def test_trusted(target: str) -> None:
    assert allowed(target, whitelist())


def test_the_environment_adds_to_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHER_TRUST", "mine.*, other.models.Net")
    assert whitelist()[-2:] == ["mine.*", "other.models.Net"]
    for pattern in ("*", "mine*", "mine.*.x", "a b"):
        monkeypatch.setenv("LAUNCHER_TRUST", pattern)
        with pytest.raises(ConfigError, match=r"LAUNCHER_TRUST=.*expected names such as"):
            whitelist()


def test_secrets_are_found_by_key_and_by_url() -> None:
    config = {
        "tracker": {"wandb": {"api_key": "abc", "entity": "us"}, "mlflow": {"uri": "https://me:word@host/x"}},
        "data": {"token": "t", "hf_token": "t", "password": None, "secret": ""},
        "model": {
            "pad_token": "[PAD]",
            "tokenizer": "bpe",
            "token_dim": 3,
            "tokens": ["a"],
            "uri": "https://host:80/x",
        },
        "list": [{"access_key": "k"}],
    }
    assert secrets(config) == [
        "tracker.wandb.api_key",
        "tracker.mlflow.uri",
        "data.token",
        "data.hf_token",
        "list.0.access_key",
    ]


# -- a person's own code

OWN = """
from launcher.tasks.image_classification import ImageClassification
import torch

class Clipped(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1, bound: float = 1.0):
        super().__init__(params, lr=lr)

class Faces(ImageClassification):
    metric_names = ("loss", "accuracy", "f1", "top5")

def broken():
    import no_such_module
"""


def own_folder(tmp_path: Path, text: str = "") -> None:
    (tmp_path / "own.py").write_text(OWN + text)
    (tmp_path / "conf" / "optimizer").mkdir(parents=True)
    (tmp_path / "conf" / "optimizer" / "clipped.yaml").write_text("_target_: own.Clipped\n_partial_: true\nlr: 0.1\n")


def refusal(tmp_path: Path, *words: str, trust: str = "own.*") -> str:
    """What the checks say of a command where `own.py` can be imported; the words are checked in a fresh process."""
    program = (
        "import sys\nfrom launcher.config import compose\nfrom launcher.config.checks.nodes import check\nfrom launcher.errors import ConfigError\n"
        "try:\n"
        "    with compose.session('conf') as hydra:\n"
        "        found = compose.compose(hydra, sys.argv[1:])\n"
        "        check(found.config, found.origins)\n"
        "    print('fine')\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
    )
    env = environment({"LAUNCHER_TRUST": trust})
    env["PYTHONPATH"] += f":{tmp_path}"
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.stderr == ""
    return done.stdout.rstrip("\n")


def test_a_persons_own_optimizer(tmp_path: Path) -> None:
    own_folder(tmp_path)
    assert refusal(tmp_path, "optimizer=clipped") == "fine"
    assert refusal(tmp_path, "optimizer=clipped", trust="").startswith(
        "conf/optimizer/clipped.yaml:1: optimizer._target_: own.Clipped, which a config may not run."
    )
    assert (
        refusal(tmp_path, "optimizer=clipped", "+optimizer.bond=2")
        == "+optimizer.bond=2: own.Clipped has no argument 'bond'. Did you mean 'bound'?"
    )
    assert refusal(tmp_path, "optimizer=clipped", "+optimizer.bound=big") == "+optimizer.bound=big: expected a number"


def test_a_persons_own_task_brings_its_own_facts(tmp_path: Path) -> None:
    own_folder(tmp_path)
    task = "task._target_=own.Faces"
    assert refusal(tmp_path, task, "objective.metric=val/top5") == "fine"
    assert refusal(tmp_path, task, "objective.metric=val/top6").startswith(
        "objective.metric=val/top6: Faces has no metric 'val/top6'. Did you mean 'val/top5'"
    )


def test_a_module_that_fails_to_import_is_named(tmp_path: Path) -> None:
    own_folder(tmp_path, "\nraise RuntimeError('out of order')\n")
    assert (
        refusal(tmp_path, "optimizer=clipped")
        == "conf/optimizer/clipped.yaml:1: optimizer._target_: own.Clipped: importing own failed: RuntimeError: out of order"
    )
    (tmp_path / "own.py").write_text("import no_such_module\n")
    assert refusal(tmp_path, "optimizer=clipped") == (
        "conf/optimizer/clipped.yaml:1: optimizer._target_: own.Clipped: importing own failed: No module named 'no_such_module'"
    )


def test_a_config_cannot_widen_the_list() -> None:
    with compose.session() as hydra:
        found = compose.compose(hydra, ["+optimizer._execution_whitelist_=[os.system]"])
        with pytest.raises(ConfigError) as refused:
            check(found.config, found.origins)
    assert (
        str(refused.value)
        == "+optimizer._execution_whitelist_=[os.system]: no word of Hydra's. There are: _args_, _convert_, _partial_, _recursive_, _target_."
    )
