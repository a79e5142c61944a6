"""Humans, as the control plane knows its callers."""

from collections.abc import Mapping

import msgspec

from authz.approvals.human import folded, human_of
from authz.console.sessions import Session
from authz.control.caller import Caller, Callers
from authz.control.humans import as_kept
from authz.model import Credential, Kind, Subject

CONSOLE = "console"
"""The transport of a call that a human made in the console: `r.env.transport`."""


class HumanSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How approvals read who somebody is."""

    groups_claim: str
    name_claims: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    """For each group of approvers, the values of the groups claim that make a human one of it."""


def caller_of(session: Session, callers: Callers, humans: HumanSettings) -> Caller:
    """Answer who calls: a human and nobody else (I8), until the session ends (I4)."""
    person = session.person
    human = human_of(
        person.issuer,
        person.person,
        person.claims,
        session.ends,
        humans.groups_claim,
        humans.name_claims,
        humans.groups,
    )
    # Whoever is excluded by their subject is, whichever claim tells people apart.
    names = human.names | {folded(person.subject), folded(person.id)}
    human = as_kept(msgspec.structs.replace(human, names=names))
    name = callers.name_of(person.issuer, person.subject)
    credential = Credential(
        kind="oidc",
        fingerprint=person.token,
        not_before=person.issued_at,
        not_after=session.ends,
        issuer=person.issuer,
    )
    subject = Subject(
        id=f"operator:{name}", kind=Kind.HUMAN, sources=("oidc",), credential=credential, token=credential
    )
    return Caller(subject, CONSOLE, name, person.groups, human=human)
