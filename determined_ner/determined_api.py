"""Every undocumented name of Determined 0.38.1 that we use, with the reason; it is the last release.

Whatever has a public name is used by that. ``tests/test_determined_api.py`` checks that each name here still exists,
and that no other module touches one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, NoReturn

import determined as det
from determined import core, pytorch, tensorboard
from determined.common import util
from determined.experimental import client

from determined_ner.masks import without_secrets

# -- The experiment and its context ------------------------------------------------------------------------------


def experiment_config(info: det.ClusterInfo) -> dict[str, Any]:
    """The experiment config as the master completed it; a script entry point has to read its periods by itself."""
    config: dict[str, Any] = info.trial._config
    return config


def is_managed(context: pytorch.PyTorchTrialContext) -> bool:
    """Whether the trial is built to train; else only weights are loaded into it."""
    return bool(context._managed_training)


def trial_seed(context: pytorch.PyTorchTrialContext) -> int | None:
    """The seed; None in det's local test mode, where the public ``get_trial_seed`` raises."""
    seed: int | None = context._trial_seed
    return seed


def accumulation_steps(context: pytorch.PyTorchTrialContext) -> int:
    """Micro-batches of an optimizer step; det's local test mode does not pass the config's value on."""
    return int(context._aggregation_frequency)


def hide_secrets(context: pytorch.PyTorchTrialContext) -> None:
    """Have the context hand out settings without secrets: what is asked for after this goes into checkpoints."""
    context._exp_conf = without_secrets(context.get_experiment_config())
    context._hparams = without_secrets(context.get_hparams())


def core_context(context: pytorch.PyTorchTrialContext) -> core.Context:
    """Metrics, checkpoints, preemption: what the loop reports to."""
    return context._core


# -- The loop ----------------------------------------------------------------------------------------------------


def end_as_invalid(context: pytorch.PyTorchTrialContext) -> NoReturn:
    """End a trial, on all slots at once, as a point of a search that cannot work: without another checkpoint.

    ``det.InvalidHP`` raised within the loop would have one made of what the model is now.
    """
    if context.distributed.rank == 0:
        context._core.train.report_early_exit(core.EarlyExitReason.INVALID_HP)
    raise pytorch._ShouldExit(skip_exit_checkpoint=True)


def trial_state(train: core.TrainContext) -> str:
    """The state in which the master has the trial: a searcher that stops one changes it, and signals nobody."""
    answer = train._session.get(f"/api/v1/trials/{train._trial_id}")
    return str(answer.json()["trial"]["state"])


class Sending:
    """The thread that sends reports of metrics to the master, to be waited for; made before it has sent any."""

    def __init__(self, train: core.TrainContext) -> None:
        self.thread = train._metrics._shipper
        post, queue = self.thread._post_metrics, self.thread._queue
        assert not queue.unfinished_tasks, "there are reports already"

        def post_and_count(**report: Any) -> None:
            post(**report)
            queue.task_done()

        self.thread._post_metrics = post_and_count

    def wait(self) -> None:
        """Return when all that was reported so far has reached the master, or the thread has failed."""
        queue = self.thread._queue
        with queue.all_tasks_done:
            while queue.unfinished_tasks and self.thread.is_alive():
                queue.all_tasks_done.wait(0.5)


def drop_batch_size_message() -> None:
    """Determined says that it rounds the batch size to a multiple of the slots; our plan keeps it as it is."""
    logging.getLogger("determined").addFilter(_is_true)


def _is_true(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("`global_batch_size` changed")


# -- Checkpoints and events --------------------------------------------------------------------------------------


def write_code_by(write: Callable[[Path, bool], None]) -> None:
    """Have ``write(checkpoint, on_cluster)`` copy the code into checkpoints: the default copies the whole directory."""
    det.util.write_user_code = write


@contextlib.contextmanager
def loading_plain_data(read_state: Callable[[IO[bytes]], Any]) -> Iterator[None]:
    """Have the loop load a checkpoint without running what its pickles say.

    The loop takes ``torch.load`` with its defaults, which were unsafe before torch 2.6, and ``pickle.load``.

    Args:
        read_state: takes the place of ``pickle.load``.
    """
    loop: Any = pytorch._pytorch_trial
    forced, unsafe = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    before = {name: os.environ.pop(name, None) for name in (forced, unsafe)}
    os.environ[forced] = "1"
    loop.pickle = SimpleNamespace(load=read_state, dump=pickle.dump)
    try:
        yield
    finally:
        loop.pickle = pickle
        del os.environ[forced]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def add_to_checkpoint(context: core.Context, folder: Path, uuid: str) -> None:
    """Put more files into a checkpoint that is stored already; those of the same name are replaced.

    Determined's API writes a checkpoint once. Another one for the same batches would be one more to collect, and the
    newest, from which a trial goes on. A download and garbage collection take what lies in the storage; the master's
    list of a checkpoint's files, made before, does not name what is added.
    """
    context.checkpoint._storage_manager.upload(folder, uuid)


def upload_events(context: pytorch.PyTorchTrialContext) -> None:
    """Have the TensorBoard writer write what it holds back, and all its files uploaded."""
    context._maybe_reset_tbd_writer()
    context._core.train.upload_tensorboard_files(lambda _: True, tensorboard.util.get_rank_aware_path)


def download_checkpoint(uuid: str, folder: Path) -> None:
    """Fetch a checkpoint from the cluster's storage, through its master or past it."""
    client.get_checkpoint(uuid).download(path=str(folder))


# -- Connections -------------------------------------------------------------------------------------------------


def use_retries_of_environment(context: core.Context) -> None:
    """Have the connection to the master retry as the environment variable ``DET_RETRY_CONFIG`` says by now.

    Determined reads it when it connects: where ``ner_trial:NERTrial`` is the entry point, before our class is built.
    """
    session = getattr(context.train, "_session", None)
    if session is None:
        return  # no cluster
    session._max_retries = util.get_max_retries_config()
    if session._http_session is not None:
        for adapter in session._http_session.adapters.values():
            adapter.max_retries = session._max_retries


def receiving_socket(slots: core.DistributedContext) -> tuple[Any, str]:
    """The socket through which a slot hears others, gradients aside: the object that holds it, and its name there."""
    if slots.rank == 0:
        return slots._chief_zmq, "_pull_socket"
    return slots._worker_zmq, "_sub_socket"
