"""Private names of other libraries are touched in launcher/adapters/ alone, and each use there names a version.

Ruff's SLF001 finds an attribute that is private; here is what it passes over: imports, and names that end in `_` too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.harness import ROOT

OURS = {"launcher", "tasks"}
VERSION = re.compile(r"# .*\d+\.\d+")


PROMISED = {"os._exit"}
"""Begins with an underscore, and is documented all the same."""


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def uses(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of each private module, name or attribute of another library that a file imports or asks for."""
    tree = ast.parse(path.read_text())
    libraries: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] not in OURS:
                    libraries.add((alias.asname or alias.name).split(".")[0])
                    if any(map(private, alias.name.split("."))):
                        yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] not in OURS:
            for alias in node.names:
                libraries.add(alias.asname or alias.name)
                whole = f"{node.module}.{alias.name}"
                if any(map(private, whole.split("."))):
                    yield node.lineno, whole
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            name = ast.unparse(node)
            if name.split(".")[0] in libraries and name not in PROMISED:
                yield node.lineno, name


def sources() -> Iterator[Path]:
    return (path for room in sorted(OURS) for path in sorted((ROOT / room).rglob("*.py")))


def test_no_private_name_is_touched_elsewhere() -> None:
    elsewhere = [path for path in sources() if path.parent.name != "adapters"]
    assert [f"{path.relative_to(ROOT)}:{line} {name}" for path in elsewhere for line, name in uses(path)] == []


def test_each_library_has_one_module() -> None:
    for path in sorted((ROOT / "launcher" / "adapters").glob("[a-z]*.py")):
        libraries = {name.split(".")[0] for _, name in uses(path)} - {"Variable", "nn"}
        assert libraries <= {path.stem, "hydra_plugins", "PartialState"}, path.stem


def test_each_use_names_the_version_it_was_read_at() -> None:
    without = []
    for path in sorted((ROOT / "launcher" / "adapters").glob("[a-z]*.py")):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            code = line.partition("  # ")[0]
            touched = re.search(
                r'(?<!self)\._[a-z]\w*|\bimport _[a-z]|, "_[a-z]\w*"', code.replace("super()._", "super()")
            )
            if touched and not VERSION.search(line):
                without.append(f"{path.name}:{number} {line.strip()}")
    assert without == []


def test_the_rule_finds_what_breaks_it(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(
        "import torch\nfrom torch._C import thing\nimport optuna.storages._rdb\nfrom hydra.utils import _locate\n"
        "torch._foreach_mul_([], 1)\nfrom launcher.config import _hidden\n"
    )
    assert sorted(uses(path)) == [
        (2, "torch._C.thing"),
        (3, "optuna.storages._rdb"),
        (4, "hydra.utils._locate"),
        (5, "torch._foreach_mul_"),
    ]
