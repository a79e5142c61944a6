"""What one process knows of requests and approvals, so that most that are tried again need not ask the store.

It only ever refuses, and only what the store would refuse too: whether a call passes, the store says.
"""

from collections.abc import Iterable, Iterator, Mapping
from sys import intern
from typing import Any

import msgspec

from authz.approvals.approval import LIVE, Approval


class Known(msgspec.Struct, frozen=True, gc=False):
    """What is known of one that is not over."""

    id: str
    state: str
    principal: str
    expires_at: float


def news_of(approval: Approval) -> dict[str, Any]:
    """What a replica needs to take up what has become of an approval: the data of a change."""
    return {
        "digest": approval.digest,
        "state": approval.state,
        "principal": approval.principal,
        "expires_at": approval.expires_at,
        "groups": approval.demand.groups,
    }


class ApprovalView:
    """By digest. For one thread."""

    def __init__(self, max_per_principal: int) -> None:
        self._limit = max_per_principal
        self._known: dict[bytes, Known] = {}
        self._open: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, digest: str, now: float) -> Known | None:
        """What is known of this question; None: nothing, or nothing that still counts."""
        found = self._known.get(bytes.fromhex(digest))
        return found if found is not None and now < found.expires_at else None

    def full(self, principal: str, now: float) -> bool:
        """Whether so many requests of this principal wait that no further one is opened."""
        if self._open.get(principal, 0) < self._limit:
            return False
        self.sweep(now)
        return self._open.get(principal, 0) >= self._limit

    def take(self, approval_id: str, news: Mapping[str, Any]) -> None:
        """Take up what has become of one."""
        digest = bytes.fromhex(news["digest"])
        before = self._known.get(digest)
        if before is not None and (before.id == approval_id or news["state"] in LIVE):
            self._forget(digest)
            before = None
        if before is None and news["state"] in LIVE:
            self._keep(digest, Known(approval_id, intern(news["state"]), intern(news["principal"]), news["expires_at"]))

    def replace(self, known: Iterable[tuple[str, Known]]) -> None:
        """Put all that is not over, as (digest, known), in place of what is here."""
        self._known, self._open = {}, {}
        for digest, each in known:
            self._keep(bytes.fromhex(digest), each)

    def sweep(self, now: float) -> None:
        """Forget what is over."""
        for digest in [digest for digest, known in self._known.items() if not now < known.expires_at]:
            self._forget(digest)

    def __iter__(self) -> Iterator[Known]:
        return iter(self._known.values())

    def _keep(self, digest: bytes, known: Known) -> None:
        self._known[digest] = known
        if known.state == "open":
            self._open[known.principal] = self._open.get(known.principal, 0) + 1

    def _forget(self, digest: bytes) -> None:
        gone = self._known.pop(digest)
        if gone.state == "open":
            left = self._open[gone.principal] - 1
            if left:
                self._open[gone.principal] = left
            else:
                del self._open[gone.principal]
