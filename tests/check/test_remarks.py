"""Each planted fault gets a remark that names its place; a corpus without faults gets none."""

from __future__ import annotations

from collections import Counter

import pytest

from determined_ner.check.command import check
from determined_ner.check.remarks import remark_on_retries
from determined_ner.check.table import format_report
from determined_ner.settings.experiment import read_config
from tests.check.planted import ordinary
from tests.conftest import write_config, write_conll


def found(finding) -> tuple[int, list[tuple[str, int, str]]]:
    return finding.count, [(e.place, e.word, e.text) for e in finding.examples]


def test_a_sentence_of_train_is_found_in_validation_and_in_train(planted):
    _, place, report = planted
    train, validation = report.splits["train"], report.splits["validation"]
    assert found(validation.in_train) == (1, [(place("validation", 2), 1, "Bo left Rome .")])
    assert validation.in_train.examples[0].same_as == place("train", 0)
    assert found(train.repeated) == (1, [(place("train", 9), 1, "Bo left Rome .")])
    assert train.repeated.examples[0].same_as == place("train", 0)
    assert train.in_train is None and validation.repeated.count == 0
    (remark,) = (r for r in report.warnings if "stand in train too" in r.text)
    assert remark.places == [f"{place('validation', 2)}: as {place('train', 0)}: Bo left Rome ."]


def test_rare_and_absent_types_are_named(planted):
    _, _, report = planted
    texts = "\n".join(remark.text for remark in report.warnings)
    assert "rare types, of fewer than 10 entities: ORG 1, RARE 1;" in texts
    assert "validation: no entities of ORG (train: 1), RARE (train: 1)" in texts


def test_a_bad_tag_is_quoted_with_its_place(planted):
    _, place, report = planted
    train = report.splits["train"]
    assert train.repaired_tags == 1
    (described,) = train.bad_tags
    assert described.startswith(f"{place('train', 2)}: tag 'I-LOC' of word 2 ('Kyiv')")
    assert any(remark.places == [described] for remark in report.warnings)


def test_a_word_without_pieces_is_escaped_with_its_place(planted):
    _, place, report = planted
    assert found(report.splits["validation"].words_without_pieces) == (1, [(place("validation", 1), 2, "\u200b")])
    assert report.splits["train"].words_without_pieces.count == 0
    assert report.splits["validation"].words_unknown.count == 0
    assert any(remark.places == [f"{place('validation', 1)}: word 2: \\u200b"] for remark in report.warnings)


def test_longer_windows_are_advised_only_where_the_model_takes_them(planted):
    config, _, report = planted
    shorter = check(config, ["data.max_seq_length=32"], timing=False)
    for each, advice in ((report, "takes no more at a time"), (shorter, "raise data.max_seq_length (this model takes")):
        remarks = [remark.text for remark in each.warnings if "than a window of" in remark.text]
        assert len(remarks) == 2 and all(advice in text for text in remarks)


def test_a_corpus_without_faults_has_nothing_to_look_at(tmp_path, tiny_encoder):
    files = {
        "train": write_conll(tmp_path / "train.conll", ordinary(20)),
        "validation": write_conll(tmp_path / "v.conll", [[("Bo", "B-PER"), ("of", "O"), ("Rome", "B-LOC")]]),
    }
    report = check(write_config(tmp_path / "c.yaml", tiny_encoder, files), [], timing=False)
    assert report.warnings == [] and report.ambiguous_words == []
    assert format_report(report).endswith("Nothing to look at.")


@pytest.mark.parametrize(("tags", "scheme"), [(["NN", "VB"], "PLAIN"), (["O", "O"], "IOB2")])
def test_tags_without_entities(tmp_path, tiny_encoder, tags, scheme):
    sentences = [[("Ada", tags[0]), ("went", tags[1])]] * 12
    files = {name: write_conll(tmp_path / f"{name}.conll", sentences) for name in ("train", "validation")}
    config = write_config(tmp_path / "c.yaml", tiny_encoder, files)
    overrides = ["searcher.metric=accuracy"]
    report = check(config, overrides, timing=False)
    train = report.splits["train"]
    assert (report.scheme, train.entities) == (scheme, {})
    assert train.tags == dict(Counter(tags * 12))
    assert (train.repeated.count, report.splits["validation"].in_train.count) == (11, 12)
    assert ("\n  entities " in format_report(report)) == (scheme != "PLAIN")
    assert any("no word is tagged as an entity" in r.text for r in report.warnings) == (scheme != "PLAIN")


def test_words_that_raw_text_is_cut_into_otherwise_are_told(tmp_path, tiny_encoder):
    """By type: how many, and how the first ones are cut."""
    mail = [[("to", "O"), ("ana@x.org", "B-MAIL"), ("and", "O"), ("Ada", "B-PER"), (".", "O")]] * 9
    files = {name: write_conll(tmp_path / f"{name}.conll", mail) for name in ("train", "validation")}
    config = write_config(tmp_path / "experiment.yaml", tiny_encoder, files)
    report = check(config, ["data.word_splitting=rules"], timing=False)
    facts = report.splits["train"]
    assert report.word_splitting == "rules" and facts.words_cut_otherwise["MAIL"].count == 9
    assert "PER" not in facts.words_cut_otherwise
    (remark,) = [r for r in report.warnings if r.text.startswith("train: words of MAIL 9 of 9")]
    counts = "which parts 9 words of entities as text is printed, in the place of 9"
    assert f"set data.word_splitting: whitespace, {counts}, only if white space parts all words" in remark.text
    assert remark.places[0] == f"{files['train']}:1: word 2: ana@x.org (cut into ana @ x.org)"
    assert "words of entities cut otherwise in raw text 9 (50.0%)" in " ".join(format_report(report).split())

    report = check(config, [], timing=False)
    assert report.word_splitting == "whitespace"
    (remark,) = [r for r in report.warnings if r.text.startswith("train: words of PER 9 of 9")]
    assert "part marks from words by spaces" in remark.text and "word 4: Ada" in remark.places[0]
    assert "(data.word_splitting: rules would part 9 words of entities" in remark.text


@pytest.mark.parametrize(("chosen", "better"), [("rules", "whitespace"), ("whitespace", "rules")])
def test_another_splitting_is_advised_where_it_parts_fewer_words(tmp_path, tiny_encoder, chosen, better):
    one, two = ("ana@x.org", "Ada") if chosen == "rules" else ("Ada", "ana@x.org")
    sentences = [[(one, "B-X"), ("and", "O"), (one, "B-X"), (",", "O")]] * 9 + [[(two, "B-X"), (".", "O")]]
    if chosen == "rules":
        sentences = [[(word, tag) for word, tag in sentence if word != ","] for sentence in sentences]
    files = {name: write_conll(tmp_path / f"{name}.conll", sentences) for name in ("train", "validation")}
    config = write_config(tmp_path / "experiment.yaml", tiny_encoder, files)
    report = check(config, [f"data.word_splitting={chosen}"], timing=False)
    (remark,) = [r for r in report.warnings if r.text.startswith("train: words of X ")]
    parted = report.splits["train"].parted_words
    assert parted[better] < parted[chosen]
    counts = f"parts {parted[better]} words of entities as text is printed, in the place of {parted[chosen]}"
    assert f"set data.word_splitting: {better}, which {counts}" in remark.text


def remarks_on(tmp_path, tiny_encoder, sentences) -> str:
    files = {name: write_conll(tmp_path / f"{name}.conll", sentences) for name in ("train", "validation")}
    report = check(write_config(tmp_path / "c.yaml", tiny_encoder, files), [], timing=False)
    return "\n".join(remark.text for remark in report.warnings)


def test_words_that_are_all_numbers_are_remarked(tmp_path, tiny_encoder):
    sentences = [[(str(i), "O"), ("2,500.1", "B-LOC")] for i in range(12)]
    assert "train: 24 (100.0%) of the words are numbers;" in remarks_on(tmp_path, tiny_encoder, sentences)
    sentences = [[(str(i), "O"), ("Oslo", "B-LOC")] for i in range(12)]
    assert "numbers" not in remarks_on(tmp_path, tiny_encoder, sentences)


def test_words_that_all_begin_alike_are_remarked(tmp_path, tiny_encoder):
    sentences = [[(f"en:{word}", tag) for word, tag in sentence] for sentence in ordinary(12)]
    assert "train: all words begin with 'en:'" in remarks_on(tmp_path, tiny_encoder, sentences)
    assert "begin with" not in remarks_on(tmp_path, tiny_encoder, [[("en:a", "O"), ("x", "B-LOC")], *sentences])


def test_types_that_differ_in_case_alone_are_remarked(tmp_path, tiny_encoder):
    sentences = [*ordinary(12), [("Rome", "B-Loc"), ("Bo", "B-PERSON")]]
    remarks = remarks_on(tmp_path, tiny_encoder, sentences)
    assert "train: types that differ in upper and lower case alone: LOC 12, Loc 1; write them alike" in remarks


def test_an_empty_word_is_trained_on_and_told(tmp_path, tiny_encoder):
    remarks = remarks_on(tmp_path, tiny_encoder, [*ordinary(12), [("", "O"), ("Rome", "B-LOC")]])
    assert "train 1, validation 1: words which the tokenizer drops and which are read as its unknown piece" in remarks


def test_texts_of_an_annotation_tool_may_be_long_and_many(tmp_path, tiny_encoder):
    for i in range(5):
        (tmp_path / f"{i}.txt").write_text(f"Ada met {'him ' * 300}in Oslo {i}.")
        (tmp_path / f"{i}.ann").write_text("T1\tPER 0 3\tAda\n")
    files = dict.fromkeys(("train", "validation"), tmp_path / "*.ann")
    report = check(write_config(tmp_path / "config.yaml", tiny_encoder, files), [], timing=False)
    assert not [remark for remark in report.warnings if "blank lines" in remark.text]
    shown = format_report(report)
    assert shown.count("brat, words in column") == 6 and shown.count("and 2 more, read alike") == 2
    assert "4.txt" not in shown


# -- The config ------------------------------------------------------------------------------------------------


def policy(**changes):
    return {"name": "mistake", "pattern": "^error: ", "action": "cancel_retries"} | changes


@pytest.mark.parametrize(
    ("config", "times"),
    [
        ({}, None),  # nothing that only a cluster reads
        ({"entrypoint": "python3 ner_trial.py"}, 6),
        ({"entrypoint": "python3 ner_trial.py", "max_restarts": 1}, 2),
        ({"entrypoint": "python3 ner_trial.py", "max_restarts": 0}, None),
        ({"entrypoint": "python3 ner_trial.py", "log_policies": [policy()]}, None),
        ({"entrypoint": "python3 ner_trial.py", "log_policies": [policy(name=None, pattern=".*error:.*")]}, None),
        ({"entrypoint": "python3 ner_trial.py", "log_policies": [policy(action={"type": "cancel_retries"})]}, None),
        ({"entrypoint": "python3 ner_trial.py", "log_policies": 7, "max_restarts": "x"}, 6),
        ({"entrypoint": "python3 ner_trial.py", "log_policies": [policy(action="exclude_node")]}, 6),
        ({"entrypoint": "python3 ner_trial.py", "log_policies": [policy(pattern="CUDA out of memory")]}, 6),
        ({"entrypoint": "python3 ner_trial.py", "log_policies": [policy(pattern="("), "x", None]}, 6),
    ],
)
def test_a_config_for_a_cluster_that_would_repeat_a_mistake_is_remarked_on(config, times):
    texts = [remark.text for remark in remark_on_retries(config)]
    assert len(texts) == (times is not None)
    assert times is None or (f"{times} times" in texts[0] and 'pattern: "^error: "' in texts[0])


def test_a_shipped_config_is_not_remarked_on():
    from tests.test_shipped_configs import CONFIGS

    for path in CONFIGS:
        assert not list(remark_on_retries(read_config(path, []))), path


def test_the_check_remarks_on_the_config_before_the_data(planted):
    config, _, report = planted
    assert "log_policies" not in report.warnings[0].text
    without = check(config, ["log_policies=[]"], timing=False)
    assert without.warnings[0].text.startswith("log_policies: ")
    assert without.warnings[1:] == report.warnings
