"""Arguments that clients mirror in `Mcp-Param-*`: what a header says, the body says (revision 2026-07-28)."""

import pytest
from mcp_kit import call, current, decode, one, reason, rpc

from authz.actions.mcp.settings import McpSettings
from authz.errors import Reason, Refusal

MIRRORED = {"execute_sql": {"Region": ("region",), "Tenant": ("account", "tenant")}}
SAME = "same"


def sent(arguments, headers, tool="execute_sql", **settings):
    message, mirrored = current("tools/call", {"name": tool, "arguments": arguments}, name=tool)
    return message, {**mirrored, **{f"mcp-param-{name}": value for name, value in headers.items()}}, settings


def outcome(arguments, headers, tool="execute_sql", mirrored=MIRRORED, **settings):
    message, told, settings = sent(arguments, headers, tool, mirrored=mirrored, **settings)
    try:
        return one(message, told, **settings).args == arguments and SAME
    except Refusal as refused:
        return refused.reason


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("us-west1", "us-west1"),
        ("us-west1", " us-west1\t"),
        ("us-west1", "=?base64?dXMtd2VzdDE=?="),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ("=?BASE64?SGVsbG8=?=", "=?BASE64?SGVsbG8=?="),
        ("", ""),
        ("", "=?base64??="),
        ("42", "42"),
        (42, "42"),
        (42, "42.0"),
        (42.0, "42"),
        (42, "=?base64?NDI=?="),
        (-7, "-7"),
        (2**53 - 1, "9007199254740991"),
        (True, "true"),
        (False, "false"),
    ],
)
def test_a_header_says_what_the_argument_does_in_the_encoding_of_the_specification(value, header):
    assert outcome({"region": value}, {"region": header}) == SAME
    assert outcome({"account": {"tenant": value}}, {"tenant": header}) == SAME
    assert outcome({"x": {"y": value}}, {"any": header}, mirrored={}, unmirrored="among") == SAME


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("us-west1", "eu-west1"),
        ("us-west1", "US-WEST1"),
        ("us-west1", ""),
        ("us-west1", "us-west1,us-west1"),
        (" padded ", " padded "),
        ("Hello, 世界", "Hello, 世界"),
        ("a\x7fb", "a\x7fb"),
        ("us-west1", "=?base64?dXMtd2VzdDE?="),
        ("us-west1", "=?base64?dXMt!2VzdDE=?="),
        ("=?base64?dXMtd2VzdDE?=", "=?base64?dXMtd2VzdDE?="),
        ("us-west1", "=?base64?/////w==?="),
        ("Hello", "=?BASE64?SGVsbG8=?="),
        (42, "43"),
        (42, "042"),
        (42, "+42"),
        (42, "42.5"),
        (42, "4.2e1"),
        (42, "0x2a"),
        (42, "４２"),
        (42, ""),
        (42.5, "42.5"),
        (True, "True"),
        (True, "1"),
        (1, "true"),
        (None, "null"),
        (None, ""),
        (["a"], "a"),
        ({"a": "b"}, "b"),
    ],
)
def test_a_header_that_says_something_else_than_its_argument_is_refused(value, header):
    assert outcome({"region": value, "query": "x"}, {"region": header}) is Reason.BODY_MISMATCH


@pytest.mark.parametrize(
    ("arguments", "headers", "expected"),
    [
        ({"region": "a", "account": {"tenant": "b"}}, {"region": "a", "tenant": "b"}, SAME),
        ({}, {}, SAME),
        ({"region": None, "account": {}}, {}, SAME),
        ({"account": "b"}, {}, SAME),
        ({"region": "a"}, {}, Reason.BODY_MISMATCH),
        ({}, {"region": "a"}, Reason.BODY_MISMATCH),
        ({"account": {"tenant": "b"}}, {"region": "b"}, Reason.BODY_MISMATCH),
        ({"region": "a", "account": {"tenant": "b"}}, {"region": "b", "tenant": "a"}, Reason.BODY_MISMATCH),
        ({"region": "a", "query": "b"}, {"region": "a", "query": "b"}, Reason.BODY_MISMATCH),
    ],
)
def test_of_a_tool_that_is_known_no_header_is_missing_and_none_too_many(arguments, headers, expected):
    assert outcome(arguments, headers) == expected
    assert outcome(arguments, headers, unmirrored="among") == expected


@pytest.mark.parametrize(
    ("arguments", "header", "unmirrored", "expected"),
    [
        ({"region": "a"}, "a", "deny", Reason.BODY_MISMATCH),
        ({"region": "a"}, "a", "among", SAME),
        ({"x": [{"region": "a"}], "y": ["a"]}, "a", "among", Reason.BODY_MISMATCH),
        ({"region": "a"}, "b", "among", Reason.BODY_MISMATCH),
        ({"region": None}, "null", "among", Reason.BODY_MISMATCH),
        ({}, "", "among", Reason.BODY_MISMATCH),
    ],
)
def test_of_other_tools_none_is_taken_or_what_some_argument_says(arguments, header, unmirrored, expected):
    assert outcome(arguments, {"region": header}, tool="other", unmirrored=unmirrored) == expected


def test_headers_of_older_revisions_may_be_missing_and_may_not_lie():
    settings = {"mirrored": MIRRORED}
    older = {"mcp-protocol-version": "2025-11-25"}
    message = call("execute_sql", region="a")
    assert one(message, older, **settings).tool
    assert one(message, {**older, "mcp-param-region": "a"}, **settings).tool
    assert reason(message, {**older, "mcp-param-region": "b"}, **settings) is Reason.BODY_MISMATCH


@pytest.mark.parametrize(
    ("message", "method"),
    [
        (rpc("tools/list"), "POST"),
        (rpc("prompts/get", {"name": "p", "arguments": {"a": "x"}}), "POST"),
        ({"jsonrpc": "2.0", "id": 1, "result": {"a": "x"}}, "POST"),
        ([call(a="x")], "POST"),
        (None, "GET"),
        (None, "DELETE"),
    ],
)
def test_nothing_but_a_call_of_a_tool_mirrors_arguments(message, method):
    headers = {"mcp-param-a": "x"}
    assert decode(message, method=method)
    assert reason(message, headers, method=method, unmirrored="among") is Reason.BODY_MISMATCH


@pytest.mark.parametrize(
    "name", ["mcp-param-region", "mcp-name", "mcp-method", "mcp-protocol-version", "mcp-session-id"]
)
def test_a_header_that_came_twice_is_refused_though_its_values_joined_say_the_same(name):
    message, headers, settings = sent({"region": "a,b"}, {"region": "a,b"}, mirrored=MIRRORED)
    assert one(message, headers, **settings).tool
    assert one(message, headers, repeated=["x-other"], **settings).tool
    assert reason(message, headers, repeated=[name], **settings) is Reason.BODY_MISMATCH


def test_where_envoy_reads_and_passes_no_arguments_on_a_mirrored_one_is_refused():
    """It cannot be compared."""
    message, headers, settings = sent({}, {"region": "a"}, mirrored=MIRRORED)
    told = {"is_mcp_request": True, "jsonrpc": "2.0", "method": "tools/call", "id": 1.0, "params": message["params"]}
    metadata = {"envoy.filters.http.mcp": told}
    assert reason(message, headers, metadata=metadata, source="envoy", **settings) is Reason.BODY_MISMATCH
    told["params"] = {**message["params"], "arguments": {"region": "a", "n": 7.0}}
    settings["mirrored"] = {"execute_sql": {**MIRRORED["execute_sql"], "n": ("n",)}}
    assert one(message, {**headers, "mcp-param-n": "7"}, metadata=metadata, source="envoy", **settings).tool


@pytest.mark.parametrize(
    "mirrored",
    [
        {"two words": {"Region": ("region",)}},
        {"a": {"Region": ("region",), "region": ("other",)}},
        {"a": {"": ("region",)}},
        {"a": {"Reg ion": ("region",)}},
        {"a": {"Region:": ("region",)}},
        {"a": {"Region": ()}},
    ],
)
def test_what_cannot_be_mirrored_is_no_setting(mirrored):
    assert [key for key, _ in McpSettings(mirrored=mirrored).problems()] == ["mirrored"]
    assert not list(McpSettings(mirrored=MIRRORED).problems())
