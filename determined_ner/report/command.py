"""A report on a trained model: scores with intervals, curves, mistakes, calibration, speed; two models side by side.

    python3 ner_report.py RUN_OR_MODEL [--data FILE] [--output DIR] [--compare OTHER]

DIR holds ``report.html``, one page with all that it shows inside, and its pictures in ``figures/``. It is complete, or
it is not there.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from determined_ner.errors import UserError
from determined_ner.files.atomic import directory_in_making

if TYPE_CHECKING:
    from determined_ner.report.subject import Subject

PAGE = "report.html"
FIGURES = "figures"


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line of ``ner_report.py``."""
    parser = argparse.ArgumentParser(
        prog="ner_report.py",
        description="Report on a trained model, on labelled text: one HTML page and its pictures. Scores have 95 % "
        "bootstrap intervals; mistakes are told by kind and shown in their sentences.",
    )
    parser.add_argument("source", metavar="RUN_OR_MODEL", help="a run's folder (runs/NAME), or a model directory")
    parser.add_argument("--data", metavar="FILE", help="labelled text (default: the validation data of the run)")
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="directory to make, or an earlier report to replace (default: report/ in the run's folder; of a model "
        "directory NAME, NAME-report beside it)",
    )
    parser.add_argument(
        "--compare", metavar="OTHER", help="a second run or model with the same labels: what differs, and how surely"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Report.

    Returns:
        exit status: 0; 2 after a mistake of the user, told in one message; 130 when interrupted.
    """
    arguments = parse_arguments(argv)
    try:
        page = report(arguments.source, arguments.data, arguments.output, arguments.compare)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; no new report is left", file=sys.stderr)
        return 130
    print(f"report   {page}")
    return 0


def report(source: str, data: str | None = None, output: Path | None = None, compare: str | None = None) -> Path:
    """Make the directory ``output``.

    Args:
        source: a run's folder or a model directory.
        data: labelled text; None: the validation data of the training.
        output: None: see `parse_arguments`.
        compare: another run or model directory.

    Returns:
        the page.

    Raises:
        UserError: the source is none, there is no labelled text, the two models do not go together, or the directory
            cannot be written.
    """
    if output is not None:
        _check_output(output)  # before anything takes time
    from determined_ner.local.progress import log_readably
    from determined_ner.report.subject import find_subject, read_labelled, tag_text

    log_readably(chief=True)
    subject = find_subject(source)
    other = None if compare is None else find_subject(compare)
    output = output or _default_output(subject)
    _check_output(output)
    name, other_name = subject.name, other.name if other else ""
    if other is not None and name == other_name:
        assert compare is not None
        name, other_name = source, compare
    text = read_labelled(subject, data)
    labels = subject.directory.labels
    tagged, speed = tag_text(subject, name, text, labels)
    speeds = [(name, speed)]
    changes = None
    if other is not None:
        from determined_ner.report.changes import find_changes

        other_tagged, other_speed = tag_text(other, other_name, text, labels)
        speeds.append((other_name, other_speed))
        changes = find_changes(tagged, other_tagged)

    from determined_ner.report.facts import find_facts
    from determined_ner.report.figures import draw_report
    from determined_ner.report.page import Contents, page

    facts = find_facts(tagged)
    metrics = None if subject.run is None else subject.run / "metrics.jsonl"
    with directory_in_making(output, _check_output) as folder:
        drawn = draw_report(facts, changes, metrics, folder / FIGURES)
        pictures = {picture: (folder / FIGURES / picture).read_bytes() for picture in drawn}
        date = datetime.date.today().isoformat()
        written = page(Contents(facts, changes, subject, text, speeds, pictures, date))
        (folder / PAGE).write_text(written, encoding="utf-8")
    return output / PAGE


def _default_output(subject: Subject) -> Path:
    if subject.run is not None:
        return subject.run / "report"
    path = subject.path if subject.path.name else subject.path.resolve()
    return path.with_name(f"{path.name}-report")


def _check_output(output: Path) -> None:
    """
    Raises:
        UserError: it exists and is no earlier report, or holds something else beside it.
    """
    if not (output.exists() or output.is_symlink()):
        return
    remedy = "name a directory that does not exist, or an earlier report with --output DIR"
    if output.is_symlink() or not output.is_dir() or not _is_report(output / PAGE):
        raise UserError(f"--output {output}: exists already and is no earlier report; {remedy}")
    foreign = sorted(path.name for path in output.iterdir() if path.name not in (PAGE, FIGURES))
    if (output / FIGURES).is_dir():
        foreign += sorted(f"{FIGURES}/{p.name}" for p in (output / FIGURES).iterdir() if p.suffix != ".png")
    if foreign:
        raise UserError(
            f"--output {output}: holds {foreign[0]} beside an earlier report, which would be lost; move it, or {remedy}"
        )


def _is_report(page: Path) -> bool:
    from determined_ner.report.page import GENERATOR

    try:
        with page.open("rb") as file:
            return GENERATOR.encode() in file.read(1000)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
