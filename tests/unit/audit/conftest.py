"""Values of a full call, for the tests of the audit trail."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from authz.audit.record import Recorder
from authz.audit.settings import AuditSettings
from authz.errors import Reason
from authz.model import (
    Asked,
    CheckCall,
    Credential,
    Decision,
    Effect,
    Kind,
    Outcome,
    RuleRef,
    Subject,
    Target,
)

STARTED = 1_760_000_000.000123


@pytest.fixture
def call() -> CheckCall:
    return CheckCall(
        layer="http",
        source_address="10.1.2.3",
        source_port=40404,
        destination_address="10.0.0.9",
        destination_port=443,
        principal="spiffe://prod.example/ns/pay/sa/ledger",
        destination_principal="spiffe://prod.example/edge",
        sni="api.prod.example",
        stream_id="77",
        method="POST",
        path="/v1/accounts/7?dry_run=1&access_token=abcdefgh",
        host="API.prod.example",
        protocol="HTTP/2",
        headers={
            "x-request-id": "9e8d1f6e-2f50-4c8b-9fb2-8b7b6fd9e111",
            "authorization": "Bearer abc.def",
            "x-team": "blue",
        },
        body=b"a body",
        body_partial=True,
        size=6,
    )


@pytest.fixture
def subject() -> Subject:
    return Subject(
        id="spiffe://prod.example/ns/pay/sa/ledger",
        kind=Kind.WORKLOAD,
        trust_domain="prod.example",
        sources=("certificate", "principal", "token"),
        credential=Credential("x509-svid", "ab" * 32, STARTED - 60, STARTED + 3540),
        token=Credential("jwt-svid", "cd" * 32, STARTED, STARTED + 300, issuer="https://issuer.example"),
        hops=("spiffe://prod.example/edge", "spiffe://prod.example/ns/pay/sa/ledger"),
        attributes={"owner": "payments", "environment": "production"},
    )


@pytest.fixture
def asked() -> Asked:
    return Asked(
        target=Target("POST", "api.prod.example", 0, "/v1/accounts/7", "dry_run=1&access_token=abcdefgh"),
        obj={
            "type": "account",
            "id": "accounts/7",
            "sensitivity": "restricted",
            "environment": "production",
            "cardholder_data": True,
        },
        protocol="http",
        name="account.update",
        task={"id": "task-9", "purpose": "month-end close"},
    )


@pytest.fixture
def decision() -> Decision:
    return Decision(
        Effect.DENY,
        Reason.DENIED_BY_RULE,
        policy_version="sha256:1234",
        rule=RuleRef("p", "policy.csv", 12, "p, ledger, /v1/accounts/*, POST, deny"),
        obligations=(("require_approval", "finance"),),
        detail="the account is frozen",
    )


@pytest.fixture
def outcome(call: CheckCall, subject: Subject, asked: Asked, decision: Decision) -> Outcome:
    return Outcome(
        decision_id="d-1",
        decision=decision,
        call=call,
        subject=subject,
        request=None,
        asked=asked,
        time=STARTED,
        latency_seconds=0.000_042,
    )


@pytest.fixture
def recorded(outcome: Outcome) -> Callable[..., Any]:
    """A function that answers the record of the full call, decoded as JSON; arguments replace its parts."""

    def record(settings: AuditSettings | None = None, **parts: Any) -> Any:
        recorder = Recorder(settings or AuditSettings())
        line = recorder.line(msgspec.structs.replace(outcome, **parts))
        assert line.endswith(b"}\n")
        assert line.count(b"\n") == 1
        return msgspec.json.decode(line)

    return record
