"""Report: the page of a run or of a sweep, written anew."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from launcher.artifacts.folder import refuse_links
from launcher.artifacts.metrics_file import FILE as METRICS
from launcher.artifacts.metrics_file import odd_lines
from launcher.artifacts.sweep import FACTS
from launcher.console.console import Console
from launcher.console.numbers import things
from launcher.errors import DONE


def act(config: DictConfig, folder: Path, resumed: bool) -> int:
    """Write the page of `config.run` from what its folder holds."""
    console, place = Console(), Path(config.run)
    refuse_links(place)
    if (place / FACTS).is_file():
        from launcher.search.output import page

        console.message(f"page: {page.write(place)}")
        return DONE
    from launcher.report.run_page import write

    console.message(f"page: {write(place)}")
    if lost := odd_lines(place / METRICS):
        console.warning(f"{place / METRICS}: {things(lost, 'line')} of it are no records; the page shows the rest")
    return DONE
