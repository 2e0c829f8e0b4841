"""The Python of startup-hook.sh."""

from __future__ import annotations

from typing import Any

from tests.conftest import ROOT


def names_of_the_hook() -> dict[str, Any]:
    """Its constants and functions, without the call that does it all."""
    text = (ROOT / "startup-hook.sh").read_text(encoding="utf-8")
    code = text.partition("<<'PYTHON'\n")[2].partition("\nproblem = main()")[0]
    names: dict[str, Any] = {}
    exec(compile(code, "startup-hook.sh", "exec"), names)
    return names
