"""What we are measured against: ``transformers.Trainer``, set up as ``run_ner.py`` sets it up, on the same windows.

    python3 benchmarks/peer.py SPEC.json        (called by bench.py; prints one JSON object)

Tokenizing is ours (it gives what ``run_ner.py`` gives where no sentence is longer than a window), and neither
checkpoints nor logs are written: what differs is training.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from measuring import Measured, Profile, load, report
from trainer_flags import GROUPED

from determined_ner.data.split import IGNORED, Split


def rows(split: Split, prefix: Any, suffix: Any) -> list[dict[str, list[int]]]:
    result = []
    for begin, end in zip(split.windows[:-1].tolist(), split.windows[1:].tolist(), strict=True):
        ids = [*prefix, *split.ids[begin:end].tolist(), *suffix]
        labels = [IGNORED] * len(prefix) + split.labels[begin:end].tolist() + [IGNORED] * len(suffix)
        result.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels})
    return result


class Clock(transformers.TrainerCallback):
    def __init__(self, measured: Measured, profile: Profile | None) -> None:
        self._measured = measured
        self._profile = profile

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._measured.begin()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self._measured.end()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._measured.first_step()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if self._profile:
            self._profile.step()


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    loaded = load(spec)
    tokenizer, labels = loaded.tokenizer, loaded.corpus.labels.names
    train, validation = (
        rows(loaded.corpus.splits[name], tokenizer.prefix, tokenizer.suffix) for name in ("train", "validation")
    )
    measured, profile = Measured(), Profile() if spec["profile"] else None
    measured.padding_of(lambda batch: batch["attention_mask"])
    padder = transformers.DataCollatorForTokenClassification(tokenizer.pretrained)

    def collate(items: Any) -> Any:
        batch = padder(items)
        if measured.running:
            measured.count(batch)
        return batch

    def compute_metrics(predictions: Any) -> dict[str, float]:
        from seqeval.metrics import f1_score

        chosen = np.argmax(predictions.predictions, axis=2)
        kept = [row != IGNORED for row in predictions.label_ids]
        texts = [
            [[labels[i] for i in row[mask]] for row, mask in zip(ids, kept, strict=True)]
            for ids in (predictions.label_ids, chosen)
        ]
        return {"f1": f1_score(*texts)}

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=spec["batch_size"],
            num_train_epochs=spec["epochs"],
            learning_rate=5e-5,
            seed=spec["seed"],
            bf16=spec["bf16"],
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            **(GROUPED if spec.get("grouped") else {}),
        )
        trainer = transformers.Trainer(
            model=loaded.model,
            args=arguments,
            train_dataset=train,
            eval_dataset=validation,
            data_collator=collate,
            compute_metrics=compute_metrics,
            callbacks=[Clock(measured, profile)],
        )
        trainer.train()
        started = time.perf_counter()
        scores = trainer.evaluate()
        measured.evaluated(len(validation), time.perf_counter() - started)
    report(spec, measured, profile, scores["eval_f1"], loaded.weights)


if __name__ == "__main__":
    main()
