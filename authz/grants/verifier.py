"""The grant that a request presents: verified once, held to its time and its holder at every use."""

import hashlib

import msgspec

from authz.errors import Reason, Refusal
from authz.grants.grant import Grant
from authz.grants.scope import Covers, compile_scope
from authz.grants.settings import GrantSettings
from authz.grants.token import read_grant
from authz.jose.jwk import KeySet
from authz.jose.validity import Validity
from authz.memo import Memo
from authz.model import NO_FACTS, Attributes, CheckCall, Subject


class VerifiedGrant(msgspec.Struct, frozen=True):
    """A grant whose signature holds. Says nothing of time, holder, or whether it was revoked."""

    grant: Grant
    fingerprint: str
    """SHA-256 of the token's text, lower-case hex: what stands for it in keys and records (I10)."""
    covers: Covers
    """Whether a request lies within its scope."""
    validity: Validity
    attributes: Attributes
    """`r.env.grant` but for its age."""
    task: Attributes
    """`r.env.task`, proven."""


NO_GRANT: Attributes = {
    "valid": False,
    "id": "",
    "issuer": "",
    "uses": 0,
    "bound": False,
    "issued_at": 0,
    "expires": 0,
    "lifetime": 0,
    "origin": "",
    "delegators": (),
    "depth": 0,
    "parent": "",
    "actions": (),
    "locations": (),
    "resources": (),
}
"""`r.env.grant` where none was presented. A rule that asks for a grant asks for `valid`."""


def attributes_of(grant: Grant) -> Attributes:
    """`r.env.grant` but for its age."""
    details = grant.scope.details
    return {
        "valid": True,
        "id": grant.id,
        "issuer": grant.issuer,
        "uses": grant.uses,
        "bound": bool(grant.certificate),
        "issued_at": grant.issued_at,
        "expires": grant.expires,
        "lifetime": grant.expires - grant.issued_at,
        "origin": grant.origin,
        "delegators": grant.delegators,
        "depth": len(grant.delegators),
        "parent": grant.ancestors[0] if grant.ancestors else "",
        "actions": tuple(sorted({action for detail in details for action in detail.actions})),
        "locations": tuple(sorted({host for detail in details for host in detail.locations})),
        "resources": tuple(sorted({path for detail in details for path in detail.resources})),
    }


class GrantVerifier:
    """Accepts or refuses grants, for one set of keys.

    What was verified is remembered by the digest of its text, the verdict on time never (I4). The memory is this
    object's: build a new one when keys change, and a removed key counts at once. Not for use by several threads.
    """

    def __init__(self, settings: GrantSettings, keys: KeySet) -> None:
        self._settings = settings
        self._header = settings.active_header
        self._leeway = settings.leeway_seconds
        self._keys = keys
        self._known: Memo[str, VerifiedGrant] = Memo(settings.max_memo_entries)

    def verify(self, call: CheckCall, subject: Subject, now: float) -> VerifiedGrant | None:
        """The grant in the call's header, when `subject` may present it at `now`; None when there is no header.

        Cost: about 3 us for a token seen before, 150 to 300 us for a new one.

        Raises:
            Refusal: as `read_grant`; GRANT_NOT_YET_VALID, GRANT_EXPIRED, GRANT_HOLDER, GRANT_CERTIFICATE. An empty
                header, or one that came twice, is malformed: a grant that cannot be read is not the same as none.
        """
        text = call.headers.get(self._header) if self._header else None
        if text is None:
            return None
        if self._header in call.repeated_headers:
            raise Refusal(Reason.GRANT_MALFORMED, "the header came more than once")
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        found = self._known.get(digest)
        if found is None:
            found = self._read(text, digest)
        self._require_now(found, subject, now)
        return found

    def _require_now(self, found: VerifiedGrant, subject: Subject, now: float) -> None:
        grant, validity = found.grant, found.validity
        # I4; written so that a NaN would be refused.
        if not now >= validity.not_before - self._leeway:
            raise Refusal(Reason.GRANT_NOT_YET_VALID, f"grant {grant.id}")
        if not now <= validity.not_after + self._leeway:
            raise Refusal(Reason.GRANT_EXPIRED, f"grant {grant.id}")
        if subject.id != grant.holder:
            # I7: a grant is no bearer token; it adds nothing for anybody but its holder.
            raise Refusal(Reason.GRANT_HOLDER, f"grant {grant.id} is held by another")
        if grant.certificate and (subject.credential is None or subject.credential.fingerprint != grant.certificate):
            raise Refusal(Reason.GRANT_CERTIFICATE, f"grant {grant.id} is bound to another certificate")

    def _read(self, text: str, digest: str) -> VerifiedGrant:
        grant = read_grant(text, self._keys, self._settings)
        found = VerifiedGrant(
            grant=grant,
            fingerprint=digest,
            covers=compile_scope(grant.scope),
            validity=Validity(grant.not_before, grant.expires),
            attributes=attributes_of(grant),
            task={"id": grant.task.id, "purpose": grant.task.purpose, "declared": False, **NO_FACTS},
        )
        self._known.put(digest, found)
        return found


GRANTS_OFF = GrantVerifier(GrantSettings(), KeySet())
"""Reads none."""
