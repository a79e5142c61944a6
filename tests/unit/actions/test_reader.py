"""Which decoder reads which request, and that what was not read whole is denied."""

import msgspec
import pytest

from authz.actions.builtin import BUILT_IN
from authz.actions.decoder import Message
from authz.actions.limits import Limits
from authz.actions.names import BUILT_IN_NAMES
from authz.actions.reader import ActionReader
from authz.actions.settings import ActionSettings, RouteSettings
from authz.errors import Reason, Refusal
from authz.model import Action, CheckCall, Target

BODY = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay","arguments":{"amount":12}}}'
JSON = {"content-type": "application/json"}


def test_what_routes_may_name_is_what_there_is():
    assert BUILT_IN.keys() == BUILT_IN_NAMES


class Spy:
    """A decoder that answers what it is given to answer."""

    content_types = ("application/json",)

    def __init__(self, *actions):
        self.actions = actions
        self.seen = []

    def wants_body(self, message):
        return message.method == "POST"

    def decode(self, message, body, limits):
        self.seen.append((message, body))
        return self.actions


def reader(*routes, decoders=None, **settings):
    made = {name: make() for name, make in BUILT_IN.items()}
    return ActionReader(
        ActionSettings(routes=tuple(RouteSettings(**route) for route in routes), **settings), decoders or made
    )


def post(body=BODY, headers=JSON, **parts):
    return CheckCall("http", method="POST", host="h", path="/mcp", headers=headers, body=body, size=len(body), **parts)


def read(reads, call=None, *, target=None, resource=None, protocol="http"):
    call = call or post()
    target = target or Target(call.method, call.host, 0, call.path)
    return reads(call, target, {"type": "", **(resource or {})}, protocol)


def reason(reads, call=None, **parts):
    with pytest.raises(Refusal) as refused:
        read(reads, call, **parts)
    return refused.value.reason


MCP = reader({"decoder": "mcp", "path": "/mcp"})


def test_a_request_is_read_by_the_first_route_that_fits():
    (action,) = read(MCP)
    assert (action.name, action.args) == ("mcp:tools/call:pay", {"amount": 12})


@pytest.mark.parametrize(
    ("route", "target", "resource", "fits"),
    [
        ({"path": "/mcp"}, Target("POST", "h", 0, "/mcp/"), {}, True),
        ({"path": "/mcp"}, Target("POST", "h", 0, "/mcp/x"), {}, False),
        ({"path": "/mcp/*"}, Target("POST", "h", 0, "/mcp/x"), {}, True),
        ({"host": "*.tools"}, Target("POST", "a.tools", 0, "/"), {}, True),
        ({"host": "*.tools"}, Target("POST", "tools", 0, "/"), {}, False),
        ({"host": "h"}, Target("POST", "h", 8443, "/"), {}, True),
        ({"methods": ("POST",)}, Target("POST", "h", 0, "/"), {}, True),
        ({"methods": ("GET",)}, Target("POST", "h", 0, "/"), {}, False),
        ({"type": "mcp_server"}, Target("POST", "h", 0, "/"), {"type": "mcp_server"}, True),
        ({"type": "mcp_server"}, Target("POST", "h", 0, "/"), {"type": "x"}, False),
        ({"content_type": "application/json"}, Target("POST", "h", 0, "/"), {}, True),
        ({"content_type": "application/xml"}, Target("POST", "h", 0, "/"), {}, False),
    ],
)
def test_every_condition_of_a_route_must_be_met(route, target, resource, fits):
    reads = reader({"decoder": "mcp", **route})
    for _ in range(2):  # the second time from memory
        assert bool(read(reads, target=target, resource=resource)) is fits


def test_the_order_of_routes_decides():
    reads = reader({"decoder": "none", "path": "/mcp"}, {"decoder": "mcp"})
    assert read(reads) == ()
    assert read(reads, target=Target("POST", "h", 0, "/x"))


def test_the_proxy_s_route_goes_before_ours():
    reads = reader({"decoder": "rest"}, context_key="authz_decoder")
    assert read(reads, post(context_extensions={"authz_decoder": "mcp"}))[0].kind == "mcp"
    assert read(reads, post(context_extensions={"authz_decoder": "none"})) == ()
    assert reason(reads, post(context_extensions={"authz_decoder": "mpc"})) is Reason.BODY_UNKNOWN


@pytest.mark.parametrize("protocol", ["websocket", "h2c", ""])
def test_an_upgrade_is_refused_where_bodies_are_read(protocol):
    upgrade = CheckCall("http", method="GET", host="h", path="/mcp", headers={"upgrade": protocol})
    assert reason(MCP, upgrade) is Reason.BODY_UNKNOWN
    assert read(reader({"decoder": "rest"}), upgrade, resource={"type": "feed"})[0].name == "rest:GET:feed"


def test_a_connection_has_no_body():
    assert read(reader({"decoder": "mcp"}), CheckCall("tcp")) == ()


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (post(b""), Reason.BODY_MISSING),
        (post(b"", headers={}), Reason.BODY_MISSING),
        (post(body_partial=True), Reason.BODY_PARTIAL),
        (msgspec.structs.replace(post(), size=5_000), Reason.BODY_PARTIAL),
        (msgspec.structs.replace(post(b""), size=5_000), Reason.BODY_MISSING),
        (msgspec.structs.replace(post(), size=500_000), Reason.BODY_TOO_LARGE),
        (post(BODY + b" " * 300_000), Reason.BODY_TOO_LARGE),
        (post(headers={**JSON, "content-encoding": "gzip"}), Reason.BODY_ENCODING),
        (post(headers={**JSON, "content-encoding": "identity, gzip"}), Reason.BODY_ENCODING),
        (post(headers={}), Reason.BODY_ENCODING),
        (post(headers={"content-type": "text/plain"}), Reason.BODY_ENCODING),
        (post(headers={"content-type": "application/json,application/json"}), Reason.BODY_ENCODING),
        (post(headers={"content-type": "application/json; charset=utf-16"}), Reason.BODY_ENCODING),
        (post(body_as_text=True), Reason.BODY_ENCODING),
        (post(b'{"a":1,"a":2}'), Reason.BODY_AMBIGUOUS),
        (post(b"\xff"), Reason.BODY_MALFORMED),
    ],
)
def test_what_was_not_read_whole_is_denied(call, expected):
    assert reason(MCP, call) is expected


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json; charset=UTF-8"},
        {"content-type": ' Application/JSON ;charset="utf-8"; x=y'},
        {**JSON, "content-encoding": "identity"},
    ],
)
def test_other_ways_to_say_plain_json_are_read(headers):
    assert read(MCP, post(headers=headers))


def test_a_body_of_unknown_length_is_read():
    assert read(MCP, msgspec.structs.replace(post(), size=-1))


def test_text_bodies_are_read_where_so_set():
    assert read(reader({"decoder": "mcp"}, accept_text_bodies=True), post(body_as_text=True))


def test_arguments_have_a_bound_of_their_own():
    limits = Limits(max_args_bytes=10)
    assert reason(reader({"decoder": "mcp"}, limits=limits)) is Reason.BODY_TOO_LARGE


@pytest.mark.parametrize("name", ["GET", "x:y", ":", "mcp", ""])
def test_no_decoder_can_name_an_action_what_other_requests_are_called(name):
    with pytest.raises(ValueError, match="without its kind"):
        read(reader({"decoder": "spy"}, decoders={"spy": Spy(Action(name, kind="mcp" if name != ":" else ""))}))


@pytest.mark.parametrize("name", ["mcp:a b", "mcp:a\n", "mcp:" + "x" * 600])
def test_a_name_that_cannot_be_written_down_is_refused(name):
    reads = reader({"decoder": "spy"}, decoders={"spy": Spy(Action(name, kind="mcp"))})
    assert reason(reads) is Reason.BODY_AMBIGUOUS


def test_a_decoder_that_finds_nothing_or_too_much_denies():
    assert reason(reader({"decoder": "spy"}, decoders={"spy": Spy()})) is Reason.BODY_MALFORMED
    many = Spy(*[Action("spy:x", kind="spy")] * 17)
    assert reason(reader({"decoder": "spy"}, decoders={"spy": many})) is Reason.BODY_TOO_LARGE


def test_a_decoder_sees_the_canonical_request_and_no_body_that_it_does_not_want():
    spy = Spy(Action("spy:x", kind="spy"))
    reads = reader({"decoder": "spy"}, decoders={"spy": spy})
    repeated = frozenset({"accept"})
    call = msgspec.structs.replace(post(), method="PUT", path="/A?q", metadata={"ns": {}}, repeated_headers=repeated)
    read(reads, call, target=Target("PUT", "h", 0, "/a", "q"), resource={"type": "t"})
    message, body = spy.seen[0]
    assert body == b""
    assert message == Message(
        "PUT", "/a", "q", JSON, "application/json", len(BODY), {"ns": {}}, {"type": "t"}, False, repeated
    )


def test_grpc_is_named_as_without_a_decoder():
    call = post(b"", {"content-type": "application/grpc"})
    (action,) = read(
        reader({"decoder": "grpc"}), call, target=Target("POST", "h", 0, "/pkg.v1.Ledger/Pay"), protocol="grpc"
    )
    assert action == Action("pkg.v1.Ledger/Pay", {"service": "pkg.v1.Ledger", "method": "Pay"}, "grpc", "Pay")


@pytest.mark.parametrize(
    ("path", "protocol"), [("/pkg.Ledger/Pay", "http"), ("/pkg.Ledger/Pay/x", "grpc"), ("/a-b/Pay", "grpc")]
)
def test_what_is_no_grpc_call_is_refused_where_only_such_are_expected(path, protocol):
    reads = reader({"decoder": "grpc"})
    assert reason(reads, target=Target("POST", "h", 0, path), protocol=protocol) is Reason.BODY_UNKNOWN


def test_rest_is_named_by_method_and_type():
    (action,) = read(reader({"decoder": "rest"}), resource={"type": "account", "id": "7"})
    assert (action.name, action.kind, action.args) == ("rest:POST:account", "rest", {})
    assert reason(reader({"decoder": "rest"})) is Reason.BODY_UNKNOWN


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"routes": (RouteSettings(decoder="mpc"),)}, "routes"),
        ({"mcp": {"graphQL!": {}}}, "mcp"),
        ({"mcp": {"none": {}}}, "mcp"),
        ({"mcp": {"rest": {}}}, "mcp"),
        ({"plugins": {"mcp": {"entry_point": "x"}}}, "plugins"),
    ],
)
def test_settings_that_cannot_be_meant_are_named(settings, key):
    found = msgspec.convert(msgspec.to_builtins(settings), ActionSettings)
    assert [about for about, _ in found.problems()] == [key]


@pytest.mark.parametrize(
    ("route", "key"),
    [
        ({"host": "A.example"}, "host"),
        ({"path": "mcp"}, "path"),
        ({"content_type": "application/json; charset=utf-8"}, "content_type"),
        ({"methods": ("post",)}, "methods"),
    ],
)
def test_a_route_that_can_fit_nothing_is_named(route, key):
    assert [about for about, _ in RouteSettings(decoder="mcp", **route).problems()] == [key]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; x=1,application/x-www-form-urlencoded",
        "application/json; charset=utf-8; x=1, text/plain; charset=utf-8",
        "application/json;,multipart/form-data; boundary=b",
    ],
)
def test_a_content_type_that_came_twice_is_refused_for_servers_differ_in_which_they_take(content_type):
    assert reason(MCP, post(headers={"content-type": content_type})) is Reason.BODY_ENCODING
