"""Compare: what differs between runs, on the terminal and as one page."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.console.console import Console
from launcher.errors import DONE

if TYPE_CHECKING:
    pass


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
