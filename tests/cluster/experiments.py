"""The shipped experiments, made small enough to run here, and a master that also keeps files and other checkpoints."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import pickle
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from determined.common.api import bindings

from determined_ner.files.checksums import write_checksums
from tests.cluster import chain
from tests.cluster.master import EXPERIMENT, TRIAL, Master, _route
from tests.cluster.nodes import MASTER_IP, MASTER_PORT
from tests.cluster.searcher import AdaptiveSearch
from tests.cluster.trials import Trial
from tests.conftest import ROOT, make_encoder, make_sentences, write_conll
from tests.shipped import SHIPPED, a_point

TRAINED = [path for path in (*SHIPPED, ROOT / "ner_config.yaml") if "ner_trial.py" in path.read_text(encoding="utf-8")]
BY_THEMSELVES = [path for path in TRAINED if path.stem not in ("search_grid", "continue")]
"""The others need what these have left."""
STEPS = 2
CHECKPOINTS = "/api/v1/checkpoints/"


def refused_here(config: dict[str, Any]) -> str | None:
    """The setting that a config for special hardware or packages is refused for, here, if it is."""
    if config["hyperparameters"].get("use_apex_amp"):
        return "hyperparameters.use_apex_amp"  # it needs CUDA, of which tasks see nothing here
    if config["hyperparameters"].get("backend") == "ort" and importlib.util.find_spec("onnxruntime.training") is None:
        return "hyperparameters.backend"
    return None


class ExperimentMaster(Master):
    """A master that also serves files and warm-starts trials."""

    files: dict[str, list[dict[str, Any]]]
    """By path: rows of a JSON file."""
    silent = 0
    """Requests for files that are answered as by a server out of order, before the others."""
    stored: dict[str, tuple[dict[str, Any], dict[str, Any]]]
    """Checkpoints of other experiments by UUID: as they were reported, and the config of their experiment."""

    def _make_routes(self, allocation: str) -> Any:
        routes = super()._make_routes(allocation)
        checkpoint = _route(bindings.post_ReportCheckpoint)
        ids, body, _ = routes[checkpoint]
        # All that the main thread of a batch inference asks: there it has to learn of its preemption.
        return {**routes, checkpoint: (ids, body, self._noted_unhurried)}

    def start_task(self, nodes: int = 1) -> list[dict[str, str]]:
        environments = super().start_task(nodes)
        if not self.checkpoints and (source := self.config["searcher"]["source_checkpoint_uuid"]):
            for environment in environments:  # and DET_STEPS_COMPLETED stays 0
                environment["DET_LATEST_CHECKPOINT"] = source
        return environments

    def take(self, method: str, target: str, token: str | None, raw: bytes) -> Callable[[Callable[..., None]], None]:
        if target in self.files and self.silent:
            self.silent -= 1
            return lambda send: send(503, {})
        if target in self.files:
            return lambda send: send(200, {"data": self.files[target]})
        if method == "GET" and target.startswith(CHECKPOINTS):
            saved = self.stored.get(target.removeprefix(CHECKPOINTS))
            answer = (404, {}) if saved is None else (200, stored_checkpoint(*saved))
            return lambda send: send(*answer)
        return super().take(method, target, token, raw)


def stored_checkpoint(reported: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """What the master says of a checkpoint."""
    training = bindings.v1CheckpointTrainingMetadata(trialId=TRIAL, experimentId=EXPERIMENT, experimentConfig=config)
    checkpoint = bindings.v1Checkpoint.from_json({**reported, "training": training.to_json(True)})
    return bindings.v1GetCheckpointResponse(checkpoint=checkpoint).to_json(True)


@dataclass(frozen=True)
class Experiments:
    """Where shipped experiments run, on one small corpus."""

    folder: Path
    inputs: Path
    _ran: dict[str, Trial] = field(default_factory=dict)

    @classmethod
    def build(cls, folder: Path) -> Experiments:
        inputs = folder / "inputs"
        for made in ("encoder", "corpus", "agent", "storage"):
            (inputs / made).mkdir(parents=True)
        make_encoder(inputs / "encoder", positions=512)
        for split, sentences in cls.corpus().items():
            half = len(sentences) // 2
            documents = [[("-DOCSTART-", "O")], *sentences[:half], [("-DOCSTART-", "O")], *sentences[half:]]
            write_conll(inputs / "corpus" / f"{split}.conll", documents)
        return cls(folder, inputs)

    @staticmethod
    def corpus() -> dict[str, Any]:
        return {"train": make_sentences(16), "validation": make_sentences(6, 100)}

    @functools.cached_property
    def archive(self) -> str:
        """As ``det experiment create … --include ../corpus --include quickstart`` packs it."""
        return chain.pack(ROOT, self.inputs / "corpus", ROOT / "quickstart")

    def ran(self, name: str) -> Trial:
        """A shipped experiment that can be run by itself, which is run once."""
        if name not in self._ran:
            (shipped,) = (path for path in TRAINED if path.stem == name)
            config = self.small(shipped)
            with self.trial(name, config) as trial:
                if config["searcher"]["name"] == "adaptive_asha":  # of which this is the second trial, and the worse
                    search = AdaptiveSearch.of(config["searcher"], scores=[1.0, 0.0])
                    search.stops(0, {search.time_metric: 1})
                    trial.master.searcher = functools.partial(search.stops, 1)
                trial.run(timeout=300, nodes=2 if name == "multi_node" else 1)
            self._ran[name] = trial
        return self._ran[name]

    def small(self, shipped: Path) -> dict[str, Any]:
        """A shipped config with a tiny encoder, this corpus and two steps; else as it is."""
        config: dict[str, Any] = yaml.safe_load(shipped.read_text(encoding="utf-8"))
        hparams, data = a_point(config["hyperparameters"]), config["data"]
        config["hyperparameters"] = hparams
        hparams["pretrained_model_name_or_path"] = str(self.inputs / "encoder")
        if "max_time" not in config["searcher"]:
            hparams["max_steps"] = STEPS
        if "dataset_name" in data:
            data.pop("dataset_name")
            data.pop("dataset_revision")
            data.update({f"{split}_file": f"corpus/{split}.conll" for split in self.corpus()})
        elsewhere = {
            "/mnt/corpus": str(self.inputs / "corpus"),
            "/mnt/agent": str(self.inputs / "agent"),
            "https://example.com": f"http://{MASTER_IP}:{MASTER_PORT}/files",
        }
        for name, value in data.items():
            for before, after in elsewhere.items():
                if isinstance(value, str) and value.startswith(before):
                    data[name] = after + value.removeprefix(before)
        config["resources"]["slots_per_trial"] = min(config["resources"]["slots_per_trial"], 2)
        return config

    @contextlib.contextmanager
    def trial(self, name: str, config: dict[str, Any], storage: Path | None = None) -> Iterator[Trial]:
        """A trial of an experiment that has not begun."""
        folder = self.folder / name
        folder.mkdir()
        master = ExperimentMaster(chain.complete(config, storage or self.inputs / "storage" / name), self.archive)
        master.files = {
            f"/files/corpus/{split}.json": [
                {"tokens": [word for word, _ in sentence], "ner_tags": [tag for _, tag in sentence]}
                for sentence in sentences
            ]
            for split, sentences in self.corpus().items()
        }
        master.stored = {}
        with master:
            yield Trial(master, folder, self.inputs, [])


def of_another_trial(checkpoint: Path) -> str:
    """A copy of a checkpoint beside it, as a trial of another experiment would have left it."""
    copy = checkpoint.with_name(str(uuid.uuid4()))
    shutil.copytree(checkpoint, copy)
    state = pickle.loads((copy / "trial_state.pkl").read_bytes())
    (copy / "trial_state.pkl").write_bytes(pickle.dumps({**state, "trial_id": state["trial_id"] + 1}))
    write_checksums(copy)
    return copy.name
