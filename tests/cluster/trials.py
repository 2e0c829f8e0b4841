"""Trials to look at: what the tests of the cluster run, and what is left of it."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests.cluster import chain
from tests.cluster.chain import Outcome, Task
from tests.cluster.master import Master
from tests.conftest import ROOT, make_encoder, make_sentences, write_config, write_conll

EPOCHS, STEPS = 3, 6  # 44 sentences in batches of 8
TOTAL = EPOCHS * STEPS
SCRIPT = "python3 ner_trial.py"
DISTRIBUTED = "python3 -m determined.launch.torch_distributed python3 ner_trial.py"
LEGACY = "ner_trial:NERTrial"
WITNESS = "python3 witness.py"
OUTSIDE = "python3 outside.py"
DISTRIBUTED_WITNESS = "python3 -m determined.launch.torch_distributed python3 witness.py"
UNEVEN: dict[str, Any] = {
    "encoder": "encoder-without-dropout",
    "global_batch_size": 7,
    "data": {"max_seq_length": 24, "stride": 6},
}
"""No number of slots divides the batches, nor a batch the windows, of which a sentence has one to three."""


@dataclass
class Trial:
    """A trial, and what its tasks leave behind."""

    master: Master
    folder: Path
    inputs: Path
    deaths: list[dict[str, Any]]
    tasks: list[Outcome] = field(default_factory=list)
    visible: list[Path] = field(default_factory=list)
    """Directories below /tmp that its tasks can see besides."""

    @property
    def storage(self) -> Path:
        return Path(self.master.config["checkpoint_storage"]["container_path"])

    def task(self, **options: Any) -> Task:
        """The next task; options as of ``Task``."""
        witness = self.folder / "witness" / "asked.json"
        witness.parent.mkdir(exist_ok=True)
        witness.write_text(json.dumps(self.deaths), encoding="utf-8")
        return Task(self.master, self.folder, [self.inputs, *self.visible], witness=str(witness), **options)

    def run(self, timeout: float = 300, **options: Any) -> Outcome:
        """Run the next task to its end, whatever it is."""
        with self.task(**options) as task:
            return self.wait(task, timeout)

    def wait(self, task: Task, timeout: float = 300) -> Outcome:
        outcome = task.wait(timeout)
        assert outcome.status != 124, f"hangs\n{outcome.log}"
        self.tasks.append(outcome)
        return outcome

    def run_well(self, **options: Any) -> Outcome:
        outcome = self.run(**options)
        assert outcome.status == 0, outcome.log
        assert not self.master.refused, self.master.refused
        return outcome

    def run_to_the_end(self, **options: Any) -> list[Outcome]:
        """Run tasks as the master does: one that fails is followed by the next, up to ``max_restarts``.

        Unless a log policy forbids it: its pattern is looked for in each line, without time stamp and rank.
        """
        config = self.master.config
        patterns = [policy["pattern"] for policy in config["log_policies"] if policy["action"] == "cancel_retries"]
        for _ in range(1 + config["max_restarts"]):
            task = self.run(**options)
            lines = [re.sub(r"^\[rank=\d+\] ", "", line) for line in task.log.splitlines()]
            if task.status == 0 or any(re.search(pattern, line) for pattern in patterns for line in lines):
                break
        return self.tasks

    def seen(self) -> list[dict[str, Any]]:
        """What the slots were given to learn from, if a witness was there."""
        files = sorted((self.folder / "witness").glob("seen-*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]

    def checkpoint(self, index: int = -1) -> Path:
        return self.storage / str(self.master.checkpoints[index]["uuid"])

    def state(self) -> dict[str, Any]:
        """The last checkpoint's weights, optimizer and schedule."""
        state = torch.load(self.checkpoint() / "state_dict.pth", map_location="cpu", weights_only=True)
        return {name: state[f"{name}_state_dict"] for name in ("models", "optimizers", "lr_schedulers")}

    def weights(self) -> dict[str, torch.Tensor]:
        """Of the last checkpoint, as a model of one slot names them."""
        (model,) = self.state()["models"]
        torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(model, "module.")
        return dict(model)

    def compared(self, group: str) -> list[tuple[int, dict[str, Any]]]:
        """Reports less what two equal runs differ in."""
        return [
            (report.steps, {name: value for name, value in report.metrics.items() if not name.endswith("_per_second")})
            for report in self.master.reports(group)
        ]

    def reported(self, task: int) -> list[int]:
        """Steps of which a task (from 1) has reported training metrics."""
        return [report.steps for report in self.master.reports("training") if report.run == task]

    def last(self, group: str) -> list[tuple[int, dict[str, Any]]]:
        """Of reports that a restarted task has made again, those of the later task, as the master shows them."""
        return sorted(dict(self.compared(group)).items())


@dataclass(frozen=True)
class Cluster:
    """Where trials run, on the same data."""

    folder: Path
    inputs: Path
    _uneven: dict[int, Trial] = field(default_factory=dict)

    @classmethod
    def build(cls, folder: Path) -> Cluster:
        inputs = folder / "inputs"
        for encoder, dropout in (("encoder", 0.1), ("encoder-without-dropout", 0.0)):
            (inputs / encoder).mkdir(parents=True)
            make_encoder(inputs / encoder, dropout)
        write_conll(inputs / "train.conll", make_sentences(44))
        write_conll(inputs / "validation.conll", make_sentences(13, 100))
        return cls(folder, inputs)

    @functools.cached_property
    def archive(self) -> str:
        return chain.pack(ROOT)

    @functools.cached_property
    def archive_with_witness(self) -> str:
        return chain.pack(ROOT, Path(__file__).with_name("witness.py"))

    @functools.cached_property
    def archive_with_outside(self) -> str:
        return chain.pack(ROOT, Path(__file__).with_name("outside.py"), ROOT / "tests" / "hub" / "standin.py")

    @functools.cached_property
    def script(self) -> Trial:
        """A trial that nothing disturbs."""
        return self.run("script")

    @functools.cached_property
    def every_step(self) -> Trial:
        """A trial that nothing disturbs, and that reports each step."""
        return self.run("every-step", scheduling_unit=1)

    def uneven(self, slots: int) -> Trial:
        """A trial of UNEVEN that nothing disturbs, and that a witness sees."""
        if slots not in self._uneven:
            entrypoint = DISTRIBUTED_WITNESS if slots > 1 else WITNESS
            self._uneven[slots] = self.run(f"uneven-{slots}", entrypoint=entrypoint, slots=slots, **UNEVEN)
        return self._uneven[slots]

    @functools.cached_property
    def legacy(self) -> Trial:
        return self.run("legacy", entrypoint=LEGACY, searcher={"max_length": {"epochs": EPOCHS}})

    def run(self, name: str, **options: Any) -> Trial:
        """A trial of one task; options as of ``trial``, and ``nodes``."""
        nodes = options.pop("nodes", 1)
        with self.trial(name, **options) as trial:
            trial.run_well(nodes=nodes)
        return trial

    @contextlib.contextmanager
    def trial(
        self,
        name: str,
        encoder: str = "encoder",
        entrypoint: str = SCRIPT,
        slots: int = 1,
        searcher: dict[str, Any] | None = None,
        scheduling_unit: int = 2,
        deaths: list[dict[str, Any]] | None = None,
        data: dict[str, Any] | None = None,
        profiling: dict[str, Any] | None = None,
        optimizations: dict[str, Any] | None = None,
        **hyperparameters: Any,
    ) -> Iterator[Trial]:
        """A trial that has not begun; ``deaths`` as the witness takes them."""
        folder = self.folder / name
        folder.mkdir()
        config = self.config(folder / "experiment.yaml", encoder, **hyperparameters)
        config["entrypoint"] = entrypoint
        config["resources"]["slots_per_trial"] = slots
        config["searcher"].update(searcher or {})
        config["data"].update(data or {})
        config["profiling"] = profiling or {}
        config["optimizations"] = optimizations or {}
        config["scheduling_unit"] = scheduling_unit
        config = chain.complete(config, folder / "checkpoints")
        archive = self.archive_with_witness if "witness" in entrypoint else self.archive
        archive = self.archive_with_outside if "outside" in entrypoint else archive
        with Master(config, archive) as master:
            yield Trial(master, folder, self.inputs, deaths or [])

    def config(self, path: Path, encoder: str = "encoder", **hyperparameters: Any) -> dict[str, Any]:
        corpus = {split: self.inputs / f"{split}.conll" for split in ("train", "validation")}
        settings = {"num_train_epochs": EPOCHS, "learning_rate": 0.01, **hyperparameters}
        write_config(path, self.inputs / encoder, corpus, **settings)
        return dict(json.loads(path.read_text(encoding="utf-8")))
