"""Files of test cases: how they are read, and what is refused, with the line."""

import json
from datetime import UTC, datetime

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from hypothesis import given
from hypothesis import strategies as st

from authz.authoring.cases import parse_cases
from authz.authoring.schema import json_schema
from authz.authoring.yaml_lines import read_yaml
from authz.errors import ConfigError

CASE = "cases:\n  - name: one\n    expect: allow\n"


def http(case):
    return CheckRequest.FromString(case.message).attributes.request.http


def test_a_case_lies_over_the_defaults_part_by_part():
    text = """\
defaults:
  request: {host: a.example, headers: {x-one: "1", x-two: "2"}}
  at: 2026-01-02T03:04:05Z
  expect: deny
cases:
  - name: one
    request: {path: /x, headers: {x-two: "3"}}
    expect: {effect: deny, reason: no_matching_rule}
  - name: two
"""
    one, two = parse_cases(text, "t.yaml")
    assert (http(one).host, http(one).path) == ("a.example", "/x")
    assert {each.key: each.raw_value for each in http(one).header_map.headers} == {"x-one": b"1", "x-two": b"3"}
    assert one.at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    assert (one.expect.effect, one.expect.reason.value, one.line) == ("deny", "no_matching_rule", 6)
    assert (two.expect.effect, two.proved, two.line) == ("deny", True, 9)


def test_a_matrix_is_every_combination_each_with_its_name():
    text = """\
cases:
  - name: m
    matrix: {method: [GET, POST], headers.x-a.b: ["1"], attributes.env.hour: [3, 4], at: [7]}
    expect: allow
"""
    cases = parse_cases(text, "t.yaml")
    assert [http(case).method for case in cases] == ["GET", "GET", "POST", "POST"]
    assert [case.attributes["env"]["hour"] for case in cases] == [3, 4, 3, 4]
    assert {http(case).header_map.headers[0].key for case in cases} == {"x-a.b"}
    assert cases[0].at == 7
    assert cases[0].name == "m [method=GET, headers.x-a.b=1, attributes.env.hour=3, at=7]"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (CASE.replace("name", "nmae"), "t.yaml:2: `nmae` is no key here; did you mean `name`?"),
        ("cases:\n  - name: one\n", "t.yaml:2: a case without an expectation"),
        ("cases:\n  - name: one\n    request:\n      metod: GET\n    expect: allow\n", "t.yaml:4: `metod` is no key"),
        ("cases:\n  - name: one\n    request:\n      path: 5\n    expect: allow\n", "t.yaml:4: cases[0].request.path"),
        (CASE.replace("allow", "maybe"), "t.yaml:3: "),
        ("cases:\n  - name: one\n    expect: {effect: deny, reason: bogus}\n", "t.yaml:3: "),
        ("cases:\n  - name: one\n    expect: {effect: deny, obligations: {a: b}}\n", "t.yaml:2: expect.obligations"),
        ("cases:\n  - name: one\n    expect: {effect: allow, status: 403}\n", "t.yaml:2: expect.status"),
        ("cases:\n  - name: one\n    at: 2026-01-02T03:04:05\n    expect: allow\n", "time zone"),
        ("cases:\n  - name: one\n    at: noon\n    expect: allow\n", "t.yaml:2: at: `noon` is no time"),
        ("cases:\n  - name: one\n    matrix: {metod: [GET]}\n    expect: allow\n", "t.yaml:3: `metod` is no key here"),
        ("cases:\n  - name: one\n    matrix: {method: []}\n    expect: allow\n", "t.yaml:3: "),
        ("cases:\n  - name: one\n    matrix: {expect: [allow]}\n", "t.yaml:3: `expect` is no key here"),
        (CASE + "  - name: one\n    expect: deny\n", "t.yaml:4: the name `one` stands in line 2 already"),
        ("cases:\n  - name: one\n    request: {source: nowhere}\n    expect: allow\n", "t.yaml:2: `nowhere`"),
        ("cases: []\n", "t.yaml:1: there are no cases"),
        ("", "t.yaml:1: "),
        ("cases:\n  - name: one\n    name: two\n", "t.yaml:3:5: the key `name` stands twice"),
        ("cases: &a []\ndefaults: *a\n", "t.yaml:1:8: aliases"),
        ("cases: !!python/name:os.system x\n", "t.yaml:1:8: tags"),
        ("cases: [\n", "t.yaml:2:1: not YAML"),
        ("? [a]\n: b\n", "t.yaml:1:3: a key must be a text"),
        ("[" * 1500, "nested too deep"),
        ("a\x00", "not YAML"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text, told):
    with pytest.raises(ConfigError) as raised:
        parse_cases(text, "t.yaml")
    assert told in str(raised.value)


def test_a_matrix_that_explodes_is_refused():
    axes = "\n".join(f"      headers.x-{n}: [a, b, c, d, e, f, g, h]" for n in range(9))
    with pytest.raises(ConfigError, match="more than 50000 cases"):
        parse_cases(f"cases:\n  - name: m\n    matrix:\n{axes}\n    expect: allow\n", "t.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [("no", "no"), ("on", "on"), ("0x10", "0x10"), ("010", "010"), ("1_000", "1_000"), ("12:30", "12:30"),
     ("2026-01-02", "2026-01-02"), ("true", True), ("null", None), ("1.5", 1.5), ("-3", -3), ("'3'", "3")],
)  # fmt: skip
def test_plain_words_are_what_json_would_make_of_them(text, value):
    assert read_yaml(f"- {text}", "t").value == [value]


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(codec="ascii", exclude_categories=["Cc"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_json_is_read_as_json_reads_it(value):
    assert read_yaml(json.dumps(value), "t").value == value


def test_the_schema_knows_every_key_and_says_what_it_means():
    schema = json_schema()
    entry = schema["$defs"]["CaseEntry"]
    assert set(entry["properties"]) == {"name", "request", "at", "proved", "attributes", "matrix", "expect"}
    assert entry["additionalProperties"] is False
    for part in ("CaseFile", "CaseEntry", "Defaults", "Expectation", "Question"):
        assert all(each["description"] for each in schema["$defs"][part]["properties"].values())
