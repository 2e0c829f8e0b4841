"""The ``hyperparameters:`` section: what is trained and how.

Every field carries its unit and default; names are those of Hugging Face's ``run_ner.py`` and of Determined.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from determined_ner.settings.foreign_names import OPTIMIZERS
from determined_ner.settings.sections import Directory, Section


def _directories(value: Any) -> Any:
    """``teacher`` is a directory, or a list of them."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError("write a model directory or a run's folder, or a list of them")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]} stands twice")
    return names


def _layers(value: Any) -> Any:
    """``student_layers`` is how many, or which."""
    numbers = value if isinstance(value, list) else [value]
    whole = all(isinstance(number, int) and not isinstance(number, bool) and number >= 1 for number in numbers)
    if not numbers or not whole or numbers != sorted(set(numbers)):
        raise ValueError("write how many, or which, ascending from 1, the lowest: [1, 3, 6]")
    return value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


SchedulerType = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
]
Task = Annotated[Literal["ner", "pos", "chunk"], pydantic.BeforeValidator(_lower)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Teachers = Annotated[list[Directory], pydantic.BeforeValidator(_directories)]
StudentLayers = Annotated[Positive | list[Positive], pydantic.BeforeValidator(_layers)]


class Lora(Section):
    """Adapters of low rank, by the library PEFT."""

    r: Positive = 8
    """Rank of an adapter."""
    alpha: Annotated[float, Field(gt=0)] = 16.0
    """What an adapter adds is multiplied by alpha / r."""
    dropout: Fraction = 0.0
    """Of the adapters' inputs."""
    target_modules: Annotated[list[str], Field(min_length=1)] | None = None
    """Names, or their last parts, of the matrices that get one (unset: all of the encoder's layers)."""


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
    cache_dir: Directory | None = None
    """Where hub models are kept (default: Hugging Face's own cache)."""
    trust_remote_code: bool = False
    """Run code that a hub model brings along. Off unless you trust its author."""
    ignore_mismatched_sizes: bool = False
    """Replace the head of a model that tags already by a new one (false: it goes on, with new rows for new labels)."""
    drop_unused_labels: bool = False
    """Of the head of a model that tags already, leave out the labels that the data lacks (false: they are refused)."""
    finetuning_task: Task = "ner"
    """Which column of labels is looked for first: ``pos`` finds ``pos_tags``. Another: data.label_column_name."""

    global_batch_size: Positive = 8
    """Windows (sentences, unless longer than one) per optimizer step, over all slots and accumulation steps."""
    num_train_epochs: Positive = 3
    """Length of the training in epochs, unless max_steps or the searcher gives one."""
    max_steps: int = -1
    """Length of the training in optimizer steps; -1: use num_train_epochs."""
    early_stopping_patience: Positive | None = None
    """End the run after so many validations in a row without a gain in searcher.metric (not set: it trains to its
    end)."""
    early_stopping_threshold: Annotated[float, Field(ge=0)] = 0.0
    """What is a gain: more than this above the best validation before."""
    time_limit: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """End the run, with the model so far, after so many seconds of training, earlier tasks and resumes included; the
    last validation and the end come on top."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    """Peak learning rate of AdamW."""
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate of the head, of all that is not the encoder (unset: learning_rate)."""
    layerwise_lr_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Each layer of the encoder learns at this many times the rate of the one above it, the embeddings at this many
    times that of the lowest; the uppermost at learning_rate."""
    freeze: Literal["embeddings", "encoder"] | Positive | None = None
    """What is not trained: ``embeddings``; these and the lowest so many layers; or ``encoder``, all but the head."""
    head: Literal["linear", "crf"] = "linear"
    """What chooses a word's label: its own scores alone, or a linear-chain CRF on them, which learns what follows
    what."""
    crf_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate of the transitions of ``head: crf`` (not set: 0.01); they are not decayed."""
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None = None
    """By how much a word counts in the loss of training: ``{PER: 2, O: 0.5}`` by type or label, 1 for the others, or
    ``balanced`` by the inverse of its label's share; scaled to a mean of 1 over the training words."""
    label_smoothing: Fraction = 0.0
    """Share of a word's probability that the loss of training spreads over all labels."""
    teacher: Teachers | None = None
    """Model directory or run's folder of a trained tagger, whose probabilities are learnt beside the labels
    (distillation); of several in a list, the mean of their probabilities."""
    student_layers: StudentLayers | None = None
    """Begin with the teacher's embeddings and head and so many of its layers, evenly spaced, or these: [1, 3, 6], from
    1, the lowest (unset: with pretrained_model_name_or_path, of the same tokenizer)."""
    distillation_weight: Annotated[float, Field(ge=0, le=1)] | None = None
    """How much the teacher counts in the loss of a labelled word, and the label the rest (not set: 0.5)."""
    distillation_temperature: Annotated[float, Field(gt=0)] | None = None
    """What the logits of teacher and student are divided by where they are compared (not set: 2)."""
    peft: Lora | None = None
    """Train adapters (LoRA) in the encoder's layers in place of its weights, and the whole head: ``r``, ``alpha``,
    ``dropout``, ``target_modules``."""
    optim: Literal["adamw_torch", "adamw_ort_fused"] = "adamw_torch"
    """What computes AdamW: PyTorch, or the fused kernel of ONNX Runtime training (with ``backend: ort``, on a GPU)."""
    adam_beta1: Fraction = 0.9
    """AdamW's decay of the mean of the gradients."""
    adam_beta2: Fraction = 0.999
    """AdamW's decay of the mean of their squares."""
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """What AdamW adds to the root of that mean before it divides by it."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled decay of all weights but biases and layer norms."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients are clipped to this Euclidean norm; 0: not clipped."""
    lr_scheduler_type: SchedulerType = "linear"
    """How the learning rate changes after the warm-up; ``linear`` falls to 0 at the end of the training."""
    num_warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps of linear warm-up; takes precedence over warmup_ratio."""
    warmup_ratio: Fraction = 0.0
    """Share of all optimizer steps that warm up."""
    group_by_length: bool | None = None
    """Batches of sentences of like length, in shuffled order, every word weighing the same (true), or random batches
    (false). Unset: random where these are trained without padding (by PyTorch as it is, where the model allows it)."""
    backend: Literal["eager", "compile", "ort"] = "eager"
    """What computes the model in training: PyTorch as it is, torch.compile, or ONNX Runtime (ORTModule)."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """bf16, fp16: matrix products under autocast, weights and optimizer in fp32; fp16 with a gradient scaler."""
    gradient_checkpointing: bool = False
    """Compute each layer a second time in place of keeping its activations: less memory, the same weights, and a longer
    step."""
    use_apex_amp: bool = False
    """Mixed precision by NVIDIA Apex, where the image has it, in place of precision."""
    apex_opt_level: Literal["O0", "O1", "O2", "O3"] = "O1"
    """How much Apex casts: O0 nothing, O1 by operation, O2 the model but not its master weights, O3 everything."""
    evaluate_with_ort: bool = False
    """Validate on the exported ONNX graph, with ONNX Runtime."""
    return_entity_level_metrics: bool = False
    """Report precision, recall and support of each entity type in validation too, beside its F1; of the test data they
    always are."""

    @pydantic.field_validator("optim", mode="before")
    @classmethod
    def _known_optimizer(cls, value: Any) -> Any:
        if isinstance(value, str) and value in OPTIMIZERS:
            raise ValueError(OPTIMIZERS[value])
        return value

    @pydantic.field_validator("freeze", mode="before")
    @classmethod
    def _known_part(cls, value: Any) -> Any:
        if value not in ("embeddings", "encoder") and not (isinstance(value, int) and value >= 1):
            raise ValueError("write embeddings, encoder, or how many of the lowest layers, from 1")
        return value

    @pydantic.field_validator("max_steps")
    @classmethod
    def _some_steps(cls, value: int) -> int:
        if value < 1 and value != -1:
            raise ValueError("give at least 1 step, or -1 to train num_train_epochs")
        return value

    @pydantic.model_validator(mode="after")
    def _layers_to_train(self) -> Hyperparameters:
        if self.freeze == "encoder" and self.layerwise_lr_decay < 1:
            raise ValueError(
                f"freeze: encoder leaves no layer to train, and layerwise_lr_decay: {self.layerwise_lr_decay} is of "
                f"layers; drop one"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _threshold_of_a_patience(self) -> Hyperparameters:
        if self.early_stopping_threshold and self.early_stopping_patience is None:
            raise ValueError(
                f"early_stopping_threshold: {self.early_stopping_threshold:g} says what is a gain, and nothing waits "
                f"for one; write early_stopping_patience too, or drop it"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _rate_of_a_crf(self) -> Hyperparameters:
        if self.crf_learning_rate is not None and self.head != "crf":
            raise ValueError(
                f"crf_learning_rate: {self.crf_learning_rate:g} is of a CRF, and head is {self.head}; write head: crf, "
                f"or drop it"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _settings_of_a_teacher(self) -> Hyperparameters:
        for name in ("student_layers", "distillation_weight", "distillation_temperature"):
            if self.teacher is None and (value := getattr(self, name)) is not None:
                raise ValueError(f"{name}: {value} has no meaning without a teacher; write teacher: DIR, or drop it")
        for name, other, given in (
            ("config_name", self.config_name, self.config_name is not None),
            ("use_pretrained_weights", "false", not self.use_pretrained_weights),
            ("ignore_mismatched_sizes", "true", self.ignore_mismatched_sizes),
        ):
            if self.student_layers is not None and given:
                raise ValueError(
                    f"student_layers: {self.student_layers} are the teacher's own, with its embeddings and its head, "
                    f"and {name}: {other} asks for others; drop one"
                )
        return self

    @pydantic.model_validator(mode="after")
    def _kernel_of_the_backend(self) -> Hyperparameters:
        if self.optim == "adamw_ort_fused" and self.backend != "ort":
            raise ValueError(
                f"optim: adamw_ort_fused is part of ONNX Runtime training, and backend is {self.backend}; write "
                f"optim: adamw_torch, or backend: ort"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _layers_of_pytorch(self) -> Hyperparameters:
        asked = [n for n, on in (("gradient_checkpointing", self.gradient_checkpointing), ("peft", self.peft)) if on]
        if asked and (self.backend != "eager" or self.use_apex_amp):
            other = "use_apex_amp: true" if self.use_apex_amp else f"backend: {self.backend}"
            raise ValueError(
                f"{asked[0]} needs layers that PyTorch computes, and {other} computes them by other means; drop one"
            )
        if self.peft and self.evaluate_with_ort:
            raise ValueError(
                "peft has adapters in the model, and evaluate_with_ort writes none to its ONNX file; drop one of them"
            )
        if self.peft and self.freeze:
            raise ValueError(
                f"peft freezes the encoder and trains adapters in its layers, where freeze: {self.freeze} leaves "
                f"nothing to choose; drop one"
            )
        return self

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
