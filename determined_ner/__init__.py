"""Token classification (NER): a trial for Determined AI, and a tagger for what it trained.

    from determined_ner import Tagger

    tagger = Tagger.from_pretrained("runs/mine/model")
    tagger(["Ada Lovelace went to Oslo."])

Importing this costs nothing; what a name needs is imported when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from determined_ner.errors import UserError
    from determined_ner.tagging.tagged import Entity, Tagged
    from determined_ner.tagging.tagger import Tagger

__all__ = ["Entity", "Tagged", "Tagger", "UserError", "__version__"]
__version__ = "0.1.0"

_HOMES = {
    "Entity": "determined_ner.tagging.tagged",
    "Tagged": "determined_ner.tagging.tagged",
    "Tagger": "determined_ner.tagging.tagger",
    "UserError": "determined_ner.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
