"""Who acts for whom: one chain out of all that tells of it, each hop checked by itself (I7).

A grant tells the whole way from whom its task started for; trusted proxies tell the last part of it, by who called
whom; a transaction token tells the beginning. They agree when each is a part of one and the same chain, in its place.
Where they do not, the call is refused: to prefer one of them would let whoever can write the other choose.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final, Protocol

import msgspec

from authz.errors import Reason, Refusal
from authz.identity.delegation import DelegationSettings
from authz.identity.inventory import UNREGISTERED
from authz.identity.subjects import SubjectFactory
from authz.identity.transactions import TransactionVerifier
from authz.memo import Memo
from authz.model import CheckCall, Hop, Kind, Subject, Transaction
from authz.spiffe import TrustDomain, parse_spiffe_id, require_workload

_FOREIGN: Final = re.compile(r"[!-~]{1,2048}#[!-~](?:[ -~]{0,253}[!-~])?")
"""The subject of somebody else's token, "issuer#sub"; "#" is in no SPIFFE ID."""
_MAX_HOPS: Final = 64
"""More are not even looked at, whatever tells of them (I12)."""

Ids = tuple[str, ...]


class Chains(Protocol):
    """Joins to a caller whoever acted before it."""

    def join(self, call: CheckCall, subject: Subject, delegators: Ids, now: float, task: str = "") -> Subject:
        """The caller with its chain.

        `delegators` and `task`: those of the grant that it presents, the nearest delegator first; without one () and
        "".

        Raises:
            Refusal: each defect with its own reason.
        """


class NoChains:
    """Where neither grants, nor proxies in a row, nor transaction tokens are configured, nobody acts for another."""

    def join(self, call: CheckCall, subject: Subject, delegators: Ids, now: float, task: str = "") -> Subject:  # noqa: ARG002
        """The caller as it is."""
        return subject


NO_CHAINS: Final = NoChains()


class ChainJoiner:
    """Joins chains, for one set of settings, keys and inventory. Not for use by several threads.

    It answers the very same object for the same proofs, as long as they are remembered, so that the object stands for
    the chain in keys of decisions (I3).
    """

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        settings: DelegationSettings,
        transactions: TransactionVerifier,
        subjects: SubjectFactory,
        trust_domains: frozenset[TrustDomain],
        kinds: Mapping[str, Kind],
        *,
        home: Iterable[TrustDomain] = (),
    ) -> None:
        """`kinds`: what sort of party the issuers of tokens vouch for, by `iss`.

        `home`: the trust domains in which transaction tokens are handed on.
        """
        self._settings = settings
        self._joins_xfcc = settings.xfcc_hops == "join"
        self._transactions = transactions
        self._subjects = subjects
        self._domains = trust_domains
        self._kinds = {**kinds, **transactions.kinds}
        self._home = tuple(f"spiffe://{domain}/" for domain in home)
        self._known: Memo[tuple[int, Ids, str], tuple[Subject, Subject]] = Memo(settings.max_memo_entries)

    def join(self, call: CheckCall, subject: Subject, delegators: Ids, now: float, task: str = "") -> Subject:
        """As `Chains.join`. Cost: about 1 us for a chain seen before, 10 us for each hop of a new one.

        Raises:
            Refusal: as `TransactionVerifier.verify`; CHAIN_CONFLICT, CHAIN_TOO_DEEP, CHAIN_LOOP, HOP_NOT_ACCEPTED;
                TASK_CONFLICT, TRUST_DOMAIN_NOT_ALLOWED, and IDENTITY_MISSING for a transaction token without a caller:
                it proves none.
        """
        transaction = self._transactions.verify(call, now)
        if transaction is None and not delegators and len(subject.hops) < 2:  # noqa: PLR2004 - somebody before the caller
            return subject
        if transaction is not None and task and transaction.task and transaction.task != task:
            # I7: what narrows one task is nothing that another may be done by.
            raise Refusal(Reason.TASK_CONFLICT, "the transaction token does not name the task of the grant")
        key = (id(subject), delegators, transaction.fingerprint if transaction else "")
        known = self._known.get(key)
        if known is None:
            # The caller's own object is kept with it, so that no other can take its place in memory.
            known = (subject, self._joined(subject, delegators, transaction))
            self._known.put(key, known)
        return known[1]

    def _joined(self, subject: Subject, delegators: Ids, transaction: Transaction | None) -> Subject:
        if not subject.id:
            raise Refusal(Reason.IDENTITY_MISSING, "a transaction token proves no caller")
        hops = subject.hops if self._joins_xfcc else ()
        if max(len(hops), len(delegators)) > _MAX_HOPS:
            raise Refusal(Reason.CHAIN_TOO_DEEP, "more hops than are looked at")
        told = {"grant": (*reversed(delegators), subject.id) if delegators else (), "xfcc": hops}
        chain = agreed(subject.id, told.values())
        if transaction is not None:
            start = begun(transaction, chain, unseen=self._settings.unseen_hops == "allow")
            self._check_home(start[start.index(transaction.workload) :])
            told["transaction"] = start[: len(dict.fromkeys((transaction.subject, transaction.workload)))]
            chain = start
        self._check(chain)
        if len(chain) == 1:
            return msgspec.structs.replace(subject, transaction=transaction)
        made: list[Hop] = []
        for place, party in enumerate(chain[:-1]):
            sources = tuple(name for name, ids in told.items() if _tells(name, ids, place, len(chain)))
            stands_for = self._party(party, place, sources)
            # Its own chain is of bare hops: were each to hold all before it, a chain would grow as 2 to its length.
            here = (*(Hop(hop.id, hop.sources) for hop in made), Hop(party, sources))
            made.append(Hop(party, sources, msgspec.structs.replace(stands_for, chain=here)))
        if self._settings.require_registered and subject.attributes.get("registered") is not True:
            raise _not_accepted(len(chain) - 1, subject.id, "not in the inventory")
        return msgspec.structs.replace(subject, chain=(*made, Hop(subject.id)), transaction=transaction)

    def _check_home(self, chain: Ids) -> None:
        """Pass when a token stayed in its trust domain, from who asked for it to the caller (the draft's `aud`)."""
        for party in chain:
            if not party.startswith(self._home):
                raise Refusal(Reason.TRUST_DOMAIN_NOT_ALLOWED, f"a transaction token at {party}")

    def _check(self, chain: Ids) -> None:
        if len(chain) - 1 > self._settings.max_depth:
            raise Refusal(Reason.CHAIN_TOO_DEEP, f"{len(chain) - 1} hops before the caller")
        for one, other in pairwise(chain):
            if one == other:
                raise Refusal(Reason.CHAIN_LOOP, f"{one} handed on to itself")
        if len(chain) - len(set(chain)) > self._settings.max_repeats:
            raise Refusal(Reason.CHAIN_LOOP, "a party stands in the chain more than once")

    def _party(self, party: str, place: int, sources: Ids) -> Subject:
        """What a hop stands for by itself: nobody presents a credential of it now."""
        if place == 0 and not party.startswith("spiffe://"):
            if _FOREIGN.fullmatch(party) is None:
                raise _not_accepted(place, party, "neither a SPIFFE ID nor issuer#subject")
            kind = self._kinds.get(party.partition("#")[0], Kind.WORKLOAD)
            return Subject(id=party, kind=kind, sources=sources, attributes=UNREGISTERED)
        try:
            spiffe_id = require_workload(parse_spiffe_id(party))
        except Refusal as refusal:
            raise _not_accepted(place, party, refusal.detail) from None
        if spiffe_id.trust_domain not in self._domains:
            raise _not_accepted(place, party, "its trust domain is not allowed")
        subject = self._subjects.workload(spiffe_id, "", None)
        if self._settings.require_registered and subject.attributes.get("registered") is not True:
            raise _not_accepted(place, party, "not in the inventory")
        return msgspec.structs.replace(subject, sources=sources)


def agreed(caller: str, told: Iterable[Ids]) -> Ids:
    """The longest of the chains that end with the caller, when every other is the end of it.

    Raises:
        Refusal: CHAIN_CONFLICT.
    """
    chains = [chain for chain in told if chain]
    longest: Ids = max(chains, key=len, default=(caller,))
    for chain in (*chains, (caller,)):
        if longest[-len(chain) :] != chain:
            raise Refusal(
                Reason.CHAIN_CONFLICT, "what tells of the chain does not agree, or its last is not the caller"
            )
    return longest


def begun(transaction: Transaction, chain: Ids, *, unseen: bool) -> Ids:
    """The chain with the beginning that a transaction token tells: whom it is for, and who asked for it.

    `unseen`: whether there may be hops between who asked and the first of `chain` that nothing tells of.

    Raises:
        Refusal: CHAIN_CONFLICT.
    """
    start = tuple(dict.fromkeys((transaction.subject, transaction.workload)))
    if chain[: len(start)] == start:
        return chain
    if chain[0] == transaction.workload:
        return (*start[:-1], *chain)
    if transaction.workload in chain or transaction.subject in chain or not unseen:
        raise Refusal(Reason.CHAIN_CONFLICT, "nothing shows the way from who asked for the transaction token to here")
    return (*start, *chain)


def _tells(source: str, ids: Ids, place: int, length: int) -> bool:
    """Whether a source speaks of the party at a place: a transaction token of the first, the others of the last."""
    return place < len(ids) if source == "transaction" else place >= length - len(ids)


def _not_accepted(place: int, party: str, problem: str) -> Refusal:
    return Refusal(Reason.HOP_NOT_ACCEPTED, f"hop {place + 1} of the chain, {party}: {problem}")
