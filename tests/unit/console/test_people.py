"""Who signed in is the same human to approvals, whichever way they came."""

import time
from types import SimpleNamespace

import msgspec
import pytest
from approval_kit import AUDIENCE, ISSUER
from approval_kit import Provider as IdentityProvider

from authz.approvals.human import is_one_of
from authz.approvals.settings import ApprovalSettings, HumanIssuerSettings
from authz.audit.redact import plain
from authz.config.settings import Config
from authz.console.people import HumanSettings, caller_of
from authz.console.sessions import Person
from authz.console_plane import person_claim_of
from authz.control.humans import Humans
from authz.identity.bundles import BundleSettings, parse_key_set

NAME = "\u0646\u0627\u0645\u0647\u200c\u0646\u06af\u0627\u0631"
"""With a mark that does not print, as requests write it out."""


def person(**changes):
    fields = {
        "issuer": ISSUER,
        "subject": "ann",
        "person": "ann",
        "name": NAME,
        "roles": frozenset(),
        "groups": (),
        "claims": {"name": NAME, "groups": ("finance",)},
        "token": "0" * 64,
        "issued_at": 0.0,
    }
    return Person(**fields | changes)


def human_in_the_console(**changes):
    session = SimpleNamespace(person=person(**changes), ends=600.0)
    settings = HumanSettings(groups_claim="groups", name_claims=("name",), groups={"payments": ("finance",)})
    return caller_of(session, SimpleNamespace(name_of=lambda *_: "ann"), settings).human


def test_whom_a_rule_excludes_is_recognised_in_the_console_too():
    human = human_in_the_console()
    for owner in (NAME, plain(NAME, 512), "https://idp.example#ann", "finance"):
        assert is_one_of(human, (owner,))


def test_one_person_with_two_subjects_is_one_human_in_the_console_and_by_the_control_api(tmp_path):
    """As where the provider's `sub` is another for each client (pairwise)."""
    provider = IdentityProvider(tmp_path)
    keys = parse_key_set(provider.file.read_bytes(), "idp.json", BundleSettings())
    settings = ApprovalSettings(
        groups={"payments": ("finance",)},
        issuers=(HumanIssuerSettings(issuer=ISSUER, jwks="x", audiences=(AUDIENCE,), person_claim="oid"),),
    )
    token = provider.token(subject="for-the-cli", oid="ann-0")
    known = Humans(settings, lambda _: keys, 0.0).prove([f"Bearer {token}"], "", time.time())
    here = human_in_the_console(subject="for-the-console", person="ann-0")
    assert here.id == known.id == f"{ISSUER}#ann-0"
    for owner in ("for-the-console", f"{ISSUER}#for-the-console", "ann-0"):  # whom a rule excludes by either
        assert is_one_of(here, (owner,))


@pytest.mark.parametrize(
    ("issuer", "claim"), [(ISSUER, "oid"), ("https://other.example", "sub")], ids=["same_provider", "another"]
)
def test_the_console_reads_the_claim_that_the_control_api_reads(issuer, claim):
    config = msgspec.convert(
        {
            "identity": {"trust_domain": "prod.example"},
            "approvals": {
                "groups": {"payments": ["finance"]},
                "issuers": [{"issuer": ISSUER, "jwks": "x", "audiences": ["a"], "person_claim": "oid"}],
            },
            "console": {"oidc": {"issuer": issuer}},
        },
        Config,
    )
    assert person_claim_of(config) == claim
