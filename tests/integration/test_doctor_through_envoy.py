"""`authz doctor` through a real Envoy: as shipped, and with one setting at a time made worse."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.doctor_pdp import observe
from harness.stub_pdp import deny
from harness.world import Upstream, World, stubbed

from authz.cli.diagnoses import Finding, State
from authz.cli.doctor import run_doctor
from authz.cli.http_door import HttpDoor
from authz.errors import AuthzError

pytestmark = pytest.mark.envoy

WITHOUT_REQUEST_ID_RESET = ("preserve_external_request_id: false", "preserve_external_request_id: true")
WEAKENED = {
    "path-dot-segments path-encoded-dots path-backslash path-dots-with-parameter": (
        "normalize_path: true",
        "normalize_path: false",
    ),
    "path-double-slash": ("merge_slashes: true", "merge_slashes: false"),
    "path-encoded-slash path-encoded-backslash": (
        "action: REJECT_REQUEST\n          # One",
        "action: KEEP_UNCHANGED\n          # One",
    ),
    "statements": ('prefix: "x-authz-"', 'prefix: "x-other-"'),
    "underscores": ("headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: ALLOW"),
    "request-id": WITHOUT_REQUEST_ID_RESET,
    "scheme request-id proxy-headers": ("use_remote_address: true", "use_remote_address: false"),
    "request-id proxy-headers": ("xff_num_trusted_hops: 0", "internal_address_config: {}"),
    "xfcc": ("details: SANITIZE_SET", "details: APPEND_FORWARD"),
    "peer-certificate": (
        "include_peer_certificate: true\n              inc",
        "include_peer_certificate: false\n              inc",
    ),
    "raw-headers": ("encode_raw_headers: true", "encode_raw_headers: false"),
    "body": ("pack_as_bytes: true", "pack_as_bytes: false"),
    "body-limit": (
        "max_request_bytes: 65536\n                allow_partial_message: false",
        "max_request_bytes: 8192\n                allow_partial_message: true",
    ),
}


def door_of(world: World, name: str | None = "doctor", **more: str) -> HttpDoor:
    pki = world.pki
    files = {"cert": pki / f"{name}.pem", "key": pki / f"{name}.key"} if name else {}
    return HttpDoor(f"https://localhost:{world.envoy.ports['edge']}", ca=pki / "ca.pem", **files, **more)


def found(findings: list[Finding], state: State) -> set[str]:
    return {finding.check for finding in findings if finding.state is state}


def test_the_shipped_configuration_has_no_problem(world, stub):
    stub.answer = observe
    findings = run_doctor(door_of(world))
    assert found(findings, State.PROBLEM) == set()
    assert found(findings, State.UNKNOWN) == {"fail-closed"}


@contextmanager
def weakened(pki_directory: Path, upstream: Upstream, change: Callable[[str], str]) -> Iterator[World]:
    with stubbed(pki_directory, upstream, change=change) as (world, stub):
        stub.answer = observe
        yield world


@pytest.mark.parametrize("checks", WEAKENED)
def test_each_weakened_setting_is_found(pki_directory, upstream, checks):
    good, bad = WEAKENED[checks]

    def change(bootstrap: str) -> str:
        assert good in bootstrap
        return bootstrap.replace(good, bad)

    with weakened(pki_directory, upstream, change) as world:
        assert found(run_doctor(door_of(world)), State.PROBLEM) == set(checks.split())


def test_an_optional_client_certificate_is_pointed_out(pki_directory, upstream):
    # The SPIFFE validator of Envoy 1.40 refuses callers without a certificate in any case; the plain one does not.
    def optional(bootstrap: str) -> str:
        plain = f'trusted_ca: {{filename: "{pki_directory}/ca.pem"}}\n      filters:'
        loosened = re.sub(r"custom_validator_config:.*?      filters:", plain, bootstrap, count=1, flags=re.DOTALL)
        assert loosened != bootstrap
        return loosened.replace("require_client_certificate: true", "require_client_certificate: false")

    with weakened(pki_directory, upstream, optional) as world:
        assert "client-certificate" in found(run_doctor(door_of(world)), State.UNKNOWN)


def test_a_pdp_that_knows_no_doctor_leaves_it_at_that(world, stub):
    stub.answer = deny
    assert run_doctor(door_of(world))[0].state is State.UNKNOWN


def test_without_its_certificate_the_doctor_does_not_get_in(world, stub):
    with pytest.raises(AuthzError, match="give --cert and --key"):
        run_doctor(door_of(world, None))


def test_a_server_of_another_identity_is_not_probed(world, stub):
    stub.answer = observe
    run_doctor(door_of(world, server_id="spiffe://demo.internal/ns/edge/sa/envoy"))
    asked = len(stub.requests)
    with pytest.raises(AuthzError, match="is not"):
        run_doctor(door_of(world, server_id="spiffe://demo.internal/ns/edge/sa/other"))
    assert len(stub.requests) == asked


def test_with_the_pdp_stopped_a_fail_closed_envoy_lets_nothing_through(pki_directory, upstream):
    world = World(pki_directory, upstream)
    try:
        assert found(run_doctor(door_of(world), pdp_stopped=True), State.OK) == {"fail-closed"}
    finally:
        world.stop()


def test_with_the_pdp_stopped_a_fail_open_envoy_is_found(pki_directory, upstream):
    world = World(
        pki_directory,
        upstream,
        change=lambda text: text.replace("failure_mode_allow: false", "failure_mode_allow: true"),
    )
    try:
        assert found(run_doctor(door_of(world), pdp_stopped=True), State.PROBLEM) == {"fail-closed"}
    finally:
        world.stop()
