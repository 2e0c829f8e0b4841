"""What the terminal shows of a command's log."""

from __future__ import annotations

import logging
import sys

from determined_ner.masks import masked, printable_lines

logger = logging.getLogger("determined_ner")


class _Masked(logging.Formatter):
    """Shows no secrets of URLs, and nothing that a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(masked(super().format(record)))


def set_up_logging(chief: bool) -> None:
    """Our lines as they are, others' from warnings on, and nothing twice from other slots."""
    others = logging.StreamHandler(sys.stderr)
    others.setFormatter(_Masked("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[others], force=True)
    logger.setLevel(logging.INFO if chief else logging.ERROR)
    logger.propagate = False
    logger.handlers = [handler := logging.StreamHandler(sys.stderr)]
    handler.setFormatter(_Masked("%(message)s"))
    logging.getLogger("determined_ner.invalid").setLevel(logging.CRITICAL)  # the command prints it
    logging.getLogger("determined").setLevel(logging.WARNING if chief else logging.ERROR)
