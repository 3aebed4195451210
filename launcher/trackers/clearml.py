"""ClearML: a server, or an archive under <run>/clearml for a later import."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from launcher.adapters.clearml import report
from launcher.config.flatten import flat

from .base import Tracker, best_of
from .reachable import reach
from .run_ids import read_id, write_id
from .settings import chosen, switched_on

if TYPE_CHECKING:
    import numpy as np
    from clearml import Logger, Task


HOOKS = (
    "detect_repository",
    "hydra",
    "scikit",
    "joblib",
    "matplotlib",
    "tensorflow",
    "tensorboard",
    "tfdefines",
    "pytorch",
    "megengine",
    "xgboost",
    "catboost",
    "fastai",
    "lightgbm",
    "gradio",
)
"""Everything that ClearML would find out or take hold of by itself: False for all would leave its search for the
repository on, which asks git for what provenance.json knows."""


class ClearML(Tracker):
    """Values over the optimizer's steps, the splits of a metric in one plot; the config flat as hyperparameters and whole.

    By ClearML's own calls: Accelerate's tracker would put `train/loss` and `val/loss` into two plots. The task's hooks
    into frameworks, arguments and output streams are left off: what there is to know, the launcher says. A resume goes on
    under the same id. A server that does not answer is asked again until the run ends. Offline, each session of a run leaves an archive of its own; the last words say how they are imported.
    """

    name = "clearml"
    packages: ClassVar[dict[str, str]] = {"clearml": "clearml"}
    extra = "clearml"

    _task: Task
    _logger: Logger

    def __init__(
        self,
        project: str | None = None,
        mode: Literal["online", "offline"] | None = None,
        artifacts: Sequence[str] = ("config", "result", "provenance", "report", "model"),
    ) -> None:
        super().__init__()
        self.project, self.artifacts = str(chosen(project, "CLEARML_PROJECT", "launcher")), tuple(artifacts)
        self.mode = mode or ("offline" if switched_on("CLEARML_OFFLINE_MODE") else "online")

    def start(
        self, config: dict[str, Any], facts: dict[str, Any], name: str, folder: Path, resume_step: int | None
    ) -> None:
        known = read_id(folder, self.name)
        if self.mode == "offline":
            os.environ["CLEARML_CACHE_DIR"] = str((folder / "clearml").absolute())
        from clearml import Task
        from clearml.backend_api import Session
        from clearml.config import config_obj

        if self.mode == "online":
            reach(Session.get_api_server_host())

        # It would fork a process to send from, and that out of one with threads: the fork may hold what another thread
        # has open at that moment (the pipe of a git that is being started), which then waits for it for ever.
        config_obj.set_overrides({"sdk": {"development": {"report_use_subprocess": False}}})
        Task.set_offline(self.mode == "offline")
        group = facts.get("group")
        self._task = Task.init(
            project_name=f"{self.project}/{group}" if group else self.project,
            task_name=chosen(config.get("name"), "CLEARML_TASK", name),
            tags=[str(tag) for tag in config.get("tags") or []],
            reuse_last_task_id=False,
            continue_last_task=known if known and self.mode == "online" else False,
            auto_connect_arg_parser=False,
            auto_connect_frameworks=dict.fromkeys(HOOKS, False),
            auto_resource_monitoring=False,
            auto_connect_streams=False,
        )
        if self.mode == "online":
            self._task.set_initial_iteration(0)  # a resumed run counts its steps on by itself
        write_id(folder, self.name, known or str(self._task.id))
        if config.get("notes"):
            self._task.set_comment(str(config["notes"]))
        self._task.connect(
            {key: value if isinstance(value, str) else json.dumps(value) for key, value in flat(config)}, name="config"
        )
        self._task.connect_configuration(config, name="config")
        self._task.connect_configuration(json.loads(json.dumps(facts, default=str)), name="run")
        self._logger = self._task.get_logger()

    def transient(self, error: Exception) -> bool:
        return isinstance(error, ConnectionError)

    def log(self, values: dict[str, float], step: int, at: float) -> None:
        for name, value in values.items():
            report(self._task, *_plot(name), value, step, at)

    def flush(self) -> None:
        self._logger.flush()

    def image(self, name: str, pixels: np.ndarray, step: int) -> None:
        self._logger.report_image(*_plot(name), step, image=pixels)

    def table(self, name: str, columns: list[str], rows: list[list[Any]], step: int) -> None:
        self._logger.report_table(*_plot(name), step, table_plot=[columns, *rows])

    def artifact(self, name: str, path: Path) -> None:
        if name in self.artifacts:
            self._task.upload_artifact(name, str(path), wait_on_upload=True)

    def close(self, result: dict[str, Any], step: int) -> None:
        status = str(result.get("status"))
        self._task.add_tags([status])
        for name, value in best_of(result).items():
            self._logger.report_single_value(name, value)
        self._task.connect_configuration(json.loads(json.dumps(result, default=float)), name="result")
        if self.mode == "online" and status == "failed":
            self._task.mark_failed(status_message=str(result.get("reason")), force=True)
        elif self.mode == "online" and status in ("pruned", "preempted"):
            self._task.mark_stopped(force=True, status_message=status)
        self._task.close()
        if self.mode == "offline":
            self.left = f"the run lies on the disk: {_import_of(Path(f'{self._task.get_offline_mode_folder()}.zip'))}"


def _import_of(archive: Path) -> str:
    """The command that sends what lies on the disk: of a run that was resumed, all sessions, one after the other into one task."""
    archives = sorted(archive.parent.glob("*.zip"), key=lambda path: path.stat().st_mtime_ns)
    if len(archives) == 1:
        return shlex.join(["clearml-task", "--import-offline-session", str(archive)])
    script = (
        "import functools, sys, clearml; functools.reduce(lambda task, archive: "
        "clearml.Task.import_offline_session(archive, previous_task_id=task), sys.argv[1:], None)"
    )
    return shlex.join(["python", "-c", script, *map(str, archives)])


def _plot(name: str) -> tuple[str, str]:
    """The plot and the line in it: `train/loss` and `val/loss` are two lines of `loss`."""
    split, _, rest = name.partition("/")
    return (rest, split) if split in ("train", "val", "test") and rest else (name, name)
