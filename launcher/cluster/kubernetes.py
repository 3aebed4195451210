"""Kubernetes: a run is an indexed Job whose pods are its nodes; they share the run's folder by a volume.

A manifest is all that goes to the cluster, and `kubectl` all that is asked: no client library, no operator.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from launcher.artifacts.job import EXIT, JOB
from launcher.artifacts.log_file import FILE as LOG
from launcher.errors import FAILED, PREEMPTED, REFUSED, ConfigError, NotNow

from .base import Entry, noted, said, wait, write

INSIDE = "kubernetes"
"""The folder inside a run's folder: `job.json`, `exit.json`."""

_ASK_EVERY = 2.0  # seconds between questions to the cluster
_UNKNOWN = 120.0  # seconds after which a job that is not there is given up
_SECONDS = 30.0  # how long kubectl may take
_AWAY = (
    "refused",
    "Unable to connect",
    "timeout",
    "EOF",
    "ServiceUnavailable",
)  # what it says of a cluster that is not there


@dataclass(frozen=True)
class Kubernetes:
    """What a Job asks of Kubernetes.

    `nodes` pods of `image`, each with `cpus_per_task` processors, `mem_gb` GiB and `gpus_per_node` GPUs (of the resource
    `gpu`). The claim `claim` is mounted at `mount`, under which the run's folder has to lie, there as here. After
    `timeout_min` minutes the Job ends (null: never). `environment` are variables, `python` is the interpreter of the
    image, and `extra` is merged into the specification of the pods, such as `{nodeSelector: {pool: a100}}`.

    A pod that is evicted saves and comes back; those of a run over several nodes can not: it ends, to be resumed.
    """

    image: str
    nodes: int = 1
    gpus_per_node: int | None = None
    cpus_per_task: int | None = None
    mem_gb: float | None = None
    timeout_min: int | None = None
    namespace: str = "default"
    claim: str | None = None
    mount: str | None = None
    gpu: str = "nvidia.com/gpu"
    name: str = "launcher"
    python: str = "python"
    environment: dict[str, str] = field(default_factory=dict)
    grace_s: int = 120
    extra: dict[str, Any] = field(default_factory=dict)
    wait: bool = True

    def pool(self, slots: int, entry: Entry) -> KubernetesPool:
        """A pool that has at most `slots` Jobs at once."""
        return KubernetesPool(self, entry, slots)

    def under_way(self, folder: Path) -> bool:
        """Whether a Job of the run in `folder` waits or runs."""
        return self.open_job(folder.resolve()) is not None

    def open_job(self, folder: Path) -> str | None:
        """The Job of a run that has not ended."""
        name = noted(folder / INSIDE)
        # Of another folder's Job, whoever wrote its name down here, nothing is asked, and it is not deleted.
        if name is None or f"-{_digest(folder)}-" not in name or said(folder / INSIDE, name) is not None:
            return None
        state = _jobs(self.namespace).get(name)
        return None if state is None or _ended(state) else name

    def told(self, folders: Sequence[Path]) -> dict[Path, tuple[str, str]]:
        """Of each run that had a Job: the last one, and how it is."""
        names = {folder: name for folder in folders if (name := noted(folder.resolve() / INSIDE)) is not None}
        known = _jobs(self.namespace) if names else {}
        return {folder: (name, _state(known[name]) if name in known else "") for folder, name in names.items()}

    def ends(self, handle: str) -> str:
        """The command that ends a Job."""
        return f"kubectl delete job {handle} -n {self.namespace}"

    def script(self, folder: Path, entry: Entry, runs: int = 1, slots: int = 1) -> str:
        """The manifest of the run in `folder`."""
        return str(yaml.safe_dump(self.manifest(folder.resolve(), entry), sort_keys=False))

    def manifest(self, folder: Path, entry: Entry, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The Job of the run in `folder`. Raises ConfigError where its pods would not see the folder."""
        if (self.claim is None) != (self.mount is None):
            raise ConfigError("cluster.claim and cluster.mount go together: a claim, and where it is mounted")
        if self.mount is not None and not folder.is_relative_to(self.mount):
            raise ConfigError(f"{folder} is not below cluster.mount={self.mount}: the pods would not see it")
        limits: dict[str, Any] = {
            "cpu": self.cpus_per_task,
            "memory": None if self.mem_gb is None else f"{round(self.mem_gb * 1024)}Mi",
            self.gpu: self.gpus_per_node,
        }
        limits = {name: str(value) for name, value in limits.items() if value is not None}
        name = f"{self.name}-{_digest(folder)}-{time.time_ns() // 1000:x}"
        own = {"LAUNCHER_JOB": name, "LAUNCHER_NODES": self.nodes}
        variables = self.environment | dict(environment or {}) | own
        env: list[dict[str, Any]] = [{"name": key, "value": str(value)} for key, value in variables.items()]
        env.append({"name": "LAUNCHER_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
        container: dict[str, Any] = {
            "name": "run",
            "image": self.image,
            "command": [self.python, "-u", "-m", entry.module, str(folder)],
            "env": env,
            "resources": {"limits": limits, "requests": dict(limits)},
        }
        pod: dict[str, Any] = {"restartPolicy": "Never", "containers": [container]}
        pod["terminationGracePeriodSeconds"] = self.grace_s
        if self.claim is not None:
            container["volumeMounts"] = [{"name": "runs", "mountPath": self.mount}]
            pod["volumes"] = [{"name": "runs", "persistentVolumeClaim": {"claimName": self.claim}}]
        ends: list[dict[str, Any]] = [
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [FAILED, REFUSED]}}
        ]
        if self.nodes == 1:
            ends += [
                {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [PREEMPTED]}},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        job: dict[str, Any] = {"completionMode": "Indexed", "completions": self.nodes, "parallelism": self.nodes}
        job |= {"backoffLimit": 0, "podFailurePolicy": {"rules": ends}}
        job["template"] = {"metadata": {"labels": {"app": "launcher"}}, "spec": pod | self.extra}
        if self.timeout_min is not None:
            job["activeDeadlineSeconds"] = 60 * self.timeout_min
        metadata = {"name": name, "namespace": self.namespace, "labels": {"app": "launcher"}}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": job}


@dataclass
class KubernetesPool:
    """Jobs of one driver; like SLURM's they outlive it, and say their own end by a file."""

    asked: Kubernetes
    entry: Entry
    slots: int = 1
    outlives: bool = True
    _folders: dict[str, Path] = field(default_factory=dict)
    _missing: dict[str, float] = field(default_factory=dict)
    _known: dict[str, dict[str, Any]] = field(default_factory=dict)
    _asked_at: float = 0.0

    def warm_up(self) -> None:
        """Nothing has to be imported."""

    def submit(self, folder: Path, resume: bool = False, environment: Mapping[str, str] | None = None) -> str:
        """The Job of the run in `folder`: the one that is under way, else a new one. Raises ConfigError, with the
        cluster's own reason, for one that is refused."""
        folder = folder.resolve()
        name = self.asked.open_job(folder)
        if name is None:
            manifest = self.asked.manifest(folder, self.entry, environment)
            name = str(manifest["metadata"]["name"])
            inside = folder / INSIDE
            for old in (EXIT, "leave"):
                (inside / old).unlink(missing_ok=True)
            # Before the cluster hears of it: a driver that dies in between has named a Job that is not there.
            write(inside / JOB, {"job": name})
            # Not by a file: the address of a study's storage, which a trial has to know, may hold a password.
            _kubectl("apply", "-f", "-", told=yaml.safe_dump(manifest, sort_keys=False))
        self._folders[name] = folder
        return name

    def poll(self, handle: str) -> int | None:
        """The exit status of a Job's run, once it has one and will not go on."""
        folder = self._folders[handle]
        status = said(folder / INSIDE, handle)
        if status is None:
            status = self._asked(handle, folder)
        if status is not None:
            del self._folders[handle]
        return status

    def _asked(self, handle: str, folder: Path) -> int | None:
        """What the cluster says of a Job whose run has said nothing."""
        now = time.monotonic()
        if now - self._asked_at > _ASK_EVERY:
            try:
                self._known = _jobs(self.asked.namespace)
            except ConfigError:  # it does not answer: the Job may well go on
                return None
            self._asked_at = now
        state = self._known.get(handle)
        if state is not None and not _ended(state):
            self._missing.pop(handle, None)
            return None
        since = self._missing.setdefault(handle, now)
        if now - since < (3.0 if state is not None else _UNKNOWN):
            return None  # its last words may be on their way
        with (folder / LOG).open("a", encoding="utf-8") as log:
            log.write(f"error: Job {handle}: {_state(state) if state else 'Kubernetes knows nothing of it any more'}\n")
        return FAILED

    def cancel(self, handles: Sequence[str]) -> None:
        """Ask the Jobs' runs to save and leave: their pods get SIGTERM and their grace."""
        for handle in handles:
            (self._folders[handle] / INSIDE / "leave").touch()
        _kubectl("delete", "job", *handles, "-n", self.asked.namespace, "--wait=false", "--ignore-not-found")

    def abort(self, handle: str) -> None:
        """As `cancel`: there is no other signal to send."""
        self.cancel([handle])

    def kill(self, handle: str) -> None:
        """End the Job as it is."""
        now = ("--grace-period=0", "--force", "--wait=false", "--ignore-not-found")
        _kubectl("delete", "pods", "-l", f"job-name={handle}", "-n", self.asked.namespace, *now)
        self.cancel([handle])

    def wait(self, timeout: float) -> None:
        """Return when a Job has said that it ended, or after `timeout` seconds."""
        wait([(folder / INSIDE, name) for name, folder in self._folders.items()], timeout)


def _kubectl(*words: str, told: str | None = None) -> str:
    """What kubectl prints, which is `told` something. Raises ConfigError where it is missing or the cluster refuses,
    NotNow where the cluster does not answer."""
    try:
        done = subprocess.run(["kubectl", *words], input=told, capture_output=True, text=True, timeout=_SECONDS)
    except FileNotFoundError:
        raise ConfigError(
            "cluster=kubernetes: there is no kubectl here; action=plan shows the manifest without"
        ) from None
    except subprocess.TimeoutExpired:
        raise NotNow(f"cluster=kubernetes: the cluster has not answered for {_SECONDS:g} s") from None
    if done.returncode:
        answer = " ".join(done.stderr.split())
        away = any(part in answer for part in _AWAY)
        raise (NotNow if away else ConfigError)(f"cluster=kubernetes: {answer}")
    return done.stdout


def _jobs(namespace: str) -> dict[str, dict[str, Any]]:
    """The status of every Job of ours."""
    items = json.loads(_kubectl("get", "jobs", "-l", "app=launcher", "-n", namespace, "-o", "json"))["items"]
    return {item["metadata"]["name"]: item.get("status", {}) for item in items}


def _ended(status: dict[str, Any]) -> dict[str, Any] | None:
    """The condition that says that a Job is over."""
    conditions = (each for each in status.get("conditions") or [] if each.get("status") == "True")
    return next((each for each in conditions if each["type"] in ("Complete", "Failed")), None)


def _state(status: dict[str, Any]) -> str:
    """How a Job is, in a few words."""
    ended = _ended(status)
    if ended is not None:
        return " ".join(word for word in (ended["type"], ended.get("reason", "")) if word)
    return "Running" if status.get("ready") else "Pending"


def _digest(folder: Path) -> str:
    """What a Job's name tells of its folder."""
    return hashlib.blake2b(str(folder).encode(), digest_size=4).hexdigest()
