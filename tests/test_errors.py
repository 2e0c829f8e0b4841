"""Every mistake a user can make: exit status 2, one message that names value, place and remedy, nothing left behind."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from determined_ner.training.setup import Training
from tests.conftest import make_sentences, write_config, write_conll


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "hyperparameters.global_batch_size=0",
            ["hyperparameters.global_batch_size", "0", "greater than or equal to 1"],
        ),
        ("hyperparameters.global_batch_size=many", ["global_batch_size", "'many'"]),
        ("hyperparameters.global_batch_size=true", ["global_batch_size", "True", "not a number"]),
        ("hyperparameters.learning_rate=-1", ["learning_rate", "-1", "greater than 0"]),
        ("hyperparameters.learning_rate=.nan", ["learning_rate", "nan"]),
        ("hyperparameters.learnig_rate=1e-5", ["learnig_rate", "unknown setting", "did you mean learning_rate?"]),
        ("hyperparameters.lr_scheduler_type=liner", ["lr_scheduler_type", "'liner'", "linear"]),
        ("hyperparameters.adafactor=true", ["adafactor", "True", "AdamW"]),
        ("data.trian_file=x", ["data.trian_file", "did you mean train_file?"]),
        ("data.train_file=null", ["data: give either dataset_name or train_file"]),
        ("data.validation_file=null", ["validation_file", "validation_split_percentage"]),
        ("data.train_file=/no/such.conll", ["/no/such.conll", "no such file"]),
        ("data.max_seq_length=100", ["data.max_seq_length", "100", "64"]),
        ("data.stride=62", ["data.stride", "62", "62 pieces"]),
        ("data.label_column_name=nothing", ["train.conll", "nothing"]),
        ("searcher.metric=bleu", ["searcher.metric", "'bleu'", "f1_TYPE"]),
        ("searcher.max_length=5", ["searcher.max_length", "5", "epochs: 3"]),
        ("searcher.max_time=5", ["searcher.time_metric", "batches or epochs"]),
        ("min_validation_period.hours=5", ["min_validation_period", "hours"]),
        ("checkpoint_policy=sometimes", ["checkpoint_policy", "'sometimes'"]),
        ("optimizations.aggregation_frequency=0", ["optimizations.aggregation_frequency", "0"]),
        ("hyperparameters.num_warmup_steps=500", ["num_warmup_steps", "500", "12 steps"]),
        ("hyperparameters.pretrained_model_name_or_path=./nowhere", ["./nowhere", "not a directory"]),
        ("hyperparameters.use_apex_amp=true", ["use_apex_amp: true needs a CUDA GPU", "precision: bf16"]),
        ("hyperparameters", ["--config hyperparameters", "KEY=VALUE"]),
        ("learning_rate=3e-5", ["learning_rate: unknown", "did you mean hyperparameters.learning_rate?"]),
        ("train_file=x.conll", ["did you mean data.train_file?"]),
        ("optimizations.agregation_frequency=4", ["did you mean aggregation_frequency?"]),
        ("searcher.max_lenght.epochs=1", ["searcher.max_lenght", "did you mean max_length?"]),
        ("reproducability.experiment_seed=4", ["did you mean reproducibility?"]),
        ("optimizations.mixed_precision=O1", ["optimizations.mixed_precision", "'O1'", "precision: fp16"]),
        (
            "optimizations.average_aggregated_gradients=false",
            ["average_aggregated_gradients", "False", "the mean over"],
        ),
        (
            "hyperparameters.model_name=bert",
            ["model_name", "write hyperparameters.pretrained_model_name_or_path"],
        ),
        (
            "checkpoint_storage.save_trial_bests=3",
            ["checkpoint_storage.save_trial_bests", "did you mean save_trial_best?"],
        ),
        ("resources.slot_per_trial=4", ["resources.slot_per_trial", "did you mean slots_per_trial?"]),
        ("slots_per_trial=4", ["slots_per_trial", "did you mean resources.slots_per_trial?"]),
        ("hyperparameters.slots_per_trial=4", ["slots_per_trial", "did you mean resources.slots_per_trial?"]),
        ("searcher.smaller_is_better=no", ["searcher.smaller_is_better", "'no'", "neither true nor false"]),
        ("searcher.smaller_is_better=true", ["smaller_is_better: true", "worst f1", "smaller_is_better: false"]),
        ("perform_initial_validation=off", ["perform_initial_validation", "'off'"]),
        ("reproducibility.experiment_seed=4294967296", ["reproducibility.experiment_seed", "write at most 4294967295"]),
        ("profiling=true", ["profiling", "True", "not a section"]),
        ("checkpoint_storage.save_trial_best=many", ["checkpoint_storage.save_trial_best", "'many'"]),
        ("hyperparameters.1=2", ["hyperparameters.1", "unknown"]),
        ("hyperparameters.max_steps=0", ["max_steps", "0", "-1"]),
        ("data.train_file=/tmp/my data #1.conll", ["comment in YAML"]),
        ("name.first=x", ["--config name.first=x"]),
    ],
)
def test_a_wrong_setting_is_refused(refuse, override, expected):
    message = refuse(override)
    for part in expected:
        assert part in message, message


def test_a_gpu_without_enough_memory_is_one_message(refuse, monkeypatch):
    def train_step(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")

    monkeypatch.setattr(Training, "train_step", train_step)
    message = refuse()
    assert "hyperparameters.global_batch_size: the GPU has not enough memory: CUDA out of memory. Tried" in message
    assert "raise optimizations.aggregation_frequency" in message


def test_a_search_range_is_refused_here(refuse, tmp_path, tiny_encoder, corpus):
    searched = {"type": "log", "base": 10, "minval": -5, "maxval": -4}
    message = refuse(config=write_config(tmp_path / "c.yaml", tiny_encoder, corpus, learning_rate=searched))
    assert "hyperparameters.learning_rate" in message and "--config hyperparameters.learning_rate=" in message


def test_a_constant_as_determined_writes_it_is_its_value(train, tmp_path, tiny_encoder, corpus):
    constant = {"type": "const", "val": 1e-4}
    folder = train(config=write_config(tmp_path / "c.yaml", tiny_encoder, corpus, learning_rate=constant))
    settings = json.loads((folder / "summary.json").read_text())["settings"]
    assert settings["hyperparameters"]["learning_rate"] == 1e-4


def test_all_wrong_settings_are_told_at_once(refuse):
    message = refuse("hyperparameters.global_batch_size=0", "hyperparameters.learnig_rate=1", "data.stride=-1")
    assert all(name in message for name in ("global_batch_size", "learnig_rate", "data.stride"))


def test_an_empty_file_is_refused(refuse, corpus):
    corpus["train"].write_text("")
    assert f"{corpus['train']}" in (message := refuse()) and "empty" in message


def test_ragged_columns_are_refused_with_their_line(refuse, corpus):
    text = corpus["train"].read_text().split("\n")
    text[4] += "\textra"
    corpus["train"].write_text("\n".join(text))
    message = refuse()
    assert f"{corpus['train']}:5:" in message and "3" in message and "2" in message


def test_unequal_words_and_tags_are_refused_with_their_row(refuse, tmp_path, corpus):
    rows = [{"tokens": ["a", "b"], "ner_tags": ["O", "B-X"]}, {"tokens": ["a", "b", "c"], "ner_tags": ["O", "O"]}]
    file = tmp_path / "train.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    message = refuse(f"data.train_file={file}")
    assert f"{file}:2:" in message and "3 words" in message and "2 tags" in message


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_label_that_training_never_saw_is_refused_with_its_line(refuse, corpus, split):
    write_conll(corpus[split], [*make_sentences(2), [("Acme", "B-ORG")]])
    message = refuse()
    line = len(corpus[split].read_text().split("\n")) - 1
    assert f"{corpus[split]}:{line}:" in message and "'B-ORG'" in message and "'Acme'" in message


def test_bytes_that_are_no_text_are_refused_with_their_line(refuse, corpus):
    corpus["train"].write_bytes(b"Ada\tB-PER\n\nM\xfcnchen\tB-LOC\n")
    message = refuse()
    assert f"{corpus['train']}:3:" in message and "UTF-8" in message and "0xfc" in message


def test_a_model_directory_without_weights_is_refused(refuse, tiny_encoder, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(tiny_encoder, bare)
    (bare / "model.safetensors").unlink()
    message = refuse(f"hyperparameters.pretrained_model_name_or_path={bare}")
    assert str(bare) in message and "use_pretrained_weights: false" in message


def test_a_model_directory_without_a_tokenizer_is_refused(refuse, tiny_encoder, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(tiny_encoder / name, bare / name)
    message = refuse(f"hyperparameters.pretrained_model_name_or_path={bare}")
    assert "tokenizer" in message and str(bare) in message


def test_the_tokenizer_of_another_model_is_refused(refuse, pretrained_encoder):
    message = refuse(f"hyperparameters.tokenizer_name={pretrained_encoder}")
    assert "hyperparameters.tokenizer_name" in message and str(pretrained_encoder) in message


def test_weights_of_another_architecture_are_refused(refuse, tiny_encoder, tmp_path):
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(tiny_encoder, broken)
    weights = {k: v for k, v in load_file(broken / "model.safetensors").items() if "layer.0" not in k}
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    message = refuse(f"hyperparameters.pretrained_model_name_or_path={broken}")
    assert "lacks" in message and "layer.0" in message


def test_a_tagger_for_other_labels_is_refused_unless_its_head_may_go(refuse, train, tmp_path, corpus):
    first = train(output="first")
    other = [[(w, t.replace("PER", "HUM")) for w, t in s] for s in make_sentences(20)]
    for file in corpus.values():
        write_conll(file, other)
    override = f"hyperparameters.pretrained_model_name_or_path={first / 'model'}"
    message = refuse(override)
    assert "B-PER" in message and "drop_unused_labels: true" in message and "ignore_mismatched_sizes: true" in message
    train(override, "hyperparameters.ignore_mismatched_sizes=true", output="second")


def test_a_config_file_that_is_missing_or_broken_is_refused(refuse, tmp_path):
    assert "no such config file" in refuse(config=tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: x\nhyperparameters: [1,\n")
    assert f"{broken}:3" in refuse(config=broken)
    broken.write_text("just text")
    assert "just text" in refuse(config=broken)
    broken.write_text("name: x\nhyperparameters: 5\ndata: {}\n")
    assert "hyperparameters" in refuse(config=broken)


def test_a_cache_that_cannot_be_written_is_refused(refuse, tmp_path):
    (tmp_path / "file").write_text("")
    assert "data.cache_dir" in refuse(f"data.cache_dir={tmp_path / 'file'}")
