"""What a saved model may make happen when it is read: nothing but itself."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from launcher.artifacts.export import load_estimator, load_module, save_estimator, save_module
from launcher.errors import ConfigError
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
    with pytest.raises(ConfigError, match=r"holds what no saved estimator may bring: .*Evil"):
        load_estimator(tmp_path)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Edit the schema of a saved estimator, as somebody would who hands on a model folder."""
    rewritten = io.BytesIO()
    with zipfile.ZipFile(folder / "model.skops") as old, zipfile.ZipFile(rewritten, "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name == "schema.json":
                schema = json.loads(text)
                change(schema["content"]["content"])
                text = json.dumps(schema).encode()
            new.writestr(name, text)
    (folder / "model.skops").write_bytes(rewritten.getvalue())


OPENS = {"__class__": "measure", "__module__": "numpy.testing", "__loader__": "FunctionNode", "__id__": 1}
"""numpy's own, which runs the code of a text."""
CALLABLES: dict[str, dict[str, Any]] = {
    "numpy.testing.measure": OPENS,
    "numpy.log1p": OPENS | {"__class__": "log1p", "__module__": "numpy"},
    "sklearn.datasets._base.urlretrieve": OPENS | {"__class__": "urlretrieve", "__module__": "sklearn.datasets._base"},
    "functools.partial": {
        "__class__": "partial", "__module__": "functools", "__loader__": "PartialNode", "__id__": 2,
        "content": {"func": OPENS, "args": {}, "kwds": {}, "namespace": {}},
    },
    "builtins.list": {
        "__class__": "list", "__module__": "builtins", "__loader__": "MethodNode", "__id__": 3,
        "content": {"func": "append", "obj": {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "content": []}},
    },
    "operator.methodcaller": {
        "__class__": "methodcaller", "__module__": "operator", "__loader__": "OperatorFuncNode", "__id__": 4,
        "attrs": {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "content": []},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CALLABLES)
def test_no_callable_comes_with_an_estimator(tmp_path: Path, name: str) -> None:
    """An analyzer is called on every text of a column: that of numpy.testing runs the text."""
    from sklearn.feature_extraction.text import CountVectorizer

    save_estimator(CountVectorizer().fit(["a text", "and another"]), tmp_path)
    rewrite(tmp_path, lambda attributes: attributes.update(analyzer=CALLABLES[name]))
    with pytest.raises(ConfigError, match=rf"holds what no saved estimator may bring: {re.escape(name)} \(\w+Node\)"):
        load_estimator(tmp_path)


def test_classes_that_are_not_on_the_list_are_refused(tmp_path: Path) -> None:
    from sklearn.feature_extraction.text import CountVectorizer

    save_estimator(CountVectorizer().fit(["a text", "and another"]), tmp_path)
    other = {"__class__": "memmap", "__module__": "numpy", "__loader__": "TypeNode", "__id__": 1}
    rewrite(tmp_path, lambda attributes: attributes.update(analyzer=other))
    with pytest.raises(ConfigError, match=r"may bring: numpy\.memmap"):
        load_estimator(tmp_path)


def test_a_tree_that_leads_out_of_itself_is_refused(tmp_path: Path) -> None:
    """scikit-learn walks a tree by its indices without a look at them: into other memory, or in a circle for ever."""
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier().fit(np.arange(20.0)[:, None], np.arange(20) % 3)
    save_estimator(tree, tmp_path)
    assert (load_estimator(tmp_path).predict([[3.0]]) == tree.predict([[3.0]])).all()
    for child, value in (("left_child", 10_000), ("right_child", 0), ("feature", 7)):
        state = tree.tree_.__getstate__()
        nodes = state["nodes"].copy()
        nodes[child][0] = value
        tree.tree_.__setstate__(state | {"nodes": nodes})
        save_estimator(tree, tmp_path)
        with pytest.raises(ConfigError, match=r"model\.skops: a Tree in it leads out of itself"):
            load_estimator(tmp_path)
        tree.tree_.__setstate__(state)


def test_an_estimator_that_would_read_files_is_refused(tmp_path: Path) -> None:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.pipeline import make_pipeline

    words = make_pipeline(CountVectorizer()).fit(["a text", "and another"])
    words[0].input = "filename"
    save_estimator(words, tmp_path)
    with pytest.raises(ConfigError, match=r"countvectorizer__input=filename: it would read files"):
        load_estimator(tmp_path)
