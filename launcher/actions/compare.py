"""Compare: what differs between runs, on the terminal and as one page."""

from __future__ import annotations

import shutil
from pathlib import Path

from omegaconf import DictConfig

from launcher.console.console import Console
from launcher.errors import DONE


def act(config: DictConfig, folder: Path, resumed: bool) -> int:
    """Compare `config.runs`, on the terminal and as comparison.html in the current folder."""
    from launcher.report import comparison_page
    from launcher.report.compare_lines import told

    console = Console()
    runs = comparison_page.look(comparison_page.folders_of(list(config.runs or [])))
    for line in told(runs, shutil.get_terminal_size((120, 24)).columns):
        console.message(line)
    console.message(f"page: {comparison_page.write(runs, Path(comparison_page.NAME))}")
    return DONE
