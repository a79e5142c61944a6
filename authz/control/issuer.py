"""Makes grants: what may be in them at all, whatever policy says (I7), and where they are kept."""

import secrets
from collections.abc import Callable
from typing import Protocol

import msgspec

from authz.control.faults import Code, ControlError, precondition
from authz.control.fields import Fields
from authz.control.grant_shapes import grant_of, record_of
from authz.errors import Reason, Refusal
from authz.grants.grant import MAX_USES, Grant, Task
from authz.grants.scope import Scope, narrower
from authz.grants.settings import GrantSettings
from authz.grants.token import read_grant, sign_grant
from authz.jose.jwk import KeySet
from authz.jose.signing import SigningKey
from authz.model import Subject
from authz.stores.database.records import GrantRecord, Once
from authz.stores.database.records import Task as TaskRecord
from authz.stores.database.store import Store

_ID_BYTES = 18


class Revocations(Protocol):
    """Knows what is revoked."""

    def refusal(self, subject: Subject, grant: Grant | None, now: float) -> Reason | None:
        """Answer why this subject with this grant may not go on; None when nothing forbids it."""


class SigningKeys(Protocol):
    """Has the keys."""

    @property
    def signing(self) -> SigningKey | None:
        """The one to sign with."""

    def key_set(self) -> KeySet:
        """Those that verify."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a grant is to be."""

    holder: str
    task: Task
    scope: Scope
    seconds: int
    uses: int
    certificate: str
    not_before: int
    """0: now."""


class Issued(msgspec.Struct, frozen=True):
    """A grant and its token."""

    record: GrantRecord
    purpose: str
    token: str


class Issuer:
    """Issues, exchanges and reads grants."""

    def __init__(
        self,
        settings: GrantSettings,
        store: Store,
        keys: SigningKeys,
        revocations: Revocations,
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self._store = store
        self._keys = keys
        self._revocations = revocations
        self._clock = clock

    def check(self, fields: Fields, *, seconds: float, uses: int, audience: str, certificate: str) -> None:
        """Note what no grant may have, whoever asks."""
        limit = self.settings.max_lifetime_seconds
        fields.demand("ttl", seconds >= 1, "must be at least one second")
        fields.demand("ttl", seconds <= limit, f"longer than grants.max_lifetime_seconds ({limit})")
        fields.demand("uses", 0 <= uses <= MAX_USES, f"expected 0 (without limit) to {MAX_USES}")
        accepted = self.settings.accepted_audience
        fields.demand("audience", audience in {"", accepted}, f"grants are issued for {accepted!r} alone")
        if self.settings.require_certificate:
            fields.demand("bind_certificate", bool(certificate), "grants are bound to a certificate here")

    async def issue(self, order: Order, owner: str, once: Once | None) -> Issued:
        """Issue a grant, and open its task unless it is open.

        Raises:
            ControlError: the task is somebody else's or over. StoreError: it cannot be kept.
        """
        now = int(self._clock())
        start = max(order.not_before, now)
        grant = self._made(
            Grant(
                id=_new_id(),
                issuer=self.settings.issuer,
                audience=self.settings.accepted_audience,
                holder=order.holder,
                task=order.task,
                scope=order.scope,
                issued_at=now,
                not_before=start,
                expires=now + order.seconds,
                uses=order.uses,
                certificate=order.certificate,
            )
            if start < now + order.seconds
            else None
        )
        task = TaskRecord(id=order.task.id, owner=owner, purpose=order.task.purpose, created_at=now)
        return await self._keep(grant, owner, task, once)

    async def exchange(self, parent: Grant, order: Order, caller: str, decision_id: str, once: Once | None) -> Issued:
        """Issue a grant that is derived from another and never wider.

        Raises:
            ControlError: it would be wider. StoreError: it cannot be kept, or its parent is over.
        """
        if not narrower(order.scope, parent.scope):
            raise ControlError(
                Code.PERMISSION_DENIED, "SCOPE_WIDER", "the grant that is exchanged does not permit all of this"
            )
        if not order.task.limits.within(parent.task.limits):
            raise ControlError(
                Code.PERMISSION_DENIED, "LIMITS_WIDER", "the grant that is exchanged has stricter limits"
            )
        now = int(self._clock())
        delegators = parent.delegators if order.holder == parent.holder else (parent.holder, *parent.delegators)
        if len(delegators) > self.settings.max_delegations:
            raise precondition(
                "TOO_MANY_DELEGATIONS",
                "subject_token",
                f"it would be handed on more often than grants.max_delegations and delegation.max_depth allow "
                f"({self.settings.max_delegations})",
            )
        try:
            grant = Grant(
                id=_new_id(),
                issuer=parent.issuer,
                audience=parent.audience,
                holder=order.holder,
                task=order.task,
                scope=order.scope,
                # Else to exchange a grant for its like would make it young again, and outlive "all issued before".
                issued_at=parent.issued_at,
                not_before=max(now, parent.not_before),
                expires=min(now + order.seconds, parent.expires),
                uses=1 if parent.uses else order.uses,
                certificate=order.certificate,
                delegators=delegators,
                ancestors=(parent.id, *parent.ancestors),
            )
        except ValueError as error:
            raise precondition("NOT_EXCHANGEABLE", "subject_token", str(error)) from None
        if parent.uses and not await self._store.consume(parent.id, decision_id):
            raise precondition("GRANT_USED_UP", "subject_token", "the grant has been used as often as it may be")
        return await self._keep(self._made(grant), caller, None, once)

    async def read(self, token: str) -> Grant:
        """Answer the grant of a token that is good now.

        Raises:
            Refusal: why it is not. StoreError: what has become of it cannot be found out.
        """
        grant = read_grant(token, self._keys.key_set(), self.settings)
        now, leeway = self._clock(), self.settings.leeway_seconds
        if now < grant.not_before - leeway:
            raise Refusal(Reason.GRANT_NOT_YET_VALID)
        if now >= grant.expires + leeway:
            raise Refusal(Reason.GRANT_EXPIRED)
        trust_domain = grant.holder.removeprefix("spiffe://").partition("/")[0]
        refusal = self._revocations.refusal(Subject(id=grant.holder, trust_domain=trust_domain), grant, now)
        if refusal is not None:
            raise Refusal(refusal)
        return grant

    def _made(self, grant: Grant | None) -> Grant:
        if grant is None:
            raise precondition("NEVER_VALID", "not_before", "the grant would end before it begins")
        return grant

    async def _keep(self, grant: Grant, by: str, task: TaskRecord | None, once: Once | None) -> Issued:
        key = self._keys.signing
        if key is None:
            raise ControlError(Code.UNAVAILABLE, "NO_SIGNING_KEY", "there is no key to sign with")
        record = await self._store.issue(record_of(grant, by), task, once)
        purpose = grant.task.purpose
        if record.id != grant.id:  # the answer to the same request before
            purpose = (await self._store.task(record.task_id)).purpose
        return Issued(record, purpose, sign_grant(grant_of(record, purpose), key))


def _new_id() -> str:
    """Answer an id that nobody can guess, and that no command line takes for an option."""
    while (made := secrets.token_urlsafe(_ID_BYTES)).startswith("-"):
        pass
    return made
