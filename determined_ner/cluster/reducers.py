"""The metrics as Determined gathers them from all slots."""

from __future__ import annotations

from determined import pytorch

from determined_ner.training.metrics import EvaluationMetrics, TrainingMetrics


class TrainingReducer(TrainingMetrics, pytorch.MetricReducer):
    """Gathered once a reporting period: a metric that ``train_batch`` returns costs a device synchronization a step."""


class EvaluationReducer(EvaluationMetrics, pytorch.MetricReducer):
    """Gathered once a validation."""
