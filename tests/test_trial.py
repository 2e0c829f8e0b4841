"""The trial in Determined's own loop, off the cluster: the arithmetic, the resume, the slots, the files."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import BertConfig, PreTrainedModel

from determined_ner.errors import UserError
from determined_ner.model.engine import Engine
from tests.conftest import (
    ROOT,
    assert_equal_states,
    command,
    final_state,
    make_sentences,
    read_metrics,
    run_command,
    without_times,
    write_config,
    write_conll,
)

# ----- closed form: one layer, every loss and weight predicted by formula


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
    """Loss at each step and the weight after them, for sentences «a/B-X b/O» and two labels.

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

    monkeypatch.setattr("determined_ner.model.build.build_model", one_layer)
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


# ----- slots and accumulation


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
    config = write_config(
        tmp_path / "c.yaml", tiny_encoder_without_dropout, corpus, global_batch_size=7, group_by_length=grouped
    )
    folders = []
    for processes in (1, 2):
        folders.append(tmp_path / f"p{processes}")
        done = run_command(config, "--output-dir", folders[-1], "--config", "scheduling_unit=1", processes=processes)
        assert done.returncode == 0, done.stderr
    for kind in ("training", "validation"):
        assert_close(metrics_of(folders[0], kind), metrics_of(folders[1], kind), 1e-5)
    one, two = (json.loads((f / "summary.json").read_text())["test"] for f in folders)
    assert_close([one], [two], 1e-5)


def test_two_processes_draw_the_dropout_of_two_accumulation_steps(tmp_path, config_file):
    """With dropout on, what must agree is how the step is cut: two micro-batches each."""
    folders = [tmp_path / "slots", tmp_path / "accumulated"]
    for folder, processes, override in ((folders[0], 2, "scheduling_unit=1"), (folders[1], 1, "scheduling_unit=2")):
        accumulation = 3 - processes
        done = run_command(
            config_file, "--output-dir", folder, "--config", override,
            "--config", f"optimizations.aggregation_frequency={accumulation}", processes=processes,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    left, right = (metrics_of(f, "validation") for f in folders)
    for lines in (left, right):
        for line in lines:
            del line["batches"]  # accumulation counts twice as many
    assert_close(left, right, 1e-5)


def test_the_parameters_of_all_processes_stay_equal_with_more_slots_than_sentences(tmp_path, tiny_encoder, corpus):
    """An epoch whose last step has fewer sentences than slots still trains each once, on slots that stay in step."""
    corpus = {**corpus, "train": write_conll(tmp_path / "odd.conll", make_sentences(7))}
    config = write_config(tmp_path / "c.yaml", tiny_encoder, corpus, global_batch_size=3)
    done = run_command(config, "--output-dir", tmp_path / "r", "--config", "scheduling_unit=1", processes=3)
    assert done.returncode == 0, done.stderr
    assert len(read_metrics(tmp_path / "r", "training")) == 6


# ----- resume


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_killed_and_resumed_run_ends_bit_identical(tmp_path, tiny_encoder, corpus, accumulation):
    """SIGKILL at random steps of epoch 2 and later, twice; checkpoints at odd places."""
    config = write_config(
        tmp_path / "c.yaml", tiny_encoder, corpus, num_train_epochs=30 // accumulation, warmup_ratio=0.2
    )
    arguments = [config, "--config", "scheduling_unit=2", "--config", "min_checkpoint_period.batches=5"]
    arguments += ["--config", f"optimizations.aggregation_frequency={accumulation}"]
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert run_command(*arguments, "--output-dir", undisturbed).returncode == 0

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    rng = random.Random(time.time_ns())
    for options in ([], ["--resume"]):
        process = subprocess.Popen(
            command(*arguments, "--output-dir", killed, *options), env=environment, stderr=subprocess.DEVNULL
        )
        # 6 batches an epoch, 180 in all; the second kill comes after the first one's place
        threshold = rng.randint(13, 60) if not options else rng.randint(70, 120)
        while process.poll() is None and reported(killed) < threshold:
            time.sleep(0.005)
        assert process.poll() is None, "ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = run_command(*arguments, "--output-dir", killed, "--resume")
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stderr

    assert without_times(read_metrics(killed)) == without_times(read_metrics(undisturbed))
    left, right = final_state(killed), final_state(undisturbed)
    for part in ("models_state_dict", "optimizers_state_dict", "lr_schedulers_state_dict"):
        assert_equal_states(left[part], right[part], part)
    assert (killed / "model/model.safetensors").read_bytes() == (undisturbed / "model/model.safetensors").read_bytes()
    summaries = [json.loads((f / "summary.json").read_text()) for f in (killed, undisturbed)]
    assert summaries[0]["test"] == summaries[1]["test"]


def reported(folder: Path) -> int:
    """Batches of the last whole line of metrics.jsonl."""
    try:
        lines = (folder / "metrics.jsonl").read_text().split("\n")[:-1]
    except FileNotFoundError:
        return 0
    return json.loads(lines[-1])["batches"] if lines else 0


def test_resume_takes_settings_from_the_run_folder(tmp_path, train):
    folder = train("scheduling_unit=1", "searcher.max_length.epochs=2")
    whole = without_times(read_metrics(folder))
    # As if it had been stopped right after the first epoch.
    import shutil

    from determined_ner.training.run_folder import RunFolder, checkpoint_name

    half = train("scheduling_unit=1", "checkpoint_policy=all", "checkpoint_storage.save_trial_latest=9", output="half")
    shutil.rmtree(half / "checkpoints" / checkpoint_name(12))
    assert RunFolder(half).saved_steps() == [6]
    done = run_command("--output-dir", half, "--resume")
    assert done.returncode == 0, done.stderr
    assert without_times(read_metrics(half)) == whole


def test_two_processes_resume_what_two_processes_began(tmp_path, config_file):
    """Each draws the dropout of its own micro-batches again, though a checkpoint holds one process's generator."""
    import shutil

    from determined_ner.training.run_folder import checkpoint_name

    folders = [tmp_path / "whole", tmp_path / "half"]
    options = ["--config", "scheduling_unit=1", "--config", "checkpoint_policy=all"]
    options += ["--config", "checkpoint_storage.save_trial_latest=9"]
    for folder in folders:
        done = run_command(config_file, "--output-dir", folder, *options, processes=2)
        assert done.returncode == 0, done.stderr
    shutil.rmtree(folders[1] / "checkpoints" / checkpoint_name(12))
    done = run_command("--output-dir", folders[1], "--resume", processes=2)
    assert done.returncode == 0, done.stderr
    assert without_times(read_metrics(folders[1])) == without_times(read_metrics(folders[0]))
    assert_equal_states(*(final_state(folder)["models_state_dict"] for folder in folders))


def test_a_checkpoint_cut_short_is_not_taken_for_one(train):
    folder = train()
    partial = folder / "checkpoints" / ".step-00000013.partial"
    partial.mkdir()
    (partial / "state_dict.pth").write_bytes(b"half")
    from determined_ner.training.run_folder import RunFolder

    assert RunFolder(folder).saved_steps() == [12]


def test_a_run_stopped_before_its_first_checkpoint_resumes_from_the_beginning(train, tmp_path):
    import shutil

    whole, stopped = train(output="whole"), train(output="stopped")
    shutil.rmtree(stopped / "checkpoints")
    done = run_command("--output-dir", stopped, "--resume")
    assert done.returncode == 0, done.stderr
    assert without_times(read_metrics(stopped)) == without_times(read_metrics(whole))
    assert_equal_states(final_state(stopped)["models_state_dict"], final_state(whole)["models_state_dict"])


def test_resuming_a_finished_run_changes_nothing(train, tmp_path):
    folder = train()
    before = read_metrics(folder)
    done = run_command("--output-dir", folder, "--resume")
    assert done.returncode == 0, done.stderr
    assert read_metrics(folder) == before


# ----- what a run leaves


def test_the_run_folder_holds_what_is_promised(train, tmp_path):
    before = set(tmp_path.rglob("*"))
    folder = train()
    outside = {p for p in set(tmp_path.rglob("*")) - before if folder not in (p, *p.parents)}
    assert not outside, "written beside the run folder"
    summary = json.loads((folder / "summary.json").read_text())
    validations = read_metrics(folder, "validation")
    assert [v["epochs"] for v in validations] == [1, 2]
    assert summary["last"] == validations[-1]
    assert summary["best"]["f1"] == max(v["f1"] for v in validations)
    assert summary["test"].keys() >= {"loss", "accuracy", "precision", "recall", "f1", "f1_strict", "f1_PER", "f1_LOC"}
    assert all(isinstance(v, float) for v in summary["test"].values())
    training = read_metrics(folder, "training")
    names = {"kind", "batches", "epochs", "loss", "learning_rate", "samples_per_second", "tokens_per_second"}
    assert all(line.keys() == names for line in training)
    assert {p.name for p in folder.iterdir()} - {".lock"} == {
        "metrics.jsonl", "summary.json", "checkpoints", "model", "figures", "tensorboard", "cache", "config.json"
    }  # fmt: skip
    assert {p.name for p in (folder / "figures").iterdir()} == {"loss.png", "f1.png"}
    assert list((folder / "tensorboard").glob("*tfevents*"))


def test_the_model_directory_is_the_best_checkpoint_and_carries_its_labels(train, corpus):
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    folder = train("hyperparameters.num_train_epochs=3")
    model = AutoModelForTokenClassification.from_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    labels = ["B-LOC", "B-PER", "I-PER", "O"]
    assert [model.config.id2label[i] for i in range(4)] == labels
    summary = json.loads((folder / "summary.json").read_text())
    state = torch.load(folder / summary["checkpoint"] / "state_dict.pth", weights_only=True)["models_state_dict"][0]
    assert_equal_states(dict(model.state_dict()), dict(state))
    # Read as a stranger would: plain transformers, no padding, one sentence at a time.
    hits = words = 0
    for sentence in make_sentences(7, 200):
        inputs = tokenizer([w for w, _ in sentence], is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            tags = model(**inputs).logits[0].argmax(-1)
        first = [inputs.word_ids().index(i) for i in range(len(sentence))]
        hits += sum(labels[tags[p]] == gold for p, (_, gold) in zip(first, sentence, strict=True))
        words += len(sentence)
    assert summary["test"]["accuracy"] == pytest.approx(hits / words)


def test_a_checkpoint_is_self_contained(train):
    folder = train()
    newest = max((folder / "checkpoints").glob("step-*"))
    names = {p.name for p in newest.iterdir()}
    assert names >= {"state_dict.pth", "config.json", "tokenizer.json", "ner_settings.json", "code", "metadata.json"}
    settings = json.loads((newest / "ner_settings.json").read_text())
    assert settings["labels"] == ["B-LOC", "B-PER", "I-PER", "O"] and settings["scheme"] == "IOB2"


def test_determined_rebuilds_the_trial_from_a_checkpoint_without_data(train, tmp_path, corpus):
    import sys

    folder = train()
    newest = max((folder / "checkpoints").glob("step-*"))
    for file in corpus.values():
        file.unlink()
    script = (
        "import sys, torch; from determined import pytorch\n"
        "trial = pytorch.load_trial_from_checkpoint_path(sys.argv[1])\n"
        "print(trial.labels.names, sum(p.double().sum().item() for p in trial.bare.parameters()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, newest], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    total = sum(p.double().sum().item() for p in final_state(folder)["models_state_dict"][0].values())
    assert done.stdout.startswith("('B-LOC', 'B-PER', 'I-PER', 'O')")
    assert float(done.stdout.split()[-1]) == pytest.approx(total)


def test_the_best_and_the_newest_checkpoint_are_kept(train):
    folder = train("hyperparameters.num_train_epochs=6")
    steps = [int(p.name[5:]) for p in (folder / "checkpoints").iterdir()]
    best = json.loads((folder / "summary.json").read_text())["best"]["batches"]
    assert sorted({best, 36}) == sorted(steps)


def test_the_same_seed_trains_the_same_model_and_another_does_not(train):
    one, two = (train(output=name) for name in ("one", "two"))
    three = train("reproducibility.experiment_seed=8", output="three")
    assert_equal_states(final_state(one)["models_state_dict"], final_state(two)["models_state_dict"])
    assert without_times(read_metrics(one)) == without_times(read_metrics(two))
    assert read_metrics(one, "validation")[0]["loss"] != read_metrics(three, "validation")[0]["loss"]


# ----- what the experiment config asks for


def test_lengths_and_periods_of_the_config_are_honoured(train):
    folder = train(
        "searcher.max_length.batches=10",
        "min_validation_period.batches=4",
        "min_checkpoint_period.batches=3",
        "scheduling_unit=5",
        "perform_initial_validation=true",
        "checkpoint_policy=none",
        "checkpoint_storage.save_trial_latest=9",
    )
    assert [v["batches"] for v in read_metrics(folder, "validation")] == [0, 4, 8, 10]
    assert {5, 10} <= {m["batches"] for m in read_metrics(folder, "training")}
    assert sorted(int(p.name[5:]) for p in (folder / "checkpoints").iterdir()) == [3, 6, 9, 10]


@pytest.mark.parametrize(
    ("override", "batches"),
    [
        ("searcher.max_length.epochs=1", 6),
        ("searcher.max_length.records=24", 3),
        ("hyperparameters.max_steps=4", 4),
        ("hyperparameters.num_train_epochs=1", 6),
    ],
)
def test_the_length_can_be_given_in_each_unit(train, override, batches):
    assert read_metrics(train(override))[-1]["batches"] == batches


def test_the_length_can_be_given_as_max_time(train):
    folder = train("searcher.time_metric=batches", "searcher.max_time=5")
    assert read_metrics(folder)[-1]["batches"] == 5


def test_the_learning_rate_falls_to_zero_over_exactly_the_training(train):
    folder = train("scheduling_unit=1", "hyperparameters.num_warmup_steps=3", "searcher.max_length.batches=9")
    rates = [m["learning_rate"] for m in read_metrics(folder, "training")]
    expected = [0, 1 / 3, 2 / 3, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    np.testing.assert_allclose(rates, np.array(expected) * 1e-3, rtol=1e-6)


def test_bf16_trains_to_nearly_the_same_loss(train):
    full, half = train(output="fp32"), train("hyperparameters.precision=bf16", output="bf16")
    a, b = (read_metrics(f, "validation")[-1]["loss"] for f in (full, half))
    assert a != b and a == pytest.approx(b, rel=0.02)


def test_lengths_of_batches_are_few_in_half_precision_and_one_if_asked(train, monkeypatch):
    lengths = set()

    def recorded(method):
        def record(self, batch, *arguments, **named):
            lengths.add(batch["input_ids"].shape[1])
            return method(self, batch, *arguments, **named)

        return record

    for name in ("learn", "logits"):  # in training and in evaluation
        monkeypatch.setattr(Engine, name, recorded(getattr(Engine, name)))
    at_most_18 = ("data.max_seq_length=18", "hyperparameters.max_steps=8", "hyperparameters.global_batch_size=2")
    rounded = {4, 8, 12, 16, 18}
    train(*at_most_18, output="fp32")
    assert not lengths <= rounded
    lengths.clear()
    train(*at_most_18, "hyperparameters.precision=bf16", output="bf16")
    assert lengths <= rounded and 18 in lengths and len(lengths) > 2
    lengths.clear()
    train(*at_most_18, "data.pad_to_max_length=true", output="padded")
    assert lengths == {18}


def test_a_config_of_the_earlier_example_trains_and_names_what_means_nothing(train, tmp_path, capsys):
    """All keys of Determined's model_hub example, its metric name included; local files in place of the hub."""
    config = json.loads((tmp_path / "experiment.yaml").read_text())
    config["hyperparameters"] |= {
        "model_mode": "token-classification",
        "finetuning_task": "ner",
        "use_pretrained_weights": True,
        "use_apex_amp": False,
        "adam_epsilon": 1e-8,
        "weight_decay": 0,
        "lr_scheduler_type": "linear",
        "num_warmup_steps": 0,
    }
    config["data"] |= {
        "dataset_name": None,
        "dataset_config_name": None,
        "preprocessing_num_workers": None,
        "cache_dir": None,
        "overwrite_cache": False,
        "pad_to_max_length": False,
        "label_all_tokens": False,
    }
    config |= {
        "records_per_epoch": 44,
        "min_validation_period": {"batches": 6},
        "entrypoint": "ner_trial:NERTrial",
        "bind_mounts": [{"host_path": "/tmp", "container_path": "/root/.cache"}],
    }
    config["searcher"] = {
        "name": "single", "metric": "accuracy_score", "max_length": {"epochs": 1}, "smaller_is_better": False
    }  # fmt: skip
    old = tmp_path / "old.yaml"
    old.write_text(json.dumps(config))
    folder = train(config=old)
    final = read_metrics(folder, "validation")[-1]
    assert final["accuracy_score"] == final["accuracy"]
    told = capsys.readouterr().err
    assert "hyperparameters.model_mode" in told and "records_per_epoch" in told


def test_own_files_take_the_place_of_the_configs_data_set(train, capsys):
    train("data.dataset_name=conll2003", "data.dataset_revision=refs/convert/parquet")
    assert "data.dataset_name: 'conll2003' is not used" in capsys.readouterr().err


def test_determined_lends_its_own_loop(train, monkeypatch):
    """The steps are Determined's: what its controller is told, it does."""
    from determined import pytorch

    seen = []
    original = pytorch._PyTorchTrialController._train_batch

    def spy(self, batch, epoch_idx, batch_idx):
        seen.append((epoch_idx, batch_idx))
        return original(self, batch, epoch_idx, batch_idx)

    monkeypatch.setattr(pytorch._PyTorchTrialController, "_train_batch", spy)
    train()
    assert seen == [(i // 6, i) for i in range(12)]


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
    import shutil

    import determined as det

    from determined_ner.errors import HyperparameterError
    from determined_ner.local.run import run_locally
    from determined_ner.settings.arguments import parse_arguments

    variants = {name: tmp_path / name for name in ("larger", "other_task", "lacking")}
    for folder in variants.values():
        shutil.copytree(tiny_encoder, folder)
    from transformers import AutoTokenizer

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
    with pytest.raises(UserError) as error:
        run_locally(parse_arguments(arguments))
    assert isinstance(error.value, HyperparameterError) or isinstance(error.value.__cause__, det.InvalidHP)
