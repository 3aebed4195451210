"""What `make` says and does before anything is downloaded."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.harness import ROOT

STAMPS = (".made", ".torch-default", ".installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what the Makefile reads, and no `.venv`."""
    for name in (
        "Makefile",
        "pyproject.toml",
        "requirements.lock",
        "requirements-bench.lock",
        "requirements-docs.lock",
        "requirements-test.lock",
    ):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(folder: Path, *words: str, path: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """`make` in a folder; with `path` in front of PATH, and nothing behind it that could be a Python."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "PIP_"))}
    for name in ("TORCH", "PYTHON", "ARGS", "WORKERS"):
        inherited.pop(name, None)
    if path is not None:
        tools = path / "tools"
        tools.mkdir()
        for tool in ("sh", "sed", "uname", "awk", "ls", "head", "rm", "touch", "grep", "cat"):
            (tools / tool).symlink_to(shutil.which(tool) or tool)
        inherited["PATH"] = f"{path}{os.pathsep}{tools}"
    command = [shutil.which("make") or "make", "--no-print-directory", "-C", str(folder), *words]
    return subprocess.run(command, env=inherited | env, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def fake_python(folder: Path, name: str, prelude: str) -> None:
    """An interpreter that is this one, after `prelude`."""
    code = f"import sys\n{prelude}\nexec(sys.argv[2])"
    script = folder / name
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
    script.chmod(0o755)


def test_help_lists_every_target(checkout: Path) -> None:
    shown = make(checkout, "help").stdout
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    targets = phony[1].split()
    assert {"run", "test", "sweep", "report", "lint", "bench", "docs", "clean", "help", "lock"} <= set(targets)
    assert [target for target in targets if not re.search(rf"^  make {target} +\w", shown, re.MULTILINE)] == []
    assert make(checkout).stdout == shown


def test_an_older_python_is_refused_in_one_line(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("path")
    fake_python(path, "python3", "sys.version_info = (3, 9, 2)")
    fake_python(path, "python3.11", "sys.version_info = (3, 10, 13)")
    done = make(checkout, "run", path=path)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "Python 3.11 or newer is needed" in line
    assert "python3 is 3.9.2, python3.11 is 3.10.13" in line
    assert "PYTHON=" in line
    assert not (checkout / ".venv").exists()


def test_no_python_at_all_is_said_in_one_line(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    done = make(checkout, "test", path=tmp_path_factory.mktemp("path"))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "none found" in line


def test_a_python_without_venv_is_explained_in_one_line(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("path")
    fake_python(path, "python3", "sys.modules['ensurepip'] = None")
    done = make(checkout, "run", path=path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "apt-get install python3-venv" in line


def test_the_first_python_that_is_new_enough_is_taken(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("path")
    fake_python(path, "python3", "sys.version_info = (3, 9, 2)")
    fake_python(path, "python3.12", "sys.version_info = (3, 12, 1)")
    done = make(checkout, "-n", ".venv/.made", path=path)
    assert "python3.12 -m venv .venv" in done.stdout


def test_an_unknown_build_of_torch_is_refused(checkout: Path) -> None:
    done = make(checkout, "run", "TORCH=gpu")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "TORCH=gpu: there are TORCH=default and TORCH=cpu" in line
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(("build", "requirement"), [("default", "torch==2.13.0 "), ("cpu", "torch==2.13.0+cpu ")])
def test_the_size_is_said_before_torch_is_installed(checkout: Path, build: str, requirement: str) -> None:
    lines = make(
        checkout, "-n", "run", f"TORCH={build}", "TORCH_INDEX=https://index.example/simple"
    ).stdout.splitlines()
    (said,) = [number for number, line in enumerate(lines) if "Installing torch 2.13.0" in line]
    (installs,) = [number for number, line in enumerate(lines) if requirement in line]
    assert "GB" in lines[said]
    assert said < installs
    assert "--extra-index-url https://index.example/simple" in lines[installs]
    assert installs < next(number for number, line in enumerate(lines) if "-r requirements.lock" in line)


def test_a_second_run_installs_nothing(checkout: Path) -> None:
    venv = checkout / ".venv"
    venv.mkdir()
    for stamp in STAMPS:
        (venv / stamp).touch()
    assert make(checkout, "-n", "run").stdout == ".venv/bin/python -m launcher \n"
    assert make(checkout, "-n", "run", "ARGS=optimizer=sgd seed=1").stdout.endswith(
        "-m launcher optimizer=sgd seed=1\n"
    )
    os.utime(checkout / "requirements.lock", (2e9, 2e9))
    assert "-r requirements.lock" in make(checkout, "-n", "run").stdout


def test_another_build_of_torch_replaces_the_installed_one(checkout: Path) -> None:
    venv = checkout / ".venv"
    venv.mkdir()
    for stamp in STAMPS:
        (venv / stamp).touch()
    switched = make(checkout, "-n", "run", "TORCH=cpu").stdout
    assert "uninstall -q -y torch" in switched
    assert "torch==2.13.0+cpu" in switched


@pytest.mark.slow
def test_a_build_that_the_index_lacks_is_said_in_one_line(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    index = tmp_path_factory.mktemp("index")
    (index / "torch").mkdir()
    (index / "torch" / "index.html").write_text("<html></html>")
    env = {"PIP_INDEX_URL": index.as_uri(), "PIP_CONFIG_FILE": os.devnull}
    done = make(checkout, "run", "TORCH=cpu", f"PYTHON={sys.executable}", **env)
    assert done.returncode == 2
    explained, _ = done.stderr.splitlines()  # the second line is make's own
    assert explained == (
        "torch 2.13.0 as TORCH=cpu is not in the index that pip uses: "
        "name one that has it with TORCH_INDEX=URL, or take TORCH=default"
    )
    assert "about 0.2 GB" in done.stdout
    assert not (checkout / ".venv" / ".torch-cpu").exists()


def test_the_page_of_no_run_says_so(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    for stamp in STAMPS:
        (checkout / ".venv" / stamp).touch()
    done = make(checkout, "report")
    assert done.returncode == 2
    assert done.stderr.startswith("no run under outputs/ yet: make run\n")


def test_clean_leaves_the_runs(checkout: Path) -> None:
    for name in (".venv/bin", "outputs/2026-01-01/00-00-00", "launcher/__pycache__", "dist"):
        (checkout / name).mkdir(parents=True)
    assert make(checkout, "clean").returncode == 0
    left = {path.name for path in checkout.iterdir()}
    assert "outputs" in left
    assert not {".venv", "dist"} & left
    assert not (checkout / "launcher" / "__pycache__").exists()


def test_the_lock_pins_everything_once_and_the_package_admits_it() -> None:
    from tomllib import loads

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    pins = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    assert len(pins) == len(lines)
    assert all(re.fullmatch(r"[\w.]+", version) for version in pins.values())
    assert pins["torch"] == "2.13.0"
    project = loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [Requirement(text) for text in project["dependencies"] + project["optional-dependencies"]["dev"]]
    for requirement in asked:
        name = canonicalize_name(requirement.name)
        if name != project["name"]:
            assert requirement.specifier.contains(pins[name], prereleases=True), (
                f"{requirement}: locked at {pins[name]}"
            )


@pytest.mark.parametrize("extra", ["docs", "bench"])
def test_a_lock_beside_it_adds_what_an_extra_needs_and_repeats_nothing(extra: str) -> None:
    from tomllib import loads

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    def pins_of(name: str) -> dict[str, str]:
        lines = [line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")]
        return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}

    ours, theirs = pins_of(f"requirements-{extra}.lock"), pins_of("requirements.lock")
    assert ours
    assert sorted(ours.keys() & theirs.keys()) == []
    project = loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [Requirement(text) for text in project["optional-dependencies"][extra]]
    for requirement in (each for each in asked if canonicalize_name(each.name) != project["name"]):
        version = (ours | theirs)[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement}: locked at {version}"
