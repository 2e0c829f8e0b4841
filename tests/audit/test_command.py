"""The command `determined-ner audit`: what it trains, writes, goes on with and refuses."""

from __future__ import annotations

import json

import pytest

from determined_ner import cli
from determined_ner.audit import command
from determined_ner.local import folds
from determined_ner.training.setup import Training
from tests.conftest import make_sentences, write_conll
from tests.stopped import Killed, stop_after

FOLDS = 2


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    sentences = make_sentences(24)
    sentences[7] = [(word, "O") for word, _ in sentences[7]]  # its labels were lost
    other = {"PER": "LOC", "LOC": "PER"}
    sentences[9] = [(word, tag[:2] + other.get(tag[2:], tag[2:])) for word, tag in sentences[9]]  # types exchanged
    return write_conll(tmp_path_factory.mktemp("data") / "labelled <b>.conll", sentences)


@pytest.fixture(scope="module")
def audit(data, tiny_encoder):
    """Audit in this process; the exit status."""

    def run(folder, *options, of=data):
        settings = {"pretrained_model_name_or_path": tiny_encoder, "learning_rate": 0.01, "num_train_epochs": 4}
        given = [f"--config=hyperparameters.{name}={value}" for name, value in settings.items()]
        return cli.main(["audit", str(of), "--output-dir", str(folder), f"--folds={FOLDS}", *given, *options])

    return run


@pytest.fixture(scope="module")
def audited(audit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audited") / "out"
    tasks = folder.parent / "tasks.jsonl"
    assert audit(folder, "--to", "doccano", "--tasks", str(tasks)) == 0
    return folder


def entries(folder):
    return [json.loads(line) for line in (folder / "audit.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_list_has_rank_place_words_both_readings_kind_and_score(audited, data):
    listed = entries(audited)
    assert listed, "nothing is doubted"
    assert [entry["rank"] for entry in listed] == list(range(1, len(listed) + 1))
    assert [entry["score"] for entry in listed] == sorted((entry["score"] for entry in listed), reverse=True)
    lines = data.read_text().split("\n")
    for entry in listed:
        line = int(entry["place"].rpartition(":")[2])
        assert lines[line - 1].split("\t")[0] == entry["words"][0]
        for reading in (entry["given"], entry["proposed"]):
            if reading:
                of = entry["words"][reading["first_word"] : reading["last_word"] + 1]
                assert reading["text"] == " ".join(of)
        assert entry["given"] or entry["proposed"]


def test_labels_that_were_lost_are_among_the_doubtful(audited, data):
    line = 1 + sum(len(sentence) + 1 for sentence in make_sentences(7))
    assert any(entry["place"].endswith(f":{line}") and entry["given"] is None for entry in entries(audited))


def test_the_page_needs_no_other_file_and_escapes_what_it_shows(audited):
    page = (audited / "audit.html").read_text(encoding="utf-8")
    assert "<script" not in page and "src=" not in page and "labelled <b>" not in page
    assert "labelled &lt;b&gt;.conll" in page
    assert page.count('class="example"') == min(300, len(entries(audited)))


def test_tasks_are_the_labelled_sentences_most_doubtful_first(audited):
    tasks = [json.loads(line) for line in (audited.parent / "tasks.jsonl").read_text(encoding="utf-8").splitlines()]
    places = list(dict.fromkeys(entry["place"] for entry in entries(audited)))
    words = {entry["place"]: " ".join(entry["words"]) for entry in entries(audited)}
    assert [task["text"] for task in tasks] == [words[place] for place in places]
    first = next(entry for entry in entries(audited) if entry["given"])
    task = tasks[places.index(first["place"])]
    assert [first["given"]["text"], first["given"]["type"]] in [[task["text"][b:e], t] for b, e, t in task["label"]]


def test_the_cost_is_stated_before_the_first_fold(audit, tmp_path, monkeypatch, capsys):
    stop_after(monkeypatch, command, "run_folds", 0)
    with pytest.raises(Killed):
        audit(tmp_path / "out")
    said = capsys.readouterr().err
    assert f"{FOLDS} of {FOLDS} folds, each 8 steps of 8 windows: about" in said and "timed steps" in said


def test_the_folds_runs_are_removed_and_their_predictions_kept(audited):
    assert sorted(path.name for path in audited.iterdir() if not path.name.startswith(".")) == [
        *("audit.html", "audit.jsonl", "folds.json", "predictions")
    ]


@pytest.mark.parametrize("where", ["between folds", "inside a fold", "before the list"])
def test_an_audit_that_was_stopped_goes_on_to_the_same_list(audit, audited, tmp_path, monkeypatch, where):
    {
        "between folds": lambda: stop_after(monkeypatch, folds, "run_locally", 1),
        "inside a fold": lambda: stop_after(monkeypatch, Training, "train_step", 16),
        "before the list": lambda: stop_after(monkeypatch, command, "rank", 0),
    }[where]()
    with pytest.raises(Killed):
        audit(tmp_path / "out")
    monkeypatch.undo()
    assert not (tmp_path / "out" / "audit.jsonl").exists()
    assert audit(tmp_path / "out", "--resume") == 0
    assert (tmp_path / "out" / "audit.jsonl").read_bytes() == (audited / "audit.jsonl").read_bytes()


def test_a_config_s_training_data_is_audited(audited, tiny_encoder, data, tmp_path):
    config = {
        "hyperparameters": {
            "pretrained_model_name_or_path": str(tiny_encoder),
            "learning_rate": 0.01,
            "num_train_epochs": 4,
        },
        "data": {"train_file": str(data), "validation_file": "elsewhere.conll"},
        "searcher": {"name": "single", "metric": "f1", "smaller_is_better": False},
        "reproducibility": {"experiment_seed": 42},
    }
    (tmp_path / "e.yaml").write_text(json.dumps(config))
    options = ["--output-dir", str(tmp_path / "out"), f"--folds={FOLDS}"]
    assert cli.main(["audit", str(tmp_path / "e.yaml"), *options]) == 0
    assert entries(tmp_path / "out")


@pytest.mark.parametrize(
    "options, message",
    [
        (["--folds=1"], "1 folds leave nothing to train on"),
        (["--folds=25"], "has 24 sentences, which cannot be cut into 25 folds"),
        (["--to=doccano"], "give both --to FORMAT and --tasks FILE"),
        (["--resume"], "no run to go on with"),
        (["--config=data.nonsense=1"], "nonsense"),
    ],
)
def test_what_cannot_be_audited_is_refused_with_one_message(audit, tmp_path, capsys, options, message):
    assert audit(tmp_path / "out", *options) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1 and message in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_tasks_take_the_place_of_nothing_unasked(audit, data, tmp_path, capsys):
    there = tmp_path / "there.jsonl"
    there.write_text("mine")
    before = data.read_bytes()
    for tasks, more, message in (
        (there, ["--resume"], "there.jsonl: exists"),
        (data, ["--overwrite"], "is what is audited"),
    ):
        assert audit(tmp_path / "out", "--to", "doccano", "--tasks", str(tasks), *more) == 2
        said = capsys.readouterr().err
        assert said.count("error: ") == 1 and message in said
    assert there.read_text() == "mine" and data.read_bytes() == before and not (tmp_path / "out").exists()


def test_a_missing_file_is_named(audit, tmp_path, capsys):
    assert audit(tmp_path / "out", of=tmp_path / "none.conll") == 2
    said = capsys.readouterr().err
    assert "none.conll" in said and said.count("error: ") == 1 and not (tmp_path / "out").exists()


def test_resuming_on_other_data_is_refused(audit, audited, data, tmp_path, capsys):
    other = tmp_path / data.name
    other.write_text(data.read_text() + "\nMore\tO\n")
    assert audit(audited, "--resume", of=other) == 2
    assert "begun with other settings or data" in capsys.readouterr().err
