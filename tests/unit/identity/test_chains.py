"""Who acts for whom: what tells of it must agree, and every hop is checked by itself (I5, I7)."""

import itertools

import msgspec
import pytest

from authz.errors import ConfigError, Reason, Refusal
from authz.identity.bundles import Trust
from authz.identity.chains import NO_CHAINS, ChainJoiner, agreed, begun
from authz.identity.delegation import DelegationSettings
from authz.identity.inventory import EMPTY_INVENTORY, InventorySettings, parse_inventory
from authz.identity.patterns import parse_spiffe_pattern
from authz.identity.resolve import IdentityResolver, IdentitySettings
from authz.identity.subjects import SubjectFactory
from authz.identity.transactions import TransactionSettings, TransactionVerifier
from authz.model import CheckCall, Kind, Subject, Transaction
from authz.spiffe import TrustDomain

A, B, C, D, E = (f"spiffe://td/{name}" for name in "abcde")
USER = "https://idp.example#alice"
DOMAINS = frozenset({TrustDomain("td")})
CALL = CheckCall("http")


class Says:
    """Stands for the verifier of transaction tokens."""

    def __init__(self, transaction=None):
        self.kinds = {"https://tts": Kind.HUMAN}
        self.transaction = transaction

    def verify(self, call, now):
        return self.transaction


def transaction(subject=USER, workload=A, fingerprint="f" * 64, task=""):
    return Transaction("t-1", "https://tts", fingerprint, subject, workload, "pay", 0.0, 100.0, task=task)


def joiner(says=None, inventory=EMPTY_INVENTORY, home=("td",), **settings):
    agents = [parse_spiffe_pattern("spiffe://td/b")]
    return ChainJoiner(
        DelegationSettings(**settings),
        Says(says),
        SubjectFactory(agents, inventory),
        DOMAINS | {TrustDomain("partner")},
        {"https://idp.example": Kind.HUMAN},
        home=map(TrustDomain, home),
    )


def caller(name=D, hops=()):
    return Subject(id=name, kind=Kind.WORKLOAD, trust_domain="td", hops=hops)


def joined(delegators=(), *, who=D, hops=(), says=None, inventory=EMPTY_INVENTORY, **settings):
    return joiner(says, inventory, **settings).join(CALL, caller(who, hops), tuple(delegators), 0.0)


def ids(*args, **kwargs):
    return [hop.id for hop in joined(*args, **kwargs).chain]


def reason(*args, **kwargs):
    with pytest.raises(Refusal) as caught:
        joined(*args, **kwargs)
    return caught.value.reason


def test_a_caller_for_whom_nobody_acted_is_as_it_was():
    alone, proxied = caller(), caller(hops=(D,))
    assert joiner().join(CALL, alone, (), 0.0) is alone
    assert joiner().join(CALL, proxied, (), 0.0) is proxied
    assert NO_CHAINS.join(CALL, alone, (A,), 0.0) is alone


def test_the_chain_of_a_grant_runs_from_whom_it_started_for_to_the_caller():
    """The nearest delegator stands first in a grant, as the outermost `act` does (RFC 8693 section 4.1)."""
    subject = joined((C, B, A))
    assert [hop.id for hop in subject.chain] == [A, B, C, D]
    assert [hop.sources for hop in subject.chain] == [("grant",)] * 3 + [()]
    assert subject.id == D
    assert subject.chain[-1].subject is None


def test_each_hop_stands_for_itself_with_the_chain_up_to_it_and_without_a_credential():
    first, second, third, last = joined((C, B, A)).chain
    assert [hop.subject.kind for hop in (first, second, third)] == [Kind.WORKLOAD, Kind.AGENT, Kind.WORKLOAD]
    assert [hop.id for hop in third.subject.chain] == [A, B, C]
    assert [hop.id for hop in first.subject.chain] == [A]
    assert not any(hop.subject.credential or hop.subject.token for hop in (first, second, third))
    assert last.id == D


def test_a_long_chain_is_written_out_in_little_space():
    chain = joined(tuple(f"spiffe://td/x{number}" for number in range(32)), max_depth=32).chain
    assert len(msgspec.json.encode(chain)) < 100_000


def test_the_same_proofs_give_the_very_same_object_and_others_another():
    """I3: the object stands for the chain in keys of decisions."""
    made, who = joiner(), caller()
    assert made.join(CALL, who, (B, A), 0.0) is made.join(CALL, who, (B, A), 1.0)
    assert made.join(CALL, who, (B, A), 0.0) is not made.join(CALL, who, (C, A), 0.0)
    assert made.join(CALL, caller(), (B, A), 0.0) is not made.join(CALL, who, (B, A), 0.0)


def test_callers_that_proxies_vouch_for_are_hops_unless_they_only_forward():
    assert ids(hops=(A, B, D)) == [A, B, D]
    assert ids(hops=(A, B, D), xfcc_hops="ignore") == []
    assert [hop.sources for hop in joined((B,), hops=(A, B, D)).chain] == [("xfcc",), ("grant", "xfcc"), ()]


@pytest.mark.parametrize(
    ("delegators", "hops", "expected"),
    [
        ((B, A), (B, D), [A, B, D]),
        ((B, A), (D,), [A, B, D]),
        ((B,), (A, B, D), [A, B, D]),
        ((B, A), (A, B, D), [A, B, D]),
    ],
)
def test_sources_agree_where_one_tells_the_end_of_what_the_other_does(delegators, hops, expected):
    assert ids(delegators, hops=hops) == expected


@pytest.mark.parametrize(
    ("delegators", "hops"),
    [
        ((B, A), (C, D)),  # an outsider called, for whom the grant's delegators did not act
        ((B, A), (B, A, D)),  # the same parties in another order
        ((B, A), (A, D)),  # one left out in the middle
        ((B, A), (C, A, B, E)),  # not ending with the caller
        ((B, A), (A, C, B, D)),  # an outsider in the middle
    ],
)
def test_sources_that_disagree_are_refused(delegators, hops):
    assert reason(delegators, hops=hops) is Reason.CHAIN_CONFLICT


def test_a_chain_that_does_not_end_with_the_caller_is_refused():
    assert reason((), hops=(A, B)) is Reason.CHAIN_CONFLICT


def test_depth_is_bounded_before_anything_is_looked_at():
    deep = tuple(f"no id {number}" for number in range(1_000))
    assert reason(deep) is Reason.CHAIN_TOO_DEEP
    assert ids((C, B, A), max_depth=3) == [A, B, C, D]
    assert reason((C, B, A), max_depth=2) is Reason.CHAIN_TOO_DEEP
    assert reason((A,), max_depth=0) is Reason.CHAIN_TOO_DEEP


def test_nobody_stands_in_a_chain_twice_unless_that_is_allowed():
    assert reason(hops=(D, A, D)) is Reason.CHAIN_LOOP
    assert ids(hops=(D, A, D), max_repeats=1) == [D, A, D]
    assert reason(hops=(D, A, D, A, D), max_repeats=2) is Reason.CHAIN_LOOP
    assert reason((A, B, A)) is Reason.CHAIN_LOOP


@pytest.mark.parametrize("max_repeats", [0, 8])
def test_nobody_hands_on_to_itself(max_repeats):
    assert reason((D,), max_repeats=max_repeats) is Reason.CHAIN_LOOP
    assert reason((A, A), max_repeats=max_repeats) is Reason.CHAIN_LOOP


@pytest.mark.parametrize(
    "party",
    ["spiffe://other/a", "spiffe://td", "spiffe://td/a/../b", "SPIFFE://td/a", "spiffe://td/a\n", "alice", ""],
)
def test_a_hop_is_a_workload_of_an_allowed_trust_domain(party):
    assert reason((B, party)) is Reason.HOP_NOT_ACCEPTED


def test_only_the_first_may_be_the_subject_of_somebody_elses_token():
    user, *_ = joined((B, USER)).chain
    assert (user.id, user.subject.kind) == (USER, Kind.HUMAN)
    assert joined((B, "https://unknown#x")).chain[0].subject.kind is Kind.WORKLOAD
    assert reason((USER, B)) is Reason.HOP_NOT_ACCEPTED


def test_every_workload_is_in_the_inventory_where_it_must_be():
    def listed(*names):
        return parse_inventory({"workloads": {name: {"owner": "x"} for name in names}}, "i", InventorySettings())

    def held(inventory, registered):
        who = msgspec.structs.replace(caller(), attributes={"registered": registered})
        return joiner(inventory=inventory, require_registered=True).join(CALL, who, (B, A), 0.0)

    assert held(listed(A, B), True).chain
    for inventory, registered in [(listed(A), True), (listed(B), True), (listed(A, B), False)]:
        with pytest.raises(Refusal) as caught:
            held(inventory, registered)
        assert caught.value.reason is Reason.HOP_NOT_ACCEPTED


# Transaction tokens: the beginning


def test_a_transaction_token_tells_whom_it_is_for_and_who_asked():
    subject = joined(says=transaction(workload=D))
    assert [hop.id for hop in subject.chain] == [USER, D]
    assert subject.transaction.id == "t-1"
    subject = joined((B, A), says=transaction(workload=A))
    assert [(hop.id, hop.sources) for hop in subject.chain] == [
        (USER, ("transaction",)),
        (A, ("transaction", "grant")[::-1]),
        (B, ("grant",)),
        (D, ()),
    ]
    assert ids((B, A, USER), says=transaction(workload=A)) == [USER, A, B, D]


def test_a_workload_may_have_asked_for_itself():
    subject = joined(says=transaction(subject=D, workload=D))
    assert subject.chain == ()
    assert subject.transaction is not None
    assert ids((B, A), says=transaction(subject=A, workload=A)) == [A, B, D]


def test_where_nothing_shows_the_way_from_who_asked_to_here_the_token_is_refused_unless_that_is_allowed():
    assert reason(says=transaction(workload=A)) is Reason.CHAIN_CONFLICT
    assert ids(says=transaction(workload=A), unseen_hops="allow") == [USER, A, D]
    assert ids((C, B), says=transaction(workload=A), unseen_hops="allow") == [USER, A, B, C, D]


@pytest.mark.parametrize("unseen", ["deny", "allow"])
@pytest.mark.parametrize(
    "said",
    [
        transaction(workload=B),  # whoever acted before who asked is not whom it is for
        transaction(subject=B, workload=E),
        transaction(subject=D, workload=E),
    ],
)
def test_a_transaction_token_that_contradicts_the_chain_is_refused(said, unseen):
    assert reason((B, A), says=said, unseen_hops=unseen) is Reason.CHAIN_CONFLICT


def test_a_transaction_token_beside_a_grant_is_of_the_same_task():
    """I7: at every call, whether the chain is known or not."""
    made, who = joiner(transaction(workload=B, task="task-1")), caller()
    for _ in range(2):
        assert len(made.join(CALL, who, (B,), 0.0, "task-1").chain) == 3
        with pytest.raises(Refusal) as caught:
            made.join(CALL, who, (B,), 0.0, "task-2")
        assert caught.value.reason is Reason.TASK_CONFLICT
    assert joiner(transaction(workload=B)).join(CALL, who, (B,), 0.0, "task-2").transaction
    assert joiner(transaction(workload=D, task="task-1")).join(CALL, who, (), 0.0).transaction


@pytest.mark.parametrize("unseen", ["deny", "allow"])
@pytest.mark.parametrize(
    ("who", "hops", "said"),
    [
        ("spiffe://partner/d", (), transaction(workload="spiffe://partner/d")),
        ("spiffe://partner/d", (A, "spiffe://partner/d"), transaction(workload=A)),
        (D, (A, "spiffe://partner/b", D), transaction(workload=A)),
        (D, ("spiffe://partner/a", D), transaction(workload="spiffe://partner/a")),
    ],
)
def test_a_transaction_token_is_not_accepted_outside_of_its_trust_domain(who, hops, said, unseen):
    """The draft: neither from who asked for it, nor on its way, nor from who presents it."""
    assert reason(who=who, hops=hops, says=said, unseen_hops=unseen) is Reason.TRUST_DOMAIN_NOT_ALLOWED
    assert ids(who=who, hops=hops, says=said, unseen_hops=unseen, home=("td", "partner"))


def test_who_is_no_workload_presents_no_transaction_token():
    bob = "https://idp.example#bob"
    assert reason(who=bob, says=transaction(workload=A)) is Reason.CHAIN_CONFLICT
    assert reason(who=bob, says=transaction(workload=A), unseen_hops="allow") is Reason.TRUST_DOMAIN_NOT_ALLOWED


def test_whom_a_transaction_is_for_may_be_of_another_trust_domain():
    assert ids(says=transaction(subject="spiffe://partner/a", workload=D)) == ["spiffe://partner/a", D]


def test_a_transaction_token_proves_no_caller():
    with pytest.raises(Refusal) as caught:
        joiner(transaction()).join(CALL, Subject(), (), 0.0)
    assert caught.value.reason is Reason.IDENTITY_MISSING


def test_whom_a_transaction_is_for_does_not_act_in_it_later():
    assert reason((B, A), says=transaction(subject=B, workload=A)) is Reason.CHAIN_LOOP


def test_another_token_of_the_same_transaction_is_another_ground():
    made, who = joiner(), caller()
    made._transactions.transaction = transaction(workload=D)
    first = made.join(CALL, who, (), 0.0)
    made._transactions.transaction = transaction(workload=D, fingerprint="e" * 64)
    assert made.join(CALL, who, (), 0.0) is not first
    assert first.expires == 100.0


def test_every_order_of_every_few_parties_is_one_chain_or_refused():
    """Against the definition, spelled out: all are one and the same list, seen from its end or its beginning."""
    for hops in itertools.chain.from_iterable(itertools.permutations((A, B, D), size) for size in (1, 2, 3)):
        for given in itertools.chain.from_iterable(itertools.permutations((A, B, C), size) for size in (0, 1, 2)):
            told = [[*reversed(given), D], list(hops)]
            longest = max(told, key=len)
            fits = all(longest[len(longest) - len(each) :] == each for each in told) and longest[-1] == D
            try:
                found = list(agreed(D, [tuple(each) for each in told]))
            except Refusal:
                found = None
            assert found == (longest if fits else None)


def test_a_beginning_is_put_before_what_begins_with_who_asked():
    assert begun(transaction(workload=A), (A, D), unseen=False) == (USER, A, D)
    assert begun(transaction(workload=A), (USER, A, D), unseen=False) == (USER, A, D)


# Which joiner


@pytest.mark.parametrize(
    ("identity", "grants", "issuers", "joins"),
    [
        ({}, False, (), False),
        ({}, True, (), True),
        ({"xfcc": {"mode": "sanitize_set"}}, False, (), False),
        ({"xfcc": {"mode": "append_forward", "trusted_hops": 2, "proxies": ["spiffe://td/p"]}}, False, (), True),
        ({}, False, ({"issuer": "t", "jwks": "t.json", "audiences": ["td"]},), True),
    ],
)
def test_nothing_is_joined_where_nobody_can_act_for_another(identity, grants, issuers, joins):
    settings = msgspec.convert({"trust_domain": "td", **identity}, IdentitySettings)
    delegation = msgspec.convert({"transaction_tokens": {"issuers": issuers}}, DelegationSettings)
    made = IdentityResolver(settings, Trust(), EMPTY_INVENTORY).chains(delegation, grants=grants)
    assert (made is not NO_CHAINS) is joins


def test_the_trust_domain_of_tokens_is_our_own_where_no_other_name_is_given():
    settings = msgspec.convert({"trust_domain": "td", "federated": [{"trust_domain": "partner"}]}, IdentitySettings)
    resolver = IdentityResolver(settings, Trust(), EMPTY_INVENTORY)

    def made(**tokens):
        tokens["issuers"] = [{"issuer": "t", "jwks": "t.json"}]
        return resolver.chains(msgspec.convert({"transaction_tokens": tokens}, DelegationSettings), grants=False)

    assert made()._transactions._issuers["t"].audiences == ("td",)
    assert made()._home == ("spiffe://td/",)
    assert set(made(trust_domains=["partner"])._home) == {"spiffe://td/", "spiffe://partner/"}
    with pytest.raises(ConfigError, match="trust_domains"):
        made(trust_domains=["other"])


def test_without_issuers_no_transaction_token_is_read():
    verifier = TransactionVerifier(TransactionSettings(), {}, DOMAINS, 5.0, 8)
    assert verifier.verify(CheckCall("http", headers={"txn-token": "x"}), 0.0) is None
