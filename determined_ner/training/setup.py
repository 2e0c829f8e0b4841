"""A training: everything that it needs, built from settings, and what a loop calls step by step.

No loop is here: Determined's drives it on a cluster, our own (`determined_ner.local.loop`) off it, and whatever calls
the same methods in the same order trains the same bits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from determined_ner.data.batches import EvaluationBatches, TrainingBatches
from determined_ner.data.collate import BatchDataset
from determined_ner.data.corpus import Corpus, load_corpus
from determined_ner.data.encode import join_splits
from determined_ner.data.padding import Padding
from determined_ner.data.pretrained_tokenizer import load_tokenizer
from determined_ner.data.remote import fetch_files, named_by_url
from determined_ner.data.sources import check_files
from determined_ner.data.split import Split
from determined_ner.data.windows import window_size
from determined_ner.errors import UserError
from determined_ner.files.atomic import write_json
from determined_ner.hub import Pretrained
from determined_ner.masks import without_secrets
from determined_ner.model.build import build_model, load_config, longest_window
from determined_ner.model.conditions import check_architecture, check_conditions
from determined_ner.model.cpu.embedding import train_only_rows
from determined_ner.model.crf import Crf, add_crf, check_crf, check_crf_data
from determined_ner.model.directory import SETTINGS_FILE
from determined_ner.model.distillation import build_loss
from determined_ner.model.engine import Engine, LoopContext
from determined_ner.model.flat import Flat, find_flat
from determined_ner.model.gradient_checkpointing import check_supported
from determined_ner.model.head import labels_to_keep
from determined_ner.model.lora import add_adapters, check_lora
from determined_ner.model.optimizer import build_schedule
from determined_ner.model.parameter_groups import check_parts, freeze
from determined_ner.model.precision import length_multiple
from determined_ner.model.probe import check_behaviour
from determined_ner.settings.data import DataSettings
from determined_ner.settings.loop import LEGACY_METRICS, Duration, LoopSettings
from determined_ner.settings.parsing import Settings
from determined_ner.tags.schemes import Scheme
from determined_ner.training.metrics import EvaluationMetrics, KeptLogits
from determined_ner.training.slots import Slots, check_batch_size
from determined_ner.training.stopping import Stopping, check_patience
from determined_ner.training.teacher import Teachers

logger = logging.getLogger("determined_ner")
T = TypeVar("T")

DEFAULT_CACHE = Path("~/.cache/determined_ner")
"""Where tokenized data is kept unless ``data.cache_dir`` says otherwise; a local run keeps it in its folder."""


class Training:
    """All that a training needs, the same on every slot.

    Attributes:
        seed: of everything random.
        slots: the processes that train, this one among them.
        accumulation_steps: micro-batches of an optimizer step on each slot.
        data: the settings of the data, with local copies in the place of remote files.
        tokenizer: how text becomes pieces.
        model_limit: pieces that the model takes at most, special ones included.
        max_seq_length: pieces of a window at most, special ones included.
        corpus: labels and splits.
        labels: what the model predicts.
        model: of Transformers, in fp32; `engine` wraps it.
        parameters: numbers in it.
        flat: how the model is trained without padding; None: on padded batches.
        padding: to which lengths training pads.
        crf: on the model's logits, and a part of it; None: there is none.
        loss: what is trained on, unless it is the CRF's.
        teachers: of a student; None: there are none.
        distilled: whether anything is learnt of them.
        taught: (N, K) log-probabilities that they give to the words of train; from `ask_teachers` on.
        train: what is trained on: of a student that has it, unlabelled text besides.
        train_batches: the batch plan, epoch after epoch.
        epoch_batches: calls of `train_step` of an epoch, on each slot.
        optimizer_steps: of the whole training.
        stopping: what may end it before.
        engine: does the steps; from `begin` on.
        schedule: of the learning rate, to be stepped by the loop after each optimizer step; from `begin` on.
    """

    engine: Engine
    schedule: Any
    taught: NDArray[np.float16]

    def __init__(
        self,
        settings: Settings,
        loop: LoopSettings,
        device: torch.device,
        slots: Slots,
        accumulation_steps: int,
        seed: int,
        cache_dir: Path | None = None,
    ) -> None:
        """Check, read, tokenize, load; nothing is computed yet.

        Args:
            device: what is computed on.
            slots: the processes that train.
            accumulation_steps: micro-batches of an optimizer step on each slot.
            seed: of everything random.
            cache_dir: where tokenized data is kept unless ``data.cache_dir`` says otherwise.

        Raises:
            HyperparameterError: a hyperparameter point that cannot work; a search goes on with its other points.
            UserError: anything else that the user can fix.
        """
        hparams = settings.hparams
        self.stopping = Stopping(hparams, loop)
        if loop.length.unit == loop.validation_period.unit:  # else it takes the data to tell
            check_patience(hparams.early_stopping_patience, loop.length.value, loop.validation_period.value)
        self.settings, self.loop, self.seed = settings, loop, seed
        self.device, self.slots, self.accumulation_steps = device, slots, accumulation_steps
        self._cache_dir = Path(settings.data.cache_dir or cache_dir or DEFAULT_CACHE).expanduser()
        check_batch_size(hparams.global_batch_size, slots.size)
        check_conditions(hparams, device, slots.size, accumulation_steps)
        check_crf(hparams, settings.data)

        check_files(settings.data)  # a mistyped path is reported before a hub is asked for anything
        self.data = self._one_slot_first(self._fetch_files)
        self.teachers = Teachers(hparams) if hparams.teacher else None
        own = self.teachers if hparams.student_layers else None  # of whose layers the student is made
        source = own.source if own else Pretrained.of_setting(hparams, "config_name")
        config = own.student_config() if own else load_config(source)
        check_architecture(hparams, config.model_type, device)
        check_parts(config, source, hparams)
        check_supported(config, source, hparams)
        if hparams.peft:
            check_lora(config, source, hparams.peft.model_dump())
        of_teacher = own is not None and hparams.tokenizer_name is None
        tokenizer_source = source if of_teacher else Pretrained.of_setting(hparams, "tokenizer_name")
        self.tokenizer = load_tokenizer(tokenizer_source)
        self.tokenizer.check_rows(getattr(config, "vocab_size", None), tokenizer_source)
        self.model_limit = longest_window(config, source, self.tokenizer.stated_limit(tokenizer_source))
        self.max_seq_length = window_size(settings.data.max_seq_length, self.model_limit)
        if self.teachers:
            self.teachers.check(self.tokenizer, self.max_seq_length)
        self._labels_before = labels_to_keep(config, hparams)
        self.corpus = self._one_slot_first(self._load_corpus)
        self.labels = self.corpus.labels
        self.train = self._one_slot_first(self._join_unlabelled)
        self.crf: Crf | None = None
        self._check_searcher_metric()
        check_crf_data(hparams, self.labels.scheme)

        if self.teachers:
            self.teachers.check_labels(self.labels.names)
        names = self.labels.names
        self.model = own.build_student(config, names) if own else build_model(config, hparams, names, seed)
        check_behaviour(self.model, self.tokenizer, self.max_seq_length, source)
        self.flat = self._find_flat()
        self.grouped = self.flat is None if hparams.group_by_length is None else hparams.group_by_length
        self.parameters = sum(p.numel() for p in self.model.parameters())
        freeze(self.model, hparams)
        if hparams.peft:
            add_adapters(self.model, hparams.peft.model_dump(), seed)
        self.crf = add_crf(self.model, hparams, self.labels.names, SETTINGS_FILE)
        if hparams.weight_decay == 0:  # which would move rows without a gradient, too
            train_only_rows(self.model, self._training_pieces())
        self.padding = Padding(
            multiple=length_multiple(hparams, device),
            least=self.max_seq_length if settings.data.pad_to_max_length else 0,
            most=self.max_seq_length,
        )
        self.train_batches = TrainingBatches(
            self.train,
            self.tokenizer.specials,
            hparams.global_batch_size,
            slots.size * accumulation_steps,
            seed,
            self.grouped,
            padded=self.flat is None,
        )
        self.epoch_batches = len(self.train_batches) // slots.size
        learns = hparams.distillation_weight != 0 or self.corpus.unlabelled is not None
        self.distilled = self.teachers is not None and learns
        self.loss = build_loss(hparams, self.labels, self.train, device, self.distilled)
        batches = self.in_batches(loop.length)
        check_patience(hparams.early_stopping_patience, batches, self.in_batches(loop.validation_period))
        self.optimizer_steps = batches // accumulation_steps

    # -- Building --------------------------------------------------------------------------------------------------

    def _fetch_files(self, first: bool) -> DataSettings:
        return fetch_files(self.settings.data, self._cache_dir, ask=first)

    def _load_corpus(self, first: bool) -> Corpus:
        task = self.settings.hparams.finetuning_task
        overwrite = self.data.overwrite_cache and first
        with named_by_url(self.settings.data, self.data):
            how = (self.data, task, self.tokenizer, self.max_seq_length, self._cache_dir, overwrite)
            return load_corpus(*how, self._labels_before, self.teachers.labels if self.teachers else ())

    def _one_slot_first(self, action: Callable[[bool], T]) -> T:
        """Run ``action(True)`` on one slot of each machine, then ``action(False)`` on the others: the cache is there.

        An error of one slot is raised on all: none waits for another that has ended.
        """
        result, error = None, None
        for turn in (True, False):
            if (self.slots.local_rank == 0) == turn:
                try:
                    result = action(turn)
                except UserError as mistake:
                    error = mistake
            for other in self.slots.allgather(error):
                if other is not None:
                    raise other
        assert result is not None
        return result

    def _find_flat(self) -> Flat | None:
        """How to train without padding, where that costs anything, and all that computes the model can do without."""
        hparams, data = self.settings.hparams, self.settings.data
        padded = bool(hparams.group_by_length) or data.pad_to_max_length
        padded |= hparams.gradient_checkpointing  # which computes attention again after the step's forward pass
        if padded or hparams.backend != "eager" or hparams.use_apex_amp or self.device.type not in ("cpu", "cuda"):
            return None
        few_sizes = length_multiple(hparams, self.device) > 1
        flat = find_flat(self.model, self.tokenizer, self.max_seq_length, self.device, few_sizes)
        return flat if all(self.slots.allgather(flat is not None)) else None  # all slots follow one plan

    def _join_unlabelled(self, first: bool) -> Split:
        train, unlabelled = self.corpus.splits["train"], self.corpus.unlabelled
        if unlabelled is None:
            return train
        return join_splits(train, unlabelled, self._cache_dir, self.data.overwrite_cache and first)

    def _training_pieces(self) -> NDArray[np.int64]:
        """(N,) all that a training batch may hold."""
        specials = [*self.tokenizer.prefix, *self.tokenizer.suffix, self.tokenizer.pad_id]
        padding = getattr(self.model.config, "pad_token_id", None)
        if isinstance(padding, int) and padding >= 0:  # by which Longformer fills up its blocks itself
            specials.append(padding)
        return np.union1d(self.train.different_pieces(), specials)

    def _check_searcher_metric(self) -> None:
        names = self.make_metrics("validation").names()
        if self.loop.metric not in names:
            reason, remedy = "", f"it reports {', '.join(names)}"
            if self.labels.scheme is Scheme.PLAIN:
                said, advice = self.corpus.texts["train"].why_plain()
                reason, remedy = f", whose tags are plain, not entities: {said}", f"{advice}; else {remedy}"
            raise UserError("searcher.metric", f"{self.loop.metric!r} is not reported for this data{reason}", remedy)

    @property
    def transitions(self) -> NDArray[np.float32] | None:
        """(K, K) that a CRF has learnt so far; None: there is none."""
        return None if self.crf is None else self.crf.scores()

    # -- Lengths ---------------------------------------------------------------------------------------------------

    def in_batches(self, duration: Duration) -> int:
        """A duration of the experiment config in calls of `train_step`, up to the end of an optimizer step.

        A checkpoint holds no gradients: one within a step would lose those of its first micro-batches.
        """
        steps = self.accumulation_steps
        batches = duration.batches(self.epoch_batches, self.settings.hparams.global_batch_size, steps)
        return -(-batches // steps) * steps

    # -- The loop calls --------------------------------------------------------------------------------------------

    def begin(self, context: LoopContext) -> None:
        """Make ready to train: the model is wrapped, optimizer and schedule are made.

        Raises:
            HyperparameterError: warm-up longer than the training.
        """
        hparams = self.settings.hparams
        accumulates, loss = self.accumulation_steps > 1, self.crf or self.loss
        self.engine = Engine(context, self.model, hparams, loss=loss, flat=self.flat, accumulates=accumulates)
        self.schedule = build_schedule(self.engine.optimizer, hparams, max(1, self.optimizer_steps))

    def ask_teachers(self) -> None:
        """Find or compute what is learnt of them: the last thing before the first step, for it may take long.

        Raises:
            UserError: their weights are missing or damaged.
        """
        if (teachers := self.teachers) and self.distilled:
            how = (self.train, self.tokenizer, self.labels.names, self.device, self._cache_dir)
            again = self.data.overwrite_cache
            self.taught = self._one_slot_first(lambda first: teachers.log_probabilities(*how, again and first))

    def dataset(self, split: str) -> BatchDataset:
        """A split whose items are whole batches; its indices are those of `train_batches` or `evaluation_batches`."""
        if split != "train":
            return BatchDataset(self.corpus.splits[split], self.tokenizer, self.padding)
        losses, unlabelled = self.corpus.losses, self.corpus.unlabelled
        if losses is not None and unlabelled is not None:
            losses = losses.followed_by(len(unlabelled.windows) - 1)
        teacher = (lambda: self.taught) if self.distilled else None
        packing = self.flat.packing if self.flat else None
        return BatchDataset(self.train, self.tokenizer, self.padding, losses, teacher, packing)

    def evaluation_batches(self, split: str, slots: int) -> EvaluationBatches:
        """All windows of a split once, in batches that do not depend on the number of slots."""
        return EvaluationBatches(self.corpus.splits[split], self.tokenizer.specials, slots)

    def train_step(self, batch: Any, index: int) -> torch.Tensor:
        """One micro-batch; with the last of an optimizer step, the step.

        Dropout is a function of (seed, micro-batch): a resumed run draws the same masks without having to restore a
        generator on each slot, and N slots draw those of N accumulation steps.

        Args:
            batch: of `dataset`, on the device.
            index: calls before this one since the training began.

        Returns:
            () the loss summed over its words, detached.
        """
        seed = _mixed_seed(self.seed, index * self.slots.size + self.slots.rank)
        return self.engine.train_step(batch, seed, ends_step=(index + 1) % self.accumulation_steps == 0)

    def make_metrics(self, split: str, kind: type[EvaluationMetrics] = EvaluationMetrics) -> EvaluationMetrics:
        """Scores of one split, also under the name of earlier examples if the searcher asks for it.

        Args:
            kind: that class, or one made of it.
        """
        metric = self.loop.metric
        aliases = {metric: LEGACY_METRICS[metric]} if metric in LEGACY_METRICS else {}
        per_type = split == "test" or self.settings.hparams.return_entity_level_metrics
        return kind(self.corpus.splits[split], self.labels, aliases, per_type, self.crf)

    def score_batch(self, batch: Any, metrics: EvaluationMetrics) -> None:
        """Take a batch of `evaluation_batches`, on the device, into the scores."""
        if len(batch["windows"]):
            metrics.update(self.engine.logits(batch), batch)

    @torch.no_grad()
    def score(self, split: str) -> dict[str, float]:
        """Scores of a whole split with the weights that the model has; all slots share the work, and get the scores.

        They are the same to the digit on any number of slots that compute the same logits.
        """
        metrics = self.make_metrics(split)
        self._evaluate(split, metrics, self.slots.rank, self.slots.size)
        return metrics.cross_slot_reduce(self.slots.allgather(metrics.per_slot_reduce()))

    @torch.no_grad()
    def word_logits(self, split: str) -> Any:
        """(N, K) float32 logits of the words of a whole split, by this process alone."""
        metrics = self.make_metrics(split, KeptLogits)
        assert isinstance(metrics, KeptLogits)
        self._evaluate(split, metrics, 0, 1)
        return metrics.logits()

    def _evaluate(self, split: str, metrics: EvaluationMetrics, rank: int, slots: int) -> None:
        self.model.eval()
        self.engine.begin_evaluation()
        dataset = self.dataset(split)
        for (chosen,) in list(self.evaluation_batches(split, slots))[rank::slots]:
            self.score_batch({name: tensor.to(self.device) for name, tensor in dataset[chosen].items()}, metrics)

    # -- What is said and kept -------------------------------------------------------------------------------------

    @property
    def data_fingerprints(self) -> dict[str, str]:
        """By split, equal for the same text and tags, read in the same way; and of the teachers' weights."""
        found = {name: split.fingerprint for name, split in self.corpus.splits.items()}
        if self.corpus.unlabelled is not None:
            found["unlabelled"] = self.corpus.unlabelled.fingerprint
        return found | ({"teacher": self.teachers.fingerprint} if self.teachers else {})

    def describe(self) -> dict[str, Any]:
        """What a reader of the weights needs: settings, labels and tag scheme."""
        return {
            "hyperparameters": {
                **without_secrets(self.settings.hparams.model_dump()),
                "group_by_length": self.grouped,
            },
            "data": without_secrets(self.settings.data.model_dump()),
            "labels": list(self.labels.names),
            "scheme": self.labels.scheme.value,
            **({} if self.labels.spelling.standard else {"spelling": self.labels.spelling.as_json()}),
            **({} if self.transitions is None else {"transitions": self.transitions.tolist()}),
            "max_seq_length": self.max_seq_length,
            "word_splitting": self.corpus.word_splitting,
            "seed": self.seed,
            "data_fingerprints": self.data_fingerprints,
        }

    def write_description(self, folder: Path) -> None:
        """Write beside weights what their reader needs: config, label map, tokenizer, settings."""
        self.model.config.save_pretrained(folder)
        self.tokenizer.pretrained.save_pretrained(folder)
        write_json(folder / SETTINGS_FILE, self.describe())

    def describe_end(self, batches: int) -> str:
        """How the run ended before its length, after so many batches."""
        return self.stopping.describe_end(self.describe_done(batches), self.schedule.get_last_lr()[0])

    def describe_done(self, batches: int) -> str:
        """How much of its length has been trained after so many batches, such as ``1.5 of its 3 epochs``."""
        length = self.loop.length
        one = {
            "epochs": self.epoch_batches,
            "records": self.accumulation_steps / self.settings.hparams.global_batch_size,
        }
        done = f"{batches / one.get(length.unit, 1):,.3f}".rstrip("0").rstrip(".")
        return f"{done} of its {length}"


def _mixed_seed(seed: int, index: int) -> int:
    """A seed for each micro-batch."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0])
