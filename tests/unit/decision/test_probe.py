"""Probes of `authz doctor` are always denied, and answered only to whom configuration names."""

import json

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from pdp_world import World

from authz.decision.probe import DoctorPoint, DoctorSettings
from authz.errors import Reason, Refusal

NONCE = "0123456789abcdef" * 2
PREFIX = "/.well-known/authz-doctor"
DOCTOR = "spiffe://td/a"


def ask(world, path, *, identities=(DOCTOR,), headers=None, body=b""):
    request = CheckRequest()
    http = request.attributes.request.http
    http.method, http.host, http.path, http.raw_body = "GET", "h", path, body
    for name, value in (headers or {}).items():
        http.header_map.headers.add(key=name, raw_value=value)
    point = DoctorPoint(DoctorSettings(enabled=True, identities=identities), world.parts, world.codec, world.checker)
    return CheckResponse.FromString(point.check(request.SerializeToString(), 60.0))


def test_a_probe_is_denied_and_told_what_was_seen_of_it():
    world = World()
    xfcc = b"Hash=" + b"ab" * 32 + b",Hash=" + b"cd" * 32
    headers = {"x-authz-subject": NONCE.encode(), "x-other": b"1", "x-forwarded-client-cert": xfcc}
    response = ask(world, f"{PREFIX}/{NONCE}/x/../y", headers=headers, body=b"\xff")
    assert response.status.code != 0
    assert world.recorded is Reason.DOCTOR_PROBE
    assert world.counted == [Reason.DOCTOR_PROBE]
    told = json.loads(response.denied_response.body)
    assert told["reason"] == "doctor_probe"
    assert told["observed"]["refusal"] == "path_dot_segment"
    assert told["observed"]["nonce_headers"] == ["x-authz-subject"]
    assert told["observed"]["xfcc_elements"] == 2
    assert (told["observed"]["body_bytes"], told["observed"]["raw_headers"]) == (1, True)
    assert told["observed"]["subject"] == DOCTOR


def test_a_probe_by_anybody_else_is_a_request_like_any_other():
    world = World()
    response = ask(world, f"{PREFIX}/{NONCE}/x", identities=("spiffe://td/other",))
    assert response.status.code == 0  # this world's policy allows everything
    assert world.recorded is Reason.ALLOWED


def test_nobody_proved_gets_no_answer_but_the_refusal():
    world = World()
    world.subject = Refusal(Reason.IDENTITY_MISSING)
    response = ask(world, f"{PREFIX}/{NONCE}/x")
    assert b"observed" not in response.SerializeToString()
    assert world.recorded is Reason.IDENTITY_MISSING


@pytest.mark.parametrize("path", [f"/v1{PREFIX}/{NONCE}/x", f"{PREFIX}", f"/?q={PREFIX}/"])
def test_only_paths_below_the_prefix_are_probes(path):
    world = World()
    assert ask(world, path).status.code == 0


def test_a_probe_without_a_record_is_not_answered_with_what_was_seen():
    world = World()
    world.keeps = False
    response = ask(world, f"{PREFIX}/{NONCE}/x")
    assert response.status.code != 0
    assert b"observed" not in response.SerializeToString()


def test_probing_needs_names():
    assert dict(DoctorSettings(enabled=True).problems()).keys() == {"identities"}
    assert dict(DoctorSettings(prefix="/x/").problems()).keys() == {"prefix"}
    assert not list(DoctorSettings().problems())
