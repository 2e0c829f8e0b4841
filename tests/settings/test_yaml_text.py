"""YAML becomes plain values that JSON can hold, in bounded memory, or one error with its line."""

from __future__ import annotations

import json

import pytest

from determined_ner.settings.yaml_text import InvalidYAMLError, load_yaml


def bomb(first: str, rest: str) -> str:
    """Thirty lines, each with nine times the values of the one before."""
    lines = [rest.format(i=i, all=", ".join([f"*a{i - 1}"] * 9)) for i in range(1, 30)]
    return "\n".join([f"a0: &a0 {first}", *lines])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-11-25", "2026-11-25"),
        ("[2026-11-25T10:30:00Z, yes, 007, 0x1f, 1e-5, .5, ~, null, true, -1]",
         ["2026-11-25T10:30:00Z", "yes", 7, 31, 1e-5, 0.5, None, None, True, -1]),
        ("{1: a, true: b, 2026-11-25: c, '1.0': d}", {"1": "a", "true": "b", "2026-11-25": "c", "1.0": "d"}),
        ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\nc: {<<: [{p: 5}, *x]}",
         {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}, "c": {"p": 5, "q": 2}}),
        ("'<<': 1", {"<<": 1}),
        ("", None),
        (" 'a #b' # c", "a #b"),
    ],
)  # fmt: skip
def test_values_are_those_that_were_written(text, value):
    assert load_yaml(text) == value
    assert json.loads(json.dumps(load_yaml(text), allow_nan=False)) == value


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("x: 1\na: .inf", 2, "'.inf' is not a finite number"),
        ("a: .nan", 1, "'.nan' is not a finite number"),
        ("a: 1e999", 1, "'1e999' is not a finite number"),
        (f"a: {10**30}", 1, "too large a number"),
        (f"a: {'9' * 5000}", 1, "is no int"),
        ("a: !!int abc", 1, "'abc' is no int"),
        ("a: !!bool ''", 1, "'' is no bool"),
        ("\na: !!binary aGVsbG8=", 2, "'binary' is no kind of value"),
        ("a: !!set {x, y}", 1, "'set' is no kind of value"),
        ("a: !!python/object/apply:os.system [ls]", 1, "'python/object/apply:os.system' is no kind of value"),
        ("? [a]\n: 1", 1, "a key must be text"),
        ("b: {x: 1}\nc:\n  x: 1\n  y: 2\n  x: 3", 5, "the key 'x' stands twice"),
        ("{1: a, '1': b}", 1, "the key '1' stands twice"),
        ('"\\ud800"', 1, "cannot stand in a text"),
        ('"\\0"', 1, "cannot stand in a text"),
        ("a: {<<: 1}", 1, "what << merges must be sections"),
        ("a: &a [*a]", 1, "nested in more than 50 levels"),
        ("[" * 20_000, None, "nested in more than 50 levels"),
        ("[" * 60 + "]" * 60, 1, "nested in more than 50 levels"),
        (bomb("[x, x]", "a{i}: &a{i} [{all}]"), 1, "more than 100,000 values"),
        (bomb("{x: 1}", "a{i}: &a{i} {{<<: [{all}]}}"), 2, "more than 100,000 values"),
        ("a\n---\nb", 2, "found another document"),
    ],
)
def test_what_json_cannot_hold_or_would_never_end_is_refused_with_its_line(text, line, problem):
    with pytest.raises(InvalidYAMLError) as refused:
        load_yaml(text)
    assert problem in refused.value.problem and refused.value.line == line
