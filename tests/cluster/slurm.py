"""A real SLURM on this machine, as root, without systemd: `python -m tests.cluster.slurm up FOLDER`, then `down FOLDER`.

One controller, four nodes of four processors and two GPUs each (in name: their devices are /dev/null), accounting
through slurmdbd and MariaDB, all from Debian's packages. Everything it writes lies in FOLDER; ports are free ones, so
that several can run side by side. Each node has a host name of its own, in a namespace of its own, and all of them
stand in /etc/hosts.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PACKAGES = "slurmctld slurmd slurm-client slurmdbd munge mariadb-server-core"
PROGRAMS = ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd", "sbatch", "unshare")
NODES, CPUS, MEMORY_MB = 4, 4, 16000
SECONDS = 60.0  # to come up

os.environ["PATH"] += os.pathsep + "/usr/sbin" + os.pathsep + "/sbin"


def missing() -> str | None:
    """Why no cluster can be started here, if so."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"no {', '.join(absent)} (Debian's packages {PACKAGES})"
    return None if os.geteuid() == 0 else "starting SLURM's daemons takes root"


class Slurm:
    """The cluster in `folder`. With `accounting=False` nothing but the controller knows of a job, and `sacct` fails."""

    def __init__(self, folder: Path, accounting: bool = True) -> None:
        self.folder = folder.resolve()
        self.accounting = accounting
        self.config = self.folder / "slurm.conf"
        self._database: subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> dict[str, str]:
        """What a command needs in its environment to talk to this cluster."""
        return {"SLURM_CONF": str(self.config), "PATH": os.environ["PATH"]}

    def __call__(self, *command: str) -> str:
        """What one of SLURM's commands prints."""
        done = subprocess.run(command, env=os.environ | self.env, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def up(self) -> None:
        """Start every daemon; returns when all nodes are idle."""
        for name in ("state", "log", "pid", "tmp", *(f"spool.n{node}" for node in range(1, NODES + 1))):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for path in (self.folder, *self.folder.parents):  # the daemons insist on a way that nobody else could have laid
            if path != Path("/") and path.stat().st_uid == os.geteuid() and path != Path("/tmp"):
                path.chmod(0o755)
        _name_nodes()
        self._munge()
        ports = _free_ports(3 + NODES)
        self._configure(*ports)
        if self.accounting:
            self._account(ports[1], ports[2])
        self.start_controller()
        for node in range(1, NODES + 1):
            self.start_node(node)
        self._wait(lambda: self("sinfo", "-h", "-t", "idle", "-o", "%D") == str(NODES), "the nodes")

    def start_controller(self) -> None:
        """Start (again) the daemon that knows of all jobs."""
        self._daemon("slurmctld", "-i", "-f", str(self.config))

    def end_controller(self) -> None:
        """SIGTERM to it: it saves what it knows. Jobs go on, and nobody answers."""
        _end(self.folder / "pid" / "slurmctld.pid")

    def start_node(self, node: int) -> None:
        """Start (again) the daemon of node n<node>."""
        self._daemon("unshare", "--uts", "sh", "-c", f"hostname n{node}; exec slurmd -f '{self.config}' -N n{node}")

    def kill_daemon(self, node: int) -> None:
        """SIGKILL to a node's daemon, whose jobs go on."""
        os.kill(int((self.folder / "pid" / f"slurmd.n{node}.pid").read_text()), signal.SIGKILL)

    def kill_node(self, node: int, job: str) -> None:
        """SIGKILL to a node's daemon, to the one of the job on it, then to the job: the machine is gone."""
        self.kill_daemon(node)
        keepers = [
            int(pid)
            for pid in subprocess.run(
                ["pgrep", "-f", rf"slurmstepd: \[{job}\."], capture_output=True, text=True
            ).stdout.split()
        ]
        for pid in (*keepers, *self._below(f"n{node}")):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _below(self, node: str) -> list[int]:
        """The processes of this cluster's jobs on a node."""
        mine = {"SLURMD_NODENAME": node, "SLURM_CONF": str(self.config)}
        return [pid for pid, env in _processes() if mine.items() <= env.items()]

    def down(self) -> None:
        """End the jobs, then every daemon, the last one started first."""
        with contextlib.suppress(Exception):
            self("scancel", "--full", "--signal=KILL", "--user=root")
            self("scancel", "--user=root")
        order = ("slurmd.*", "slurmctld", "slurmdbd", "mariadbd", "munged")
        for pattern in order:
            for file in (self.folder / "pid").glob(f"{pattern}.pid"):
                _end(file)
        if self._database is not None:
            self._database.wait(10)

    def _munge(self) -> None:
        key = self.folder / "munge.key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(os.urandom(1024))
        self._daemon(
            "munged",
            f"--key-file={key}",
            f"--socket={self.folder / 'munge.socket'}",
            f"--pid-file={self.folder / 'pid' / 'munged.pid'}",
            f"--log-file={self.folder / 'log' / 'munged.log'}",
            f"--seed-file={self.folder / 'munge.seed'}",
        )

    def _configure(self, controller: int, accounting: int, database: int, *nodes: int) -> None:
        here, host = self.folder, socket.gethostname().partition(".")[0]
        devices = [here / f"gpu{number}" for number in range(2)]
        for device in devices:
            if not device.exists():
                os.mknod(device, 0o020666, os.makedev(1, 3))
        (here / "gres.conf").write_text(f"NodeName=n[1-{NODES}] Name=gpu File={here}/gpu[0-1]\n")
        settings = {
            "ClusterName": "tried",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": controller,
            "SlurmUser": "root",
            "SlurmdUser": "root",
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={here}/munge.socket,cred_expire=5",
            "CredType": "cred/munge",
            "SlurmctldPidFile": here / "pid" / "slurmctld.pid",
            "SlurmctldLogFile": here / "log" / "slurmctld.log",
            "SlurmdPidFile": f"{here}/pid/slurmd.%n.pid",
            "SlurmdLogFile": f"{here}/log/slurmd.%n.log",
            "SlurmdSpoolDir": f"{here}/spool.%n",
            "StateSaveLocation": here / "state",
            "SlurmdParameters": "config_overrides",  # believe the table below, not the hardware
            "ProctrackType": "proctrack/pgid",
            "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/none",
            "SwitchType": "switch/none",
            "MpiDefault": "none",
            "MailProg": "/bin/true",
            "ReturnToService": 2,
            "JobRequeue": 1,
            "MinJobAge": 3600,
            "FirstJobId": int(time.time()) % 50_000_000 + 1,  # no cluster meets the numbers of the one before it
            "KillWait": 30,  # SLURM's own
            "SlurmdTimeout": 10,
            "EnforcePartLimits": "ALL",
            "SchedulerType": "sched/backfill",
            "SchedulerParameters": "batch_sched_delay=0,bf_interval=1,sched_interval=1",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_CPU_Memory",
            "DefMemPerCPU": 1000,
            "PreemptType": "preempt/partition_prio",
            "PreemptMode": "REQUEUE",
            "GresTypes": "gpu",
        }
        if self.accounting:
            settings |= {
                "AccountingStorageType": "accounting_storage/slurmdbd",
                "AccountingStorageHost": "127.0.0.1",
                "AccountingStoragePort": accounting,
                "AccountingStoragePass": f"{here}/munge.socket",
                "AccountingStorageEnforce": "limits,qos",
            }
        else:
            settings["AccountingStorageType"] = "accounting_storage/none"
        lines = [f"{name}={value}" for name, value in settings.items()]
        lines += [
            f"NodeName=n{node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} RealMemory={MEMORY_MB} Gres=gpu:2 Feature={'fast' if node <= 2 else 'slow'}"
            for node, port in enumerate(nodes, start=1)
        ]
        lines += [
            "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF",
            "PartitionName=low Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=5",
            "PartitionName=short Nodes=ALL MaxTime=10 State=UP PriorityTier=10 PreemptMode=OFF",
        ]
        self.config.write_text("\n".join(lines) + "\n")

    def _account(self, port: int, database: int) -> None:
        here = self.folder
        content = {
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={here}/munge.socket",
            "DbdHost": socket.gethostname().partition(".")[0],
            "DbdAddr": "127.0.0.1",
            "DbdPort": port,
            "SlurmUser": "root",
            "PidFile": here / "pid" / "slurmdbd.pid",
            "LogFile": here / "log" / "slurmdbd.log",
            "StorageType": "accounting_storage/mysql",
            "StorageHost": "127.0.0.1",
            "StoragePort": database,
            "StorageUser": "root",
            "StoragePass": "none",
            "StorageLoc": "accounting",
            "CommitDelay": 1,
        }
        file = here / "slurmdbd.conf"
        file.touch(mode=0o600)
        file.write_text("".join(f"{name}={value}\n" for name, value in content.items()))
        data = here / "mysql"
        options = ["--no-defaults", "--user=root", f"--datadir={data}", "--skip-log-bin", "--innodb-log-file-size=8M"]
        options += ["--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0"]
        options += [f"--tmpdir={here / 'tmp'}"]  # a server takes away whatever another one has in the folder of both
        if not data.exists():
            (data / "mysql").mkdir(parents=True)
            tables = "use mysql;\n" + Path("/usr/share/mysql/mysql_system_tables.sql").read_text()
            with (here / "log" / "tables.log").open("w") as log:
                subprocess.run(
                    ["mariadbd", *options, "--bootstrap"], input=tables, text=True, stdout=log, stderr=log, check=True
                )
        serving = [f"--socket={here}/mysql.sock", f"--pid-file={here}/pid/mariadbd.pid", "--bind-address=127.0.0.1"]
        serving += [
            f"--port={database}",
            "--skip-grant-tables",
            "--skip-name-resolve",
            "--innodb-lock-wait-timeout=900",
        ]
        with (here / "log" / "mariadbd.log").open("w") as log:
            self._database = subprocess.Popen(
                ["mariadbd", *options, *serving],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait(lambda: _answers(database), "MariaDB")
        self._daemon("slurmdbd")
        self._wait(lambda: _answers(port), "slurmdbd")
        with contextlib.suppress(RuntimeError):  # of an earlier start: it is there already
            self("sacctmgr", "-i", "add", "cluster", "tried")
            self("sacctmgr", "-i", "add", "account", "lab")
            self("sacctmgr", "-i", "add", "user", "root", "account=lab")

    def _daemon(self, *command: str) -> None:
        """Run a program that goes into the background."""
        with (self.folder / "log" / "start.log").open("a") as log:
            subprocess.run(
                command, env=os.environ | self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True
            )

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                if ready():
                    return
            time.sleep(0.1)
        logs = "\n".join(f"{file.name}: {file.read_text()[-1500:]}" for file in (self.folder / "log").glob("*.log"))
        raise RuntimeError(f"{what} did not come up in {SECONDS:g} s\n{logs}")


def _name_nodes() -> None:
    hosts = Path("/etc/hosts")
    known = {name for line in hosts.read_text().splitlines() for name in line.split()[1:]}
    new = [f"127.0.0.1 n{node}\n" for node in range(1, NODES + 1) if f"n{node}" not in known]
    if new:
        with hosts.open("a") as file:
            file.writelines(new)


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _processes() -> Iterator[tuple[int, dict[str, str]]]:
    """Every process with its environment, where it may be read."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                pairs = (word.partition("=") for word in (entry / "environ").read_text(errors="replace").split("\0"))
                yield int(entry.name), {name: value for name, _, value in pairs}


def _end(file: Path) -> None:
    """SIGTERM to the process whose number is in the file; SIGKILL if that does not end it within 5 s."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(file.read_text())
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.kill(pid, number)
            for _ in range(50):
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
                if state == "Z":
                    return
                time.sleep(0.1)


if __name__ == "__main__":
    verb, where = sys.argv[1:]
    cluster = Slurm(Path(where))
    if verb == "up":
        if (why := missing()) is not None:
            sys.exit(why)
        cluster.up()
        print(f"export SLURM_CONF={cluster.config}")
    else:
        cluster.down()
