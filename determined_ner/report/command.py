"""A report on a trained model: scores with intervals, curves, mistakes, calibration, speed; two models side by side.

Its directory holds ``report.html``, one page with all that it shows inside, and its pictures in ``figures/``. It is
complete, or it is not there.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
from pathlib import Path

from determined_ner.errors import UserError
from determined_ner.files.atomic import atomic_directory
from determined_ner.logs import set_up_logging
from determined_ner.report.changes import find_changes
from determined_ner.report.facts import find_facts
from determined_ner.report.figures import draw_report
from determined_ner.report.page import GENERATOR, Contents, page
from determined_ner.report.text import read_labelled, tag_text
from determined_ner.tags.schemes import Scheme
from determined_ner.training.trained import Trained, find_trained

PAGE = "report.html"
FIGURES = "figures"


def run(arguments: argparse.Namespace) -> None:
    """Report as the command line says.

    Raises:
        UserError: as `report`.
    """
    set_up_logging(chief=True)
    page = report(arguments.source, arguments.data, arguments.output, arguments.compare, arguments.trust_remote_code)
    print(f"report   {page}")


def report(
    source: str,
    data: str | None = None,
    output: Path | None = None,
    compare: str | None = None,
    trust_remote_code: bool = False,
) -> Path:
    """Make the directory ``output``.

    Args:
        source: a run's folder, a model directory, a checkpoint's directory or UUID.
        data: labelled text; None: the validation data of the training.
        output: None: ``report/`` in the run's folder; of a model directory NAME, ``NAME-report`` beside it.
        compare: another one like ``source``.
        trust_remote_code: run code that the models bring along.

    Returns:
        the page.

    Raises:
        UserError: the source is none, there is no labelled text, the two models do not go together, or the directory
            cannot be written.
    """
    if output is not None:
        _check_output(output)  # before anything takes time
    with tempfile.TemporaryDirectory() as downloads:
        trained = _find(source, Path(downloads) / "this", trust_remote_code)
        other = None if compare is None else _find(compare, Path(downloads) / "other", trust_remote_code)
        output = output or _default_output(trained)
        _check_output(output)
        name, other_name = trained.name, other.name if other else ""
        if other is not None and name == other_name:
            assert compare is not None
            name, other_name = source, compare
        text = read_labelled(trained, data)
        labels = trained.directory.labels
        tagged, speed = tag_text(trained, name, text, labels)
        speeds = [(name, speed)]
        changes = None
        if other is not None:
            other_tagged, other_speed = tag_text(other, other_name, text, labels)
            speeds.append((other_name, other_speed))
            changes = find_changes(tagged, other_tagged)

    facts = find_facts(tagged)
    reports = [] if trained.run is None else trained.run.metrics.reports()
    with atomic_directory(output, _check_output) as folder:
        drawn = draw_report(facts, changes, reports, folder / FIGURES)
        pictures = {picture: (folder / FIGURES / picture).read_bytes() for picture in drawn}
        date = datetime.date.today().isoformat()
        written = page(Contents(facts, changes, trained, text, speeds, pictures, date))
        (folder / PAGE).write_text(written, encoding="utf-8")
    return output / PAGE


def _find(source: str, downloads: Path, trust_remote_code: bool) -> Trained:
    downloads.mkdir()
    trained = find_trained(source, downloads, trust_remote_code)
    directory = trained.directory
    if directory.label_scheme not in (Scheme.IOB2, Scheme.PLAIN):
        scheme = directory.label_scheme.value
        raise UserError(directory.path, f"its labels are in {scheme}; the report reads IOB2 and plain ones")
    return trained


def _default_output(trained: Trained) -> Path:
    if trained.run is not None:
        return trained.run.path / "report"
    path = trained.path if trained.path.name else trained.path.resolve()
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
        raise UserError(f"--output {output}", "exists already and is no earlier report", remedy)
    foreign = sorted(path.name for path in output.iterdir() if path.name not in (PAGE, FIGURES))
    if (output / FIGURES).is_dir():
        foreign += sorted(f"{FIGURES}/{p.name}" for p in (output / FIGURES).iterdir() if p.suffix != ".png")
    if foreign:
        problem = f"holds {foreign[0]} beside an earlier report, which would be lost"
        raise UserError(f"--output {output}", problem, f"move it, or {remedy}")


def _is_report(page: Path) -> bool:
    try:
        with page.open("rb") as file:
            return GENERATOR.encode() in file.read(1000)
    except OSError:
        return False
