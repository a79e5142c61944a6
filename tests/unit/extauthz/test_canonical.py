"""One reading of method, host and path (I6)."""

import pytest

from authz.errors import Reason, Refusal
from authz.extauthz.canonical import PathRules, RequestRules, canonical_path, canonicalise
from authz.model import CheckCall, Target

STRICT = PathRules()

ACCEPTED = {
    "/": "/",
    "/v1/accounts/42/charges": "/v1/accounts/42/charges",
    "/v1/accounts/": "/v1/accounts/",
    "/V1/Admin": "/V1/Admin",
    "/%61dmin": "/admin",
    "/a%2Db": "/a-b",
    "/%24price": "/$price",
    "/$price": "/$price",
    "/caf%c3%a9": "/caf%C3%A9",
    "/café": "/caf%C3%A9",
    "/a%20b": "/a%20b",
    "/{id}": "/%7Bid%7D",
    "/%7bid%7d": "/%7Bid%7D",
    "/.hidden/...": "/.hidden/...",
    "/..x/x..": "/..x/x..",
    "/a:b@c,d=e&f+g'(h)*~": "/a:b@c,d=e&f+g'(h)*~",
}

REFUSED = {
    "": Reason.PATH_NOT_ABSOLUTE,
    "*": Reason.PATH_NOT_ABSOLUTE,
    "v1": Reason.PATH_NOT_ABSOLUTE,
    "http://h/v1": Reason.PATH_NOT_ABSOLUTE,
    "//admin": Reason.PATH_EMPTY_SEGMENT,
    "/v1//admin": Reason.PATH_EMPTY_SEGMENT,
    "/v1/admin//": Reason.PATH_EMPTY_SEGMENT,
    "/v1/../admin": Reason.PATH_DOT_SEGMENT,
    "/v1/./admin": Reason.PATH_DOT_SEGMENT,
    "/..": Reason.PATH_DOT_SEGMENT,
    "/.": Reason.PATH_DOT_SEGMENT,
    "/v1/%2e%2e/admin": Reason.PATH_ENCODED_DOT,
    "/v1/%2E/admin": Reason.PATH_ENCODED_DOT,
    "/v1/.%2e/admin": Reason.PATH_ENCODED_DOT,
    "/v1%2fadmin": Reason.PATH_ENCODED_SLASH,
    "/v1%2Fadmin": Reason.PATH_ENCODED_SLASH,
    "/v1%5cadmin": Reason.PATH_BACKSLASH,
    "/v1\\admin": Reason.PATH_BACKSLASH,
    "/admin;x=1": Reason.PATH_PARAMETER,
    "/admin%3Bx": Reason.PATH_PARAMETER,
    "/..;/admin": Reason.PATH_PARAMETER,
    "/.;x/admin": Reason.PATH_PARAMETER,
    "/admin%00": Reason.PATH_CONTROL_CHARACTER,
    "/admin%0a": Reason.PATH_CONTROL_CHARACTER,
    "/admin%7F": Reason.PATH_CONTROL_CHARACTER,
    "/admin\n": Reason.PATH_CONTROL_CHARACTER,
    "/ad min": Reason.PATH_CONTROL_CHARACTER,
    "/admin\x00": Reason.PATH_CONTROL_CHARACTER,
    "/admin?x=\x00": Reason.PATH_CONTROL_CHARACTER,
    "/admin%": Reason.PATH_BAD_ESCAPE,
    "/admin%4": Reason.PATH_BAD_ESCAPE,
    "/admin%zz": Reason.PATH_BAD_ESCAPE,
    "/%252e%252e/admin": Reason.PATH_ENCODED_PERCENT,
    "/%25": Reason.PATH_ENCODED_PERCENT,
    "/admin%3Fx": Reason.PATH_ENCODED_DELIMITER,
    "/admin%23": Reason.PATH_ENCODED_DELIMITER,
    "/admin#x": Reason.PATH_FRAGMENT,
    "/admin?x#y": Reason.PATH_FRAGMENT,
    "/%ff": Reason.PATH_BAD_UTF8,
    "/%c0%ae": Reason.PATH_BAD_UTF8,
    "/%ed%a0%80": Reason.PATH_BAD_UTF8,
    "/v1/!!": Reason.PATH_REPLACED_BYTES,
}


@pytest.mark.parametrize(("raw", "canonical"), ACCEPTED.items())
def test_a_path_with_one_reading_gets_its_canonical_form(raw, canonical):
    assert canonical_path(raw + "?q=1", STRICT, bytes_visible=False) == (canonical, "q=1")


@pytest.mark.parametrize(("raw", "reason"), REFUSED.items())
def test_an_ambiguous_path_is_refused_with_its_own_reason(raw, reason):
    with pytest.raises(Refusal) as refusal:
        canonical_path(raw, STRICT, bytes_visible=False)
    assert refusal.value.reason is reason


LENIENT = {
    ("empty_segments", "merge"): {"/v1//admin": "/v1/admin", "//": "/", "/a//": "/a/"},
    ("empty_segments", "keep"): {"/v1//admin": "/v1//admin"},
    ("dot_segments", "resolve"): {"/v1/../admin": "/admin", "/a/./b/.": "/a/b/", "/a/..": "/"},
    ("encoded_dots", "decode"): {"/v1/a%2Eb": "/v1/a.b"},
    ("encoded_slashes", "decode"): {"/v1%2fadmin": "/v1/admin"},
    ("encoded_slashes", "keep"): {"/v1%2fadmin": "/v1%2Fadmin"},
    ("backslashes", "slash"): {"/v1\\admin": "/v1/admin", "/v1%5cadmin": "/v1/admin"},
    ("backslashes", "keep"): {"/v1\\admin": "/v1%5Cadmin", "/v1%5cadmin": "/v1%5Cadmin"},
    ("parameters", "strip"): {"/admin;x=1/y;z": "/admin/y", "/admin%3bx": "/admin"},
    ("parameters", "keep"): {"/admin;x": "/admin;x", "/admin%3Bx": "/admin;x"},
    ("encoded_delimiters", "keep"): {"/a%3fb%23": "/a%3Fb%23"},
    ("encoded_percent", "keep"): {"/%252e": "/%252e"},
    ("invalid_utf8", "keep"): {"/%ff": "/%FF"},
    ("replaced_bytes", "keep"): {"/!": "/!"},
    ("trailing_slash", "strip"): {"/a/": "/a", "/": "/"},
}


@pytest.mark.parametrize(("setting", "cases"), LENIENT.items())
def test_a_setting_names_the_form_that_the_upstream_reads(setting, cases):
    rules = PathRules(**{setting[0]: setting[1]})
    assert {raw: canonical_path(raw, rules, bytes_visible=False)[0] for raw in cases} == cases


STILL_REFUSED = [
    # What decoding uncovers is checked after it.
    ({"encoded_dots": "decode"}, "/v1/%2e%2e/admin", Reason.PATH_DOT_SEGMENT),
    ({"encoded_slashes": "decode"}, "/v1/..%2fadmin", Reason.PATH_DOT_SEGMENT),
    ({"encoded_slashes": "decode"}, "/v1/%2fadmin", Reason.PATH_EMPTY_SEGMENT),
    ({"backslashes": "slash"}, "/v1/..\\admin", Reason.PATH_DOT_SEGMENT),
    ({"parameters": "strip"}, "/v1/..;x/admin", Reason.PATH_DOT_SEGMENT),
    # No setting settles these.
    ({"parameters": "keep", "dot_segments": "resolve"}, "/v1/..;x/admin", Reason.PATH_DOT_SEGMENT),
    ({"dot_segments": "resolve", "empty_segments": "merge"}, "/a//../b", Reason.PATH_DOT_SEGMENT),
    ({"dot_segments": "resolve"}, "/../etc", Reason.PATH_DOT_SEGMENT),
    ({"trailing_slash": "refuse"}, "/a/", Reason.PATH_TRAILING_SLASH),
    ({"max_path_bytes": 8}, "/12345678", Reason.PATH_TOO_LONG),
]


@pytest.mark.parametrize(("settings", "raw", "reason"), STILL_REFUSED)
def test_leniency_in_one_thing_does_not_let_another_through(settings, raw, reason):
    with pytest.raises(Refusal) as refusal:
        canonical_path(raw, PathRules(**settings), bytes_visible=False)
    assert refusal.value.reason is reason


def test_an_exclamation_mark_is_plain_where_the_proxy_shows_raw_bytes():
    assert canonical_path("/v1/!!", STRICT, bytes_visible=True) == ("/v1/!!", "")


def http_call(**fields):
    return CheckCall(**{"layer": "http", "method": "GET", "host": "api.example", "path": "/"} | fields)


@pytest.mark.parametrize(
    ("host", "name", "port"),
    [
        ("API.Example", "api.example", 0),
        ("api.example.", "api.example", 0),
        ("api.example:8443", "api.example", 8443),
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("[2001:DB8::1]:443", "[2001:db8::1]", 443),
        ("a", "a", 0),
        ("svc_name.ns", "svc_name.ns", 0),
    ],
)
def test_a_host_has_one_spelling(host, name, port):
    target = canonicalise(http_call(host=host), RequestRules())
    assert (target.host, target.port) == (name, port)


@pytest.mark.parametrize(
    "host",
    ["", ".", "a,b", "a.example,b.example", "u@h", "a b", "a/b", "h:", "h:x", "h:99999", "h:1:2", "a..b", "é.example",
     "a%2eb", "[::1", "::1", "-\n", "h\n", "a.example..", "a" * 300, "h:080000"],
)  # fmt: skip
def test_a_host_that_could_be_read_in_two_ways_is_refused(host):
    with pytest.raises(Refusal) as refusal:
        canonicalise(http_call(host=host), RequestRules())
    assert refusal.value.reason is Reason.HOST_MALFORMED


def test_a_host_header_that_differs_from_the_authority_is_refused():
    with pytest.raises(Refusal) as refusal:
        canonicalise(http_call(headers={"host": "other.example"}), RequestRules())
    assert refusal.value.reason is Reason.HOST_MISMATCH


@pytest.mark.parametrize("method", ["", "get", "GET ", "GET\n", "G" * 33, "GÉT", "1GET"])
def test_a_method_that_is_no_upper_case_token_is_refused(method):
    with pytest.raises(Refusal) as refusal:
        canonicalise(http_call(method=method), RequestRules())
    assert refusal.value.reason is Reason.METHOD_MALFORMED


@pytest.mark.parametrize("name", ["x-http-method-override", "x-http-method", "x-method-override"])
def test_a_header_that_replaces_the_method_is_refused(name):
    with pytest.raises(Refusal) as refusal:
        canonicalise(http_call(headers={name: "DELETE"}), RequestRules())
    assert refusal.value.reason is Reason.METHOD_OVERRIDE
    assert canonicalise(http_call(headers={name: "get"}), RequestRules()).method == "GET"
    assert canonicalise(http_call(headers={name: "DELETE"}), RequestRules(method_override_headers=())).method == "GET"


def test_a_tcp_connection_is_named_by_its_destination():
    call = CheckCall(layer="tcp", destination_address="10.0.0.7", destination_port=5432)
    assert canonicalise(call, RequestRules()) == Target(method="CONNECT", host="10.0.0.7", port=5432)
