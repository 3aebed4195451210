"""Private names of submitit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from submitit import SlurmExecutor


def script_of(executor: SlurmExecutor) -> str:
    """The script that an executor would hand to `sbatch`."""
    return executor._make_submission_file_text(executor._submitit_command_str, uid="")  # submitit 1.5.4
