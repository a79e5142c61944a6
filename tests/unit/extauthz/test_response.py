"""Outcomes to CheckResponse bytes, such that Envoy does what was decided (I2)."""

import json

import msgspec
import pytest
from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import ConfigError, Reason
from authz.extauthz.mutations import MutationSettings
from authz.extauthz.response import Encoder, ResponseSettings
from authz.model import AccessRequest, Asked, CheckCall, Decision, Effect, Kind, Outcome, RuleRef, Subject, Target

SUBJECT = Subject(id="spiffe://td/a", kind=Kind.WORKLOAD)
CALL = CheckCall(layer="http", method="GET", host="h", path="/")


def outcome(reason, call=CALL, *, subject=SUBJECT, sub=None, obligations=()):
    request = AccessRequest(
        subject=subject, target=Target(), sub=sub or {"id": subject.id}, obj={}, act={}, env={"task": {"id": "t1"}}
    )
    decision = Decision(
        effect=Effect.ALLOW if reason is Reason.ALLOWED else Effect.DENY,
        reason=reason,
        policy_version="v1",
        rule=RuleRef("p", "policy.csv", 3, "p, x"),
        obligations=obligations,
    )
    return Outcome(
        decision_id="d1",
        decision=decision,
        call=call,
        subject=subject,
        request=request,
        time=0.0,
        latency_seconds=0.0,
        asked=Asked(target=Target(), obj={}, protocol="http", name="GET", task={"id": "t1", "purpose": ""}),
    )


def allowed(settings=None, **kwargs):
    return CheckResponse.FromString(Encoder(settings or ResponseSettings()).allow(outcome(Reason.ALLOWED, **kwargs)))


def denied(reason, settings=None, **kwargs):
    return CheckResponse.FromString(Encoder(settings or ResponseSettings()).deny(outcome(reason, **kwargs)))


def headers(options):
    return {option.header.key: option.header.value for option in options}


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.ALLOWED])
@pytest.mark.parametrize(
    "call", [CALL, None, CheckCall(layer="tcp"), CheckCall(layer="http", headers={"content-type": "application/grpc"})]
)
def test_no_denial_can_be_read_as_an_allow(reason, call):
    octets = Encoder(ResponseSettings()).deny(outcome(reason, call=call))
    response = CheckResponse.FromString(octets)
    assert octets
    assert response.status.code != 0
    assert not response.HasField("ok_response")
    if call is None or call.layer == "http":
        assert response.denied_response.status.code == reason.http_status >= 400


def test_an_allow_is_not_an_empty_message_and_carries_no_other_arm():
    octets = Encoder(ResponseSettings()).allow(outcome(Reason.ALLOWED, call=CheckCall(layer="tcp")))
    response = CheckResponse.FromString(octets)
    assert octets
    assert response.status.code == 0
    assert response.status.message == "OK"
    assert response.WhichOneof("http_response") is None


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (Reason.IDENTITY_MISSING, 401, 16),
        (Reason.NO_MATCHING_RULE, 403, 7),
        (Reason.PATH_DOT_SEGMENT, 400, 3),
        (Reason.OVERLOADED, 503, 14),
    ],
)
def test_a_denial_tells_the_client_by_its_reason(reason, status, code):
    response = denied(reason)
    assert (response.status.code, response.denied_response.status.code) == (code, status)
    found = headers(response.denied_response.headers)
    assert found["content-type"] == "application/problem+json"
    assert found["cache-control"] == "no-store"
    assert found["x-authz-decision-id"] == "d1"
    assert ("www-authenticate" in found) == (status == 401)
    assert ("retry-after" in found) == (status == 503)
    body = json.loads(response.denied_response.body)
    assert (body["status"], body["decision_id"], body["type"]) == (status, "d1", "about:blank")


def test_forbidden_and_unknown_look_alike_to_a_client_unless_configured():
    bodies = {
        denied(r).denied_response.body for r in (Reason.DENIED_BY_RULE, Reason.NO_MATCHING_RULE, Reason.RULE_ERROR)
    }
    assert len(bodies) == 1
    assert json.loads(bodies.pop())["reason"] == "access_denied"
    full = denied(Reason.DENIED_BY_RULE, ResponseSettings(client_reason="full"))
    assert json.loads(full.denied_response.body)["reason"] == "denied_by_rule"


def test_a_grpc_client_gets_grpc_status_and_no_json():
    call = CheckCall(layer="http", headers={"content-type": "application/grpc+proto"})
    response = denied(Reason.NO_MATCHING_RULE, call=call)
    found = headers(response.denied_response.headers)
    assert (found["grpc-status"], found["grpc-message"]) == ("7", "access_denied")
    assert response.denied_response.body == ""
    assert "content-type" not in found


def test_not_able_to_decide_is_a_denial_unless_opted_into_error_response():
    assert denied(Reason.INTERNAL_ERROR).WhichOneof("http_response") == "denied_response"
    as_error = denied(Reason.INTERNAL_ERROR, ResponseSettings(not_able_to_decide="error"))
    assert as_error.WhichOneof("http_response") == "error_response"
    assert as_error.status.code != 0
    assert as_error.error_response.status.code == 503
    by_policy = denied(Reason.NO_MATCHING_RULE, ResponseSettings(not_able_to_decide="error"))
    assert by_policy.WhichOneof("http_response") == "denied_response"


def test_dynamic_metadata_tells_access_logs_who_and_why():
    for response in (allowed(), denied(Reason.DENIED_BY_RULE)):
        found = {key: value.string_value for key, value in response.dynamic_metadata.fields.items()}
        assert found["principal"] == "spiffe://td/a"
        assert found["rule"] == "policy.csv:3"
        assert found["policy_version"] == "v1"
        assert found["task"] == "t1"
        assert found["decision_id"] == "d1"
        assert found["effect"] in {"allow", "deny"}


def test_an_allow_states_who_called_in_place_of_what_the_client_sent():
    call = CheckCall(
        layer="http",
        path="/",
        headers={
            "x-authz-subject": "forged",
            "x-authz-admin": "1",
            "x_authz_subject": "2",
            "X-Authz_Role": "3",
            "x-other": "4",
        },
    )
    ok = allowed(call=call).ok_response
    assert headers(ok.headers) == {"x-authz-subject": "spiffe://td/a", "x-authz-decision-id": "d1"}
    assert all(
        o.append_action == HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD and not o.HasField("append") for o in ok.headers
    )
    assert "x-authz-admin" in ok.headers_to_remove
    assert "x_authz_subject" in ok.headers_to_remove
    # Envoy removes last: what we set must not be removed.
    assert not set(ok.headers_to_remove) & set(headers(ok.headers))


MUTATIONS = ResponseSettings(
    always=("base",),
    mutations={
        "base": MutationSettings(
            remove_request_headers=("authorization",), set_response_headers={"x-r": "{decision.id}"}
        ),
        "rich": MutationSettings(
            set_request_headers={"x-who": "id={sub.id};n={sub.n}"},
            append_request_headers={"x-app": "a"},
            add_request_headers={"x-add": "b"},
            append_response_headers={"x-s": "c"},
            set_query_parameters={"tenant": "{sub.tenant}"},
            remove_query_parameters=("debug",),
        ),
    },
)


def test_a_rule_applies_named_mutations():
    ok = allowed(
        MUTATIONS, sub={"id": "spiffe://td/a", "n": 3, "tenant": "t"}, obligations=(("apply", "rich"),)
    ).ok_response
    actions = {o.header.key: (o.header.value, o.append_action) for o in ok.headers}
    assert actions["x-who"] == ("id=spiffe://td/a;n=3", HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD)
    assert actions["x-app"] == ("a", HeaderValueOption.APPEND_IF_EXISTS_OR_ADD)
    assert actions["x-add"] == ("b", HeaderValueOption.ADD_IF_ABSENT)
    assert "authorization" in ok.headers_to_remove
    assert headers(ok.response_headers_to_add) == {"x-r": "d1", "x-s": "c"}
    assert [(q.key, q.value) for q in ok.query_parameters_to_set] == [("tenant", "t")]
    assert list(ok.query_parameters_to_remove) == ["debug"]


def test_rules_can_apply_several_sets_and_unknown_ones_are_an_error():
    encoder = Encoder(
        ResponseSettings(
            mutations={
                "a": MutationSettings(set_request_headers={"x-a": "1"}),
                "b": MutationSettings(set_request_headers={"x-b": "2"}),
            }
        )
    )
    both = CheckResponse.FromString(
        encoder.allow(outcome(Reason.ALLOWED, obligations=(("apply", "a"), ("apply", "b"))))
    )
    assert {"x-a", "x-b"} <= set(headers(both.ok_response.headers))
    with pytest.raises(KeyError):
        encoder.allow(outcome(Reason.ALLOWED, obligations=(("apply", "absent"),)))


def test_a_connect_without_a_path_gets_no_query_mutations():
    call = CheckCall(layer="http", method="CONNECT", host="h:1", path="")
    ok = allowed(MUTATIONS, call=call, obligations=(("apply", "rich"),)).ok_response
    assert not ok.query_parameters_to_set
    assert not ok.query_parameters_to_remove


@given(st.text(max_size=30))
def test_no_attribute_can_break_out_of_a_header(value):
    ok = allowed(MUTATIONS, sub={"id": value, "n": value}, obligations=(("apply", "rich"),)).ok_response
    written = headers(ok.headers)["x-who"]
    assert written.isascii()
    assert all(0x21 <= ord(c) <= 0x7E for c in written)


@pytest.mark.parametrize(
    "broken",
    [
        {"set_request_headers": {"X-Upper": "1"}},
        {"set_request_headers": {":path": "/admin"}},
        {"set_request_headers": {"host": "x"}},
        {"set_request_headers": {"a b": "x"}},
        {"set_request_headers": {"x": "1"}, "remove_request_headers": ("x",)},
        {"set_request_headers": {"x": "{secret.key}"}},
        {"set_query_parameters": {"q": "1"}, "remove_query_parameters": ("q",)},
        {"append_response_headers": {"transfer-encoding": "chunked"}},
    ],
)
def test_mutations_that_would_not_do_what_they_say_are_refused_at_start(broken):
    with pytest.raises(ConfigError):
        Encoder(ResponseSettings(mutations={"m": MutationSettings(**broken)}))


def test_an_unknown_set_in_always_is_refused_at_start():
    with pytest.raises(ConfigError, match="nope"):
        Encoder(ResponseSettings(always=("nope",)))


@pytest.mark.parametrize("prefix", ["", "x-authz", "X-Authz-", "x_authz_", "-"])
def test_a_statement_prefix_that_would_strip_too_much_is_refused_at_start(prefix):
    with pytest.raises(ConfigError, match="statement_prefix"):
        Encoder(ResponseSettings(statement_prefix=prefix))


def test_an_allow_remembered_for_one_call_is_never_the_answer_to_another():
    """One encoder that remembers, asked for calls that differ in one thing, beside a new one for each."""
    settings = ResponseSettings(
        mutations={
            "who": MutationSettings(set_request_headers={"x-team": "{sub.team}"}, set_query_parameters={"q": "1"}),
            "none": MutationSettings(remove_request_headers=("cookie",)),
        }
    )
    one = outcome(Reason.ALLOWED, obligations=(("apply", "who"),))
    decision, call = one.decision, one.call
    rule = RuleRef("p", "policy.csv", 4, "p, x")
    task = msgspec.structs.replace(one.asked, task={"id": "t2", "purpose": ""})
    team = msgspec.structs.replace(one.request, sub={"id": SUBJECT.id, "team": "blue"})
    others = [
        {"decision_id": "d2"},
        {"asked": task},
        {"request": team},
        {"subject": Subject(id="spiffe://td/b")},
        {"decision": msgspec.structs.replace(decision, policy_version="v2")},
        {"decision": msgspec.structs.replace(decision, rule=rule)},
        {"decision": msgspec.structs.replace(decision, obligations=(("apply", "none"),))},
        {"decision": msgspec.structs.replace(decision, obligations=())},
        {"call": CheckCall(layer="tcp")},
        {"call": msgspec.structs.replace(call, path="")},
        {"call": msgspec.structs.replace(call, headers={"x-authz-forged": "1"})},
    ]
    remembering = Encoder(settings)
    answers = set()
    for changed in ({}, *others, {}, *others):
        each = msgspec.structs.replace(one, **changed)
        octets = remembering.allow(each)
        fresh = Encoder(settings).allow(each)
        assert CheckResponse.FromString(octets) == CheckResponse.FromString(fresh)
        answers.add(CheckResponse.FromString(octets).SerializeToString(deterministic=True))
    assert len(answers) == len(others) + 1
