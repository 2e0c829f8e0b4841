"""What an experiment config asks of the training loop: how long, and how often to do what.

On a cluster the master hands the config over, completed with its defaults; off the cluster the same file is read.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any, Literal

from determined_ner.errors import UserError
from determined_ner.masks import shown
from determined_ner.settings.foreign_names import METRIC_AFFIXES, METRIC_NAMES
from determined_ner.settings.parsing import Settings

Unit = Literal["batches", "records", "epochs"]
DEFAULT_SEED = 42
REPORTING_BATCHES = 100
"""Determined's default scheduling unit: training metrics are reported every so many batches."""
_OBSOLETE = {"records_per_epoch": "an epoch is what the training data holds", "data_layer": "data is read from data:"}
_UNREAD: dict[str, tuple[Any, str]] = {
    "mixed_precision": ("O0", "write hyperparameters.precision: fp16, or use_apex_amp: true and apex_opt_level: O1"),
    "average_aggregated_gradients": (True, "drop it: the gradient of a step is the mean over its micro-batches"),
    "gradient_compression": (False, "drop it"),
}
"""Settings of ``optimizations`` that Determined's PyTorch trials do not read: its default, and what to do."""
METRICS = ("loss", "accuracy", "precision", "recall", "f1", "f1_strict")
"""What a validation reports, besides the F1 of each entity type."""
TYPE_METRIC = "f1_"
"""Beginning of the name of the F1 of an entity type."""
LEGACY_METRICS = {"accuracy_score": "accuracy"}
"""Names under which Determined's earlier example reported what we report otherwise."""


@dataclass(frozen=True)
class Duration:
    """A length of training, or the distance between two events of it."""

    value: int
    unit: Unit

    def __str__(self) -> str:
        return f"{self.value} {self.unit}"

    def batches(self, epoch_batches: int, global_batch_size: int, accumulation_steps: int) -> int:
        """This many in batches as Determined counts them: calls of ``train_batch`` on each slot.

        Args:
            epoch_batches: such batches in an epoch.
            global_batch_size: records of an optimizer step.
            accumulation_steps: batches of an optimizer step (``aggregation_frequency``).
        """
        if self.unit == "epochs":
            return self.value * epoch_batches
        if self.unit == "records":
            return max(1, self.value * accumulation_steps // global_batch_size)
        return self.value


@dataclass(frozen=True)
class LoopSettings:
    """What the experiment config asks of the training loop, and of the folder of a local run."""

    length: Duration
    validation_period: Duration
    checkpoint_period: Duration
    reporting_batches: int | None
    """Batches between two reports of training; None: the loop's own default."""
    checkpoint_policy: str
    """best, all or none."""
    perform_initial_validation: bool
    profiling: bool
    aggregation_frequency: int
    """Accumulation steps of an optimizer step."""
    seed: int
    metric: str
    """What the best model is chosen by."""
    smaller_is_better: bool
    keep_best: int
    """Checkpoints kept for their score."""
    keep_latest: int
    """Checkpoints kept for being the newest."""
    warnings: tuple[str, ...] = ()


def parse_loop(config: dict[str, Any], settings: Settings) -> LoopSettings:
    """Read what steers the loop; without a word in the config: validate and checkpoint once an epoch, keep the best.

    Raises:
        UserError: a length, period or policy that means nothing, with its place.
    """
    warnings = [
        f"{key}: {shown(config[key])} has no meaning here and is ignored: {instead}"
        for key, instead in _OBSOLETE.items()
        if config.get(key) not in (None, 0, {"type": "shared_fs"})  # 0 and this are older masters' own defaults
    ]
    aggregation = _number(config, "optimizations.aggregation_frequency", 1, at_least=1)
    for name, (default, instead) in _UNREAD.items():
        if (given := _value(config, f"optimizations.{name}")) not in (None, default):
            raise UserError(f"optimizations.{name}", f"{shown(given)} would change nothing", instead)
    policy = config.get("checkpoint_policy") or "best"
    if policy not in ("best", "all", "none"):
        raise UserError("checkpoint_policy", f"{shown(policy)} is none of best, all, none")
    metric = _value(config, "searcher.metric") or "f1"
    if not isinstance(metric, str):
        raise UserError("searcher.metric", f"{shown(metric)} is not the name of a metric", "write f1")
    of_type = (TYPE_METRIC, "precision_", "recall_") if settings.hparams.return_entity_level_metrics else TYPE_METRIC
    known = metric in METRICS or metric in LEGACY_METRICS or metric.startswith(of_type)
    if not known:
        meant = _metric_meant(metric) or f"one of {', '.join(METRICS)}, or {TYPE_METRIC}TYPE"
        raise UserError("searcher.metric", f"{shown(metric)} is no metric", f"write {meant}")
    scheduling_unit = _number(config, "scheduling_unit", 0, at_least=0)
    return LoopSettings(
        length=training_length(config, settings, aggregation, warnings),
        validation_period=_period(config, "min_validation_period"),
        checkpoint_period=_period(config, "min_checkpoint_period"),
        reporting_batches=scheduling_unit or None,
        checkpoint_policy=policy,
        perform_initial_validation=bool(_flag(config, "perform_initial_validation")),
        profiling=bool(_flag(config, "profiling.enabled")),
        aggregation_frequency=aggregation,
        seed=experiment_seed(config),
        metric=metric,
        smaller_is_better=_direction(config, metric, warnings),
        keep_best=_number(config, "checkpoint_storage.save_trial_best", 1, at_least=0),
        keep_latest=max(1, _number(config, "checkpoint_storage.save_trial_latest", 1, at_least=0)),
        warnings=tuple(warnings),
    )


def experiment_seed(config: dict[str, Any]) -> int:
    """The seed of everything random.

    Raises:
        UserError: it is no whole number of 32 bits.
    """
    seed = _number(config, "reproducibility.experiment_seed", DEFAULT_SEED, at_least=0)
    if seed >= 1 << 32:
        raise UserError("reproducibility.experiment_seed", f"{seed} is too large", f"write at most {(1 << 32) - 1}")
    return seed


def _metric_meant(name: str) -> str | None:
    """The metric that is called so elsewhere, such as ``eval_overall_f1``; None: there is none."""
    plain = re.sub(r"\W+", "_", name.lower()).strip("_")
    prefix, suffix = (re.compile(f"{begin}({'|'.join(parts)}){end}") for begin, parts, end in METRIC_AFFIXES)
    while True:
        meant = METRIC_NAMES.get(plain, plain)
        if meant in METRICS:
            return meant
        shorter = suffix.sub("", prefix.sub("", plain))
        if shorter == plain:
            close = difflib.get_close_matches(plain, METRICS, n=1)
            return close[0] if close else None
        plain = shorter


def _direction(config: dict[str, Any], metric: str, warnings: list[str]) -> bool:
    """Whether a smaller searcher.metric is better, which Determined takes for granted unless it is set.

    Raises:
        UserError: set the wrong way round: the worst model would be kept.
    """
    right = metric == "loss"
    given = _flag(config, "searcher.smaller_is_better")
    if given is None:
        if not right:
            warnings.append(
                f"searcher.smaller_is_better is not set: a larger {metric} is taken for better here, "
                f"but a cluster takes a smaller one; write smaller_is_better: false"
            )
    elif given != right:
        raise UserError(
            "searcher.smaller_is_better",
            f"{str(given).lower()} keeps the model with the worst {metric}",
            f"write smaller_is_better: {str(right).lower()}",
        )
    return right


def training_length(config: dict[str, Any], settings: Settings, aggregation: int, warnings: list[str]) -> Duration:
    """``searcher.max_time`` or (deprecated) ``searcher.max_length``, else ``max_steps``, else ``num_train_epochs``."""
    searcher = config.get("searcher") or {}
    hparams = settings.hparams
    if hparams.max_steps > 0:
        own, own_name = Duration(hparams.max_steps * aggregation, "batches"), f"max_steps: {hparams.max_steps}"
    else:
        own, own_name = Duration(hparams.num_train_epochs, "epochs"), f"num_train_epochs: {hparams.num_train_epochs}"
    asked: Duration | None = None
    asked_name = ""
    if searcher.get("max_time") is not None:
        unit = searcher.get("time_metric")
        if unit not in ("batches", "epochs"):
            raise UserError(
                "searcher.time_metric", f"{shown(unit)} must be batches or epochs, the units of searcher.max_time"
            )
        asked, asked_name = _duration({unit: searcher["max_time"]}, "searcher.max_time"), "searcher.max_time"
    elif searcher.get("max_length") is not None:
        value = searcher["max_length"]
        if isinstance(value, int) and isinstance(searcher.get("unit"), str):  # the form of Determined before 0.13
            value = {searcher["unit"]: value}
        asked, asked_name = _duration(value, "searcher.max_length"), "searcher.max_length"
    if asked is None:
        return own
    stated = {"max_steps", "num_train_epochs"} & settings.given
    if stated and asked != own:
        warnings.append(
            f"{asked_name} trains {asked}; hyperparameters.{own_name} is overruled by it: drop one of the two"
        )
    return asked


def _period(config: dict[str, Any], name: str) -> Duration:
    """A ``{batches|records|epochs: n}`` of the config; 0, the master's default, means that none was asked for."""
    value = config.get(name)
    if not value or not any((value if isinstance(value, dict) else {"": value}).values()):
        return Duration(1, "epochs")
    return _duration(value, name)


def _duration(value: Any, name: str) -> Duration:
    if isinstance(value, dict) and len(value) == 1:
        unit, count = next(iter(value.items()))
        whole = isinstance(count, int) and not isinstance(count, bool) and count >= 1
        if unit in ("batches", "records", "epochs") and whole:
            return Duration(count, unit)
    raise UserError(name, f"{shown(value)} is no length", f"write e.g. {name}: {{epochs: 3}} (or batches, or records)")


def _number(config: dict[str, Any], dotted: str, default: int, at_least: int) -> int:
    value = _value(config, dotted)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise UserError(dotted, f"{shown(value)} must be a whole number of at least {at_least}")
    return value


def _flag(config: dict[str, Any], dotted: str) -> bool | None:
    value = _value(config, dotted)
    if value is not None and not isinstance(value, bool):
        # YAML 1.2, as Determined reads it, knows no yes and no.
        raise UserError(dotted, f"{shown(value)} is neither true nor false")
    return value


def _value(config: dict[str, Any], dotted: str) -> Any:
    value: Any = config
    for key in dotted.split("."):
        if value is not None and not isinstance(value, dict):
            raise UserError(dotted.rpartition(".")[0], f"{shown(value)} is not a section of KEY: VALUE lines")
        value = (value or {}).get(key)
    return value
