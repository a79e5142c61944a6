"""globMatch, ipMatch, timeMatch and functions that configuration registers."""

from datetime import UTC, datetime

import pytest
from casbin import util

from authz.errors import ConfigError
from authz.model import Effect
from authz.policy.compile import CompiledEngine
from authz.policy.functions import RuleError, UserFunction, parse_address, registry
from authz.policy.source import registered

NOW = datetime(2026, 6, 15, 12, 0, 0, tzinfo=UTC).timestamp()
FUNCTIONS = registry(lambda: NOW, {})

# As the documentation of doublestar (which Go Casbin's GlobMatch calls) and its matching rules have it.
GLOBS = [
    ("abc", ["abc"], ["ab", "abcd", "xabc", "abc\n", "ABC", ""]),
    ("*", ["", "abc", "a.b"], ["a/b", "/"]),
    ("a*", ["a", "abc"], ["a/b", "ba"]),
    ("a*b", ["ab", "axb", "axxb", "abb"], ["axc", "a/b", "abx"]),
    ("a*b*c", ["abc", "aXbYc"], ["ac", "ab/c"]),
    ("*.conf", ["abc.conf", ".conf"], ["abcXconf", "a/abc.conf"]),
    ("/foo/*", ["/foo/", "/foo/bar"], ["/foo", "/foo/bar/baz"]),
    ("/foo/*/bar", ["/foo/x/bar", "/foo//bar"], ["/foo/x/y/bar", "/foo/bar"]),
    ("a?c", ["abc", "a\u00e4c"], ["ac", "a/c", "abbc"]),
    ("[abc]", ["a", "c"], ["d", "", "ab"]),
    ("[a-c]x", ["ax", "bx"], ["dx", "x"]),
    ("[^a-c]", ["d", "1"], ["a", "/", ""]),
    ("[!a-c]", ["d"], ["b", "/"]),
    ("[a/]", ["a"], ["/"]),
    ("[+-9]", ["+", "0", "."], ["/"]),
    (r"[\]]", ["]"], ["\\"]),
    (r"[\-x]", ["-", "x"], ["\\"]),
    ("[a-]", ["a", "-"], ["b"]),
    (r"\*", ["*"], ["a", "\\*"]),
    (r"a\{b", ["a{b"], ["ab"]),
    ("a}b", ["a}b"], ["ab"]),
    ("a.b", ["a.b"], ["aXb"]),
    ("(a|b)+$", ["(a|b)+$"], ["a", "b"]),
    ("{a,b}", ["a", "b"], ["c", "{a,b}", ""]),
    ("x{a,bc}y", ["xay", "xbcy"], ["xy", "xaby"]),
    ("{a,b/c}/d", ["a/d", "b/c/d"], ["b/d"]),
    ("{a,{b,c}}", ["a", "b", "c"], ["{b,c}"]),
    ("{a,}b", ["ab", "b"], ["aab"]),
    ("**", ["", "a", "a/b/c", "/a"], []),
    ("a/**", ["a", "a/", "a/b", "a/b/c"], ["ab", "b/a", ""]),
    ("a/**/", ["a", "a/", "a/b/"], ["a/b"]),
    ("**/b", ["b", "a/b", "a/x/b", "/b"], ["a/bc", "ab"]),
    ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/xb", "a"]),
    ("a/**b", ["a/b", "a/xb"], ["a/x/b"]),
    ("a**", ["a", "ab"], ["a/b"]),
    ("/api/**/admin/*", ["/api/admin/x", "/api/v1/z/admin/x"], ["/api/admin/x/y"]),
]


@pytest.mark.parametrize(("pattern", "matched", "others"), GLOBS)
def test_a_glob_matches_as_go_casbin_documents_it(pattern: str, matched: list[str], others: list[str]):
    matches = FUNCTIONS["globMatch"].bind(pattern)
    assert [text for text in matched if not matches(text)] == []
    assert [text for text in others if matches(text)] == []


def test_pycasbins_glob_swallows_the_character_behind_a_star():
    assert util.glob_match_func("axc", "a*b")
    assert not FUNCTIONS["globMatch"].bind("a*b")("axc")


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["11.0.0.0", "::ffff:10.0.0.1", "::1"]),
        ("10.1.2.3", ["10.1.2.3"], ["10.1.2.4"]),
        ("10.1.2.3/24", ["10.1.2.99"], ["10.1.3.1"]),
        ("0.0.0.0/0", ["1.2.3.4"], ["::1"]),
        ("2001:db8::/32", ["2001:db8::1", "2001:0DB8:0:0::1"], ["2001:db9::1", "10.0.0.1"]),
        ("::/0", ["::1", "::ffff:10.0.0.1"], ["10.0.0.1"]),
    ],
)
def test_ip_match_is_pycasbins(network: str, inside: list[str], outside: list[str]):
    matches = FUNCTIONS["ipMatch"].bind(network)
    for address in inside + outside:
        assert matches(address) is (address in inside) is util.ip_match_func(address, network)


@pytest.mark.parametrize(
    "text", ["", "alice", "10.0.0", "10.0.0.1/8", "10.0.0.1\n", " 10.0.0.1", "10.0.0.256", "010.0.0.1"]
)
def test_what_is_no_address_is_an_error_of_the_rule(text: str):
    with pytest.raises(RuleError, match="no IP address"):
        FUNCTIONS["ipMatch"].bind("10.0.0.0/8")(text)


def test_an_error_about_an_address_does_not_quote_it():
    with pytest.raises(RuleError) as error:
        parse_address("secret-token")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("network", ["alice", "10.0.0.0/33", "", "10.0.0.0/255.0.255.0"])
def test_a_network_that_is_none_is_refused_where_pycasbin_never_matches(network: str):
    assert util.ip_match_func("10.0.0.1", network) is False
    with pytest.raises(ValueError, match=r"IPv4|IPv6|network"):
        FUNCTIONS["ipMatch"].bind(network)


TIMES = [
    ("_", "_", True),
    ("2026-06-15 11:59:59", "_", True),
    ("2026-06-15 12:00:00", "_", False),
    ("2026-06-15 12:00:01", "_", False),
    ("_", "2026-06-15 12:00:01", True),
    ("_", "2026-06-15 12:00:00", False),
    ("0001-01-01 00:00:00", "9999-12-30 00:00:00", True),
    ("0001-01-01 00:00:00", "0001-01-02 00:00:00", False),
]


@pytest.mark.parametrize(("start", "end", "holds"), TIMES)
def test_time_match_holds_between_its_bounds_in_utc(start: str, end: str, holds: object):
    assert FUNCTIONS["timeMatch"].bind(start, end)() is holds


@pytest.mark.parametrize(
    "text", ["", "now", "2026-13-01 00:00:00", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01 00:00:00\n"]
)
def test_a_time_that_is_none_is_refused(text: str):
    with pytest.raises(ValueError, match=r"time|month"):
        FUNCTIONS["timeMatch"].bind(text, "_")


def test_there_is_no_time_match_without_a_clock():
    assert "timeMatch" not in registry(None, {})


MODEL = """
[request_definition]
r = sub, obj
[policy_definition]
p = sub, obj
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = owner(r.obj, p.obj) == r.sub && trusted(r.sub, 3)
"""


def owner(path: str, prefix: str) -> str:
    return path.removeprefix(prefix).partition("/")[0]


def trusted(name: str, level: int) -> bool:
    if name == "crash":
        raise RuntimeError("secret of the request")
    return "yes" if name == "liar" else len(name) > level  # type: ignore[return-value]


def user_engine() -> CompiledEngine:
    functions = {"owner": UserFunction(owner, (str, str), str), "trusted": UserFunction(trusted, (str, int), bool)}
    return CompiledEngine.load(MODEL, "m", [("p", "p, x, /home/")], functions=functions)


@pytest.mark.parametrize(
    ("request_", "effect", "error"),
    [
        (("alice", "/home/alice/x"), "allow", ""),
        (("alice", "/home/bob/x"), "deny", ""),
        (("bob", "/home/bob"), "deny", ""),
        (("crash", "/home/crash"), "deny", "a function failed with RuntimeError"),
        (("liar", "/home/liar"), "deny", "a function answered with a value of another type"),
        (("alice", 7), "deny", "a function was called with a value of another type"),
    ],
)
def test_a_registered_function_is_checked_in_every_call(request_: tuple[object, ...], effect: str, error: str):
    verdict = user_engine().evaluate(request_, lambda: False)
    assert (verdict.effect, verdict.error) == (Effect(effect), error)


def test_a_registered_function_is_called_once_for_each_rule_at_most():
    called: list[str] = []

    def owner_of(path: str, _: str) -> str:
        called.append(path)
        return owner(path, _)

    functions = {"owner": UserFunction(owner_of, (str, str), str), "trusted": UserFunction(trusted, (str, int), bool)}
    engine = CompiledEngine.load(MODEL, "m", [("p", "p, x, /home/")], functions=functions)
    engine.evaluate(("alice", "/home/alice/x"), lambda: False)
    assert called == ["/home/alice/x"]


@pytest.mark.parametrize("name", ["keyMatch", "eval", "g", "g2", "r", "p_x", "r2_sub", "_x", "x-y", "", "1x", "x\n"])
def test_a_function_cannot_take_another_name_of_the_language(name: str):
    with pytest.raises(ConfigError, match="cannot be registered"):
        registered(None, {name: UserFunction(owner, (str, str), str)})
