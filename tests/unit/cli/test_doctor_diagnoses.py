"""What the doctor concludes, for an Envoy that does everything right but one thing."""

from collections.abc import Callable

import msgspec
import pytest

from authz.cli.diagnoses import Finding, State
from authz.cli.doctor import exit_code, run_doctor
from authz.cli.probing import PREFIX, Observed, Probe, Reply

PLANNER = "spiffe://demo.internal/ns/agents/sa/planner"
SETTLED = {"x/../y": "y", "x/%2e%2e/y": "y", "x\\y": "x/y", "x/..;/y": "y", "x//y": "x/y"}
REFUSED_BY_ENVOY = {"x%2fy", "x%5cy"}
REFUSED_BY_PDP = {"x;y=1/z": "path_parameter", "x%252fy": "path_encoded_percent"}
LIMIT = 65536
BAD_REQUEST = Reply(status=400)


class GoodEnvoy:
    """Answers as the shipped configuration does, with a PDP behind it that answers probes."""

    identity = PLANNER
    encrypted = True
    strangers = False

    def send(self, probe: Probe) -> Reply:
        if len(probe.body) > LIMIT:
            return Reply(status=413)
        if probe.suffix in REFUSED_BY_ENVOY or any("_" in name for name in probe.headers):
            return BAD_REQUEST
        return self.seen(probe, SETTLED.get(probe.suffix, probe.suffix))

    def seen(self, probe: Probe, suffix: str, **more: object) -> Reply:
        observed = Observed(
            path=f"{PREFIX}/{probe.nonce}/{suffix}",
            canonical_path=f"{PREFIX}/{probe.nonce}/{suffix}",
            refusal=REFUSED_BY_PDP.get(suffix, ""),
            scheme="https" if self.encrypted else "http",
            subject=self.identity,
            certificate=True,
            raw_headers=True,
            nonce_headers=(":path",),
            body_bytes=len(probe.body),
            body_sha256=probe.body_sha256,
        )
        return Reply(status=403, reason="doctor_probe", observed=msgspec.structs.replace(observed, **more))

    def admits_strangers(self) -> bool:
        return self.strangers


class Flawed(GoodEnvoy):
    """A good Envoy but for what `flaw` answers; None: as the good one."""

    def __init__(self, flaw: Callable[[GoodEnvoy, Probe], Reply | None]) -> None:
        self._flaw = flaw

    def send(self, probe: Probe) -> Reply:
        return self._flaw(self, probe) or super().send(probe)


def verbatim(suffix: str) -> Callable[[GoodEnvoy, Probe], Reply | None]:
    return lambda envoy, probe: envoy.seen(probe, suffix) if probe.suffix == suffix else None


def passes(name: str) -> Callable[[GoodEnvoy, Probe], Reply | None]:
    return lambda envoy, probe: (
        envoy.seen(probe, "plain", nonce_headers=(":path", name)) if name in probe.headers else None
    )


def sees(**changed: object) -> Callable[[GoodEnvoy, Probe], Reply | None]:
    """Every probe that arrives is seen with these changes."""

    def flaw(envoy: GoodEnvoy, probe: Probe) -> Reply | None:
        reply = GoodEnvoy.send(envoy, probe)
        if reply.observed is None:
            return reply
        return msgspec.structs.replace(reply, observed=msgspec.structs.replace(reply.observed, **changed))

    return flaw


def cuts_bodies(envoy: GoodEnvoy, probe: Probe) -> Reply | None:
    if len(probe.body) > LIMIT:
        return envoy.seen(probe, "plain", body_bytes=LIMIT, body_partial=True)
    return None


def trusts_the_scheme(envoy: GoodEnvoy, probe: Probe) -> Reply | None:
    claimed = probe.headers.get("x-forwarded-proto")
    return envoy.seen(probe, "plain", scheme=claimed) if claimed else None


FLAWS = {
    "path-dot-segments": (verbatim("x/../y"), "normalize_path"),
    "path-encoded-dots": (verbatim("x/%2e%2e/y"), "normalize_path"),
    "path-backslash": (verbatim("x\\y"), "normalize_path"),
    "path-dots-with-parameter": (verbatim("x/..;/y"), "CVE-2026-73551"),
    "path-double-slash": (verbatim("x//y"), "merge_slashes"),
    "path-encoded-slash": (verbatim("x%2fy"), "REJECT_REQUEST"),
    "path-encoded-backslash": (verbatim("x%5cy"), "REJECT_REQUEST"),
    "xfcc": (passes("x-forwarded-client-cert"), "SANITIZE_SET"),
    "statements": (passes("x-authz-subject"), "early_header_mutation_extensions"),
    "underscores": (passes("x_authz_subject"), "headers_with_underscores_action"),
    "request-id": (passes("x-request-id"), "use_remote_address"),
    "proxy-headers": (passes("x-envoy-original-path"), "use_remote_address"),
    "scheme": (trusts_the_scheme, "use_remote_address"),
    "identity": (sees(subject="spiffe://demo.internal/ns/edge/sa/envoy"), "require_client_certificate"),
    "peer-certificate": (sees(certificate=False), "include_peer_certificate"),
    "raw-headers": (sees(raw_headers=False), "encode_raw_headers"),
    "body": (sees(body_sha256="0" * 64), "pack_as_bytes"),
    "body-limit": (cuts_bodies, "allow_partial_message"),
}


def states(findings: list[Finding], state: State) -> list[str]:
    return [finding.check for finding in findings if finding.state is state]


def test_an_envoy_that_does_everything_right_has_no_problem_and_one_open_question():
    findings = run_doctor(GoodEnvoy())
    assert states(findings, State.PROBLEM) == []
    assert states(findings, State.UNKNOWN) == ["fail-closed"]
    assert set(FLAWS) < set(states(findings, State.OK))
    assert exit_code(findings) == 0


@pytest.mark.parametrize("check", FLAWS)
def test_each_flaw_is_found_alone_and_the_advice_names_the_setting(check):
    flaw, setting = FLAWS[check]
    findings = run_doctor(Flawed(flaw))
    assert states(findings, State.PROBLEM) == [check]
    (found,) = [finding for finding in findings if finding.check == check]
    assert setting in found.advice
    assert exit_code(findings) == 1


def test_without_bodies_there_is_nothing_to_say_about_their_limit():
    findings = run_doctor(Flawed(sees(body_bytes=0, body_sha256="")))
    assert states(findings, State.PROBLEM) == ["body"]
    assert "body-limit" not in [finding.check for finding in findings]


@pytest.mark.parametrize("half", ["x/../y", "x/y", "x/%2E%2E/y"])
def test_a_path_that_is_changed_into_something_else_is_a_problem_too(half):
    flaw = lambda envoy, probe: envoy.seen(probe, half) if probe.suffix == "x/%2e%2e/y" else None  # noqa: E731 - shorter
    assert states(run_doctor(Flawed(flaw)), State.PROBLEM) == ["path-encoded-dots"]


def test_a_redirect_to_one_spelling_is_as_good_as_a_refusal():
    flaw = lambda _envoy, probe: Reply(status=307) if probe.suffix == "x%2fy" else None  # noqa: E731 - shorter
    assert states(run_doctor(Flawed(flaw)), State.PROBLEM) == []


def test_a_path_that_the_pdp_would_read_is_for_the_operator_to_judge():
    flaw = lambda envoy, probe: envoy.seen(probe, probe.suffix, refusal="") if ";" in probe.suffix else None  # noqa: E731 - shorter
    assert "path-parameter" in states(run_doctor(Flawed(flaw)), State.UNKNOWN)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=403, reason="no_matching_rule"),
        Reply(status=200, from_upstream=True),
        Reply(status=404),
        Reply(status=503),
    ],
)
def test_a_pdp_that_does_not_answer_probes_leaves_nothing_to_conclude(reply):
    findings = run_doctor(Flawed(lambda _envoy, _probe: reply))
    assert findings[0].check == "pdp"
    assert findings[0].state is State.UNKNOWN
    assert findings[0].advice
    assert [finding.check for finding in findings[1:]] == ["client-certificate", "fail-closed"]
    assert exit_code(findings) == 2


def test_callers_without_certificate_are_pointed_out():
    envoy = GoodEnvoy()
    envoy.strangers = True
    assert "client-certificate" in states(run_doctor(envoy), State.UNKNOWN)


def test_without_a_certificate_of_its_own_the_doctor_says_what_it_cannot_tell():
    envoy = GoodEnvoy()
    envoy.identity = ""
    assert states(run_doctor(envoy), State.UNKNOWN) == ["identity", "client-certificate", "fail-closed"]


@pytest.mark.parametrize(
    ("reply", "state", "code"),
    [
        (Reply(status=503), State.OK, 0),
        (Reply(status=403), State.OK, 0),
        (Reply(status=200), State.PROBLEM, 1),
        (Reply(status=404, from_upstream=True), State.PROBLEM, 1),
        (Reply(status=503, from_upstream=True), State.PROBLEM, 1),
        (Reply(status=404), State.PROBLEM, 1),
        (Reply(status=403, reason="no_matching_rule"), State.UNKNOWN, 2),
    ],
)
def test_with_the_pdp_stopped_only_a_denial_by_the_proxy_is_right(reply, state, code):
    findings = run_doctor(Flawed(lambda _envoy, _probe: reply), pdp_stopped=True)
    assert [finding.state for finding in findings] == [state]
    assert exit_code(findings) == code
