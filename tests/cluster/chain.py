"""A task container of Determined without a container: the same chain of commands, in namespaces of its own.

    context directory, packed as ``det`` packs it → prep_container → startup-hook.sh → rendezvous → exec.launch

``/run``, ``/tmp`` and the network are the task's own, so nothing on this machine ever looks like a cluster to other
programs. A task on two nodes is two such containers, joined by a cable.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from determined.common import context

from tests.cluster.master import Master, Request
from tests.cluster.nodes import peer_ip

UNSHARE = ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
NODES = Path(__file__).with_name("nodes.py")
if os.geteuid() != 0:
    UNSHARE.insert(1, "--map-root-user")

OWN_ROOMS = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
number=0
for kept in "$@"; do
    number=$((number + 1))
    mkdir -p /run/kept/$number
    mount --bind "$kept" /run/kept/$number
done
mount -t tmpfs -o mode=1777 tmpfs /tmp
number=0
for kept in "$@"; do
    number=$((number + 1))
    mkdir -p "$kept"
    mount --bind /run/kept/$number "$kept"
done
"""
"""``/run`` and ``/tmp`` empty, except for the directories that are named."""

TASK = (
    "read -r _ || true  # the network is there\n"
    + OWN_ROOMS
    + """
hostname "$DET_AGENT_ID"
mount --bind "$HOSTS" /etc/hosts
if test -n "$DISK"; then mount -t tmpfs -o "$DISK" tmpfs "$STORAGE"; fi
for tool in nvidia-smi rocm-smi; do  # Determined counts slots with them; these are slots of the CPU
    if found=$(command -v $tool); then mount --bind /dev/null "$found"; fi
done
mkdir -p /run/determined/info /run/determined/workdir /run/determined/train/model
cd /run/determined/workdir
python3 -m determined.exec.prep_container --download_context_directory --resources --proxy
set -x
test -f startup-hook.sh && source startup-hook.sh
set +x
python3 -m determined.exec.prep_container --rendezvous
python3 -m determined.exec.launch && status=0 || status=$?
if test -n "$DISK"; then mkdir "$DISK_AFTERWARDS"; cp -r "$STORAGE" "$DISK_AFTERWARDS"; fi
exit $status
"""
)
"""What the master's entrypoint.sh runs: the hook is sourced, so what it sets stays set."""


@dataclass(frozen=True)
class Outcome:
    """What became of a task."""

    status: int
    log: str
    requests: list[Request]


def why_not(nodes: int = 1) -> str | None:
    """What keeps this machine from running tasks, on one node or two, if anything."""
    for program, package in (("unshare", "util-linux"), ("nsenter", "util-linux"), ("ip", "iproute2")):
        if shutil.which(program) is None:
            return f"no program {program} ({package}) to make namespaces with"
    network = "ip link add name cable type veth peer name other" if nodes > 1 else "ip link set lo up"
    probe = subprocess.run([*UNSHARE, "bash", "-c", OWN_ROOMS + network], capture_output=True, text=True, check=False)
    return f"namespaces are not allowed here: {probe.stderr.strip()}" if probe.returncode else None


def pack(root: Path, *more: Path) -> str:
    """A context directory as the master hands it out: what ``det`` would send of it, as base64 of a tgz.

    Args:
        more: files that come with it, as ``det experiment create --include`` would take them.
    """
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # a progress line a file, and more
        warnings.simplefilter("ignore", DeprecationWarning)
        files = context.read_v1_context(root, more)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for file in files:
            data = base64.b64decode(file.content)
            info = tarfile.TarInfo(file.path)
            info.type = bytes([file.type])
            info.mode, info.mtime, info.size = file.mode & 0o7777, int(file.mtime), len(data)
            archive.addfile(info, io.BytesIO(data))
    return base64.b64encode(buffer.getvalue()).decode()


def complete(config: dict[str, Any], checkpoints: Path) -> dict[str, Any]:
    """An experiment config as a task gets it: with the defaults of the master's schemas (schemas/expconf/v0)."""
    config = copy.deepcopy(config)
    defaults: dict[str, Any] = {
        "bind_mounts": [],
        "checkpoint_policy": "best",
        "checkpoint_storage": {
            "type": "directory",
            "container_path": str(checkpoints),
            "save_experiment_best": 0,
            "save_trial_best": 1,
            "save_trial_latest": 1,
        },
        "data": {},
        "debug": False,
        "description": None,
        "environment": {"environment_variables": {"cpu": [], "cuda": [], "rocm": []}, "force_pull_image": False},
        "labels": [],
        "log_policies": [],
        "max_restarts": 5,
        "min_checkpoint_period": {"batches": 0},
        "min_validation_period": {"batches": 0},
        "optimizations": {
            "aggregation_frequency": 1,
            "auto_tune_tensor_fusion": False,
            "average_aggregated_gradients": True,
            "average_training_metrics": False,
            "grad_updates_size_file": None,
            "gradient_compression": False,
            "mixed_precision": "O0",
            "tensor_fusion_cycle_time": 5,
            "tensor_fusion_threshold": 64,
        },
        "perform_initial_validation": False,
        "profiling": {"enabled": False, "begin_on_batch": 0, "end_after_batch": None, "sync_timings": True},
        "project": "",
        "records_per_epoch": 0,
        "reproducibility": {"experiment_seed": 1},
        "resources": {
            "devices": [],
            "is_single_node": None,
            "max_slots": None,
            "native_parallel": False,
            "priority": None,
            "resource_pool": "",
            "shm_size": None,
            "slots_per_trial": 1,
            "weight": 1,
        },
        "scheduling_unit": 100,
        "searcher": {"smaller_is_better": True, "source_checkpoint_uuid": None, "source_trial_id": None},
        "workspace": "",
    }
    for name, default in defaults.items():
        given = config.get(name)
        mergeable = isinstance(default, dict) and not name.endswith("_period")
        config[name] = {**default, **(given or {})} if mergeable else default if given is None else given
    config["hyperparameters"] = {
        name: value if isinstance(value, dict) and "type" in value else {"type": "const", "val": value}
        for name, value in config["hyperparameters"].items()
    }
    return config


class Task:
    """The trial's next task, from its latest checkpoint if it has one. Nothing of it is left after the ``with``."""

    def __init__(
        self, master: Master, folder: Path, visible: Sequence[Path], nodes: int = 1, disk: str = "", witness: str = ""
    ) -> None:
        """
        Args:
            folder: gets the task's home directories and logs.
            visible: directories below /tmp that the task can see.
            nodes: 1 or 2; each has as many slots.
            disk: options of a file system for checkpoints alone, such as ``size=1m``; what is on it at the end is
                copied to ``folder/disk-N``, N counting tasks.
            witness: value of the variable WITNESS.
        """
        self._master = master
        environments = master.start_task(nodes)
        name = f"task-{master.run}"
        hosts = folder / f"{name}.hosts"
        names = [f"{peer_ip(i) if nodes > 1 else '127.0.0.1'} agent-{i + 1}\n" for i in range(nodes)]
        hosts.write_text("127.0.0.1 localhost\n" + "".join(names), encoding="utf-8")
        storage = Path(master.config["checkpoint_storage"]["container_path"])
        storage.mkdir(exist_ok=True)
        for i, environment in enumerate(environments):
            home = folder / "home" / str(i)  # a node's cache is not another's
            home.mkdir(parents=True, exist_ok=True)
            environment.update(bare_environment(home), HOSTS=str(hosts), WITNESS=witness)
            environment.update(DISK=disk, STORAGE=str(storage), DISK_AFTERWARDS=str(folder / f"disk-{master.run}"))
        self._logs = [folder / f"{name}-{i}.log" for i in range(nodes)]
        self._statuses: dict[int, int] = {}
        given = {
            "script": TASK,
            "arguments": kept([folder, *visible]),
            "environments": environments,
            "logs": [str(log) for log in self._logs],
        }
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [*UNSHARE, sys.executable, "-I", str(NODES), str(theirs.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
            )
        assert self._process.stdin is not None
        with self._process.stdin as pipe:
            pipe.write(json.dumps(given).encode())
        self._nodes = nodes

    def __enter__(self) -> Task:
        with contextlib.ExitStack() as undone:
            undone.push(self.__exit__)
            for _ in range(self._nodes):
                _, listeners, _, _ = socket.recv_fds(self._control, 4096, 1)
                assert listeners, "the namespaces have ended before the task"
                self._master.listen(socket.socket(fileno=listeners[0]))
            undone.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._master.go_on()
        self._process.kill()
        self._process.wait()
        self._control.close()

    def kill(self, node: int) -> None:
        """SIGKILL to all that runs there; returns when it has ended."""
        self._tell("kill", node)
        while node not in self._statuses:
            self._hear(timeout=60)

    def set_master(self, reachable: bool) -> None:
        self._tell("master", reachable)

    def run_inside(self, node: int, command: str) -> None:
        """Have a command run in a node's namespaces; returns at once."""
        self._tell("inside", node, command)

    def _tell(self, *command: object) -> None:
        self._control.send(json.dumps(command).encode())

    def _hear(self, timeout: float) -> None:
        self._control.settimeout(timeout)
        message = json.loads(self._control.recv(4096) or "null")
        assert message is not None, "the namespaces have ended before the task"
        self._statuses[message["ended"]] = message["status"]

    def wait(self, timeout: float = 300) -> Outcome:
        """Wait for the end of all containers.

        Returns:
            among others the exit status: 0 if it was everywhere, else that of the first that failed; 124 after the
            timeout.
        """
        deadline = time.monotonic() + timeout
        while len(self._statuses) < self._nodes and (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                self._hear(left)
        failed = [status for status in self._statuses.values() if status]
        status = 124 if len(self._statuses) < self._nodes else failed[0] if failed else 0
        log = "".join(log.read_text(errors="replace") for log in self._logs)
        return Outcome(status, log, [r for r in list(self._master.requests) if r.run == self._master.run])


def run_task(master: Master, folder: Path, visible: Sequence[Path], timeout: float = 300, **options: Any) -> Outcome:
    """Run the trial's next task to its end; arguments as of ``Task``."""
    with Task(master, folder, visible, **options) as task:
        return task.wait(timeout)


def in_own_rooms(
    command: list[str], environment: dict[str, str], visible: Sequence[Path], output: Any, timeout: float
) -> int:
    """Run a bash command in namespaces of its own; at its end nothing of it is left.

    Returns:
        exit status; 124 after the timeout.
    """
    try:
        return subprocess.run(
            [*UNSHARE, *command, "task", *kept(visible)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return 124


def kept(visible: Sequence[Path]) -> list[str]:
    """Of the directories, and those of the interpreter, what /tmp holds."""
    interpreter = {Path(sys.prefix), Path(sys.base_prefix)}
    return [str(path) for path in (*visible, *interpreter) if path.is_relative_to("/tmp")]


def bare_environment(home: Path) -> dict[str, str]:
    """Nothing of ours but this interpreter as ``python3``, without network and without GPU."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PIP_NO_INDEX": "1",  # a startup hook finds its packages here, or fails
    }
