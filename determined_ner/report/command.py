"""``determined-ner report``: scores with intervals, curves, mistakes, calibration and speed of one model or two.

A report is a directory with ``report.html``, one page that needs no other file, and the page's pictures in
``figures/``. It is written atomically.
"""

from __future__ import annotations

import argparse
import datetime
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from determined_ner.errors import UserError
from determined_ner.files.atomic import atomic_directory
from determined_ner.logs import set_up_logging
from determined_ner.masks import printable
from determined_ner.report.changes import Changes, find_changes
from determined_ner.report.facts import find_facts
from determined_ner.report.figures import draw_report
from determined_ner.report.page import Contents, is_page, render_page
from determined_ner.report.panels import SCORE_NAMES
from determined_ner.report.tagged_text import TaggedText
from determined_ner.report.text import LabelledText, Speed, read_labelled, tag_text
from determined_ner.tags.schemes import Scheme
from determined_ner.training.trained import Trained, find_trained

logger = logging.getLogger("determined_ner")
PAGE, FIGURES = "report.html", "figures"
"""The files of a report."""


def run(arguments: argparse.Namespace) -> None:
    """Run ``determined-ner report`` with parsed arguments.

    Raises:
        UserError: as `report`.
    """
    set_up_logging(chief=True)
    written = report(arguments.source, arguments.data, arguments.output, arguments.compare, arguments.trust_remote_code)
    print(printable(f"report   {written}"))


def report(
    source: str,
    data: str | None = None,
    output: Path | None = None,
    compare: str | None = None,
    trust_remote_code: bool = False,
) -> Path:
    """Write a report.

    Args:
        source: a run's folder, a model directory, or a checkpoint's directory or UUID. Of a run that has not ended, the
            best checkpoint so far is taken.
        data: labelled text; None: the validation data of the training.
        output: the directory to write; None: ``report/`` in the run's folder, ``NAME-report`` beside a directory NAME.
        compare: a second model, named like ``source``.
        trust_remote_code: run code that the models bring along.

    Returns:
        path of the page.

    Raises:
        UserError: a source is none of these, there is no labelled text, the models have different labels, or the
            directory cannot be written.
    """
    if output is not None:
        _check_output(output)  # at once, not after minutes of tagging
    with tempfile.TemporaryDirectory() as downloads:
        trained = _find(source, Path(downloads) / "this", trust_remote_code)
        other = None if compare is None else _find(compare, Path(downloads) / "other", trust_remote_code)
        output = output or _default_output(trained)
        _check_output(output)
        names = [trained.name] if other is None else [trained.name, other.name]
        if compare is not None and names[0] == names[1]:
            names = [source, compare]
        text = read_labelled(trained, data)
        tagged, speed = tag_text(trained, names[0], text, trained.directory.labels)
        speeds, changes = [(names[0], speed)], None
        if other is not None:
            other_tagged, other_speed = tag_text(other, names[1], text, trained.directory.labels)
            speeds.append((names[1], other_speed))
            changes = find_changes(tagged, other_tagged, None if data else _other_text(other, trained, text))

    if changes is not None:
        main = "accuracy" if tagged.table.plain else "f1"
        logger.info(f"{SCORE_NAMES[main]} of {names[0]} and {names[1]}: {changes.verdict(main)}")
    reports = [] if trained.run is None else trained.run.metrics.reports()
    with atomic_directory(output, _check_output) as folder:
        (folder / FIGURES).mkdir()
        page = write_page(folder / FIGURES, trained, text, tagged, speeds, reports, changes)
        (folder / PAGE).write_text(page, encoding="utf-8")
    return output / PAGE


def write_page(
    figures: Path,
    trained: Trained,
    text: LabelledText,
    tagged: TaggedText,
    speeds: list[tuple[str, Speed]],
    reports: list[dict[str, Any]],
    changes: Changes | None = None,
    examples: bool = True,
    summary: bool = True,
) -> str:
    """Draw the pictures, and write the page that holds them.

    Args:
        figures: the directory of the pictures.
        tagged: the text, tagged by the model.
        speeds: by model.
        reports: of the training, for its curves.
        changes: beside another model; None: there is none.
        examples: whether words of the text may stand on the page.
        summary: also draw the summary, which is not on the page.
    """
    facts = find_facts(tagged)
    drawn = draw_report(facts, changes, reports, figures, summary)
    contents = Contents(
        facts=facts if examples else facts.without_words(),
        changes=changes,
        trained=trained,
        text=text,
        speeds=speeds,
        pictures={name: (figures / name).read_bytes() for name in drawn},
        date=datetime.date.today().isoformat(),
        examples=examples,
    )
    return render_page(contents)


def _other_text(other: Trained, trained: Trained, text: LabelledText) -> str | None:
    """Why a model cannot be judged on the validation data of another: it may have been trained on it.

    Args:
        other: the model.
        trained: the one whose validation data ``text`` is.

    Returns:
        None: the data is also that of ``other``.
    """
    remedy = "compare on a text that neither was trained on, with --data FILE"
    try:
        its = read_labelled(other, None)
    except UserError:
        return f"what the second model was validated on is not at hand; {remedy}"
    pairs = ((trained, text), (other, its))
    this_gold, its_gold = (np.array(model.directory.labels)[labelled.gold] for model, labelled in pairs)
    if its.words != text.words or not np.array_equal(this_gold, its_gold):
        return f"the second model was validated on another text, and may have been trained on this one; {remedy}"
    return None


def _find(source: str, downloads: Path, trust_remote_code: bool) -> Trained:
    """
    Raises:
        UserError: the source is no trained model, or one whose labels are neither IOB2 nor plain.
    """
    downloads.mkdir()
    trained = find_trained(source, downloads, trust_remote_code)
    directory = trained.directory
    if directory.label_scheme not in (Scheme.IOB2, Scheme.PLAIN):
        raise UserError(
            directory.path,
            f"its labels are in {directory.label_scheme.value}, which a report cannot be made of",
            "give a model whose labels are IOB2 or plain, as those of every run are",
        )
    return trained


def _default_output(trained: Trained) -> Path:
    if trained.run is not None:
        return trained.run.report
    path = trained.path if trained.path.name else trained.path.resolve()
    return path.with_name(f"{path.name}-report")


def _check_output(output: Path) -> None:
    remedy = "name a directory that does not exist, or an earlier report with --output DIR"
    check_free(output, f"--output {output}", remedy)


def check_free(output: Path, where: object, remedy: str) -> None:
    """
    Args:
        where: what the user named it by, for the message.

    Raises:
        UserError: it exists and is no earlier report, or holds other files beside one.
    """
    if not (output.exists() or output.is_symlink()):
        return
    if output.is_symlink() or not output.is_dir() or not is_page(output / PAGE):
        raise UserError(where, "exists already and is no earlier report", remedy)
    foreign = sorted(path.name for path in output.iterdir() if path.name not in (PAGE, FIGURES))
    if (output / FIGURES).is_dir():
        foreign += sorted(f"{FIGURES}/{p.name}" for p in (output / FIGURES).iterdir() if p.suffix != ".png")
    if foreign:
        problem = f"holds {foreign[0]} beside an earlier report, which would be lost"
        raise UserError(where, problem, f"move it, or {remedy}")
