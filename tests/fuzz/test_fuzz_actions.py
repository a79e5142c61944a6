"""Whatever a client sends as a body: actions that keep to the rules, or a refusal, and never anything else."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.actions.builtin import BUILT_IN
from authz.actions.mcp.methods import METHODS
from authz.actions.reader import ActionReader
from authz.actions.settings import ActionSettings, RouteSettings
from authz.errors import Refusal
from authz.model import ACTION_RESOURCE, CheckCall, Target

HTTP_METHODS = ("POST", "GET", "DELETE", "PUT")
TYPES = ("application/json", "application/grpc", "application/graphql", "text/plain", "")
PATHS = ("/mcp", "/v1/messages", "/v1/chat/completions", "/message:send", "/pkg.Svc/Do", "/graphql", "/tasks/x:cancel")
PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9)
)
JSON = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
REVISIONS = st.sampled_from(["2024-11-05", "2025-03-26", "2025-11-25", "2026-07-28", "1999-01-01"])


def often(expected):
    """Mostly what the protocol wants there, now and then anything."""
    wanted = expected if isinstance(expected, st.SearchStrategy) else st.just(expected)
    return st.integers(0, 5).flatmap(lambda number: wanted if number else JSON)


NAMES = often(st.sampled_from(["pay", "a.b", "pay\u200b", "x" * 200, "pа"]))
RPC = st.fixed_dictionaries(
    {"jsonrpc": often("2.0"), "method": often(st.sampled_from([*METHODS]))},
    optional={
        "id": often(1),
        "params": often(
            st.fixed_dictionaries(
                {},
                optional={
                    "name": NAMES,
                    "uri": often(st.sampled_from(["file:///a", "file:///a/../b", "x"])),
                    "taskId": often("t"),
                    "arguments": often(st.dictionaries(st.text(max_size=5), JSON, max_size=3)),
                    "_meta": JSON,
                    "ref": JSON,
                },
            )
        ),
        "result": JSON,
        "extra": JSON,
    },
)
CHAT = st.fixed_dictionaries(
    {"model": often("m"), "messages": often(st.lists(JSON, max_size=3))}, optional={"tools": JSON, "stream": JSON}
)
QUERY = st.fixed_dictionaries({"query": often("mutation { pay(to: 1) { id } }")}, optional={"variables": JSON})
SEEDS = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay","arguments":{"amount":12}}}',
    b'[{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a"}},{"jsonrpc":"2.0","id":2,"result":{}}]',
)
BODIES = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(SEEDS),
    st.tuples(st.sampled_from(SEEDS), st.integers(0, 60), st.binary(max_size=2)).map(
        lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + 1 :]
    ),
    *((kind | st.lists(kind, max_size=3)).map(json.dumps).map(str.encode) for kind in (RPC, CHAT, QUERY, JSON)),
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "mcp-protocol-version": REVISIONS,
        "mcp-method": st.sampled_from(["tools/call", "tools/list", "x"]),
        "mcp-name": st.sampled_from(["pay", "=?base64?cGF5?=", "=?base64?!?="]),
        "mcp-session-id": st.text(max_size=5),
        "a2a-version": st.sampled_from(["1.0", "0.3", "x"]),
        "content-encoding": st.sampled_from(["identity", "gzip"]),
    },
)


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_a_body_is_read_or_refused(name):
    reads = ActionReader(
        ActionSettings(routes=(RouteSettings(decoder=name),)), {each: make() for each, make in BUILT_IN.items()}
    )

    @settings(deadline=None)
    @given(
        body=BODIES,
        headers=st.just({}) | HEADERS,
        method=st.sampled_from(HTTP_METHODS) | st.just("POST"),
        content_type=st.sampled_from(TYPES) | st.just("application/json"),
        path=st.sampled_from(PATHS),
        partial=st.sampled_from([False, False, False, True]),
    )
    def hold(*, body, headers, method, content_type, path, partial):
        if content_type:
            headers = {**headers, "content-type": content_type}
        call = CheckCall(
            "http", method=method, host="h", path=path, headers=headers, body=body, body_partial=partial, size=len(body)
        )
        protocol = "grpc" if content_type == "application/grpc" else "http"
        refused = None
        try:
            actions = reads(call, Target(method, "h", 0, path), {"type": "t", "host": "h", "path": path}, protocol)
        except Refusal as refusal:
            refused = refusal.reason
        if refused is not None:
            assert refused.value.startswith("body_")
            return
        assert 0 < len(actions) <= 16
        for action in actions:
            assert action.name.isprintable()
            assert action.name.startswith(f"{action.kind}:") or action.kind == "grpc"
            assert isinstance(action.args, dict)
            assert action.resource.keys() <= ACTION_RESOURCE.keys()
            assert all(isinstance(value, str) for value in action.resource.values())
            json.dumps(action.args)

    hold()
