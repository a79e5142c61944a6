"""That the benchmark asks what it means to ask, and that its right answers are right."""

import pytest

from bench.client import Deck
from bench.frames import ID_SLOT, check_card
from bench.inside import Inside, messages
from bench.servers import Records, read_records
from bench.traffic import ALLOW, DENY, KINDS
from bench.world import Setup, make_identities

PRINCIPALS = 30


@pytest.fixture(scope="module")
def identities(tmp_path_factory):
    return make_identities(tmp_path_factory.mktemp("bench") / "pki", PRINCIPALS)


@pytest.fixture(scope="module")
def inside(identities, tmp_path_factory):
    return {
        by_id: Inside(Setup(by_id=by_id, rules=20), identities, tmp_path_factory.mktemp("pdp"), PRINCIPALS)
        for by_id in (False, True)
    }


@pytest.mark.parametrize("kind", [*KINDS, "each"])
def test_the_right_answers_are_those_of_the_pdp(kind, identities, inside):
    for by_id, one in inside.items():
        asked = messages(kind, identities, 200)
        if kind == "each":  # some of them lack the clearance
            assert {expect for _, expect in asked} == {ALLOW, DENY}
        for message, expect in asked:
            one.demand(message, expect)
        assert one.keeper.count >= 200, by_id


def test_a_wrong_answer_is_an_error(identities, inside):
    (message, expect), *_ = messages("hit", identities, 1)
    with pytest.raises(AssertionError, match="code 0 instead of 7"):
        inside[False].demand(message, DENY if expect == ALLOW else ALLOW)


def test_denials_are_by_the_explicit_rule(identities, inside):
    for message, _ in messages("denial", identities, 20):
        inside[False].check(message)
        assert inside[False].keeper.outcome.decision.reason.value == "denied_by_rule"


def test_requests_are_as_large_as_the_captured_ones(identities):
    sizes = {len(message) for kind in KINDS for message, _ in messages(kind, identities, 50)}
    assert 1500 < min(sizes) <= max(sizes) < 1700


def test_hits_differ_by_nothing_but_ids_of_requests_and_misses_never_repeat_a_resource(identities):
    paths = {kind: [_path(message) for message, _ in messages(kind, identities, 300)] for kind in ("hit", "miss")}
    assert len(set(paths["hit"])) < 100
    assert len(set(paths["miss"])) == 300


def _path(message):
    from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

    return CheckRequest.FromString(message).attributes.request.http.path


def test_hits_are_decided_once_and_misses_every_time(identities, tmp_path):
    for kind, by_id, decided in (("hit", False, 24), ("miss", True, 120)):
        one = Inside(Setup(by_id=by_id), identities, tmp_path / kind, PRINCIPALS)
        for message, expect in messages(kind, identities, 120):
            one.demand(message, expect)
        stats = one.parts.cache.stats
        assert stats.absent == decided
        assert stats.hits_allowed == 120 - decided


def test_without_a_cache_everything_is_decided(identities, tmp_path):
    one = Inside(Setup(cache=False), identities, tmp_path, PRINCIPALS)
    for message, expect in messages("hit", identities, 60):
        one.demand(message, expect)
    assert one.cached == one.parts.cache.stats.hits_allowed == 0


def test_the_same_pdp_without_its_cache_decides_everything_and_leaves_the_cache_alone(identities, tmp_path):
    one = Inside(Setup(), identities, tmp_path, PRINCIPALS)
    for message, expect in messages("hit", identities, 60):
        one.uncached().demand(message, expect)
    assert one.cached == 0
    one.demand(*messages("hit", identities, 1)[0])
    assert one.cached == 1


def test_an_opening_asks_for_every_card_once_and_for_no_id_that_comes_later():
    deck = Deck([check_card(b"a" + ID_SLOT, 0), check_card(b"b" + ID_SLOT, 0)], [(0, -1), (1, 3), (0, -1), (1, 9)])
    opening = [deck.opening.deal() for _ in range(deck.opening.size)]
    assert [card.parts for card, _, _ in opening] == [card.parts for card in (deck.cards[1], deck.cards[0])]
    later = {resource for _, _, resource in (deck.deal() for _ in range(50))}
    assert opening[1][2] not in later
    assert opening[0][2] == b"00000003"


def test_an_audit_file_tells_how_many_calls_were_answered_from_the_cache(tmp_path):
    lines = [
        b'{"event":"trail_started","v":1}',
        b'{"event":"decision","v":1,"effect":"allow","cached":true,"latency_us":9}',
        b'{"event":"decision","v":1,"effect":"allow","latency_us":90}',
        b'{"event":"decision","v":1,"cut in the midd',
    ]
    (tmp_path / "audit").write_bytes(b"\n".join(lines))
    assert read_records(tmp_path / "audit") == Records(decisions=2, cached=1)
