"""The data check: planted faults are found at their place, its numbers equal independent counts, it leaves nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from seqeval.metrics.sequence_labeling import get_entities

from determined_ner.check.command import check, main
from determined_ner.check.cost import _line
from determined_ner.check.table import show
from determined_ner.data.padding import Padding, _share
from tests.conftest import ROOT, write_config, write_conll

Sentences = list[list[tuple[str, str]]]

DUPLICATE = [("Bo", "B-PER"), ("left", "O"), ("Rome", "B-LOC"), (".", "O")]
LONG = [("lima", "O")] * 40  # 160 pieces of the tiny encoder, whose windows hold 62
PLANTED_IN_TRAIN: Sentences = [
    DUPLICATE,
    [("Zed", "B-RARE"), ("came", "O")],
    [("in", "O"), ("Kyiv", "I-LOC"), (".", "O")],
    LONG,
    [("x" * 80, "O"), ("!", "O")],
    [("the", "O"), *zip(["house"] * 11, ["B-ORG"] + ["I-ORG"] * 10, strict=True)],
    [("so", "O"), ("...", "B-PER"), ("-", "I-PER")],
    [("said", "O"), ("'", "B-PER"), ("Ada", "I-PER")],
    [("to", "O"), ("New York", "B-LOC")],
    DUPLICATE,
    *([("Java", "B-LOC"), (str(i), "O")] for i in range(3)),
    *([("Java", "O"), ("code", "O"), (str(i), "O")] for i in range(2)),
    [("Java", "B-PER"), ("sings", "O")],
]
PLANTED_IN_VALIDATION: Sentences = [
    [("Dee", "B-PER"), ("went", "O")],
    [("a", "O"), ("\u200b", "O"), ("b", "O")],
    DUPLICATE,
]


def ordinary(count: int) -> Sentences:
    return [[("Ada", "B-PER"), ("saw", "O"), (f"n{i}", "O"), ("Oslo", "B-LOC")] for i in range(count)]


def line_of(sentences: Sentences, index: int) -> int:
    return 1 + sum(len(sentence) + 1 for sentence in sentences[:index])


@pytest.fixture(scope="module")
def planted(tmp_path_factory, tiny_encoder):
    """A config of the planted corpora; a function that gives the place of a planted sentence; the report."""
    folder = tmp_path_factory.mktemp("planted")
    parts = {
        "train": ordinary(20) + PLANTED_IN_TRAIN,
        "validation": [[("Eli", "B-PER"), (f"m{i}", "O"), ("Lima", "B-LOC")] for i in range(9)] + PLANTED_IN_VALIDATION,
    }
    files = {name: write_conll(folder / f"{name}.conll", sentences) for name, sentences in parts.items()}
    config = write_config(folder / "experiment.yaml", tiny_encoder, files)

    def place(split: str, index: int) -> str:
        before = len(parts[split]) - len(PLANTED_IN_TRAIN if split == "train" else PLANTED_IN_VALIDATION)
        return f"{files[split]}:{line_of(parts[split], before + index)}"

    return config, place, check(config, [], timing=False)


def found(finding) -> tuple[int, list[tuple[str, int, str]]]:
    return finding.count, [(e.place, e.word, e.text) for e in finding.examples]


# -- Planted faults --------------------------------------------------------------------------------------------


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


def test_rare_and_absent_types_are_told(planted):
    _, _, report = planted
    texts = "\n".join(remark.text for remark in report.warnings)
    assert "rare types, of less than 10 entities: ORG 1, RARE 1;" in texts
    assert "validation: no entities of ORG (train: 1), RARE (train: 1)" in texts


def test_an_inconsistent_word_is_told_with_its_counts(planted):
    _, _, report = planted
    java = next(word for word in report.ambiguous_words if word.word == "Java")
    assert (java.count, java.labels) == (6, {"LOC": 3, "O": 2, "PER": 1})
    assert report.ambiguous_words[0] is java
    assert all(word.count >= 5 and len(word.labels) > 1 for word in report.ambiguous_words)


def test_a_bad_tag_is_told_with_its_place(planted):
    _, place, report = planted
    train = report.splits["train"]
    assert train.repaired_tags == 1
    (told,) = train.bad_tags
    assert told.startswith(f"{place('train', 2)}: tag 'I-LOC' of word 2 ('Kyiv')")
    assert any(remark.places == [told] for remark in report.warnings)


def test_a_word_without_pieces_is_told_with_its_place(planted):
    _, place, report = planted
    assert found(report.splits["validation"].words_without_pieces) == (1, [(place("validation", 1), 2, "\u200b")])
    assert report.splits["train"].words_without_pieces.count == 0
    assert report.splits["validation"].words_unknown.count == 0
    assert any(remark.places == [f"{place('validation', 1)}: word 2: \\u200b"] for remark in report.warnings)


def test_a_long_sentence_and_a_long_word(planted):
    _, place, report = planted
    train = report.splits["train"]
    assert report.max_seq_length == 64
    assert train.in_several_windows.count == 2
    assert [e.place for e in train.in_several_windows.examples] == [place("train", 3), place("train", 4)]
    assert (train.longest.place, train.words_per_sentence.max) == (place("train", 3), 40)
    assert train.pieces_per_sentence.max == 160 + 2
    assert found(train.words_cut) == (1, [(place("train", 4), 1, "x" * 80)])
    # Cut off at 62 pieces, `lima` keeps 16 of its 40 words, and `!` comes after 80 pieces.
    assert (train.lost_by_truncation.words, train.lost_by_truncation.entities) == (24 + 1, 0)
    assert (train.lost.words, train.lost.entities) == (0, 0)


def test_longer_windows_are_advised_only_where_the_model_takes_them(planted):
    config, _, report = planted
    shorter = check(config, ["data.max_seq_length=32"], timing=False)
    for each, advice in ((report, "takes no more at a time"), (shorter, "raise data.max_seq_length (this model takes")):
        remarks = [remark.text for remark in each.warnings if "than a window of" in remark.text]
        assert len(remarks) == 2 and all(advice in text for text in remarks)


def test_odd_entities_are_told_with_their_places(planted):
    _, place, report = planted
    train = report.splits["train"]
    assert found(train.long_entities) == (1, [(place("train", 5), 2, " ".join(["house"] * 11))])
    assert found(train.punctuation_entities) == (1, [(place("train", 6), 2, "... -")])
    assert found(train.punctuation_first) == (1, [(place("train", 7), 2, "' Ada")])
    assert found(train.blank_in_entities) == (1, [(place("train", 8), 2, "New York")])


def test_a_corpus_without_faults_has_nothing_to_look_at(tmp_path, tiny_encoder):
    files = {
        "train": write_conll(tmp_path / "train.conll", ordinary(20)),
        "validation": write_conll(tmp_path / "v.conll", [[("Bo", "B-PER"), ("of", "O"), ("Rome", "B-LOC")]]),
    }
    report = check(write_config(tmp_path / "c.yaml", tiny_encoder, files), [], timing=False)
    assert report.warnings == [] and report.ambiguous_words == []
    assert show(report).endswith("Nothing to look at.")


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
    assert ("\n  entities " in show(report)) == (scheme != "PLAIN")
    assert any("no word is tagged as an entity" in r.text for r in report.warnings) == (scheme != "PLAIN")


# -- Numbers ---------------------------------------------------------------------------------------------------


def sentences_of(path: Path) -> Sentences:
    """Words and tags of a file of the shared corpora, read in the simplest way."""
    if path.suffix == ".json":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [list(zip(row["tokens"], row["ner_tags"], strict=True)) for row in rows]
    word, tag = (1, 2) if path.suffix == ".iob2" else (0, 1)
    blocks, rows = [], []
    for line in [*path.read_text(encoding="utf-8").split("\n"), ""]:
        if line.strip() and not (path.suffix == ".iob2" and line.startswith("# ")):
            rows.append(line.split("\t"))
        elif rows and not line.strip():
            blocks.append([(row[word], row[tag].strip()) for row in rows])
            rows = []
    return blocks


CORPORA = {
    "ncbi-disease": ("train.tsv", "validation.tsv", "test.tsv"),
    "uner-pt-bosque": ("pt_bosque-ud-train.iob2", "pt_bosque-ud-dev.iob2", "pt_bosque-ud-test.iob2"),
    "wikigold": ("train.json", "validation.json", "test.json"),
    "wnut17": ("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated"),
}


@pytest.mark.parametrize("corpus", CORPORA)
def test_counts_of_the_shared_corpora(shared_data, tmp_path, tiny_encoder, corpus):
    names = ("train", "validation", "test")
    files = {name: shared_data / corpus / file for name, file in zip(names, CORPORA[corpus], strict=True)}
    config = write_config(tmp_path / "c.yaml", tiny_encoder, files)
    report = check(config, ["data.context=document"] if corpus == "uner-pt-bosque" else [], timing=False)
    train = [tuple(w for w, _ in sentence) for sentence in sentences_of(files["train"])]
    for name in names:
        facts, sentences = report.splits[name], sentences_of(files[name])
        entities = [get_entities([tag for _, tag in sentence]) for sentence in sentences]
        assert facts.sentences == len(sentences)
        assert facts.words == sum(map(len, sentences))
        assert facts.entities == Counter(kind for spans in entities for kind, *_ in spans)
        assert facts.tags == Counter(tag for sentence in sentences for _, tag in sentence)
        assert facts.words_per_sentence.max == max(map(len, sentences))
        assert facts.long_entities.count == sum(e - b + 1 >= 10 for spans in entities for _, b, e in spans)
        texts = [tuple(w for w, _ in sentence) for sentence in sentences]
        assert facts.repeated.count == len(texts) - len(set(texts))
        if name == "train":
            assert facts.in_train is None
        else:
            assert facts.in_train.count == sum(text in set(train) for text in texts)
        if name == "validation":
            assert_pieces(facts, sentences, entities, tiny_encoder)
    kinds: dict[str, Counter] = {}
    for word, tag in (pair for sentence in sentences_of(files["train"]) for pair in sentence):
        kinds.setdefault(word, Counter())[tag[2:] or "O"] += 1
    for entry in report.ambiguous_words:
        assert entry.labels == kinds[entry.word] and entry.count == kinds[entry.word].total()
    expected = sorted((score(c) for c in kinds.values() if len(c) > 1 and c.total() >= 5), reverse=True)[:10]
    assert [score(kinds[entry.word]) for entry in report.ambiguous_words] == pytest.approx(expected)


def score(kinds: Counter) -> float:
    shares = np.array(list(kinds.values())) / kinds.total()
    return float(-(shares * np.log2(shares)).sum() * np.log2(kinds.total()))


def assert_pieces(facts, sentences: Sentences, entities: list, encoder: Path) -> None:
    """Pieces and what truncation loses, by the tokenizer's own truncation."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    words = [[word for word, _ in sentence] for sentence in sentences]
    whole = tokenizer(words, is_split_into_words=True)
    lengths = sorted(len(ids) for ids in whole["input_ids"])
    without = facts.words_without_pieces.count  # which we give a piece
    assert facts.pieces_per_sentence.max in range(lengths[-1], lengths[-1] + without + 1)
    assert facts.pieces_per_sentence.median in range(lengths[len(lengths) // 2 - 1], lengths[len(lengths) // 2] + 1)
    assert sum(lengths) - 2 * len(lengths) == round(facts.pieces_per_word * facts.words) - without
    cut = tokenizer(words, is_split_into_words=True, truncation=True, max_length=64)
    seen = [set(cut.word_ids(i)) for i in range(len(words))]
    kept = [{w for w in range(len(s)) if w in seen[i]} for i, s in enumerate(sentences)]
    lost = sum(any(w not in kept[i] for w in range(b, e + 1)) for i, spans in enumerate(entities) for _, b, e in spans)
    if not without:
        assert facts.lost_by_truncation.words == sum(len(s) - len(k) for s, k in zip(sentences, kept, strict=True))
        assert facts.lost_by_truncation.entities == lost > 0
    assert (facts.lost.words, facts.lost.entities) == (0, 0)


def test_word_counts_do_not_depend_on_when_they_are_added_up(planted, monkeypatch):
    config, _, report = planted
    monkeypatch.setattr("determined_ner.check.counts._MERGE_ROWS", 0)
    assert check(config, [], timing=False).ambiguous_words == report.ambiguous_words


def test_padding_is_what_the_batches_hold():
    lengths, borders = np.array([3, 5, 2, 7]), np.array([0, 2, 2, 4])
    assert _share(lengths, borders, Padding()) == pytest.approx(1 - 17 / (5 * 2 + 7 * 2))
    assert _share(lengths, borders, Padding(least=8)) == pytest.approx(1 - 17 / 32)


def test_padding_of_the_plan_and_of_random_order(planted):
    config, _, report = planted
    train = report.splits["train"]
    assert 0 <= train.padding < train.padding_random < 1
    plain = check(config, ["hyperparameters.group_by_length=false"], timing=False).splits["train"]
    assert plain.padding == plain.padding_random == train.padding_random
    padded = check(config, ["data.pad_to_max_length=true"], timing=False)
    assert padded.splits["train"].padding > 0.5
    rounded = check(config, ["hyperparameters.precision=bf16"], timing=False).splits["train"]
    assert train.padding < rounded.padding < 0.5
    assert any(remark.text.startswith("data.pad_to_max_length: ") for remark in padded.warnings)


def test_the_line_through_the_timed_steps_forgives_one_that_was_disturbed():
    points = [(pieces, 0.5 + 0.01 * pieces) for pieces in (100, 200, 300, 400, 500)]
    assert _line(points) == pytest.approx((0.5, 0.01))
    disturbed = [*points[:2], (300, 60.0), *points[3:]]
    assert _line(disturbed) == pytest.approx((0.5, 0.01), rel=0.3)
    assert _line([(100, 1.0)]) == (0.0, 0.01)
    assert _line([(100, 1.0), (100, 3.0)]) == (0.0, 0.02)


def test_cost_is_that_of_the_settings(planted):
    config, _, _ = planted
    overrides = ["hyperparameters.max_steps=7", "resources.slots_per_trial=2", "optimizations.aggregation_frequency=2"]
    cost = check(config, overrides, timing=True).cost
    assert (cost.steps_per_epoch, cost.steps_total, cost.epochs) == (5, 7, 7 / 5)
    assert (cost.slots, cost.accumulation_steps, cost.global_batch_size) == (2, 2, 8)
    assert cost.timing is not None and cost.timing.threads and cost.timing.device == "cpu"
    assert 0 < cost.timing.seconds_per_epoch < 60 and 1 <= cost.timing.steps <= 5
    assert cost.timing.seconds_total == pytest.approx(cost.timing.seconds_per_epoch * 7 / 5)


# -- The command -----------------------------------------------------------------------------------------------


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "ner_data.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **environment},
        cwd=environment.get("HOME"),
    )


def ours(stderr: str) -> str:
    """Without what torch 2.3 says of a machine that has CUDA's compiler and no GPU."""
    return re.sub(r"No CUDA runtime is found, using CUDA_HOME=.*\n", "", stderr)


def test_table_and_json_agree_and_nothing_is_left_behind(planted, tmp_path):
    config, _, report = planted
    folders = {name: tmp_path / name for name in ("HOME", "TMPDIR")}
    for folder in folders.values():
        folder.mkdir()
    before = sorted(config.parent.iterdir())
    environment = {name: str(folder) for name, folder in folders.items()}
    as_json = command(config, "--no-timing", "--json", **environment)
    assert (as_json.returncode, ours(as_json.stderr)) == (0, "")
    read = json.loads(as_json.stdout)
    table = command(config, "--no-timing", **environment)
    assert (table.returncode, ours(table.stderr)) == (0, "")
    assert sorted(config.parent.iterdir()) == before
    assert [list(folder.rglob("*")) for folder in folders.values()] == [[], []]

    assert read["cost"]["timing"] is None and read["splits"]["train"]["sentences"] == report.splits["train"].sentences
    rows = {}
    for line in table.stdout.split("Words of train")[0].splitlines():
        rows.setdefault(line[2:42].strip(), [cell.strip() for cell in line[42:].split("  ") if cell.strip()])
    splits = list(read["splits"].values())
    assert rows["sentences"] == [str(split["sentences"]) for split in splits]
    assert rows["words"] == [str(split["words"]) for split in splits]
    assert rows["entities"] == [str(sum(split["entities"].values())) for split in splits]
    assert rows["PER"] == [str(split["entities"]["PER"]) for split in splits]
    assert rows["padding"] == [f"{split['padding']:.1%}" for split in splits]
    assert [cell.split()[0] for cell in rows["words lost by cutting off instead"]] == [
        str(split["lost_by_truncation"]["words"]) for split in splits
    ]
    assert rows["words in no window"] == ["0", "0"]
    shown = table.stdout.split("Look at these:")[1]
    assert shown.count("\n  - ") == len(read["warnings"]) > 5
    for remark in read["warnings"]:
        assert remark["text"].split()[0] in shown
        for told in remark["places"]:
            assert Path(told.split(": ")[0]).name in shown  # files by their names alone
    assert all(len(line) <= 100 for line in shown.splitlines())


def test_the_cache_is_kept_where_it_is_asked_for(planted, tmp_path):
    config, _, report = planted
    cache = tmp_path / "cache"
    overrides = [f"data.cache_dir={cache}"]
    assert check(config, overrides, timing=False) == report
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.bin")}
    assert kept
    assert check(config, overrides, timing=False) == report
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.bin")} == kept


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("hyperparameters.learnig_rate=1", "hyperparameters.learnig_rate"),
        ("hyperparameters.global_batch_size=0", "hyperparameters.global_batch_size"),
        ("hyperparameters.num_warmup_steps=1000", "hyperparameters.num_warmup_steps"),
        ("hyperparameters.pretrained_model_name_or_path=/no/model", "'/no/model' is not a directory"),
        ("data.max_seq_length=100", "data.max_seq_length: 100 is more than the 64 pieces"),
        ("data.stride=62", "data.stride"),
        ("data.train_file=/no/such.conll", "/no/such.conll: no such file"),
        ("data.on_bad_tags=error", "tag 'I-LOC' of word 2 ('Kyiv')"),
        ("data.context=document", "no documents are marked"),
        ("searcher.metric=bleu", "searcher.metric: 'bleu'"),
        ("searcher.max_length=5", "searcher.max_length"),
        ("checkpoint_policy=sometimes", "checkpoint_policy"),
        ("resources.slots_per_trial=16", "global_batch_size: 8 is less than the 16 slots"),
        ("resources.slots_per_trial=many", "resources.slots_per_trial: 'many'"),
    ],
)
def test_where_training_would_fail_so_does_the_check(planted, capsys, override, expected):
    config, _, _ = planted
    assert main([str(config), "--no-timing", "--config", override]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ") and expected in printed.err


def test_help_does_not_wait_for_torch():
    code = "import runpy, sys\ntry:\n runpy.run_path(sys.argv[0], run_name='__main__')\nexcept SystemExit as e:\n"
    code += " assert not e.code and not {'torch', 'determined', 'transformers'} & set(sys.modules)"
    path = str(ROOT / "ner_data.py")
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.argv = [{path!r}, '--help']; sys.path.insert(0, {str(ROOT)!r})\n{code}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0 and "--no-timing" in result.stdout, result.stderr
