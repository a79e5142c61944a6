"""MCP requests, read strictly: what each is called, and what is refused because it could be read in two ways."""

import pytest
from mcp_kit import META, call, current, decode, one, reason, rpc

from authz.actions.mcp.settings import McpSettings
from authz.errors import Reason


def test_a_call_of_a_tool_is_named_by_the_tool_and_carries_its_arguments():
    action = one(call(amount=12, to={"account": "42"}))
    assert (action.name, action.kind, action.tool) == ("mcp:tools/call:transfer_funds", "mcp", "transfer_funds")
    assert action.args == {"amount": 12, "to": {"account": "42"}}


@pytest.mark.parametrize(
    ("message", "name", "resource"),
    [
        (rpc("tools/list"), "mcp:tools/list", {}),
        (rpc("tools/call", {"name": "now"}), "mcp:tools/call:now", {}),
        (rpc("prompts/get", {"name": "p.1"}), "mcp:prompts/get:p.1", {"prompt": "p.1"}),
        (rpc("resources/read", {"uri": "file:///a/b.txt"}), "mcp:resources/read", {"uri": "file:///a/b.txt"}),
        (rpc("tasks/cancel", {"taskId": "t-1"}), "mcp:tasks/cancel", {"task": "t-1"}),
        (rpc("ping", id="x"), "mcp:ping", {}),
        (
            rpc("completion/complete", {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a"}}),
            "mcp:completion/complete",
            {"prompt": "p"},
        ),
        (
            rpc("completion/complete", {"ref": {"type": "ref/resource", "uri": "file:///{path}"}}),
            "mcp:completion/complete",
            {"uri": "file:///{path}"},
        ),
        ({"jsonrpc": "2.0", "method": "notifications/initialized"}, "mcp:notifications/initialized", {}),
        ({"jsonrpc": "2.0", "id": 3, "result": {}}, "mcp:response", {}),
        ({"jsonrpc": "2.0", "id": 3, "error": {"code": -1, "message": ""}}, "mcp:response", {}),
    ],
)
def test_every_kind_of_message_has_its_name(message, name, resource):
    action = one(message)
    assert (action.name, action.resource) == (name, resource)


def test_parameters_but_for_meta_are_the_arguments_of_what_is_no_call():
    assert one(rpc("logging/setLevel", {"level": "debug", "_meta": {"x": 1}})).args == {"level": "debug"}


@pytest.mark.parametrize(("method", "name"), [("GET", "mcp:stream/open"), ("DELETE", "mcp:session/end")])
def test_requests_without_a_body_have_names_of_their_own(method, name):
    assert one(None, {"mcp-session-id": "s"}, method=method).name == name


@pytest.mark.parametrize(
    "message",
    [
        "x",
        7,
        None,
        {},
        rpc("tools/list", jsonrpc="1.0"),
        rpc("tools/list", jsonrpc=2.0),
        rpc("tools/list", id=None),
        rpc("tools/list", id=True),
        rpc("tools/list", id=1.5),
        rpc("tools/list", id=[1]),
        rpc("tools/list", id=""),
        rpc("tools/list", extra=1),
        rpc("tools/list", result={}),
        rpc(""),
        rpc(7),
        rpc("tools/list", []),
        rpc("tools/call", {"name": 7}),
        rpc("tools/call", {"arguments": {}}),
        rpc("tools/call", {"name": "x", "arguments": [1]}),
        rpc("tools/call", {"name": "x", "arguments": None}),
        rpc("resources/read", {"uri": ["file:///a"]}),
        rpc("tasks/get", {"taskId": ""}),
        rpc("completion/complete", {"ref": {"type": "ref/tool", "name": "x"}}),
        rpc("completion/complete", {"ref": "x"}),
        rpc("tools/list", {"_meta": 7}),
        {"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}},
        {"jsonrpc": "2.0", "id": None, "result": {}},
        {"jsonrpc": "2.0", "id": 1, "result": 7},
        {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "x"}},
        rpc("notifications/initialized"),
        {"jsonrpc": "2.0", "id": 1},
    ],
)
def test_what_is_no_message_of_the_protocol_is_refused(message):
    assert reason(b"null" if message is None else message) is Reason.BODY_MALFORMED


@pytest.mark.parametrize("method", ["tools/Call", "tools/call ", "rpc.discover", "sampling/createMessage", "x"])
def test_a_method_that_a_client_cannot_call_is_refused(method):
    assert reason(rpc(method)) is Reason.BODY_UNKNOWN


def test_a_method_of_an_extension_is_let_through_where_it_is_named():
    assert one(rpc("acme/do", {"a": 1}), extra_methods=("acme/do",)).name == "mcp:acme/do"


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","name":"pay"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"pay"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","Name":"pay"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","ARGUMENTS":{}}}',
    ],
)
def test_a_member_that_comes_twice_or_in_two_spellings_is_refused(body):
    assert reason(body) is Reason.BODY_AMBIGUOUS


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 129,
        "transfer funds",
        "transfer\nfunds",
        "tr\u0430nsfer_funds",  # a Cyrillic a
        "pay\u200b",
        "pay\u202e",
        "ｐａｙ",
        "pay:all",
        "pay/all",
        "*",
        "pay\x00",
    ],
)
def test_a_name_that_could_be_taken_for_another_is_refused(name):
    assert reason(call(name)) is Reason.BODY_AMBIGUOUS
    assert reason(rpc("prompts/get", {"name": name})) is Reason.BODY_AMBIGUOUS


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("переводить", True),
        ("zahlung_prüfen", True),
        ("pay2", True),
        ("tr\u0430nsfer", False),
        ("ｐａｙ", False),
        ("pru\u0308fen", False),
        ("pay\u200b", False),
        ("pay٣", False),
        ("a b", False),
        ("\U000f0000", False),
    ],
)
def test_other_scripts_are_accepted_by_setting_one_at_a_time(name, accepted):
    if accepted:
        assert one(call(name), names="unicode").tool == name
    else:
        assert reason(call(name), names="unicode") is Reason.BODY_AMBIGUOUS


@pytest.mark.parametrize(
    "uri",
    [
        "file:///pub/../secret",
        "file:///pub/./x",
        "file:///pub/..",
        "file:///pub/..;x/secret",
        "file:///pub/%2e%2e/secret",
        "file:///pub/%2E%2E/secret",
        "file:///pub%2Fsecret",
        "file:///a//b",
        "file:///pub\\secret",
        "file:///a%00",
        "file:///%41",
        "file:///a#b",
        "FILE:///a",
        "https://User@host/a",
        "https://HOST/a",
        "https://ho%73t/a",
        "/a",
        "a b:c",
        "file:///ä",
        "",
        "x:" + "a" * 3000,
    ],
)
def test_a_uri_that_could_be_read_in_two_ways_is_refused(uri):
    assert reason(rpc("resources/read", {"uri": uri})) is Reason.BODY_AMBIGUOUS


@pytest.mark.parametrize(
    "uri",
    [
        "file:///",
        "file:///a/b.txt",
        "urn:isbn:0451450523",
        "https://host.example:8443/a?b=c%20d",
        "x:/",
        "https://[::1]/a",
        "note://x/a/",
    ],
)
def test_a_plain_uri_is_what_it_is(uri):
    assert one(rpc("resources/read", {"uri": uri})).resource == {"uri": uri}


def test_a_batch_is_all_of_its_messages_in_the_one_revision_that_has_them():
    batch = [call(amount=1), rpc("tools/list"), {"jsonrpc": "2.0", "id": 1, "result": {}}]
    headers = {"mcp-protocol-version": "2025-03-26"}
    names = ["mcp:tools/call:transfer_funds", "mcp:tools/list", "mcp:response"]
    assert [action.name for action in decode(batch, headers)] == names
    assert [action.name for action in decode(batch)] == names
    for revision in ("2024-11-05", "2025-06-18", "2025-11-25"):
        assert reason(batch, {"mcp-protocol-version": revision}) is Reason.BODY_MALFORMED


@pytest.mark.parametrize(
    ("batch", "headers", "expected"),
    [
        ([], {}, Reason.BODY_TOO_LARGE),
        ([call()] * 17, {}, Reason.BODY_TOO_LARGE),
        ([call(), 7], {}, Reason.BODY_MALFORMED),
        ([[call()]], {}, Reason.BODY_MALFORMED),
        ([call()], {"mcp-method": "tools/call"}, Reason.BODY_MISMATCH),
        ([call()], {"mcp-name": "transfer_funds"}, Reason.BODY_MISMATCH),
        ([rpc("initialize", {}), call()], {}, Reason.BODY_MALFORMED),
    ],
)
def test_what_no_batch_may_be(batch, headers, expected):
    assert reason(batch, headers) is expected


@pytest.mark.parametrize(
    ("headers", "settings", "accepted"),
    [
        ({}, {}, True),
        ({}, {"without_version": "deny"}, False),
        ({}, {"revisions": ("2025-11-25",)}, False),
        ({"mcp-protocol-version": "2025-11-25"}, {"revisions": ("2025-11-25",)}, True),
        ({"mcp-protocol-version": "2025-11-26"}, {}, False),
        ({"mcp-protocol-version": "2025-11-25,2025-03-26"}, {}, False),
        ({"mcp-protocol-version": ""}, {}, False),
    ],
)
def test_only_known_revisions_are_read(headers, settings, accepted):
    if accepted:
        assert one(call(), headers, **settings).tool
    else:
        assert reason(call(), headers, **settings) is Reason.BODY_UNKNOWN


def test_the_current_revision_mirrors_the_body_in_headers():
    message, headers = current("tools/call", {"name": "foo"}, name=" foo\t")
    assert one(message, headers).name == "mcp:tools/call:foo"
    message, headers = current("tools/list")
    assert one(message, headers).name == "mcp:tools/list"
    message, headers = current("resources/read", {"uri": "file:///a"}, name="file:///a")
    assert one(message, headers).resource == {"uri": "file:///a"}


@pytest.mark.parametrize(
    "changed",
    [
        {"mcp-method": None},
        {"mcp-method": "TOOLS/CALL"},
        {"mcp-method": "prompts/get"},
        {"mcp-name": None},
        {"mcp-name": "bar"},
        {"mcp-name": "Hello,Hello"},
        {"mcp-name": "=?base64?SGVsbG8?="},
        {"mcp-name": "=?base64?SGVs!!!bG8=?="},
        {"mcp-name": "SGVsbG8="},
        {"mcp-name": "=?base64?SGVsbG8="},
        {"mcp-name": "=?BASE64?SGVsbG8=?="},
        {"mcp-name": "=?base64?gICA?="},
    ],
)
def test_headers_that_say_something_else_than_the_body_are_refused(changed):
    message, headers = current("tools/call", {"name": "Hello"}, name="Hello")
    headers = {name: value for name, value in {**headers, **changed}.items() if value is not None}
    assert reason(message, headers) is Reason.BODY_MISMATCH


def test_a_mirrored_name_may_come_in_base64():
    message, headers = current("tools/call", {"name": "Hello"}, name="=?base64?SGVsbG8=?=")
    assert one(message, headers).tool == "Hello"


def test_a_name_where_there_is_none_is_a_mismatch():
    message, headers = current("tools/list", name="x")
    assert reason(message, headers) is Reason.BODY_MISMATCH


def test_the_current_revision_is_told_twice_and_alike():
    message, headers = current("tools/list")
    message["params"]["_meta"] = {}
    assert reason(message, headers) is Reason.BODY_MISMATCH
    del message["params"]
    assert reason(message, headers) is Reason.BODY_MISMATCH
    assert reason(rpc("tools/list", {"_meta": META}), {"mcp-protocol-version": "2025-11-25"}) is Reason.BODY_MISMATCH


@pytest.mark.parametrize("headers", [{"mcp-method": "tools/list"}, {"mcp-name": "other"}])
def test_older_revisions_need_no_mirror_but_may_not_lie_in_one(headers):
    assert reason(call(), {"mcp-protocol-version": "2025-11-25", **headers}) is Reason.BODY_MISMATCH


def test_what_the_current_revision_no_longer_has_is_refused():
    headers = {"mcp-protocol-version": "2026-07-28"}
    assert reason(None, headers, method="GET") is Reason.BODY_UNKNOWN
    assert reason(None, headers, method="DELETE") is Reason.BODY_UNKNOWN
    message, headers = current("initialize", {"protocolVersion": "2026-07-28"})
    assert reason(message, headers) is Reason.BODY_UNKNOWN
    assert reason({"jsonrpc": "2.0", "id": 1, "result": {}}, headers) is Reason.BODY_MISMATCH


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"mcp-protocol-version": "2025-06-18"}, Reason.BODY_MISMATCH),
        ({"mcp-session-id": "s"}, Reason.BODY_MISMATCH),
        ({"mcp-session-id": "s p"}, Reason.BODY_MALFORMED),
        ({"mcp-session-id": ""}, Reason.BODY_MALFORMED),
        ({"mcp-session-id": "x" * 257}, Reason.BODY_MALFORMED),
    ],
)
def test_a_handshake_agrees_with_its_headers(headers, expected):
    assert reason(rpc("initialize", {"protocolVersion": "2025-11-25"}), headers) is expected


def test_a_handshake_is_named():
    message = rpc("initialize", {"protocolVersion": "2025-11-25"})
    assert one(message).args == {"protocolVersion": "2025-11-25"}
    assert one(message, {"mcp-protocol-version": "2025-11-25"}).name == "mcp:initialize"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "OPTIONS", "get"])
def test_other_http_methods_are_refused(method):
    assert reason(None, method=method) is Reason.BODY_UNKNOWN


def test_a_stream_is_opened_without_a_body_or_a_method():
    assert reason(None, {"mcp-method": "tools/call"}, method="GET") is Reason.BODY_MISMATCH
    assert reason(call(), method="GET") is Reason.BODY_MALFORMED


def test_a_list_of_tools_offers_the_known_ones():
    action = one(rpc("tools/list"), tools=("a", "b"))
    assert [(offer.name, offer.tool, offer.kind) for offer in action.offers] == [
        ("mcp:tools/call:a", "a", "mcp"),
        ("mcp:tools/call:b", "b", "mcp"),
    ]
    assert one(call("a"), tools=("a", "b")).offers == ()


def test_only_known_tools_can_be_called_where_so_set():
    assert one(call("a"), tools=("a",), only_tools=True).tool == "a"
    assert reason(call("b"), tools=("a",), only_tools=True) is Reason.BODY_UNKNOWN


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"tools": ("a b",)}, "tools"),
        ({"tools": ("ä",), "names": "unicode"}, "tools"),
        ({"tools": ("a", "a")}, "tools"),
        ({"only_tools": True}, "only_tools"),
        ({"extra_methods": ("a b",)}, "extra_methods"),
    ],
)
def test_settings_that_cannot_be_meant_are_named(settings, key):
    assert [about for about, _ in McpSettings(**settings).problems()] == [key]


def test_answers_that_come_with_a_call_are_an_action_of_their_own():
    answers = {"q1": {"action": "accept", "content": {"amount": 5_000}}}
    params = {"name": "transfer_funds", "arguments": {"to": "x"}, "requestState": "s", "inputResponses": answers}
    message, headers = current("tools/call", params, name="transfer_funds")
    asked, answered = decode(message, headers)
    assert (asked.name, asked.args) == ("mcp:tools/call:transfer_funds", {"to": "x"})
    assert (answered.name, answered.args, answered.kind) == ("mcp:response", {"responses": answers}, "mcp")
    for changed, expected in (
        ({**params, "inputResponses": [1]}, Reason.BODY_MALFORMED),
        ({"name": "transfer_funds", "InputResponses": answers}, Reason.BODY_AMBIGUOUS),
    ):
        message, headers = current("tools/call", changed, name="transfer_funds")
        assert reason(message, headers) is expected
    message, headers = current("tools/call", {**params, "inputResponses": None}, name="transfer_funds")
    assert len(decode(message, headers)) == 1


@pytest.mark.parametrize(
    "uri",
    ["file:///a/../b", "file:///{path}/../b", "FILE:///{path}", "file:///%2e%2e/{x}", "file:///{x", "x y{z}", "{x}"],
)
def test_a_template_to_complete_has_one_reading_as_a_uri_has(uri):
    """A rule on `r.obj.uri` is about both."""
    message = rpc("completion/complete", {"ref": {"type": "ref/resource", "uri": uri}})
    assert reason(message) is Reason.BODY_AMBIGUOUS
