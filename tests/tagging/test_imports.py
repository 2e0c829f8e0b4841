"""Who only tags needs neither Determined nor what reads and checks training data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

NOT_NEEDED = ("determined", "datasets", "pyarrow", "pydantic", "matplotlib")

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
found = sorted({name.split(".")[0] for name in sys.modules})
print(json.dumps({"entities": [entity.text for entity in entities], "modules": found}))
"""


def tag_without(absent: tuple[str, ...], model_dir: Path) -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(absent), str(model_dir)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, list[str]] = json.loads(done.stdout)
    return result


def test_a_tagger_works_where_the_packages_of_training_are_absent(model_dir):
    assert tag_without(NOT_NEEDED, model_dir)["entities"] == ["Ada", "Oslo"]


def test_a_tagger_leaves_the_packages_of_training_alone_where_they_are_installed(model_dir):
    assert not set(NOT_NEEDED) & set(tag_without((), model_dir)["modules"])
