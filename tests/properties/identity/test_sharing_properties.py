"""What counts as in use at once, against the plainest way to say it; and that no history breaks a bound."""

from hypothesis import given
from hypothesis import strategies as st

from authz.identity.sharing import SharingTracker
from authz.identity.sharing_settings import SharingSettings
from authz.identity.sightings import Evidence, Sighting, most_at_once
from authz.model import CheckCall, Credential, Subject

moments = st.integers(0, 60).map(float)
spans = st.lists(st.tuples(moments, moments).map(sorted), max_size=12)


@given(spans, moments, st.sampled_from([0.0, 1.0, 7.0]))
def test_the_most_at_once_is_the_most_at_any_moment(ends, since, handover):
    sightings = [Sighting(first, last) for first, last in ends]
    used = sorted((each.first, max(each.first, each.last - handover)) for each in sightings if each.last > since)
    plainly = max((1 + sum(end > start for _, end in used[:at]) for at, (start, _) in enumerate(used)), default=0)
    assert most_at_once(sightings, since, handover) == plainly


SETTINGS = SharingSettings(
    window_seconds=10.0,
    resolution_seconds=0.01,
    address_handover_seconds=2.0,
    certificate_handover_seconds=2.0,
    max_evidence=4,
    max_identities=3,
)
calls = st.lists(
    st.tuples(st.floats(-1, 8), st.sampled_from("abcde"), st.integers(0, 3), st.integers(0, 9)), max_size=60
)


@given(calls)
def test_bounds_hold_and_nobody_is_accused_for_another(history):
    """Whoever is seen with one certificate and from one address only is never shared, whatever the others do."""
    watch, now = SharingTracker(SETTINGS), 1_000.0
    quiet = Subject(id="spiffe://td/quiet", credential=Credential("x509-svid", "q", 0.0, 9e9))
    for step, name, certificate, address in history:
        now += step
        subject = Subject(
            id=f"spiffe://td/{name}", credential=Credential("x509-svid", f"{name}{certificate}", 0.0, 9e9)
        )
        watch.observe(CheckCall("http", source_address=f"10.0.0.{address}"), subject, now)
        assert not watch.observe(CheckCall("http", source_address="10.0.1.1"), quiet, now)["shared"]
        assert len(watch) <= SETTINGS.max_identities
        for usage in watch.usages():
            for kind in Evidence:
                assert len(list(usage.evidence(kind, 0.0))) <= SETTINGS.max_evidence


@given(calls, st.integers(0, 2**30))
def test_it_does_not_matter_which_process_saw_what(history, seed):
    """Two processes that tell each other everything come to what one alone would, once both have heard."""
    settings = SharingSettings(
        window_seconds=10.0,
        resolution_seconds=0.01,
        address_handover_seconds=0.0,
        certificate_handover_seconds=0.0,
        last_seen_seconds=1.0,
        max_evidence=50,
    )
    alone, pair, now = SharingTracker(settings), (SharingTracker(settings), SharingTracker(settings)), 1_000.0
    for number, (step, name, certificate, address) in enumerate(history):
        now += max(step, 0.0) / 50  # no gap as long as a window
        subject = Subject(
            id=f"spiffe://td/{name}", credential=Credential("x509-svid", f"{name}{certificate}", 0.0, 9e9)
        )
        call = CheckCall("http", source_address=f"10.0.0.{address}")
        alone.observe(call, subject, now)
        pair[seed >> number % 30 & 1].observe(call, subject, now)
    for one, other in (pair, pair[::-1]):
        for usage in one.usages():
            usage.untell()
        one.untold(each for usage in list(one.usages()) for each in usage.news())
        other.merge(one.news(10_000), now)
    for usage in alone.usages():
        for told in pair:
            theirs = next((each for each in told.usages() if each.id == usage.id), None)
            found = theirs.counts(now) if theirs else (0, 0, 0)
            assert found == usage.counts(now)
