"""Defects that let somebody in, or fell over, in peers of this server: none of them here."""

import base64
import json
import pathlib
import sys
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from authz.composition import Composition
from authz.config.file import load
from authz.config.settings import Config
from authz.errors import PolicyError, Reason

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "envoy"))
import pki  # noqa: E402 - lies beside the Envoy configuration, which is no package

NOW = datetime(2026, 11, 24, tzinfo=UTC)
AUTHORITY = pki.Authority("demo.internal", NOW)
PLANNER = pki.WORKLOADS["planner"]
SVID = AUTHORITY.issue(PLANNER)
PEM = SVID.certificate.decode()
ALLOW_PLANNER = f"p, planner, r.sub.id == '{PLANNER}', /v1/*, *, allow,\n"


@pytest.fixture
def decide(tmp_path):
    def run(policy=ALLOW_PLANNER, settings="", *, path="/v1/a", headers=None, certificate=PEM, principal=PLANNER):
        (tmp_path / "policy.csv").write_text(policy)
        (tmp_path / "authz.toml").write_text(
            f'[identity]\ntrust_domain = "demo.internal"\n{settings}\n'
            f'[policy]\nmodel = "{ROOT}/policies/model.conf"\npolicies = ["policy.csv"]\n'
        )
        request = CheckRequest()
        request.attributes.source.principal = principal
        request.attributes.source.certificate = certificate if "%" in certificate else quote(certificate, safe="")
        http = request.attributes.request.http
        http.method, http.host, http.path = "GET", "h", path
        for name, value in (headers or {}).items():
            http.headers[name] = value
        composition = Composition(load(tmp_path / "authz.toml", Config, {}), tmp_path)
        return composition.decide_once(request.SerializeToString(), NOW.timestamp())

    return run


def reason(decided):
    return decided[0].decision.reason


def test_the_planner_is_let_in_so_that_the_rest_means_something(decide):
    assert reason(decide()) is Reason.ALLOWED


@pytest.mark.parametrize(
    "value", ["", "Basic", "Basic !!!", "Bearer", "Bearer a.b", base64.b64encode(b"\xff").decode(), "Basic " + "A" * 9]
)
def test_no_authorization_header_however_odd_kills_or_admits(decide, value):
    assert reason(decide(headers={"authorization": value})) is Reason.ALLOWED
    assert reason(decide(headers={"authorization": value}, certificate="", principal="")) is Reason.IDENTITY_MISSING


def test_an_identity_that_is_only_claimed_is_none(decide):
    token = base64.urlsafe_b64encode(json.dumps({"name": PLANNER}).encode()).decode()
    assert reason(decide(headers={"authorization": f"Bearer {token}"}, certificate="", principal="")) is (
        Reason.IDENTITY_MISSING
    )


def test_a_request_that_no_rule_speaks_of_is_a_denied_response_not_an_error(decide):
    outcome, response = decide(path="/other")
    assert outcome.decision.reason is Reason.NO_MATCHING_RULE
    assert response.HasField("denied_response")
    assert response.status.code == 7


def test_what_went_wrong_inside_is_not_told_to_the_client(decide):
    rule = "p, broken, r.sub.labels.secret_label == 'x', /v1/*, *, allow,\n"
    outcome, response = decide(rule)
    assert outcome.decision.reason is Reason.RULE_ERROR
    assert "secret_label" not in str(response)


@pytest.mark.parametrize("first", [True, False])
def test_a_deny_rule_that_errs_does_not_vanish(decide, first):
    errs = "p, errs, r.sub.labels.absent == 'x', /v1/*, *, deny,\n"
    rules = errs + ALLOW_PLANNER if first else ALLOW_PLANNER + errs
    assert reason(decide(rules)) is Reason.RULE_ERROR


def test_an_empty_rule_set_is_refused_or_denies(decide):
    with pytest.raises(PolicyError):
        decide("")
    assert reason(decide("# nobody may do anything\n")) is Reason.NO_MATCHING_RULE


def test_a_rule_is_data_and_cannot_rewrite_the_matcher(decide):
    with pytest.raises(PolicyError):
        decide("p, evil, True) or (True, /v1/*, *, allow,\n")


@pytest.mark.parametrize("path", ["//v1/a", "/v1//a", "/v1/a;x=1", "/v1/..;/a", "/v1/%2e%2e/a", "/v1%2fa", "/v1/a%00"])
def test_no_spelling_of_a_path_gets_past_the_rules(decide, path):
    outcome, response = decide("p, all, True, *, *, allow,\n", path=path)
    assert outcome.decision.reason.value.startswith("path_")
    assert response.denied_response.status.code == 400


@pytest.mark.parametrize(
    "header",
    [
        f"By=spiffe://demo.internal/p;URI={PLANNER},By=spiffe://demo.internal/p;URI=spiffe://demo.internal/ns/x/sa/low",
        f'By=spiffe://demo.internal/p;Subject="unbalanced;URI={PLANNER}',
        f"URI={PLANNER};URI=spiffe://demo.internal/ns/x/sa/low",
        f"garbage;URI={PLANNER}",
        f'[{{"uri": "{PLANNER}"}}]',
    ],
)
def test_a_forged_client_certificate_header_is_not_believed(decide, header):
    settings = 'require_certificate = false\nxfcc = { mode = "append_forward" }'
    found = reason(decide(settings=settings, headers={"x-forwarded-client-cert": header}, certificate="", principal=""))
    assert found is not Reason.ALLOWED
    assert found.value.startswith(("xfcc_", "certificate_two"))


def test_an_escaped_quote_inside_a_quoted_value_is_part_of_it(decide):
    settings = 'require_certificate = false\nxfcc = { mode = "sanitize_set" }'
    header = f'By=spiffe://demo.internal/p;Subject="CN=a\\";URI=spiffe://demo.internal/forged";URI={PLANNER}'
    outcome, _ = decide(settings=settings, headers={"x-forwarded-client-cert": header}, certificate="", principal="")
    assert outcome.subject.id == PLANNER


def test_a_plus_in_the_certificates_base64_is_a_plus(decide):
    # A decoder of forms makes a blank of it. Envoy escapes it, but another proxy may not.
    encoded = quote(PEM, safe="+")
    assert "+" in encoded
    assert reason(decide(certificate=encoded)) is Reason.ALLOWED


def test_of_two_certificates_none_is_picked(decide):
    other = AUTHORITY.issue(pki.WORKLOADS["billing"]).certificate.decode()
    assert reason(decide(certificate=PEM + other)) is Reason.CERTIFICATE_MALFORMED
    assert reason(decide(certificate=other + PEM)) is Reason.CERTIFICATE_MALFORMED


def test_a_subject_that_spells_an_identity_is_none(decide):
    assert reason(decide(certificate="", principal=f"CN={PLANNER}")) is Reason.PRINCIPAL_WITHOUT_CERTIFICATE
    settings = "require_certificate = false"
    assert reason(decide(settings=settings, certificate="", principal=f"CN={PLANNER}")) is Reason.PRINCIPAL_MALFORMED
