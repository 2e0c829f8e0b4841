"""The metrics log of a run, ``metrics.jsonl``: the one place that writes and reads it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from determined_ner.errors import UserError
from determined_ner.files.atomic import check_is_file, write_text

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Reports, one JSON object a line, in the order in which they were made.

    A report has ``kind`` (training or validation), ``batches`` (calls of ``train_batch`` so far), ``epochs`` (whole
    ones completed) and the metrics, null where one is not a number.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, report: dict[str, Any]) -> None:
        """Add a report at the end."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(report) + "\n")

    def rewrite(self, reports: Iterable[dict[str, Any]]) -> None:
        """Replace all reports by these, atomically."""
        write_text(self.path, "".join(json.dumps(report) + "\n" for report in reports))

    def reports(self) -> list[dict[str, Any]]:
        """Read all reports; without a file there are none, and a last line that a stop cut short is left out.

        Raises:
            UserError: another line is not a report.
        """
        if not self.path.exists():
            return []
        check_is_file(self.path, "the run")
        lines = self.path.read_bytes().split(b"\n")
        reports = []
        for number, line in enumerate(lines, 1):
            try:
                report = json.loads(line.decode("utf-8"))
            except (ValueError, RecursionError):
                if number == len(lines):
                    break
                report = None
            if not is_report(report):
                problem = f"{line[:60].decode('utf-8', 'replace')!r} is not a report of a run"
                raise UserError(f"{self.path}:{number}", problem, "remove the line")
            reports.append(report)
        return reports


def is_report(value: Any) -> bool:
    """Whether it has a kind, a count of batches, and numbers."""
    if not isinstance(value, dict) or value.get("kind") not in ("training", "validation"):
        return False
    batches = value.get("batches")
    numbers = (number for name, number in value.items() if name != "kind")
    return isinstance(batches, int) and batches >= 0 and all(map(is_number_or_null, numbers))


def is_number_or_null(value: Any) -> bool:
    """Whether it is a metric as it is kept; a number that is not finite is not."""
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
