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
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import determined as det
import numpy as np
import pyarrow as pa
import torch
from determined.pytorch import experimental
from numpy.typing import NDArray
from pydantic import Field

from determined_ner import determined_api
from determined_ner.cluster.launch import start_a_process_for_each_slot
from determined_ner.data.batches import evaluation_batches
from determined_ner.data.collate import BatchDataset, only_item
from determined_ner.data.encode import encode_split
from determined_ner.data.padding import Padding
from determined_ner.data.readers.sentences import Choice
from determined_ner.data.remote import fetch
from determined_ner.data.source import Numbered, Source
from determined_ner.data.sources import Files, find_documents
from determined_ner.data.split import Split
from determined_ner.data.text_store import StoredText, store_text
from determined_ner.errors import UNWRITABLE, UserError, kind_of
from determined_ner.files.atomic import remove_directory, replacing
from determined_ner.files.cache import FORMAT, build_once, hash_file, hash_parts
from determined_ner.model.calls import replaced
from determined_ner.model.checkpoint import STATE_FILE
from determined_ner.model.cpu.products import fast_products
from determined_ner.model.directory import SETTINGS_FILE
from determined_ner.model.precision import autocast, length_multiple
from determined_ner.model.torch_model import load_model
from determined_ner.settings.explaining import check_section
from determined_ner.settings.hyperparameters import Hyperparameters
from determined_ner.settings.sections import Section
from determined_ner.settings.urls import is_remote
from determined_ner.tags.decoding import allowed_transitions, best_tags
from determined_ner.tags.labels import Labels
from determined_ner.tags.schemes import from_iob2
from determined_ner.training.setup import DEFAULT_CACHE
from determined_ner.training.trained import Trained, download_checkpoint, find_trained, is_uuid

logger = logging.getLogger("determined_ner")

PARTS_PER_CHECKPOINT = 5
"""Parts that a slot makes between two checkpoints of the progress, at which alone a pause can happen."""


class InferenceHyperparameters(Section):
    """``hyperparameters:`` of a batch inference."""

    checkpoint: str
    """UUID of a checkpoint of this trial, or the path of one."""
    pieces_per_part: Annotated[int, Field(ge=1)] = 1 << 16
    """Pieces (tokens of the encoder) that are tagged into one file; documents and sentences are kept whole."""
    trust_remote_code: bool = False
    """Run code that the checkpoint brings along. Off unless you trust its author."""


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
    """Column that names the document a sentence belongs to; default: found."""
    context: Literal["sentence", "document"] | None = None
    """What a window may see around a sentence; default: as in training."""
    cache_dir: str | None = None
    """Where the checkpoint and tokenized text are kept (default: ``~/.cache/determined_ner``)."""


@dataclass(frozen=True)
class Job:
    """P parts of one text."""

    trained: Trained
    model: torch.nn.Module
    """Of the trained model's directory, on the CPU."""
    hparams: Hyperparameters
    """Of the training."""
    text: StoredText
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
        """Tag a part, unless it is there; it is written atomically."""
        target = self.part(number)
        if target.exists():
            return
        windows = np.arange(self.borders[number], self.borders[number + 1])
        first, last = np.searchsorted(self.split.sentences, self.split.words[[windows[0], windows[-1] + 1]])
        tags = self._tags(windows, self.split.sentences[first : last + 1], device)
        with replacing(target) as partial, partial.open("w", encoding="utf-8") as file:
            for words in self._words(int(first), int(last)):
                mine, tags = tags[: len(words)], tags[len(words) :]
                line = {"tokens": words, "tags": from_iob2(mine, self.trained.directory.scheme)}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        assert not tags

    @torch.inference_mode()
    def _tags(self, windows: NDArray[np.int64], sentences: NDArray[np.int64], device: torch.device) -> list[str]:
        """Of the words of whole sentences, which are those that these windows own, as validation chooses them.

        Args:
            sentences: (S + 1,) first word of each, and the last one's end.
        """
        directory = self.trained.directory
        padding = Padding(length_multiple(self.hparams, device), most=self.trained.max_seq_length)
        dataset = BatchDataset(self.split, directory.tokenizer, padding)
        begin, end = int(sentences[0]), int(sentences[-1])
        scores = np.zeros((end - begin, len(directory.labels)), np.float32)
        has_scores = np.zeros(end - begin, np.bool_)
        for micro_batch in evaluation_batches(windows, self.split.lengths(directory.tokenizer.specials)[windows]):
            batch = {name: tensor.to(device) for name, tensor in dataset[micro_batch].items()}
            with autocast(self.hparams, device), replaced(fast_products(device)):
                logits = self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            owned = np.concatenate([np.arange(*self.split.words[i : i + 2]) for i in micro_batch.windows]) - begin
            scores[owned] = logits[batch["is_first_piece"]].float().cpu().numpy()
            has_scores[owned] = True
        assert has_scores.all(), "a word without a tag"
        if directory.transitions is None:
            ids = scores.argmax(1)
        else:
            allowed = allowed_transitions(directory.labels, directory.label_scheme)
            ids = best_tags(scores, sentences - begin, allowed, transitions=directory.transitions)
        return [directory.labels[i] for i in ids.tolist()]

    def _words(self, first: int, last: int) -> Iterator[list[str]]:
        """Sentences ``first`` to ``last`` of the text."""
        with pa.memory_map(str(self.text.file)) as source:
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
        if len(missing) == len(self) and self.output.exists():  # it was done, and the task ended before it could say so
            remove_directory(self.parts)
            return
        if missing:
            raise UserError(
                "data.output_file",
                f"{self.output}: {len(missing)} of {len(self)} parts are not in {self.parts}",
                "all nodes have to see that directory: put it on a shared file system (bind_mounts)",
            )
        with replacing(self.output) as partial, partial.open("wb") as whole:
            for i in range(len(self)):
                with self.part(i).open("rb") as part:
                    shutil.copyfileobj(part, whole)
        remove_directory(self.parts)
        logger.info(f"{self.output}: {len(self.split.sentences) - 1:,} sentences, {len(self.split.tags):,} words")


def find_checkpoint(named: str, cache: Path, trust_remote_code: bool = False) -> Trained:
    """A checkpoint; one that is named by its UUID is downloaded, once on each node.

    Args:
        trust_remote_code: run code that it brings along.

    Raises:
        UserError: there is none, or it is not of this trial.
    """
    folder = Path(named).expanduser()
    if is_uuid(named):
        folder = build_once(cache, f"checkpoint-{named}", lambda partial: download_checkpoint(named, partial))
    missing = [name for name in (STATE_FILE, SETTINGS_FILE, "config.json") if not (folder / name).is_file()]
    if missing:
        raise UserError(
            "hyperparameters.checkpoint",
            f"{named!r} is no checkpoint of this trial, it has no {missing[0]}",
            "write the UUID of one, or its path",
        )
    return find_trained(str(folder), cache, trust_remote_code)


def prepare(hparams: InferenceHyperparameters, data: InferenceData) -> Job:
    """Read and tokenize the text, or take it from the cache, and cut it into parts.

    Raises:
        UserError: no such checkpoint or text.
    """
    cache = Path(data.cache_dir or DEFAULT_CACHE).expanduser()
    file = data.input_file
    files = [fetch(file, "data.input_file", cache)] if is_remote(file) else find_documents(file)
    trained = find_checkpoint(hparams.checkpoint, cache, hparams.trust_remote_code)
    directory, settings = trained.directory, trained.settings
    assert settings is not None  # find_checkpoint looked for them
    text_settings = settings.data.model_copy(update={"context": data.context or settings.data.context})
    text = store_text(_source(files, data, trained), text_settings, cache)
    labels = Labels(directory.labels, directory.label_scheme)  # those of what the model predicts
    split = encode_split(text, labels, text_settings, directory.tokenizer, trained.max_seq_length, cache)
    output = Path(data.output_file).expanduser().absolute()
    key = hash_parts([split.fingerprint, hash_file(directory.path / STATE_FILE), hparams.pieces_per_part])
    parts = output.with_name(f".{output.name}.parts-{key[:16]}")
    borders = cut_into_parts(split, hparams.pieces_per_part)
    return Job(trained, load_model(directory), settings.hparams, text, split, borders, output, parts)


def _source(files: list[Path], data: InferenceData, trained: Trained) -> Source:
    """The sentences of files whose tags, if they have any, are not looked at."""
    choice = Choice(
        data.text_column_name,
        document_column=data.document_column_name,
        need_tags=False,
        task=trained.settings.hparams.finetuning_task if trained.settings else "ner",
    )
    labels = trained.directory.labels
    placeholder = "O" if "O" in labels else labels[0]

    read = Files(files, choice)

    def sentences() -> Iterator[Numbered]:
        for number, sentence in read.sentences():
            yield number, replace(sentence, tags=[placeholder] * len(sentence.words))

    key = hash_parts([FORMAT, read.contents, asdict(choice), placeholder])
    return Source("input", key, sentences, tuple(str(file) for file in files))


def cut_into_parts(split: Split, pieces_per_part: int) -> NDArray[np.int64]:
    """(P + 1,) windows at which parts begin: about so many pieces each, no sentence in two of them."""
    whole = np.flatnonzero(np.isin(split.words[:-1], split.sentences))  # windows that begin with a sentence
    _, firsts = np.unique(split.windows[whole] // pieces_per_part, return_index=True)
    return np.append(whole[firsts], len(split.windows) - 1)


class _Parts(torch.utils.data.Dataset[int]):
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
            context.prepare_model_for_inference(job.model)

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


def run() -> None:
    """Tag the files that the experiment of this task names.

    Raises:
        UserError: this is no task of a cluster; and as `tag_files`.
    """
    logging.basicConfig(level=logging.INFO, format=det.LOG_FORMAT)
    info = det.get_cluster_info()
    if info is None or info.task_type != "TRIAL":
        remedy = "submit it: det experiment create configs/batch_inference.yaml ."
        raise UserError("", "batch inference runs on a cluster", remedy)
    start_a_process_for_each_slot(info)
    tag_files(info)


def tag_files(info: det.ClusterInfo) -> None:
    """Tag the files that an experiment names.

    Raises:
        UserError: settings, checkpoint, text or output that cannot be.
    """
    config = determined_api.experiment_config(info)
    problems: list[UserError] = []
    hparams = check_section("hyperparameters", InferenceHyperparameters, info.trial.hparams, problems)
    data = check_section("data", InferenceData, config.get("data") or {}, problems)
    if problems:
        raise UserError.several(problems)
    assert hparams is not None and data is not None
    output = Path(data.output_file).expanduser()
    if output.exists() and info.latest_checkpoint is None:
        raise UserError("data.output_file", f"{output} is there already", "remove it, or name another")
    job = prepare(hparams, data)
    try:
        job.parts.mkdir(parents=True, exist_ok=True)
        infer(job)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise kind_of(error)(
            "data.output_file", f"{output} cannot be written: {error.strerror}", "make room or rights, or name another"
        ) from error
