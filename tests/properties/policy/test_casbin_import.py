"""Policies in CSV with quotes, as Go Casbin reads them, against Python's reader of CSV."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import PolicyError
from authz.policy import perm
from authz.policy.importing.casbin_csv import import_casbin
from authz.policy.limits import PolicyLimits
from authz.policy.rows import parse, read_line

LIMITS = PolicyLimits()
MODEL = """[request_definition]
r = sub, obj
[policy_definition]
p = rule, obj
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.obj == p.obj && eval(p.rule)
"""

cells = st.text(alphabet="ab c,\"'()[]#*/=\t", max_size=8)


def quoted(row: list[str]) -> str:
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="").writerow(row)
    return file.getvalue()


@given(st.lists(cells, min_size=1, max_size=4))
def test_a_row_is_read_back_as_it_was_or_left_out(row):
    line = quoted(["p", *row])
    result = import_casbin(line, {}, {})
    assert len(result.lines) + len(result.left_out) + len(result.missing_denials) == 1
    if result.lines:
        read = read_line(result.lines[0], "p", 1, LIMITS)
        # The reader takes a trailing empty column for one too.
        assert [read.ptype, *read.cells] == ["p", *row]


@given(
    st.lists(st.text(alphabet="ab c*/='", min_size=1, max_size=6).map(str.strip).filter(bool), min_size=1, max_size=4)
)
def test_plain_rows_are_never_left_out(row):
    assert import_casbin(quoted(["p", *row]), {}, {}).left_out == ()
    assert import_casbin(",  ".join(["p", *row]), {}, {}).left_out == ()


def test_comments_grants_and_order_stay():
    text = '# roles\n\ng,  "alice", admin\np, "admin","data, all"\np, "admin" , x\n# end'
    result = import_casbin(text, {}, {})
    assert result.lines == ("# roles", "", "g, alice, admin", "# end")
    assert [(each.line, each.what) for each in result.left_out] == [(4, "p"), (5, "p")]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('p, "a', "does not end"),
        ('p, a"b', "a quote inside"),
        ('p, "a"b', "behind a closing quote"),
        ("p, a , b", "begins or ends with a blank"),
        ('p, "#a"', "cannot"),
        ('p, "a ""b"" c", "(", d', "bracket"),
    ],
)
def test_what_cannot_be_written_is_left_out_and_why(line, why):
    (left,) = import_casbin(line, {}, {}).left_out
    assert why in left.why


def test_an_expression_with_a_comma_gets_brackets():
    columns = {"p": 2, "g": 2}
    result = import_casbin("p, \"r.sub.name == 'a,b' && r.sub.age > 18\", /x", {"p": {1}}, columns)
    assert result.lines == ("p, (r.sub.name == 'a,b' && r.sub.age > 18), /x",)
    model = perm.parse(MODEL, "m", LIMITS)
    (row,) = parse([("p", result.lines[0])], model, LIMITS)
    assert row.cells == ("(r.sub.name == 'a,b' && r.sub.age > 18)", "/x")


def test_columns_are_counted_where_the_model_is_known():
    result = import_casbin("p, a\nq, a, b\ng, a, b\np, a, b", {}, {"p": 2, "g": 2})
    assert result.lines == ("g, a, b", "p, a, b")
    assert [each.line for each in result.left_out] == [1, 2]


@given(st.text(max_size=40))
def test_whatever_comes_what_is_written_can_be_read(text):
    for line in import_casbin(text, {"p": {1}}, {}).lines:
        try:
            read_line(line, "p", 1, LIMITS)
        except PolicyError as error:
            raise AssertionError(line) from error
