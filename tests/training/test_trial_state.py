"""How far a training was is read without unpickling it."""

from __future__ import annotations

import io
import pickle
from dataclasses import asdict
from typing import Any

import pytest

from determined_ner.errors import UserError
from determined_ner.training.trial_state import TrialState, read_trial_state


def trial_state(**changes: Any) -> bytes:
    return pickle.dumps({**asdict(TrialState(batches_trained=1 << 40, last_val=300)), **changes})


def test_trial_state_is_read_as_the_loop_wrote_it() -> None:
    for protocol in (2, pickle.DEFAULT_PROTOCOL, pickle.HIGHEST_PROTOCOL):
        state = asdict(TrialState(batches_trained=1 << 40, last_val=300, epochs_trained=7))
        assert read_trial_state(named(pickle.dumps(state, protocol))) == state


class Runs:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('code ran')",)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\x80", b"hello", trial_state()[:-4], b"\x80\x04" + b"(" * 5000),
        *(pickle.dumps(value) for value in (Runs(), [1], {}, {"x": Runs()}, {"trial_id": 0}, 7)),
        *(trial_state(last_ckpt=value) for value in (Runs(), 1.5, "12", -1, [], True, b"", {1})),
        b"\x80\x04}r\xff\xff\xff\x7f.",  # would take 16 GB for the unpickler's memory of what it has seen
    ],
)
def test_a_trial_state_of_anything_but_its_numbers_is_refused_and_runs_nothing(content: bytes) -> None:
    with pytest.raises(UserError, match="is not how far a training was"):
        read_trial_state(named(content))


def named(content: bytes) -> Any:
    file = io.BytesIO(content)
    file.name = "trial_state.pkl"
    return file
