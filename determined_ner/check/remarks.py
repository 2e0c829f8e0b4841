"""What to look at before training: the remarks that the data check makes on what it counted.

A remark says what it is and what to do about it, and names the first few places. The limits from which on something is
worth a remark stand here, at the top.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from determined_ner.check.facts import LONG_ENTITY, Example, Finding, Remark, Report, SplitFacts
from determined_ner.check.formatting import format_share
from determined_ner.data.words import word_offsets
from determined_ner.masks import printable

RARE_TYPE = 10
"""Entities in train below which a type is called rare."""
_LONG_SENTENCE = 250
"""Words: real sentences are far shorter, those of a file without blank lines are not."""
_MANY_REPEATS = 0.01
"""Share of the sentences of train."""
_MANY_UNKNOWN = 0.01
"""Share of the words of train."""
_MOSTLY_NUMBERS = 0.95
"""Share of the words of train."""
_MANY_WINDOWS = 0.05
"""Share of the sentences of a split."""
_MANY_CUT_OTHERWISE = 0.1
"""Share of the words of a type."""
_MUCH_PADDING = 0.5
"""Share of what is computed."""


_RESTARTS = 5
"""What Determined takes where the config has no max_restarts."""


def remark_on_retries(config: dict[str, Any]) -> Iterator[Remark]:
    """Of an experiment of a cluster that would make each mistake several times.

    Args:
        config: of the experiment; without an ``entrypoint`` it is for no cluster.
    """
    restarts, policies = config.get("max_restarts"), config.get("log_policies")
    if not isinstance(restarts, int):
        restarts = _RESTARTS
    ends = isinstance(policies, list) and any(map(_ends_mistakes, policies))
    if "entrypoint" in config and restarts and not ends:
        yield Remark(
            f"log_policies: a cluster would make a mistake in settings or data {restarts + 1} times, as often as it "
            'restarts a task; add {name: setting or data error, pattern: "^error: ", action: cancel_retries}'
        )


def _ends_mistakes(policy: Any) -> bool:
    """Whether a log policy keeps a task from being restarted that ends with a message of a mistake."""
    if not isinstance(policy, dict):
        return False
    action, pattern = policy.get("action"), policy.get("pattern")
    if isinstance(action, dict):  # the form before 0.38
        action = action.get("type")
    try:
        return action == "cancel_retries" and re.search(str(pattern), "error: data.train_file: no file") is not None
    except re.error:
        return False


def find_remarks(report: Report) -> list[Remark]:
    """What a person should look at before training, most serious first.

    Args:
        report: complete except for these remarks.
    """
    return [*_repeats(report), *_types(report), *_tags(report), *_words(report), *_splitting(report), *_shapes(report)]


def _repeats(report: Report) -> Iterator[Remark]:
    for name, facts in report.splits.items():
        if facts.in_train and facts.in_train.count:
            yield Remark(
                f"{name}: {format_share(facts.in_train.count, facts.sentences)} of the sentences stand in train too, "
                f"so that the score also counts what was learnt by heart; take them out of one of the two",
                [_describe_repeat(example) for example in facts.in_train.examples],
            )
    for name, finding in report.unlabelled.in_scored.items() if report.unlabelled else ():
        if finding.count:
            yield Remark(
                f"unlabelled: {finding.count:,} of the sentences stand in {name} too, whose score then is of known "
                "text; take them out",
                [_describe_repeat(example) for example in finding.examples],
            )
    train = report.splits["train"]
    if train.repeated.count > _MANY_REPEATS * train.sentences:
        yield Remark(
            f"train: {format_share(train.repeated.count, train.sentences)} of the sentences are repeats of others, and "
            f"each weighs as often as it occurs; take them out unless that is meant",
            [_describe_repeat(example) for example in train.repeated.examples],
        )


def _types(report: Report) -> Iterator[Remark]:
    plain = report.scheme == "PLAIN"
    kind, unit = ("tag", "words") if plain else ("type", "entities")
    train, validation = (report.splits[n].tags if plain else report.splits[n].entities for n in ("train", "validation"))
    if not train:
        yield Remark("train: no word is tagged as an entity: there is nothing to learn; check the column of the tags")
    alike: dict[str, list[str]] = {}
    for name in train:
        alike.setdefault(name.casefold(), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            counts = ", ".join(f"{printable(name)} {train[name]:,}" for name in names)
            yield Remark(f"train: {kind}s that differ in upper and lower case alone: {counts}; write them alike")
    rare = [f"{printable(name)} {count:,}" for name, count in train.items() if count < RARE_TYPE]
    if rare:
        yield Remark(
            f"train: rare {kind}s, of fewer than {RARE_TYPE} {unit}: {', '.join(rare)}; "
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
        yield from (Remark(f"{name}: {repairs}") for repairs in facts.repairs)
        if facts.repaired_tags:
            tags = "1 tag is" if facts.repaired_tags == 1 else f"{facts.repaired_tags:,} tags are"
            yield Remark(
                f"{name}: {tags} not allowed in {report.scheme} and read as seqeval's default mode does; "
                f"correct the file, or set data.on_bad_tags: error to refuse such data",
                [printable(described) for described in facts.bad_tags[:5]],
            )
    for finding, many, one, advice in (
        (
            lambda f: f.long_entities,
            f"entities of {LONG_ENTITY} words or more",
            f"entity of {LONG_ENTITY} words or more",
            "look for a missing O or B-",
        ),
        (
            lambda f: f.punctuation_entities,
            "entities without a letter or digit",
            "entity without a letter or digit",
            "look for tags that slipped by a word",
        ),
        (
            lambda f: f.punctuation_first,
            "entities that begin with a word of punctuation alone",
            "entity that begins with a word of punctuation alone",
            "look for tags that slipped by a word",
        ),
        (
            lambda f: f.blank_in_entities,
            "entities with white space inside a word",
            "entity with white space inside a word",
            "look at how the text was split into words",
        ),
    ):
        yield from _in_all_splits(report, finding, many, one, advice)


def _words(report: Report) -> Iterator[Remark]:
    train = report.splits["train"]
    if train.numbers > _MOSTLY_NUMBERS * train.words:
        yield Remark(
            f"train: {format_share(train.numbers, train.words)} of the words are numbers; look whether they are the "
            "words, and name their column with data.text_column_name"
        )
    if len(train.common_prefix) > 1 and train.words > 1:
        yield Remark(
            f"train: all words begin with {train.common_prefix!a}, which those of other texts do not; take it off"
        )
    yield from _in_all_splits(
        report,
        lambda f: f.words_without_pieces,
        "words which the tokenizer drops and which are read as its unknown piece",
        "word which the tokenizer drops and which is read as its unknown piece",
        "remove zero-width and control characters (no tag is lost)",
    )
    yield from _in_all_splits(
        report,
        lambda f: f.words_cut,
        f"words longer than a window of {report.max_seq_length} pieces, read by their beginning",
        f"word longer than a window of {report.max_seq_length} pieces, read by its beginning",
        _longer_windows(report),
    )
    for name, facts in report.texts().items():
        if name in ("train", "unlabelled") and facts.words_unknown.count > _MANY_UNKNOWN * facts.words:
            yield Remark(
                f"{name}: {format_share(facts.words_unknown.count, facts.words)} of the words have characters that "
                f"{report.cost.model} does not know; choose an encoder for this language",
                [_describe_word(example) for example in facts.words_unknown.examples],
            )


def _splitting(report: Report) -> Iterator[Remark]:
    """The words that tagging raw text would give otherwise."""
    rules = report.word_splitting == "rules"
    plain = report.scheme == "PLAIN"
    for name, facts in report.splits.items():
        totals: dict[str, int] = {}
        for tag, count in facts.tags.items():
            if plain or tag != "O":
                kind = tag if plain else tag.partition("-")[2]
                totals[kind] = totals.get(kind, 0) + count
        otherwise = facts.words_cut_otherwise
        many = [kind for kind, found in otherwise.items() if found.count > _MANY_CUT_OTHERWISE * totals[kind]]
        if not many:
            continue
        counts = ", ".join(f"{kind} {otherwise[kind].count:,} of {totals[kind]:,}" for kind in many)
        what = "which stand beside marks that white space alone does not part from them"
        if rules:
            what = "which the rules for raw text part otherwise"
        yield Remark(
            f"{name}: words of {counts}, {what}: the model will not be shown them as they stand here; "
            f"{_better_splitting(report.word_splitting, facts.parted_words)}, or give words to the tagger",
            [
                _describe_word(example) + (_cut_up(example.text) if rules else "")
                for kind in many
                for example in otherwise[kind].examples
            ],
        )


def _better_splitting(chosen: str, parted: dict[str, int]) -> str:
    """What to set, or to do, so that fewer words are parted.

    Args:
        parted: as `SplitFacts.parted_words`.
    """
    other = "whitespace" if chosen == "rules" else "rules"
    counts = f"{parted[other]:,} words of entities as text is printed, in the place of {parted[chosen]:,}"
    if parted[other] < parted[chosen]:
        return f"set data.word_splitting: {other}, which parts {counts}"
    if chosen == "whitespace":
        advice = "part marks from words by spaces in the text that you will tag"
        return f"{advice} (data.word_splitting: rules would part {counts})"
    condition = "only if white space parts all words in the text that you will tag"
    return f"set data.word_splitting: whitespace, which parts {counts}, {condition}"


def _cut_up(word: str) -> str:
    parts = [printable(word[start:end]) for start, end in word_offsets(word)]
    return f" (cut into {' '.join(parts)})" if len(parts) > 1 else ""


def _shapes(report: Report) -> Iterator[Remark]:
    for name, facts in report.splits.items():
        texts = any(file.get("annotated_by") == "spans" for file in facts.files)  # may be long, and are not parted
        longest = facts.words_per_sentence.max if facts.words_per_sentence else 0
        if facts.longest and longest >= _LONG_SENTENCE and not texts:
            yield Remark(
                f"{name}: a sentence has {longest:,} words; look for missing blank lines, or in "
                f"a table for sentence ids that stay the same",
                [f"{facts.longest.place}: {printable(facts.longest.text)}"],
            )
    cut = {
        name: facts
        for name, facts in report.splits.items()
        if facts.in_several_windows.count > _MANY_WINDOWS * facts.sentences
    }
    if cut and report.context == "sentence":
        shares = ", ".join(f"{name} {format_share(f.in_several_windows.count, f.sentences)}" for name, f in cut.items())
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
    return "this model takes no more at a time: split such text, or choose another encoder"


def _in_all_splits(
    report: Report, of: Callable[[SplitFacts], Finding], many: str, one: str, advice: str
) -> Iterator[Remark]:
    """One remark on a finding of all texts together, if there is any.

    Args:
        of: the finding of a split.
        many: what was found, in the plural.
        one: the same in the singular.
        advice: what to do about it.
    """
    found = {name: of(facts) for name, facts in report.texts().items() if of(facts).count}
    if found:
        counts = ", ".join(f"{name} {finding.count:,}" for name, finding in found.items())
        what = one if sum(finding.count for finding in found.values()) == 1 else many
        examples = [example for finding in found.values() for example in finding.examples]
        yield Remark(f"{counts}: {what}; {advice}", [_describe_word(example) for example in examples])


def _describe_word(example: Example) -> str:
    return f"{example.place}: word {example.word}: {printable(example.text)}"


def _describe_repeat(example: Example) -> str:
    return f"{example.place}: as {example.same_as}: {printable(example.text)}"
