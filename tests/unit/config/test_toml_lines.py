"""Keys are found on the lines where they stand."""

import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authz.config.text import key_text, literal
from authz.config.toml_lines import key_lines


def test_headers_keys_and_elements_of_arrays_are_numbered_from_one():
    text = """# a comment
name = 1

[server]   # comment = 1
listen = "x"
"odd key" = 2
'other' . nested = 3
[[issuers]]
url = 1
[issuers.keys]
a = 1
[[issuers]]
url = 2
"""
    assert key_lines(text) == {
        ("name",): 2,
        ("server",): 4,
        ("server", "listen"): 5,
        ("server", "odd key"): 6,
        ("server", "other"): 7,
        ("server", "other", "nested"): 7,
        ("issuers",): 8,
        ("issuers", 0): 8,
        ("issuers", 0, "url"): 9,
        ("issuers", 0, "keys"): 10,
        ("issuers", 0, "keys", "a"): 11,
        ("issuers", 1): 12,
        ("issuers", 1, "url"): 13,
    }


@pytest.mark.parametrize(
    "value",
    [
        '"""\nfake = 1\n[fake]\n"""',
        "'''\nfake = 1\n'''",
        '"""a \\""" fake = 1\n"""',
        '"""x"""""',
        "'''x'''''",
        '[\n  "a", # ] fake\n  "]",\n]',
        "[\n[1,\n2],\n{ a = [\n1] },\n]",
        '{ a = "}", b = [1, { c = 2 }] }',
        '"# no comment"',
        '"a \\" b"',
        "'a \\'",
        "1979-05-27T07:32:00Z # fake",
        '""',
        "''",
    ],
)
def test_what_is_inside_of_a_value_is_no_key(value):
    text = f"before = 1\nkey = {value}\nafter = 2"
    tomllib.loads(text)
    assert key_lines(text) == {("before",): 1, ("key",): 2, ("after",): 3 + value.count("\n")}


def test_windows_line_ends_count_as_one():
    assert key_lines("a = 1\r\n\r\nb = 2\r\n") == {("a",): 1, ("b",): 3}


def test_a_key_of_absurd_depth_is_not_told_apart():
    assert len(key_lines("a" + ".a" * 5000 + " = 1")) == 16


names = st.text("ab\n\"'.é ", min_size=1, max_size=3)
leaves = st.integers(0, 9) | st.text("a\n#[]{}=\"'\\", max_size=8)


@given(st.dictionaries(names, leaves | st.lists(leaves, max_size=3), max_size=4), st.integers(0, 3))
@example({"a": '"""\n'}, 0)
def test_every_key_that_the_parser_finds_is_found_and_no_other(table, blank):
    lines, text = {}, ""
    for name, value in table.items():
        text += "\n" * blank
        lines[name,] = text.count("\n") + 1
        text += f"{key_text((name,))} = {literal(value)}\n"
    assert tomllib.loads(text) == table
    assert key_lines(text) == lines


@given(st.text("a=.[]\n\"'{}#, \\1", max_size=40))
def test_it_never_fails_on_what_the_parser_accepts(text):
    try:
        tree = tomllib.loads(text)
    except ValueError:
        return
    assert {path[0] for path in key_lines(text)} == set(tree)
