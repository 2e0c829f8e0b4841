"""Who only tags needs neither Determined nor what reads and checks training data."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT

NOT_NEEDED = ("determined", "datasets", "pyarrow", "pydantic", "matplotlib", "ruamel", "tensorboard", "zmq")

SCRIPT = """
import json, sys

absent, model_dir = json.loads(sys.argv[1]), sys.argv[2]


class Hiding:
    # A finder that does not find the packages that are to be absent, as where they are not installed.
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in absent else self.finder.find_spec(name, path, target)


sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
from determined_ner import Tagger

(entities,) = Tagger.from_pretrained(model_dir)(["Ada went to Oslo."])
ours = sorted(name for name in sys.modules if name.startswith("determined_ner."))

import contextlib, io
from determined_ner import cli

said = io.StringIO()
with contextlib.redirect_stdout(said):
    statuses = [cli.main(["predict", model_dir, file]) for file in sys.argv[3:]]
found = {"entities": [entity.text for entity in entities], "modules": ours}
print(json.dumps({**found, "statuses": statuses, "predicted": said.getvalue().splitlines()}))
"""


@pytest.fixture(scope="module")
def tagged(model_dir, tmp_path_factory) -> dict[str, list[Any]]:
    """What a process without these packages found, and the modules of ours that it loaded."""
    folder = tmp_path_factory.mktemp("texts")
    for name, content in (("a.txt", "Ada\n"), ("a.conll", "Ada O\n"), ("a.jsonl", '{"tokens": ["Ada"]}\n')):
        (folder / name).write_text(content)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(NOT_NEEDED), str(model_dir), *map(str, sorted(folder.iterdir()))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, list[Any]] = json.loads(done.stdout)
    return result


def test_a_tagger_works_where_the_packages_of_training_are_absent(tagged):
    assert tagged["entities"] == ["Ada", "Oslo"]


def test_predict_works_where_the_packages_of_training_and_reports_are_absent(tagged):
    predicted = [line for line in tagged["predicted"] if line]
    assert tagged["statuses"] == [0, 0, 0] and len(predicted) == 3, tagged
    assert all("PER" in line for line in predicted)


def test_a_tagger_loads_no_module_that_reads_training_data_or_trains(tagged):
    """Where the packages are installed, transformers may load some of them for itself; we do not."""
    assert "determined_ner.tagging.tagger" in tagged["modules"]
    of_training = ("settings", "training", "determined_api", "data.readers", "data.source", "data.text_store")
    assert not [name for name in tagged["modules"] if name.removeprefix("determined_ner.").startswith(of_training)]
