"""A process that ends at some call, in a test's own process."""

from __future__ import annotations

from typing import Any

import pytest


class Killed(BaseException):
    """Ends a command as SIGKILL does, as far as a process can outlive that: nothing is tidied up by ours."""


def stop_after(monkeypatch: pytest.MonkeyPatch, of: Any, name: str, calls: int) -> None:
    """Let a function of an object raise `Killed` after so many calls."""
    original, done = getattr(of, name), []

    def stopped(*arguments: Any, **named: Any) -> Any:
        done.append(1)
        if len(done) > calls:
            raise Killed
        return original(*arguments, **named)

    monkeypatch.setattr(of, name, stopped)
