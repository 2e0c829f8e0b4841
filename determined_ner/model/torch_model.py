"""The weights of a model directory in PyTorch: its model built, loaded, checked, run on arrays."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from determined_ner.data.windows import window_size
from determined_ner.errors import DeviceError, UserError
from determined_ner.hub import asks_for_code
from determined_ner.model import build
from determined_ner.model.calls import replaced
from determined_ner.model.cpu.products import LENGTHS, fast_products, faster_than_mkl
from determined_ner.model.device_memory import enough_memory
from determined_ner.model.directory import CONFIG_FILE, SETTINGS_FILE, ModelDirectory
from determined_ner.model.inference import check_logits
from determined_ner.model.lora import add_adapters, merge_adapters
from determined_ner.model.probe import check_behaviour
from determined_ner.model.weights import check_finite, load_token_classifier, load_weights

SMALLER = "free some of it, tag in smaller batches (Tagger's batch_size), or take the CPU: --device cpu"
"""What to do where a GPU lacks memory."""


def load_config(directory: ModelDirectory) -> Any:
    """The config of a directory's model, as transformers loads it.

    Raises:
        UserError: it cannot, or gives it other labels than the file has.
    """
    try:
        config = build.read_config(directory.source)
    except UserError:
        raise
    except Exception as error:  # of the library, which says in dozens of ways what it cannot read
        if asks_for_code(error):
            raise directory.source.needs_code() from error
        raise directory.unreadable(CONFIG_FILE, error) from error
    labels = tuple(str(name) for _, name in sorted((config.id2label or {}).items()))
    if labels != directory.labels:
        problem = f"its {config.num_labels} labels are not the {len(directory.labels)} of id2label"
        raise UserError(directory.path / CONFIG_FILE, problem, "correct its num_labels")
    return config


def untrained_model(directory: ModelDirectory) -> Any:
    """The model of a directory with random weights; of a checkpoint with adapters, with these.

    Raises:
        UserError: as `load_config`; what makes adapters is not installed.
    """
    return _untrained(directory, load_config(directory))


def _untrained(directory: ModelDirectory, config: Any) -> Any:
    model = build.untrained_model(config, directory.source)
    if directory.lora:
        add_adapters(model, directory.lora, seed=0)
    return model


def load_model(directory: ModelDirectory) -> Any:
    """The model of a directory: float32, on the CPU, in evaluation mode.

    Raises:
        UserError: no weights, damaged ones, some that are not finite, those of another task, or of an architecture that
            reads a text otherwise in a batch.
    """
    source, config = directory.source, load_config(directory)
    directory.tokenizer.check_rows(getattr(config, "vocab_size", None), source)
    window = _find_window(directory, config)
    build.check_size(config, source)
    if directory.is_checkpoint:
        model = _untrained(directory, config)
        load_weights(model, directory.path)
        if directory.lora:
            merge_adapters(model)
    else:
        model = load_token_classifier(source, config, directory.onnx_instead or directory.remedy)
    check_finite(model, directory.path)
    model = model.float().eval()
    # (What a training of ours left, it has checked at every length.)
    check_behaviour(model, directory.tokenizer, window, source, lengths=directory.described is None)
    return model


def find_window(directory: ModelDirectory) -> int:
    """Pieces of a window, special ones included: as in training, else what the model takes.

    Raises:
        UserError: as `load_config`; no model can be built from the config.
    """
    return directory.max_seq_length or _find_window(directory, load_config(directory))


def _find_window(directory: ModelDirectory, config: Any) -> int:
    """
    Raises:
        UserError: the directory says more than the model takes.
    """
    source, asked = directory.source, directory.max_seq_length
    limit = build.longest_window(config, source, directory.tokenizer.stated_limit(source))
    if asked is not None and asked > limit:
        error = ValueError(f"max_seq_length: {asked} is no number from 1 to the {limit:,} pieces that the model takes")
        raise directory.unreadable(SETTINGS_FILE, error)
    return window_size(asked, limit)


def torch_model(directory: ModelDirectory, device: str | None = None) -> TorchModel:
    """The model of a directory, float32, to tag with.

    Args:
        device: what it runs on; None: a GPU where there is one.

    Raises:
        UserError: as `load_model`.
        ValueError: no such device.
    """
    chosen = find_device(device)
    model = load_model(directory)
    window = directory.max_seq_length or _find_window(directory, model.config)
    return TorchModel(model, directory.path, chosen, device is not None, window)


def find_device(name: str | None) -> torch.device:
    """A device by its name; None: a GPU where there is one.

    Raises:
        DeviceError: there is none of this name here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # an AssertionError: torch without CUDA
        raise DeviceError(name, ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]) from error
    return device


class TorchModel:
    """A model of PyTorch. Its pickle holds the weights; where it is read, it runs on a device of that machine.

    Attributes:
        max_seq_length: pieces of a window, special ones included.
    """

    def __init__(self, module: Any, path: Path, device: torch.device, asked: bool, max_seq_length: int) -> None:
        """
        Args:
            module: of transformers, in evaluation mode.
            path: its directory, for messages.
            asked: whether the user named the device; else a pickle runs on what there is where it is read.
        """
        with enough_memory(path, SMALLER):
            self._module, self._path, self._device, self._asked = module.to(device), path, device, asked
        self.max_seq_length = max_seq_length

    @property
    def description(self) -> str:
        """What computes, and where, in words."""
        return f"PyTorch on {self._device}"

    def __call__(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        length = input_ids.shape[1]
        ids_and_mask = self._in_few_lengths(input_ids, attention_mask)
        with torch.inference_mode(), enough_memory(self._path, SMALLER), replaced(fast_products(self._device)):
            ids, mask = (torch.from_numpy(array).to(self._device) for array in ids_and_mask)
            logits = self._module(input_ids=ids, attention_mask=mask).logits[:, :length]
        array: NDArray[np.float32] = logits.float().cpu().numpy()
        return check_logits(array, attention_mask, self._path)

    def _in_few_lengths(self, *given: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Pieces and mask (B, L), as they are or, where oneDNN multiplies, with more padding."""
        if self._device.type != "cpu" or not faster_than_mkl():
            yield from given
            return
        length = given[0].shape[1]
        more = min(-length % LENGTHS, max(self.max_seq_length - length, 0))
        padding = max(getattr(self._module.config, "pad_token_id", None) or 0, 0)
        for array, value in zip(given, (padding, 0), strict=True):
            yield np.pad(array, ((0, 0), (0, more)), constant_values=value)

    def __getstate__(self) -> dict[str, Any]:
        module = self._module if self._device.type == "cpu" else copy.deepcopy(self._module).cpu()
        device = str(self._device) if self._asked else None
        return {"module": module, "path": self._path, "device": device, "max_seq_length": self.max_seq_length}

    def __setstate__(self, state: dict[str, Any]) -> None:
        device = state["device"]
        arguments = (state["module"], state["path"], find_device(device), device is not None)
        TorchModel.__init__(self, *arguments, state["max_seq_length"])
