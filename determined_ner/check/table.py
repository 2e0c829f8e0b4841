"""What the data check shows on a terminal: plain text of at most 100 columns, what to look at last.

A word, a path or a message of the settings may be longer than a line; it is not cut.
"""

from __future__ import annotations

import itertools
import textwrap
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from determined_ner.check.facts import LONG_ENTITY, Cost, Finding, Report, SplitFacts
from determined_ner.check.formatting import format_share
from determined_ner.masks import printable

WIDTH = 100
_LABEL, _CELL = 42, 18
"""Columns of the terminal for a label and for a split: 42 + 3 × 18 = 96."""
_TYPES_SHOWN = 30
_FILES = 3
"""Shown of those that are read alike."""
_BUSY = 0.5
"""Load per core by other programs, from which on they slow down our timing."""


def format_report(report: Report) -> str:
    """The whole report, without a line end at its end."""
    lines = [f"Data check of {report.config}", "", *_files(report)]
    for section in (_sizes, _lengths, _windows, _checks):
        lines += ["", *section(report)]
    if report.corpora:
        lines += ["", *_corpora(report)]
    if report.distillation:
        lines += ["", "Distillation"]
        lines += [line for said in report.distillation for line in _wrapped("  ", said)]
    lines += ["", *_ambiguous(report), "", *_cost(report.cost), "", *_to_look_at(report)]
    return "\n".join(line.rstrip() for line in lines)


def _files(report: Report) -> Iterator[str]:
    yield "Files"
    for name, facts in report.texts().items():
        first = name
        for how, alike in itertools.groupby(facts.files, _how_read):
            files = list(alike)
            for file in files[:_FILES]:
                yield f"  {first:<12}{file['path']}"
                first = ""
                if how:
                    yield f"  {'':<12}{how}"
            if len(files) > _FILES:
                yield f"  {'':<12}and {len(files) - _FILES:,} more, read alike"
        yield from _wrapped(f"  {'':<12}", facts.tags_read)
    scheme = "plain tags, which spell no entities" if report.scheme == "PLAIN" else report.scheme
    yield from _wrapped(f"  {'tags':<12}", f"{scheme}; {len(report.labels)} labels: {' '.join(report.labels)}")


def _how_read(file: dict[str, str | None]) -> str:
    """The format and the columns of one of `SplitFacts.files`; "" for a data set of the datasets library."""
    if "format" not in file:
        return ""
    columns = [
        f"{what} in column {file[key]}"
        for what, key in (
            ("words", "text_column"),
            ("tags", "tag_column"),
            ("sentence ids", "sentence_column"),
            ("document ids", "document_column"),
        )
        if file[key]
    ]
    return ", ".join([str(file["format"]), *columns])


def _heading(report: Report, title: str) -> str:
    return f"{title:<{_LABEL}}" + "".join(f"{name:>{_CELL}}" for name in report.splits)


def _row(report: Report, label: str, cell: Callable[[SplitFacts], str]) -> str:
    return _pad(f"  {label}", _LABEL) + "".join(f"{cell(facts):>{_CELL}}" for facts in report.splits.values())


def _sizes(report: Report) -> Iterator[str]:
    yield _heading(report, "Size")
    yield _row(report, "sentences", lambda f: f"{f.sentences:,}")
    yield _row(report, "documents", _documents)
    yield _row(report, "words", lambda f: f"{f.words:,}")
    plain = report.scheme == "PLAIN"
    if not plain:
        yield _row(report, "entities", lambda f: f"{sum(f.entities.values()):,}")
    names = list(report.splits["train"].tags if plain else report.splits["train"].entities)
    for name in names[:_TYPES_SHOWN]:
        counts = {id(f): (f.tags if plain else f.entities)[name] for f in report.splits.values()}
        yield _row(report, f"  {printable(name)}", lambda f, counts=counts: f"{counts[id(f)]:,}")  # type: ignore[misc]
    if len(names) > _TYPES_SHOWN:
        yield f"    … and {len(names) - _TYPES_SHOWN} more (--json lists all)"


def _documents(facts: SplitFacts) -> str:
    if facts.documents == 1:
        return "not marked"
    return f"{facts.documents:,}" if facts.documents < facts.sentences else "one a sentence"


def _corpora(report: Report) -> Iterator[str]:
    yield "Corpora of train"
    for corpus in report.corpora:
        yield from _wrapped("  ", corpus.describe())
        entities = ", ".join(f"{printable(name)} {count:,}" for name, count in corpus.entities.items())
        yield from _wrapped(f"  {'':<12}", f"entities: {entities or 'none'}")


def _lengths(report: Report) -> Iterator[str]:
    yield _heading(report, "Length of a sentence")
    for title, of in (
        ("words", lambda f: f.words_per_sentence),
        ("pieces, special ones included", lambda f: f.pieces_per_sentence),
    ):
        yield _row(report, f"{title}: median", lambda f, of=of: f"{of(f).median:,}")  # type: ignore[misc]
        for quantile, name in (("p95", "95 % have at most"), ("p99", "99 % have at most"), ("max", "longest")):
            yield _row(report, f"  {name}", lambda f, of=of, q=quantile: f"{getattr(of(f), q):,}")  # type: ignore[misc]
    yield _row(report, "pieces of a word", lambda f: f"{f.pieces_per_word:.2f}")


def _windows(report: Report) -> Iterator[str]:
    unit = report.context
    yield _heading(report, f"Windows of up to {report.max_seq_length} pieces")
    yield _row(report, "windows", lambda f: f"{f.windows:,}")
    total = (lambda f: f.documents) if unit == "document" else (lambda f: f.sentences)
    yield _row(report, f"{unit}s in several windows", lambda f: format_share(f.in_several_windows.count, total(f)))
    plain = report.scheme == "PLAIN"
    yield _row(report, "words in no window", lambda f: format_share(f.lost.words, f.words))
    if not plain:
        yield _row(report, "entities in no window", lambda f: format_share(f.lost.entities, sum(f.entities.values())))
    yield _row(report, "words lost by cutting off instead", lambda f: format_share(f.lost_by_truncation.words, f.words))
    if not plain:
        yield _row(
            report,
            "entities lost by cutting off instead",
            lambda f: format_share(f.lost_by_truncation.entities, sum(f.entities.values())),
        )
    yield _row(report, "padding", lambda f: f"{f.padding:.1%}")
    yield _row(
        report,
        "  in batches of random order",
        lambda f: "" if f.padding_random is None else f"{f.padding_random:.1%}",
    )


def _checks(report: Report) -> Iterator[str]:
    yield _heading(report, "Checks (0 is good)")
    yield _row(report, "sentences that stand in train", lambda f: _count(f.in_train, f.sentences))
    yield _row(report, "sentences repeated in the same part", lambda f: _count(f.repeated, f.sentences))
    yield _row(report, "words that the tokenizer drops", lambda f: _count(f.words_without_pieces, f.words))
    yield _row(report, "words of unknown characters", lambda f: _count(f.words_unknown, f.words))
    yield _row(report, "words longer than a window", lambda f: _count(f.words_cut, f.words))
    of_what = "words" if report.scheme == "PLAIN" else "words of entities"
    yield _row(report, f"{of_what} cut otherwise in raw text", _cut_otherwise)
    if report.scheme == "PLAIN":
        return
    yield _row(report, f"tags not allowed in {report.scheme}", lambda f: format_share(f.repaired_tags, f.words))
    yield _row(report, f"entities of {LONG_ENTITY} words or more", lambda f: _count(f.long_entities))
    yield _row(report, "  without a letter or digit", lambda f: _count(f.punctuation_entities))
    yield _row(report, "  that begin with punctuation", lambda f: _count(f.punctuation_first))
    yield _row(report, "  with white space in a word", lambda f: _count(f.blank_in_entities))


def _cut_otherwise(facts: SplitFacts) -> str:
    tagged = sum(count for tag, count in facts.tags.items() if not facts.entities or tag != "O")
    return format_share(sum(finding.count for finding in facts.words_cut_otherwise.values()), tagged)


def _ambiguous(report: Report) -> Iterator[str]:
    yield "Words of train with several tags, most ambiguous first (of those that occur 5 times or more)"
    for entry in report.ambiguous_words:
        line = f"  {_pad(printable(entry.word), 24)}{entry.count:>8,} times:"
        labels = [f" {printable(name)} {count:,}" for name, count in entry.labels.items()]
        shown = max(1, sum(len(line) + len(",".join(labels[: n + 1])) < WIDTH - 3 for n in range(len(labels))))
        yield line + ",".join(labels[:shown]) + (", …" if shown < len(labels) else "")
    if not report.ambiguous_words:
        yield "  none"


def _cost(cost: Cost) -> Iterator[str]:
    yield "Cost"
    yield f"  {'model':<12}{cost.model}"
    yield f"  {'':<12}{cost.parameters / 1e6:.1f} M parameters, {cost.precision}"
    yield (
        f"  {'steps':<12}{cost.steps_per_epoch:,} an epoch, {cost.steps_total:,} in all "
        f"({cost.epochs:.4g} {'epoch' if cost.epochs == 1 else 'epochs'}), of {cost.global_batch_size} windows each"
        + (
            f" on {cost.slots} slots × {cost.accumulation_steps} accumulation steps"
            if cost.slots * cost.accumulation_steps > 1
            else ""
        )
    )
    if cost.timing is None:
        yield f"  {'time':<12}not measured (--no-timing)"
        return
    timing = cost.timing
    threads = "" if timing.threads is None else f", {timing.threads} thread{'s' if timing.threads > 1 else ''}"
    yield (
        f"  {'time':<12}{duration(timing.seconds_per_epoch)} an epoch, {duration(timing.seconds_total)} in all, "
        f"on this machine: {timing.device}{threads}"
    )
    yield f"  {'':<12}forecast from {timing.steps} training steps; validation and checkpoints come on top"
    if timing.load > _BUSY:
        yield f"  {'':<12}the machine was busy with other programs (load {timing.load:.1f} a core): idle, it takes less"


def _to_look_at(report: Report) -> Iterator[str]:
    if not report.warnings:
        yield "Nothing to look at."
        return
    yield "Look at these:"
    short = _short_names(report)
    for remark in report.warnings:
        yield from _wrapped("  - ", remark.text)
        for place in remark.places:
            yield from _wrapped("      ", _with_short_names(place, short), more="        ")


def _short_names(report: Report) -> dict[str, str]:
    """Path → name of the files, if no two have the same name: places are easier to read without directories."""
    paths = {str(file["path"]) for facts in report.splits.values() for file in facts.files if "format" in file}
    names = {path: Path(path).name for path in paths}
    return names if len(set(names.values())) == len(names) else {}


def _with_short_names(place: str, short: dict[str, str]) -> str:
    """A place of a remark with the names of its files in place of their paths."""
    for path, name in sorted(short.items(), key=lambda item: -len(item[0])):
        place = place.replace(f"{path}:", f"{name}:")
    return place


def _wrapped(first: str, text: str, more: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first) if more is None else more,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _count(finding: Finding | None, total: int | None = None) -> str:
    if finding is None:
        return ""
    return format_share(finding.count, total) if total else f"{finding.count:,}"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} seconds" if seconds >= 10 else f"{seconds:.1f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds >= 600 else f"{seconds / 60:.1f} minutes"


def _pad(text: str, width: int) -> str:
    """The text, filled up with spaces (at least one) to ``width`` columns of a terminal."""
    columns = sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
    return text + " " * max(1, width - columns)
