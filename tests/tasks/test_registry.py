"""Tasks of another installed package, by its entry points alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

from launcher.tasks import registry


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`sorting_pkg`, which declares two tasks; importing it fails, so that nobody does by accident."""
    root = tmp_path / "sorting_pkg"
    (root / "conf" / "task").mkdir(parents=True)
    (root / "__init__.py").write_text("raise ImportError('imported')\n")
    (root / "conf" / "task" / "sorting.yaml").write_text("_target_: sorting_pkg.tasks.Sorting\n")
    info = tmp_path / "sorting_pkg-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sorting-pkg\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[launcher.tasks]\nsorting = sorting_pkg.tasks:Sorting\nheaping = sorting_pkg.heap:Heap\n"
        "image_classification = sorting_pkg.heap:Heap\n[launcher.targets]\nany = plain_pkg\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._conf.cache_clear()
    return root


def test_installed_tasks_are_known_without_importing_them(package: Path) -> None:
    found = {task.name: task for task in registry.installed()}
    assert found["sorting"].target == "sorting_pkg.tasks.Sorting"
    assert found["sorting"].conf == package / "conf"
    assert registry.search_path() == [f"file://{package / 'conf'}"]
    assert registry.trusted() == ["plain_pkg.*", "sorting_pkg.*"]
    assert "sorting_pkg" not in sys.modules


def test_only_tasks_without_a_file_get_a_node(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sorting` has one in its package, `image_classification` in our catalogue, which no package replaces."""
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", {})  # there is one store: what Hydra itself keeps in it has to come back
    registry.register(store)
    assert list(store.repo["task"]) == ["heaping.yaml"]
    assert store.repo["task"]["heaping.yaml"].node == {"_target_": "sorting_pkg.heap.Heap"}


def test_without_packages_there_is_nothing() -> None:
    assert registry.installed() == []
    assert registry.search_path() == []
    assert registry.trusted() == []


def test_looking_imports_nothing_heavy() -> None:
    code = "import sys; from launcher.tasks import registry; registry.installed(); registry.search_path(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert not {"torch", "numpy", "sklearn", "transformers", "datasets", "hydra", "launcher.tasks.base"} & set(loaded)
