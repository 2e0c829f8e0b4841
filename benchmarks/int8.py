"""What int8 costs and gains: points lost on validation and test text, and speed beside float32, of several runs.

    python3 benchmarks/int8.py RUN=TEST [RUN=TEST …]        TEST is a labelled file

For each run what ``export --quantize`` tries and takes, and beside it static ranges of activations, found on the
validation text, in place of those of each batch. Speed is that of sentences of the validation text, beside the float32
ONNX file that ``export --onnx`` ships; the files take turns.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import onnx
from onnxruntime import quantization

from determined_ner.errors import UserError
from determined_ner.export.command import PLAIN, write_graphs
from determined_ner.export.int8 import quantize_within
from determined_ner.export.parity import Check, Tolerances, onnx_logits
from determined_ner.export.speed import relative_speeds
from determined_ner.model.torch_model import load_model
from determined_ner.training.trained import find_trained


class Batches(quantization.CalibrationDataReader):  # type: ignore[misc]
    """The batches that static ranges are found on."""

    def __init__(self, check: Check) -> None:
        self._rest = iter(check.sample)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._rest, None)
        return batch and {name: batch[name].numpy() for name in ("input_ids", "attention_mask")}


def quantize_statically(source: Path, target: Path, check: Check) -> None:
    """Products of the plain graph; ranges by the least and the largest value."""
    quantization.quantize_static(
        str(source),
        str(target),
        Batches(check),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=["MatMul", "Gather"],
        per_channel=True,
        weight_type=quantization.QuantType.QInt8,
        activation_type=quantization.QuantType.QUInt8,
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )


def measure(run: str, test: str, folder: Path) -> None:
    """Print the rows of one run."""
    trained = find_trained(run, folder)
    model = load_model(trained.directory)
    checks = [Check(trained, model, None), Check(trained, model, test)]
    graphs, _ = write_graphs(folder, trained, model, checks[0], Tolerances())
    static, int8 = folder / "static.onnx", folder / "int8.onnx"
    quantize_statically(graphs[PLAIN], static, checks[0])
    files = {"static ranges, plain": static}
    try:
        _, tried = quantize_within(int8, graphs, PLAIN, checks[0], Tolerances())
        taken = tried[-1]
        files = {f"taken: {taken.graph}, in float32: {', '.join(taken.left_alone) or 'none'}": int8, **files}
    except UserError as error:
        print(f"| {trained.name} | {error.problem} | | | |")
    runs = {name: onnx_logits(file) for name, file in {**graphs, **files}.items()}
    speeds = relative_speeds(runs, checks[0].sample)
    fastest = max(speeds[name] for name in graphs)
    for name in files:
        lost = [check.compare(runs[name], name).points_lost for check in checks]
        cells = [trained.name, name, *(f"{points:+.2f}" for points in lost), f"{speeds[name] / fastest:.2f} ×"]
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN=TEST")
    arguments = parser.parse_args()
    print(
        "| run | int8 | points lost on validation | on test | speed beside float32 |\n| --- | --- | --- | --- | --- |"
    )
    for item in arguments.runs:
        run, _, test = item.partition("=")
        with tempfile.TemporaryDirectory() as folder:
            measure(run, test, Path(folder))
    print(machine.line())


if __name__ == "__main__":
    main()
