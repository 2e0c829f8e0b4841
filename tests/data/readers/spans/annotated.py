"""What tests of formats with spans ask of a text and of a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from determined_ner.data.readers.spans.text import AnnotatedText
from determined_ner.errors import UserError


def entities(text: AnnotatedText) -> list[tuple[str, str]]:
    return [(span.type, text.text[span.start : span.end]) for span in text.spans]


def assert_refused(read: Callable[[], Any], where: str, *parts: str) -> None:
    """That it is refused there, in one line that has these parts."""
    with pytest.raises(UserError) as caught:
        read()
    message = str(caught.value)
    assert caught.value.where == where, message
    assert caught.value.problem and caught.value.remedy and "\n" not in message, message
    for part in parts:
        assert part in message, (part, message)
