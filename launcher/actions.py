"""Actions on what exists: evaluate, export, report, replay and status take `run=<folder>`, compare `runs=[…]`; none trains."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from .console import Console
from .errors import DONE, ConfigError
from .figures import things
from .folder import locked, refuse_links
from .provenance import provenance
from .result import checked_result
from .resume import load
from .signals import Interrupt
from .trackers.jsonl import FILE as METRICS
from .trackers.jsonl import odd_lines

if TYPE_CHECKING:
    from .run import Run


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
        from .report.sweep import FACTS

        if (folder / FACTS).is_file():
            from .search import page

            console.message(f"page: {page.write(folder)}")
            return DONE
    if config.action == "report":
        from .report.run import write

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
    from .cluster.follow import report

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
    from .report import compare
    from .report.compare_lines import told

    console = Console()
    runs = compare.look(compare.folders_of(named))
    for line in told(runs, shutil.get_terminal_size((120, 24)).columns):
        console.message(line)
    console.message(f"page: {compare.write(runs, Path(compare.NAME))}")
    return DONE


def _evaluate(config: DictConfig, folder: Path, console: Console) -> int:
    """The best weights on the held-out samples once more; evaluation.json keeps what came out."""
    from torch import nn

    from .build import build_parallel, build_task
    from .loops.evaluate import evaluate

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
        from .export import load_estimator

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

    from .build import build_parallel, build_task
    from .export import write_model

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
    from .build import build_run
    from .restoring import judged, restore

    run = build_run(config, folder, task, data, model, parallel, console.warning, Interrupt())
    restore(run, *judged(run.checkpoints, config.action))
    return run
