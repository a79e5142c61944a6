"""SPIFFE IDs by SPIFFE-ID sections 2.1 to 2.4."""

import string

import pytest

from authz.errors import Reason, Refusal
from authz.spiffe import SpiffeId, TrustDomain, parse_spiffe_id, require_workload

VALID = [
    "spiffe://td",
    "spiffe://td/path/element",
    "spiffe://td/...",
    "spiffe://td/.hidden",
    "spiffe://td/..x/a..",
    "spiffe://1.2.3.4/service",
    "spiffe://t_d-1.example/Path-1_2.3",
    "spiffe://..--__/x",
]
INVALID = [
    "",
    "spiffe:",
    "spiffe:/td/x",
    "spiffe://",
    "spiffe:///x",
    "spiffe://td/",
    "spiffe://td//x",
    "spiffe://td/x/",
    "spiffe://td/./x",
    "spiffe://td/../x",
    "spiffe://td/x/..",
    "spiffe://td/.",
    "spiffe://TD/x",
    "SPIFFE://td/x",
    "Spiffe://td/x",
    "spiffe://td:80/x",
    "spiffe://u@td/x",
    "spiffe://[::1]/x",
    "spiffe://td/x?q",
    "spiffe://td?q",
    "spiffe://td/x#f",
    "spiffe://%62ad/x",
    "spiffe://td/%62ad",
    "spiffe://td/x:y",
    "spiffe://td/x;URI=spiffe://td/admin",
    "spiffe://td/x,By=spiffe://td/edge",
    "spiffe://td/x\n",
    "spiffe://td\n/x",
    "spiffe://td\n",
    "\nspiffe://td/x",
    " spiffe://td/x",
    "spiffe://td/x ",
    "spiffe://td/a\nb",
    "spiffe://td/x\x00",
    "spiffe://tḋ/x",
    "spiffe://td/é",
    "spiffe://td/１",
    "spiffe://td\\x",
    "https://td/x",
    "td/x",
    "CN=spiffe://prod.example/ns/agents/sa/admin,O=lab",
]


@pytest.mark.parametrize("text", VALID)
def test_a_valid_id_is_read_and_written_unchanged(text):
    assert str(parse_spiffe_id(text)) == text


@pytest.mark.parametrize("text", INVALID)
def test_anything_else_is_refused(text):
    with pytest.raises(Refusal) as caught:
        parse_spiffe_id(text)
    assert caught.value.reason is Reason.SPIFFE_ID_MALFORMED


@pytest.mark.parametrize("code", range(256))
def test_every_single_character_in_a_trust_domain(code):
    allowed = chr(code) in string.ascii_lowercase + string.digits + "._-"
    assert accepts(f"spiffe://a{chr(code)}b/x") == (allowed or chr(code) == "/")
    assert accepts(f"spiffe://{chr(code)}/x") == allowed
    assert accepts(f"spiffe://td{chr(code)}") == allowed


@pytest.mark.parametrize("code", range(256))
def test_every_single_character_in_a_path(code):
    allowed = chr(code) in string.ascii_letters + string.digits + "._-"
    assert accepts(f"spiffe://td/a{chr(code)}b") == (allowed or chr(code) == "/")
    assert accepts(f"spiffe://td/x{chr(code)}") == allowed
    assert accepts(f"spiffe://td/{chr(code)}") == (allowed and chr(code) != ".")


def accepts(text):
    try:
        parse_spiffe_id(text)
    except Refusal:
        return False
    return True


def test_2048_bytes_are_accepted_and_no_more():
    text = "spiffe://td/" + "a" * (2048 - len("spiffe://td/"))
    assert str(parse_spiffe_id(text)) == text
    assert not accepts(text + "a")
    with pytest.raises(Refusal):
        SpiffeId(TrustDomain("td"), "/" + "a" * 2047)


def test_a_trust_domain_of_255_bytes_is_accepted_and_no_longer_one():
    assert accepts("spiffe://" + "a" * 255)
    assert not accepts("spiffe://" + "a" * 256)


def test_a_refused_text_is_not_quoted():
    with pytest.raises(Refusal) as caught:
        parse_spiffe_id("spiffe://td/secret\n")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("domain", "path"),
    [("TD", "/x"), ("td\n", "/x"), ("", "/x"), ("td", "x"), ("td", "/x/"), ("td", "/x\n"), ("td", "/")],
)
def test_no_other_way_of_construction_gives_a_half_valid_value(domain, path):
    with pytest.raises(Refusal):
        SpiffeId(TrustDomain(domain), path)


def test_an_identity_never_equals_a_string():
    spiffe_id = parse_spiffe_id("spiffe://td/x")
    assert spiffe_id != "spiffe://td/x"
    assert TrustDomain("td") != "td"
    assert {"spiffe://td/x": 1}.get(spiffe_id) is None
    assert spiffe_id != TrustDomain("td")


def test_equal_ids_are_equal_and_hash_alike():
    assert parse_spiffe_id("spiffe://td/x") == parse_spiffe_id("spiffe://td/x")
    assert len({parse_spiffe_id("spiffe://td/x"), parse_spiffe_id("spiffe://td/x")}) == 1
    assert parse_spiffe_id("spiffe://td/x") != parse_spiffe_id("spiffe://td/X")


def test_an_id_cannot_be_changed():
    with pytest.raises(AttributeError):
        parse_spiffe_id("spiffe://td/x").path = "/y"


def test_a_trust_domain_alone_is_an_id_but_no_workload():
    spiffe_id = parse_spiffe_id("spiffe://td")
    assert spiffe_id.path == ""
    with pytest.raises(Refusal) as caught:
        require_workload(spiffe_id)
    assert caught.value.reason is Reason.SPIFFE_ID_WITHOUT_PATH


@pytest.mark.parametrize(
    ("path", "namespace", "account"),
    [
        ("/ns/agents/sa/planner", "agents", "planner"),
        ("/ns/agents/sa/planner/instance/7", "agents", "planner"),
        ("/ns/agents/sa", "", ""),
        ("/ns/agents", "", ""),
        ("/cluster/c1/ns/agents/sa/planner", "", ""),
        ("/sa/planner/ns/agents", "", ""),
        ("/NS/agents/sa/planner", "", ""),
        ("/ns/agents/x/sa/planner", "", ""),
        ("", "", ""),
    ],
)
def test_namespace_and_service_account_are_read_from_istios_form_only(path, namespace, account):
    spiffe_id = parse_spiffe_id(f"spiffe://td{path}")
    assert (spiffe_id.namespace, spiffe_id.service_account) == (namespace, account)
