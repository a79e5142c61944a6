"""I10: nothing that could be a secret reaches a record, under any setting."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.audit.record import Recorder
from authz.audit.settings import AuditSettings
from authz.errors import Reason
from authz.model import AccessRequest, Asked, CheckCall, Credential, Decision, Effect, Kind, Outcome, Subject, Target

CANARY = "zebra-crossing-canary"
JWT = "eyJhbGciOiJub25lIn0.eyJjYW5hcnkiOiJ6ZWJyYSJ9.c2ln"
CARD = "4111111111111111"
SECRET_HEADERS = ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token", "dpop"]
PERMISSIVE = AuditSettings(
    headers=(*SECRET_HEADERS, "Authorization", "COOKIE"),
    query_values=("access_token", "code", "q"),
    max_text_chars=8192,
)


def line_of(call, asked=None, detail="", settings=PERMISSIVE, subject=None):
    recorder = Recorder(settings)
    decision = Decision(Effect.DENY, Reason.TOKEN_SIGNATURE, detail=detail)
    outcome = Outcome("d", decision, call, subject, None, 0.0, 0.0, asked)
    return recorder.line(outcome).decode()


@pytest.mark.parametrize("name", SECRET_HEADERS)
def test_settings_cannot_make_a_credential_header_recordable(name):
    assert CANARY not in line_of(CheckCall(layer="http", headers={name: CANARY, name.title(): CANARY}))
    assert name not in Recorder(PERMISSIVE).headers


@given(st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=30))
def test_no_header_that_is_not_named_is_recorded(name):
    call = CheckCall(layer="http", headers={name if name != "x-request-id" else "x": CANARY})
    assert CANARY not in line_of(call, settings=AuditSettings(headers=("x-team",)))


@pytest.mark.parametrize(
    "parts",
    [
        {"body": CANARY.encode()},
        {"certificate": CANARY},
        {"context_extensions": {"k": CANARY}},
        {"metadata": {"k": CANARY}},
        {"route_metadata": {"k": CANARY}},
        {"path": f"/x?access_token={CANARY}&code={CANARY}&other={CANARY}"},
        {"path": f"/x?%61ccess_token={CANARY}"},
        {"path": f"/x?x=1#{CANARY}"},
        {"host": f"user:{CANARY}@host", "path": f"http://user:{CANARY}@host/x"},
        {"path": f"/x;token={CANARY}/y"},
        {"principal": f"CN=a,password={CANARY}"},
        {"stream_id": f"Bearer {CANARY}"},
        {"headers": {"x-request-id": f"Bearer {CANARY}"}},
        {"sni": f"token={CANARY}"},
    ],
)
def test_secrets_of_a_refused_call_are_not_recorded(parts):
    call = CheckCall(**{"layer": "http", "path": "/x"} | parts)
    assert CANARY not in line_of(call)


def test_claims_attributes_and_arguments_are_not_recorded():
    subject = Subject(
        id="spiffe://x/y",
        kind=Kind.AGENT,
        claims={"jti": CANARY},
        attributes={"label": CANARY},
        credential=Credential("jwt-svid", "ab", 0.0, 1.0),
    )
    asked = Asked(
        Target("POST", "h", 0, "/x", f"q2={CANARY}"),
        {"type": "t", "labels": CANARY},
        "http",
        "POST",
        {"id": "t", "token": CANARY},
        args={"pin": CANARY, "inner": {"x": CANARY}},
        kind="mcp",
        batch=(Asked(Target(), {}, "http", "mcp:x", {}, args={"y": CANARY}),),
    )
    call = CheckCall(layer="http", path="/x", metadata={"claims": CANARY}, context_extensions={"c": CANARY})
    assert CANARY not in line_of(call, asked, subject=subject)


@pytest.mark.parametrize("secret", [JWT, CARD, "4111-1111-1111-1111", f"Bearer {CANARY}", f"password={CANARY}"])
@pytest.mark.parametrize(
    "place", ["path", "query value", "query name", "resource", "task", "detail", "request id", "header", "obligation"]
)
def test_secrets_are_masked_wherever_a_caller_or_a_message_can_put_them(secret, place):
    def at(name):
        return secret if place == name else "x"

    call = CheckCall(layer="http", path="/x", headers={"x-request-id": at("request id"), "x-team": at("header")})
    asked = Asked(
        Target("GET", "h", 0, f"/a/{at('path')}/b", f"q={at('query value')}&{at('query name').replace('=', '%3D')}"),
        {"id": at("resource"), "type": at("resource")},
        "http",
        "GET",
        {"purpose": at("task")},
    )
    recorder = Recorder(AuditSettings(headers=("x-team",), query_values=("q",)))
    decision = Decision(Effect.ALLOW, Reason.ALLOWED, detail=at("detail"), obligations=(("o", at("obligation")),))
    outcome = Outcome("d", decision, call, None, None, 0.0, 0.0, asked)
    line = recorder.line(outcome).decode()
    assert secret not in line
    assert CANARY not in line
    assert "eyJjYW5hcnki" not in line
    assert "[masked]" in line


def test_identities_are_recorded_whole_since_a_masked_one_would_hide_who_it_was():
    subject = Subject(id="https://accounts.example#4111111111111111", kind=Kind.HUMAN)
    record = msgspec.json.decode(line_of(CheckCall(layer="http"), subject=subject))
    assert record["subject"]["id"] == subject.id


def test_a_caller_cannot_forge_a_line_of_the_trail():
    forged = '/x\n{"event":"decision","effect":"allow"}\r\u2028\u2029\x85'
    call = CheckCall(layer="http", path=forged, method=forged, host=forged, principal=forged, sni=forged)
    assert len(line_of(call).splitlines()) == 1


def test_what_the_rules_saw_is_recorded_where_a_rule_demands_it_and_never_with_a_secret():
    env = {
        "headers": {"x-team": "blue", "authorization": CANARY, "x-note": f"Bearer {CANARY}"},
        "metadata": {"ns": {"level": 3, "api_key": CANARY, "deep": {"list": [CARD, "plain"]}}},
        "hour": 7,
    }
    request = AccessRequest(
        subject=Subject(),
        target=Target(),
        sub={"id": "spiffe://x/y", "claims": {"access_token": CANARY}, "credential": {"age": float("inf")}},
        obj={"path": f"/a?password={CANARY}"},
        act={"query": {"q": "1", "token": CANARY}},
        env=env,
    )
    full = Decision(Effect.ALLOW, Reason.ALLOWED, obligations=(("log", "full"),))
    outcome = Outcome("d", full, CheckCall(layer="http"), Subject(), request, 0.0, 0.0)
    line = Recorder(AuditSettings()).line(outcome).decode()
    assert CANARY not in line
    assert CARD not in line
    told = msgspec.json.decode(line)["attributes"]
    assert (told["sub.id"], told["env.headers.x-team"], told["env.metadata.ns.level"]) == ("spiffe://x/y", "blue", "3")
    assert told["act.query.token"] == told["env.headers.authorization"] == "[masked]"
    silent = msgspec.structs.replace(outcome, decision=Decision(Effect.ALLOW, Reason.ALLOWED))
    assert "attributes" not in msgspec.json.decode(Recorder(AuditSettings()).line(silent))


def test_what_is_recorded_of_the_rules_sight_is_bounded():
    many = {f"k{number}": {"a": "x" * 5_000} for number in range(2_000)}
    request = AccessRequest(Subject(), Target(), sub=many, obj={}, act={}, env={})
    full = Decision(Effect.ALLOW, Reason.ALLOWED, obligations=(("log", "full"),))
    line = Recorder(AuditSettings()).line(Outcome("d", full, None, None, request, 0.0, 0.0))
    assert len(line) < 400_000
