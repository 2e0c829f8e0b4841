"""The head of a model that tags already, made that of a training's labels: rows moved, added, left out."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any

import torch

from determined_ner.errors import HyperparameterError
from determined_ner.hub import Pretrained

if TYPE_CHECKING:  # who only tags needs no pydantic
    from determined_ner.settings.hyperparameters import Hyperparameters

logger = logging.getLogger("determined_ner")


def check_labels(
    before: tuple[str, ...], labels: tuple[str, ...], source: Pretrained, drop_unused_labels: bool
) -> None:
    """Check that a trained head can go on with a training's labels, and say what becomes of it.

    Args:
        before: labels of the head, in the order of its rows.
        labels: of the training data.

    Raises:
        HyperparameterError: it has labels that the data lacks, and nobody said that they may go.
    """
    unused = [name for name in before if name not in labels]
    added = [name for name in labels if name not in before]
    if len(unused) == len(before):
        raise HyperparameterError(
            source.where,
            f"has a head for the labels {' '.join(before)}, of which the data has none: {' '.join(labels)}",
            "set ignore_mismatched_sizes: true to replace it by a new one",
        )
    if unused and not drop_unused_labels:
        raise HyperparameterError(
            source.where,
            f"has a head for the labels {' '.join(before)}, of which the data lacks {' '.join(unused)}",
            "set drop_unused_labels: true to leave them out, ignore_mismatched_sizes: true to replace the head, "
            "or add such sentences to the training data",
        )
    if unused:
        logger.info(f"head: goes on without the labels {' '.join(unused)}, which the data lacks")
    if added:
        logger.info(f"head: goes on, with new rows for the labels {' '.join(added)}")
    elif not unused:
        logger.info("head: goes on, its labels in the order of this training")


def labels_of(config: Any) -> tuple[str, ...]:
    """The labels that a config has, in the order of the head's rows."""
    return tuple(str(name) for _, name in sorted((config.id2label or {}).items()))


def labels_to_keep(config: Any, hparams: Hyperparameters) -> tuple[str, ...]:
    """The labels that a model which tags already may go on with; () where it is to get a new head."""
    if not hparams.use_pretrained_weights or hparams.ignore_mismatched_sizes or hparams.drop_unused_labels:
        return ()
    return labels_of(config)


def take_rows(trained: Any, new: Any, before: tuple[str, ...], labels: tuple[str, ...]) -> None:
    """Give a new model the weights of a trained one; where there is a row a label, those of its labels.

    Args:
        trained: its labels are ``before``.
        new: its labels are ``labels``; rows of those that ``trained`` lacks stay as they are.
    """
    by_label = _dimensions_by_label(trained)
    state, target = trained.state_dict(), new.state_dict()
    kept = [(i, before.index(name)) for i, name in enumerate(labels) if name in before]
    rows, rows_before = (torch.tensor(indices) for indices in zip(*kept, strict=True))
    with torch.no_grad():
        for name, weights in target.items():
            if name in by_label:
                weights.index_copy_(by_label[name], rows, state[name].index_select(by_label[name], rows_before))
            else:
                weights.copy_(state[name])


def _dimensions_by_label(model: Any) -> dict[str, int]:
    """The weights of a model that have a row a label, with that dimension: those that one label more makes larger."""
    shapes = []
    for more in (0, 1):
        config = copy.deepcopy(model.config)
        config.num_labels = model.config.num_labels + more
        with torch.device("meta"):
            twin = type(model)._from_config(config)
        shapes.append({name: weights.shape for name, weights in twin.state_dict().items()})
    return {
        name: next(i for i, (one, other) in enumerate(zip(shape, shapes[1][name], strict=True)) if one != other)
        for name, shape in shapes[0].items()
        if shape != shapes[1][name]
    }
