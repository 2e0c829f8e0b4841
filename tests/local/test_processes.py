"""Several processes train what one trains, and resume it: copies of this one, and once those of ``torchrun`` itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ner_trial
from determined_ner.local.processes import LAUNCHED
from determined_ner.model.checkpoint import checkpoint_name
from tests.conftest import (
    ROOT,
    assert_equal_states,
    final_state,
    make_sentences,
    read_metrics,
    run_command,
    without_times,
    write_config,
    write_conll,
)
from tests.forked import together, torchrun

ROUNDS = """
import os
import pathlib
import socket
import sys
import time
sys.path.insert(0, sys.argv[1])
import torch
from determined_ner.local.processes import joined_processes
torch.set_num_threads(1)
os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"
for number in range(20):  # each group finds its peers anew
    port = pathlib.Path(__file__).with_name(f"port-{number}")
    if os.environ["RANK"] == "0":
        with socket.socket() as probe:
            probe.bind(("", 0))
            port.with_suffix(".new").write_text(str(probe.getsockname()[1]))
        port.with_suffix(".new").rename(port)
    while not port.exists():
        time.sleep(0.01)
    os.environ["MASTER_PORT"] = port.read_text()
    with joined_processes() as slots:
        mine = {"rank": slots.rank, "numbers": torch.arange(3 + 5 * slots.rank)}
        found = slots.allgather(mine)
        assert [one["rank"] for one in found] == [0, 1]
        assert [len(one["numbers"]) for one in found] == [3, 8]
        assert slots.broadcast("of the first" if slots.rank == 0 else object) == "of the first"
        assert slots.allgather(None) == [None, None]
    os.write(1, f"round {number}\\n".encode())  # at once: the other process writes, too
"""


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE: 'x' is no number"),
        ({"WORLD_SIZE": "2"}, "RANK: is not set, and WORLD_SIZE is '2'"),
        ({"WORLD_SIZE": "2", "RANK": "x"}, "RANK: 'x' is no number"),
        ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "²"}, "LOCAL_RANK: '²' is no number"),
        (dict.fromkeys(("WORLD_SIZE", *LAUNCHED), "0"), "RANK: 0 is none of 0 processes (WORLD_SIZE)"),
        ({**dict.fromkeys(LAUNCHED[:-1], "0"), "WORLD_SIZE": "2"}, "MASTER_PORT: is not set, and WORLD_SIZE is '2'"),
    ],
)
def test_half_of_what_torchrun_says_is_refused(told, said, config_file, tmp_path, monkeypatch, capsys):
    for name in ("WORLD_SIZE", *LAUNCHED):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert ner_trial.main([str(config_file), "--output-dir", str(tmp_path / "out")]) == 2
    assert f"error: {said}; start several processes by torchrun, or unset WORLD_SIZE" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def run(*arguments: object, processes: int = 1) -> tuple[int, str]:
    """Exit status and output of the command in several processes."""
    return together(lambda: ner_trial.main(list(map(str, arguments))), processes)


def train(*arguments: object, processes: int = 1) -> None:
    status, output = run(*arguments, processes=processes)
    assert status == 0, output


def metrics_of(folder: Path, kind: str) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if k != "kind"} for line in without_times(read_metrics(folder, kind))]


def assert_close(left: list[dict], right: list[dict], tolerance: float) -> None:
    assert len(left) == len(right) > 0
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name] == pytest.approx(b[name], abs=tolerance), name


@pytest.mark.parametrize("grouped", [True, False])
def test_two_processes_give_the_metrics_of_one(tmp_path, tiny_encoder_without_dropout, corpus, grouped):
    """Where sentences are grouped by length, those of torchrun itself."""
    config = write_config(
        tmp_path / "c.yaml", tiny_encoder_without_dropout, corpus, global_batch_size=7, group_by_length=grouped
    )
    folders = []
    for processes in (1, 2):
        folders.append(tmp_path / f"p{processes}")
        arguments = (config, "--output-dir", folders[-1], "--config", "scheduling_unit=1")
        if grouped and processes == 2:
            done = run_command(*arguments, processes=processes)
            assert done.returncode == 0, done.stderr
        else:
            train(*arguments, processes=processes)
    for kind in ("training", "validation"):
        assert_close(metrics_of(folders[0], kind), metrics_of(folders[1], kind), 1e-5)
    one, two = (json.loads((f / "summary.json").read_text())["test"] for f in folders)
    assert_close([one], [two], 1e-5)


def test_two_processes_draw_the_dropout_of_two_accumulation_steps(tmp_path, config_file):
    """With dropout on, what must agree is how the step is cut: two micro-batches each."""
    folders = [tmp_path / "slots", tmp_path / "accumulated"]
    for folder, processes, override in ((folders[0], 2, "scheduling_unit=1"), (folders[1], 1, "scheduling_unit=2")):
        accumulation = 3 - processes
        options = ["--config", override, "--config", f"optimizations.aggregation_frequency={accumulation}"]
        train(config_file, "--output-dir", folder, *options, processes=processes)
    left, right = (metrics_of(f, "validation") for f in folders)
    for lines in (left, right):
        for line in lines:
            del line["batches"]  # accumulation counts twice as many
    assert_close(left, right, 1e-5)


def test_the_parameters_of_all_processes_stay_equal_with_more_slots_than_sentences(tmp_path, tiny_encoder, corpus):
    """An epoch whose last step has fewer sentences than slots still trains each once, on slots that stay in step."""
    corpus = {**corpus, "train": write_conll(tmp_path / "odd.conll", make_sentences(7))}
    config = write_config(tmp_path / "c.yaml", tiny_encoder, corpus, global_batch_size=3)
    train(config, "--output-dir", tmp_path / "r", "--config", "scheduling_unit=1", processes=3)
    assert len(read_metrics(tmp_path / "r", "training")) == 6


def test_two_processes_resume_what_two_processes_began(tmp_path, config_file):
    """Each draws the dropout of its own micro-batches again, though a checkpoint holds one process's generator."""
    folders = [tmp_path / "whole", tmp_path / "half"]
    options = ["--config", "scheduling_unit=1", "--config", "checkpoint_policy=all"]
    options += ["--config", "checkpoint_storage.save_trial_latest=9"]
    for folder in folders:
        train(config_file, "--output-dir", folder, *options, processes=2)
    shutil.rmtree(folders[1] / "checkpoints" / checkpoint_name(12))
    train("--output-dir", folders[1], "--resume", processes=2)
    assert without_times(read_metrics(folders[1])) == without_times(read_metrics(folders[0]))
    assert_equal_states(*(final_state(folder)["models_state_dict"] for folder in folders))


def test_fewer_sentences_in_a_batch_than_processes_is_refused(tmp_path, tiny_encoder, corpus):
    config = write_config(tmp_path / "c.yaml", tiny_encoder, corpus, global_batch_size=1)
    status, output = run(config, "--output-dir", tmp_path / "run", processes=2)
    assert status == 2
    assert output.count("error: hyperparameters.global_batch_size: 1 is less than the 2 slots") == 1
    assert not (tmp_path / "run").exists()


def test_a_mistake_in_the_data_ends_all_processes(tmp_path, config_file, corpus):
    corpus["validation"].write_text("Ada B-PER\nwent\n")
    status, output = run(config_file, "--output-dir", tmp_path / "run", processes=2)
    assert status == 2 and output.count("error: ") == 1
    assert "validation.conll" in output


EXCHANGES = """
import os, pathlib
from determined_ner.local.processes import joined_processes
with joined_processes() as slots:
    rank = slots.rank
    assert slots.broadcast(f"from {rank}") == "from 0"
    assert slots.allgather(rank) == [0, 1]
    inodes = {os.readlink(f"/proc/self/fd/{number}") for number in range(1024)
              if os.path.lexists(f"/proc/self/fd/{number}")}
    for table in ("tcp", "tcp6"):
        for line in pathlib.Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            address, _, port = local.rpartition(":")
            rendezvous = int(port, 16) == int(os.environ["MASTER_PORT"])  # torch's own; some versions open it here
            if state == "0A" and f"socket:[{rest[5]}]" in inodes and not rendezvous:
                print("LISTENS", address, flush=True)
    slots.broadcast(None)
    print("DONE", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks in /proc")
def test_the_processes_of_one_machine_listen_on_loopback_alone(tmp_path):
    script = tmp_path / "exchanges.py"
    script.write_text(EXCHANGES)
    # As users launch them: where they listen is what is tested.
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(launcher, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0 and done.stdout.count("DONE") == 2, done.stderr
    listens = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("LISTENS")}
    loopback = {"0100007F", "00000000000000000000000001000000"}
    assert listens and listens <= loopback, listens


def test_processes_that_have_exchanged_objects_part_at_once(tmp_path):
    """The end of a group waited for ever, sometimes, for a thread that let go of its last exchange."""
    (tmp_path / "rounds.py").write_text(ROUNDS)
    try:
        done = subprocess.run(
            [*torchrun(2), str(tmp_path / "rounds.py"), str(ROOT)],
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        )
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"it does not end: {(error.stdout or b'').decode()[-200:]}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("round 19") == 2
