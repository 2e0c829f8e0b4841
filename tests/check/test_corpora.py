"""The data check tells of each corpus of the training data."""

from __future__ import annotations

import json

from determined_ner import cli
from tests.conftest import make_sentences, write_config, write_conll


def test_the_data_check_tells_of_each_corpus(tmp_path, tiny_encoder, corpus, capsys):
    config_file = write_config(tmp_path / "c.yaml", tiny_encoder, corpus)
    config = json.loads(config_file.read_text())
    persons = [[(word, tag if "PER" in tag else "O") for word, tag in row] for row in make_sentences(20, 300)]
    persons_file = str(write_conll(tmp_path / "persons.conll", persons))
    config["data"]["train_file"] = {
        "all": {"file": str(corpus["train"]), "loss_weight": 2},
        "persons": {"file": persons_file, "annotated_types": ["PER"]},
    }
    config_file.write_text(json.dumps(config))
    assert cli.main(["check", str(config_file), "--no-timing", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    both = report["corpora"]
    assert [(one["name"], one["sentences"], one["annotated_types"]) for one in both] == [
        ("all", 44, None),
        ("persons", 20, ["PER"]),
    ]
    assert sum(one["words"] for one in both) == report["splits"]["train"]["words"]
    assert abs(sum(one["words"] * one["weight"] for one in both) - report["splits"]["train"]["words"]) < 1e-3
    assert {t: sum(c["entities"].get(t, 0) for c in both) for t in ("PER", "LOC")} == report["splits"]["train"][
        "entities"
    ]
    assert cli.main(["check", str(config_file), "--no-timing"]) == 0
    table = capsys.readouterr().out
    assert "Corpora of train" in table and "corpus persons: 20 sentences" in table
