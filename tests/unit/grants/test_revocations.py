"""What is revoked, for whom, and for how long."""

import math

import msgspec
import pytest
from grant_kit import FINGERPRINT, HOLDER, ISSUER, NOW, PLANNER, grant, grant_id, subject

from authz.errors import Reason
from authz.grants.changes import (
    CutOff,
    CutOffKind,
    DenyAllBut,
    EndCutOff,
    EndDenyAllBut,
    Restore,
    RevocationChange,
    RevocationKind,
    Revoke,
)
from authz.grants.revocations import FeedGap, RevocationView
from authz.grants.revoked import MAX_BREAK_GLASS, Revoked
from authz.model import Credential, Subject

JOE = "https://idp.example#joe"
GRANT = grant(delegators=(PLANNER, JOE), ancestors=(grant_id(2), grant_id(3)))
K = RevocationKind


def revoked(*changes, margin=0.0, max_entries=1_000):
    made = Revoked(margin, max_entries)
    for change in changes:
        made.take(change)
    return made


def reason(*changes, who=None, presents=GRANT, now=NOW):
    return revoked(*changes).refusal(who or subject(), presents, now)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (K.GRANT, grant_id(), Reason.GRANT_REVOKED),
        (K.GRANT, grant_id(2), Reason.GRANT_REVOKED),
        (K.GRANT, grant_id(3), Reason.GRANT_REVOKED),
        (K.TASK, "task-1", Reason.TASK_REVOKED),
        (K.COMPLETED_TASK, "task-1", Reason.TASK_COMPLETED),
        (K.PRINCIPAL, HOLDER, Reason.PRINCIPAL_REVOKED),
        (K.PRINCIPAL, PLANNER, Reason.PRINCIPAL_REVOKED),
        (K.PRINCIPAL, JOE, Reason.PRINCIPAL_REVOKED),
        (K.CREDENTIAL, FINGERPRINT, Reason.CREDENTIAL_REVOKED),
        (K.TRUST_DOMAIN, "prod.example", Reason.TRUST_DOMAIN_REVOKED),
    ],
)
def test_whatever_a_request_rests_on_can_be_revoked_and_restored(kind, value, expected):
    everything = revoked(Revoke(kind, value))
    assert everything.refusal(subject(), GRANT, NOW) is expected
    everything.take(Restore(kind, value))
    assert everything.refusal(subject(), GRANT, NOW) is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (K.GRANT, grant_id(4)),
        (K.TASK, "task-2"),
        (K.COMPLETED_TASK, "task"),
        (K.PRINCIPAL, HOLDER + "x"),
        (K.CREDENTIAL, "0" * 64),
        (K.TRUST_DOMAIN, "example"),
        # An id of one kind says nothing of another.
        (K.TASK, grant_id()),
        (K.COMPLETED_TASK, "prod.example"),
    ],
)
def test_what_names_another_does_not_touch_it(kind, value):
    assert reason(Revoke(kind, value)) is None


def test_without_a_grant_the_caller_alone_is_asked_about():
    assert reason(Revoke(K.GRANT, grant_id()), presents=None) is None
    assert reason(Revoke(K.TASK, "task-1"), presents=None) is None
    assert reason(Revoke(K.PRINCIPAL, HOLDER), presents=None) is Reason.PRINCIPAL_REVOKED


def test_the_domain_of_a_delegator_counts():
    presents = grant(delegators=("spiffe://other.example/x",))
    assert reason(Revoke(K.TRUST_DOMAIN, "other.example"), presents=presents) is Reason.TRUST_DOMAIN_REVOKED


def test_a_hop_that_a_proxy_vouches_for_counts():
    who = subject(hops=("spiffe://edge.example/proxy", HOLDER))
    assert reason(Revoke(K.PRINCIPAL, "spiffe://edge.example/proxy"), who=who) is Reason.PRINCIPAL_REVOKED
    assert reason(Revoke(K.TRUST_DOMAIN, "edge.example"), who=who) is Reason.TRUST_DOMAIN_REVOKED


def test_a_token_can_be_revoked_by_its_fingerprint():
    who = Subject(id=HOLDER, token=Credential("jwt-svid", "cd" * 32, 0, 1))
    assert reason(Revoke(K.CREDENTIAL, "cd" * 32), who=who) is Reason.CREDENTIAL_REVOKED


def test_an_entry_holds_until_it_lapses_and_the_margin_longer():
    view = revoked(Revoke(K.GRANT, grant_id(), NOW), margin=5)
    assert view.refusal(subject(), GRANT, NOW + 5) is Reason.GRANT_REVOKED  # the last moment at which it is accepted
    assert view.refusal(subject(), GRANT, NOW + 5.001) is None


@pytest.mark.parametrize("order", [(NOW + 10, NOW + 20), (NOW + 20, NOW + 10)])
def test_of_two_for_the_same_the_longer_holds(order):
    view = revoked(*(Revoke(K.TASK, "task-1", end) for end in order))
    assert view.refusal(subject(), GRANT, NOW + 20) is Reason.TASK_REVOKED
    assert view.refusal(subject(), GRANT, NOW + 20.001) is None
    assert len(view) == 1


def test_to_revoke_again_what_was_restored():
    view = revoked(Revoke(K.TASK, "task-1", NOW + 10), Restore(K.TASK, "task-1"), Revoke(K.TASK, "task-1", NOW + 99))
    view.sweep(NOW + 60, 1_000)
    assert view.refusal(subject(), GRANT, NOW + 60) is Reason.TASK_REVOKED


def test_restoring_what_is_not_revoked_changes_nothing():
    assert reason(Restore(K.TASK, "task-1"), EndCutOff(CutOffKind.EVERYBODY, ""), EndDenyAllBut("x")) is None


CUT = NOW - 300
"""After the certificate was issued (NOW - 600), before the grant was (NOW)."""


@pytest.mark.parametrize(
    ("cut", "who", "presents", "refused"),
    [
        ((CutOffKind.EVERYBODY, "", NOW + 1), subject(), GRANT, True),
        ((CutOffKind.EVERYBODY, "", CUT), subject(), GRANT, True),  # the certificate is older
        ((CutOffKind.EVERYBODY, "", NOW - 600), subject(), GRANT, False),  # before, not at
        ((CutOffKind.EVERYBODY, "", CUT), subject(fingerprint=""), GRANT, False),
        ((CutOffKind.EVERYBODY, "", NOW + 1), subject(fingerprint=""), GRANT, True),
        ((CutOffKind.EVERYBODY, "", NOW), subject(fingerprint=""), GRANT, False),
        ((CutOffKind.EVERYBODY, "", NOW + 1), subject(fingerprint=""), None, False),  # nothing issued, nothing cut
        ((CutOffKind.PRINCIPAL, HOLDER, CUT), subject(), None, True),
        ((CutOffKind.PRINCIPAL, HOLDER, NOW - 600), subject(), None, False),
        ((CutOffKind.PRINCIPAL, HOLDER, NOW + 1), subject(fingerprint=""), GRANT, True),
        ((CutOffKind.PRINCIPAL, PLANNER, NOW + 1), subject(), GRANT, True),
        (
            (CutOffKind.PRINCIPAL, PLANNER, CUT),
            subject(),
            GRANT,
            False,
        ),  # the holder's certificate is not the planner's
        ((CutOffKind.PRINCIPAL, JOE, NOW + 1), subject(), GRANT, True),
        ((CutOffKind.PRINCIPAL, "spiffe://prod.example/other", NOW + 1), subject(), GRANT, False),
        ((CutOffKind.ISSUER, ISSUER, NOW + 1), subject(), GRANT, True),
        ((CutOffKind.ISSUER, ISSUER, CUT), subject(), GRANT, False),  # the grant is younger, the certificate another's
        ((CutOffKind.ISSUER, "CN=prod CA", CUT), subject(), GRANT, True),
        ((CutOffKind.ISSUER, "CN=prod CA", NOW - 600), subject(), None, False),
        ((CutOffKind.PRINCIPAL, "spiffe://e/p", 1), subject(hops=("spiffe://e/p", HOLDER)), None, True),
        ((CutOffKind.PRINCIPAL, HOLDER, 1), subject(hops=("spiffe://e/p", HOLDER)), None, False),
    ],
)
def test_what_was_issued_before_a_moment(cut, who, presents, refused):
    expected = Reason.ISSUED_BEFORE_CUTOFF if refused else None
    assert reason(CutOff(*cut), who=who, presents=presents) is expected
    assert reason(CutOff(*cut), EndCutOff(*cut[:2]), who=who, presents=presents) is None


def test_a_cut_off_lapses_and_is_swept():
    view = revoked(CutOff(CutOffKind.EVERYBODY, "", NOW + 1, expires=NOW + 10), margin=5)
    assert view.refusal(subject(), GRANT, NOW + 15) is Reason.ISSUED_BEFORE_CUTOFF
    assert view.refusal(subject(), GRANT, NOW + 15.001) is None
    view.sweep(NOW + 15, 10)
    assert len(view) == 1
    view.sweep(NOW + 15.001, 10)
    assert len(view) == 0


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_cut_offs_the_later_moment_holds_for_longer(first):
    cuts = [CutOff(CutOffKind.EVERYBODY, "", NOW + 1, NOW + 10), CutOff(CutOffKind.EVERYBODY, "", 1, NOW + 50)]
    view = revoked(cuts[first], cuts[1 - first])
    assert view.refusal(subject(), GRANT, NOW + 49) is Reason.ISSUED_BEFORE_CUTOFF


def test_break_glass_refuses_all_but_those_named():
    order = DenyAllBut("o1", "alice", "breach", NOW + 10, (HOLDER,))
    assert reason(order) is None
    assert reason(order, who=subject(PLANNER), presents=None) is Reason.BREAK_GLASS
    assert reason(order, who=Subject(), presents=None) is Reason.BREAK_GLASS
    assert reason(DenyAllBut("o1", "a", "b", NOW + 10, ("",)), who=Subject(), presents=None) is Reason.BREAK_GLASS
    assert reason(order, who=subject(PLANNER), presents=None, now=NOW + 10) is None
    assert reason(order, EndDenyAllBut("o2"), who=subject(PLANNER), presents=None) is Reason.BREAK_GLASS
    assert reason(order, EndDenyAllBut("o1"), who=subject(PLANNER), presents=None) is None


def test_of_two_break_glass_orders_both_hold():
    orders = DenyAllBut("o1", "a", "b", NOW + 10, (HOLDER,)), DenyAllBut("o2", "a", "b", NOW + 10, (PLANNER,))
    for who in (HOLDER, PLANNER):
        assert reason(*orders, who=subject(who), presents=None) is Reason.BREAK_GLASS


def test_who_is_excepted_from_break_glass_may_be_revoked_all_the_same():
    order = DenyAllBut("o1", "alice", "breach", NOW + 10, (HOLDER,))
    assert reason(order, Revoke(K.PRINCIPAL, HOLDER)) is Reason.PRINCIPAL_REVOKED


def test_what_has_lapsed_is_swept_a_part_at_a_time():
    view = revoked(*(Revoke(K.GRANT, grant_id(n), NOW + n) for n in range(100)), Revoke(K.TASK, "task-1"))
    assert view.sweep(NOW + 1_000, 30) == 30
    assert len(view) == 71
    assert view.sweep(NOW + 1_000, 1_000) == 70
    assert len(view) == 1
    assert view.sweep(NOW + 1_000, 1_000) == 0
    assert view.refusal(subject(), GRANT, NOW + 1_000) is Reason.TASK_REVOKED


def test_a_sweep_takes_nothing_that_still_holds():
    view = revoked(*(Revoke(K.GRANT, grant_id(n), NOW + n) for n in range(100)))
    for now in range(NOW - 1, NOW + 120, 7):
        view.sweep(now, 1_000)
        assert all(view.refusal(subject(), grant(id=grant_id(n)), now) for n in range(max(0, now - NOW + 1), 100))
    assert len(view) == 0


def test_an_entry_that_was_prolonged_outlives_the_sweep_of_its_first_end():
    view = revoked(Revoke(K.TASK, "task-1", NOW + 1), Revoke(K.TASK, "task-1", NOW + 500))
    view.sweep(NOW + 100, 1_000)
    assert view.refusal(subject(), GRANT, NOW + 100) is Reason.TASK_REVOKED


def test_what_does_not_fit_denies_everybody():
    """I2: the entry that is not held may be the one that matters."""
    view = revoked(Revoke(K.TASK, "a"), Revoke(K.TASK, "b"), max_entries=2)
    assert view.refusal(subject(), GRANT, NOW) is None
    view.take(Revoke(K.TASK, "c"))
    assert view.refusal(subject(), GRANT, NOW) is Reason.STATE_STALE
    view.take(Restore(K.TASK, "a"))
    assert view.refusal(subject(), GRANT, NOW) is Reason.STATE_STALE
    orders = [DenyAllBut(f"o{n}", "a", "b", NOW + 10, (HOLDER,)) for n in range(MAX_BREAK_GLASS + 1)]
    assert reason(*orders[1:]) is None
    assert reason(*orders) is Reason.STATE_STALE


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (K.GRANT, "short"),
        (K.TASK, ""),
        (K.COMPLETED_TASK, "a b"),
        (K.CREDENTIAL, FINGERPRINT.upper()),
        (K.CREDENTIAL, "AB:CD"),
        (K.CREDENTIAL, FINGERPRINT + "\n"),
        (K.PRINCIPAL, "payer"),
        (K.PRINCIPAL, "SPIFFE://prod.example/x"),
        (K.PRINCIPAL, "spiffe://Prod.example/x"),
        (K.TRUST_DOMAIN, "spiffe://prod.example"),
        (K.TRUST_DOMAIN, "Prod.example"),
        (K.TRUST_DOMAIN, ""),
    ],
)
def test_a_revocation_that_would_stop_nobody_is_refused(kind, value):
    with pytest.raises(ValueError, match=kind.value):
        Revoke(kind, value)


def test_a_trust_domain_alone_is_a_principal_that_can_be_named():
    assert Revoke(K.PRINCIPAL, "spiffe://prod.example").value


CHANGES = [
    Revoke(K.TASK, "task-1", NOW + 1.5),
    Restore(K.TASK, "task-1"),
    CutOff(CutOffKind.ISSUER, "i", 5.0, 6.0),
    EndCutOff(CutOffKind.ISSUER, "i"),
    DenyAllBut("o1", "alice", "breach", 5.0, (HOLDER,)),
    EndDenyAllBut("o1"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_changes_travel_as_json(change):
    assert msgspec.json.decode(msgspec.json.encode(change), type=RevocationChange) == change


def test_changes_come_in_their_order_each_once():
    view = RevocationView(revoked())
    assert (view.sequence, view.epoch) == (0, 0)
    assert view.apply(1, Revoke(K.TASK, "task-1"))
    assert view.refusal(subject(), GRANT, NOW) is Reason.TASK_REVOKED
    assert (view.sequence, view.epoch) == (1, 1)
    assert view.apply(2, Restore(K.TASK, "task-1"))
    assert not view.apply(1, Revoke(K.TASK, "task-1"))  # a repetition is no news
    assert view.refusal(subject(), GRANT, NOW) is None
    assert (view.sequence, view.epoch) == (2, 2)


def test_a_change_that_concerns_something_else_moves_the_number_alone():
    view = RevocationView(revoked())
    assert view.apply(1, None)
    assert (view.sequence, view.epoch) == (1, 0)


def test_a_missing_change_is_noticed_and_nothing_applied():
    view = RevocationView(revoked(), 7)
    with pytest.raises(FeedGap) as caught:
        view.apply(9, Revoke(K.TASK, "task-1"))
    assert (caught.value.after, caught.value.found) == (7, 9)
    assert (view.sequence, view.epoch, len(view)) == (7, 0, 0)


def test_a_snapshot_takes_the_place_of_what_was_there_and_never_goes_back():
    view = RevocationView(revoked(Revoke(K.PRINCIPAL, HOLDER)), 7)
    view.replace(revoked(Revoke(K.TASK, "task-1")), 9)
    assert view.refusal(subject(), GRANT, NOW) is Reason.TASK_REVOKED
    assert (view.sequence, view.epoch) == (9, 1)
    with pytest.raises(ValueError, match="older"):
        view.replace(revoked(), 8)
    assert view.refusal(subject(), GRANT, NOW) is Reason.TASK_REVOKED
    view.replace(revoked(), 9)
    assert view.refusal(subject(), GRANT, NOW) is None


def test_a_sweep_leaves_the_epoch():
    view = RevocationView(revoked(Revoke(K.TASK, "task-1", NOW)), 1)
    assert view.sweep(NOW + 100, 10) == 1
    assert (len(view), view.epoch) == (0, 0)


def test_what_never_lapses_stays():
    view = revoked(Revoke(K.TASK, "task-1", math.inf))
    assert view.sweep(1e12, 10) == 0
    assert view.refusal(subject(), GRANT, 1e12) is Reason.TASK_REVOKED
