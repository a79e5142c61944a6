"""From one call to its subject: sources combined, kinds and attributes added, settings validated."""

import identity_pki as pki
import msgspec
import pytest

from authz.errors import ConfigError, Reason, Refusal
from authz.identity.bundles import Trust
from authz.identity.inventory import EMPTY_INVENTORY, UNREGISTERED, InventorySettings, parse_inventory
from authz.identity.resolve import FederatedSettings, IdentityResolver, IdentitySettings
from authz.model import CheckCall, Kind

ROOT = pki.authority()
LEAF = ROOT.issue()
IDP, CLUSTER = "https://idp.example", "https://kubernetes.default.svc"
KEYS = pki.key_set(pki.jwk(pki.EC_KEY))
TRUST = Trust({pki.TD: ROOT.bundle(keys=KEYS)}, {IDP: KEYS, CLUSTER: KEYS})
SVID_TOKEN = pki.token(pki.svid_claims())


def settings(**fields):
    return msgspec.convert({"trust_domain": "prod.example", **fields}, IdentitySettings)


def issuer(**fields):
    return {"issuer": IDP, "form": "oidc", "jwks": "x.json", "audiences": ["ledger"], **fields}


def tokens(*issuers, **svid):
    return {"jwt_svid": {"audiences": ["ledger"], **svid}, "issuers": list(issuers)}


def resolver(inventory=EMPTY_INVENTORY, trust=TRUST, **fields):
    return IdentityResolver(settings(**fields), trust, inventory)


def call(leaf=LEAF, token=None, principal=None):
    if principal is None:
        principal = pki.PLANNER if leaf else ""
    return CheckCall(
        layer="http",
        certificate=pki.url_pem(leaf) if leaf else "",
        principal=principal,
        headers={} if token is None else {"authorization": f"Bearer {token}"},
    )


def reason_of(asked, now=pki.NOW, **fields):
    with pytest.raises(Refusal) as caught:
        resolver(**fields).identify(asked, now)
    return caught.value.reason


# Mutual TLS and anonymity


def test_a_workload_with_its_certificate():
    subject = resolver().identify(call(), pki.NOW)
    assert (subject.id, subject.kind) == (pki.PLANNER, Kind.WORKLOAD)
    assert subject.attributes == UNREGISTERED
    assert subject.token is None


def test_nobody_is_denied_by_default():
    assert reason_of(call(None)) is Reason.IDENTITY_MISSING


def test_nobody_may_be_left_to_the_policy():
    subject = resolver(anonymous="policy").identify(call(None), pki.NOW)
    assert (subject.id, subject.kind, subject.sources) == ("", Kind.ANONYMOUS, ())
    assert subject.attributes == UNREGISTERED


def test_a_defect_is_not_anonymity():
    assert reason_of(call(ROOT.issue(ca=True)), anonymous="policy") is Reason.CERTIFICATE_IS_CA


def test_federated_domains_are_allowed_by_name():
    partner = ROOT.issue(uris=("spiffe://partner.example/x",))
    asked = call(partner, principal="spiffe://partner.example/x")
    assert reason_of(asked) is Reason.TRUST_DOMAIN_NOT_ALLOWED
    federated = [{"trust_domain": "partner.example"}]
    assert resolver(federated=federated).identify(asked, pki.NOW).trust_domain == "partner.example"


# Kind and attributes


def test_agents_are_known_by_pattern():
    for patterns in ([pki.PLANNER], ["spiffe://prod.example/ns/agents/*"], ["spiffe://prod.example/*"]):
        assert resolver(agents=patterns).identify(call(), pki.NOW).kind is Kind.AGENT
    for patterns in ([pki.ADMIN], ["spiffe://prod.example/ns/agent/*"], ["spiffe://partner.example/*"]):
        assert resolver(agents=patterns).identify(call(), pki.NOW).kind is Kind.WORKLOAD


def test_the_inventory_goes_before_patterns_and_adds_attributes():
    inventory = parse_inventory(
        {"workloads": {pki.PLANNER: {"owner": "team", "kind": "workload", "clearance": 3}}}, "x", InventorySettings()
    )
    subject = resolver(inventory, agents=["spiffe://prod.example/*"]).identify(call(), pki.NOW)
    assert subject.kind is Kind.WORKLOAD
    assert subject.attributes["registered"] is True
    assert subject.attributes["clearance"] == 3


# Tokens


def test_a_token_alone_identifies():
    subject = resolver(tokens=tokens()).identify(call(None, SVID_TOKEN), pki.NOW)
    assert (subject.id, subject.sources) == (pki.PLANNER, ("token",))
    assert subject.credential is subject.token
    assert subject.credential.kind == "jwt-svid"
    assert (subject.namespace, subject.trust_domain) == ("agents", "prod.example")
    assert subject.claims == {"sub": pki.PLANNER}
    assert subject.expires == pki.NOW + 300


def test_a_token_that_agrees_with_the_certificate_is_one_more_source():
    subject = resolver(tokens=tokens()).identify(call(token=SVID_TOKEN), pki.NOW)
    assert subject.sources == ("certificate", "principal", "token")
    assert subject.credential.kind == "x509-svid"
    assert subject.token.kind == "jwt-svid"
    assert subject.expires == pki.NOW + 300  # the first of them to end (I4)


def test_a_token_of_another_workload_is_a_conflict():
    stolen = pki.token(pki.svid_claims(sub=pki.ADMIN))
    assert reason_of(call(token=stolen), tokens=tokens()) is Reason.IDENTITY_CONFLICT


def test_a_service_account_token_agrees_with_the_certificate_of_its_workload():
    account = issuer(
        issuer=CLUSTER, form="kubernetes", spiffe_id="spiffe://prod.example/ns/{namespace}/sa/{service_account}"
    )
    text = pki.token(pki.svid_claims(iss=CLUSTER, sub="system:serviceaccount:agents:planner"))
    assert resolver(tokens=tokens(account)).identify(call(token=text), pki.NOW).sources[-1] == "token"
    assert resolver(tokens=tokens(account)).identify(call(None, text), pki.NOW).id == pki.PLANNER
    other = pki.token(pki.svid_claims(iss=CLUSTER, sub="system:serviceaccount:agents:admin"))
    assert reason_of(call(token=other), tokens=tokens(account)) is Reason.IDENTITY_CONFLICT


def test_a_human_with_an_access_token():
    text = pki.token(pki.svid_claims(iss=IDP, sub="alice"))
    subject = resolver(tokens=tokens(issuer(subject_kind="human"))).identify(call(None, text), pki.NOW)
    assert (subject.id, subject.kind) == (f"{IDP}#alice", Kind.HUMAN)
    assert (subject.trust_domain, subject.path) == ("", "")
    assert subject.attributes == UNREGISTERED


def test_a_token_of_another_party_is_a_conflict_unless_configured():
    text = pki.token(pki.svid_claims(iss=IDP, sub="alice", scope="pay"))
    assert reason_of(call(token=text), tokens=tokens(issuer())) is Reason.IDENTITY_CONFLICT
    about = tokens(issuer(binds="other", subject_kind="human", claims=["sub", "scope"]))
    subject = resolver(tokens=about).identify(call(token=text), pki.NOW)
    assert (subject.id, subject.kind) == (pki.PLANNER, Kind.WORKLOAD)
    assert subject.sources == ("certificate", "principal")
    assert subject.claims == {"sub": "alice", "scope": "pay"}
    assert subject.token.kind == "oidc"
    assert subject.expires == pki.NOW + 300


def test_a_token_of_another_party_identifies_nobody():
    text = pki.token(pki.svid_claims(iss=IDP, sub="alice"))
    about = tokens(issuer(binds="other", subject_kind="human"))
    assert reason_of(call(None, text), tokens=about) is Reason.IDENTITY_MISSING
    subject = resolver(tokens=about, anonymous="policy").identify(call(None, text), pki.NOW)
    assert (subject.id, subject.kind) == ("", Kind.ANONYMOUS)
    assert subject.claims["sub"] == "alice"


def test_a_bad_token_is_refused_even_beside_a_good_certificate():
    expired = pki.token(pki.svid_claims(exp=pki.NOW - 60, iat=pki.NOW - 100))
    assert reason_of(call(token=expired), tokens=tokens()) is Reason.TOKEN_EXPIRED


def test_a_token_that_is_not_ours_leaves_the_subject_alone():
    assert resolver(tokens=tokens()).identify(call(token="opaque"), pki.NOW).sources == ("certificate", "principal")
    assert reason_of(call(None, "opaque"), tokens=tokens()) is Reason.IDENTITY_MISSING


def test_a_token_bound_to_a_certificate_needs_that_certificate():
    bound = pki.token(pki.svid_claims(cnf={"x5t#S256": pki.b64(bytes.fromhex(pki.fingerprint(LEAF)))}))
    assert resolver(tokens=tokens()).identify(call(token=bound), pki.NOW).sources[-1] == "token"
    assert reason_of(call(ROOT.issue(), bound), tokens=tokens()) is Reason.IDENTITY_CONFLICT
    assert reason_of(call(None, bound), tokens=tokens()) is Reason.IDENTITY_CONFLICT
    alone = call(None, bound, principal=pki.PLANNER)
    assert reason_of(alone, tokens=tokens(), require_certificate=False) is Reason.IDENTITY_CONFLICT


def test_the_certificate_is_judged_before_the_token():
    assert reason_of(call(ROOT.issue(ca=True), "opaque"), tokens=tokens()) is Reason.CERTIFICATE_IS_CA


def test_a_key_that_was_removed_counts_with_the_next_resolver():
    asked = call(None, SVID_TOKEN)
    assert resolver(tokens=tokens()).identify(asked, pki.NOW)
    assert reason_of(asked, tokens=tokens(), trust=Trust({pki.TD: ROOT.bundle()})) is Reason.TOKEN_KEY_UNKNOWN


# Settings


def test_settings_have_safe_defaults():
    defaults = settings()
    assert defaults.require_certificate
    assert defaults.anonymous == "deny"
    assert defaults.xfcc.mode == "off"
    assert defaults.tokens.jwt_svid is None


def test_bundle_files_name_our_own_domain_first():
    files = settings(
        bundle="own.json",
        federated=[{"trust_domain": "b.example", "bundle": "b.pem"}, {"trust_domain": "a.example"}],
    ).bundle_locations
    assert [(domain.name, file) for domain, file in files] == [
        ("prod.example", "own.json"),
        ("b.example", "b.pem"),
        ("a.example", ""),
    ]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"trust_domain": "Prod.Example"}, "identity.trust_domain: 'Prod.Example'"),
        ({"trust_domain": ""}, "identity.trust_domain"),
        ({"federated": [{"trust_domain": "spiffe://x"}]}, "identity.federated: 'spiffe://x'"),
        ({"federated": [{"trust_domain": "prod.example"}]}, "named twice"),
        ({"agents": ["spiffe://prod.example/a*"]}, "identity.agents"),
        ({"xfcc": {"mode": "append_forward", "trusted_hops": 2}}, "proxies"),
        ({"xfcc": {"mode": "append_forward", "proxies": ["edge"]}}, "identity.xfcc.proxies: 'edge'"),
        ({"xfcc": {"mode": "append_forward", "proxies": ["spiffe://prod.example"]}}, "identity.xfcc.proxies"),
        ({"xfcc": {"mode": "sanitize_set", "trusted_hops": 2}}, "append_forward"),
        ({"xfcc": {"proxies": ["spiffe://prod.example/x"]}}, "append_forward"),
        ({"tokens": {"issuers": [issuer(), issuer()]}}, "twice"),
    ],
)
def test_settings_that_make_no_sense_are_configuration_errors(fields, problem):
    with pytest.raises(ConfigError, match=problem):
        resolver(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"unknown": 1},
        {"anonymous": "allow"},
        {"clock_leeway_seconds": 301},
        {"clock_leeway_seconds": -1},
        {"max_memo_entries": 0},
        {"certificates": {"trust": "none"}},
        {"certificates": {"max_lifetime_seconds": 0}},
        {"certificates": {"max_certificate_bytes": 10**9}},
        {"xfcc": {"mode": "forward_only"}},
        {"xfcc": {"mode": "always_forward_only"}},
        {"xfcc": {"mode": "append_forward", "trusted_hops": 0}},
        {"tokens": {"header": "Authorization"}},
        {"tokens": {"header": "authorization\n"}},
        {"tokens": {"scheme": "Bearer\n"}},
        {"tokens": {"jwt_svid": {}}},
        {"tokens": {"jwt_svid": {"audiences": []}}},
        {"tokens": {"jwt_svid": {"audiences": ["a"], "algorithms": ["none"]}}},
        {"tokens": {"jwt_svid": {"audiences": ["a"], "algorithms": []}}},
        {"tokens": {"issuers": [issuer(algorithms=["HS256"])]}},
        {"tokens": {"issuers": [issuer(subject_kind="anonymous")]}},
        {"tokens": {"issuers": [issuer(binds="nobody")]}},
        {"tokens": {"issuers": [issuer(issuer="")]}},
        {"tokens": {"issuers": [issuer(audiences=[])]}},
        {"inventory": {"max_entries": 0}},
        {"bundles": {"max_keys": 0}},
    ],
)
def test_values_out_of_range_are_refused_when_configuration_is_read(fields):
    with pytest.raises(msgspec.ValidationError):
        settings(**fields)


def test_a_trust_domain_must_be_configured():
    with pytest.raises(msgspec.ValidationError, match="trust_domain"):
        msgspec.convert({}, IdentitySettings)


@pytest.mark.parametrize("xfcc", [{"mode": "sanitize_set"}, {"mode": "append_forward"}])
def test_one_trusted_hop_needs_no_further_proxies(xfcc):
    asked = CheckCall(layer="http", headers={"x-forwarded-client-cert": f"URI={pki.PLANNER}"})
    assert resolver(xfcc=xfcc, require_certificate=False).identify(asked, pki.NOW).sources == ("xfcc",)


def test_federated_settings_need_a_name():
    with pytest.raises(msgspec.ValidationError, match="trust_domain"):
        msgspec.convert({"bundle": "x"}, FederatedSettings)
