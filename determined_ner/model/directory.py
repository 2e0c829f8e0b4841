"""A model directory: a run's, an export's, a checkpoint, or any Hugging Face directory of a token classifier.

The one way in which a trained model is read: what is beside the weights is read and checked at once; the weights when
they are asked for, as an ONNX file, or in PyTorch by `torch_model`, so that here nothing needs PyTorch.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from determined_ner.data.tokenizer import TOKENIZER_FILE, TOKENIZER_FILES, WordTokenizer, read_tokenizer
from determined_ner.data.words import WordSplitting
from determined_ner.errors import UserError, first_line
from determined_ner.files.atomic import read_json
from determined_ner.hub import Pretrained, import_torch_side
from determined_ner.model.checkpoint import STATE_FILE, TRIAL_STATE_FILE, check_checkpoint
from determined_ner.model.config_file import check_config
from determined_ner.model.inference import OnnxModel
from determined_ner.model.onnx_session import EXPORT_AGAIN, read_labels
from determined_ner.model.settings_file import check_described
from determined_ner.model.stored_weights import check_model_files
from determined_ner.tags.calibration import Calibration, read_errors
from determined_ner.tags.entities import TagTable
from determined_ner.tags.guarantees import Promise, why_no_share
from determined_ner.tags.labels import Labels, label_scheme
from determined_ner.tags.schemes import Scheme
from determined_ner.tags.shift import UsualScores
from determined_ner.tags.spelling import STANDARD, Spelling

Backend = Literal["torch", "onnx"]
CONFIG_FILE = "config.json"
"""Of the model, as transformers writes it."""
SETTINGS_FILE = "ner_settings.json"
"""In every checkpoint and model directory of a training: settings, labels and tag scheme."""
CALIBRATION_FILE = "calibration.json"
"""In the model directory of a run that has ended, and in its exports."""
THRESHOLDS_FILE = "thresholds.json"
"""What ``determined-ner thresholds`` leaves in a model directory; its exports have it too."""
ONNX_FILE = "model.onnx"
"""In an export with ``--onnx``."""
HALF_FILE, QUANTIZED_FILE = "model_fp16.onnx", "model_quantized.onnx"
MAKES = {ONNX_FILE: "--onnx", HALF_FILE: "--fp16", QUANTIZED_FILE: "--quantize"}
"""By which option an export has each ONNX file."""
REMEDY = "give the directory of a token classifier: runs/NAME/model, or an export of it"


class ModelDirectory:
    """What a model directory holds beside the weights, and its ONNX files.

    Attributes:
        path: of the directory.
        source: the same, as libraries take it.
        remedy: what to do where it is something else.
        model_type: name of the architecture.
        labels: names by id.
        label_scheme: their scheme.
        scheme: that of the training files, where a training made the directory; else that of the labels.
        spelling: of tags in the training files.
        tokenizer: of the model.
        max_seq_length: pieces of a window, special ones included, as in training; None: no training of ours says it.
        stride: pieces by which windows overlap; None: a quarter of that.
        whole_documents: whether a window saw the neighbours of a sentence in training.
        word_splitting: how raw text is cut into words like those of training; by the rules where nothing says it.
        described: what the training wrote beside the weights, ``ner_settings.json``; None: another trainer made it.
        transitions: (K, K) float32 scores of labels by the one before, of a model with a CRF; None: it has none.
        calibration: what makes scores of probabilities, ``calibration.json``; without it, they are the probabilities.
        is_calibrated: whether it has a ``calibration.json``.
        promises: of precision, ``thresholds.json``.
        usual_scores: what scores the entities of the validation data have; None: nothing says it.
        calibration_errors: by split, what was measured when it was fitted; see `tags.calibration.read_errors`.
    """

    def __init__(self, path: Path, remedy: str = REMEDY, trust_remote_code: bool = False) -> None:
        """
        Args:
            remedy: what to do where it is something else.
            trust_remote_code: run code that the directory brings along.

        Raises:
            UserError: the directory is missing, incomplete, damaged, or holds a model of another task.
        """
        self.path = path
        if any((path / name).exists() for name in (STATE_FILE, TRIAL_STATE_FILE)):
            check_checkpoint(path)
        else:
            check_model_files(path)
        self.remedy = remedy
        self.source = Pretrained(str(path), trust_remote_code=trust_remote_code)
        config = self._read_config()
        self.model_type = str(config["model_type"])
        self.labels = self._read_labels(config)
        self.described = self._read_json(SETTINGS_FILE)
        self.tokenizer: WordTokenizer = self._read_tokenizer()
        self.tokenizer.check_rows(config.get("vocab_size"), self.source)
        self.max_seq_length: int | None = None
        self.stride: int | None = None
        self.whole_documents = False
        self.word_splitting: WordSplitting = "rules"
        self.spelling = STANDARD
        self.transitions: NDArray[np.float32] | None = None
        if self.described is None:
            self._take_from_labels()
        else:
            self._take_from_settings(self.described, config)
        self.calibration, self.calibration_errors, self.usual_scores = self._read_calibration()
        self.promises = self.read_promises()

    @property
    def is_checkpoint(self) -> bool:
        """Whether the weights are those of one of Determined's checkpoints."""
        return (self.path / STATE_FILE).is_file()

    def named_labels(self) -> Labels:
        """The labels, and the scheme and the spelling of the training files."""
        return Labels(self.labels, self.scheme, self.spelling)

    @property
    def lora(self) -> dict[str, Any] | None:
        """What a checkpoint's adapters are like; None: there are none, or they have been merged."""
        found: dict[str, Any] | None = (self.described or {}).get("hyperparameters", {}).get("peft")
        return found if self.is_checkpoint else None

    def copy_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer into another directory: that of a training of ours file by file."""
        if self.tokenizer.pretrained is not None:
            self.tokenizer.pretrained.save_pretrained(folder)
            return
        for pattern in TOKENIZER_FILES:
            for file in self.path.glob(pattern):
                shutil.copyfile(file, folder / file.name)

    @property
    def onnx_instead(self) -> str:
        """How to tag without PyTorch, for a message; "": the directory has no ONNX file."""
        files = sorted(file.name for file in self.path.glob("*.onnx"))
        if not files:
            return ""
        if ONNX_FILE in files:
            return "take its ONNX file: --backend onnx, in Python backend='onnx'"
        name = files[0]
        return f"take its ONNX file: --backend onnx --onnx-file {name}, in Python backend='onnx', onnx_file={name!r}"

    def onnx_model(
        self, file_name: str = ONNX_FILE, threads: int | None = None, device: str | None = None
    ) -> OnnxModel:
        """An ONNX file of the directory in ONNX Runtime.

        Args:
            threads: as many as there are cores unless given.
            device: what it runs on; None: see `OnnxModel`.

        Raises:
            UserError: no such file, ONNX Runtime is not installed or cannot use the device, or the file is not of this
                model, or not for windows of its size.
            ValueError: no such device.
        """
        path = self.path / file_name
        if not path.is_file():
            flag = MAKES.get(file_name, "--onnx")
            there = ", ".join(sorted(file.name for file in self.path.glob("*.onnx"))) or "the backend torch"
            raise UserError(path, "no such file", f"make it with determined-ner export {flag}, or take {there}")
        model = OnnxModel(path, threads, device)
        labels = read_labels(model.session, path)
        if labels != self.labels:
            raise self._of_two_models(path, labels, "export again")
        window, exported = self.max_seq_length, model.max_seq_length
        if window is None and (exported is None or exported <= self.tokenizer.specials):
            raise UserError(path, "does not say how many pieces a window has", EXPORT_AGAIN)
        if window is not None and exported is not None and window > exported:
            problem = f"was exported for windows of {exported} pieces, and {SETTINGS_FILE} asks for {window}"
            raise UserError(path, problem, EXPORT_AGAIN)
        return model

    # -- What is beside them ---------------------------------------------------------------------------------------

    def _read_config(self) -> dict[str, Any]:
        """What ``config.json`` says, checked. What the library makes of it is asked where weights are loaded."""
        path = self.path
        if not path.is_dir():
            raise UserError(path, "is a file" if path.exists() else "no such directory", self.remedy)
        self.source.location()  # before a pipe in it is opened
        found = self._read_json(CONFIG_FILE)
        if found is None or "model_type" not in found:  # a run's folder has a config.json too
            inner = path / "model"
            hint = f"did you mean {inner}?" if (inner / CONFIG_FILE).is_file() else self.remedy
            raise UserError(path, "no model directory, it has no config.json of a model", hint)
        check_config(found, self.source)
        architectures = found.get("architectures") or []
        # (A checkpoint's config still names the class that the encoder came from; there the weights tell.)
        if architectures and not self.is_checkpoint and not any("TokenClassification" in a for a in architectures):
            raise UserError(path, f"a {architectures[0]}, which is no token classifier", self.remedy)
        return found

    def _read_labels(self, config: dict[str, Any]) -> tuple[str, ...]:
        names = config.get("id2label")
        if names is None:  # which the library leaves out where it has made them up
            names = {str(i): f"LABEL_{i}" for i in range(config.get("num_labels") or 2)}
        numbers = [str(i) for i in range(len(names))]
        if sorted(names) != sorted(numbers) or len(set(names.values())) < len(names):
            raise UserError(self.path / CONFIG_FILE, "id2label does not name each label once, from 0", "correct it")
        return tuple(str(names[i]) for i in numbers)

    def _read_tokenizer(self) -> WordTokenizer:
        """As a training of ours left it, or as transformers loads another trainer's."""
        if self.described is not None:
            if not (self.path / TOKENIZER_FILE).is_file():
                raise UserError(self.path, f"has no {TOKENIZER_FILE}", "copy the model directory again")
            return read_tokenizer(self.source)
        what = "its tokenizer, which no training of ours wrote,"
        side = import_torch_side("determined_ner.data.pretrained_tokenizer", self.path, what)
        tokenizer: WordTokenizer = side.load_tokenizer(self.source)
        return tokenizer

    def _take_from_labels(self) -> None:
        """The scheme where another trainer made the directory."""
        try:
            self.label_scheme = self.scheme = label_scheme(self.labels)
        except ValueError as error:
            raise UserError(self.path / CONFIG_FILE, str(error), "correct its id2label") from None

    def _take_from_settings(self, described: dict[str, Any], config: dict[str, Any]) -> None:
        """Scheme and windows where a training of ours made the directory."""
        limit = self.tokenizer.stated_limit(self.source)
        positions = config.get("max_position_embeddings")
        if isinstance(positions, int) and positions > 0:  # XLNet writes -1 for "no limit"
            limit = min(limit, positions)
        try:
            check_described(described, limit)
            labels, self.scheme = tuple(described["labels"]), Scheme(described["scheme"])
            self.max_seq_length = described["max_seq_length"]
            self.stride = described["data"]["stride"]
            self.whole_documents = described["data"]["context"] == "document"
            self.word_splitting = described.get("word_splitting", "rules")
            if "spelling" in described:
                self.spelling = Spelling.of_json(described["spelling"])
            if "transitions" in described:
                self.transitions = np.array(described["transitions"], np.float32)
        except (LookupError, TypeError, ValueError) as error:
            raise self.unreadable(SETTINGS_FILE, error) from None
        if labels != self.labels:
            raise self._of_two_models(self.path / SETTINGS_FILE, labels, "copy a whole model directory")
        self.label_scheme = Scheme.PLAIN if self.scheme is Scheme.PLAIN else Scheme.IOB2

    def _read_calibration(self) -> tuple[Calibration, dict[str, dict[str, float]], UsualScores | None]:
        kept = self._read_json(CALIBRATION_FILE)
        self.is_calibrated = kept is not None
        if kept is None:
            return Calibration(), {}, None
        try:
            calibration, errors = Calibration.of_json(kept), read_errors(kept)
            usual = None if kept.get("scores") is None else UsualScores.of_json(kept["scores"])
        except ValueError as error:
            raise self.unreadable(CALIBRATION_FILE, error) from None
        types = self.labels if self.label_scheme is Scheme.PLAIN else TagTable(self.labels, plain=False).types
        if foreign := sorted(set(calibration.of_type) - set(types)):
            raise UserError(
                self.path / CALIBRATION_FILE,
                f"has scores of {foreign[0]!r}, which is no type of config.json: the files are of two models",
                "copy a whole model directory, or remove this file: scores are then the model's own probabilities",
            )
        return calibration, errors, usual

    def read_promises(self) -> list[Promise]:
        """What ``thresholds.json`` holds now.

        Raises:
            UserError: it is damaged, or of other scores.
        """
        kept = self._read_json(THRESHOLDS_FILE)
        if kept is None:
            return []
        file = self.path / THRESHOLDS_FILE
        remedy = "remove it, and make it anew: determined-ner thresholds"
        try:
            if not isinstance(kept.get("promises"), list):
                raise ValueError("promises: no list")
            promises = [Promise.of_json(promise) for promise in kept["promises"]]
        except ValueError as error:
            raise UserError(file, f"not readable ({first_line(error)})", remedy) from None
        if kept.get("calibration") != self.calibration.as_json():
            problem = f"is of scores that another {CALIBRATION_FILE} makes: the files are of two models"
            raise UserError(file, problem, remedy)
        return promises

    def promise(self, precision: float, onnx_file: str | None = None) -> Promise:
        """What is promised of a precision.

        Args:
            onnx_file: that computes the logits; None: the weights do.

        Raises:
            UserError: nothing is.
        """
        if problem := why_no_share(precision):
            raise UserError(f"precision {precision:g}", problem, "ask for one above 0 and below 1, such as 0.95")
        own = None if onnx_file == ONNX_FILE else onnx_file  # which export has found equal to the weights
        known = [promise for promise in self.promises if promise.onnx_file == own]
        command = f"determined-ner thresholds {self.path} --precision {precision:g}"
        command += f" --onnx-file {own}" if own else ""
        for promise in known:
            if promise.precision == precision:
                if all(each.score is None for each in promise.thresholds.values()):
                    number = sum(each.found for each in promise.thresholds.values())
                    problem = f"a precision of {precision:g} cannot be promised with {number:,} entities"
                    remedy = f"fit it to more text ({command} TEXT), or ask for less"
                    raise UserError(self.path / THRESHOLDS_FILE, problem, remedy)
                return promise
        what = ", ".join(f"{promise.precision:g}" for promise in known) or "nothing"
        of = f" of {own}" if own else ""
        problem = f"a precision of {precision:g}{of} is not promised: {what} is"
        raise UserError(self.path / THRESHOLDS_FILE, problem, command)

    def _read_json(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the directory; None: there is none."""
        return read_json(self.path / name, "the model directory")

    def unreadable(self, name: str, error: Exception) -> UserError:
        """The error to raise where one of its files cannot be read."""
        return UserError(self.path / name, f"not readable ({first_line(error)})", "copy the model directory again")

    def _of_two_models(self, file: Path, labels: tuple[str, ...], remedy: str) -> UserError:
        return UserError(
            file,
            f"its labels {' '.join(labels)} are not those of config.json, {' '.join(self.labels)}: the files are of "
            f"two models",
            remedy,
        )
