"""Each setting of other trainers is a setting here, or is refused with its counterpart or the reason."""

from __future__ import annotations

import dataclasses
import re
from typing import get_args

import pytest
import transformers
from transformers.training_args import OptimizerNames

from determined_ner import cli
from determined_ner.errors import UserError
from determined_ner.settings import parsing
from determined_ner.settings.data import DataSettings
from determined_ner.settings.experiment import read_config
from determined_ner.settings.explaining import SECTIONS
from determined_ner.settings.foreign_names import COUNTERPARTS, FOREIGN, METRIC_NAMES, OPTIMIZERS
from determined_ner.settings.hyperparameters import Hyperparameters
from determined_ner.settings.loop import METRICS, parse_loop
from determined_ner.settings.parsing import parse_settings
from tests.conftest import ROOT

HPARAMS = {"pretrained_model_name_or_path": "bert-base-cased"}
DATA = {"train_file": "a.conll", "validation_file": "b.conll"}
EARLIER = (FOREIGN["Determined's model_hub"], parsing._OBSOLETE["hyperparameters"], parsing._OBSOLETE["data"])
"""Names of Determined's earlier example: warned of rather than refused."""
OURS = {**Hyperparameters.model_fields, **DataSettings.model_fields}
RUN_NER = """
    model_name_or_path config_name tokenizer_name cache_dir model_revision token use_auth_token trust_remote_code
    ignore_mismatched_sizes task_name dataset_name dataset_config_name train_file validation_file test_file
    text_column_name label_column_name overwrite_cache preprocessing_num_workers max_seq_length pad_to_max_length
    max_train_samples max_eval_samples max_predict_samples label_all_tokens return_entity_level_metrics
""".split()
"""Fields of its ModelArguments and DataTrainingArguments."""
TRAINING_ARGUMENTS = [field.name for field in dataclasses.fields(transformers.TrainingArguments)]


def said_of_key(name: str, section: str) -> str:
    sections = {"hyperparameters": HPARAMS, "data": DATA}
    sections[section] = {**sections[section], name: "x"}
    with pytest.raises(UserError) as refused:
        parse_settings(sections["hyperparameters"], sections["data"])
    (error,) = refused.value.errors or (refused.value,)
    assert error.where == f"{section}.{name}"
    return error.remedy


def said_of_option(name: str, capsys: pytest.CaptureFixture[str], verb: str = "train") -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, f"--{name}", "x"])
    assert ended.value.code == 2
    return capsys.readouterr().err.partition(f"--{name} is no option: ")[2].strip()


@pytest.mark.parametrize("name", [*RUN_NER, *TRAINING_ARGUMENTS])
def test_each_option_of_run_ner_is_a_setting_or_has_a_word_said_of_it(name):
    assert name in OURS or name in COUNTERPARTS


def test_no_name_is_said_two_things_of_or_hides_a_setting():
    assert len(COUNTERPARTS) == sum(map(len, FOREIGN.values()))
    assert not COUNTERPARTS.keys() & OURS.keys()


@pytest.mark.parametrize("value", [name.value for name in OptimizerNames])
def test_each_optimizer_of_transformers_is_one_here_or_has_a_word_said_of_it(value):
    assert (value in get_args(Hyperparameters.model_fields["optim"].annotation)) != (value in OPTIMIZERS)


@pytest.mark.parametrize("name", COUNTERPARTS)
def test_a_counterpart_is_there(name):
    setting, value, note = COUNTERPARTS[name]
    if not setting:
        assert note and not value
    elif setting.startswith("--"):
        assert any(setting in action.option_strings for action in verb("train")._actions)
    else:
        section, _, leaf = setting.partition(".")
        known = {"hyperparameters": Hyperparameters.model_fields, "data": DataSettings.model_fields}.get(section)
        known = known or SECTIONS.get(section)
        assert setting in SECTIONS[""] if not leaf else section in SECTIONS[""] and (not known or leaf in known)


def verb(name: str):
    (verbs,) = (action for action in cli.make_parser()._actions if action.choices)
    return verbs.choices[name]


@pytest.mark.parametrize("section", ["hyperparameters", "data"])
def test_each_foreign_key_is_refused_with_its_counterpart(section):
    for name, counterpart in COUNTERPARTS.items():
        if not any(name in earlier for earlier in EARLIER):
            assert said_of_key(name, section) == str(counterpart), name


def test_each_foreign_key_outside_of_the_sections_is_refused_with_its_counterpart(tmp_path):
    config = tmp_path / "flat.json"  # as run_ner.py takes its arguments
    names = [name for name in COUNTERPARTS if name not in SECTIONS[""]]
    config.write_text("{" + ", ".join(f'"{name}": 1' for name in names) + "}", encoding="utf-8")
    with pytest.raises(UserError) as refused:
        read_config(config, [])
    said = {error.problem.partition(":")[0]: error.remedy for error in refused.value.errors}
    assert said == {name: str(COUNTERPARTS[name]) for name in names}


@pytest.mark.parametrize("verb", ["train", "check"])
def test_each_foreign_option_is_refused_with_its_counterpart(verb, capsys):
    for name, counterpart in COUNTERPARTS.items():
        if not any(option.startswith(f"--{name}") for option in ("--config", "--output-dir", "--resume")):
            assert said_of_option(name, capsys, verb) == counterpart.on_command_line(), name


@pytest.mark.parametrize(
    ("section", "name", "remedy"),
    [
        ("data", "dev_file", "write data.validation_file"),
        ("data", "labels_file", "leave it out: labels are counted in the training data"),
        ("hyperparameters", "seed", "write reproducibility.experiment_seed"),
        ("hyperparameters", "fp16", "write hyperparameters.precision: fp16"),
        ("hyperparameters", "gradient_accumulation_steps", "write optimizations.aggregation_frequency"),
        ("hyperparameters", "eval_steps", "write min_validation_period.batches (once an epoch unless it is set)"),
        ("hyperparameters", "classifier_learning_rate", "write hyperparameters.head_learning_rate"),
        ("hyperparameters", "max_seq_length", "did you mean data.max_seq_length?"),
        ("data", "learning_rate", "did you mean hyperparameters.learning_rate?"),
        ("hyperparameters", "experiment_seed", "did you mean reproducibility.experiment_seed?"),
        ("hyperparameters", "Learning-Rate", "did you mean learning_rate?"),
        ("hyperparameters", "learnig_rate", "did you mean learning_rate?"),  # no name of anybody's: the nearest
        ("data", "learnig_rate", "did you mean hyperparameters.learning_rate?"),
    ],
)
def test_a_key_is_refused_with_the_setting_that_does_it(section, name, remedy):
    assert said_of_key(name, section) == remedy


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("do_train", "leave it out: the verb says what is done: determined-ner train, predict or report"),
        ("train_file", "write --config data.train_file=…"),
        ("data.train_file", "write --config data.train_file=…"),
        ("learning_rate", "write --config hyperparameters.learning_rate=…"),
        ("bf16", "write --config hyperparameters.precision=bf16"),
        ("output_dir", "write --output-dir"),
        ("outputdir", "did you mean --output-dir?"),
        ("learnigrate", "did you mean --config hyperparameters.learning_rate=…?"),
        ("nonsense", "see --help"),
    ],
)
def test_an_option_is_refused_with_the_one_that_does_it(option, said, capsys):
    assert said_of_option(option, capsys) == said


def test_the_value_of_a_token_is_not_shown():
    with pytest.raises(UserError) as refused:
        parse_settings({**HPARAMS, "hub_token": "hunter2"}, {**DATA, "use_auth_token": "hunter2"})
    assert "hub_token" in str(refused.value) and "hunter2" not in str(refused.value)
    with pytest.raises(UserError, match="use_auth_token: '…' is not offered; set HF_TOKEN"):
        parse_settings({**HPARAMS, "use_auth_token": "hunter2"}, DATA)


@pytest.mark.parametrize(
    ("metric", "meant"),
    [
        ("overall_f1", "f1"),
        ("eval_f1", "f1"),
        ("eval_overall_f1", "f1"),
        ("eval_loss", "loss"),
        ("overall_precision", "precision"),
        ("val_recall", "recall"),
        ("Overall Accuracy", "accuracy"),
        ("F1", "f1"),
        ("micro avg f1-score", "f1"),
        *METRIC_NAMES.items(),
    ],
)
def test_a_metric_of_another_trainer_is_refused_with_its_name_here_whatever_its_direction(metric, meant):
    assert meant in METRICS
    for direction in ({}, {"smaller_is_better": True}, {"smaller_is_better": False}):
        if metric.startswith("f1_"):
            continue  # may be of a type
        with pytest.raises(UserError) as refused:
            parse_loop({"searcher": {"metric": metric, **direction}}, parse_settings(HPARAMS, DATA))
        assert (refused.value.where, refused.value.remedy) == ("searcher.metric", f"write {meant}")


@pytest.mark.parametrize("task", ["POS", "pos", "Ner", "chunk"])
def test_a_task_is_known_in_any_case(task):
    assert parse_settings({**HPARAMS, "finetuning_task": task}, DATA).hparams.finetuning_task == task.lower()


def test_an_unknown_task_is_refused_with_the_list():
    with pytest.raises(UserError, match=r"finetuning_task: 'foo' is wrong: .*'ner', 'pos' or 'chunk'"):
        parse_settings({**HPARAMS, "finetuning_task": "foo"}, DATA)
    with pytest.raises(
        UserError, match=r"data\.task_name: 'pos' is not offered; write hyperparameters.finetuning_task"
    ):
        parse_settings(HPARAMS, {**DATA, "task_name": "pos"})


def test_the_page_on_migrating_has_a_table_of_each_trainer():
    page = (ROOT / "docs" / "how-to" / "migrating.md").read_text(encoding="utf-8")
    for trainer in FOREIGN:
        assert f"```{{counterparts}} {trainer}\n```" in page


# -- The table of what computes, on the page on migrating ----------------------------------------------------------

WHAT_COMPUTES = """
    torch_compile torch_compile_backend torch_compile_mode torchdynamo fp16 bf16 half_precision_backend fp16_backend
    fp16_opt_level fp16_full_eval bf16_full_eval tf32 inference_with_ort jit_mode_eval use_ipex optim adafactor
    optim_args optim_target_modules learning_rate weight_decay adam_beta1 adam_beta2 adam_epsilon max_grad_norm
    lr_scheduler_type
    lr_scheduler_kwargs warmup_ratio warmup_steps group_by_length per_device_train_batch_size per_device_eval_batch_size
    gradient_accumulation_steps eval_accumulation_steps auto_find_batch_size gradient_checkpointing
    gradient_checkpointing_kwargs deepspeed fsdp fsdp_config sharded_ddp use_liger_kernel torch_empty_cache_steps
    no_cuda use_cpu use_mps_device local_rank ddp_backend ddp_timeout ddp_find_unused_parameters ddp_bucket_cap_mb
    ddp_broadcast_buffers use_module_with_loss save_onnx onnx_prefix onnx_log_level
""".split()
"""Options of run_ner.py and ORTTrainer that concern backend, precision, inference, optimizer."""


def rows_of_what_computes() -> dict[str, list[str]]:
    """Right-hand sides by option."""
    page = (ROOT / "docs" / "how-to" / "migrating.md").read_text(encoding="utf-8")
    section = page.partition("### Backend, precision, inference, optimizer")[2].partition("```")[0]
    rows: dict[str, list[str]] = {}
    for left, right in re.findall(r"^\| (.*?) \| (.*) \|$", section, re.MULTILINE):
        for option in re.findall(r"`--(\w+)", left):
            rows.setdefault(option, []).append(right)
    return rows


def test_the_table_of_what_computes_is_complete_and_says_what_the_refusals_say():
    rows = rows_of_what_computes()
    assert rows.keys() == set(WHAT_COMPUTES)
    for option, rights in rows.items():
        for right in rights:
            if option in OURS:
                assert f"`{option}" in right, option
            elif (meant := COUNTERPARTS[option]).setting:
                leaf = meant.setting if meant.setting in right else meant.setting.rpartition(".")[2]
                assert f"`{leaf}" in right and (not meant.value or f"{leaf}: {meant.value}`" in right), option
            else:
                assert right.startswith("none"), option
