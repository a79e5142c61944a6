"""What the record of a call says."""

import hashlib
import json

import msgspec
import pytest

from authz.audit.record import Recorder
from authz.audit.settings import AuditSettings
from authz.audit.words import rfc3339
from authz.errors import Reason
from authz.grants.verifier import NO_GRANT
from authz.model import AccessRequest, Asked, Attributes, CheckCall, Decision, Effect, Freshness, Subject, Target


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
    record = recorded(subject=None, asked=None, decision=Decision(Effect.DENY, Reason.CERTIFICATE_EXPIRED))
    assert "subject" not in record
    assert record["asserted_principal"] == {"value": "spiffe://prod.example/ns/pay/sa/ledger", "verified": False}
    assert "path" not in record["action"]
    assert record["action"]["raw_path"] == "/v1/accounts/7"
    assert record["action"]["raw_path_sha256"] == hashlib.sha256(call.path.encode()).hexdigest()
    assert record["action"]["method"] == "POST"
    assert record["action"]["host"] == "API.prod.example"
    assert record["source"]["address"] == "10.1.2.3"


def test_a_call_refused_after_its_subject_was_resolved_names_the_subject(recorded, subject):
    record = recorded(asked=None, decision=Decision(Effect.DENY, Reason.PATH_DOT_SEGMENT))
    assert record["subject"]["id"] == subject.id
    assert "asserted_principal" not in record


def test_a_call_out_of_time_keeps_its_input_on_record(recorded):
    # A peer logged null input for checks that timed out.
    record = recorded(decision=Decision(Effect.DENY, Reason.DEADLINE_EXCEEDED))
    assert record["reason"] == "deadline_exceeded"
    assert record["action"]["path"] == "/v1/accounts/7"
    assert record["subject"]["owner"] == "payments"


def test_a_call_that_could_not_be_decoded_is_on_record(recorded):
    record = recorded(call=None, subject=None, asked=None, decision=Decision(Effect.DENY, Reason.REQUEST_MALFORMED))
    assert record == {
        "event": "decision",
        "v": 1,
        "time": "2025-10-09T08:53:20.000123Z",
        "decision_id": "d-1",
        "effect": "deny",
        "reason": "request_malformed",
        "latency_us": 42,
    }


def test_an_anonymous_subject_leaves_the_asserted_principal_visible(recorded):
    record = recorded(subject=Subject())
    assert record["subject"] == {"id": "", "kind": "anonymous", "registered": False}
    assert record["asserted_principal"]["verified"] is False


def test_an_oversized_asserted_principal_is_cut(recorded, call):
    long = msgspec.structs.replace(call, principal="CN=" + "x" * 50_000)
    record = recorded(call=long, subject=None, asked=None)
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
    record = recorded(call=huge, subject=None, asked=None, decision=msgspec.structs.replace(decision, detail=big))
    assert len(msgspec.json.encode(record)) < 64_000
    assert len(record["action"]["query"]) == 32


def test_the_registered_flag_of_the_inventory_wins(recorded, subject):
    unknown = msgspec.structs.replace(subject, attributes={"registered": False, "environment": "unknown"})
    record = recorded(subject=unknown)
    assert record["subject"]["registered"] is False


def test_attributes_of_another_type_are_left_out_instead_of_failing(recorded, asked):
    odd: Attributes = {"type": 7, "id": ["x"], "cardholder_data": "yes", "sensitivity": None}
    record = recorded(asked=Asked(asked.target, odd, "http", "GET", {"id": 7, "purpose": None}))
    assert "resource" not in record
    assert "task" not in record


def test_a_network_call_is_recorded_by_its_destination(recorded, asked):
    tcp = CheckCall(layer="tcp", source_address="10.1.1.1", source_port=5, sni="db.example", principal="spiffe://x/y")
    target = Target(method="CONNECT", host="10.0.0.1", port=5432)
    record = recorded(call=tcp, asked=msgspec.structs.replace(asked, target=target))
    assert record["action"] == {
        "layer": "tcp",
        "protocol": "http",
        "method": "CONNECT",
        "name": "account.update",
        "host": "10.0.0.1",
    }
    assert record["destination"] == {"sni": "db.example"}


def test_a_task_that_is_not_declared_is_no_task(recorded, asked):
    record = recorded(asked=msgspec.structs.replace(asked, task={"id": "", "purpose": ""}))
    assert "task" not in record


def test_a_task_counts_as_declared_until_something_says_that_it_is_proved(recorded, asked):
    proved = {"id": "t", "purpose": "", "declared": False}
    assert recorded()["task"]["declared"] is True
    assert recorded(asked=msgspec.structs.replace(asked, task=proved))["task"] == {"declared": False, "id": "t"}


def test_only_named_headers_and_query_values_are_recorded(recorded):
    record = recorded(AuditSettings(headers=("x-team", "x-absent"), query_values=("dry_run",)))
    assert record["action"]["headers"] == {"x-team": "blue"}
    assert record["action"]["query"] == [{"name": "dry_run", "value": "1"}, {"name": "access_token"}]


def test_the_rule_text_can_be_left_out(recorded):
    assert recorded(AuditSettings(rule_text=False))["rule"] == {"id": "policy.csv:12", "ptype": "p"}


def test_two_subjects_or_resources_are_never_mixed_up_by_what_is_remembered_of_them(outcome, asked, subject):
    recorder = Recorder(AuditSettings())
    for number in range(10_000):
        other = msgspec.structs.replace(subject, id=f"spiffe://prod.example/{number}")
        thing = msgspec.structs.replace(asked, obj={"type": "account", "id": f"a{number}"})
        line = recorder.line(msgspec.structs.replace(outcome, subject=other, asked=thing))
        record = msgspec.json.decode(line)
        assert record["subject"]["id"] == other.id
        assert record["resource"]["id"] == f"a{number}"
    assert len(recorder._subjects) <= 4096
    assert len(recorder._resources) <= 4096


def test_what_waits_in_the_queue_is_bounded_whatever_the_caller_sends(outcome):
    big = "x" * 50_000
    fields = ("stream_id", "method", "path", "host", "principal", "destination_principal", "sni")
    huge = CheckCall(layer="http", headers={"x-request-id": big, "x-team": big}, **dict.fromkeys(fields, big))
    recorder = Recorder(AuditSettings(headers=("x-team",), max_text_chars=8192))
    line = recorder.line(msgspec.structs.replace(outcome, call=huge, asked=None, subject=None))
    assert len(line) < 10 * 8192


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
    line = recorder.bare_line(outcome, "TypeError")
    record = msgspec.json.decode(line)
    assert (record["decision_id"], record["effect"], record["reason"]) == ("d-1", "deny", "denied_by_rule")
    assert "TypeError" in record["detail"]


@pytest.mark.parametrize("request_id", ["", "9e8d1f6e-2f50-4c8b-9fb2-8b7b6fd9e111", "4111-1111-1111-1111", 'a"b\\c'])
@pytest.mark.parametrize("stream_id", ["", "77", "4111111111111111", "1" * 21, "\u0663\u0664", "abc"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"task": {"id": "", "purpose": ""}},
        {"task": {"id": 7, "purpose": ""}},
        {"fresh": Freshness(policy=1.5, revocations=0.25)},
        {"fresh": Freshness(policy=0.0, revocations=0.0), "task": {}},
        {"task": {"id": "t", "purpose": ""}, "grant_key": "ab", "grant": {**NO_GRANT, "id": "g", "expires": 5}},
    ],
)
def test_what_is_each_calls_own_is_worded_alike_in_both_ways(outcome, asked, request_id, stream_id, changes):
    recorder = Recorder(AuditSettings())
    call = msgspec.structs.replace(outcome.call, headers={"x-request-id": request_id}, stream_id=stream_id)
    one = msgspec.structs.replace(
        outcome, cached=True, call=call, asked=msgspec.structs.replace(asked, **changes), decision_id='d"\\1'
    )
    assert recorder.line(one) == recorder.line(one)
    assert msgspec.json.decode(recorder.line(one)) == msgspec.json.decode(recorder.encode(recorder._record(one)))


def test_what_is_remembered_of_a_caller_is_bounded(outcome):
    recorder = Recorder(AuditSettings())
    long = msgspec.structs.replace(outcome.call, source_address="x" * 257)
    target = msgspec.structs.replace(outcome.asked.target, path="/" + "x" * 256)
    asked = msgspec.structs.replace(outcome.asked, target=target)
    recorder.line(msgspec.structs.replace(outcome, cached=True, call=long, asked=asked))
    assert recorder._path.cache_info().currsize == recorder._source.cache_info().currsize == 0


def test_what_is_remembered_of_a_question_is_bounded(outcome):
    """A caller chooses how long a query is: what is kept of a record that comes again must not grow with it."""
    recorder = Recorder(AuditSettings())
    for number, length in enumerate((1, 1_000)):
        target = msgspec.structs.replace(outcome.asked.target, query=f"{'q' * length}=1&" * 8)
        asked = msgspec.structs.replace(outcome.asked, target=target)
        call = msgspec.structs.replace(outcome.call, body_partial=False)
        one = msgspec.structs.replace(outcome, cached=True, recalled=True, call=call, asked=asked)
        for _ in range(2):
            assert msgspec.json.decode(recorder.line(one)) == msgspec.json.decode(
                recorder.encode(recorder._record(one))
            ), number
    assert len(recorder._again) == 1


def test_a_record_of_a_decision_used_again_says_the_same_as_any_other(outcome, asked):
    """Two ways of writing one record: from remembered pieces, and field by field."""
    recorder = Recorder(AuditSettings(headers=("x-team",), query_values=("dry_run",)))
    again = msgspec.structs.replace(outcome, cached=True)
    tcp = msgspec.structs.replace(asked, protocol="tcp", task={"id": "", "purpose": ""})
    rule = outcome.decision.rule
    bare = msgspec.structs.replace(outcome.decision, rule=None, obligations=(), detail="")
    full = msgspec.structs.replace(bare, obligations=(("log", "full"),))
    for number in range(3):
        for other in (
            again,
            msgspec.structs.replace(again, asked=tcp),
            msgspec.structs.replace(again, decision=bare, subject=Subject()),
            msgspec.structs.replace(again, decision=bare),
            msgspec.structs.replace(again, decision=msgspec.structs.replace(bare, rule=rule), cached=False),
            msgspec.structs.replace(again, decision=msgspec.structs.replace(bare), cached=False),
            msgspec.structs.replace(again, decision=full, cached=False),
        ):
            one = msgspec.structs.replace(
                other, decision_id=f"d-{number}", time=number + 0.5, latency_seconds=number * 1e-6
            )
            wanted = msgspec.json.decode(recorder.encode(recorder._record(one)))
            assert msgspec.json.decode(recorder.line(one)) == wanted


def of_body(asked, **parts):
    args = {"amount": 12, "to": {"pin": "1234"}, "note": "hush", "password": "hush"}
    return msgspec.structs.replace(asked, name="mcp:tools/call:pay", kind="mcp", tool="pay", args=args, **parts)


def test_of_an_action_out_of_a_body_the_name_is_recorded_and_of_its_arguments_nothing(recorded, asked):
    for cached in (False, True):
        action = recorded(asked=of_body(asked), cached=cached)["action"]
        assert (action["name"], action["kind"], action["tool"]) == ("mcp:tools/call:pay", "mcp", "pay")
        assert not {"args", "batch", "batch_names"} & action.keys()
        assert "hush" not in str(action)


def test_arguments_are_recorded_where_settings_name_them_and_never_what_is_inside(recorded, asked):
    settings = AuditSettings(args=("amount", "to", "absent"))
    for cached in (False, True):
        action = recorded(settings, asked=of_body(asked), cached=cached)["action"]
        assert action["args"] == [{"name": "amount", "value": "12"}, {"name": "to"}]


def test_a_credential_is_no_argument_that_can_be_recorded():
    assert [key for key, _ in AuditSettings(args=("amount", "password", "api_key")).problems()] == ["args", "args"]


def test_of_a_batch_the_number_and_the_names_are_recorded(recorded, asked):
    further = (msgspec.structs.replace(asked, name="mcp:tools/list"),) * 40
    for cached in (False, True):
        action = recorded(asked=of_body(asked, batch=further), cached=cached)["action"]
        assert action["batch"] == 41
        assert action["batch_names"][:2] == ["mcp:tools/call:pay", "mcp:tools/list"]
        assert len(action["batch_names"]) == 32


@pytest.mark.parametrize(
    "args",
    [
        {"password": {"value": "zebra"}},
        {"users": [{"name": "a", "password": "zebra"}]},
        {"users": [[{"pin": "zebra"}], 1]},
        {"password": ["zebra"]},
        {"api.key.x": "zebra"},
        {"x" * 300 + "_token": "zebra"},
        {"credentials": {"a": [{"b": "zebra"}]}},
    ],
)
def test_what_is_inside_of_a_credential_or_of_an_array_is_masked_as_well(outcome, args):
    """I10: what a body holds nests as its sender likes."""
    request = AccessRequest(
        subject=outcome.subject,
        target=Target("POST", "h", 0, "/mcp"),
        sub={"credential": {"fingerprint": "f"}},
        obj={},
        act={"args": {**args, "plain": [1, 2], "deep": [[7]]}},
        env={"grant": {"id": "g"}},
    )
    decision = msgspec.structs.replace(outcome.decision, obligations=(("log", "full"),))
    full = msgspec.structs.replace(outcome, decision=decision, request=request)
    line = Recorder(AuditSettings()).line(full).decode()
    assert "zebra" not in line
    seen = json.loads(line)["attributes"]
    assert (seen["act.args.plain"], seen["act.args.deep.0"]) == ("[1,2]", "[7]")
    assert (seen["sub.credential.fingerprint"], seen["env.grant.id"]) == ("f", "g")
