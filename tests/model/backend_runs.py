"""Runs of ner_trial.py one after another in one process (of torchrun's): imports and process groups cost seconds.

What needs a GPU runs here with its real scaler and, for ONNX Runtime's fused Adam, with a kernel on the CPU.

python3 backend_runs.py FILE    FILE: JSON, a list of argument lists, or ["copy", FROM, TO, STEP]: as if
                                FROM had been killed before its checkpoint of that step
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

import ner_trial
from determined_ner.model import engine
from determined_ner.training import setup
from tests.model import fused_kernel

torch.set_num_threads(1)
setup.check_conditions = lambda *_: None
engine.make_scaler = lambda: torch.amp.GradScaler("cpu", init_scale=2.0**10)

for arguments in json.loads(Path(sys.argv[1]).read_text()):
    # A process group finds its peers through a store that keeps the addresses of the one before: each has its own.
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"
    os.environ["MASTER_PORT"] = str(int(os.environ.get("MASTER_PORT", "29500")) + 1)
    if "hyperparameters.optim=adamw_ort_fused" in arguments:
        fused_kernel.install()
    if arguments[0] == "copy":
        _, source, target, step = arguments
        if os.environ.get("RANK", "0") == "0":
            shutil.copytree(source, target)
            shutil.rmtree(Path(target) / "checkpoints" / f"step-{step:08d}")
        continue
    status = ner_trial.main(arguments)
    if status:
        sys.exit(status)
