"""The public names of `launcher`: what they are, what they cost, and that the page of them is up to date."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys

import pytest

import launcher
from tests.support.harness import ROOT, environment
from tests.test_layers import HEAVY

STUB = ast.parse((ROOT / "launcher" / "__init__.pyi").read_text())


def printed(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", launcher.__all__)
def test_a_name_is_what_its_module_defines(name: str) -> None:
    module = importlib.import_module(f"launcher.{launcher._PUBLIC[name]}")
    assert getattr(launcher, name) is getattr(module, name)
    assert getattr(getattr(module, name), "__module__", module.__name__) in (module.__name__, "builtins")  # or an alias


def test_type_checkers_see_the_same_names_in_the_same_modules() -> None:
    seen = {
        alias.asname: node.module
        for node in STUB.body
        if isinstance(node, ast.ImportFrom) and node.module != "pathlib"
        for alias in node.names
    }
    assert seen == {name: f"launcher.{module}" for name, module in launcher._PUBLIC.items()}


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = printed("-c", "import launcher, sys; launcher.ConfigError; launcher.factory; print(*sys.modules)").split()
    assert "launcher.errors" in loaded
    assert sorted(HEAVY & set(loaded)) == []
    assert "torch" in printed("-c", "import sys; from launcher import Task, Loss; print(*sys.modules)").split()


def test_a_name_that_is_not_there_is_no_attribute() -> None:
    assert not hasattr(launcher, "Tusk")
    assert {*launcher.__all__, "CONF"} <= set(dir(launcher))
    with pytest.raises(ImportError, match="cannot import name 'Tusk' from 'launcher'"):
        exec("from launcher import Tusk")


def test_what_others_extend_is_public() -> None:
    """A class of core/ that some class of another room is below: code of somebody else may want to extend it too."""
    defined: set[str] = set()
    extended: set[str] = set()
    for path in [*(ROOT / "launcher").rglob("*.py"), *(ROOT / "tasks").rglob("*.py")]:
        classes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
        if path.parent.name == "core":
            defined |= {node.name for node in classes}
        else:
            extended |= {ast.unparse(base) for node in classes for base in node.bases}
    assert {"Task", "Algorithm", "Monitor", "Procedure", "Parallel"} <= defined & extended
    assert sorted((defined & extended) - set(launcher.__all__)) == [], "name it in launcher/__init__.py and .pyi"


def test_the_page_is_what_the_docstrings_say() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    assert page == printed("docs/api.py"), "make docs-api"
    assert [name for name in launcher.__all__ if f"\n### {name}\n" not in page] == []
