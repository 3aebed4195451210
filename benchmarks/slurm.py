"""What a job costs beside what SLURM itself takes: `python benchmarks/slurm.py [FOLDER]`.

On a cluster of this machine, as root. First single jobs: by the pool that `cluster=slurm` has, and by a bare `sbatch` of the
very script that it submitted, each from the call to the file by which a job says its end. Then eight jobs as an array:
by the pool, and by hydra-submitit-launcher from FOLDER (`pip install --no-deps --target FOLDER hydra-submitit-launcher`).
All jobs do the same: they import what a run needs, and find no config in their folder.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from launcher.cluster.base import said  # noqa: E402
from launcher.cluster.slurm import Slurm as Asked  # noqa: E402
from launcher.launch.node import ENTRY  # noqa: E402
from tests.cluster.slurm import Slurm  # noqa: E402

ROUNDS, TRIALS = 5, 8
APP = """
from pathlib import Path

import hydra

@hydra.main(config_path=None, config_name="config", execution_whitelist=["hydra_plugins.*"])
def main(config):
    from launcher.launch.driver import run_in_pool

    run_in_pool(Path("nothing"), False)

if __name__ == "__main__":
    from hydra.core.config_store import ConfigStore
    ConfigStore.instance().store(name="config", node={"x": 0})
    main()
"""


def nothing(folder: Path) -> Path:
    """A run's folder whose job ends at once: what it is told to run is refused."""
    folder.mkdir(parents=True)
    return folder


def singles(cluster: Slurm, folder: Path) -> None:
    """Seconds from the submission to the end, of the pool's jobs and of a bare sbatch of the same scripts."""
    ours, bare = [], []
    asked = Asked(timeout_min=5)
    for number in range(ROUNDS):
        run = nothing(folder / f"run{number}")
        pool = asked.pool(1, ENTRY)
        begun = time.monotonic()
        handle = pool.submit(run)
        while pool.poll(handle) is None:
            pool.wait(1.0)
        ours.append(time.monotonic() - begun)
        script = next((run / "slurm").glob("*.sh"))
        pickle = next((run / "slurm").glob("*_submitted.pkl"))
        begun = time.monotonic()
        job = cluster("sbatch", "--parsable", str(script))
        pickle.rename(pickle.with_name(f"{job}_submitted.pkl"))
        while said(run / "slurm", job) is None:
            time.sleep(0.05)
        bare.append(time.monotonic() - begun)
    over = statistics.median(ours) - statistics.median(bare)
    print(
        f"a job: {statistics.median(ours):.2f} s, a bare sbatch of its script {statistics.median(bare):.2f} s: {over:+.2f} s"
    )


def arrays(folder: Path, plugin: str | None) -> None:
    """Seconds of an array of eight, each from the call to the last task's end."""
    pool = Asked(timeout_min=5).pool(TRIALS, ENTRY)
    begun = time.monotonic()
    left = pool.submit_all([nothing(folder / "study" / str(number)) for number in range(TRIALS)])
    while left:
        left = [handle for handle in left if pool.poll(handle) is None]
        pool.wait(1.0)
    print(f"an array of {TRIALS}: {time.monotonic() - begun:.2f} s")
    if plugin is None:
        return
    (folder / "app.py").write_text(APP)
    begun = time.monotonic()
    words = ["-m", "hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=5", f"x=range({TRIALS})"]
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{plugin}"}
    done = subprocess.run([sys.executable, "app.py", *words], cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode:
        print(f"hydra-submitit-launcher: {done.stderr.strip().splitlines()[-1]}")
    else:
        print(f"hydra-submitit-launcher's array of {TRIALS}: {time.monotonic() - begun:.2f} s")


def main(plugin: str | None) -> None:
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder:
        cluster = Slurm(Path(folder) / "cluster")
        try:
            cluster.up()
            os.environ |= cluster.env
            singles(cluster, Path(folder) / "runs")
            arrays(Path(folder), plugin)
        finally:
            cluster.down()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
