"""Trains as ner_trial.py does, and writes down what each slot is given to learn from. Lies in a task's context.

The file that the variable WITNESS names may ask for a death: {"task", "rank", "batch"} during a step,
{"task", "rank", "scored"} during a validation, {"task", "rank", "asked"} where it asks whether to pause,
{"task", "checkpoint"} while writing one, or {"task", "before"} one of STEPS_OF_END. {"task", "line_every"} asks for a
line of progress every so many seconds. Task, batch, scored batch, questions and checkpoint count from 1, rank from 0.
"""

import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import torch
from determined import core
from determined.experimental import client

import ner_trial
from determined_ner import determined_api
from determined_ner.cluster import progress

ASKED = Path(os.environ["WITNESS"])
TASK = int(os.environ["DET_TRIAL_RUN_ID"])
deaths = [asked for asked in json.loads(ASKED.read_text(encoding="utf-8")) if asked["task"] == TASK]
train_batch = ner_trial.NERTrial.train_batch
score = ner_trial.NERTrial.evaluate_batch
should_preempt = core.PreemptContext.should_preempt
save = torch.save
scored = asked_to_pause = saved = 0
progress.INTERVAL = next((asked["line_every"] for asked in deaths if "line_every" in asked), progress.INTERVAL)


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("dead")


def witnessed(self: Any, batch: Any, epoch_idx: int, batch_idx: int) -> Any:
    rank = self.context.distributed.rank
    words = int((batch["labels"] >= 0).sum())
    seen = {"task": TASK, "epoch": epoch_idx, "windows": batch["windows"].tolist(), "words": words}
    with ASKED.with_name(f"seen-{rank}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(seen) + "\n")
    if any(asked.get("rank") == rank and asked.get("batch") == batch_idx + 1 for asked in deaths):
        die()
    return train_batch(self, batch, epoch_idx, batch_idx)


def scoring(self: Any, batch: Any, batch_idx: int) -> Any:
    global scored
    scored += 1
    if any(asked.get("rank") == self.context.distributed.rank and asked.get("scored") == scored for asked in deaths):
        die()
    return score(self, batch, batch_idx)


def asking(self: Any, *arguments: Any) -> bool:
    global asked_to_pause
    asked_to_pause += 1
    rank = self._dist.get_rank()
    if any(asked.get("rank") == rank and asked.get("asked") == asked_to_pause for asked in deaths):
        die()
    return should_preempt(self, *arguments)


def interrupted(state: Any, path: Any, *arguments: Any, **options: Any) -> None:
    global saved
    saved += 1
    if any(asked.get("checkpoint") == saved for asked in deaths):
        whole = io.BytesIO()
        save(state, whole)
        Path(path).write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
        die()
    save(state, path, *arguments, **options)


STEPS_OF_END: dict[str, Any] = {
    "report_metrics": core.TrainContext,
    "add_to_checkpoint": determined_api,
    "register_version": client.Model,
    "set_notes": client.ModelVersion,
    "set_metadata": core.TrainContext,
}
"""What a trial does at its end, and where it is defined."""
for asked in deaths:
    if step := asked.get("before"):
        setattr(STEPS_OF_END[step], step, lambda *_, **__: die())

ner_trial.NERTrial.train_batch, ner_trial.NERTrial.evaluate_batch = witnessed, scoring
core.PreemptContext.should_preempt = asking
torch.save = interrupted

if __name__ == "__main__":
    sys.exit(ner_trial.main())
