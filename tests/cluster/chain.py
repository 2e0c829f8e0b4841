"""A task container of Determined without a container: the same chain of commands, in namespaces of its own.

    context directory, packed as ``det`` packs it → prep_container → startup-hook.sh → rendezvous → exec.launch

``/run`` and ``/tmp`` are the task's own, so nothing on this machine ever looks like a cluster to other programs.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from determined.common import context
from master import Master, Request

UNSHARE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
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
"""``/run`` and ``/tmp`` empty, but for the directories that are named."""

TASK = (
    OWN_ROOMS
    + """
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
exec python3 -m determined.exec.launch
"""
)
"""What the master's entrypoint.sh runs: the hook is sourced, so what it sets stays set."""


@dataclass(frozen=True)
class Outcome:
    """What became of a task."""

    status: int
    log: str
    requests: list[Request]


def why_not() -> str | None:
    """What keeps this machine from running tasks, if anything."""
    if shutil.which("unshare") is None:
        return "no program unshare (util-linux) to make namespaces with"
    probe = subprocess.run([*UNSHARE, "bash", "-c", OWN_ROOMS], capture_output=True, text=True, check=False)
    return f"namespaces are not allowed here: {probe.stderr.strip()}" if probe.returncode else None


def pack(root: Path) -> str:
    """A context directory as the master hands it out: what ``det`` would send of it, as base64 of a tgz."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # a progress line a file, and more
        warnings.simplefilter("ignore", DeprecationWarning)
        files = context.read_v1_context(root)
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


def run_task(master: Master, folder: Path, visible: Sequence[Path], timeout: float = 120) -> Outcome:
    """Run the trial's next task, from its latest checkpoint if it has one.

    Args:
        folder: gets the task's home directory and its log.
        visible: directories below /tmp that the task can see.
    """
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    environment = {
        **master.start_task(),
        **bare_environment(home),
        # Ports that a container has to itself:
        "C10D_PORT": str(_free_port()),
        "INTER_TRAIN_PROCESS_COMM_PORT_1": str(_free_port()),
        "INTER_TRAIN_PROCESS_COMM_PORT_2": str(_free_port()),
    }
    log = folder / f"task-{master.run}.log"
    with log.open("w") as file:
        status = in_own_rooms(["bash", "-c", TASK], environment, [folder, *visible], file, timeout)
    requests = [request for request in master.requests if request.run == master.run]
    return Outcome(status, log.read_text(errors="replace"), requests)


def in_own_rooms(
    command: list[str], environment: dict[str, str], visible: Sequence[Path], output: Any, timeout: float
) -> int:
    """Run a bash command in namespaces of its own; at its end nothing of it is left.

    Returns:
        exit status; 124 after the timeout.
    """
    interpreter = {Path(sys.prefix), Path(sys.base_prefix)}
    kept = [str(path) for path in (*visible, *interpreter) if path.is_relative_to("/tmp")]
    try:
        return subprocess.run(
            [*UNSHARE, *command, "task", *kept],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return 124


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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
