"""Actions on what exists: evaluate, export, report, replay and status take `run=<folder>`, compare `runs=[…]`; none trains."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from launcher.artifacts.folder import locked, refuse_links
from launcher.artifacts.metrics_file import FILE as METRICS
from launcher.artifacts.metrics_file import odd_lines
from launcher.artifacts.provenance import provenance
from launcher.artifacts.result import checked_result
from launcher.config.resume import load
from launcher.console.console import Console
from launcher.console.numbers import things
from launcher.errors import DONE, ConfigError
from launcher.process.signals import Interrupt

if TYPE_CHECKING:
    from launcher.core.run import Run


def act(config: DictConfig) -> int:
    """Do `config.action` with the run in `config.run`; returns the exit status. Raises ConfigError."""
    console = Console()
    if config.action == "status":
        return _status(config, console)
    if config.action == "compare":
        return _compare(list(config.runs or []))
    if config.run is None:
        raise ConfigError(f"action={config.action} needs run=<the folder of a run>")
    folder = Path(config.run)
    refuse_links(folder)
    if config.action == "report":
        from launcher.report.sweep_page import FACTS

        if (folder / FACTS).is_file():
            from launcher.search.output import page

            console.message(f"page: {page.write(folder)}")
            return DONE
    if config.action == "report":
        from launcher.report.run_page import write

        console.message(f"page: {write(folder)}")
        if lost := odd_lines(folder / METRICS):
            console.warning(f"{folder / METRICS}: {things(lost, 'line')} of it are no records; the page shows the rest")
        return DONE
    if config.action == "replay":
        from .replay import replay

        return replay(config, folder, console)
    saved = load(folder, "run")
    fits = (checked_result(folder) or {}).get("fits")
    if fits:
        raise ConfigError(
            f"run={folder}: that run is made of {len(fits)} fits, each with rows of its own held out; run={folder / fits[0]['name']} is one of them"
        )
    for key, node in (
        ("parallel", config.parallel),
        ("communication", config.communication),
        ("loading", config.loading),
        ("tracker", {}),
        ("action", config.action),
    ):
        OmegaConf.update(saved, key, node, merge=False)
    if config.action == "evaluate":
        return _evaluate(saved, folder, console)
    return _export(saved, folder, console)


def _status(config: DictConfig, console: Console) -> int:
    """How a run or the trials of a study are, which jobs they are, and where their logs lie."""
    from launcher.cluster.follow import report

    asked = Path(config.run or config.study)
    folder = next((path for path in (asked, Path("multirun") / asked) if path.is_dir()), None)
    if folder is None:
        raise ConfigError(f"{'run' if config.run else 'study'}={asked}: no such folder")
    inside = sorted(path.parent for path in folder.glob("*/config.yaml"))
    inside.sort(key=lambda path: (not path.name.isdecimal(), int(path.name) if path.name.isdecimal() else 0))
    own = folder / "config.yaml"
    folders = [*([folder] if own.exists() or own.is_symlink() else []), *inside]
    if not folders:
        raise ConfigError(f"{folder}: no run is here")
    rows = [("run", "state", "job", "log"), *report(folders)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        console.message("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())
    return DONE


def _compare(named: list[str]) -> int:
    """What differs between runs, on the terminal and as comparison.html in the current folder."""
    from launcher.report import comparison_page
    from launcher.report.compare_lines import told

    console = Console()
    runs = comparison_page.look(comparison_page.folders_of(named))
    for line in told(runs, shutil.get_terminal_size((120, 24)).columns):
        console.message(line)
    console.message(f"page: {comparison_page.write(runs, Path(comparison_page.NAME))}")
    return DONE


def _evaluate(config: DictConfig, folder: Path, console: Console) -> int:
    """The best weights on the held-out samples once more; evaluation.json keeps what came out."""
    from torch import nn

    from launcher.train.build import build_parallel, build_task
    from launcher.train.evaluate import evaluate

    parallel = build_parallel(config)
    task = build_task(config)
    data = task.datasets()
    model = task.model()
    if isinstance(model, nn.Module):
        run = _restored(config, folder, task, data, model, parallel, console)
        if run.loaders.val is None:
            raise ConfigError(f"{folder}: this run held nothing out, so there is nothing to evaluate it on")
        found = evaluate(task, run.judged_model(), run.loaders.val, parallel)
        step = run.progress.step
    else:
        from launcher.artifacts.export import load_estimator

        found, step = task.score(load_estimator(folder / "model"), data.val), 1
    metrics = {f"val/{name}": value for name, value in found.items()}
    content = {"step": step, "metrics": metrics} | provenance()
    (folder / "evaluation.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    console.evaluation(step, 0.0, metrics, False)
    console.message(f"written: {folder / 'evaluation.json'}")
    return DONE


def _export(config: DictConfig, folder: Path, console: Console) -> int:
    """`model/` once more, from the best checkpoint."""
    from torch import nn

    from launcher.artifacts.export import write_model
    from launcher.train.build import build_parallel, build_task

    parallel = build_parallel(config)
    task = build_task(config)
    data = task.datasets()
    model = task.model()
    if not isinstance(model, nn.Module):
        if not (folder / "model").is_dir():
            raise ConfigError(f"{folder}: an estimator is kept only in model/, which is not there; train it again")
        console.message(f"model: {folder / 'model'} (an estimator is exported when it is fitted)")
        return DONE
    with locked(folder):
        run = _restored(config, folder, task, data, model, parallel, console)
        write_model(task, run.judged_model(), folder)
    console.message(f"model: {folder / 'model'}, of step {run.progress.step}")
    return DONE


def _restored(
    config: DictConfig, folder: Path, task: Any, data: Any, model: Any, parallel: Any, console: Console
) -> Run:
    """The run as it was at its best evaluation; at its last checkpoint where there was none."""
    from launcher.train.build import build_run
    from launcher.train.restore import judged, restore

    run = build_run(config, folder, task, data, model, parallel, console.warning, Interrupt())
    restore(run, *judged(run.checkpoints, config.action))
    return run
