"""One identity, used by more workloads than it is meant for: what counts as that, and what does not."""

import pytest

from authz.errors import Reason, Refusal
from authz.identity.overdue import Problem, overdue
from authz.identity.sharing import SharingTracker
from authz.identity.sharing_settings import SharingSettings
from authz.identity.sightings import Evidence, Sighted
from authz.model import NOT_SHARED, CheckCall, Credential, Subject

NOW = 1_000_000.0
SETTINGS = {"window_seconds": 300.0, "address_handover_seconds": 60.0, "certificate_handover_seconds": 300.0}


def tracker(**settings):
    return SharingTracker(SharingSettings(**{**SETTINGS, **settings}))


def caller(name="a", certificate="c1", kind="x509-svid", begun=NOW - 100, lifetime=3_600, **attributes):
    credential = Credential(kind, certificate, begun, begun + lifetime) if certificate else None
    return Subject(id=f"spiffe://td/{name}" if name else "", credential=credential, attributes=attributes)


def call(address="10.0.0.1", owner=""):
    return CheckCall("http", source_address=address, headers={"x-owner": owner} if owner else {})


def play(watch, *calls):
    """Each call as (seconds, caller, call); answer what was said of the last."""
    state = None
    for seconds, subject, each in calls:
        state = watch.observe(each, subject, NOW + seconds)
    return state


def counts(state):
    return tuple(state["sharing"].values())


def test_one_workload_is_not_shared():
    state = play(tracker(), *[(second, caller(), call()) for second in range(0, 900, 7)])
    assert state == {"shared": False, "sharing": {"certificates": 1, "addresses": 1, "owners": 0}}


def test_one_certificate_from_two_addresses_at_a_time_is_shared():
    """As when it was stolen: found out once the first is seen longer than a handover after the second."""
    watch, subject = tracker(), caller()
    here, there = call("10.0.0.1"), call("192.0.2.9")
    assert not play(watch, (0, subject, here), (10, subject, there), (60, subject, here))["shared"]
    state = play(watch, (80, subject, here))
    assert state["shared"]
    assert counts(state) == (1, 2, 0)
    assert watch.detected == 1
    assert watch.shared() == 1


def test_an_instance_that_another_replaces_is_not_shared():
    watch, subject = tracker(), caller()
    old, new = call("10.0.0.1"), call("10.0.0.2")
    assert not play(watch, *[(s, subject, old) for s in range(100)], (60, subject, new), (99, subject, old))["shared"]
    assert not play(watch, *[(s, subject, new) for s in range(100, 700, 5)])["shared"]


def test_a_rotated_certificate_is_not_shared():
    watch, old, new = tracker(), caller(certificate="c1"), caller(certificate="c2")
    steps = [(s, old, call()) for s in range(0, 300, 5)] + [(s, new, call()) for s in range(250, 1_000, 5)]
    assert not any(play(watch, step)["shared"] for step in steps)


def test_two_certificates_that_go_on_side_by_side_are_shared():
    watch, one, two = tracker(), caller(certificate="c1"), caller(certificate="c2")
    steps = [(s, each, call()) for s in range(0, 400, 5) for each in (one, two)]
    states = [play(watch, step) for step in steps]
    assert not states[40]["shared"]
    assert states[-1]["shared"]
    assert counts(states[-1])[0] == 2


def test_what_was_shared_is_not_any_more_when_the_other_has_gone():
    watch, subject = tracker(), caller()
    play(watch, (0, subject, call("10.0.0.1")), (1, subject, call("10.0.0.2")), (70, subject, call("10.0.0.1")))
    state = play(watch, *[(s, subject, call("10.0.0.1")) for s in range(71, 400, 5)])
    assert not state["shared"]
    assert counts(state) == (1, 1, 0)


@pytest.mark.parametrize(
    ("attributes", "shared"),
    [({}, True), ({"expected_instances": 3}, False), ({"expected_instances": 2}, True), ({"max_addresses": 3}, True)],
)
def test_the_replicas_that_the_inventory_expects_are_not_shared(attributes, shared):
    watch = tracker(certificate_handover_seconds=60.0)
    replicas = [(caller(certificate=f"c{n}", **attributes), call(f"10.0.0.{n}")) for n in range(3)]
    state = play(watch, *[(s, *each) for s in range(0, 200, 5) for each in replicas])
    assert counts(state)[:2] == (3, 3)
    assert state["shared"] is shared


def test_more_addresses_than_instances_can_be_expected():
    watch = tracker()
    state = play(
        watch,
        *[(s, caller(max_addresses=2, expected_instances=1), call(f"10.0.0.{s % 2}")) for s in range(200)],
    )
    assert counts(state) == (1, 2, 0)
    assert not state["shared"]


def test_owners_that_take_turns_are_not_shared_and_owners_at_once_are():
    watch = tracker(task_owner_header="x-owner")
    assert not play(watch, (0, caller(), call(owner="ann")), (5, caller(), call(owner="ben")))["shared"]
    state = play(watch, (7, caller(), call(owner="ann")))
    assert counts(state)[2] == 2
    assert state["shared"]
    assert not play(watch, (9, caller(max_task_owners=2), call(owner="ann")))["shared"]


@pytest.mark.parametrize("owner", ["x" * 257, "a\nb", "\udcff"])
def test_an_owner_that_is_none_is_refused(owner):
    with pytest.raises(Refusal) as refused:
        play(tracker(task_owner_header="x-owner"), (0, caller(), call(owner=owner)))
    assert refused.value.reason is Reason.REQUEST_MALFORMED


def test_owners_are_not_read_unless_configured():
    assert counts(play(tracker(), (0, caller(), call(owner="ann")))) == (1, 1, 0)


def test_tokens_tell_nothing_for_a_workload_may_have_any_number():
    watch = tracker()
    state = play(watch, *[(s, caller(certificate=f"t{s}", kind="jwt-svid"), call()) for s in range(0, 600, 5)])
    assert counts(state) == (0, 1, 0)


def test_nobody_in_particular_is_not_watched():
    watch = tracker()
    assert play(watch, (0, Subject(), call())) is NOT_SHARED
    assert len(watch) == 0


def test_a_flood_of_addresses_shows_and_is_bounded():
    """One that none of them stays at: what is remembered is never pushed out by what is new."""
    watch, subject = tracker(max_evidence=8), caller()
    state = play(watch, *[(n / 10, subject, call(f"10.1.{n // 250}.{n % 250}")) for n in range(1_000)])
    assert state["shared"]
    assert counts(state)[1] == 8
    [usage] = watch.usages()
    assert len(list(usage.evidence(Evidence.ADDRESS, NOW + 100))) == 8
    other = caller("b")
    assert not play(watch, (100, other, call("10.9.9.9")))["shared"], "nobody else is accused for it"
    assert not play(watch, *[(s, subject, call()) for s in range(100, 900, 5)])["shared"], "it ends a window later"


def test_more_than_is_remembered_can_be_expected():
    watch, subject = tracker(max_evidence=4), caller(max_addresses=20)
    steps = [(s, subject, call(f"10.0.0.{n}")) for s in (0, 100) for n in range(20)]
    state = play(watch, *steps, (102, subject, call("10.0.0.1")))
    assert counts(state)[1] == 20
    assert not state["shared"]
    more = [(103, subject, call("10.0.0.99")), *[(200, subject, call(f"10.0.0.{n}")) for n in range(20)]]
    assert play(watch, *more, (202, subject, call("10.0.0.1")))["shared"]


def test_who_is_found_shared_is_forgotten_last():
    watch = tracker(max_identities=4, resolution_seconds=0.01)
    subject = caller()
    play(watch, (0, subject, call("10.0.0.1")), (1, subject, call("10.0.0.2")), (70, subject, call("10.0.0.1")))
    play(watch, *[(71 + n, caller(f"w{n}"), call()) for n in range(50)])
    assert len(watch) == 4
    assert watch.forgotten == 47
    assert watch.look(subject, NOW + 130)["shared"]


def test_the_same_object_as_long_as_nothing_changes():
    watch, subject = tracker(), caller()
    first = play(watch, (0, subject, call()))
    assert play(watch, (5, subject, call())) is first


def test_a_clock_that_goes_back_changes_no_times():
    watch, subject = tracker(), caller()
    play(watch, (100, subject, call()), (0, subject, call()))
    [usage] = watch.usages()
    assert usage.last == NOW + 100


def test_a_dry_run_is_told_and_notes_nothing():
    watch = tracker()
    assert watch.look(caller(), NOW) is NOT_SHARED
    assert len(watch) == 0


# Between processes


def test_what_two_processes_saw_is_put_together():
    here, there = tracker(), tracker()
    subject = caller()
    play(here, (0, subject, call("10.0.0.1")), (100, subject, call("10.0.0.1")))
    play(there, (10, subject, call("10.0.0.2")))
    here.merge(there.news(100), NOW + 100)
    assert play(here, (102, subject, call("10.0.0.1")))["shared"]


def test_news_are_told_once_and_again_after_a_while():
    watch = tracker(last_seen_seconds=60.0)
    play(watch, (0, caller(), call()))
    assert {each.kind for each in watch.news(100)} == {"identity", "certificate", "address"}
    play(watch, (5, caller(), call()))
    assert watch.news(100) == []
    play(watch, (61, caller(), call()))
    told = watch.news(100)
    assert [each.last_seen for each in told] == [NOW + 61] * 3
    watch.untold(told)
    assert watch.news(100) == told


def test_what_others_saw_long_ago_or_say_of_the_future():
    watch = tracker()
    old = Sighted("spiffe://td/a", "address", "10.0.0.9", NOW - 900, NOW - 301)
    future = Sighted("spiffe://td/b", "address", "10.0.0.9", NOW, NOW + 90_000)
    watch.merge([old, future, Sighted("spiffe://td/a", "of a newer program", "x", NOW, NOW)], NOW)
    [usage] = watch.usages()
    assert (usage.id, usage.last) == ("spiffe://td/b", NOW)


def test_an_address_that_was_given_to_another_is_not_seen_all_the_time():
    watch, subject = tracker(), caller()
    play(watch, (0, subject, call("10.0.0.2")))
    play(watch, *[(s, subject, call("10.0.0.1")) for s in range(400, 700, 5)])
    watch.merge([Sighted(subject.id, "address", "10.0.0.2", NOW + 690, NOW + 690)], NOW + 700)
    assert not play(watch, (705, subject, call("10.0.0.1")))["shared"]


# Certificates that overlive


def problems(watch, seconds, **settings):
    [usage] = watch.usages()
    return [(each.fingerprint, each.problem) for each in overdue(usage, SharingSettings(**settings), NOW + seconds)]


def test_an_old_certificate_beside_a_younger_one():
    watch = tracker()
    old, new = caller(certificate="old", begun=NOW - 9_000), caller(certificate="new", begun=NOW - 10)
    play(watch, (0, old, call()))
    assert problems(watch, 1, rotation_seconds=3_600.0) == [], "there is none to take its place yet"
    play(watch, (1, new, call()))
    assert problems(watch, 2, rotation_seconds=3_600.0) == [("old", Problem.NOT_ROTATED)]
    assert problems(watch, 2, rotation_seconds=9_500.0) == []
    assert problems(watch, 2) == []
    assert problems(watch, 400, rotation_seconds=3_600.0) == [], "nobody uses it any more"


def test_a_certificate_that_lives_too_long():
    watch = tracker()
    play(watch, (0, caller(lifetime=90_000), call()))
    assert problems(watch, 1, max_lifetime_seconds=86_400.0) == [("c1", Problem.LIVES_TOO_LONG)]
    assert problems(watch, 1, max_lifetime_seconds=90_000.0) == []
