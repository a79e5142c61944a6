"""The compact view answers as a list of everything that was ever ordered would (I4)."""

from grant_kit import NOW, grant, grant_id, subject
from hypothesis import given
from hypothesis import strategies as st

from authz.grants.changes import Restore, RevocationKind, Revoke
from authz.grants.grant import Task
from authz.grants.revoked import Revoked

MARGIN = 5.0
named = st.sampled_from(
    [
        (RevocationKind.GRANT, grant_id(1)),
        (RevocationKind.GRANT, grant_id(2)),
        (RevocationKind.TASK, "t1"),
        (RevocationKind.COMPLETED_TASK, "t1"),
        (RevocationKind.PRINCIPAL, "spiffe://td/a"),
        (RevocationKind.TRUST_DOMAIN, "td"),
    ]
)
moments = st.integers(NOW, NOW + 100)
changes = st.builds(lambda what, end: Revoke(*what, end), named, moments | st.just(float("inf"))) | st.builds(
    lambda what: Restore(*what), named
)
steps = st.lists(st.tuples(changes | st.none(), st.integers(0, 20)), max_size=25)
CALLER = subject("spiffe://td/a", fingerprint="")
PRESENTS = st.sampled_from([None, *(grant(id=grant_id(n), task=Task("t1"), holder="spiffe://td/a") for n in (1, 2, 3))])


def concerned(presents):
    about = {(RevocationKind.PRINCIPAL, "spiffe://td/a"), (RevocationKind.TRUST_DOMAIN, "td")}
    if presents:
        tasks = {(kind, "t1") for kind in (RevocationKind.TASK, RevocationKind.COMPLETED_TASK)}
        about |= {(RevocationKind.GRANT, presents.id), *tasks}
    return about


@given(steps, PRESENTS, st.integers(1, 5))
def test_the_view_answers_as_the_whole_history_would(history, presents, sweep):
    view, orders, now = Revoked(MARGIN, 1_000), {}, NOW
    for change, wait in history:
        now += wait
        if isinstance(change, Revoke):
            place = (change.kind, change.value)
            orders[place] = max(orders.get(place, 0), change.expires + MARGIN)
        elif change is not None:
            orders.pop((change.kind, change.value), None)
        if change is not None:
            view.take(change)
        view.sweep(now, sweep)
        expected = any(orders.get(place, 0) > now for place in concerned(presents))
        assert (view.refusal(CALLER, presents, now) is not None) is expected


@given(steps)
def test_to_apply_a_change_again_changes_nothing(history):
    once, twice = Revoked(MARGIN, 1_000), Revoked(MARGIN, 1_000)
    for change, _ in history:
        if change is not None:
            once.take(change)
            twice.take(change)
            twice.take(change)
    for now in range(NOW, NOW + 110, 3):
        assert once.refusal(CALLER, None, now) is twice.refusal(CALLER, None, now)
    assert len(once) == len(twice)


@given(steps)
def test_after_everything_lapsed_nothing_is_left(history):
    view = Revoked(MARGIN, 1_000)
    for change, _ in history:
        if isinstance(change, Revoke) and change.expires < float("inf"):
            view.take(change)
    view.sweep(NOW + 200, 10_000)
    assert len(view) == 0
