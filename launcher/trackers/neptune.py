"""Neptune's client, whose hosted service is closed: what a run logs lies under <run>/neptune."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from launcher.artifacts.predictions import safe

from .base import Tracker, best_of
from .run_ids import new_id, write_id
from .settings import chosen, mode_of, run_id

if TYPE_CHECKING:
    import numpy as np
    from neptune import Run

CLOSED = "its hosted service closed on 5 March 2026 and its data are deleted: the run is kept on the disk alone"


class Neptune(Tracker):
    """Values by their names in metrics.jsonl, in the client's own log: JSON lines, an operation each.

    Neptune's hosted service closed on 5 March 2026. What is left is the client's offline mode, for those who have tools
    that read its files, or a server of their own to which `neptune sync` brings them. Each session of a run leaves a
    folder of its own; all have the run's one `sys/custom_run_id`.
    """

    name = "neptune"
    packages: ClassVar[dict[str, str]] = {"neptune": "neptune"}
    extra = "neptune"
    notice = CLOSED

    _run: Run

    def __init__(
        self,
        project: str | None = None,
        artifacts: Sequence[str] = ("config", "result", "provenance", "report", "model"),
    ) -> None:
        super().__init__()
        self.project, self.artifacts = str(chosen(project, "NEPTUNE_PROJECT", "launcher/runs")), tuple(artifacts)
        self.off = mode_of(None, "NEPTUNE_MODE", ("offline", "debug"), "offline") == "debug"

    def start(
        self, config: dict[str, Any], facts: dict[str, Any], name: str, folder: Path, resume_step: int | None
    ) -> None:
        os.environ["NEPTUNE_DATA_DIRECTORY"] = str((folder / "neptune").absolute())
        import neptune
        from neptune.utils import stringify_unsupported

        identity = run_id(folder, self.name, "NEPTUNE_CUSTOM_RUN_ID", facts.get("group")) or new_id()
        write_id(folder, self.name, identity)
        group = facts.get("group")
        self._run = neptune.init_run(
            mode="offline",
            project=self.project,
            custom_run_id=identity,
            name=name,
            description=str(config.get("notes") or ""),
            tags=[*map(str, config.get("tags") or []), *([str(group)] if group else [])],
            capture_stdout=False,
            capture_stderr=False,
            capture_hardware_metrics=False,
            capture_traceback=False,
            git_ref=False,
            source_files=[],
        )
        self._run["sys/custom_run_id"] = identity  # offline, the client itself does not write it down
        self._run["config"] = stringify_unsupported(config)
        self._run["run"] = stringify_unsupported(facts)
        self.left = f"the run lies in {folder / 'neptune'}; there is no service to send it to"

    def log(self, values: dict[str, float], step: int, at: float) -> None:
        for name, value in values.items():
            self._run[name].append(value, step=step, timestamp=at)

    def flush(self) -> None:
        self._run.wait()

    def image(self, name: str, pixels: np.ndarray, step: int) -> None:
        from neptune.types import File

        self._run[f"images/{name}"].append(File.as_image(pixels / 255), step=step)

    def table(self, name: str, columns: list[str], rows: list[list[Any]], step: int) -> None:
        from neptune.types import File

        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(map(safe, row) for row in [columns, *rows])
        self._run[f"tables/{name}"].upload(File.from_content(text.getvalue(), extension="csv"))

    def artifact(self, name: str, path: Path) -> None:
        if name in self.artifacts:
            target = self._run[f"artifacts/{name}"]
            if path.is_dir():
                target.upload_files(str(path / "*"))
            else:
                target.upload(str(path))

    def close(self, result: dict[str, Any], step: int) -> None:
        from neptune.utils import stringify_unsupported

        self._run["result"] = stringify_unsupported(result)
        for name, value in best_of(result).items():
            self._run[name] = value
        self._run["sys/failed"] = result.get("status") == "failed"
        self._run["sys/tags"].add([str(result.get("status"))])
        self._run.stop()
