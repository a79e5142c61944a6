"""The strict reader of JSON bodies: what it reads, and each thing that it refuses, with its reason."""

import json

import msgspec
import pytest

from authz.actions.strict_json import JsonLimits, read_json, refuse_lookalikes
from authz.errors import Reason, Refusal

LIMITS = JsonLimits()
COLON = "\\u003a"


def reason(body, limits=LIMITS):
    with pytest.raises(Refusal) as refusal:
        read_json(body, limits)
    return refusal.value.reason


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":{"b":[1,-2,true,false,null,"x"]}}', {"a": {"b": [1, -2, True, False, None, "x"]}}),
        (b" \t\r\n[ ] \n", []),
        (b'"\\ud83d\\ude00\\/\\n"', "\U0001f600/\n"),
        ('"K\u00f6ln \u65e5\u672c"'.encode(), "K\u00f6ln \u65e5\u672c"),
        (b"[1,1.0,1e0,-0,-0.0]", [1, 1.0, 1.0, 0, -0.0]),
        (b"[9007199254740991,-9007199254740991]", [2**53 - 1, 1 - 2**53]),
        (
            b"[0.1,0.30000000000000004,1e21,5e-324,1.7976931348623157e+308,1250.50]",
            [0.1, 0.1 + 0.2, 1e21, 5e-324, 1.7976931348623157e308, 1250.5],
        ),
        (b'{"a":"x:y","b":{"a":1}}', {"a": "x:y", "b": {"a": 1}}),
        (f'{{"a":"{COLON}","b":1}}'.encode(), {"a": ":", "b": 1}),
        (b'"\\\\u003a: \\\\u0000"', "\\u003a: \\u0000"),
        (b'{"a":{"name":1},"b":{"Name":2}}', {"a": {"name": 1}, "b": {"Name": 2}}),
        (b"true", True),
        (b'["__proto__",":"]', ["__proto__", ":"]),
        ('{"\u00df":1,"a\u00df":":"}'.encode(), {"\u00df": 1, "a\u00df": ":"}),
    ],
)
def test_what_every_parser_reads_alike_is_read(body, value):
    read = read_json(body, LIMITS)
    assert repr(read) == repr(value)


@pytest.mark.parametrize(
    "body",
    [
        b" ",
        b"\xef\xbb\xbf{}",
        b'"\\ud800"',
        b'"\\udc00"',
        b'"\\ud800\\u0041"',
        b'"\xed\xa0\x80"',
        b'"\xc0\x80"',
        b'"\xff"',
        "[]".encode("utf-16"),
        "[]".encode("utf-32-le"),
        b"NaN",
        b"Infinity",
        b"[-Infinity]",
        b"01",
        b"-01",
        b"1.",
        b".5",
        b"+1",
        b"1e",
        b"0x1",
        b"[1,]",
        b'{"a":1,}',
        b"[,1]",
        b"[1 2]",
        b'{"a" 1}',
        b'{"a"}',
        b"{a:1}",
        b"{1:2}",
        b"{'a':1}",
        b"'a'",
        b"[1] x",
        b"[1]]",
        b'{"a":1}{"b":2}',
        b"[1]\x00",
        b"[1]\x0c",
        b"\x0b[1]",
        b"\xc2\xa0[1]",
        b"/**/1",
        b"1//x",
        b"#\n1",
        b'"\x00"',
        b'"a\nb"',
        b'"\x1f"',
        b'"\\x41"',
        b'"\\u00"',
        b'"\\a"',
        b'"',
        b"[",
        b"True",
        b"nul",
        b"undefined",
        b'"\xef\xbf\xbe"',
        b'"\\uffff"',
        b'"\xef\xb7\x90"',
        b'"\\ud83f\\udffe"',
        b'{"\\ufdd0":1}',
    ],
)
def test_what_is_not_json_or_not_i_json_is_malformed(body):
    assert reason(body) is Reason.BODY_MALFORMED


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"":1,"":2}',
        b'[{"x":{"a":{"b":1},"a":{"c":1}}}]',
        b'{"a":":","a":"b"}',
        # Colons written as escapes, as many as the lost key took away.
        f'{{"a":1,"a":2,"b":"{COLON}"}}'.encode(),
        f'{{"a":1,"a":2,"b":"{COLON.upper().replace("U", "u")}"}}'.encode(),
        f'{{"a":"{COLON}","a":2}}'.encode(),
        b'{"name":1,"Name":2}',
        b'{"x":[{"arguments":1,"ARGUMENTS":2}]}',
        '{"kind":1,"\u212aind":2}'.encode(),
        '{"params":1,"param\u017f":2}'.encode(),
        '{"\u00c9":1,"\u00e9":2}'.encode(),
        b'{"\\u00c9":1,"\\u00e9":2}',
        b'{"n\\u0061me":1,"NAME":2}',
        b'{"a":{"__proto__":{"amount":1}}}',
        b'{"_\\u005fproto__":1}',
        b"9007199254740992",
        b"[-9007199254740992]",
        b'{"a":12345678901234567890}',
        b'{"a":123456789012345678901234567890}',
        b"1" * 5000,
        b"-" + b"1" * 4300,
        b"1e400",
        b"-1e400",
        b"1e-400",
        b"0.1000000000000000055511151231257827",
        b"1000.00000000000001",
        b"9007199254740993.0",
        b"1e99999999999999999999",
        b"1e-99999999999999999999",
        b'"\\u0000"',
        b'{"a\\u0000":1}',
        b'["transfer\\u0000x"]',
    ],
)
def test_what_two_parsers_could_read_differently_is_ambiguous(body):
    assert reason(body) is Reason.BODY_AMBIGUOUS


def test_no_body_is_told_from_a_bad_one():
    assert reason(b"") is Reason.BODY_MISSING


@pytest.mark.parametrize(
    ("limits", "fits", "beyond"),
    [
        ({"max_depth": 2}, b'[{"a":1}]', b'[{"a":[]}]'),
        ({"max_depth": 0}, b"1", b"[]"),
        ({"max_values": 3}, b"[[1],2]", b'[[1],{"a":1}]'),
        ({"max_string_chars": 3}, b'[{"abc":1},{"def":1}]', b'{"abcd":1}'),
        ({"max_string_chars": 3}, '"\u00e4bc"'.encode(), b'["abcd"]'),
    ],
)
def test_each_limit_holds_exactly(limits, fits, beyond):
    read_json(fits, JsonLimits(**limits))
    assert reason(beyond, JsonLimits(**limits)) is Reason.BODY_TOO_LARGE


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_a_depth_bomb_is_too_large(opening):
    closing = b"]" if opening == b"[" else b"}"
    assert reason(opening * 20_000 + b"1" + closing * 20_000) is Reason.BODY_TOO_LARGE


def test_a_refusal_quotes_nothing_of_the_body():
    for body in (b'{"secret":1,"secret":2}', b'{"a":secret}', b'{"a":"secret\\u0000"}', b"98765432109876543210"):
        with pytest.raises(Refusal) as refusal:
            read_json(body, LIMITS)
        assert "secret" not in str(refusal.value)
        assert "9876" not in str(refusal.value)


def test_a_field_in_another_case_is_refused_where_a_reader_knows_it():
    known = frozenset({"method", "params"})
    refuse_lookalikes({"method": 1, "more": 2}, known)
    for key in ("Method", "PARAMS", "param\u017f"):
        with pytest.raises(Refusal) as refusal:
            refuse_lookalikes({"method": 1, key: 2}, known)
        assert refusal.value.reason is Reason.BODY_AMBIGUOUS


def test_common_encoders_are_understood():
    value = {
        "amount": 1250.5,
        "memo": "Zahlung: \u201eQ3\u201c \U0001f600",
        "n": [0.1 + 0.2, 1e300, 3, None, True],
        "": {},
    }
    for body in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=2)):
        assert read_json(body.encode(), LIMITS) == value
    assert read_json(msgspec.json.encode(value), LIMITS) == value
