"""What the record of a call says."""

import hashlib

import msgspec
import pytest

from authz.audit.capture import capture
from authz.audit.record import Recorder, rfc3339
from authz.audit.settings import AuditSettings
from authz.errors import Reason
from authz.model import AccessRequest, Attributes, CheckCall, Decision, Effect, Subject, Target


def test_a_full_call_is_on_record_with_everything_known(recorded):
    assert recorded() == {
        "event": "decision",
        "v": 1,
        "time": "2025-10-09T08:53:20.000123Z",
        "decision_id": "d-1",
        "effect": "deny",
        "reason": "denied_by_rule",
        "request_id": "9e8d1f6e-2f50-4c8b-9fb2-8b7b6fd9e111",
        "stream_id": "77",
        "detail": "the account is frozen",
        "rule": {"id": "policy.csv:12", "ptype": "p", "text": "p, ledger, /v1/accounts/*, POST, deny"},
        "obligations": [{"name": "require_approval", "value": "finance"}],
        "policy_version": "sha256:1234",
        "latency_us": 42,
        "subject": {
            "id": "spiffe://prod.example/ns/pay/sa/ledger",
            "kind": "workload",
            "registered": True,
            "trust_domain": "prod.example",
            "sources": ["certificate", "principal", "token"],
            "credential": {
                "kind": "x509-svid",
                "fingerprint": "ab" * 32,
                "not_after": "2025-10-09T09:52:20.000123Z",
                "lifetime_seconds": 3600,
            },
            "token": {
                "kind": "jwt-svid",
                "fingerprint": "cd" * 32,
                "issuer": "https://issuer.example",
                "not_after": "2025-10-09T08:58:20.000123Z",
                "lifetime_seconds": 300,
            },
            "hops": ["spiffe://prod.example/edge", "spiffe://prod.example/ns/pay/sa/ledger"],
            "owner": "payments",
            "environment": "production",
        },
        "source": {"address": "10.1.2.3", "port": 40404},
        "destination": {
            "address": "10.0.0.9",
            "port": 443,
            "principal": "spiffe://prod.example/edge",
            "sni": "api.prod.example",
        },
        "action": {
            "layer": "http",
            "protocol": "http",
            "http_version": "HTTP/2",
            "method": "POST",
            "name": "account.update",
            "host": "api.prod.example",
            "path": "/v1/accounts/7",
            "query": [{"name": "dry_run"}, {"name": "access_token"}],
            "size": 6,
            "body_partial": True,
        },
        "resource": {
            "type": "account",
            "id": "accounts/7",
            "sensitivity": "restricted",
            "environment": "production",
            "cardholder_data": True,
        },
        "task": {"id": "task-9", "purpose": "month-end close", "declared": True},
    }


def test_a_refused_call_says_what_was_asked_for_and_by_whom_unverified(recorded, call):
    record = recorded(subject=None, request=None, decision=Decision(Effect.DENY, Reason.CERTIFICATE_EXPIRED))
    assert "subject" not in record
    assert record["asserted_principal"] == {"value": "spiffe://prod.example/ns/pay/sa/ledger", "verified": False}
    assert "path" not in record["action"]
    assert record["action"]["raw_path"] == "/v1/accounts/7"
    assert record["action"]["raw_path_sha256"] == hashlib.sha256(call.path.encode()).hexdigest()
    assert record["action"]["method"] == "POST"
    assert record["action"]["host"] == "API.prod.example"
    assert record["source"]["address"] == "10.1.2.3"


def test_a_call_refused_after_its_subject_was_resolved_names_the_subject(recorded, subject):
    record = recorded(request=None, decision=Decision(Effect.DENY, Reason.PATH_DOT_SEGMENT))
    assert record["subject"]["id"] == subject.id
    assert "asserted_principal" not in record


def test_a_call_out_of_time_keeps_its_input_on_record(recorded):
    # A peer logged null input for checks that timed out.
    record = recorded(decision=Decision(Effect.DENY, Reason.DEADLINE_EXCEEDED))
    assert record["reason"] == "deadline_exceeded"
    assert record["action"]["path"] == "/v1/accounts/7"
    assert record["subject"]["owner"] == "payments"


def test_a_call_that_could_not_be_decoded_is_on_record(recorded):
    record = recorded(call=None, subject=None, request=None, decision=Decision(Effect.DENY, Reason.REQUEST_MALFORMED))
    assert record == {
        "event": "decision",
        "v": 1,
        "time": "2025-10-09T08:53:20.000123Z",
        "decision_id": "d-1",
        "effect": "deny",
        "reason": "request_malformed",
        "latency_us": 42,
    }


def test_an_anonymous_subject_leaves_the_asserted_principal_visible(recorded, request_):
    anonymous = msgspec.structs.replace(request_, subject=Subject())
    record = recorded(subject=None, request=anonymous)
    assert record["subject"] == {"id": "", "kind": "anonymous", "registered": False}
    assert record["asserted_principal"]["verified"] is False


def test_an_oversized_asserted_principal_is_cut(recorded, call):
    long = msgspec.structs.replace(call, principal="CN=" + "x" * 50_000)
    record = recorded(call=long, subject=None, request=None)
    value = record["asserted_principal"]["value"]
    assert value.endswith("x[cut]")
    assert len(value) == 1024 + len("[cut]")


def test_a_record_stays_small_whatever_the_caller_sends(recorded, call, decision):
    big = "\u2028x" * 40_000
    huge = msgspec.structs.replace(
        call,
        path="/" + big[:4000] + "?" + big[:2000] + "&a=1" * 9000,
        host=big,
        method=big,
        principal=big,
        sni=big,
        stream_id=big,
        destination_principal=big,
        headers={"x-request-id": big},
    )
    record = recorded(call=huge, subject=None, request=None, decision=msgspec.structs.replace(decision, detail=big))
    assert len(msgspec.json.encode(record)) < 64_000
    assert len(record["action"]["query"]) == 32


def test_the_registered_flag_of_the_inventory_wins(recorded, request_, subject):
    unknown = msgspec.structs.replace(subject, attributes={"registered": False, "environment": "unknown"})
    record = recorded(request=msgspec.structs.replace(request_, subject=unknown))
    assert record["subject"]["registered"] is False


def test_attributes_of_another_type_are_left_out_instead_of_failing(recorded, request_):
    odd: Attributes = {"type": 7, "id": ["x"], "cardholder_data": "yes", "sensitivity": None}
    record = recorded(request=AccessRequest(request_.subject, request_.target, {}, odd, {"name": 1}, {"task": "t"}))
    assert "resource" not in record
    assert "name" not in record["action"]
    assert "task" not in record


def test_a_network_call_is_recorded_by_its_destination(recorded, request_):
    tcp = CheckCall(layer="tcp", source_address="10.1.1.1", source_port=5, sni="db.example", principal="spiffe://x/y")
    asked = msgspec.structs.replace(request_, target=Target(method="CONNECT", host="10.0.0.1", port=5432))
    record = recorded(call=tcp, request=asked)
    assert record["action"] == {
        "layer": "tcp",
        "protocol": "http",
        "method": "CONNECT",
        "name": "account.update",
        "host": "10.0.0.1",
    }
    assert record["destination"] == {"sni": "db.example"}


def test_a_task_that_is_not_declared_is_no_task(recorded, request_):
    record = recorded(request=msgspec.structs.replace(request_, env={"task": {"id": "", "purpose": ""}}))
    assert "task" not in record


def test_a_task_counts_as_declared_until_something_says_that_it_is_proved(recorded, request_):
    proved = {"task": {"id": "t", "purpose": "", "declared": False}}
    assert recorded()["task"]["declared"] is True
    assert recorded(request=msgspec.structs.replace(request_, env=proved))["task"] == {"declared": False, "id": "t"}


def test_only_named_headers_and_query_values_are_recorded(recorded):
    record = recorded(AuditSettings(headers=("x-team", "x-absent"), query_values=("dry_run",)))
    assert record["action"]["headers"] == {"x-team": "blue"}
    assert record["action"]["query"] == [{"name": "dry_run", "value": "1"}, {"name": "access_token"}]


def test_the_rule_text_can_be_left_out(recorded):
    assert recorded(AuditSettings(rule_text=False))["rule"] == {"id": "policy.csv:12", "ptype": "p"}


def test_two_subjects_are_never_mixed_up_by_what_is_remembered_of_them(outcome, request_, subject):
    recorder = Recorder(AuditSettings())
    for number in range(3000):
        other = msgspec.structs.replace(subject, id=f"spiffe://prod.example/{number}")
        asked = msgspec.structs.replace(request_, subject=other)
        line = recorder.line(capture(msgspec.structs.replace(outcome, request=asked), ()))
        assert msgspec.json.decode(line)["subject"]["id"] == other.id
    assert len(recorder._subjects) <= 1024


def test_nothing_that_waits_in_the_queue_holds_on_to_body_or_headers(outcome, call, request_):
    captured = capture(outcome, ())
    seen, todo = [], [captured]
    while todo:
        value = todo.pop()
        seen.append(value)
        if isinstance(value, msgspec.Struct):
            todo += [getattr(value, name) for name in value.__struct_fields__]
    assert not any(value is call or value is call.body or value is call.headers for value in seen)
    assert not any(value is request_ or value is request_.act or value is request_.env for value in seen)


def test_what_waits_in_the_queue_is_bounded_whatever_the_caller_sends(outcome):
    big = "x" * 50_000
    fields = ("stream_id", "method", "path", "host", "principal", "destination_principal", "sni")
    huge = CheckCall(layer="http", headers={"x-request-id": big, "x-team": big}, **dict.fromkeys(fields, big))
    captured = capture(msgspec.structs.replace(outcome, call=huge), ("x-team",))
    texts = [getattr(captured.call, name) for name in captured.call.__struct_fields__]
    assert max(len(text) for text in (*texts, *captured.call.headers) if isinstance(text, str)) == 8192


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000000Z"),
        (253402300799.0, "9999-12-31T23:59:59.000000Z"),
        (float("inf"), ""),
        (float("nan"), ""),
        (1e18, ""),
        (-1.5, "1969-12-31T23:59:58.500000Z"),
    ],
)
def test_times_are_rfc_3339_in_utc_and_impossible_ones_are_left_out(seconds, text):
    assert rfc3339(seconds) == text


def test_what_cannot_be_put_in_words_still_leaves_the_least_on_record(outcome):
    recorder = Recorder(AuditSettings())
    line = recorder.bare_line(capture(outcome, ()), "TypeError")
    record = msgspec.json.decode(line)
    assert (record["decision_id"], record["effect"], record["reason"]) == ("d-1", "deny", "denied_by_rule")
    assert "TypeError" in record["detail"]
