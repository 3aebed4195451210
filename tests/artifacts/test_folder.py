"""A run's folder and its lock."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.artifacts.folder import in_use, locked, refuse_links
from launcher.errors import ConfigError

HOLD = """
import sys
from pathlib import Path
from launcher.artifacts.folder import locked, refuse_links
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_one_process_s(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert in_use(tmp_path)
        with pytest.raises(ConfigError, match=f"process {other.pid} is training in it"), locked(tmp_path):
            pass
        other.kill()
    assert not in_use(tmp_path), "however it ends"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_refuses_nobody(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*given: Any) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "lockf", none)
    assert not in_use(tmp_path)
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        _ = 1 / 0  # what goes wrong inside is not taken for the lock's failure


def test_a_client_s_own_link_to_its_log_is_no_way_out(tmp_path: Path) -> None:
    """W&B leaves one in each session, under one name; any other that leads out is refused."""
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    logs = run / "wandb" / "offline-run-1-abc" / "logs"
    logs.mkdir(parents=True)
    elsewhere.touch()
    (logs / "debug-core.log").symlink_to(elsewhere)
    (run / "inside").symlink_to("wandb")
    refuse_links(run)
    for link in (logs / "debug.log", run / "wandb" / "debug-core.log", run / "debug-core.log"):
        link.symlink_to(elsewhere)
        with pytest.raises(ConfigError, match="a link that leads out of the folder"):
            refuse_links(run)
        link.unlink()
    refuse_links(tmp_path / "nowhere")
