"""What a policy sees of a request."""

import pytest

from authz.decision.bind import Binder, BindSettings, token_values
from authz.errors import ConfigError, Reason, Refusal
from authz.model import ACTION_RESOURCE, NO_FACTS, CheckCall, Credential, Kind, Subject, Target

NOW = 1_795_483_170.0  # Tuesday 2026-11-24 01:19:30 UTC
SUBJECT = Subject(
    id="spiffe://td/ns/agents/sa/planner",
    kind=Kind.AGENT,
    trust_domain="td",
    path="/ns/agents/sa/planner",
    namespace="agents",
    service_account="planner",
    sources=("certificate", "principal"),
    credential=Credential("x509-svid", "ab", NOW - 60, NOW + 240),
    attributes={"environment": "prod", "clearance": 3, "labels": {"team": "a"}, "id": "spiffe://td/forged"},
)


class Catalogue:
    def describe(self, host, path, method):
        return {"type": "account", "sensitivity": "internal"} if path.startswith("/v1/accounts") else {"type": ""}


def bind(call=None, target=None, subject=SUBJECT, **kwargs):
    settings = BindSettings(**kwargs.pop("settings", {}))
    call = call or CheckCall(layer="http", method="GET", host="h", path="/v1/accounts/1")
    target = target or Target(method="GET", host="h", path="/v1/accounts/1")
    binder = Binder(settings, Catalogue(), **kwargs)
    return binder.bind(call, binder.name(call, target), subject, NOW)


def test_the_subject_is_what_was_proved_whatever_the_inventory_says():
    sub = bind().sub
    assert sub["id"] == "spiffe://td/ns/agents/sa/planner"
    assert (sub["kind"], sub["namespace"], sub["service_account"]) == ("agent", "agents", "planner")
    assert (sub["environment"], sub["clearance"], sub["labels"]) == ("prod", 3, {"team": "a"})
    assert sub["credential"] == {"kind": "x509-svid", "fingerprint": "ab", "age": 60.0, "lifetime": 300.0}


def test_an_anonymous_subject_has_every_attribute_empty():
    sub = bind(subject=Subject()).sub
    assert (sub["id"], sub["kind"], sub["owner"], sub["clearance"], sub["registered"]) == (
        "",
        "anonymous",
        "",
        0,
        False,
    )


def test_no_credential_is_never_a_young_or_short_lived_one():
    credential = bind(subject=Subject(id="spiffe://td/a", kind=Kind.WORKLOAD)).sub["credential"]
    assert not credential["age"] < 1e12
    assert not credential["lifetime"] < 1e12


def test_the_resource_is_described_by_the_catalogue():
    assert bind().obj == {
        "host": "h",
        "port": 0,
        "path": "/v1/accounts/1",
        "type": "account",
        "sensitivity": "internal",
        **ACTION_RESOURCE,
    }


@pytest.mark.parametrize(
    ("headers", "protocol", "name"),
    [
        ({}, "http", "GET"),
        ({"content-type": "application/grpc+proto"}, "grpc", "pkg.Svc/Do"),
        ({"content-type": "Application/GRPC"}, "grpc", "pkg.Svc/Do"),
        ({"upgrade": "WebSocket"}, "websocket", "GET"),
    ],
)
def test_the_action_has_a_protocol_and_a_name(headers, protocol, name):
    method = "POST" if protocol == "grpc" else "GET"
    act = bind(
        CheckCall(layer="http", method=method, headers=headers), Target(method=method, host="h", path="/pkg.Svc/Do")
    ).act
    assert (act["protocol"], act["name"]) == (protocol, name)


@pytest.mark.parametrize(
    ("content_type", "method", "path"),
    [
        ("application/grpc", "DELETE", "/v1/payments"),
        ("application/grpc", "POST", "/GET"),
        ("application/grpc", "POST", "/v1/"),
        ("application/grpc", "POST", "/mcp:tools/call:pay"),
    ],
)
def test_no_content_type_gives_another_name_to_what_is_no_grpc_call(content_type, method, path):
    call = CheckCall(layer="http", method=method, headers={"content-type": content_type})
    act = bind(call, Target(method=method, host="h", path=path)).act
    assert (act["protocol"], act["name"]) == ("http", method)


def test_a_tcp_connection_is_an_action_on_its_port():
    request = bind(CheckCall(layer="tcp"), Target(method="CONNECT", host="10.0.0.7", port=5432))
    assert (request.obj["path"], request.act["name"], request.act["protocol"]) == ("tcp:5432", "connect", "tcp")


def test_time_is_utc():
    env = bind().env
    assert (env["time"], env["hour"], env["weekday"]) == (NOW, 1, 1)


def test_only_configured_headers_are_seen():
    call = CheckCall(
        layer="http", headers={"x-tier": "gold", "authorization": "secret", "x-task-id": "t", "x-task-purpose": "p"}
    )
    env = bind(call, settings={"expose_headers": ("X-Tier", "x-absent")}).env
    assert env["headers"] == {"x-tier": "gold"}
    assert env["task"] == {"id": "t", "purpose": "p", "declared": True, **NO_FACTS}
    with pytest.raises(Refusal):
        bind(call, settings={"max_task_characters": 0})


def query(text, **kwargs):
    return bind(target=Target(method="GET", host="h", path="/", query=text), **kwargs).act["query"]


def test_a_query_is_read_as_parameters():
    assert query("a=1&b=%41&c=") == {"a": "1", "b": "A", "c": ""}
    assert query("a=%3B") == {"a": ";"}


@pytest.mark.parametrize(
    "text",
    ["a=1&a=2", "a=1&%61=2", "a=1;a=2", "b=1;a=2", "a", "a=%ff", "&".join(f"k{i}=1" for i in range(65))],
)
def test_a_query_with_two_readings_is_refused_only_where_a_policy_reads_it(text):
    with pytest.raises(Refusal) as refusal:
        query(text)
    assert refusal.value.reason is Reason.REQUEST_MALFORMED
    assert query(text, reads_query=False) == {}


def test_request_tokens_are_whole_objects_unless_mapped():
    request = bind()
    assert token_values(("sub", "act"), {})(request) == (request.sub, request.act)
    plain = token_values(("sub", "obj", "act"), {"sub": "sub.id", "obj": "obj.path", "act": "act.method"})
    assert plain(request) == ("spiffe://td/ns/agents/sa/planner", "/v1/accounts/1", "GET")
    assert token_values(("sub", "dom"), {"sub": "sub.labels.team"})(request) == ("a", "td")


def test_a_mapping_that_names_nothing_is_refused():
    with pytest.raises(ConfigError, match="tenant"):
        token_values(("sub", "tenant"), {})
    with pytest.raises(ConfigError, match="no request token `user`"):
        token_values(("sub",), {"user": "sub.id"})
    with pytest.raises(ConfigError):
        token_values(("sub",), {"sub": "secret.id"})


def test_a_mapped_attribute_that_is_missing_denies():
    with pytest.raises(Refusal) as refusal:
        token_values(("sub",), {"sub": "sub.labels.absent"})(bind())
    assert refusal.value.reason is Reason.RULE_ERROR
