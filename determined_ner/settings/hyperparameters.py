"""The ``hyperparameters:`` and ``data:`` sections as typed, validated settings.

Every field carries its unit and default; names are those of Hugging Face's ``run_ner.py`` and of Determined.
Nothing is ignored in silence: an unknown key is an error with a suggestion, a key that earlier examples had and
that means nothing any more is named in a warning, and all mistakes of a config are reported together.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from determined_ner.errors import UserError

SchedulerType = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class HyperparameterError(UserError):
    """A point of the hyperparameter space that cannot work; a search goes on with its other points."""


class Section(BaseModel):
    """A section of an experiment config: unknown keys are errors, a null is no value."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        assert info.field_name is not None
        if isinstance(value, bool) and not _takes_bool(cls.model_fields[info.field_name].annotation):
            raise ValueError(f"{str(value).lower()} is not a number or text")
        return value


def _column_name(value: Any) -> Any:
    """A CoNLL column may be given by number, which YAML makes one."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


ColumnName = Annotated[str, pydantic.BeforeValidator(_column_name)]


def _takes_bool(annotation: Any) -> bool:
    return annotation is bool or bool in get_args(annotation)


class Hyperparameters(Section):
    """What is trained and how; any of these may be searched."""

    pretrained_model_name_or_path: str
    """The encoder: a model of the Hugging Face hub or a local directory."""
    use_pretrained_weights: bool = True
    """Start from its weights (false: from a random initialisation of its architecture)."""
    revision: str = "main"
    """Branch, tag or commit of a hub model."""
    config_name: str | None = None
    """Model config to use in place of the encoder's own: hub name or directory."""
    tokenizer_name: str | None = None
    """Tokenizer to use in place of the encoder's own: hub name or directory."""
    cache_dir: str | None = None
    """Where hub models are kept (default: Hugging Face's own cache)."""
    trust_remote_code: bool = False
    """Run code that a hub model brings along. Off unless you trust its author."""
    ignore_mismatched_sizes: bool = False
    """Replace the head of an encoder that was fine-tuned for other labels."""
    finetuning_task: str = "ner"
    """Prefix of the label column looked for first: ``ner`` finds ``ner_tags``, ``pos`` finds ``pos_tags``."""

    global_batch_size: Positive = 8
    """Windows (sentences, unless longer than one) per optimizer step, over all slots and accumulation steps."""
    num_train_epochs: Positive = 3
    """Length of the training in epochs, unless max_steps or the searcher gives one."""
    max_steps: int = -1
    """Length of the training in optimizer steps; -1: use num_train_epochs."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    """Peak learning rate of AdamW."""
    adam_beta1: Fraction = 0.9
    adam_beta2: Fraction = 0.999
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled decay of all weights but biases and layer norms."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients are clipped to this Euclidean norm; 0: not clipped."""
    lr_scheduler_type: SchedulerType = "linear"
    num_warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps of linear warm-up; takes precedence over warmup_ratio."""
    warmup_ratio: Fraction = 0.0
    """Share of all optimizer steps that warm up."""
    group_by_length: bool = True
    """Batches of sentences of like length, in shuffled order, every word weighing the same (false: random batches)."""
    backend: Literal["eager", "compile", "ort"] = "eager"
    """What computes the model in training: PyTorch as it is, torch.compile, or ONNX Runtime (ORTModule)."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """bf16, fp16: matrix products under autocast, weights and optimizer in fp32; fp16 with a gradient scaler."""
    use_apex_amp: bool = False
    """Mixed precision by NVIDIA Apex, where the image has it, in place of precision."""
    apex_opt_level: Literal["O0", "O1", "O2", "O3"] = "O1"
    """How much Apex casts: O0 nothing, O1 by operation, O2 the model but not its master weights, O3 everything."""
    evaluate_with_ort: bool = False
    """Validate on the exported ONNX graph, with ONNX Runtime."""

    @pydantic.field_validator("max_steps")
    @classmethod
    def _some_steps(cls, value: int) -> int:
        if value < 1 and value != -1:
            raise ValueError("give at least 1 step, or -1 to train num_train_epochs")
        return value

    @pydantic.model_validator(mode="after")
    def _one_way_of_mixing(self) -> Hyperparameters:
        if self.use_apex_amp and self.precision != "fp32":
            raise ValueError(
                f"use_apex_amp: true and precision: {self.precision} are two ways of mixed precision; drop one"
            )
        if self.use_apex_amp and self.backend != "eager":
            raise ValueError(
                f"use_apex_amp: true replaces PyTorch's functions, which backend: {self.backend} has computed by "
                f"other means; write precision: fp16 in its place, or backend: eager"
            )
        return self


class DataSettings(Section):
    """Where the text comes from and how it is cut into pieces."""

    dataset_name: str | None = None
    """A hub dataset, or a local directory of one (as written by ``save_to_disk``, or of data files)."""
    dataset_config_name: str | None = None
    dataset_revision: str | None = None
    """Branch, tag or commit of a hub dataset; ``refs/convert/parquet`` for datasets that were scripts."""
    train_file: str | None = None
    """CoNLL columns, CSV, TSV, JSON, JSON Lines or Parquet; a glob takes several files."""
    validation_file: str | None = None
    validation_split_percentage: Annotated[float, Field(gt=0, lt=100)] | None = None
    """Without validation data: per cent of the training documents that are held out, the same ones each time."""
    test_file: str | None = None
    """Scored once with the best model, at the end of a local run."""
    text_column_name: ColumnName | None = None
    """Column of the words, by name or (CoNLL) number; default: found."""
    label_column_name: ColumnName | None = None
    """Column of the tags, by name or (CoNLL) number; default: found."""
    document_column_name: ColumnName | None = None
    """Column that tells which document a sentence belongs to; default: found (-DOCSTART- and # newdoc tell it too)."""
    on_bad_tags: Literal["repair", "error"] = "repair"
    """Tags that their scheme does not allow, such as an I- that continues nothing: read them as seqeval's default mode
    does (it begins an entity) and say how many, or refuse the data."""
    context: Literal["sentence", "document"] = "sentence"
    """What a window may see around a sentence: nothing, or its neighbours in the document, up to max_seq_length."""
    max_seq_length: Annotated[int, Field(ge=4)] | None = None
    """Pieces per window, special ones included; default: what the model takes, at most 512."""
    stride: Annotated[int, Field(ge=0)] | None = None
    """Pieces by which the windows of a longer text overlap; default: a quarter of max_seq_length."""
    label_all_tokens: bool = False
    """Train on all pieces of a word, the later ones labelled I-, not on its first piece alone."""
    pad_to_max_length: bool = False
    """Pad every batch to max_seq_length (for hardware that wants one shape)."""
    max_train_samples: Positive | None = None
    """Use the first sentences only."""
    max_eval_samples: Positive | None = None
    max_predict_samples: Positive | None = None
    preprocessing_num_workers: Positive | None = None
    """Threads that tokenize; default: one a core."""
    cache_dir: str | None = None
    """Where tokenized data is kept (default: the run's folder; on a cluster ``~/.cache/determined_ner``)."""
    overwrite_cache: bool = False
    """Read and tokenize again even if the cache holds the same data."""

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> DataSettings:
        if not self.dataset_name and not self.train_file:
            raise ValueError("give either dataset_name or train_file (and validation_file); got neither")
        if self.train_file and not self.validation_file and not self.validation_split_percentage:
            raise ValueError("train_file needs a validation_file, or validation_split_percentage to hold some out")
        if self.validation_file and self.validation_split_percentage:
            raise ValueError("validation_file and validation_split_percentage exclude each other: drop one")
        if self.dataset_name and (self.validation_file or self.test_file):
            raise ValueError(
                "dataset_name has splits of its own: drop validation_file and test_file, or use train_file"
            )
        return self


@dataclass(frozen=True)
class Settings:
    """Both sections, and the warnings that reading them gave."""

    hparams: Hyperparameters
    data: DataSettings
    given: frozenset[str]
    """Names of the hyperparameters that the config sets itself."""
    warnings: tuple[str, ...] = ()


# Keys of Determined's earlier example (and of its model_hub library) that mean nothing here:
# the values at which leaving them out changes nothing, and what stands in their place.
_OBSOLETE: dict[str, dict[str, tuple[tuple[Any, ...], str]]] = {
    "hyperparameters": {
        "model_mode": (("token-classification",), "this trial does token classification only"),
        "num_labels": ((), "labels are counted in the training data"),
        "num_training_steps": ((), "the length of the training is max_steps or num_train_epochs"),
        "use_auth_token": ((True, False), "set HF_TOKEN in the environment for private models"),
        "use_fast": ((True,), "word boundaries need a fast tokenizer"),
        "adafactor": ((False,), "the optimizer is AdamW"),
        "scale_parameter": ((False,), "the optimizer is AdamW"),
        "relative_step": ((False,), "the optimizer is AdamW"),
        "model_name": ((), "write pretrained_model_name_or_path"),
    },
    "data": {
        "task_name": ((), "write hyperparameters.finetuning_task"),
        "return_entity_level_metrics": ((True, False), "scores per entity type are always reported"),
        "validation_split": ((), "write validation_split_percentage"),
    },
}


def parse_settings(hyperparameters: dict[str, Any] | None, data: dict[str, Any] | None) -> Settings:
    """Check both sections of an experiment config.

    Raises:
        HyperparameterError: some hyperparameter is wrong (and nothing in ``data:`` is).
        UserError: something in ``data:`` is wrong. Both list every mistake found.
    """
    warnings: list[str] = []
    problems: list[str] = []
    hparams_section = _plain_values(hyperparameters or {}, problems)
    data_section = dict(data or {})
    if data_section.get("train_file") and data_section.get("dataset_name"):
        # So that --config data.train_file=… suffices to bring one's own files to a config that names a data set.
        warnings.append(
            f"data.dataset_name: {data_section['dataset_name']!r} is not used, "
            f"data.train_file {data_section['train_file']!r} is"
        )
        data_section |= {"dataset_name": None, "dataset_config_name": None, "dataset_revision": None}
    hparams = _parse_section("hyperparameters", Hyperparameters, hparams_section, problems, warnings)
    hparams_only = len(problems)
    parsed_data = _parse_section("data", DataSettings, data_section, problems, warnings)
    if problems:
        error = HyperparameterError if hparams_only == len(problems) else UserError
        raise error("\n".join(problems))
    assert isinstance(hparams, Hyperparameters) and isinstance(parsed_data, DataSettings)
    return Settings(hparams, parsed_data, frozenset(hparams_section), tuple(warnings))


def _plain_values(section: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Off the cluster hyperparameters arrive as written: ``{type: const, val: x}`` is x, a range has no value yet."""
    plain = {}
    for name, value in section.items():
        if isinstance(value, dict) and "type" in value:
            if value["type"] == "const" and "val" in value:
                plain[name] = value["val"]
            elif value["type"] == "const":
                problems.append(f"hyperparameters.{name}: {value!r} has no val: write its value")
            else:
                problems.append(
                    f"hyperparameters.{name}: {value['type']!r} is a search range, and a local run trains one point: "
                    f"give it a value with --config hyperparameters.{name}=…"
                )
        else:
            plain[name] = value
    return plain


def _parse_section(
    title: str, model: type[Section], section: dict[str, Any], problems: list[str], warnings: list[str]
) -> Section | None:
    # A null means «not set», as Determined's master treats it.
    section = {str(name): value for name, value in section.items() if value is not None}
    for name in list(section):
        if name in _OBSOLETE[title]:
            harmless, instead = _OBSOLETE[title][name]
            value = section.pop(name)
            if not harmless or value in harmless:
                warnings.append(f"{title}.{name}: {value!r} has no meaning here and is ignored: {instead}")
            else:
                problems.append(f"{title}.{name}: {value!r} is not offered: {instead}")
    try:
        return model(**section)
    except pydantic.ValidationError as error:
        problems.extend(explain(title, model, detail) for detail in error.errors())
        return None


def explain(title: str, model: type[Section], detail: Any) -> str:
    """One pydantic error as one line: setting, offending value, what would be right."""
    name = ".".join(str(part) for part in detail["loc"][:1])
    where = f"{title}.{name}" if name else title
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, model.model_fields, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(model.model_fields))}"
        return f"{where}: unknown setting (value {detail['input']!r}); {hint}"
    if detail["type"] == "missing":
        example = "bert-base-cased" if name == "pretrained_model_name_or_path" else "…"
        return f"{where}: is required; write e.g. {name}: {example}"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if not name else f"{where}: {detail['input']!r} is wrong: {message}"
