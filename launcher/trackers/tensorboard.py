"""TensorBoard: event files under <run>/tensorboard, through Accelerate's tracker."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from launcher.adapters.accelerate import ensure_state
from launcher.config.flatten import flat

from .base import Tracker, best_of

if TYPE_CHECKING:
    import numpy as np
    from accelerate.tracking import TensorBoardTracker


class TensorBoard(Tracker):
    """Scalars by their names in metrics.jsonl; the config flat in the table of hyperparameters and whole as text, facts and
    result as text. It has no place for files: they lie in the run's folder, beside its own.

    The objective at its best is the scalar `best/<objective>` of the last step, and the first of the table's columns of results.
    The table is written beside the scalars: Accelerate's way makes a second run of it. A resume opens another event file
    whose first event purges what is repeated.
    """

    name = "tensorboard"
    packages: ClassVar[dict[str, str]] = {"tensorboard": "tensorboard"}

    _tracker: TensorBoardTracker
    _at: float | None = None
    """When the last line was logged: what follows it, a picture say, stands at that time too."""

    def start(
        self, config: dict[str, Any], facts: dict[str, Any], name: str, folder: Path, resume_step: int | None
    ) -> None:
        from accelerate.tracking import TensorBoardTracker

        ensure_state()
        self._tracker = TensorBoardTracker(self.name, folder, purge_step=resume_step)
        self._tracker.start()
        if not resume_step:
            self._text("config", config, step=0)
            self._text("run", {"name": name, **facts}, step=0)
            self._hyperparameters(config)

    def log(self, values: dict[str, float], step: int, at: float) -> None:
        # One event for the whole line. Accelerate's `log` writes one a value and flushes each: four times the work.
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]  # ships no types

        line = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._tracker.tracker.file_writer.add_summary(Summary(value=line), step, walltime=at)
        self._at = at

    def flush(self) -> None:
        self._tracker.tracker.flush()

    def image(self, name: str, pixels: np.ndarray, step: int) -> None:
        self._tracker.log_images({name: pixels[None]}, step=step, dataformats="NHWC", walltime=self._at)

    def table(self, name: str, columns: list[str], rows: list[list[Any]], step: int) -> None:
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
        self._tracker.log({name: text}, step=step)  # TensorBoard shows Markdown

    def close(self, result: dict[str, Any], step: int) -> None:
        if best := best_of(result):
            self.log(best, step, self._at or time.time())
        self._text("result", result, step)
        self._tracker.tracker.file_writer.add_summary(_ended(result.get("status") == "failed"))
        self._tracker.finish()

    def _hyperparameters(self, config: dict[str, Any]) -> None:
        """The flat config as the run's row of the table, the objective at its best and at last as its columns of results."""
        from torch.utils.tensorboard.summary import hparams

        plain = {
            key: value if isinstance(value, bool | int | float | str) else json.dumps(value, default=str)
            for key, value in flat(config)
        }
        metric = str((config.get("objective") or {}).get("metric") or "val/loss")
        experiment, session, _ = hparams(plain, {f"best/{metric}": 0, metric: 0})
        for summary in (experiment, session):
            self._tracker.tracker.file_writer.add_summary(summary)

    def _text(self, name: str, value: dict[str, Any], step: int) -> None:
        text = json.dumps(value, indent=2, default=str)
        self._tracker.log(
            {name: "\n".join(f"    {line}" for line in text.splitlines())}, step=step
        )  # a Markdown code block


def _ended(failed: bool) -> Any:
    """The mark of a session's end in the table of hyperparameters. The plugin's own function for it wants TensorFlow."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams.api_pb2 import Status  # type: ignore[import-untyped]  # ships no types
    from tensorboard.plugins.hparams.plugin_data_pb2 import (  # type: ignore[import-untyped]
        HParamsPluginData,
        SessionEndInfo,
    )

    status = Status.STATUS_FAILURE if failed else Status.STATUS_SUCCESS
    content = HParamsPluginData(session_end_info=SessionEndInfo(status=status), version=0)
    told = SummaryMetadata.PluginData(plugin_name="hparams", content=content.SerializeToString())
    return Summary(value=[Summary.Value(tag="_hparams_/session_end_info", metadata=SummaryMetadata(plugin_data=told))])
