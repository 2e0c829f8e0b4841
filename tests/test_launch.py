"""The files for Slurm and Kubernetes, with stand-ins for Slurm's programs and for the training."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

SBATCH, KUBERNETES = ROOT / "launch" / "slurm.sbatch", ROOT / "launch" / "kubernetes.yaml"
PROGRAMS = {
    # As srun does: options are its own, a task has its number in the environment, signals are handed on, but for those
    # that end srun, which kill the tasks.
    "srun": """echo "$*" > srun.txt
while [[ $1 == --* ]]; do shift; done
export SLURM_PROCID=1 SLURM_LOCALID=1 SLURM_NODEID=0
"$@" &
task=$!
trap 'kill -KILL $task' TERM HUP INT
trap 'kill -USR1 $task' USR1
while kill -0 $task 2> /dev/null; do wait $task; done
wait $task""",
    "scontrol": """echo "$*" >> scontrol.txt
if test "$1" = show; then printf 'node-a\\nnode-b\\n'; fi""",
    # A training: it writes down how it was called, and ends when it is told to, as the trial does.
    "determined-ner": """mkdir -p runs/slurm-77
touch runs/slurm-77/config.json
env > environment.txt
trap 'echo saved >> saved.txt; exit 143' TERM USR1
echo "$*" >> called.txt
for _ in $(seq 600); do if test -e done.txt; then exit 0; fi; sleep 0.05; done
exit 1""",
}
SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_JOB_NODELIST": "node-[a-b]",
    "SLURM_NTASKS": "4",
    "SLURM_NNODES": "2",
    "SLURM_CPUS_PER_TASK": "3",
}


class Job:
    """A job in a directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = folder / "programs"
        programs.mkdir()
        for name, text in PROGRAMS.items():
            (programs / name).write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
            (programs / name).chmod(0o755)
        self._environment = {"PATH": f"{programs}:{os.environ['PATH']}", **SLURM}
        self._started = 0

    def start(self) -> subprocess.Popen[bytes]:
        """Returns when the training is under way."""
        self._started += 1
        command = ["bash", str(SBATCH), "my.yaml", "--config", "name=a b"]
        process = subprocess.Popen(command, cwd=self.folder, env=self._environment)
        while len(self.lines("called.txt")) < self._started:
            assert process.poll() is None
            time.sleep(0.02)
        return process

    def lines(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(tmp_path)
    yield job
    (tmp_path / "done.txt").touch()  # whatever still runs


def test_a_slurm_job_saves_before_its_limit_is_requeued_and_resumes(job: Job) -> None:
    process = job.start()
    assert job.lines("called.txt") == ["train my.yaml --config name=a b --output-dir runs/slurm-77"]
    process.send_signal(signal.SIGUSR1)
    assert process.wait(30) == 143
    assert job.lines("saved.txt") == ["saved"] and job.lines("scontrol.txt")[-1] == "requeue 77"
    process = job.start()
    assert job.lines("called.txt")[-1] == "train my.yaml --config name=a b --output-dir runs/slurm-77 --resume"
    (job.folder / "done.txt").touch()
    assert process.wait(30) == 0
    assert job.lines("scontrol.txt").count("requeue 77") == 1


def test_a_slurm_job_that_is_cancelled_saves_and_is_not_requeued(job: Job) -> None:
    process = job.start()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert job.lines("saved.txt") == ["saved"] and "requeue 77" not in job.lines("scontrol.txt")


def test_each_task_of_slurm_is_a_process_of_the_training(job: Job) -> None:
    process = job.start()
    (job.folder / "done.txt").touch()
    assert process.wait(30) == 0
    found = dict(line.partition("=")[::2] for line in job.lines("environment.txt"))
    expected = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "3"}
    expected |= {"GROUP_RANK": "0", "GROUP_WORLD_SIZE": "2", "MASTER_ADDR": "node-a", "MASTER_PORT": "20077"}
    assert {name: found[name] for name in expected} == expected
    assert "--cpus-per-task=3" in job.lines("srun.txt")[0].split()


def kubernetes() -> tuple[dict[str, Any], dict[str, Any]]:
    """Service and Job."""
    service, job = yaml.safe_load_all(KUBERNETES.read_text(encoding="utf-8"))
    return service, job


def test_the_pods_of_the_job_are_the_nodes_of_torchrun() -> None:
    service, job = kubernetes()
    spec = job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    script = container["args"][0]
    assert spec["completionMode"] == "Indexed"
    nodes, processes = (int(re.findall(rf"--{name}=(\d+)", script)[0]) for name in ("nnodes", "nproc-per-node"))
    assert spec["completions"] == spec["parallelism"] == nodes
    assert container["resources"]["limits"]["nvidia.com/gpu"] == processes
    name = job["metadata"]["name"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"] and f"--master-addr={name}-0.{pod['subdomain']} " in script
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}
    assert script.startswith(f"run={mounted['runs']}/") and f"{mounted['config']}/experiment.yaml" in script


@pytest.mark.parametrize("which", ["slurm", "kubernetes"])
def test_the_scripts_pass_a_linter(which: str, tmp_path: Path) -> None:
    script = SBATCH
    if which == "kubernetes":
        script = tmp_path / "pod.sh"
        args = kubernetes()[1]["spec"]["template"]["spec"]["containers"][0]["args"]
        script.write_text(f"#!/bin/bash\n{args[0]}", encoding="utf-8")
    linter = shutil.which("shellcheck")
    command = ["bash", "-n"] if linter is None else [linter]
    done = subprocess.run([*command, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
