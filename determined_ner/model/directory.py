"""A model directory: what a run leaves, an export, or any Hugging Face directory of a token classifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

import determined_ner.model.build as ner_model
from determined_ner.tags.decoding import label_scheme
from determined_ner.data.encode import SETTINGS_FILE
from determined_ner.errors import UserError, first_line, read_json
from determined_ner.settings.hyperparameters import Hyperparameters
from determined_ner.data.tokenizer import WordTokenizer, load_tokenizer
from determined_ner.tags.entities import Scheme

Backend = Literal["torch", "onnx"]
Model = Callable[[torch.Tensor, torch.Tensor], NDArray[np.float32]]
"""input_ids and attention_mask, (B, L) int64 each, to logits (B, L, K)."""

ONNX_FILE = "model.onnx"
_REMEDY = "give the directory of a token classifier: runs/NAME/model, or an export of it"


class ModelDirectory:
    """What stands in a model directory beside the weights, and the weights in either form.

    Attributes:
        labels: names by id.
        label_scheme: their scheme.
        scheme: that of the training files, where a run made the directory; else that of the labels.
        max_seq_length: pieces of a window, special ones included: as in training, else what the model takes.
        stride: pieces by which windows overlap; None: a quarter of that.
        whole_documents: whether a window saw the neighbours of a sentence in training.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            UserError: the directory is missing, incomplete, or holds a model of another task.
        """
        self.path = path
        self.config = self._load_config()
        self.labels = self._label_map()
        self.tokenizer = self._load_tokenizer()
        settings = self._json(SETTINGS_FILE)
        self.stride: int | None = None
        self.whole_documents = False
        if settings is None:
            try:
                self.label_scheme = label_scheme(self.labels)
            except ValueError as error:
                raise UserError(f"{path / 'config.json'}: {error}; correct its id2label") from None
            self.scheme = self.label_scheme
            hparams = Hyperparameters(pretrained_model_name_or_path=str(path))
            limit = ner_model.longest_window(self.config, hparams, self.tokenizer.tokenizer.model_max_length)
            self.max_seq_length = ner_model.window_size(None, limit)
            return
        try:
            labels, self.scheme = tuple(settings["labels"]), Scheme(settings["scheme"])
            self.max_seq_length = int(settings["max_seq_length"])
            self.stride = settings["data"]["stride"]
            self.whole_documents = settings["data"]["context"] == "document"
        except (LookupError, TypeError, ValueError) as error:
            raise self._broken(SETTINGS_FILE, error) from None
        if labels != self.labels:
            raise UserError(
                f"{path / SETTINGS_FILE}: its labels {' '.join(labels)} are not those of config.json, "
                f"{' '.join(self.labels)}: the files are of two models; copy a whole model directory"
            )
        self.label_scheme = Scheme.PLAIN if self.scheme is Scheme.PLAIN else Scheme.IOB2

    def _broken(self, name: str, error: Exception) -> UserError:
        return UserError(f"{self.path / name}: not readable ({first_line(error)}): copy the model directory again")

    def _json(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the directory; None: there is none."""
        return read_json(self.path / name, "the model directory")

    def _load_config(self) -> Any:
        path = self.path
        if not path.is_dir():
            raise UserError(f"{path}: no such directory; {_REMEDY}")
        found = self._json("config.json")
        if found is None or "model_type" not in found:  # a run's folder has a config.json too
            inner = path / "model"
            hint = f"did you mean {inner}?" if (inner / "config.json").is_file() else _REMEDY
            raise UserError(f"{path}: no model directory, it has no config.json of a model; {hint}")
        architectures = found.get("architectures") or []
        if architectures and not any("TokenClassification" in str(name) for name in architectures):
            raise UserError(f"{path}: a {architectures[0]}, which is no token classifier; {_REMEDY}")
        try:
            return transformers.AutoConfig.from_pretrained(str(path))
        except Exception as error:
            raise self._broken("config.json", error) from error

    def _label_map(self) -> tuple[str, ...]:
        id2label = self.config.id2label or {}
        if sorted(id2label) != list(range(len(id2label))) or len(set(id2label.values())) < len(id2label):
            raise UserError(f"{self.path / 'config.json'}: id2label does not name each label once, from 0: correct it")
        return tuple(str(id2label[i]) for i in range(len(id2label)))

    def _load_tokenizer(self) -> WordTokenizer:
        try:
            return load_tokenizer(Hyperparameters(pretrained_model_name_or_path=str(self.path)))
        except UserError as error:
            what = str(error).rsplit("; ", 1)[0].rsplit(f"{str(self.path)!r}: ", 1)[-1]
            raise UserError(f"{self.path}: {what}; put the tokenizer's files (tokenizer.json …) there") from error

    def torch_model(self) -> Model:
        """The model in PyTorch, fp32, on a GPU where there is one.

        Raises:
            UserError: no weights, or those of another task.
        """
        onnx = "take its ONNX file: --backend onnx" if (self.path / ONNX_FILE).is_file() else None
        model = load_token_classifier(self.path, self.config, onnx or _REMEDY)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model.float().eval().to(device)

        def run(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> NDArray[np.float32]:
            with torch.inference_mode():
                logits = model(input_ids=input_ids.to(device), attention_mask=attention_mask.to(device)).logits
            return logits.float().cpu().numpy()

        return run

    def onnx_model(self, file_name: str = ONNX_FILE, threads: int | None = None) -> Model:
        """An ONNX file of the directory in ONNX Runtime.

        Raises:
            UserError: no such file, ONNX Runtime is not installed, or the file is not of this model.
        """
        from determined_ner.model.onnx_export import open_session, read_labels, run_session

        path = self.path / file_name
        if not path.is_file():
            raise UserError(f"{path}: no such file; make it with ner_export.py --onnx, or take the backend torch")
        session = open_session(path, threads)
        labels = read_labels(session, path)
        if labels != self.labels:
            raise UserError(
                f"{path}: its labels {' '.join(labels)} are not those of config.json, {' '.join(self.labels)}: the "
                f"files are of two models; export again"
            )
        return lambda input_ids, attention_mask: run_session(session, input_ids, attention_mask)


def load_token_classifier(path: Path, config: Any, remedy: str) -> Any:
    """The Transformers model whose weights lie in ``path``.

    Args:
        remedy: the end of a message.

    Raises:
        UserError: no weights, damaged ones, or those of another task.
    """
    try:
        with ner_model.quiet():
            model, info = transformers.AutoModelForTokenClassification.from_pretrained(
                str(path), config=config, output_loading_info=True
            )
    except Exception as error:  # of safetensors, of the library, of sizes that do not fit
        raise UserError(
            f"{path}: its weights cannot be loaded: {first_line(error)}; copy it again, or {remedy}"
        ) from error
    lacking = sorted({*info["missing_keys"], *(str(item[0]) for item in info["mismatched_keys"])})
    if lacking:
        raise UserError(f"{path}: its weights lack {lacking[0]}, so it is no trained token classifier; {remedy}")
    return model
