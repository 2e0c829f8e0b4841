"""The teachers of a training: what they say of each word, computed before the first step, and kept in the cache.

No step holds a teacher, and neither a resumed run nor another slot or trial computes with one again.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from determined_ner.data.batches import EvaluationBatches
from determined_ner.data.collate import BatchDataset
from determined_ner.data.pretrained_tokenizer import load_tokenizer
from determined_ner.data.split import Split
from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.errors import HyperparameterError
from determined_ner.files.cache import FORMAT, build_once, hash_parts
from determined_ner.hub import Pretrained
from determined_ner.masks import shown
from determined_ner.model.build import attention_of, longest_window
from determined_ner.model.directory import ModelDirectory
from determined_ner.model.stored_weights import weights_fingerprint
from determined_ner.model.student import build_student, student_config
from determined_ner.model.torch_model import TorchModel, load_config, load_model, torch_model
from determined_ner.settings.hyperparameters import Hyperparameters
from determined_ner.tags.lattice import label_probabilities
from determined_ner.training.trained import find_trained

logger = logging.getLogger("determined_ner")
SETTING = "hyperparameters.teacher"
KIND = np.float16
"""Of log-probabilities, each within 2^-11 of its value: that of a label that is sure, near 0, loses next to nothing."""


class Teachers:
    """The teachers of a training, all that is known of them but their weights.

    Attributes:
        names: as the settings have them.
        directories: of each.
        fingerprint: equal for the same weights.
        layers: of the first, of which the student is made, from 0; none: it begins with another encoder.
    """

    def __init__(self, hparams: Hyperparameters) -> None:
        """
        Raises:
            UserError: a directory is damaged.
            HyperparameterError: there is no such directory, or its model cannot teach words.
        """
        self.names, self._trust, self._hparams = list(hparams.teacher or []), hparams.trust_remote_code, hparams
        self.layers: list[int] = []
        self.directories = [self._open(name) for name in self.names]
        self.fingerprint = hash_parts([_fingerprint(directory) for directory in self.directories])

    def _open(self, name: str) -> ModelDirectory:
        path = os.path.expanduser(name)  # noqa: PTH111 (Path's raises where there is no home, or a name is too long)
        if not os.path.isdir(path):  # noqa: PTH112
            problem = f"{shown(name)} is {'a file' if os.path.exists(path) else 'no directory'}"  # noqa: PTH110
            raise HyperparameterError(SETTING, problem, "write a model directory or a run's folder")
        with tempfile.TemporaryDirectory() as nothing:  # a directory is not fetched
            return find_trained(path, Path(nothing), self._trust).directory

    @property
    def source(self) -> Pretrained:
        """The first, as messages name it."""
        return self.sources[0]

    @property
    def sources(self) -> list[Pretrained]:
        """Each, as messages name it."""
        paths = [str(directory.path) for directory in self.directories]
        return [Pretrained(path, "teacher", trust_remote_code=self._trust) for path in paths]

    @property
    def labels(self) -> tuple[str, ...]:
        """All that any of them knows."""
        return tuple(dict.fromkeys(name for directory in self.directories for name in directory.labels))

    def student_config(self) -> Any:
        """The config of a student of the layers that the settings ask for, which are `layers` from then on.

        Raises:
            HyperparameterError: the first teacher has not so many, or they cannot be chosen.
        """
        assert self._hparams.student_layers is not None
        config, self.layers = student_config(
            load_config(self.directories[0]), self.source, self._hparams.student_layers
        )
        return config

    def build_student(self, config: Any, labels: tuple[str, ...]) -> Any:
        """The student of `student_config` with its teacher's weights.

        Args:
            labels: of the training, in the order of the logits.

        Raises:
            UserError: the weights are missing or damaged.
        """
        teacher, attention = self.directories[0], attention_of(self._hparams)
        return build_student(load_model(teacher), teacher.labels, config, self.layers, labels, self.source, attention)

    def check(self, tokenizer: WordTokenizer, max_seq_length: int) -> None:
        """Check that they can read the windows of the student.

        Args:
            tokenizer: of the student.
            max_seq_length: pieces of a window, special ones included.

        Raises:
            HyperparameterError: another tokenizer, or longer windows than one of them takes.
        """
        for source, directory in zip(self.sources, self.directories, strict=True):
            if unlike := load_tokenizer(source).unlike(tokenizer):  # loaded as the student's is
                problem = f"reads text by another tokenizer than the student: {unlike}"
                raise source.refused(problem, self._remedy_of_tokenizers())
            limit = directory.tokenizer.stated_limit(source)
            if max_seq_length > (most := longest_window(load_config(directory), source, limit)):
                problem = f"takes {most} pieces, and the windows of the student have up to {max_seq_length}"
                raise source.refused(problem, f"write data.max_seq_length: {most}")

    def _remedy_of_tokenizers(self) -> str:
        if self._hparams.student_layers is None:
            return "choose a student with the tokenizer of its teacher, or set student_layers"
        if self._hparams.tokenizer_name is not None:
            return f"drop tokenizer_name: {self._hparams.tokenizer_name}; the student has its teacher's"
        return "name teachers of one tokenizer"

    def check_labels(self, labels: Sequence[str]) -> None:
        """Check that they know the labels of the training, and no others.

        Raises:
            HyperparameterError: naming those that are of one alone.
        """
        for source, directory in zip(self.sources, self.directories, strict=True):
            lacking = [name for name in labels if name not in directory.labels]
            foreign = [name for name in directory.labels if name not in labels]
            parts = [
                f"{what} {' '.join(names)}"
                for what, names in (("it lacks", lacking), ("the data lacks", foreign))
                if names
            ]
            if parts:
                remedy = "take a teacher that was trained on these labels (data.label_map reads types as others)"
                raise source.refused(f"has other labels than the training: {', '.join(parts)}", remedy)

    def describe(self) -> str:
        """One line for a person."""
        line = f"teacher{'s' * (len(self.names) > 1)}: {', '.join(self.names)}"
        if self.layers:
            of = f" of {self.names[0]}" if len(self.names) > 1 else ""
            numbers = ", ".join(str(number + 1) for number in self.layers)
            line += f"; the student begins with embeddings, head and layer{'s' * (len(self.layers) > 1)} {numbers}{of}"
        return line

    def log_probabilities(
        self,
        split: Split,
        tokenizer: WordTokenizer,
        labels: Sequence[str],
        device: torch.device,
        cache_dir: Path,
        overwrite: bool = False,
    ) -> NDArray[np.float16]:
        """What they say of the words of a split, computed in its windows, or found in the cache.

        Of several, the logarithm of the mean of their probabilities. By the models in float32 and evaluation mode; of
        one with a CRF, summed over the sequences of a window's words that have a label there.

        Args:
            labels: (K,) in the order of the columns.
            device: to compute on.
            overwrite: compute again even if the cache has them.

        Returns:
            (N, K), memory-mapped.

        Raises:
            UserError: weights that are missing, damaged, or give logits that are no numbers.
        """
        shape = (len(split.tags), len(labels))
        key = hash_parts([FORMAT, KIND.__name__, self.fingerprint, split.fingerprint])

        def build(directory: Path) -> None:
            logger.info(f"teacher: reading {shape[0]:,} words")
            models = [
                (each, torch_model(each, str(device)), [each.labels.index(name) for name in labels])
                for each in self.directories
            ]
            with (directory / "words.bin").open("w+b") as file:
                if hasattr(os, "posix_fallocate"):  # an error where writing to a map of a full disk kills the process
                    os.posix_fallocate(file.fileno(), 0, np.dtype(KIND).itemsize * shape[0] * shape[1])
            out = np.memmap(directory / "words.bin", KIND, "r+", shape=shape)
            dataset = BatchDataset(split, tokenizer)
            windows = len(split.windows) - 1
            with tqdm(total=windows, desc="teacher", unit="window", leave=False, disable=None, file=sys.stderr) as bar:
                for (chosen,) in EvaluationBatches(split, tokenizer.specials, slots=1):
                    batch = dataset[chosen]
                    said = [_said(*each, batch) for each in models]
                    out[split.words_of(batch["windows"].numpy())] = _mean(said)
                    bar.update(len(batch["windows"]))
            out.flush()

        directory = build_once(cache_dir, f"teacher-{key}", build, overwrite)
        return np.memmap(directory / "words.bin", KIND, "r", shape=shape)


def teachers_in_record(hparams: Hyperparameters, named: Iterable[Any]) -> dict[str, Any]:
    """What a record of several runs has of their teachers, so that none of them has another.

    Args:
        named: values of ``teacher``.

    Raises:
        UserError: as `Teachers`.
    """
    values = [[value] if isinstance(value, str) else value for value in named if value]
    found = [Teachers(hparams.model_copy(update={"teacher": value})).fingerprint for value in values]
    return {"teachers": found} if found else {}


def _fingerprint(directory: ModelDirectory) -> Any:
    """Of what a teacher says."""
    weights = weights_fingerprint(directory.path)
    return weights if directory.transitions is None else [weights, directory.transitions.tolist()]


def _said(
    directory: ModelDirectory, model: TorchModel, columns: Sequence[int], batch: dict[str, torch.Tensor]
) -> torch.Tensor:
    """(words, K) logarithm of the probability of each label, by one teacher.

    Args:
        model: of the directory.
        columns: (K,) of its logits, of each label.
        batch: of `BatchDataset`.
    """
    chosen = batch["is_first_piece"].numpy()
    logits = model(batch["input_ids"].numpy(), batch["attention_mask"].numpy())[chosen]
    if directory.transitions is None:
        return torch.from_numpy(logits[:, columns]).log_softmax(-1)
    starts = np.concatenate([[0], np.cumsum(chosen.sum(1))])
    probabilities = label_probabilities(logits, starts, directory.labels, directory.label_scheme, directory.transitions)
    return torch.from_numpy(probabilities[:, columns]).log().float()


def _mean(said: Sequence[torch.Tensor]) -> NDArray[np.float32]:
    """(words, K) logarithm of the mean of probabilities, whose logarithms are given; none below the least of `KIND`."""
    mean = torch.stack(list(said)).logsumexp(0) - float(np.log(len(said)))
    result: NDArray[np.float32] = mean.clamp(min=float(np.finfo(KIND).min)).numpy()
    return result
