"""The report as one page: HTML with its styles and pictures inside, without a script, readable on a phone.

Every word and name on it is somebody else's text: all of it goes through `_e`, and stands in an element of its own
writing direction.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from determined_ner.report.figures import SCORE_NAMES, describe_length
from determined_ner.report.mistakes import MistakeKind
from determined_ner.report.plots import shortened

if TYPE_CHECKING:
    from determined_ner.report.changes import Changes, Difference
    from determined_ner.report.facts import Facts, Marked, Score
    from determined_ner.report.statistics import Reliability
    from determined_ner.report.text import LabelledText, Speed
    from determined_ner.training.trained import Trained

GENERATOR = '<meta name="generator" content="ner_report.py">'
"""Stands in every report, so that a later one may replace it."""
LONGEST_WORD = 80
"""Characters of a word that are shown."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that HTML does not allow, and those that would turn the text after them round."""
_SCORES = {
    "f1": "of words and type both right; seqeval's default (lenient) mode, which training reports",
    "precision": "of the entities found, the share that is right",
    "recall": "of the gold entities, the share that was found",
    "f1_strict": "seqeval's strict mode under IOB2, in which an entity with a broken tag is none",
    "f1_overlap": "one word in common and the same type suffice",
    "accuracy": "the share of words with the right tag",
}
_KINDS = {
    MistakeKind.MISSED: ("Missed", "a gold entity to which nothing belongs"),
    MistakeKind.SPURIOUS: ("Invented", "an entity where people marked none"),
    MistakeKind.TYPE: ("Wrong type", "the same words, another type"),
    MistakeKind.BOUNDARY: ("Wrong boundary", "some words in common, the same type"),
    MistakeKind.BOTH: ("Wrong boundary and type", "some words in common, another type"),
}
_STYLE = """
:root { color-scheme: light; --line: #d8dce0; --soft: #f4f6f8; --blue: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem 1.1rem 4rem; font: 16px/1.5 system-ui, sans-serif;
  color: #1b1f23; background: #fff; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .6rem 0 .3rem; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 .5rem; padding-top: .7rem; border-top: 2px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .3rem; }
p { margin: .5rem 0; max-width: 46rem; }
a { color: var(--blue); }
nav { margin: .8rem 0; line-height: 1.9; }
nav a { margin-right: .9rem; white-space: nowrap; }
.headline { display: flex; flex-wrap: wrap; gap: .7rem; margin: 1rem 0; }
.headline div { background: var(--soft); border-radius: .5rem; padding: .6rem .9rem; min-width: 9.5rem; flex: 1; }
.headline b { display: block; font-size: 1.7rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.headline small { color: #57606a; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .95rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .3rem .7rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; }
th:first-child, td:first-child { text-align: left; min-width: 6.5rem; }
td.text, th.text { text-align: left; min-width: 7rem; }
td:not(.text):not(:first-child) { white-space: nowrap; }
ul { padding-left: 1.2rem; max-width: 46rem; }
td small { color: #57606a; white-space: nowrap; }
img { display: block; width: 100%; max-width: 45rem; height: auto; margin: .8rem 0; }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .6rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; font-weight: 600; padding: .25rem 0; }
.example { border-top: 1px solid var(--line); padding: .5rem 0; }
.example > small { color: #57606a; }
.row { display: flex; gap: .6rem; }
.row > span { flex: 0 0 3.6rem; color: #57606a; font-size: .85rem; padding-top: .1rem; overflow: hidden; }
.row > bdi { flex: 1; min-width: 0; }
mark { background: #fde8c4; border-radius: .25rem; padding: .05rem .2rem; color: inherit; }
.gold mark { background: #cdeee2; }
mark bdi.type { font-size: .72rem; font-weight: 600; margin-inline-start: .3rem; color: #57606a; }
.note { background: var(--soft); border-left: 4px solid var(--blue); padding: .4rem .8rem; }
@media (max-width: 480px) { body { padding: .6rem .8rem 3rem; } h1 { font-size: 1.4rem; }
  .row > span { flex-basis: 2.9rem; } th, td { padding-right: .5rem; font-size: .88rem; }
  th:first-child, td:first-child { min-width: 4.6rem; } td.text, th.text { min-width: 5.5rem; } }
@media print { details { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Contents:
    """All that a page shows."""

    facts: Facts
    changes: Changes | None
    trained: Trained
    text: LabelledText
    speeds: list[tuple[str, Speed]]
    """By model."""
    pictures: dict[str, bytes]
    """PNG files by name."""
    date: str


def page(contents: Contents) -> str:
    """The whole page."""
    facts = contents.facts
    sections = [
        ("scores", "Scores", _scores(contents)),
        ("types", "Tags" if facts.plain else "Types", _types(contents)),
        ("curves", "Learning curves", _curves(contents)),
        ("comparison", "Comparison", _comparison(contents)),
        ("confusion", "Confusion", _confusion(contents)),
        ("mistakes", "Mistakes", _mistakes(contents)),
        ("calibration", "Calibration", _calibration(contents)),
        ("lengths", "Length and padding", _lengths(contents)),
        ("speed", "Throughput", _speed(contents)),
        ("about", "About", _about(contents)),
    ]
    kept = [(key, title, body) for key, title, body in sections if body]
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in kept)
    bodies = "\n".join(f'<section id="{key}"><h2>{title}</h2>\n{body}\n</section>' for key, title, body in kept)
    types = _counted(len(facts.types), "tag" if facts.plain else "entity type")
    files = ", ".join(_e(Path(name).name) for name in contents.text.files)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{GENERATOR}
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_e(facts.name)}: token classification report</title>
<style>{_STYLE}</style>
</head>
<body>
<h1><bdi>{_e(facts.name)}</bdi></h1>
<p>Token classification on <bdi>{files}</bdi>: {_counted(facts.words, "word")} in \
{_counted(facts.sentences, "sentence")}, {types}. Made on {_e(contents.date)}.</p>
<nav>{links}</nav>
{bodies}
</body>
</html>
"""


# -- Sections --------------------------------------------------------------------------------------------------


def _scores(contents: Contents) -> str:
    facts = contents.facts
    boxes = "".join(
        f"<div><small>{SCORE_NAMES[name]}</small><b>{facts.headline[name].value:.3f}</b>"
        f"<small>{_interval(facts.headline[name])}</small></div>"
        for name in (["accuracy"] if facts.plain else ["f1", "f1_strict", "precision", "recall"])
    )
    rows = [
        [SCORE_NAMES[name], _score(score), *([] if facts.plain else [_score(facts.headline_decoded[name])])]
        for name, score in facts.headline.items()
    ]
    head = ["", "score", *([] if facts.plain else ["decoded together"])]
    parts = [f'<div class="headline">{boxes}</div>', _reported(contents), _table(head, rows)]
    parts.append(
        "<ul>" + "".join(f"<li>{SCORE_NAMES[name]}: {_SCORES[name]}</li>" for name in facts.headline) + "</ul>"
    )
    if not facts.plain:
        parts.append(
            f"<p>Everything on this page takes each word's most probable tag by itself, as training's own validation "
            f"does. «Decoded together» is what the tagger gives unless told otherwise: of all sequences of tags that "
            f"the scheme allows the most probable one; {facts.decoding_changes:,} of {facts.words:,} words have "
            f"another tag then.</p>"
        )
    parts.append(
        f"<p>Intervals: 95 % of bootstrap samples of the {facts.units:,} {facts.unit}. They tell how much the score "
        f"depends on which {facts.unit} were labelled, not how much it depends on the seed of the training.</p>"
    )
    return "\n".join(parts)


def _reported(contents: Contents) -> str:
    """Whether the score is the one that the run reported, where both are of the same text and weights."""
    text, summary, facts = contents.text, contents.trained.summary, contents.facts
    notes = []
    if text.as_trained is False:
        notes.append("This is not the text that the training validated on.")
    elif text.as_trained and summary and (best := summary.get("best")) and best["batches"] == summary["model_batches"]:
        name = "accuracy" if facts.plain else "f1"
        reported, found = float(best[name]), facts.trained[name]
        if abs(reported - found) < 1e-12:
            notes.append(f"The run reported the same {SCORE_NAMES[name]}, {reported:.6f} (<code>summary.json</code>).")
        else:
            notes.append(
                f"The run reported {SCORE_NAMES[name]} {reported:.6f} (<code>summary.json</code>), here it is "
                f"{found:.6f}: another device, precision or version rounds otherwise."
            )
    if text.repaired:
        notes.append(f"{text.repaired:,} gold tags are not allowed by the scheme and were read as seqeval reads them.")
    return f'<p class="note">{" ".join(notes)}</p>' if notes else ""


def _types(contents: Contents) -> str:
    facts = contents.facts
    rows = sorted(facts.per_type, key=lambda row: (-row.gold, row.name))
    table = [
        [_name(row.name)]
        + [_score(score) if row.gold or row.predicted else "" for score in (row.f1, row.precision, row.recall)]
        + [f"{row.gold:,}", f"{row.predicted:,}"]
        + ([] if facts.plain else [f"{row.strict:.3f}", f"{row.overlap:.3f}"])
        for row in rows
    ]
    head = ["", "F1", "precision", "recall", "gold", "found", *([] if facts.plain else ["F1, strict", "F1, overlap"])]
    return _picture(contents, "types.png", "F1 of each type with its interval") + _table(head, table)


def _curves(contents: Contents) -> str:
    return _picture(contents, "f1.png", "Validation scores during training") + _picture(
        contents, "loss.png", "Loss during training"
    )


def _confusion(contents: Contents) -> str:
    facts = contents.facts
    told = (
        "How many words of each gold tag got which tag."
        if facts.plain
        else "Entities with words in common are paired; the row is the gold type, the column the predicted one. The "
        "column «none» holds what was missed, the row «none» what was invented."
    )
    wrong = facts.confusion.copy()
    np.fill_diagonal(wrong, 0)
    wrong[-1:] = wrong[:, -1:] = 0
    often = sorted(zip(*np.nonzero(wrong), strict=True), key=lambda at: (-wrong[at], at))[:10]
    rows = [[_name(facts.types[i]), _name(facts.types[j]), f"{wrong[i, j]:,}"] for i, j in often]
    table = _table(["gold", "taken for", "times"], rows, text_columns=(2,)) if rows else ""
    return f"<p>{told}</p>" + _picture(contents, "confusion.png", "Gold types against predicted types") + table


def _mistakes(contents: Contents) -> str:
    facts = contents.facts
    parts = []
    if not facts.plain:
        total = sum(facts.kinds.values()) - facts.kinds["right"]
        rows = [
            [told, f"{facts.kinds[kind.name.lower()]:,}", f"{facts.kinds[kind.name.lower()] / max(total, 1):.0%}", what]
            for kind, (told, what) in _KINDS.items()
        ]
        parts.append(_table(["kind", "number", "share", ""], rows, text_columns=(4,)))
        parts.append(
            "<p>Each gold and each predicted entity counts once. One of a wrong type or boundary costs precision and "
            "recall; one that is missed only recall, an invented one only precision.</p>"
        )
        parts.append(_picture(contents, "mistakes.png", "What became of the entities of each type"))
    for kind, (told, _) in _KINDS.items():
        examples = facts.examples[kind.name.lower()]
        if not examples:
            continue
        number = facts.kinds[kind.name.lower()]
        some = f"the {len(examples)} of {number:,}" if len(examples) < number else f"all {number:,}"
        parts.append(
            f"<details><summary>{told}: {some} that the model was surest of</summary>"
            f"{_frequent(facts.frequent.get(kind.name.lower(), []))}{''.join(map(_example, examples))}</details>"
        )
    if not any(facts.examples.values()):
        parts.append("<p>None.</p>")
    return "\n".join(parts)


def _frequent(often: Sequence[tuple[str, str, int]]) -> str:
    if not often:
        return ""
    told = ", ".join(f"<bdi>{_e(shortened(text, LONGEST_WORD))}</bdi> ({_name(name)}, {n})" for text, name, n in often)
    return f"<p>Most often: {told}.</p>"


def _calibration(contents: Contents) -> str:
    facts = contents.facts
    rows = [["all words", *_calibrated(facts.calibration)]]
    if facts.calibration_entities is not None:
        rows.append(["in entities", *_calibrated(facts.calibration_entities)])
    bins = facts.calibration
    reliability = [
        [
            f"{bins.edges[i]:.1f} to {bins.edges[i + 1]:.1f}",
            f"{bins.count[i]:,}",
            f"{bins.confidence[i]:.3f}",
            f"{bins.accuracy[i]:.3f}",
        ]
        for i in np.flatnonzero(bins.count)
    ]
    return (
        "<p>Is a tag with probability 0.8 right four times of five? The expected calibration error is the mean gap "
        "between the two, over words. Most words are easy ones outside of entities, so those that the model takes for "
        "part of an entity are told by themselves.</p>"
        + _table(["", "words", "mean probability", "share right", "expected error"], rows)
        + _picture(contents, "calibration.png", "Reliability diagram")
        + _table(["probability", "words", "mean", "share right"], reliability)
    )


def _calibrated(bins: Reliability) -> list[str]:
    total = int(bins.count.sum())
    if not total:
        return ["0", "", "", ""]
    means = (float(np.nansum(values * bins.count)) / total for values in (bins.confidence, bins.accuracy))
    return [f"{total:,}", *(f"{mean:.3f}" for mean in means), f"{bins.error:.3f}"]


def _lengths(contents: Contents) -> str:
    facts, text = contents.facts, contents.text
    score = "accuracy" if facts.plain else "F1"
    rows = [
        [
            describe_length(row),
            f"{row.sentences:,}",
            f"{row.words:,}",
            f"{row.entities:,}",
            "" if row.f1 is None else _score(row.f1),
        ]
        for row in facts.lengths
    ]
    windows = text.windows
    limit = contents.trained.directory.max_seq_length
    told = (
        f"<p>The model reads {len(windows):,} windows of at most {limit:,} pieces: half of them have "
        f"{np.median(windows):,.0f} or fewer, 95 % have {np.quantile(windows, 0.95):,.0f} or fewer, the longest "
        f"{windows.max():,}. Of what it computes, {text.padding:.1%} is padding, in batches of like length; "
        f"{1 - windows.sum() / (len(windows) * windows.max()):.0%} it would be, were all padded to the longest.</p>"
    )
    return (
        told
        + _picture(contents, "lengths.png", "Score by the length of the sentence")
        + _table(["words", "sentences", "words in them", "words" if facts.plain else "entities", score], rows)
    )


def _speed(contents: Contents) -> str:
    rows = [
        [f"tagging, {_name(name)}", f"{speed.words_per_second:,.0f} words/s", f"{speed.seconds:,.1f} s", speed.device]
        for name, speed in contents.speeds
    ]
    summary = contents.trained.summary or {}
    if summary.get("samples_per_second"):
        slots = summary.get("slots", 1)
        where = f"{slots} slot{'s' if slots != 1 else ''}, of the run"
        seconds = f"{summary['seconds']:,.0f} s"
        rows.append(["training", f"{summary['samples_per_second']:,.1f} windows/s", seconds, where])
    return _table(["", "speed", "time", "on"], rows, text_columns=(4,)) + (
        "<p>Tagging of the text above, tokenization included, loading left out: one measurement, on a machine that may "
        "have had other work.</p>"
    )


def _about(contents: Contents) -> str:
    trained = contents.trained
    directory = trained.directory
    rows = [["labels", ", ".join(_name(label) for label in directory.labels)], ["scheme", directory.scheme.value]]
    rows.append(["architecture", _e(str(directory.config.model_type))])
    if trained.settings is not None:
        hparams, data = trained.settings.hparams, trained.settings.data
        rows.append(["encoder", _e(Path(hparams.pretrained_model_name_or_path).name)])
        rows.append(["training text", _e(Path(data.train_file or data.dataset_name or "").name)])
        names = ("num_train_epochs", "max_steps", "global_batch_size", "learning_rate", "lr_scheduler_type")
        rows += [[name, _e(str(getattr(hparams, name)))] for name in (*names, "weight_decay", "precision", "backend")]
    rows.append(["max_seq_length", f"{directory.max_seq_length:,}"])
    return _table(["", ""], rows, text_columns=(2,))


def _comparison(contents: Contents) -> str:
    changes, facts = contents.changes, contents.facts
    if changes is None:
        return ""
    this, other = _name(facts.name), _name(changes.other)
    rows = [[SCORE_NAMES[name], *_difference(found)] for name, found in changes.headline.items()]
    if not facts.plain:
        rows += [[_name(name), *_difference(found)] for name, found in changes.per_type.items()]
    same = changes.sentences
    grid = [
        [f"{other}: right", f"{same['both']:,}", f"{same['other']:,}"],
        [f"{other}: not", f"{same['this']:,}", f"{same['neither']:,}"],
    ]
    parts = [
        f"<p>{this} beside {other}, on the same text. p is how often two models that do not differ would show at least "
        f"this difference (approximate randomisation over {facts.unit}, two-sided); of many rows some fall below 0.05 "
        f"by chance.</p>",
        _table(["", this, other, "difference, points", "p"], rows),
        _picture(contents, "comparison.png", "Differences of the scores with their intervals"),
        f"<h3>Sentences</h3><p>{changes.changed_words:,} words in {changes.changed_sentences:,} sentences are tagged "
        f"otherwise by the two. Sentences that are wholly right:</p>",
        _table(["", f"{this}: right", f"{this}: not"], grid),
    ]
    what = "words" if facts.plain else "entities"
    turned = (
        (f"Right with {this} alone", changes.fixed, changes.fixed_count),
        (f"Right with {other} alone", changes.broken, changes.broken_count),
    )
    for told, examples, number in turned:
        if examples:
            some = f"{len(examples)} of {number:,}" if len(examples) < number else f"{number:,}"
            parts.append(
                f"<details><summary>{told}: {some} {what}</summary>{''.join(map(_example, examples))}</details>"
            )
    return "\n".join(parts)


def _difference(found: Difference) -> list[str]:
    interval = f"{100 * found.interval.low:+.1f} to {100 * found.interval.high:+.1f}"
    p = f"{found.p_value:.4f}" if found.p_value >= 0.0001 else "&lt; 0.0001"
    return [f"{found.this:.3f}", f"{found.other:.3f}", f"{100 * found.value:+.1f}<br><small>{interval}</small>", p]


# -- Parts -----------------------------------------------------------------------------------------------------


def _e(text: str) -> str:
    return html.escape(_CONTROLS.sub("\ufffd", text))


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _name(text: str) -> str:
    """A label, type or model, whatever its script."""
    return f"<bdi>{_e(shortened(text, LONGEST_WORD))}</bdi>"


def _score(score: Score) -> str:
    return f"{score.value:.3f}<br><small>{_interval(score)}</small>"


def _interval(score: Score) -> str:
    return f"{score.interval.low:.3f} to {score.interval.high:.3f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], text_columns: Sequence[int] = ()) -> str:
    """
    Args:
        head, rows: HTML of the cells.
        text_columns: numbers from 1 of those that hold text.
    """

    def row(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=' + chr(34) + 'text' + chr(34) if i in text_columns else ''}>{cell}</{tag}>"
            for i, cell in enumerate(cells, 1)
        )

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows)
    return f'<div class="scroll"><table><thead><tr>{row(head, "th")}</tr></thead><tbody>{body}</tbody></table></div>'


def _picture(contents: Contents, name: str, alt: str) -> str:
    if name not in contents.pictures:
        return ""
    data = base64.b64encode(contents.pictures[name]).decode()
    return f'<img alt="{alt}" src="data:image/png;base64,{data}">'


def _example(marked: Marked) -> str:
    rows = "".join(
        f'<div class="row{" gold" if whose == "gold" else ""}"><span>{_e(whose)}</span>'
        f"<bdi>{_marked_up(marked, entities)}</bdi></div>"
        for whose, entities in marked.rows
    )
    return (
        f'<div class="example"><small><bdi>{_e(marked.place)}</bdi> · <bdi>{_e(marked.kind)}</bdi> · probability '
        f"{marked.confidence:.2f}</small>{rows}</div>"
    )


def _marked_up(marked: Marked, entities: Sequence[tuple[int, int, str]]) -> str:
    words = [_e(shortened(word, LONGEST_WORD)) for word in marked.words]
    parts = ["…"] if marked.cut_before else []
    at = 0
    for begin, end, name in entities:
        parts += words[at:begin]
        parts.append(f'<mark>{" ".join(words[begin:end])}<bdi class="type">{_e(shortened(name))}</bdi></mark>')
        at = end
    parts += words[at:]
    return " ".join([*parts, "…"] if marked.cut_after else parts)
