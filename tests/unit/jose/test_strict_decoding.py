"""Texts that two readers could read in two ways are not read at all."""

import itertools

import pytest

from authz.jose.decoding import MAX_JSON_DEPTH, decode_base64url, decode_json_object


@pytest.mark.parametrize(("text", "data"), [("", b""), ("AA", b"\0"), ("-_8", b"\xfb\xff"), ("YWJj", b"abc")])
def test_base64url_is_read(text, data):
    assert decode_base64url(text) == data


@pytest.mark.parametrize("text", ["A", "AB", "AA==", "AA\n", "+/8", "A A", "YWJ\n", "é", "AAAAA", "YWL"])
def test_base64url_has_one_spelling(text):
    with pytest.raises(ValueError, match=r"."):
        decode_base64url(text)


def test_json_is_read():
    assert decode_json_object(b'{"a": [1, 2.5, true, null, "\\ud83d\\ude00"], "b": {}}') == {
        "a": [1, 2.5, True, None, "\U0001f600"],
        "b": {},
    }


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63) + 1, 0])
def test_numbers_of_64_bits_are_read(number):
    assert decode_json_object(f'{{"a": {number}}}'.encode()) == {"a": number}


def nested(depth):
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"1",
        b"{",
        b"{} {}",
        b'{"a":1,"a":2}',
        b'{"a":1,"\\u0061":2}',
        b'{"x":[{"a":1,"a":1}]}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":1e300}',
        b'{"a":9223372036854775808}',
        b'{"a":-9223372036854775809}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":"\\ud800"}',
        b'{"\\udfff":1}',
        b'{"a":["\\ud800"]}',
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        b"\xfe\xff\x00{\x00}",
        b'{"a":"x\ny"}',
        b'{"a":1,}',
        b"{'a':1}",
        nested(MAX_JSON_DEPTH + 1),
        nested(100_000),
        b"[" * 100_000,
    ],
    ids=itertools.count(),
)
def test_json_of_more_than_one_reading_is_refused(data):
    with pytest.raises(ValueError, match=r"."):
        decode_json_object(data)


def test_the_depth_limit_is_exact():
    decode_json_object(nested(MAX_JSON_DEPTH))


def test_an_error_does_not_carry_the_document():
    with pytest.raises(ValueError, match="not JSON") as caught:
        decode_json_object(b'{"secret":')
    assert not hasattr(caught.value, "doc")
