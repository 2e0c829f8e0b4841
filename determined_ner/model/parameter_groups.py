"""The parts of a model, found by its structure: what of it is frozen, and how fast each of the others learns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from determined_ner.errors import HyperparameterError
from determined_ner.hub import Pretrained
from determined_ner.model.build import skeleton
from determined_ner.model.crf import LEARNING_RATE, crf_of

if TYPE_CHECKING:  # who only tags needs no pydantic
    from determined_ner.settings.hyperparameters import Hyperparameters


@dataclass(frozen=True)
class Parts:
    """All parameters of a model, each in one part, in the order in which the model names them."""

    embeddings: list[nn.Parameter]
    """What stands before the layers, and embeddings that stand behind them (DeBERTa's of relative positions)."""
    layers: list[list[nn.Parameter]]
    """Of the encoder, the lowest first."""
    top: list[nn.Parameter]
    """What else the encoder has: a last norm, a pooler."""
    head: list[nn.Parameter]
    """All that is not the encoder's."""
    transitions: list[nn.Parameter]
    """A CRF's."""

    @classmethod
    def of(cls, model: nn.Module) -> Parts:
        """The parts of a model of Transformers; one without an encoder in it is encoder as a whole."""
        encoder: nn.Module = getattr(model, "base_model", model)
        layers = find_layers(encoder)
        crf = crf_of(model)
        parts = cls([], [[] for _ in layers], [], [], [] if crf is None else list(crf.parameters()))
        layer_of: dict[int, int] = {}
        for i, modules in enumerate(layers):
            for parameter in (p for module in modules for p in module.parameters()):
                layer_of.setdefault(id(parameter), i)
        embedded = {id(p) for m in encoder.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
        below = bool(layers)
        for parameter in encoder.parameters():
            if (layer := layer_of.get(id(parameter))) is not None:
                parts.layers[layer].append(parameter)
                below = False
            elif below or id(parameter) in embedded:
                parts.embeddings.append(parameter)
            else:
                parts.top.append(parameter)
        elsewhere = {id(p) for p in (*encoder.parameters(), *parts.transitions)}
        parts.head.extend(p for p in model.parameters() if id(p) not in elsewhere)
        return parts

    def rates(self, hparams: Hyperparameters) -> Iterator[tuple[float, list[nn.Parameter]]]:
        """The peak learning rate of each part, from the top of the encoder down to its embeddings; then
        the head, last a CRF.

        Of Clark et al., "ELECTRA", and Sun et al., "How to Fine-Tune BERT for Text Classification?": with L layers the
        rate of layer l (from 1) is the rate times decay ** (L - l), that of the embeddings decay ** L.
        """
        rate, decay = hparams.learning_rate, hparams.layerwise_lr_decay
        yield rate, self.top
        for depth, layer in enumerate(reversed(self.layers)):
            yield rate * decay**depth, layer
        yield rate * decay ** len(self.layers), self.embeddings
        yield hparams.head_learning_rate or rate, self.head
        yield hparams.crf_learning_rate or LEARNING_RATE, self.transitions

    def frozen(self, hparams: Hyperparameters) -> Iterator[nn.Parameter]:
        """The parameters that are not trained."""
        if hparams.freeze is None:
            return
        yield from self.embeddings
        if hparams.freeze != "embeddings":
            for layer in self.layers if hparams.freeze == "encoder" else self.layers[: hparams.freeze]:
                yield from layer
        if hparams.freeze == "encoder":
            yield from self.top


def find_layers(encoder: nn.Module) -> list[tuple[nn.Module, ...]]:
    """The layers of an encoder, the lowest first: the longest list of modules that is in no other list.

    Lists of embeddings (MarkupLM's, one for each depth of a page) are none.

    Where a module has several lists of that length beside each other (XLM's of attentions, norms and so on), a layer
    is an item of each. A list of lists (Funnel's blocks) is one.
    """
    lists = list(_outermost_lists(encoder))
    if not lists:
        return []
    holder, longest = max(lists, key=lambda found: len(found[1]))
    return list(
        zip(*(found for module, found in lists if module is holder and len(found) == len(longest)), strict=True)
    )


def _outermost_lists(module: nn.Module) -> Iterator[tuple[nn.Module, list[nn.Module]]]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            found = list(_flat(child))
            if not any(isinstance(item, nn.Embedding) for item in found):
                yield module, found
        else:
            yield from _outermost_lists(child)


def _flat(items: nn.ModuleList) -> Iterator[nn.Module]:
    for item in items:
        if isinstance(item, nn.ModuleList):
            yield from _flat(item)
        else:
            yield item


def check_parts(config: Any, source: Pretrained, hparams: Hyperparameters) -> None:
    """Check that the encoder of a config has the parts that the settings speak of.

    Args:
        source: of the config.

    Raises:
        HyperparameterError: it has not.
    """
    decays = hparams.layerwise_lr_decay < 1
    if not decays and hparams.freeze in (None, "encoder"):
        return
    name = "layerwise_lr_decay" if decays else "freeze"
    encoder = skeleton(config, source)
    layers = len(find_layers(encoder))
    if not layers:
        raise HyperparameterError(
            f"hyperparameters.{name}",
            f"{getattr(hparams, name)!r} is of layers, and a {type(encoder).__name__} has no list of them",
            f"leave {name} out",
        )
    if isinstance(hparams.freeze, int) and hparams.freeze > layers:
        raise HyperparameterError(
            "hyperparameters.freeze",
            f"{hparams.freeze} is more than the {layers} layers of this encoder",
            f"write at most {layers}, or encoder",
        )


def freeze(model: nn.Module, hparams: Hyperparameters) -> None:
    """Take from gradient, exchange between slots and optimizer what is not to be trained. Its dropout stays.

    Raises:
        HyperparameterError: the model has no encoder apart from its head.
    """
    needs_head = [
        name
        for name, asked in (("freeze", hparams.freeze == "encoder"), ("head_learning_rate", hparams.head_learning_rate))
        if asked
    ]
    parts = Parts.of(model)
    if needs_head and not (parts.head and (parts.top or parts.layers)):
        raise HyperparameterError(
            f"hyperparameters.{needs_head[0]}",
            f"{type(model).__name__} has no part that is its encoder ({getattr(model, 'base_model_prefix', '')!r})",
            f"leave {needs_head[0]} out",
        )
    for parameter in parts.frozen(hparams):
        parameter.requires_grad_(False)


def group_by_rate(model: nn.Module, hparams: Hyperparameters) -> list[tuple[float, list[tuple[str, nn.Parameter]]]]:
    """The parameters that train, with their names, by learning rate: first that of the encoder's top, last the head's.

    Parts of one rate are one group, in the model's own order.
    """
    by_rate: dict[float, list[tuple[str, nn.Parameter]]] = {}
    rate_of = {}
    for rate, parameters in Parts.of(model).rates(hparams):
        trained = [p for p in parameters if p.requires_grad]
        rate_of.update({id(p): rate for p in trained})
        if trained:
            by_rate.setdefault(rate, [])
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            by_rate[rate_of[id(parameter)]].append((name, parameter))
    return list(by_rate.items())


def describe_groups(model: nn.Module, hparams: Hyperparameters) -> str | None:
    """Which parts train at which rates, and which are frozen; None: all train at one rate."""
    parts = Parts.of(model)
    layers = len(parts.layers)
    names = ["top of the encoder", *range(layers, 0, -1), "embeddings", "head", "transitions"]
    trained: dict[float, list[str | int]] = {}
    frozen: list[str | int] = []
    for name, (rate, parameters) in zip(names, parts.rates(hparams), strict=True):
        if any(p.requires_grad for p in parameters):
            trained.setdefault(rate, []).append(name)
        elif parameters:
            frozen.append(name)
    if not frozen and len(trained) == 1:
        return None
    sizes = [sum(p.numel() for p in model.parameters() if p.requires_grad or whole) / 1e6 for whole in (False, True)]
    rates = ", ".join(f"{_in_words(named)} {rate:.3g}" for rate, named in trained.items())
    return (
        f"learning rates: {rates}; {f'frozen: {_in_words(frozen)}; ' if frozen else ''}"
        f"{sizes[0]:.1f} of {sizes[1]:.1f} M parameters train"
    )


def _in_words(names: list[str | int]) -> str:
    """Parts by their names, layers by their numbers, which come in a row and fall."""
    numbers = [name for name in names if isinstance(name, int)]
    words: list[str | int] = []
    for name in names:
        if not isinstance(name, int):
            words.append(name)
        elif name == numbers[0]:
            several = f"layers {numbers[0]} to {numbers[-1]}"
            words.append(several if len(numbers) > 1 else f"layer {name}")
    return " and ".join(map(str, words))
