"""Actions on what exists: evaluate, export, report, replay and status take `run=<folder>`, compare `runs=[…]`; none trains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from launcher.artifacts.folder import refuse_links
from launcher.artifacts.metrics_file import FILE as METRICS
from launcher.artifacts.metrics_file import odd_lines
from launcher.artifacts.result import checked_result
from launcher.config.resume import load
from launcher.console.console import Console
from launcher.console.numbers import things
from launcher.errors import DONE, ConfigError

from .compare import _compare
from .evaluate import _evaluate
from .export import _export
from .status import _status

if TYPE_CHECKING:
    pass


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
