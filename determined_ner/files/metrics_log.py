"""The metrics log of a run, ``metrics.jsonl``: the one place that writes and reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from determined_ner.errors import UserError
from determined_ner.files.atomic import write_text

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
        try:
            lines = self.path.read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            return []
        reports = []
        for number, line in enumerate(lines, 1):
            try:
                report = json.loads(line)
            except json.JSONDecodeError:
                if number == len(lines):
                    break
                report = None
            if not isinstance(report, dict):
                raise UserError(f"{self.path}:{number}", f"{line[:60]!r} is not a report of a run", "remove the line")
            reports.append(report)
        return reports

    def validations(self) -> list[dict[str, Any]]:
        """Read the reports of validations."""
        return [report for report in self.reports() if report.get("kind") == "validation"]
