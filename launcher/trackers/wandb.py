"""Weights & Biases, through Accelerate's tracker: online, or files under <run>/wandb for `wandb sync`."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from launcher.adapters.accelerate import ensure_state

from .base import Tracker, best_of
from .reachable import reach
from .run_ids import new_id, write_id
from .settings import chosen, mode_of, run_id

if TYPE_CHECKING:
    import numpy as np
    from accelerate.tracking import WandBTracker


MODES = ("online", "offline", "disabled")
QUIET: dict[str, Any] = {
    "console": "off",
    "silent": True,
    "x_disable_stats": True,
    "save_code": False,
    "init_timeout": 30,
}
"""What the launcher asks of its client, where no variable of W&B's says otherwise."""


class Wandb(Tracker):
    """Values by their names in metrics.jsonl over the optimizer's steps; the config is the config and nothing else, the
    summary holds the objective at its best (`best/<objective>`), the result, and under `run` what the run is: commands,
    commit, sizes. Packages and variables of the environment stand in the artifact `provenance`.

    W&B writes everything to <run>/wandb first and sends it from there. Where it can not be reached at the start, or
    knows no key, the run is kept there alone and the last words say which command sends it. A resume goes on under the
    same id; W&B passes over the steps that it has, which are those that come again.

    What the config leaves open, W&B's own variables say: WANDB_MODE, _PROJECT, _ENTITY, _NAME, _NOTES, _TAGS, _RUN_GROUP,
    _RUN_ID, _DIR, _RESUME.

    Trials of a sweep, and fits of a procedure, have its name as `group`; how a run ended is its `status` and a tag.
    """

    name = "wandb"
    packages: ClassVar[dict[str, str]] = {"wandb": "wandb"}
    extra = "wandb"

    _tracker: WandBTracker
    _commit: str | None = None
    _project: str

    def __init__(
        self,
        project: str | None = None,
        entity: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        artifacts: Sequence[str] = ("config", "result", "provenance", "report", "model"),
    ) -> None:
        super().__init__()
        self.project, self.entity, self.artifacts = project, entity, tuple(artifacts)
        self.mode = mode_of(
            "offline" if mode is None and os.environ.get("WANDB_MODE") == "dryrun" else mode,
            "WANDB_MODE",
            MODES,
            "online",
        )
        self.off = self.mode == "disabled"
        self._at: dict[str, float] = {}
        """When the last line was logged, which is the time of its whole step."""

    def start(
        self, config: dict[str, Any], facts: dict[str, Any], name: str, folder: Path, resume_step: int | None
    ) -> None:
        import wandb

        own = wandb.setup().settings  # of its variables, and of its settings file
        self._id = run_id(folder, self.name, "WANDB_RUN_ID", facts.get("group")) or new_id()
        write_id(folder, self.name, self._id)
        settings: dict[str, Any] = {
            "id": self._id,
            "entity": self.entity,
            "name": chosen(config.get("name"), "WANDB_NAME", name),
            "group": chosen(None, "WANDB_RUN_GROUP", facts.get("group")),
            "tags": list(config.get("tags") or own.run_tags or []),
            "notes": chosen(config.get("notes"), "WANDB_NOTES"),
            "dir": chosen(None, "WANDB_DIR", folder),
            "resume": chosen(None, "WANDB_RESUME", "allow"),
        }
        self._commit = ((facts.get("provenance") or {}).get("git") or {}).get("commit")
        self._project = str(self.project or own.project or "launcher")
        try:
            if self.mode == "online":
                reach(wandb.setup().settings.base_url)
            self._init(self.mode, settings)
        except Exception as error:
            unreached = isinstance(error, ConnectionError) or type(error).__module__.startswith("wandb")
            if self.mode == "offline" or not unreached:
                raise
            wandb.teardown()  # else the id is still in use
            self._init("offline", settings)
            self.left = f"could not be reached ({str(error).strip().splitlines()[0]}). "
        sessions = [each.parent for each in sorted((folder / "wandb").glob(f"offline-run-*/run-{self._id}.wandb"))]
        sessions = [each for each in sessions if not any(each.glob("*.wandb.synced"))]
        if sessions:
            what = "The run" if self._tracker.run.offline else "What earlier sessions logged"
            self.left = (
                f"{self.left or ''}{what} lies on the disk: {shlex.join(['wandb', 'sync', *map(str, sessions)])}"
            )
        self._tracker.run.config.update(config, allow_val_change=True)
        self._tracker.run.summary.update({"run": _plain(_short(facts))})

    def _init(self, mode: str, settings: dict[str, Any]) -> None:
        import wandb
        from accelerate.tracking import WandBTracker

        ensure_state()
        quiet = {name: value for name, value in QUIET.items() if f"WANDB_{name.upper()}" not in os.environ}
        own_settings = wandb.Settings(git_commit=self._commit, **quiet)
        self._tracker = WandBTracker(self._project, mode=mode, settings=own_settings, **settings)
        self._tracker.start()

    def log(self, values: dict[str, float], step: int, at: float) -> None:
        self._at = {"_timestamp": at}
        self._tracker.log(values | self._at, step=step)

    def image(self, name: str, pixels: np.ndarray, step: int) -> None:
        import wandb

        self._tracker.log({name: [wandb.Image(pixels)]} | self._at, step=step)

    def table(self, name: str, columns: list[str], rows: list[list[Any]], step: int) -> None:
        import wandb

        self._tracker.log({name: wandb.Table(columns=columns, data=rows)} | self._at, step=step)

    def artifact(self, name: str, path: Path) -> None:
        if name not in self.artifacts:
            return
        import wandb

        kept = wandb.Artifact(re.sub(r"[^\w.-]", "-", f"{name}-{self._id}"), type=name)
        if path.is_dir():
            kept.add_dir(str(path))
        else:
            kept.add_file(str(path))
        self._tracker.run.log_artifact(kept)

    def close(self, result: dict[str, Any], step: int) -> None:
        run, status = self._tracker.run, str(result.get("status"))
        run.summary.update(best_of(result) | {"status": status, "result": _plain(result)})
        if status != "completed":
            run.tags = (*(run.tags or ()), status)
        run.finish(exit_code=int(status == "failed"))


def _short(facts: dict[str, Any]) -> dict[str, Any]:
    """What the run is, in a few lines: of where it comes from the command, the commit and the data."""
    origin = facts.get("provenance") or {}
    short = {key: value for key, value in facts.items() if key != "provenance"}
    return short | {key: origin[key] for key in ("command", "git", "host", "data") if origin.get(key)}


def _plain(value: Any) -> Any:
    """What JSON holds: a path, say, becomes its text."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
