"""An int8 file that loses little: the fastest of those that round every layer, or leave alone as few as have to be.

Rounding hurts layers differently: in many encoders the first feed-forward layers hold numbers a hundred times as large
as the others, and lose most (Bondarenko et al. 2021, "Understanding and Overcoming the Challenges of Efficient
Transformer Quantization"). So each layer is rounded by itself, and those that change the tags' probabilities most stay
in float32, as few as will do.
"""

from __future__ import annotations

import logging
import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from determined_ner.errors import UserError
from determined_ner.export.parity import Check, Comparison, Tolerances, onnx_logits
from determined_ner.export.speed import relative_speeds
from determined_ner.machine import flags
from determined_ner.model.onnx_export import copy_onnx, quantizable_layers, quantize_onnx

logger = logging.getLogger("determined_ner")

Quantize = Callable[[Path, Path, Sequence[str], bool], None]
"""As `quantize_onnx`: source, target, layers, whether weights have 7 bits."""


@dataclass(frozen=True)
class Attempt:
    """An int8 file that was tried."""

    graph: str
    """Which float32 graph it was made of: ``fused`` or ``plain``."""
    left_alone: tuple[str, ...]
    """Layers that stay in float32."""
    megabytes: float
    speed: float
    """Beside the fastest float32 file."""
    result: Comparison

    def describe(self) -> str:
        """In a line of the log."""
        which = f"all layers but {', '.join(self.left_alone)}" if self.left_alone else "all layers"
        return (
            f"int8, {self.graph} graph, {which}: {self.megabytes:.1f} MB, {self.speed:.2f} × float32, "
            f"{self.result.points_lost:+.2f} points of {self.result.metric} lost, "
            f"{self.result.changed:,} of {self.result.words:,} tags differ"
        )


def quantize_within(
    target: Path,
    graphs: dict[str, Path],
    fastest: str,
    check: Check,
    tolerances: Tolerances,
    quantize: Quantize = quantize_onnx,
) -> tuple[Comparison, list[Attempt]]:
    """Write an int8 file that loses little enough.

    Args:
        target: the file to write.
        graphs: float32 ONNX files of the model, by their names.
        fastest: the name of the one that speeds are told beside.

    Returns:
        the file beside the trained model; all that was tried, the one that was taken last.

    Raises:
        UserError: none does with half of the layers rounded or more.
    """
    tried: list[Attempt] = []
    errors: list[UserError] = []
    reduced, reference = overflows(), onnx_logits(graphs[fastest])

    def attempt(name: str, layers: Sequence[str], left_alone: Sequence[str]) -> Attempt | None:
        try:
            return compare(name, layers, left_alone)
        except UserError as error:  # onnxruntime cannot round this graph, or not run it then
            errors.append(error)
            logger.warning(f"int8, {name} graph: {error.problem}")
            return None

    def compare(name: str, layers: Sequence[str], left_alone: Sequence[str]) -> Attempt:
        file = target.with_name(f"{name}-{target.name}")
        quantize(graphs[name], file, layers, reduced)
        runs = {"float32": reference, "int8": onnx_logits(file)}
        result = check.compare(runs["int8"], target.name)  # first: it says so where a graph cannot be run
        speed = relative_speeds(runs, check.sample)["int8"]
        size = sum(part.stat().st_size for part in file.parent.glob(f"{file.name}*")) / 1e6
        tried.append(Attempt(name, tuple(left_alone), size, speed, result))
        logger.info(tried[-1].describe())
        return tried[-1]

    def take(chosen: Attempt) -> tuple[Comparison, list[Attempt]]:
        copy_onnx(target.with_name(f"{chosen.graph}-{target.name}"), target)
        for name in graphs:
            for part in target.parent.glob(f"{name}-{target.name}*"):
                part.unlink()
        return chosen.result, [*(one for one in tried if one is not chosen), chosen]

    for name, graph in graphs.items():
        attempt(name, quantizable_layers(graph), ())
    if not tried:
        raise errors[0]
    fitting = [one for one in tried if tolerances.loses_little(one.result)]
    for whole in sorted(tried, key=lambda one: -one.speed):
        fastest_so_far = max((one.speed for one in fitting), default=0.0)
        if fastest_so_far >= whole.speed:
            break  # with layers in float32 its graph is no faster
        every = quantizable_layers(graphs[whole.graph])
        layers = by_damage(graphs[whole.graph], check, quantize, reduced)
        for count in growing(len(layers) // 2):
            found = attempt(whole.graph, [layer for layer in every if layer not in layers[:count]], layers[:count])
            if found is None:
                continue
            if fits := tolerances.loses_little(found.result):
                fitting.append(found)
            if fits or found.speed <= fastest_so_far:
                break
    if fitting:
        return take(max(fitting, key=lambda one: one.speed))
    least = min(tried, key=lambda one: one.result.points_lost)
    raise UserError(
        target.name,
        f"no int8 model passes: the best loses {least.result.points_lost:.2f} points of {least.result.metric} on "
        f"{', '.join(check.files)}, where {tolerances.points} may be lost and all logits are numbers; up to "
        f"{len(tried[-1].left_alone)} of {len(layers)} layers were left in float32",
        "export without --quantize",
    )


def by_damage(graph: Path, check: Check, quantize: Quantize, reduced: bool) -> list[str]:
    """Layers of a float32 graph, by how much rounding each alone changes the tags' probabilities, most first.

    One that cannot be rounded, or gives no numbers then, changes them most.
    """
    damage: dict[str, float] = {}
    file = graph.with_name(f"one-layer-{graph.name}")
    for layer in tqdm(quantizable_layers(graph), desc="int8: each layer by itself", disable=None, leave=False):
        try:
            quantize(graph, file, [layer], reduced)
            found = check.divergence(onnx_logits(file), file.name)
        except UserError as error:
            logger.warning(f"int8, layer {layer} by itself: {error.problem}")
            found = math.inf
        damage[layer] = math.inf if math.isnan(found) else found
    for part in file.parent.glob(f"{file.name}*"):
        part.unlink()
    return sorted(damage, key=lambda layer: -damage[layer])


def growing(most: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, … up to a number, and that."""
    counts, count = [], 1
    while count < most:
        counts.append(count)
        count = max(count + 1, 2 * counts[-2]) if len(counts) > 1 else 2
    return [*counts, most] if most else []


def overflows() -> bool:
    """Whether this processor adds pairs of 8-bit products in 16 bits: one of x86 that is not known to have VNNI."""
    return platform.machine().lower() in ("x86_64", "amd64") and not flags() & {"avx512_vnni", "avx_vnni"}
