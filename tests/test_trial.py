"""A training by the command: its arithmetic, the class that checkpoints name, how it starts."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, PreTrainedModel

from determined_ner.errors import HyperparameterError
from determined_ner.finish.documents import Documents
from determined_ner.local.run import run_locally
from determined_ner.settings.arguments import parse_train_arguments
from determined_ner.training.checkpoint_code import copy_code
from tests.conftest import (
    ROOT,
    command,
    final_state,
    newest_checkpoint,
    read_metrics,
    run_command,
    write_config,
    write_conll,
)

# -- Closed form: one layer, every loss and weight predicted by formula --------------------------------------------


class OneLayer(PreTrainedModel):
    """logits of a piece = its row of one table, which begins at zero."""

    config_class = BertConfig
    _supports_sdpa = True

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.table = torch.nn.Embedding(config.vocab_size, config.num_labels)
        torch.nn.init.zeros_(self.table.weight)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.table(input_ids))


def predicted(steps: int, rate: float, epsilon: float, max_norm: float) -> tuple[list[float], float]:
    """Loss at each step and the weight after them, for sentences "a/B-X b/O" and two labels.

    By symmetry the four weights that learn are ±u. With the mean over words as the loss and as many a as b in a
    batch, d loss / d u has the size g = σ(−2u) / 2 at each weight. AdamW without memory (β = 0) moves a weight by
    rate × g / (g + ε); the rate falls linearly to 0. Clipping scales g by max_norm / ‖g‖, ‖g‖ = 2 g.
    """
    losses, u = [], 0.0
    for step in range(steps):
        losses.append(math.log1p(math.exp(-2 * u)))
        g = 0.5 / (1 + math.exp(2 * u))
        if max_norm:
            g *= min(1.0, max_norm / (2 * g + 1e-6))
        u += rate * (1 - step / steps) * g / (g + epsilon)
    return losses, u


@pytest.mark.parametrize("accumulation", [1, 2, 4])
@pytest.mark.parametrize("max_norm", [0, 0.3])
@pytest.mark.parametrize("grouped", [True, False])
def test_one_layer_follows_its_closed_form(tmp_path, tiny_encoder, train, monkeypatch, accumulation, max_norm, grouped):
    def one_layer(config, hparams, label_names, seed):
        config.num_labels = len(label_names)
        return OneLayer(config)

    monkeypatch.setattr("determined_ner.training.setup.build_model", one_layer)
    monkeypatch.setattr(Documents, "card", lambda documents, model: "")  # which are of token classifiers
    monkeypatch.setattr(Documents, "report", lambda documents, model, examples, command: None)
    data = {s: write_conll(tmp_path / f"{s}.conll", [[("a", "B-X"), ("b", "O")]] * 16) for s in ("train", "validation")}
    config = write_config(tmp_path / "closed.yaml", tiny_encoder, data, num_train_epochs=5, learning_rate=0.5)
    folder = train(
        "hyperparameters.adam_beta1=0",
        "hyperparameters.adam_beta2=0",
        "hyperparameters.adam_epsilon=0.2",
        f"hyperparameters.max_grad_norm={max_norm}",
        f"hyperparameters.group_by_length={grouped}",
        f"optimizations.aggregation_frequency={accumulation}",
        f"scheduling_unit={accumulation}",
        config=config,
    )
    losses, weight = predicted(steps=10, rate=0.5, epsilon=0.2, max_norm=max_norm)
    np.testing.assert_allclose([m["loss"] for m in read_metrics(folder, "training")], losses, rtol=1e-6)
    weights = final_state(folder)["models_state_dict"][0]["table.weight"]
    learnt = weights[weights.abs().sum(1) > 0]
    np.testing.assert_allclose(learnt.abs(), np.full((2, 2), weight), rtol=1e-6)
    final = read_metrics(folder, "validation")[-1]
    assert final["loss"] == pytest.approx(math.log1p(math.exp(-2 * weight)), rel=1e-6)
    assert final["f1"] == final["accuracy"] == 1.0


# -- Checkpoints --------------------------------------------------------------------------------------------------


def test_a_checkpoint_names_the_class_of_the_root_module(tmp_path, config_file):
    """By the script, whose own name is __main__: what is trained here is rebuilt from checkpoints for years."""
    done = run_command(config_file, "--output-dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    saved = json.loads((newest_checkpoint(tmp_path / "run") / "load_data.json").read_text())
    assert saved["trial_cls_spec"] == "ner_trial:NERTrial" and not saved.get("trial_in_main")


def test_a_package_of_elsewhere_is_refused_in_one_message(tmp_path):
    """As where an installed package was imported before a checkpoint is loaded, which brings its own."""
    installed, checkpoint = tmp_path / "installed", tmp_path / "checkpoint" / "code"
    for place in (installed, checkpoint):
        place.mkdir(parents=True)
        copy_code(place / "copied")
        for copied in (place / "copied").iterdir():
            copied.rename(place / copied.name)
    script = (
        "import sys, determined_ner\n"
        "from determined import import_from_path\n"
        "with import_from_path(sys.argv[1]):\n"
        "    import ner_trial"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", script, checkpoint],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        f"ImportError: {checkpoint / 'ner_trial.py'} belongs to the package determined_ner beside it, but that of "
        f"{installed / 'determined_ner' / '__init__.py'} is imported already: load this checkpoint in a process that "
        f"has not imported determined_ner"
    )


def test_the_trial_is_of_one_package_where_nothing_else_was_imported(tmp_path):
    copy_code(tmp_path / "code")
    done = subprocess.run(
        [sys.executable, "-c", "import ner_trial; print(ner_trial.determined_ner.__file__)"],
        capture_output=True, text=True, check=False, cwd=tmp_path / "code",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parents[1] == tmp_path / "code"


# -- The command -----------------------------------------------------------------------------------------------


def test_the_command_starts_from_another_directory(tmp_path, config_file):
    done = run_command(config_file, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/test/summary.json").is_file()
    again = run_command(config_file, cwd=tmp_path)
    assert again.returncode == 0 and (tmp_path / "runs/test-2/summary.json").is_file()


def test_help_answers_without_loading_torch():
    done = subprocess.run(
        [*command("--help")[:1], "-X", "importtime", str(ROOT / "ner_trial.py"), "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "--resume" in done.stdout
    assert "torch" not in done.stderr and "transformers" not in done.stderr


@pytest.mark.parametrize(
    "overrides",
    [
        ["hyperparameters.num_warmup_steps=1000"],
        ["hyperparameters.learning_rate=0"],
        ["hyperparameters.max_steps=0"],
        ["data.stride=70", "data.max_seq_length=60"],
        ["data.max_seq_length=65"],  # more than this encoder takes: another one may
        ["hyperparameters.tokenizer_name={larger}"],
        ["hyperparameters.pretrained_model_name_or_path={other_task}"],
        ["hyperparameters.pretrained_model_name_or_path=./none"],
        ["hyperparameters.pretrained_model_name_or_path={lacking}"],
    ],
    ids=lambda overrides: overrides[0].partition("=")[0].rpartition(".")[2],
)
def test_a_point_of_a_search_that_cannot_work_is_invalid(overrides, config_file, tiny_encoder, tmp_path):
    """So that a search goes on with its other points, and restarts nothing."""
    variants = {name: tmp_path / name for name in ("larger", "other_task", "lacking")}
    for folder in variants.values():
        shutil.copytree(tiny_encoder, folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    tokenizer.add_tokens(["Ada", "ada"])
    tokenizer.save_pretrained(variants["larger"])
    config = json.loads((tiny_encoder / "config.json").read_text(encoding="utf-8"))
    other = {"model_type": "vit", "architectures": ["ViTModel"]}
    (variants["other_task"] / "config.json").write_text(json.dumps({**config, **other}), encoding="utf-8")
    more_layers = {**config, "num_hidden_layers": 2}
    (variants["lacking"] / "config.json").write_text(json.dumps(more_layers), encoding="utf-8")

    arguments = [str(config_file), "--output-dir", str(tmp_path / "run")]
    for override in overrides:
        arguments += ["--config", override.format(**{name: str(path) for name, path in variants.items()})]
    with pytest.raises(HyperparameterError):
        run_locally(parse_train_arguments(arguments))
