"""What a saved model may make happen when it is read: nothing but itself."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from launcher.errors import ConfigError
from launcher.export import load_estimator, load_module, save_estimator, save_module
from launcher.tasks.models.mlp import MLP
from tests.tasks.conftest import factory


def saved(folder: Path, **options: Any) -> Any:
    model = factory(MLP, **options)(input_shape=(4,), num_outputs=3, unknown_fact=1).eval()
    save_module(model, folder, facts={"classes": ("a", "b", "c")})
    return model


def edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model"] |= changes
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_module_is_rebuilt_with_its_arguments(tmp_path: Path, norm: str) -> None:
    model = saved(tmp_path, width=8, depth=3, norm=norm)
    again = load_module(tmp_path)
    assert type(again) is MLP
    assert not again.training
    x = torch.randn(5, 4)
    assert torch.equal(again(x), model(x))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model"] == {
        "_target_": "launcher.tasks.models.mlp.MLP", "width": 8, "depth": 3, "norm": norm, "input_shape": [4], "num_outputs": 3
    }  # fmt: skip
    assert config["facts"] == {"classes": ["a", "b", "c"]}
    assert set(load_file(tmp_path / "model.safetensors")) == set(model.state_dict())


def test_tied_weights_are_written_once_and_tied_again(tmp_path: Path) -> None:
    model = MLP((8,), 8, width=8, depth=1)
    model.head.weight = model.body[0].weight
    model.launcher_config = {
        "_target_": "launcher.tasks.models.mlp.MLP",
        "input_shape": [8],
        "num_outputs": 8,
        "width": 8,
        "depth": 1,
    }  # type: ignore[assignment]
    save_module(model, tmp_path)
    assert len(load_file(tmp_path / "model.safetensors")) == 3


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.nn.Linear",
        "launcher.tasks.models.mlp.math.prod",  # through what a module imports
        "launcher.tasks.models.mlp.nn.Linear",
        "launcher.tasks.data.files.Files",  # ours, and no module
        "launcher.tasks.models.hub.pretrained",
        "launcher.tasks.models.mlp.Gone",
        "",
    ],
)
def test_only_module_classes_of_ours_are_built(tmp_path: Path, target: str) -> None:
    saved(tmp_path)
    edit(tmp_path, _target_=target)
    with pytest.raises(ConfigError, match="a saved model names"):
        load_module(tmp_path)


def test_other_packages_are_built_where_they_are_allowed(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 3)
    model.launcher_config = {"_target_": "torch.nn.modules.linear.Linear", "in_features": 2, "out_features": 3}  # type: ignore[assignment]
    save_module(model, tmp_path)
    with pytest.raises(ConfigError, match=r"not among those that may be built: launcher\.tasks\.\*"):
        load_module(tmp_path)
    again = load_module(tmp_path, allowed=["torch.nn.modules.*"])
    assert torch.equal(again.weight, model.weight)


def test_damaged_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no config\.json"):
        load_module(tmp_path)
    saved(tmp_path)
    edit(tmp_path, width=9)
    with pytest.raises(ConfigError, match=r"model\.safetensors: not the weights of MLP"):
        load_module(tmp_path)
    edit(tmp_path, wdith=9)
    with pytest.raises(ConfigError, match=r"config\.json: MLP can not be built .*wdith"):
        load_module(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no")
    edit(tmp_path, _target_="launcher.tasks.models.mlp.MLP")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json: not readable"):
        load_module(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match="not a model of this launcher"):
        load_module(tmp_path)
    with pytest.raises(ConfigError, match=r"holds no model\.skops"):
        load_estimator(tmp_path)
    (tmp_path / "model.skops").write_bytes(b"no")
    with pytest.raises(ConfigError, match=r"model\.skops: not a readable estimator"):
        load_estimator(tmp_path)


def test_a_module_without_its_arguments_or_with_odd_ones_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="does not say what it was built from"):
        save_module(MLP((2,), 2), tmp_path)
    model = MLP((2,), 2)
    model.launcher_config = {"_target_": "x", "activation": object()}  # type: ignore[assignment]
    with pytest.raises(TypeError, match="object can not be written"):
        save_module(model, tmp_path)


class Evil:
    """Runs when it is unpickled, or when skops builds it."""

    def __init__(self) -> None:
        self.x = 1

    def __setstate__(self, state: Any) -> None:
        raise SystemError("code of a file was run")


def test_an_estimator_that_holds_a_foreign_type_is_refused(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    estimator = LogisticRegression().fit(np.eye(4), [0, 1, 0, 1])
    estimator.extra = Evil()
    save_estimator(estimator, tmp_path)
    with pytest.raises(ConfigError, match=r"holds types that are not of sklearn, numpy, scipy: .*Evil"):
        load_estimator(tmp_path)


def test_a_function_that_a_trusted_module_merely_imports_is_refused(tmp_path: Path) -> None:
    """scikit-learn's modules hold `os`, `shutil` and the like: their names alone prove nothing."""
    from sklearn.preprocessing import FunctionTransformer

    save_estimator(FunctionTransformer(np.log1p), tmp_path)
    rewritten = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "model.skops") as old, zipfile.ZipFile(rewritten, "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name == "schema.json":
                schema = json.loads(text)
                function = schema["content"]["content"]["func"]
                assert function["__loader__"] == "FunctionNode"
                function |= {"__class__": "urlretrieve", "__module__": "sklearn.datasets._base"}
                text = json.dumps(schema).encode()
            new.writestr(name, text)
    (tmp_path / "model.skops").write_bytes(rewritten.getvalue())
    with pytest.raises(ConfigError, match=r"holds types that are not of .*: sklearn\.datasets\._base\.urlretrieve"):
        load_estimator(tmp_path)
