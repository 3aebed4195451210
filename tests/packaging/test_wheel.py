"""The installed wheel does what the checkout does, from any folder, and takes up tasks of other packages.

The wheel is built and installed for real, with the build backend that is installed here and nothing fetched: into a
virtual environment of its own, which sees this environment's libraries but not the checkout.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.conftest import Launch
from tests.support.harness import ROOT, Outcome, environment, run_folder

EXAMPLE = Path(__file__).parent / "example_package"
SHORT = ("training.max_epochs=1", "tracker=[]")


def check(*command: str | Path, cwd: Path) -> None:
    """Run a command that has to succeed; the test shows what it printed where it does not."""
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=environment({"PYTHONPATH": ""}), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def built(source: Path, into: Path) -> Path:
    """The wheel of a project, built by what is installed."""
    check(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", into, source, cwd=into)
    (wheel,) = into.glob("*.whl")
    return wheel


class Installed:
    """A virtual environment with our wheel in it."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        check(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
        self.install(wheel)
        # The libraries of this environment; a .pth inside it (the checkout's own) is not followed from here.
        (self.site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def install(self, wheel: Path) -> None:
        check(
            sys.executable,
            "-m",
            "pip",
            "--python",
            self.python,
            "install",
            "-q",
            "--no-deps",
            "--no-index",
            wheel,
            cwd=self.folder,
        )

    def __call__(self, *command: str | Path, cwd: Path) -> Outcome:
        """Run a program of the environment's `bin`, with no help from PYTHONPATH."""
        program, *words = map(str, command)
        done = subprocess.run(
            [str(self.folder / "bin" / program), *words],
            cwd=cwd,
            env=environment({"PYTHONPATH": ""}),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        return Outcome(done.returncode, done.stdout, done.stderr, run_folder(cwd))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("environment") / "venv", wheel)


@pytest.fixture
def decoys(tmp_path: Path) -> Path:
    """A folder whose own `tasks` and `conf` would end any run that took them for ours."""
    for name in ("tasks/__init__.py", "tasks/base.py", "tasks/registry.py", "tasks/image_classification.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('the decoy was imported')\n")
    for name in ("conf/config.yaml", "conf/optimizer/adamw.yaml", "conf/task/image_classification.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("decoy: true\n")
    return tmp_path


def result(outcome: Outcome) -> dict[str, object]:
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert outcome.folder is not None
    read: dict[str, object] = json.loads((outcome.folder / "result.json").read_text())
    return read


@pytest.mark.slow
def test_the_wheel_holds_the_catalogue_and_the_tasks_inside_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tracked = subprocess.run(["git", "ls-files", "launcher", "conf", "tasks"], cwd=ROOT, capture_output=True, text=True)
    files = [Path(line) for line in tracked.stdout.splitlines() if (ROOT / line).is_file()]
    if tracked.returncode:  # not a checkout of git
        files = [
            path.relative_to(ROOT) for top in ("launcher", "conf", "tasks") for path in (ROOT / top).rglob("*.[py]*")
        ]
        files = [path for path in files if path.suffix in (".py", ".yaml")]
    expected = {str(path if path.parts[0] == "launcher" else "launcher" / path) for path in files}
    assert len(expected) > 50
    assert expected - names == set()
    assert {name.split("/")[0] for name in names} == {"launcher", wheel.name.rsplit("-", 3)[0] + ".dist-info"}


@pytest.mark.slow
def test_it_is_the_wheel_that_runs(installed: Installed, tmp_path: Path) -> None:
    code = "import launcher, launcher.tasks.base as base; print(launcher.__file__, launcher.CONF, base.__file__)"
    paths = installed("python", "-c", code, cwd=tmp_path).stdout.split()
    assert len(paths) == 3
    assert all(Path(path).is_relative_to(installed.site / "launcher") for path in paths)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [("launcher",), ("python", "-m", "launcher")], ids=["launcher", "python -m launcher"]
)
def test_it_trains_in_a_folder_with_tasks_and_conf_of_its_own(
    installed: Installed, decoys: Path, command: tuple[str, ...]
) -> None:
    outcome = installed(*command, *SHORT, cwd=decoys)
    assert result(outcome)["status"] == "completed"
    assert installed("launcher", "--version", cwd=decoys).stdout.startswith("launcher 0.")


def test_the_checkout_trains_in_such_a_folder_too(launch: Launch, decoys: Path) -> None:
    assert result(launch(*SHORT, cwd=decoys))["status"] == "completed"


@pytest.mark.slow
def test_the_wheel_and_the_checkout_train_alike(installed: Installed, launch: Launch, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "checkout", tmp_path / "wheel"
    ours.mkdir()
    theirs.mkdir()
    assert result(launch(*SHORT, cwd=ours))["metrics"] == result(installed("launcher", *SHORT, cwd=theirs))["metrics"]


@pytest.fixture(scope="module")
def with_example(installed: Installed, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    source = tmp_path_factory.mktemp("example") / "source"
    shutil.copytree(EXAMPLE, source)
    other = Installed(tmp_path_factory.mktemp("environment") / "venv", wheel)
    other.install(built(source, tmp_path_factory.mktemp("example_wheel")))
    return other


@pytest.mark.slow
def test_a_task_of_another_package_with_its_own_configs(with_example: Installed, decoys: Path) -> None:
    got = result(with_example("launcher", "task=bigger_half", "tracker=[]", cwd=decoys))
    objective = got["objective"]
    assert isinstance(objective, dict)
    assert objective["name"] == "val/accuracy"
    assert objective["value"] > 0.9  # a coin has 0.5


@pytest.mark.slow
def test_a_task_of_another_package_without_a_file(with_example: Installed, tmp_path: Path) -> None:
    words = ["task=bare_half", "model=mlp", "data=rows", "objective.metric=val/loss", "objective.direction=minimize"]
    got = result(with_example("launcher", *words, "training.max_epochs=2", "tracker=[]", cwd=tmp_path))
    objective = got["objective"]
    assert isinstance(objective, dict)
    assert objective["value"] < 0.6  # log 2 is 0.69


@pytest.mark.slow
def test_the_other_packages_choices_are_listed_and_leave_with_it(
    with_example: Installed, installed: Installed, tmp_path: Path
) -> None:
    shown = with_example("launcher", "--help", cwd=tmp_path).stdout
    for option in ("bigger_half", "bare_half", "rows", "brisk"):
        assert option in shown
    refused = installed("launcher", "task=bigger_half", cwd=tmp_path)
    assert refused.returncode == 2
    assert "bigger_half" in refused.stderr
    assert list(tmp_path.iterdir()) == []
