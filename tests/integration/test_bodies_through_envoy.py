"""Bodies through a real Envoy: MCP calls decided by their arguments, and Envoy's own MCP filter held to our reading."""

import json
from collections.abc import Iterator

import pytest
from harness.guarded import Guarded, a_guarded

pytestmark = pytest.mark.envoy

PLANNER = "spiffe://demo.internal/ns/agents/sa/planner"
JSON = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")]
RULES = f"""
p, planner-lists, r.sub.id == '{PLANNER}' && r.act.name in ('mcp:tools/list', 'mcp:stream/open'), /mcp*, *, allow,
p, planner-reads, r.sub.id == '{PLANNER}' && r.act.name == 'mcp:tools/call:read_ledger', /mcp*, POST, allow,
p, planner-pays, r.sub.id == '{PLANNER}' && r.act.tool == 'pay' && r.act.args.amount <= 100, /mcp*, POST, allow,
"""
ACTIONS = {
    "AUTHZ__ACTIONS__ROUTES": json.dumps(
        [{"decoder": "mcp", "path": "/mcp"}, {"decoder": "compared", "path": "/mcp-compared"}]
    ),
    "AUTHZ__ACTIONS__MCP": json.dumps(
        {"mcp": {"tools": ["read_ledger", "pay", "drop_tables"]}, "compared": {"source": "both"}}
    ),
    "AUTHZ__CHECK_REQUEST__METADATA_NAMESPACES": '["envoy.filters.http.mcp"]',
    "AUTHZ__AUDIT__ARGS": '["amount"]',
    # A decision may take long on a busy machine; here none is to run out of time.
    "AUTHZ__SERVER__OVERLOAD__MAX_DEADLINE_SECONDS": "30",
}
MCP_FILTER = """\
          - name: envoy.filters.http.mcp
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.mcp.v3.Mcp
          - name: envoy.filters.http.ext_authz
"""
TOLD = '              metadata_context_namespaces: ["envoy.filters.http.mcp"]\n'


def changed(bootstrap: str) -> str:
    """Envoy's MCP filter before authz, which is told what it read."""
    for old, new in (
        ("          - name: envoy.filters.http.ext_authz\n", MCP_FILTER),
        ("              stat_prefix: authz\n", f"              stat_prefix: authz\n{TOLD}"),
    ):
        assert bootstrap.count(old) >= 1, old
        bootstrap = bootstrap.replace(old, new)
    return bootstrap


@pytest.fixture(scope="module")
def guarded(pki_directory, upstream) -> Iterator[Guarded]:
    with a_guarded(pki_directory, upstream, rules=RULES, environment=ACTIONS, change=changed) as made:
        yield made


def call(tool: str, **arguments: object) -> dict:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


def post(guarded: Guarded, message: object, path: str = "/mcp", *headers: tuple[str, str]) -> tuple[int, str]:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    answer = guarded.caller("planner").post(path, body, [*JSON, *headers])
    return answer.status, guarded.reason(answer.request_id)


def test_an_argument_decides_and_is_on_record(guarded):
    answer = guarded.caller("planner").post("/mcp", json.dumps(call("pay", amount=100, pin="9876")).encode(), JSON)
    assert answer.status == 200
    record = guarded.record(answer.upstream_got("x-authz-decision-id")[0])
    assert record["action"]["name"] == "mcp:tools/call:pay"
    assert record["action"]["args"] == [{"name": "amount", "value": "100"}]
    assert "9876" not in json.dumps(record)
    assert post(guarded, call("pay", amount=101)) == (403, "no_matching_rule")
    assert post(guarded, call("drop_tables")) == (403, "no_matching_rule")


def test_every_element_of_a_batch_must_be_allowed(guarded):
    assert post(guarded, [call("pay", amount=1), call("read_ledger")]) == (200, "allowed")
    assert post(guarded, [call("pay", amount=1), call("drop_tables")]) == (403, "no_matching_rule")


def test_what_cannot_be_read_in_one_way_never_arrives(guarded):
    twice = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_ledger","name":"pay"}}'
    assert post(guarded, twice) == (400, "body_ambiguous")
    assert post(guarded, b"\xff{}") == (400, "body_malformed")
    assert post(guarded, call("read_ledger"), "/mcp", ("content-encoding", "gzip")) == (415, "body_encoding")
    assert post(guarded, call("pay", amount=1), "/mcp", ("mcp-name", "read_ledger")) == (400, "body_mismatch")
    assert (
        guarded.caller("planner").post("/mcp", json.dumps(call("pay", pad="x" * 70_000)).encode(), JSON).status == 413
    )


def test_a_stream_is_opened_without_a_body(guarded):
    assert guarded.caller("planner").get("/mcp", [("accept", "text/event-stream")]).status == 200
    assert guarded.caller("planner").get("/mcp", method="DELETE").status == 403


def test_an_allowed_list_tells_the_proxy_which_tools_may_be_called(guarded):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
    answer = guarded.caller("planner").post("/mcp", body, JSON)
    assert (answer.status, answer.header("x-authz-allowed-tools")) == (200, "read_ledger,pay")


def test_envoy_s_own_reading_is_compared(guarded):
    path = "/mcp-compared"
    assert post(guarded, call("pay", amount=1), path) == (200, "allowed")
    # Envoy's filter reads 8 KiB by default, and no batches.
    assert post(guarded, call("pay", amount=1, pad="x" * 20_000), path) == (400, "body_mismatch")
    assert post(guarded, [call("pay", amount=1)], path) == (400, "body_mismatch")
    assert post(guarded, call("pay", amount=1, pad="x" * 20_000)) == (200, "allowed")
