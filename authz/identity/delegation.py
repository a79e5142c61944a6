"""How a chain of delegation is held: how deep it may be, what each hop must satisfy, which tokens tell of one."""

from typing import Annotated, Literal

import msgspec

from authz.identity.transactions import TransactionSettings


class DelegationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of every hop between whom a task started for and the caller. A caller for whom nobody acted before
    has no hops, and none of this costs it anything.
    """

    every_hop: Literal["identity", "allowed"] = "identity"
    """What each hop before the caller must satisfy, besides that it is not revoked. "identity": a well-formed identity
    of an allowed trust domain. "allowed": also that the policy allows it, by itself, the very same action; what the
    chain may do is then what all of its hops may."""
    section: Annotated[int, msgspec.Meta(ge=0, le=99)] = 0
    """The number of the model's sections that say who may act for whom: 2 means `r2`, `p2`, `e2` and `m2`. They are
    asked for every two neighbours of a chain; the request's tokens are of `delegator, delegate, obj, act, env`.
    0: nothing is asked."""
    max_depth: Annotated[int, msgspec.Meta(ge=0, le=32)] = 8
    """How many hops may stand before the caller; 0: nobody may act for another."""
    max_repeats: Annotated[int, msgspec.Meta(ge=0, le=8)] = 0
    """How often in all a party may stand in a chain once more. A grant never has one twice; calls to and fro between
    workloads, as `x-forwarded-client-cert` shows them, may. Handing on to oneself is always refused."""
    require_registered: bool = False
    """Whether every workload of a chain must be in the inventory."""
    xfcc_hops: Literal["join", "ignore"] = "join"
    """Whether the earlier callers that trusted proxies vouch for in `x-forwarded-client-cert` are hops of the chain.
    "ignore": they only forward; policies still see them in `r.sub.hops`, and one that is revoked still refuses. Needed
    where two proxies in a row share an identity, which would be handing on to oneself."""
    unseen_hops: Literal["deny", "allow"] = "deny"
    """What becomes of a transaction token whose way from the workload that asked for it to the caller is shown by
    neither a grant nor a trusted proxy. "deny": refused. "allow": it counts, since within the trust domain tokens are
    handed on unchanged, and who handed it on in between stays unknown."""
    transaction_tokens: TransactionSettings = TransactionSettings()
    max_memo_entries: Annotated[int, msgspec.Meta(ge=2, le=1_000_000)] = 8_192
    """How many chains, and transaction tokens, are remembered, each; the least recently used go first."""
