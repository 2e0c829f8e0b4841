"""Trains as ner_trial.py does, with a stand-in of the Hugging Face hub in its network. Lies in a task's context.

The file that the variable WITNESS names holds one object: ``environment``, variables to set, ``path``, directories of
packages, and ``hub``, what the stand-in's repositories are: {"ada/tagger": {"private": false}}. What it received is
written beside that file, as ``hub.json``, and its bytes as ``hub.bin``.
"""

import json
import os
import sys
from pathlib import Path

import huggingface_hub.constants
import standin

ASKED = Path(os.environ["WITNESS"])
(asked,) = json.loads(ASKED.read_text(encoding="utf-8"))
os.environ.update(asked["environment"])
sys.path.extend(asked["path"])

import ner_trial  # noqa: E402

if __name__ == "__main__":
    if "DET_CHIEF_IP" in os.environ and os.environ.get("RANK", "0") != "0":
        sys.exit(ner_trial.main())
    with standin.standing_in() as hub:
        for name, repository in asked["hub"].items():
            hub.repositories[name] = standin.Repository(**repository)
        for name, value in (("ENDPOINT", hub.address), ("HF_HUB_OFFLINE", False), ("HF_HUB_DISABLE_XET", True)):
            setattr(huggingface_hub.constants, name, value)
        os.environ["HF_TOKEN"] = standin.TOKEN
        status = ner_trial.main()
        told = {
            name: {"private": repository.private, "files": sorted(repository.files), "commits": repository.commits}
            for name, repository in hub.repositories.items()
        }
        ASKED.with_name("hub.json").write_text(json.dumps(told), encoding="utf-8")
        ASKED.with_name("hub.bin").write_bytes(hub.received)
    sys.exit(status)
