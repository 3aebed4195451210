"""docs/parity.md: each way of running in parallel beside one process, number for number or with the reason why not."""

from __future__ import annotations

import re

from benchmarks.parity import strategies
from tests.support.harness import ROOT


def test_every_entry_stands_beside_one_process() -> None:
    """And its variants, with every model, optimizer and accumulation; `python benchmarks/parity.py NAME` adds one."""
    page = (ROOT / "docs" / "parity.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    widths = {len(row) for row in rows}
    assert widths == {9}
    for entry in strategies():
        found = [row[1:] for row in rows if row[0] == entry]
        assert len(found) == 2, f"python benchmarks/parity.py '{entry}' measures it"
        for cell in (cell for row in found for cell in row):
            refused = re.fullmatch(r"\((\d+)\)", cell)
            assert f"\n{refused[1]}. " in page if refused else float(cell) < 1e-4, f"{entry}: {cell}"
