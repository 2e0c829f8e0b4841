"""The metrics log: what was reported is read again, and a line that a stop cut short is left out."""

from __future__ import annotations

import os

import pytest

from determined_ner.errors import UserError
from determined_ner.files.metrics_log import METRICS_FILE, MetricsLog

TRAINING = {"kind": "training", "batches": 5, "epochs": 0, "loss": 0.5}
VALIDATION = {"kind": "validation", "batches": 10, "epochs": 1, "loss": 0.25, "f1": None}


@pytest.fixture
def log(tmp_path):
    return MetricsLog(tmp_path / METRICS_FILE)


def test_reports_are_read_as_they_were_appended(log):
    assert log.reports() == []
    log.append(TRAINING)
    log.append(VALIDATION)
    assert log.reports() == [TRAINING, VALIDATION]
    assert log.path.read_text().count("\n") == 2


@pytest.mark.parametrize("left", ["", '{"kind": "tra', '{"kind"'])
def test_a_last_line_that_a_stop_cut_short_is_left_out(log, left):
    log.append(TRAINING)
    with log.path.open("a") as file:
        file.write(left)
    assert log.reports() == [TRAINING]


@pytest.mark.parametrize(
    "line",
    [
        *(b'{"kind": "tra', b"[1, 2]", b"", b"7", b"null", b"\xff\xfe", b"[" * 100_000),
        *(b'{"batches": 5}', b'{"kind": "training"}', b'{"kind": "other", "batches": 5}'),
        *(b'{"kind": "training", "batches": %s}' % value for value in (b"-1", b"1.5", b'"5"', b"true", b"1e999")),
        *(b'{"kind": "training", "batches": 5, "loss": %s}' % value for value in (b'"x"', b"NaN", b"1e999", b"[1]")),
    ],
)
def test_another_line_that_is_no_report_is_named(log, line):
    log.append(TRAINING)
    with log.path.open("ab") as file:
        file.write(line + b"\n")
    log.append(VALIDATION)
    with pytest.raises(UserError) as caught:
        log.reports()
    assert caught.value.where == f"{log.path}:2" and caught.value.remedy == "remove the line"


def test_a_rewritten_log_holds_these_reports_alone(log):
    for _ in range(3):
        log.append(TRAINING)
    log.rewrite(report for report in [VALIDATION])
    assert log.reports() == [VALIDATION]
    assert [path.name for path in log.path.parent.iterdir()] == [METRICS_FILE]


def test_a_log_stays_where_its_rewriting_fails(log):
    log.append(TRAINING)
    with pytest.raises(TypeError):
        log.rewrite([VALIDATION, {"kind": object()}])
    assert log.reports() == [TRAINING]


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), os.mkfifo])
def test_what_is_no_file_is_not_waited_for(log, make):
    make(log.path)
    with pytest.raises(UserError, match="is no file"):
        log.reports()
