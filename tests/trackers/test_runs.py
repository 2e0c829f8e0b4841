"""A tracker that does not answer may answer later."""

from __future__ import annotations

import pytest

from determined_ner.errors import TemporaryError
from determined_ner.trackers.runs import _KINDS, Trackers


def test_a_tracker_that_does_not_answer_may_pass(tmp_path, monkeypatch):
    def refuse(*_):
        raise ConnectionError("refused")

    monkeypatch.setitem(_KINDS, "mlflow", refuse)
    with pytest.raises(TemporaryError):
        Trackers().begin(["mlflow"], "key", "title", tmp_path)
