"""The allow list of proxies."""

import pytest
from transport_kit import OTHER, PROXY, Authority

from authz.errors import ConfigError, Refusal
from authz.transport.callers import AllowedCallers


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def pem(authority: Authority, *uris: str, dns: str = "") -> str:
    return authority.issue(*uris, dns=dns).certificate.decode()


def allowed(callers: AllowedCallers, certificate: str) -> bool:
    try:
        callers.demand(certificate)
    except Refusal:
        return False
    return True


def test_exactly_the_named_ids_may_ask(authority):
    callers = AllowedCallers([PROXY])
    for _ in range(2):  # the second time from memory
        assert allowed(callers, pem(authority, PROXY))
        assert not allowed(callers, pem(authority, OTHER))
        assert not allowed(callers, pem(authority, PROXY, OTHER))
        assert not allowed(callers, pem(authority, PROXY + "/more"))
        assert not allowed(callers, pem(authority, dns="envoy.example"))
        assert not allowed(callers, pem(authority))


def test_an_answer_is_remembered_for_its_certificate_only(authority):
    callers = AllowedCallers([PROXY])
    good, bad = pem(authority, PROXY), pem(authority, OTHER)
    assert [allowed(callers, each) for each in (good, bad, good, bad)] == [True, False, True, False]


@pytest.mark.parametrize(
    "text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "\u00e9", "\udcff"]
)
def test_what_is_no_certificate_may_not_ask(text):
    assert not allowed(AllowedCallers([PROXY]), text)


def test_memory_is_bounded(authority):
    callers = AllowedCallers([PROXY])
    for n in range(3000):
        assert not allowed(callers, f"junk {n}")
    assert len(callers._known) <= 1024
    assert allowed(callers, pem(authority, PROXY))


@pytest.mark.parametrize("caller", ["", "envoy", "spiffe://", "SPIFFE://prod.example/x", PROXY + "\n", " " + PROXY])
def test_a_caller_that_could_never_match_is_a_configuration_error(caller):
    with pytest.raises(ConfigError, match="allowed_callers"):
        AllowedCallers([PROXY, caller])
