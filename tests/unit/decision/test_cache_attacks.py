"""What a caller may try to make of the cache: an answer that is not its own, or more memory and time than it is due."""

import gc
import sys

import msgspec
import pytest
from cache_world import Fixed, question

from authz.decision.cache import CacheSettings, DecisionCache, Entry, LocalEpoch
from authz.decision.check import denial
from authz.decision.key import ResourceClasses, basis_of, frozen
from authz.errors import Reason
from authz.extauthz.mutations import MutationSettings
from authz.model import Credential, Decision, Effect, Subject
from authz.policy.classes import TextClasses
from authz.policy.compile import CompiledEngine
from authz.policy.uses import AttributeUse, policy_use

ALLOWED = Decision(Effect.ALLOW, Reason.ALLOWED)


def reasons(world, *messages):
    """Ask each twice; every answer and decision must be the one without a cache. What was decided of each."""
    found = []
    for message in messages * 2:
        (told, outcome), (wanted, expected) = world.cached.ask(message), world.fresh.ask(message)
        assert (told, outcome.decision) == (wanted, expected.decision), message
        found.append(outcome.decision.reason)
    return found[: len(messages)]


# What a request lacks


def test_a_token_that_no_rule_reads_denies_where_it_is_absent_as_it_does_without_a_cache():
    world = Fixed("r.sub.kind == 'agent'", tokens=("tier",), mapping={"tier": "env.headers.x-tier"})
    there, absent = question(headers={"x-tier": "gold"}), question()
    assert reasons(world, there, absent) == [Reason.ALLOWED, Reason.RULE_ERROR]


@pytest.mark.parametrize(
    "path",
    [
        "env.time",
        "env.hour",
        "env.context.x",
        "env.metadata.ns.x",
        "sub.credential.age",
        "sub.claims.x",
        "obj.labels.x",
    ],
)
def test_whatever_an_unread_token_stands_for(path):
    world = Fixed("r.sub.kind == 'agent'", tokens=("more",), mapping={"more": path})
    reasons(world, question(), question(metadata={"x": 1.0}), question(context={"x": "1"}), question("/v1/accounts/1"))


def test_an_unread_token_for_the_time_or_the_path_costs_no_reuse():
    world = Fixed("r.sub.kind == 'agent'", tokens=("t", "o"), mapping={"t": "env.time", "o": "obj.path"})
    for number in range(10):
        world.cached.ask(question(f"/v1/{number}"))
    assert world.cache.stats.hits_allowed == 9


# Values that are nearly equal


def test_maps_in_another_order_and_zeros_of_another_sign_are_told_as_without_a_cache():
    told = MutationSettings(set_request_headers={"x-all": "{env.metadata}", "x-one": "{env.metadata.ns.a}"})
    world = Fixed("r.sub.kind == 'agent'", told=told)
    reasons(world, question(metadata={"a": 0.0, "b": 1.0}), question(metadata={"a": -0.0, "b": 1.0}))
    one = world.cached.ask(question(metadata={"a": 1.0, "b": 2.0}))[0]
    assert one.ok_response == world.fresh.ask(question(metadata={"b": 2.0, "a": 1.0}))[0].ok_response


def test_numbers_of_a_caller_s_choosing_do_not_collide():
    chosen = [number * 2.0**power for number in range(1, 99, 2) for power in range(0, 960, 61)]
    assert len({hash(each) for each in chosen}) < len(chosen) / 10  # it is that easy
    assert len({hash(frozen(each)) for each in chosen}) == len(chosen)


@pytest.mark.parametrize(
    "rule",
    [
        "r.obj.id in ('1' + '2')",
        "!(r.obj.id in ('3' + '4'))",
        "r.obj.id not in ('3' + '4')",
        "r.obj.id in keyGet2('/v1/12', '/v1/:id', 'id')",
    ],
)
def test_a_part_of_a_text_is_told_from_what_is_none(rule):
    """`in` asks for a part where its right side comes to a text, which no class of equal texts shows."""
    world = Fixed(rule)
    found = reasons(world, *[question(f"/v1/accounts/{number}") for number in ("1", "3", "2", "4", "12", "x")])
    assert set(found) == {Reason.ALLOWED, Reason.NO_MATCHING_RULE}


# Memory


def test_what_each_token_brings_along_counts():
    """A caller whose issuer hands out tokens without end, each with many claims."""
    cache = DecisionCache(CacheSettings(max_bytes=1_000_000), LocalEpoch())
    cache.find(None, ("begin",), 0, 0.0)
    for number in range(2_000):
        claims = {"groups": [f"group-{number}-{each}" for each in range(100)]}
        subject = Subject(id=f"spiffe://td/{number}", token=Credential("oidc", "f", 0.0, 9e9), claims=claims)
        cache.keep(None, (number,), Entry(ALLOWED, (b"",), subject, 0.0, 9e9, 0))
    assert cache.bytes <= 800_000
    assert cache.entries[0] < 800_000 / 7_000
    assert cache.clear()
    assert cache.bytes == 0


def test_a_subject_counts_once_and_is_given_back_with_its_last_entry():
    cache = DecisionCache(CacheSettings(), LocalEpoch())
    cache.find(None, ("begin",), 0, 0.0)
    subject = Subject(claims={"text": "x" * 100_000})
    for number in range(10):
        cache.keep(None, (number,), Entry(ALLOWED, (b"",), subject, 0.0, 10.0 + number, 0))
    assert 101_000 < cache.bytes < 120_000
    for number in range(9):
        assert cache.find(None, (number,), 0, 50.0) is None
    assert cache.bytes > 100_000
    assert cache.find(None, (9,), 0, 50.0) is None
    assert cache.bytes == 0


def test_an_entry_too_large_for_the_cache_pushes_out_nothing():
    cache = DecisionCache(CacheSettings(max_bytes=65_536), LocalEpoch())
    cache.find(None, ("begin",), 0, 0.0)
    subject = Subject()
    cache.keep(None, (1,), Entry(ALLOWED, (b"",), subject, 0.0, 9.0, 0))
    cache.keep(None, ("x" * 99_000,), Entry(ALLOWED, (b"",), subject, 0.0, 9.0, 0))
    cache.keep(None, (2,), Entry(ALLOWED, (b"",), Subject(claims={"x": "x" * 99_000}), 0.0, 9.0, 0))
    assert cache.entries == (1, 0)


def test_long_texts_are_not_remembered_as_classes():
    engine = CompiledEngine.load(MODEL, "m", [("p", "p, 'x' in r.obj.labels || r.obj.path != r.sub.id")])
    classes = ResourceClasses(basis_of((engine,), {}))
    long = [classes({"path": f"/{number}/" + "x" * 8_000, "labels": {}}) for number in range(100)]
    assert len(set(long)) == 100
    assert all("x" * 8_000 in str(each) for each in long), "so that the cache counts their bytes"
    assert not len(classes._numbers)
    assert classes({"path": "/1/" + "x" * 8_000, "labels": {}}) == long[1]
    short = [classes({"path": f"/{number}", "labels": {}}) for number in range(100)]
    assert set(map(type, short)) == {int}


def test_a_flood_of_distinct_questions_stays_within_its_bounds():
    settings = {"max_allowed_entries": 50, "max_denied_entries": 20, "max_bytes": 65_536}
    world = Fixed("r.sub.kind == 'agent' && r.env.task.id != 'no'", **settings)
    for number in range(300):
        headers = {"x-task-id": f"t{number}", f"x-authz-{number}": "forged", "x-task-purpose": "p" * (number % 200)}
        assert reasons(world, question(headers=headers)) == [Reason.ALLOWED]
        assert reasons(world, question(headers=headers | {"x-task-id": "no"})) == [Reason.NO_MATCHING_RULE]
    assert world.cache.entries[0] <= 50
    assert world.cache.entries[1] <= 20
    assert world.cache.bytes <= 65_536


def test_the_estimate_of_bytes_is_not_less_than_what_entries_take():
    """A hundred thousand of the usual size fit into the bytes that are the default."""
    world = Fixed("r.sub.kind == 'agent' && r.env.task.id != 'no'")
    world.cached.ask(question(headers={"x-task-id": "warm"}))
    gc.collect()
    before, bytes_before, count = sys.getallocatedblocks(), world.cache.bytes, 2_000
    for number in range(count):
        world.cached.ask(question(headers={"x-task-id": f"task-{number:08}"}))
    blocks = (sys.getallocatedblocks() - before) / count
    each = (world.cache.bytes - bytes_before) / count
    assert blocks < 20, "few objects for each entry; of the encoder's own memory a part comes on top"
    assert each * 100_000 < 0.8 * CacheSettings().max_bytes


# Objects that go and come


def test_a_caller_whose_place_in_memory_was_another_s_gets_no_answer_of_that_one():
    """Subjects are made anew for each proof, and the memory of one that is gone is taken by the next."""
    world = Fixed("r.sub.id == 'spiffe://td/a'", max_allowed_entries=4, max_denied_entries=4)
    places = set()

    def identify(call, now):
        subject = msgspec.structs.replace(world.subjects[0], id=call.principal)
        places.add(id(subject))
        return subject

    world.identify = identify
    names = ["a", "b", "a", "c", "b", "b", "a", "a"] * 60
    for name in names:
        reason = world.cached.ask(question(who=name))[1].decision.reason
        assert reason is (Reason.ALLOWED if name == "a" else Reason.NO_MATCHING_RULE)
        world.cached.outcome = None
    assert len(places) < len(names), "no place was ever used again: this shows nothing"


# Classes of texts


MODEL = """
[request_definition]
r = sub, obj, act, env
[policy_definition]
p = rule
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = eval(p.rule)
"""


def test_a_text_that_lets_a_pattern_err_shares_no_class():
    engine = CompiledEngine.load(
        MODEL, "m", [("p", "p, regexMatch(r.obj.path, '^/a.b')\np, regexMatch(r.obj.path, '^/b.c')")]
    )
    (use,) = policy_use(engine).attributes.values()
    classes = TextClasses(use, engine.source.functions)
    assert classes.of("/z") != classes.of("/z\ud800")


def test_attributes_that_only_some_engines_read_are_all_in_the_key():
    engines = [
        CompiledEngine.load(MODEL, "m", [("p", f"p, {rule}")]) for rule in ("r.act.name == 'x'", "r.env.sni == 'y'")
    ]
    found = basis_of(engines, {})
    assert (found.act, found.env) == ((("name",),), (("sni",),))


def test_nothing_is_said_of_an_attribute_that_is_not_used():
    assert not AttributeUse().only_matched


def test_a_denial_and_an_allow_of_one_key_never_stand_beside_each_other():
    cache = DecisionCache(CacheSettings(), LocalEpoch())
    cache.find(None, ("k",), 0, 0.0)
    subject = Subject()
    cache.keep(None, ("k",), Entry(ALLOWED, (b"",), subject, 0.0, 5.0, 0))
    assert cache.find(None, ("k",), 0, 6.0) is None
    cache.keep(None, ("k",), Entry(denial(Reason.NO_MATCHING_RULE), (b"",), subject, 6.0, 9.0, 0))
    assert cache.entries == (0, 1)
    assert not cache.find(None, ("k",), 0, 7.0).decision.allowed


def test_what_goes_on_record_in_full_is_decided_every_time():
    world = Fixed("r.sub.kind == 'agent'", obligations="log=full")
    for _ in range(3):
        assert not world.cached.ask(question())[1].cached
