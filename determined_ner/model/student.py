"""A student that begins as a part of its teacher: embeddings, head and some of the layers.

Layers are found by the structure of the encoder, and so is the entry of its config that says how many there are.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from determined_ner.errors import HyperparameterError, UserError
from determined_ner.hub import Pretrained
from determined_ner.model.build import set_labels, skeleton, untrained_model
from determined_ner.model.head import take_rows
from determined_ner.model.parameter_groups import find_layers

SETTING = "hyperparameters.student_layers"


def choose_layers(asked: int | Sequence[int], count: int) -> list[int]:
    """The layers of a teacher that a student takes.

    Args:
        asked: how many, evenly spaced from the lowest to the uppermost (of one, the lowest), which for 6 of 12 are
            those of DistilBERT (Sanh et al. 2019); or which, ascending from 1.
        count: layers of the teacher.

    Returns:
        their numbers, ascending from 0.

    Raises:
        HyperparameterError: the teacher has not so many.
    """
    if isinstance(asked, int):
        if asked > count:
            raise HyperparameterError(
                SETTING, f"{asked} is more than the {count} layers of the teacher", f"write at most {count}"
            )
        gaps = max(1, asked - 1)
        return [(2 * i * (count - 1) + gaps) // (2 * gaps) for i in range(asked)]
    if asked[-1] > count:
        problem = f"{list(asked)} names layer {asked[-1]}, and the teacher has {count}"
        raise HyperparameterError(SETTING, problem, f"name layers from 1 to {count}")
    return [number - 1 for number in asked]


def student_config(config: Any, source: Pretrained, asked: int | Sequence[int]) -> tuple[Any, list[int]]:
    """The config of a student of some of a teacher's layers, and which they are, from 0.

    Args:
        config: of the teacher.
        source: of the config.
        asked: as `choose_layers` takes it.

    Raises:
        HyperparameterError: the teacher has not so many layers, or they cannot be chosen.
    """
    teacher = skeleton(config, source)
    count = len(find_layers(teacher))
    if not count:
        problem = f"a {type(teacher).__name__} has no list of layers"
        raise HyperparameterError(SETTING, problem, "leave it out, and name the student's encoder")
    layers = choose_layers(asked, count)
    if len(layers) == count:
        return copy.deepcopy(config), layers
    reason = "no entry of its config.json says how many there are"
    for changed in _with_fewer_layers(config, count, layers):
        try:
            student = skeleton(changed, source)
        except UserError:  # the entry was another one, such as the number of attention heads
            continue
        if len(find_layers(student)) == len(layers):
            if not (unlike := _unlike(student, teacher, layers)):
                return changed, layers
            reason = unlike
    raise HyperparameterError(
        SETTING,
        f"{asked}: layers of a {type(teacher).__name__} cannot be chosen so: {reason}",
        "choose others, or leave it out and name the student's encoder",
    )


def build_student(
    teacher: Any,
    known: tuple[str, ...],
    config: Any,
    layers: Sequence[int],
    labels: tuple[str, ...],
    source: Pretrained,
    attention: dict[str, str],
) -> Any:
    """The model of a student's config with the weights of its teacher.

    Args:
        teacher: its model.
        known: its labels, by id.
        config: of `student_config`; it gets the labels.
        layers: of the teacher, from 0.
        labels: those of the student, the same in any order.
        source: of the config.
        attention: the implementation, as `untrained_model` takes it.
    """
    set_labels(config, known)
    student = untrained_model(config, source, attention)
    _copy_weights(teacher, student, layers)
    if labels == known:
        return student
    of_labels = copy.deepcopy(config)
    set_labels(of_labels, labels)
    ordered = untrained_model(of_labels, source, attention)
    take_rows(student, ordered, known, labels)
    return ordered


def _with_fewer_layers(config: Any, count: int, layers: Sequence[int]) -> Iterator[Any]:
    """The config with each of its entries changed that may say how many layers there are.

    Lists of an item a layer (kinds of attention, sizes of windows) have those of the chosen layers.
    """
    entries = config.to_dict()
    for name, value in entries.items():
        if type(value) is not int or value != count:
            continue
        changed = copy.deepcopy(config)
        for other, items in entries.items():
            if isinstance(items, list) and len(items) == count:
                setattr(changed, other, [items[i] for i in layers])
        setattr(changed, name, len(layers))
        yield changed


def _unlike(student: nn.Module, teacher: nn.Module, layers: Sequence[int]) -> str:
    """Why a student's parts cannot do what the teacher's do; "": they can."""
    sizes = [
        {name: tuple(weights.shape) for name, weights in model.state_dict().items()} for model in (student, teacher)
    ]
    pairs = _pairs(student, teacher, layers)
    for name, size in sizes[0].items():
        if sizes[1].get(theirs := _of_teacher(name, pairs)) != size:
            return f"the student's {name} would be other than the teacher's {theirs}"
    for place, layer in enumerate(layers):
        both = [_how_computed(find_layers(model)[i]) for model, i in ((student, place), (teacher, layer))]
        for (what, own), (known, its) in itertools.zip_longest(*both, fillvalue=("nothing", None)):
            same = what == known and (own == its or (own == place and its == layer))  # a layer may know its number
            if not same:
                return f"as layer {place + 1}, layer {layer + 1} would have {what} {own} in the place of {known} {its}"
    return ""


def _how_computed(layer: Sequence[nn.Module]) -> list[tuple[str, Any]]:
    """What says how a layer computes, beside its weights: its modules in their order, each with its plain values."""
    found: list[tuple[str, Any]] = []
    for module in (module for part in layer for module in part.modules()):
        kind = type(module).__name__
        plain = [(f"{kind}.{name}", x) for name, x in vars(module).items() if isinstance(x, int | float | str | tuple)]
        found += [(kind, ""), *plain]
    return found


def _pairs(student: nn.Module, teacher: nn.Module, layers: Sequence[int]) -> list[tuple[str, str]]:
    """Names of the student's layers, and of the teacher's that they are."""
    names = [{id(module): name for name, module in model.named_modules()} for model in (student, teacher)]
    own, theirs = (find_layers(getattr(model, "base_model", model)) for model in (student, teacher))
    return [
        (names[0][id(a)], names[1][id(b)])
        for place, layer in enumerate(layers)
        for a, b in zip(own[place], theirs[layer], strict=True)
    ]


def _of_teacher(name: str, pairs: Sequence[tuple[str, str]]) -> str:
    """The teacher's name of a student's weights."""
    for own, theirs in pairs:
        if name.startswith(f"{own}."):
            return theirs + name.removeprefix(own)
    return name


def _copy_weights(teacher: nn.Module, student: nn.Module, layers: Sequence[int]) -> None:
    state, pairs = teacher.state_dict(), _pairs(student, teacher, layers)
    with torch.no_grad():
        for name, weights in student.state_dict().items():
            weights.copy_(state[_of_teacher(name, pairs)])
