"""The strict reader against the standard library's, and against a second strict reader."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from authz.actions.strict_json import JsonLimits, read_json
from authz.errors import Refusal
from tests.support.json_oracle import strict

LIMITS = JsonLimits(max_values=10**6, max_depth=60)

keys = st.sampled_from(
    [
        "a",
        "A",
        "b",
        "\\u0061",
        "a:b",
        "a\\u003ab",
        "",
        "k",
        "\u212a",
        "\u00e9",
        "\\u00c9",
        "Name",
        "n\\u0061me",
        "__proto__",
    ]
)
TEXTS = (
    "",
    "x",
    ":",
    "\\u003a",
    "\\u003A",
    "\\\\u003a",
    "\\u0000",
    "\\\\u0000",
    "\\ud83d\\ude00",
    "\\ud800",
    "\ufffe",
    "\\n",
)
NUMBERS = (
    "0",
    "-0",
    "1.0",
    "1e0",
    "9007199254740991",
    "9007199254740992",
    "1e400",
    "1e-400",
    "01",
    "1.",
    "0e999",
    "3e-324",
)
strings = st.sampled_from(TEXTS) | st.text(max_size=5)
numbers = st.sampled_from(NUMBERS) | st.from_regex(r"\A-?[0-9]{1,19}(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,3})?\Z")
scalars = st.one_of(
    strings.map(lambda s: f'"{s}"'), numbers, st.sampled_from(["true", "false", "null", "NaN", "Infinity"])
)
space = st.sampled_from(["", "", "", " ", "\n", "\x0c"])
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: f"[{','.join(items)}]"),
        st.lists(st.tuples(keys, space, inner), max_size=4).map(
            lambda members: "{" + ",".join(f'"{k}"{s}:{v}' for k, s, v in members) + "}"
        ),
    ),
    max_leaves=12,
)
bodies = st.tuples(documents, st.sampled_from(["", "", "", " ", ",", "]", "\ufeff", "\x00", "{}"])).map(
    lambda parts: "".join(parts).encode("utf-8", "surrogatepass")
)


def agree(body: bytes) -> None:
    try:
        expected = strict(body)
    except ValueError:
        refused = True
    else:
        refused = False
    try:
        value = read_json(body, LIMITS)
    except Refusal:
        assert refused, "refused although unambiguous"
        return
    assert not refused, "read although ambiguous"
    assert repr(value) == repr(expected)
    assert repr(json.loads(body)) == repr(value)


@given(bodies)
@example(b'{"a":1,"a":2,"b":"\\u003a"}')
@example(b'{"a":"\\u003a","a":"::"}')
def test_it_reads_what_a_second_strict_reader_reads_and_nothing_else(body):
    agree(body)


@given(documents, st.integers(0, 200), st.binary(max_size=3))
def test_so_it_does_with_a_few_bytes_changed(document, at, bytes_):
    body = document.encode("utf-8", "surrogatepass")
    at %= len(body)
    agree(body[:at] + bytes_ + body[at + 1 :] or b" ")


@given(st.binary(min_size=1, max_size=60))
def test_so_it_does_with_any_bytes(body):
    agree(body)


plain = st.text(st.characters(exclude_categories=["Cs", "Cn"], exclude_characters="\0"))
doubles = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | doubles | plain,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcdefg:"), inner, max_size=4),
    max_leaves=15,
)


@given(json_values, st.booleans())
def test_it_refuses_nothing_that_a_common_encoder_wrote(value, ascii_only):
    assert repr(read_json(json.dumps(value, ensure_ascii=ascii_only).encode(), LIMITS)) == repr(value)
