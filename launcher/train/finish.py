"""What is left to do when a fit is over: what the best weights say of the held-out samples, the result, the page, the trackers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from launcher.artifacts import evidence, provenance
from launcher.artifacts.folder import CONFIG, MODEL
from launcher.artifacts.page import FILE as PAGE
from launcher.artifacts.predictions import FILE as PREDICTIONS
from launcher.artifacts.predictions import write_predictions
from launcher.artifacts.result import RESULT, peak_memory_bytes, write_result
from launcher.functional.images import heat, pixels_of, sheet
from launcher.train.evidence import LIMIT

if TYPE_CHECKING:
    from launcher.console.console import Console
    from launcher.core.loop import Loop
    from launcher.core.run import Run
    from launcher.core.task import Task
    from launcher.trackers.recorder import Recorder


def look_closer(run: Run, loop: Loop, model: Any) -> None:
    """predictions.csv where it is asked for, and evidence.json, with what the trackers show of it."""
    data = run.data
    if data.val is None:
        return
    columns, content = loop.look(run, model, None if run.settings.predictions else LIMIT)
    if run.settings.predictions and columns and data.val_rows is not None:
        write_predictions(run.folder / PREDICTIONS, columns, data.val_rows, data.facts.get("classes"))
    evidence.write(run.folder, content)
    show(run.recorder, content)


def show(recorder: Recorder, found: dict[str, Any]) -> None:
    """The pictures and the tables of the trackers."""
    step = recorder.step
    if "confusion" in found:
        recorder.image("confusion", heat(found["confusion"]), step)
        lines = zip(found["classes"], found["confusion"], strict=True)
        recorder.table("confusion", ["label", *found["classes"]], [[name, *counts] for name, counts in lines], step)
    if shown := [entry["picture"] for entry in found.get("worst", ()) if "picture" in entry]:
        recorder.image("worst", sheet([pixels_of(picture) for picture in shown]), step)
    if found.get("attention"):
        recorder.image("attention", sheet([pixels_of(picture) for picture in found["attention"]]), step)
    if found.get("worst"):
        columns = ["sample", "label", "prediction", "p_label", "p_prediction"]
        recorder.table("worst", columns, [[entry[key] for key in columns] for entry in found["worst"]], step)
    if found.get("texts"):
        recorder.table("texts", ["given", "made"], [[each["given"], each["made"]] for each in found["texts"]], step)


def close(config: DictConfig, run: Run, result: dict[str, Any], console: Console) -> dict[str, Any]:
    """Complete the result, write it and the page, and bring the trackers to their end, which a signal cuts short."""
    folder, recorder, interrupt = run.folder, run.recorder, run.interrupt
    if baseline := evidence.baseline_of(folder, result):
        result["baseline"] = baseline
    result |= {"peak_memory_bytes": peak_memory_bytes(), "seed": config.seed} | provenance.provenance()
    write_result(folder, result)
    write_page(folder, console)
    if result["status"] != "preempted":
        hand_over(recorder, folder)
    quiet, interrupt.quiet = interrupt.quiet, True  # there is nothing left that a signal would have saved
    recorder.close(result, hurried=lambda: interrupt.signal is not None)
    interrupt.quiet = quiet
    return result


def hand_over(recorder: Recorder, folder: Path) -> None:
    """The files of a run that has ended, for its trackers."""
    for name, file in (
        ("config", CONFIG),
        ("result", RESULT),
        ("provenance", provenance.FILE),
        ("provenance", provenance.PATCH),
        ("report", PAGE),
        ("model", MODEL),
    ):
        recorder.artifact(name, folder / file)


def write_page(folder: Path, console: Console) -> None:
    """report.html; a run does not fail for its page."""
    try:
        from launcher.report.run_page import write

        write(folder)
    except Exception as error:
        console.warning(f"report.html could not be written: {error}")


def write_model(task: Task, model: Any, folder: Path) -> None:
    """A run's `model/`: written beside by the task's `export`, and renamed into place."""
    beside, final = folder / f".{MODEL}", folder / MODEL
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    task.export(model, beside)
    shutil.rmtree(final, ignore_errors=True)
    beside.rename(final)
