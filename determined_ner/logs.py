"""What the terminal shows of a command's log."""

from __future__ import annotations

import logging
import sys

logger = logging.getLogger("determined_ner")


def set_up_logging(chief: bool) -> None:
    """Our lines as they are, others' from warnings on, and nothing twice from other slots."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", force=True)
    logger.setLevel(logging.INFO if chief else logging.ERROR)
    logger.propagate = False
    logger.handlers = [handler := logging.StreamHandler(sys.stderr)]
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("determined_ner.invalid").setLevel(logging.CRITICAL)  # the command prints it
    logging.getLogger("determined").setLevel(logging.WARNING if chief else logging.ERROR)
