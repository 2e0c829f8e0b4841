"""A model directory that brings Python code of its own, which no command may run unless it is told to."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from tests.damage import own_copy

MODELING = """
from pathlib import Path

from transformers import BertConfig, BertForTokenClassification, BertModel

Path({marker!r}).touch()


class OwnConfig(BertConfig):
    model_type = "own-bert"


class OwnModel(BertModel):
    config_class = OwnConfig


class OwnForTokenClassification(BertForTokenClassification):
    config_class = OwnConfig
"""


class OwnCode:
    """A copy of a model directory whose classes are in a file of its own.

    Attributes:
        path: the directory.
        stdin: what a question on standard input would read, a yes.
    """

    def __init__(self, model_dir: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Args:
            model_dir: of a BERT.
            folder: an empty directory.
        """
        self.path = own_copy(model_dir, folder / "own")
        self._marker = folder / "code-has-run"
        (self.path / "modeling_own.py").write_text(MODELING.format(marker=str(self._marker)))
        config = json.loads((self.path / "config.json").read_text())
        classes = {
            "AutoConfig": "OwnConfig",
            "AutoModel": "OwnModel",
            "AutoModelForTokenClassification": "OwnForTokenClassification",
        }
        config |= {"model_type": "own-bert", "architectures": ["OwnForTokenClassification"]}
        config["auto_map"] = {auto: f"modeling_own.{name}" for auto, name in classes.items()}
        (self.path / "config.json").write_text(json.dumps(config))
        self.stdin = io.StringIO("y\n")
        monkeypatch.setattr(sys, "stdin", self.stdin)
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(folder / "modules"))

    @property
    def has_run(self) -> bool:
        """Whether the code was run since this was asked last."""
        ran = self._marker.exists()
        self._marker.unlink(missing_ok=True)
        return ran
