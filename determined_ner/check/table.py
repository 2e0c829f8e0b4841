"""What the data check shows on a terminal: plain text of at most 100 columns, and what to look at at its end.

A word, a path or a message of another room may be longer than a line; it is not cut.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from determined_ner.check.facts import LONG_ENTITY, Cost, Example, Finding, Remark, Report, SplitFacts

WIDTH = 100
_LABEL, _CELL = 42, 18  # columns of the tables: 42 + 3 × 18 = 96
RARE_TYPE = 10
"""Entities of training below which a type is called rare."""
_LONG_SENTENCE = 250  # words; those of real text are shorter by far, those of a file without blank lines are not
_MANY_REPEATS = 0.01
_MANY_UNKNOWN = 0.01
_MANY_WINDOWS = 0.05
_MUCH_PADDING = 0.5
_TYPES_SHOWN = 30
_BUSY = 0.5  # load per core of other programs, from which on they slow ours


# -- What to look at -------------------------------------------------------------------------------------------


def find_warnings(report: Report) -> list[Remark]:
    """What a person should look at before training, most serious first."""
    return [*_repeats(report), *_types(report), *_tags(report), *_words(report), *_shapes(report)]


def _repeats(report: Report) -> Iterator[Remark]:
    for name, facts in report.splits.items():
        if facts.in_train and facts.in_train.count:
            yield Remark(
                f"{name}: {_share(facts.in_train.count, facts.sentences)} of the sentences stand in train too, so that "
                f"the score also counts what was learnt by heart; take them out of one of the two",
                [f"{e.place}: as {e.same_as}: {_printable(e.text)}" for e in facts.in_train.examples],
            )
    train = report.splits["train"]
    if train.repeated.count > _MANY_REPEATS * train.sentences:
        yield Remark(
            f"train: {_share(train.repeated.count, train.sentences)} of the sentences are repeats of others; each "
            f"weighs as often as it occurs: take them out unless that is meant",
            [f"{e.place}: as {e.same_as}: {_printable(e.text)}" for e in train.repeated.examples],
        )


def _types(report: Report) -> Iterator[Remark]:
    plain = report.scheme == "PLAIN"
    kind, unit = ("tag", "words") if plain else ("type", "entities")
    train, validation = (report.splits[n].tags if plain else report.splits[n].entities for n in ("train", "validation"))
    if not train:
        yield Remark("train: no word is tagged as an entity: there is nothing to learn; check the column of the tags")
    rare = [f"{name} {count:,}" for name, count in train.items() if count < RARE_TYPE]
    if rare:
        yield Remark(
            f"train: rare {kind}s, of less than {RARE_TYPE} {unit}: {', '.join(rare)}; "
            f"give more examples of them, merge them or drop them"
        )
    absent = [f"{name} (train: {train[name]:,})" for name, count in validation.items() if not count and train[name]]
    if absent:
        whose = "their" if len(absent) > 1 else "its"
        yield Remark(
            f"validation: no {unit} of {', '.join(absent)}; {whose} score will be 0 whatever is learnt: "
            f"validate on more text, or on other"
        )


def _tags(report: Report) -> Iterator[Remark]:
    for name, facts in report.splits.items():
        if facts.repaired_tags:
            tags = "1 tag is" if facts.repaired_tags == 1 else f"{facts.repaired_tags:,} tags are"
            yield Remark(
                f"{name}: {tags} not allowed in {report.scheme} and read as seqeval's default mode does; "
                f"correct the file, or set data.on_bad_tags: error to refuse such data",
                [_printable(told) for told in facts.bad_tags[:5]],
            )
    for finding, what in (
        (lambda f: f.long_entities, f"of {LONG_ENTITY} words or more; look for a missing O or B-"),
        (lambda f: f.punctuation_entities, "without a letter or digit; look for tags that slipped by a word"),
        (lambda f: f.punctuation_first, "that begin with a word of punctuation alone; look for tags that slipped"),
        (lambda f: f.blank_in_entities, "with white space inside a word; look at how the words were parted"),
    ):
        yield from _in_all_splits(report, finding, f"entities {what}", f"entity {what}".replace("begin ", "begins "))


def _words(report: Report) -> Iterator[Remark]:
    unknown = (
        "which the tokenizer drops and which {} read as its unknown piece; remove zero-width and control characters "
        "(no tag is lost)"
    )
    yield from _in_all_splits(
        report,
        lambda f: f.words_without_pieces,
        f"words {unknown.format('are')}",
        f"word {unknown.format('is')}",
    )
    cut = f"longer than a window of {report.max_seq_length} pieces, read by {{}} beginning; {_longer_windows(report)}"
    yield from _in_all_splits(
        report, lambda f: f.words_cut, f"words {cut.format('their')}", f"word {cut.format('its')}"
    )
    train = report.splits["train"]
    if train.words_unknown.count > _MANY_UNKNOWN * train.words:
        yield Remark(
            f"train: {_share(train.words_unknown.count, train.words)} of the words have characters that "
            f"{report.cost.model} does not know; choose an encoder for this language",
            [_told(e) for e in train.words_unknown.examples],
        )


def _shapes(report: Report) -> Iterator[Remark]:
    for name, facts in report.splits.items():
        if facts.longest and facts.words_per_sentence and facts.words_per_sentence.max >= _LONG_SENTENCE:
            yield Remark(
                f"{name}: a sentence has {facts.words_per_sentence.max:,} words; look for missing blank lines",
                [f"{facts.longest.place}: {_printable(facts.longest.text)}"],
            )
    cut = {
        name: facts
        for name, facts in report.splits.items()
        if facts.in_several_windows.count > _MANY_WINDOWS * facts.sentences
    }
    if cut and report.context == "sentence":
        shares = ", ".join(f"{name} {_share(f.in_several_windows.count, f.sentences)}" for name, f in cut.items())
        enough = max(f.pieces_per_sentence.p99 for f in cut.values() if f.pieces_per_sentence)
        yield Remark(
            f"{shares}: sentences longer than a window of {report.max_seq_length} pieces, whose parts see little of "
            f"each other (99 % of the sentences have at most {enough} pieces); {_longer_windows(report)}"
        )
    padding = report.splits["train"].padding
    if report.pad_to_max_length and padding > _MUCH_PADDING:
        longest = max(f.pieces_per_sentence.max for f in report.splits.values() if f.pieces_per_sentence)
        yield Remark(
            f"data.pad_to_max_length: {padding:.0%} of what is computed is padding; drop it, or set "
            f"data.max_seq_length to what the longest sentence needs, {longest}"
        )


def _longer_windows(report: Report) -> str:
    if report.max_seq_length < report.model_limit:
        return f"raise data.max_seq_length (this model takes up to {report.model_limit:,})"
    return "this model takes no more at a time: part such text, or choose another encoder"


def _in_all_splits(report: Report, of: Callable[[SplitFacts], Finding], many: str, one: str) -> Iterator[Remark]:
    """One remark on a finding of all splits together."""
    found = {name: of(facts) for name, facts in report.splits.items() if of(facts).count}
    if found:
        counts = ", ".join(f"{name} {finding.count:,}" for name, finding in found.items())
        what = one if sum(finding.count for finding in found.values()) == 1 else many
        yield Remark(f"{counts}: {what}", [_told(e) for finding in found.values() for e in finding.examples])


def _told(example: Example) -> str:
    return f"{example.place}: word {example.word}: {_printable(example.text)}"


# -- The table -------------------------------------------------------------------------------------------------


def show(report: Report) -> str:
    """The whole report, without a line end at its end."""
    lines = [f"Data check of {report.config}", "", *_files(report)]
    for section in (_sizes, _lengths, _windows, _checks):
        lines += ["", *section(report)]
    lines += ["", *_ambiguous(report), "", *_cost(report.cost), "", *_to_look_at(report)]
    return "\n".join(line.rstrip() for line in lines)


def _files(report: Report) -> Iterator[str]:
    yield "Files"
    for name, facts in report.splits.items():
        for i, file in enumerate(facts.files):
            yield f"  {name if i == 0 else '':<12}{file['path']}"
            if "format" in file:
                columns = [
                    f"{what} in column {file[key]}"
                    for what, key in (
                        ("words", "text_column"),
                        ("tags", "tag_column"),
                        ("sentences told by", "sentence_column"),
                        ("documents told by", "document_column"),
                    )
                    if file[key] is not None
                ]
                told = f"{file['format']}, {', '.join(columns)}".replace("told by in column", "told by column")
                yield f"  {'':<12}{told}"
    scheme = "plain tags, which spell no entities" if report.scheme == "PLAIN" else report.scheme
    yield from _wrapped(f"  {'tags':<12}", f"{scheme}; {len(report.labels)} labels: {' '.join(report.labels)}")


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
        yield _row(report, f"  {_printable(name)}", lambda f, counts=counts: f"{counts[id(f)]:,}")  # type: ignore[misc]
    if len(names) > _TYPES_SHOWN:
        yield f"    … and {len(names) - _TYPES_SHOWN} more (--json tells all)"


def _documents(facts: SplitFacts) -> str:
    if facts.documents == 1:
        return "not marked"
    return f"{facts.documents:,}" if facts.documents < facts.sentences else "one a sentence"


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
    yield _row(report, f"{unit}s in several windows", lambda f: _share(f.in_several_windows.count, total(f)))
    plain = report.scheme == "PLAIN"
    yield _row(report, "words in no window", lambda f: _share(f.lost.words, f.words))
    if not plain:
        yield _row(report, "entities in no window", lambda f: _share(f.lost.entities, sum(f.entities.values())))
    yield _row(report, "words lost by cutting off instead", lambda f: _share(f.lost_by_truncation.words, f.words))
    if not plain:
        yield _row(
            report,
            "entities lost by cutting off instead",
            lambda f: _share(f.lost_by_truncation.entities, sum(f.entities.values())),
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
    if report.scheme == "PLAIN":
        return
    yield _row(report, f"tags not allowed in {report.scheme}", lambda f: _share(f.repaired_tags, f.words))
    yield _row(report, f"entities of {LONG_ENTITY} words or more", lambda f: _count(f.long_entities))
    yield _row(report, "  without a letter or digit", lambda f: _count(f.punctuation_entities))
    yield _row(report, "  that begin with punctuation", lambda f: _count(f.punctuation_first))
    yield _row(report, "  with white space in a word", lambda f: _count(f.blank_in_entities))


def _ambiguous(report: Report) -> Iterator[str]:
    yield "Words of train with several tags, most ambiguous first (of those that occur 5 times or more)"
    for entry in report.ambiguous_words:
        line = f"  {_pad(_printable(entry.word), 24)}{entry.count:>8,} times:"
        labels = [f" {_printable(name)} {count:,}" for name, count in entry.labels.items()]
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
        f"  {'time':<12}{_duration(timing.seconds_per_epoch)} an epoch, {_duration(timing.seconds_total)} in all, "
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
        yield from _wrapped("  - ", _with_short_names(remark.text, short))
        for place in remark.places:
            yield from _wrapped("      ", _with_short_names(place, short), more="        ")


def _short_names(report: Report) -> dict[str, str]:
    """Path → name of the files, where the names tell them apart: places are easier to read without directories."""
    paths = {str(file["path"]) for facts in report.splits.values() for file in facts.files if "format" in file}
    names = {path: Path(path).name for path in paths}
    return names if len(set(names.values())) == len(names) else {}


def _with_short_names(text: str, short: dict[str, str]) -> str:
    for path, name in sorted(short.items(), key=lambda item: -len(item[0])):
        text = text.replace(f"{path}:", f"{name}:")
    return text


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
    return _share(finding.count, total) if total else f"{finding.count:,}"


def _share(count: int, total: int) -> str:
    if count == 0 or total == 0:
        return f"{count:,}"
    share = count / total
    return f"{count:,} (<0.1%)" if share < 0.0005 else f"{count:,} ({share:.1%})"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} seconds" if seconds >= 10 else f"{seconds:.1f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds >= 600 else f"{seconds / 60:.1f} minutes"


def _printable(text: str) -> str:
    """``text`` with what a terminal would not show, or would obey, as an escape."""
    seen = any(unicodedata.category(c)[0] in "LNPS" for c in text)  # or else marks have nothing to stand on
    return "".join(c if c.isprintable() and seen else c.encode("unicode_escape").decode() for c in text)


def _pad(text: str, width: int) -> str:
    """``text`` and the blanks that make it ``width`` columns of a terminal (a space at least)."""
    columns = sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
    return text + " " * max(1, width - columns)
