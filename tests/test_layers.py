"""Imports point down: who may enter which room, read off the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.harness import ROOT

# The rooms of launcher/, and tasks/, from the top of the house to its ground. A room imports from those below it, and
# from its own; imports inside functions and for the type checker alone count too.
ROWS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("actions",),
    ("search",),
    ("launch",),
    ("preflight",),
    ("train",),
    ("monitors",),
    ("report",),
    ("cluster",),
    ("algorithms",),
    ("procedures",),
    ("parallel", "tasks"),
    ("core",),
    ("trackers",),
    ("console",),
    ("optim",),
    ("config",),
    ("artifacts",),
    ("data", "memory"),
    ("process",),
    ("functional",),
    ("adapters",),
    ("errors",),
    ("launcher",),  # the package itself: where things lie
)
HEAVY = {
    "torch",
    "accelerate",
    "sklearn",
    "torchmetrics",
    "transformers",
    "datasets",
    "tokenizers",
    "skops",
    "pandas",
    "scipy",
}
"""Half a second to five seconds each: not before composition and its refusals are over."""
SLOW = HEAVY - {"torch", "accelerate"}
"""Not before the first step of a fit that does not need them: only inside the functions that do."""
EXTENDING = ("tasks.metrics",)
"""Modules of classes that extend a slow library's: nobody imports them but inside a function."""
DRIVER = (
    "__main__",
    "config.checks.nodes",
    "config.compose",
    "errors",
    "config.override_errors",
    "launch.driver",
    "config.resolvers",
    "config.resume",
    "config.schema",
    "process.seeds",
    "config.trust",
)
MAX_LINES = 300


@dataclass(frozen=True)
class Import:
    """`module` imports `target`; `deferred` inside a function, `typing` for the type checker alone."""

    module: str
    target: str
    line: int
    deferred: bool
    typing: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


class Source:
    """The modules of the packages below a folder and what they import."""

    def __init__(self, root: Path, packages: tuple[str, ...] = ("launcher", "tasks")) -> None:
        self.packages = packages
        self.paths: dict[str, Path] = {}
        for package in packages:
            for path in sorted((root / package).rglob("*.py")):
                parts = path.relative_to(root).with_suffix("").parts
                self.paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        self.imports = {module: list(self._imports(module)) for module in self.paths}

    def _imports(self, module: str) -> Iterator[Import]:
        path = self.paths[module]
        package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]

        def visit(node: ast.AST, deferred: bool, typing: bool) -> Iterator[Import]:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(module, alias.name, node.lineno, deferred, typing)
            elif isinstance(node, ast.ImportFrom):
                above = package[: len(package) - node.level + 1] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                for alias in node.names:
                    whole = f"{base}.{alias.name}"
                    yield Import(module, whole if whole in self.paths else base, node.lineno, deferred, typing)
            elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
                for child in node.body:
                    yield from visit(child, deferred, True)
                for child in node.orelse:
                    yield from visit(child, deferred, typing)
            else:
                inside = deferred or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                for child in ast.iter_child_nodes(node):
                    yield from visit(child, inside, typing)

        return visit(ast.parse(path.read_text()), False, False)

    def real(self) -> Iterator[Import]:
        """The imports that happen when the code runs."""
        return (each for found in self.imports.values() for each in found if not each.typing)

    def inside(self) -> Iterator[Import]:
        """All that stay within the packages, those for the type checker too."""
        return (each for found in self.imports.values() for each in found if each.target.split(".")[0] in self.packages)

    def loaded_by(self, module: str) -> Iterator[Import]:
        """Every import that happens while `module` is imported, through all modules that it imports in turn."""
        todo, seen = [module], set[str]()
        while todo:
            current = todo.pop()
            for parent in _with_parents(current):
                if parent in seen or parent not in self.paths:
                    continue
                seen.add(parent)
                for each in self.imports[parent]:
                    if not each.typing and not each.deferred:
                        yield each
                        todo.append(each.target)


def _with_parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def room(module: str) -> str:
    """The room that a module is in: `launcher.optim.groups` is in `optim`, all of `tasks` in `tasks`."""
    parts = module.split(".")
    return parts[1] if parts[0] == "launcher" and len(parts) > 1 else parts[0]


def row(module: str) -> int:
    return next(number for number, rooms in enumerate(ROWS) if room(module) in rooms)


def upward(source: Source) -> list[str]:
    return [
        str(each)
        for each in source.inside()
        if row(each.target) < row(each.module) or (row(each.target) == row(each.module) and _apart(each))
    ]


def _apart(each: Import) -> bool:
    return room(each.target) != room(each.module)


def tasks_from_launcher(source: Source) -> list[str]:
    return [
        str(each)
        for each in source.real()
        if each.module.startswith("launcher") and (each.target + ".").startswith(("tasks.", "launcher.tasks."))
    ]


def heavy_in_driver(source: Source, driver: tuple[str, ...] = DRIVER) -> list[str]:
    return [
        f"import launcher.{module}: {each}"
        for module in driver
        for each in source.loaded_by(f"launcher.{module}")
        if each.target.split(".")[0] in HEAVY
    ]


def slow_at_import(source: Source) -> list[str]:
    slow = [
        each
        for each in source.real()
        if not each.deferred
        and (each.target in EXTENDING or (each.target.split(".")[0] in SLOW and each.module not in EXTENDING))
    ]
    return [str(each) for each in slow]


@pytest.fixture(scope="module")
def source() -> Source:
    return Source(ROOT)


def test_every_room_has_its_row(source: Source) -> None:
    placed = [name for rooms in ROWS for name in rooms]
    assert len(placed) == len(set(placed))
    assert sorted({room(module) for module in source.paths} - set(placed)) == []


def test_imports_point_down(source: Source) -> None:
    assert upward(source) == []


def test_the_launcher_never_imports_tasks(source: Source) -> None:
    assert tasks_from_launcher(source) == []


def test_the_driver_loads_nothing_heavy(source: Source) -> None:
    assert heavy_in_driver(source) == []


def test_slow_libraries_wait_until_they_are_used(source: Source) -> None:
    assert slow_at_import(source) == []


def test_a_room_is_a_page_or_two(source: Source) -> None:
    lengths = {module: len(path.read_text().splitlines()) for module, path in source.paths.items()}
    assert {module: lines for module, lines in lengths.items() if lines > MAX_LINES} == {}


def test_each_rule_finds_what_breaks_it(tmp_path: Path) -> None:
    files = {
        "launcher/__init__.py": "",
        "launcher/errors.py": "import torch\n",
        "launcher/optim/__init__.py": "",
        "launcher/optim/groups.py": "from ..core.run import Run\n",
        "launcher/core/__init__.py": "",
        "launcher/core/run.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from launcher.train import build\n",
        "launcher/memory/__init__.py": "",
        "launcher/memory/one.py": "def fit():\n    from launcher.data import batches\n",
        "launcher/data/__init__.py": "",
        "launcher/data/batches.py": "from tasks import base\nfrom sklearn import svm\n",
        "launcher/config/__init__.py": "",
        "launcher/config/compose.py": "from launcher import errors\ndef compose():\n    import accelerate\n",
        "tasks/__init__.py": "",
        "tasks/base.py": "from launcher.train import build\ndef late():\n    import transformers\n",
        "launcher/train/__init__.py": "",
        "launcher/train/build.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    broken = Source(tmp_path)
    assert sorted(upward(broken)) == [
        "launcher.core.run:3 imports launcher.train.build",
        "launcher.data.batches:1 imports tasks.base",
        "launcher.memory.one:2 imports launcher.data.batches",
        "launcher.optim.groups:1 imports launcher.core.run",
        "tasks.base:1 imports launcher.train.build",
    ]
    assert tasks_from_launcher(broken) == ["launcher.data.batches:1 imports tasks.base"]
    assert heavy_in_driver(broken, ("config.compose",)) == [
        "import launcher.config.compose: launcher.errors:1 imports torch"
    ]
    assert slow_at_import(broken) == ["launcher.data.batches:2 imports sklearn"]
