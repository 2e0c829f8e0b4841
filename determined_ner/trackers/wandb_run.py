"""A run in Weights & Biases, which is told nothing of the machine, its packages, its code or its output."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class WandbRun:
    """Goes to ``WANDB_PROJECT``, else determined-ner; with ``WANDB_MODE=offline`` to ``wandb`` in the folder."""

    def __init__(self, key: str, title: str, folder: Path) -> None:
        import wandb

        self._wandb, self._folder = wandb, folder
        settings = wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            save_code=False,
            silent=True,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
            host="",
        )
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "determined-ner"),
            id=key,
            name=title,
            dir=str(folder),
            resume="allow",
            settings=settings,
        )
        # Its own count of steps never goes back, where a resumed run makes reports again.
        self._run.define_metric("batches")
        self._run.define_metric("*", step_metric="batches")

    def settings(self, settings: dict[str, Any]) -> None:
        self._run.config.update(settings, allow_val_change=True)

    def metrics(self, metrics: dict[str, float], batches: int) -> None:
        self._run.log({"batches": batches, **metrics})

    def files(self, folder: Path, name: str) -> None:
        variable = "WANDB_DATA_DIR"  # where files wait; the default, in the user's home, may end before they are sent
        given = os.environ.get(variable)
        os.environ[variable] = given or str(self._folder / "wandb")
        try:
            artifact = self._wandb.Artifact(f"{self._run.id}-{name}", type=name)
            artifact.add_dir(str(folder))
        finally:
            if given is None:
                del os.environ[variable]
        self._run.log_artifact(artifact)

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)
