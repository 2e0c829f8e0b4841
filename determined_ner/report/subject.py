"""What the report is about: a run's folder or a model directory, the labelled text, and what the model says of it."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from determined_ner.data.batches import Padding
from determined_ner.check.cost import evaluation_padding
from determined_ner.data.corpus import cached_text
from determined_ner.data.encode import SETTINGS_FILE, Labels, cached_split, read_text
from determined_ner.errors import UserError, first_line, read_json
from determined_ner.settings.hyperparameters import DataSettings, Settings, parse_settings
from determined_ner.model.directory import ModelDirectory
from determined_ner.report.facts import TaggedText
from determined_ner.data.sources import Source, find_labelled
from determined_ner.tagging.tagger import Tagger, in_buffers
from determined_ner.tags.entities import Scheme, TagTable

_WHAT = "give a run's folder (runs/NAME) or a model directory (runs/NAME/model, or an export of it)"

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Subject:
    """What the user named."""

    path: Path
    directory: ModelDirectory
    run: Path | None
    """The run's folder; None: a model directory stands by itself."""
    summary: dict[str, Any] | None
    """``summary.json`` of the run."""
    settings: Settings | None
    """Of the training, where they lie beside the weights."""
    fingerprint: str | None
    """Of the validation data of the training, where it is known."""

    @property
    def name(self) -> str:
        """Last part of the path that tells models apart."""
        path = self.path.resolve()
        return path.parent.name if path.name == "model" else path.name


def find_subject(source: str) -> Subject:
    """Look at what the user named, but for the weights.

    Raises:
        UserError: it is no run that has ended and no model directory, or it is damaged.
    """
    path = Path(source).expanduser()
    if not path.is_dir():
        raise UserError(f"{source}: {'is a file' if path.exists() else 'no such directory'}; {_WHAT}")
    run = path if (path / "checkpoints").is_dir() or (path / "summary.json").is_file() else None
    if run is not None and not (run / "model").is_dir():
        raise UserError(
            f"{source}: a run without model/, so it has not ended; go on with it: "
            f"ner_trial.py --output-dir {source} --resume"
        )
    directory = ModelDirectory(path / "model" if run is not None else path)
    if directory.label_scheme not in (Scheme.IOB2, Scheme.PLAIN):
        raise UserError(
            f"{directory.path}: its labels are in {directory.label_scheme.value}; the report reads IOB2 and plain ones"
        )
    described = read_json(directory.path / SETTINGS_FILE)
    settings = None
    if described is not None:
        try:
            settings = parse_settings(described["hyperparameters"], described["data"])
        except (LookupError, TypeError) as error:
            raise UserError(
                f"{directory.path / SETTINGS_FILE}: not readable ({first_line(error)}): copy the model directory again"
            ) from None
    return Subject(
        path=path,
        directory=directory,
        run=run,
        summary=None if run is None else read_json(run / "summary.json"),
        settings=settings,
        fingerprint=((described or {}).get("data_fingerprints") or {}).get("validation"),
    )


@dataclass(frozen=True)
class LabelledText:
    """N words in S sentences, with the tags that people gave. All is held in memory."""

    files: tuple[str, ...]
    words: list[list[str]]
    lines: list[tuple[int, int]]
    """(S,) file and line where each sentence begins."""
    gold: NDArray[np.int16]
    """(N,) label ids of the subject's model."""
    sentences: Ints
    """(S + 1,) first word of each sentence, and N."""
    documents: Ints
    """(S,) document of each sentence, non-decreasing."""
    windows: Ints
    """(W,) pieces of each window, special ones included."""
    padding: float
    """Share of padding in the batches that the text is tagged in."""
    repaired: int
    """Tags that the scheme does not allow, read as seqeval reads them."""
    as_trained: bool | None
    """Whether this is the text that the training validated on; None: not known."""

    def place(self, sentence: int) -> str:
        """``file:line``, without the file's folder."""
        file, line = self.lines[sentence]
        return f"{Path(self.files[file]).name}:{line}"


def read_labelled(subject: Subject, data: str | None) -> LabelledText:
    """Read the labelled text.

    Args:
        data: a labelled file; None: the validation data of the training.

    Raises:
        UserError: there is none, or something is wrong with it.
    """
    source, settings = _find_source(subject, data)
    directory = subject.directory
    labels = Labels(directory.labels, directory.scheme)
    with tempfile.TemporaryDirectory() as cache:
        text = cached_text(source, settings, Path(cache))
        split = cached_split(
            source, text, labels, settings, directory.tokenizer, directory.max_seq_length, Path(cache), overwrite=False
        )
        words: list[list[str]] = []
        lines: list[tuple[int, int]] = []
        documents: list[int] = []
        for batch in read_text(text):
            words += batch.column("words").to_pylist()
            lines += zip(batch.column("file").to_pylist(), batch.column("line").to_pylist(), strict=True)
            documents += batch.column("document").to_pylist()
        specials = directory.tokenizer.specials
        return LabelledText(
            files=source.files,
            words=words,
            lines=lines,
            gold=np.array(split.tags),
            sentences=np.array(split.sentences),
            documents=np.array(documents, np.int64),
            windows=np.array(split.lengths(specials)),
            padding=evaluation_padding(split, specials, Padding()),
            repaired=split.counts["repaired_tags"],
            as_trained=None if subject.fingerprint is None else split.fingerprint == subject.fingerprint,
        )


def _find_source(subject: Subject, data: str | None) -> tuple[Source, DataSettings]:
    if data is None and subject.settings is None:
        raise UserError(
            f"{subject.path}: does not say what text it was validated on; name a labelled file with --data FILE"
        )
    if subject.settings is None:
        assert data is not None
        return find_labelled(DataSettings(train_file=data, validation_file=data), "ner", data)
    try:
        return find_labelled(subject.settings.data, subject.settings.hparams.finetuning_task, data)
    except UserError as error:
        if data is not None:
            raise
        raise UserError(
            f"the report is of the run's validation data, which is not at hand ({error}); name a labelled file with "
            f"--data FILE"
        ) from error


@dataclass(frozen=True)
class Speed:
    """Of tagging, model loading left out."""

    seconds: float
    words_per_second: float
    device: str


def tag_text(subject: Subject, name: str, text: LabelledText, labels: tuple[str, ...]) -> tuple[TaggedText, Speed]:
    """Let a model tag the text.

    Args:
        name: of the model, in the report.
        labels: those that the gold tags are numbered by: the same as the model's, in any order.

    Raises:
        UserError: the weights cannot be loaded, or another set of labels.
    """
    directory = subject.directory
    if set(directory.labels) != set(labels):
        raise UserError(
            f"{subject.path}: its labels {' '.join(directory.labels)} are not {' '.join(labels)}, those of the model "
            f"it is compared with; compare models that were trained on the same labels"
        )
    tagger = Tagger.from_pretrained(directory.path)
    ids = np.array([labels.index(label) for label in directory.labels], np.int16)
    tags = np.empty(len(text.gold), np.int16)
    decoded = np.empty_like(tags)
    confidence = np.empty(len(tags))
    done, started = 0, time.perf_counter()
    document = (lambda s: int(text.documents[s])) if tagger.whole_documents else None
    with tqdm(total=len(tags), desc=f"tagging with {name}", unit="word", disable=None, leave=False) as bar:
        for some in in_buffers(range(len(text.words)), lambda s: len(text.words[s]), document):
            tagged = tagger.tag([text.words[s] for s in some], [int(text.documents[s]) for s in some])
            here = slice(done, done + len(tagged.ids))
            best = tagged.logits.argmax(1)
            tags[here], decoded[here] = ids[best], ids[tagged.ids]
            confidence[here] = np.take_along_axis(tagged.probabilities, best[:, None], 1)[:, 0]
            done += len(tagged.ids)
            bar.update(len(tagged.ids))
    assert done == len(tags)
    seconds = time.perf_counter() - started
    speed = Speed(seconds, len(tags) / max(seconds, 1e-9), _device())
    table = TagTable(labels, plain=directory.label_scheme is Scheme.PLAIN)
    return (
        TaggedText(
            name, table, text.sentences, text.documents, text.words, text.place, text.gold, tags, decoded, confidence
        ),
        speed,
    )


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"
