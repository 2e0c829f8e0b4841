"""Batch inference on a cluster: a tag for every word of files of any size, by a checkpoint of this trial.

    det experiment create configs/batch_inference.yaml . --config hyperparameters.checkpoint=UUID

The text is cut into parts, which depend on the text and the settings alone, not on the slots that share them. A part is
tagged into a file of its own; the last thing that happens is that they become one file, in the order of the text.
Determined's ``torch_batch_process`` deals them out and goes on after a pause; parts that are there are not made again.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import determined as det
import numpy as np
import pyarrow as pa
import pydantic
import torch
from determined.experimental import client
from determined.pytorch import experimental
from numpy.typing import NDArray
from pydantic import Field

import determined_ner.model.engine as ner_backend
import determined_ner.model.build as ner_model
import determined_ner.data.readers.open as ner_readers
from determined_ner.data.batches import BatchDataset, Padding, only_item, shared_out
from determined_ner.files.cache import FORMAT, cached, hash_of, hash_of_file
from determined_ner.training.trained import STATE_FILE, is_uuid, load_weights
from determined_ner.cluster.workarounds import UNWRITABLE
from determined_ner.data.corpus import cached_text
from determined_ner.data.encode import Labels, Split, cached_split
from determined_ner.errors import UserError, first_line, read_json
from determined_ner.settings.hyperparameters import DataSettings, Hyperparameters, Section, explain
from determined_ner.data.remote import fetch, is_remote
from determined_ner.data.sources import Numbered, Source
from determined_ner.data.tokenizer import WordTokenizer, load_tokenizer
from ner_trial import SETTINGS_FILE, NERTrial
from determined_ner.tags.entities import Scheme, from_iob2

logger = logging.getLogger("ner")

PARTS_PER_CHECKPOINT = 5
"""Parts that a slot makes between two checkpoints of the progress, at which alone a pause can happen."""


class InferenceHyperparameters(Section):
    """``hyperparameters:`` of a batch inference."""

    checkpoint: str
    """UUID of a checkpoint of this trial, or the path of one."""
    pieces_per_part: Annotated[int, Field(ge=1)] = 1 << 16
    """Pieces (tokens of the encoder) that are tagged into one file; documents and sentences are kept whole."""


class InferenceData(Section):
    """``data:`` of a batch inference."""

    input_file: str
    """Text as for training, tags not needed: a path, a pattern or a URL."""
    output_file: str
    """JSON Lines: ``tokens`` and ``tags`` of each sentence, in the order of the input. On several nodes it has to be in
    a directory that all of them see."""
    text_column_name: str | None = None
    """Column of the words, by name or (CoNLL) number; default: found."""
    document_column_name: str | None = None
    """Column that tells which document a sentence belongs to; default: found."""
    context: Literal["sentence", "document"] | None = None
    """What a window may see around a sentence; default: as in training."""
    cache_dir: str | None = None
    """Where the checkpoint and tokenized text are kept (default: ``~/.cache/determined_ner``)."""


@dataclass(frozen=True)
class Trained:
    """What a checkpoint holds."""

    model: torch.nn.Module
    hparams: Hyperparameters
    data: DataSettings
    tokenizer: WordTokenizer
    labels: Labels
    """Names of the labels, and the scheme that tags are given in: that of the training files."""
    max_seq_length: int


@dataclass(frozen=True)
class Job:
    """P parts of one text."""

    trained: Trained
    text: Path
    split: Split
    borders: NDArray[np.int64]
    """(P + 1,) first window of each part."""
    output: Path
    parts: Path
    """Directory of the parts, named by all that they depend on."""

    def __len__(self) -> int:
        return len(self.borders) - 1

    def part(self, number: int) -> Path:
        return self.parts / f"{number:08d}.jsonl"

    def make_part(self, number: int, device: torch.device) -> None:
        """Tag a part, unless it is there; it gets its name when it is whole."""
        target = self.part(number)
        if target.exists():
            return
        windows = np.arange(self.borders[number], self.borders[number + 1])
        begin, end = int(self.split.words[windows[0]]), int(self.split.words[windows[-1] + 1])
        tags = self._tags(windows, begin, end, device)
        first, last = np.searchsorted(self.split.sentences, [begin, end])
        partial = target.with_suffix(".partial")
        with partial.open("w", encoding="utf-8") as file:
            for words in self._words(int(first), int(last)):
                mine, tags = tags[: len(words)], tags[len(words) :]
                line = {"tokens": words, "tags": from_iob2(mine, self.trained.labels.scheme)}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        assert not tags
        partial.replace(target)

    @torch.inference_mode()
    def _tags(self, windows: NDArray[np.int64], begin: int, end: int, device: torch.device) -> list[str]:
        """Of the words from ``begin`` to ``end``, which are those that these windows own."""
        trained = self.trained
        padding = Padding(ner_backend.length_multiple(trained.hparams, device), most=trained.max_seq_length)
        dataset = BatchDataset(self.split, trained.tokenizer, padding)
        ids = np.full(end - begin, -1, np.int64)
        for micro_batch in shared_out(windows, self.split.lengths(trained.tokenizer.specials)[windows]):
            batch = {name: tensor.to(device) for name, tensor in dataset[micro_batch].items()}
            with ner_backend.autocast(trained.hparams, device):
                logits = trained.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            chosen = logits[batch["first"]].float().argmax(-1).cpu().numpy()
            owned = [np.arange(*self.split.words[window : window + 2]) for window in micro_batch.windows]
            ids[np.concatenate(owned) - begin] = chosen
        assert (ids >= 0).all(), "a word without a tag"
        return [trained.labels.names[i] for i in ids.tolist()]

    def _words(self, first: int, last: int) -> Iterator[list[str]]:
        """Sentences ``first`` to ``last`` of the text."""
        with pa.memory_map(str(self.text)) as source:
            reader = pa.ipc.open_file(source)
            at = 0
            for i in range(reader.num_record_batches):
                batch = reader.get_batch(i)
                if at + len(batch) > first and at < last:
                    inside = batch.slice(max(0, first - at), min(last, at + len(batch)) - max(first, at))
                    yield from inside.column("words").to_pylist()
                at += len(batch)

    def finish(self) -> None:
        """Make the parts one file.

        Raises:
            UserError: some are missing.
        """
        missing = [i for i in range(len(self)) if not self.part(i).exists()]
        if missing and self.output.exists() and not self.parts.exists():
            return  # it was done, and the task ended before it could say so
        if missing:
            raise UserError(
                f"data.output_file: {self.output}: {len(missing)} of {len(self)} parts are not in {self.parts}; "
                f"all nodes have to see that directory: put it on a shared file system (bind_mounts)"
            )
        partial = self.output.with_name(f".{self.output.name}.partial")
        with partial.open("wb") as whole:
            for i in range(len(self)):
                with self.part(i).open("rb") as part:
                    shutil.copyfileobj(part, whole)
        partial.replace(self.output)
        shutil.rmtree(self.parts)
        logger.info(f"{self.output}: {len(self.split.sentences) - 1:,} sentences, {len(self.split.tags):,} words")


def find_checkpoint(named: str, cache: Path) -> Path:
    """The directory of a checkpoint; one that is named by its UUID is downloaded, once on each node.

    Raises:
        UserError: there is none, or it is not of this trial.
    """
    folder = Path(named).expanduser()
    if is_uuid(named):

        def download(partial: Path) -> None:
            try:
                client.get_checkpoint(named).download(str(partial))
            except Exception as error:  # of the master, of five kinds of storage
                raise UserError(
                    f"hyperparameters.checkpoint: {named} cannot be downloaded: {first_line(error)}; "
                    f"check it with det checkpoint describe {named}"
                ) from error

        folder = cached(cache, f"checkpoint-{named}", download)
    missing = [name for name in (STATE_FILE, SETTINGS_FILE, "config.json") if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"hyperparameters.checkpoint: {named!r} is no checkpoint of this trial, it has no {missing[0]}; "
            f"write the UUID of one, or its path"
        )
    return folder


def load_checkpoint(folder: Path) -> Trained:
    """Rebuild the model of a checkpoint, on the CPU, without its training data or its encoder's files."""
    saved = read_json(folder / SETTINGS_FILE, "the checkpoint")
    assert saved is not None  # it was looked for
    own = {"config_name": str(folder), "tokenizer_name": str(folder), "revision": "main"}
    hparams = Hyperparameters(**{**saved["hyperparameters"], **own})
    labels = Labels(tuple(saved["labels"]), Scheme(saved["scheme"]))
    model = ner_model.build_model(ner_model.load_config(hparams), hparams, labels.names, seed=None)
    load_weights(model, folder)
    data = DataSettings(**saved["data"])
    return Trained(model, hparams, data, load_tokenizer(hparams), labels, saved["max_seq_length"])


def prepare(hparams: InferenceHyperparameters, data: InferenceData) -> Job:
    """Read and tokenize the text, or take it from the cache, and cut it into parts.

    Raises:
        UserError: no such checkpoint or text.
    """
    cache = Path(data.cache_dir).expanduser() if data.cache_dir else NERTrial.cache_dir
    file = data.input_file
    files = [fetch(file, "data.input_file", cache)] if is_remote(file) else ner_readers.find_files(file)
    checkpoint = find_checkpoint(hparams.checkpoint, cache)
    trained = load_checkpoint(checkpoint)
    settings = trained.data.model_copy(update={"context": data.context or trained.data.context})
    source = _source(files, data, trained)
    text = cached_text(source, settings, cache)
    names = trained.labels.names
    scheme = Scheme.PLAIN if trained.labels.scheme is Scheme.PLAIN else Scheme.IOB2  # of what the model predicts
    split = cached_split(
        source, text, Labels(names, scheme), settings, trained.tokenizer, trained.max_seq_length, cache, False
    )
    output = Path(data.output_file).expanduser().absolute()
    key = hash_of([split.fingerprint, hash_of_file(checkpoint / STATE_FILE), hparams.pieces_per_part])
    parts = output.with_name(f".{output.name}.parts-{key[:16]}")
    return Job(trained, text, split, _cut(split, hparams.pieces_per_part), output, parts)


def _source(files: list[Path], data: InferenceData, trained: Trained) -> Source:
    """The sentences of files whose tags, if they have any, are not looked at."""
    how: dict[str, Any] = {
        "text_column": data.text_column_name,
        "document_column": data.document_column_name,
        "need_tags": False,
        "task": trained.hparams.finetuning_task,
    }
    placeholder = "O" if "O" in trained.labels.names else trained.labels.names[0]

    def sentences() -> Iterator[Numbered]:
        document = 0
        for number, file in enumerate(files):
            offset = document
            for sentence in ner_readers.read_file(file, **how):
                document = offset + sentence.document + 1
                tags = [placeholder] * len(sentence.words)
                yield number, replace(sentence, tags=tags, document=offset + sentence.document)

    contents = [[hash_of_file(file), *ner_readers.format_of(file)] for file in files]
    return Source("input", hash_of([FORMAT, contents, how, placeholder]), sentences, tuple(str(file) for file in files))


def _cut(split: Split, pieces_per_part: int) -> NDArray[np.int64]:
    """(P + 1,) windows at which parts begin: about so many pieces each, no sentence in two of them."""
    whole = np.flatnonzero(np.isin(split.words[:-1], split.sentences))  # windows that begin with a sentence
    _, firsts = np.unique(split.windows[whole] // pieces_per_part, return_index=True)
    return np.append(whole[firsts], len(split.windows) - 1)


class _Parts(torch.utils.data.Dataset):
    """The numbers of the parts: what ``torch_batch_process`` deals out."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __len__(self) -> int:
        return len(self._job)

    def __getitem__(self, number: int) -> int:
        return number


def infer(job: Job) -> None:
    """Make all parts, with the slots of this task, and of them the output."""

    class Processor(experimental.TorchBatchProcessor):
        def __init__(self, context: experimental.TorchBatchProcessorContext) -> None:
            self._context = context
            context.prepare_model_for_inference(job.trained.model)

        def process_batch(self, batch: int, batch_idx: int) -> None:
            job.make_part(batch, self._context.device)

        def on_checkpoint_start(self) -> None:
            if self._context.get_distributed_rank() == 0:
                logger.info(f"{sum(1 for _ in job.parts.glob('*.jsonl')):,} of {len(job):,} parts are done")

        def on_finish(self) -> None:
            if self._context.get_distributed_rank() == 0:  # all slots have come to their last checkpoint
                job.finish()

    experimental.torch_batch_process(
        Processor,
        _Parts(job),
        batch_size=1,
        checkpoint_interval=PARTS_PER_CHECKPOINT,
        dataloader_kwargs={"collate_fn": only_item},
    )


def run(info: Any) -> None:
    """
    Raises:
        UserError: settings, checkpoint, text or output that cannot be.
    """
    config = info.trial._config
    problems: list[str] = []
    sections: list[Any] = []
    for title, section, given in (
        ("hyperparameters", InferenceHyperparameters, info.trial.hparams),
        ("data", InferenceData, config.get("data") or {}),
    ):
        try:
            sections.append(section(**{name: value for name, value in given.items() if value is not None}))
        except pydantic.ValidationError as error:
            problems.extend(explain(title, section, detail) for detail in error.errors())
    if problems:
        raise UserError("\n".join(problems))
    hparams, data = sections
    output = Path(data.output_file).expanduser()
    if output.exists() and info.latest_checkpoint is None:
        raise UserError(f"data.output_file: {output} is there already; remove it, or name another")
    job = prepare(hparams, data)
    try:
        job.parts.mkdir(parents=True, exist_ok=True)
        infer(job)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise UserError(
            f"data.output_file: {output} cannot be written: {error.strerror}; make room or rights, or name another"
        ) from error


def main() -> int:
    """
    Returns:
        exit status: 0; 2 after a mistake of the user, told in one message.
    """
    logging.basicConfig(level=logging.INFO, format=det.LOG_FORMAT)
    try:
        info = det.get_cluster_info()
        if info is None or info.task_type != "TRIAL":
            raise UserError("batch inference runs on a cluster: det experiment create configs/batch_inference.yaml .")
        run(info)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
