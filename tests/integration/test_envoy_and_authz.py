"""Real Envoy, real `authz serve`, the shipped policies: the whole way from a TLS handshake to an audit record."""

import json
import re
from collections.abc import Callable, Iterator

import grpc
import pytest
from harness.clients import Answer
from harness.guarded import ECHO, Guarded, a_guarded

pytestmark = pytest.mark.envoy

PLANNER = "spiffe://demo.internal/ns/agents/sa/planner"
BILLING = "spiffe://demo.internal/ns/payments/sa/billing"
TCP_REQUEST = b"GET /%s HTTP/1.1\r\nhost: up\r\nconnection: close\r\n\r\n"
# Every way in which Envoy can be put to authz, and authz can be run.
WAYS = {
    "unix, h2corn": {},
    "mutual TLS, h2corn": {"over_tcp": True},
    "unix, grpc.aio": {"environment": {"AUTHZ__SERVER__TRANSPORT": "grpc.aio"}},
    "mutual TLS, grpc.aio": {"over_tcp": True, "environment": {"AUTHZ__SERVER__TRANSPORT": "grpc.aio"}},
}


@pytest.fixture(scope="module")
def ways(pki_directory, upstream) -> Iterator[Callable[[str], Guarded]]:
    """Each way made once, whatever the order of the tests."""
    made: dict[str, Guarded] = {}

    def way(name: str) -> Guarded:
        if name not in made:
            made[name] = Guarded(pki_directory, upstream, **WAYS[name])
        return made[name]

    yield way
    for one in made.values():
        one.stop()


@pytest.fixture(params=WAYS)
def each_way(request, ways) -> Guarded:
    return ways(request.param)


# --- Every protocol, over every way -----------------------------------------------------------------------------------


def test_http1_is_allowed_and_denied(each_way, mark):
    assert each_way.caller("planner").get(f"/v1/accounts/{mark}").status == 200
    assert each_way.caller("stranger").get(f"/v1/accounts/{mark}-2").status == 403
    assert len(each_way.upstream.saw(mark)) == 1


def test_http2_is_allowed_and_denied(each_way, mark):
    path = f"/v1/accounts/{mark}".encode()
    assert each_way.caller("planner").h2(path).status == 200
    assert each_way.caller("stranger").h2(path + b"-2").status == 403
    assert len(each_way.upstream.saw(mark)) == 1


def test_grpc_is_allowed_and_denied(each_way):
    assert json.loads(each_way.caller("planner").grpc(ECHO, b"hi"))["target"] == ECHO
    with pytest.raises(grpc.RpcError) as error:
        each_way.caller("stranger").grpc(ECHO)
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_websocket_is_allowed_and_denied(each_way, mark):
    assert each_way.caller("planner").websocket(f"/test/{mark}", "hi") == "echo: hi"
    refused = each_way.caller("stranger").websocket(f"/test/{mark}-2", "hi")
    assert isinstance(refused, Answer)
    assert refused.status == 403
    assert len(each_way.upstream.saw(mark)) == 1


def test_a_tcp_connection_is_allowed_and_denied(each_way, mark):
    assert mark.encode() in each_way.tcp_caller("billing").tcp(TCP_REQUEST % mark.encode())
    assert each_way.tcp_caller("planner").tcp(TCP_REQUEST % mark.encode() + b"-2") == b""
    assert len(each_way.upstream.saw(mark)) == 1


# --- What a denied client is told -------------------------------------------------------------------------------------


def test_a_denial_is_problem_details_with_the_id_of_the_decision(guarded):
    answer = guarded.caller("planner").post("/v1/payments", b"{}")
    assert answer.status == 403
    assert answer.header("content-type") == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 403
    assert problem["decision_id"] == answer.header("x-authz-decision-id")
    assert guarded.record(problem["decision_id"])["reason"] == "denied_by_rule"


def test_a_denied_grpc_client_is_told_by_grpc_status_and_not_by_a_body(guarded):
    with pytest.raises(grpc.RpcError) as error:
        guarded.caller("stranger").grpc(ECHO)
    trailers = dict(error.value.trailing_metadata() or ()) | dict(error.value.initial_metadata() or ())
    assert "{" not in (error.value.details() or "")
    assert guarded.record(trailers["x-authz-decision-id"])["reason"] == "no_matching_rule"


def test_nobody_is_told_what_a_rule_says(guarded):
    policy = guarded.policy.read_text()
    names = re.findall(r"^p, ([a-z-]+),", policy, re.MULTILINE)
    answer = guarded.caller("researcher").get("/v1/accounts/1/cards/2")
    told = answer.body.decode() + str(answer.headers)
    assert names
    assert not [name for name in names if name in told]


# --- Who calls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("foreign", 403, "trust_domain_not_allowed"),
        ("two-uris", 401, "certificate_two_uri_sans"),
        ("stranger", 403, "no_matching_rule"),
    ],
)
def test_an_identity_that_may_not_is_refused_with_its_reason(guarded, mark, name, status, reason):
    for answer in (
        guarded.caller(name).get(f"/v1/accounts/{mark}"),
        guarded.caller(name).h2(f"/v1/accounts/{mark}".encode()),
    ):
        assert answer.status == status
        assert guarded.reason(answer.request_id) == reason
    assert guarded.tcp_caller(name).tcp(TCP_REQUEST % mark.encode()) == b""
    assert guarded.upstream.saw(mark) == []


def test_without_any_identity_there_is_a_401_with_a_challenge(pki_directory, upstream, mark):
    # The shipped Envoy never lets such a caller get so far; one that takes callers with tokens does.
    with a_guarded(pki_directory, upstream, change=_certificates_optional(pki_directory)) as made:
        answer = made.caller(None).get(f"/v1/accounts/{mark}")
        assert answer.status == 401
        assert answer.header("www-authenticate")
        assert made.reason(answer.request_id) == "identity_missing"
        assert made.caller("planner").get(f"/v1/accounts/{mark}-2").status == 200
    assert len(upstream.saw(mark)) == 1


def test_a_foreign_ca_cannot_speak_for_this_trust_domain_even_where_envoy_lets_it(pki_directory, upstream, mark):
    # The plain validator with both CAs in one list takes the impostor for billing; the PDP does not.
    with a_guarded(pki_directory, upstream, change=_certificates_optional(pki_directory, "both.pem")) as made:
        both = (pki_directory / "ca.pem").read_bytes() + (pki_directory / "foreign-ca.pem").read_bytes()
        assert (pki_directory / "both.pem").read_bytes() == both
        answer = made.caller("impostor").post(f"/v1/payments?{mark}", b"{}")
        assert answer.status == 401
        assert made.reason(answer.request_id) == "certificate_untrusted"
    assert upstream.saw(mark) == []


def _certificates_optional(pki_directory, bundle: str = "ca.pem"):
    both = (pki_directory / "ca.pem").read_bytes() + (pki_directory / "foreign-ca.pem").read_bytes()
    (pki_directory / "both.pem").write_bytes(both)

    def change(bootstrap: str) -> str:
        plain = f'trusted_ca: {{filename: "{pki_directory}/{bundle}"}}\n      filters:'
        loosened = re.sub(r"custom_validator_config:.*?      filters:", plain, bootstrap, count=1, flags=re.DOTALL)
        assert loosened != bootstrap
        return loosened.replace("require_client_certificate: true", "require_client_certificate: false")

    return change


# --- What a caller may not say about itself ---------------------------------------------------------------------------


def test_the_upstream_is_told_who_calls_and_what_was_decided_whatever_the_caller_says(guarded):
    forged = [("x-authz-subject", BILLING), ("x-authz-decision-id", "forged"), ("x-authz-role", "admin")]
    answer = guarded.caller("planner").get("/v1/accounts/42", forged)
    (decision_id,) = answer.upstream_got("x-authz-decision-id")
    assert answer.upstream_got("x-authz-subject") == [PLANNER]
    assert answer.upstream_got("x-authz-role") == []
    assert guarded.record(decision_id)["subject"]["id"] == PLANNER


def test_forged_statements_do_not_arrive_even_where_envoy_does_not_remove_them(pki_directory, upstream):
    with a_guarded(pki_directory, upstream, change=lambda text: text.replace('"x-authz-"', '"x-other-"')) as made:
        forged = [("x-authz-subject", BILLING), ("x-authz-role", "admin")]
        answer = made.caller("planner").get("/v1/accounts/42", forged)
        assert answer.upstream_got("x-authz-subject") == [PLANNER]
        assert answer.upstream_got("x-authz-role") == []


@pytest.mark.parametrize("mode", ["APPEND_FORWARD", "ALWAYS_FORWARD_ONLY"])  # SANITIZE_SET is the demo's case
def test_a_spoofed_x_forwarded_client_cert_makes_nobody_somebody_else(pki_directory, upstream, mark, mode):
    change = lambda text: text.replace("details: SANITIZE_SET", f"details: {mode}")  # noqa: E731 - shorter
    spoofed = f"By=spiffe://demo.internal/ns/edge/sa/envoy;Hash={'0' * 64};URI={BILLING}"
    with a_guarded(pki_directory, upstream, change=change) as made:
        answer = made.caller("planner").get(f"/v1/payments?{mark}", [("x-forwarded-client-cert", spoofed)], "POST")
        assert answer.status == 403
        assert made.record(answer.json()["decision_id"])["subject"]["id"] == PLANNER
    assert upstream.saw(mark) == []


# --- One reading of a path --------------------------------------------------------------------------------------------

# What planner may not have (payments), and may (accounts), by detours. `MARK` finds the request at the upstream.
DETOURS = {
    "/v1/accounts/../payments/MARK": (403, "denied_by_rule"),
    "/v1/accounts/%2e%2e/payments/MARK": (403, "denied_by_rule"),
    "/v1/accounts/..;/payments/MARK": (403, "denied_by_rule"),
    "/v1//payments/MARK": (403, "denied_by_rule"),
    "/v1/accounts\\..\\payments/MARK": (403, "denied_by_rule"),
    "/v1/accounts/MARK;x=1": (400, "path_parameter"),
    "/v1/accounts/MARK%3bx": (400, "path_parameter"),
    "/v1/accounts/%252e%252e/payments/MARK": (400, "path_encoded_percent"),
    "/v1/accounts/%c0%ae%c0%ae/payments/MARK": (400, "path_bad_utf8"),
    "/v1/accounts/%3f/MARK": (400, "path_encoded_delimiter"),
    "/v1/payments/MARK?/v1/accounts/42": (403, "denied_by_rule"),
    "/V1/accounts/MARK": (403, "no_matching_rule"),
}


@pytest.mark.parametrize(("path", "status", "reason"), [(path, *told) for path, told in DETOURS.items()])
def test_no_detour_leads_to_what_is_denied(guarded, mark, path, status, reason):
    answer = guarded.caller("planner").get(path.replace("MARK", mark))
    assert answer.status == status
    assert guarded.reason(answer.request_id) == reason
    assert guarded.upstream.saw(mark) == []


def test_without_normalisation_in_envoy_authz_refuses_what_has_two_readings(pki_directory, upstream, mark):
    raw = {
        "normalize_path: true": "normalize_path: false",
        "merge_slashes: true": "merge_slashes: false",
        "action: REJECT_REQUEST\n          # One": "action: KEEP_UNCHANGED\n          # One",
    }

    def change(bootstrap: str) -> str:
        for good, bad in raw.items():
            assert good in bootstrap
            bootstrap = bootstrap.replace(good, bad)
        return bootstrap

    expected = {
        "/v1/accounts/../payments": "path_dot_segment",
        "/v1/accounts/%2e%2e/payments": "path_encoded_dot",
        "/v1/accounts%2f..%2fpayments": "path_encoded_slash",
        "/v1//accounts": "path_empty_segment",
        "/v1/accounts\\x": "path_backslash",
        "/v1/accounts/%00": "path_control_character",
    }
    with a_guarded(pki_directory, upstream, change=change) as made:
        for path, reason in expected.items():
            answer = made.caller("planner").get(f"{path}?{mark}")
            assert (answer.status, made.reason(answer.request_id)) == (400, reason)
        raw_bytes = made.caller("planner").h2(b"/v1/accounts/\xff\xfe")
        assert raw_bytes.status == 400
    assert upstream.saw(mark) == []


def test_header_bytes_that_are_not_utf8_are_refused(guarded):
    answer = guarded.caller("planner").h2(b"/v1/accounts/42", [(b"x-thing", b"\xff")])
    assert answer.status == 400
    assert guarded.reason(answer.request_id) == "header_malformed"


# --- Bodies -----------------------------------------------------------------------------------------------------------


def test_an_allowed_body_arrives_whole(guarded):
    body = bytes(range(256)) * 256
    answer = guarded.caller("billing").post("/v1/payments", body)
    assert answer.json()["body_bytes"] == 65536
    (decision_id,) = answer.upstream_got("x-authz-decision-id")
    assert guarded.record(decision_id)["action"]["size"] == 65536


def test_a_body_over_the_limit_is_refused_and_no_part_of_it_decided_upon(guarded, mark):
    assert guarded.caller("billing").post(f"/v1/payments?{mark}", b"x" * 65537).status == 413
    assert guarded.upstream.saw(mark) == []


# --- What is written down ---------------------------------------------------------------------------------------------


def test_access_log_and_audit_trail_tell_the_same_story(guarded):
    answer = guarded.caller("planner").get("/v1/accounts/42?secret=hunter2")
    logged = guarded.world.logged(answer.request_id)
    record = guarded.record(logged["authz"]["decision_id"])
    assert logged["authz"]["principal"] == record["subject"]["id"] == PLANNER
    assert logged["authz"]["reason"] == record["reason"] == "allowed"
    assert logged["authz"]["rule"] == record["rule"]["id"]
    assert logged["authz"]["policy_version"] == record["policy_version"] != ""
    assert record["request_id"] == answer.request_id
    assert record["action"]["path"] == "/v1/accounts/42"
    assert "hunter2" not in json.dumps(record) + json.dumps(logged)


def test_a_tcp_decision_is_in_envoys_access_log_too(guarded):
    guarded.tcp_caller("researcher").tcp(b"hello")
    logged = guarded.world.access_log(
        lambda entry: entry["protocol"] == "tcp" and "researcher" in (entry["authz"] or {}).get("principal", "")
    )
    assert logged["authz"]["reason"] == "no_matching_rule"
    assert guarded.record(logged["authz"]["decision_id"])["effect"] == "deny"
