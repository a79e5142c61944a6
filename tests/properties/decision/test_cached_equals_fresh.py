"""I3 and I4: whatever happens, the cached PDP answers what one without a cache answers at the same moment."""

import os

import msgspec
import pytest
from cache_world import ID_FOCUS, SHARING_FOCUS, World

from authz.decision import key, questions
from authz.decision.cache import DecisionCache
from authz.decision.key import Basis, KeyMaker
from authz.errors import Reason
from authz.model import NO_FACTS

HISTORIES = int(os.environ.get("AUTHZ_CACHE_HISTORIES", "40"))
STEPS = 400


def first_difference(histories, steps=STEPS, **settings):
    for seed in range(histories):
        world = World(seed, **settings)
        for step in range(steps):
            difference = world.step()
            if difference is not None:
                return seed, step, difference, world.rules
    return None


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_every_answer_is_the_one_that_evaluation_would_give_now(seed):
    world = World(seed)
    for step in range(STEPS):
        assert world.step() is None, f"seed {seed}, step {step}:\n{world.rules}"


@pytest.mark.parametrize("seed", range(HISTORIES // 5))
def test_every_answer_follows_who_begins_to_use_an_identity(seed):
    world = World(seed, focus=SHARING_FOCUS)
    for step in range(STEPS):
        assert world.step() is None, f"seed {seed}, step {step}:\n{world.rules}"


@pytest.mark.parametrize("seed", range(HISTORIES // 5))
def test_what_is_new_in_every_request_decides_where_rules_read_it(seed):
    world = World(seed, focus=ID_FOCUS)
    for step in range(STEPS):
        assert world.step() is None, f"seed {seed}, step {step}:\n{world.rules}"


@pytest.mark.parametrize("seed", range(max(6, HISTORIES // 6)))
def test_what_tasks_did_and_what_they_spent_is_no_different_where_decisions_are_used_again(seed):
    world = World(seed, accounts=True)
    for step in range(STEPS):
        assert world.step() is None, f"seed {seed}, step {step}:\n{world.rules}"


def test_those_histories_use_decisions_again_too_and_run_into_every_brake():
    worlds = [World(seed, accounts=True) for seed in range(4)]
    reasons = set()
    for world in worlds:
        for _ in range(STEPS):
            world.step()
            reasons.add(world.cached.outcome.decision.reason)
    assert sum(world.hits for world in worlds) > 50
    assert {Reason.BUDGET_EXCEEDED, Reason.TASK_SUSPENDED} <= reasons


def test_facts_of_a_task_that_are_left_out_of_the_key_are_found_out(monkeypatch):
    reader = key._env_reader

    def without_facts(path, binder):
        return (lambda *_: None) if path[0] == "task" and path[-1] in NO_FACTS else reader(path, binder)

    monkeypatch.setattr(key, "_env_reader", without_facts)
    assert first_difference(12, accounts=True) is not None


def test_the_histories_do_use_decisions_again():
    worlds = [World(seed) for seed in range(12)]
    for world in worlds:
        for _ in range(STEPS):
            world.step()
    assert sum(world.hits for world in worlds) > 0.12 * sum(world.steps for world in worlds)
    assert sum(world.recalled for world in worlds) > 0.05 * sum(world.steps for world in worlds)
    assert sum(world.cache.stats.expired for world in worlds) > 50
    assert sum(world.cache.stats.clock for world in worlds) > 20
    assert sum(world.cache.stats.invalidated_by_epoch for world in worlds) > 20
    assert sum(world.cache.stats.invalidated_by_reload for world in worlds) > 20


@pytest.mark.parametrize(
    "settings",
    [
        {"max_allowed_entries": 0},
        {"max_denied_entries": 0},
        {"max_allowed_entries": 1, "max_denied_entries": 1},
        {"max_bytes": 65_536},
        {"max_age_seconds": 0.4},
    ],
)
def test_the_bounds_change_no_answer(settings):
    assert first_difference(4, **settings) is None


# The test itself is tested: each part of the key, and each end, is left out once, and the difference must show.


def without(at):
    whole = KeyMaker.key

    def broken(self, *arguments):
        made = whole(self, *arguments)
        return made and (*made[:at], *made[at + 1 :])

    return broken


PARTS = ["subject", "place", "shape", "task", "grant"]


@pytest.mark.parametrize("part", PARTS)
def test_a_key_without_one_of_its_parts_is_found_out(part, monkeypatch):
    monkeypatch.setattr(KeyMaker, "key", without(PARTS.index(part)))
    assert first_difference(40, focus="grant" if part == "grant" else None) is not None


def emptied(**parts):
    whole = key.basis_of

    def broken(*arguments):
        found = whole(*arguments)
        return Basis(**{name: parts.get(name, getattr(found, name)) for name in Basis.__slots__})

    return broken


@pytest.mark.parametrize(
    ("part", "empty", "focus"),
    [
        ("obj", (), ""),
        ("act", (), "r.act."),
        ("amounts", (), "r.act.args"),
        ("env", (), "r.env."),
        ("sharing", (), SHARING_FOCUS),
        ("moments", (), "r.env.time"),
        ("ages", (), "credential.age"),
        ("grant_ages", (), "r.env.grant.age"),
        ("steps", (), "r.env.hour"),
        ("reusable", True, "r.env.time"),
    ],
)
def test_a_basis_without_one_of_its_parts_is_found_out(part, empty, focus, monkeypatch):
    monkeypatch.setattr("cache_world.basis_of", emptied(**{part: empty}))
    assert first_difference(40, focus=focus) is not None


def test_a_question_recalled_for_another_subject_is_found_out(monkeypatch):
    """The place by which it is known is what the two have in common, but for who asks."""
    monkeypatch.setattr(questions, "_place", lambda call, subject, presented: (id(call.recurrence), call.path))
    assert first_difference(40) is not None


def test_a_look_at_what_is_new_in_every_request_that_goes_unnoticed_is_found_out(monkeypatch):
    monkeypatch.setattr(questions._Watched, "__getitem__", lambda self, name: self._headers[name])
    assert first_difference(20, focus=ID_FOCUS) is not None


@pytest.mark.parametrize("focus", ["r.act.args", "r.obj.uri", "r.act.tool"])
def test_bodies_are_decided_as_evaluation_would(focus):
    worlds = [World(seed, focus=focus) for seed in range(4)]
    for world in worlds:
        for step in range(STEPS):
            assert world.step() is None, f"step {step}:\n{world.rules}"
    assert sum(world.hits for world in worlds) > 50


def test_a_batch_whose_key_is_not_whole_is_found_out(monkeypatch):
    whole = KeyMaker.key

    def broken(self, call, asked, subject, shape):
        return whole(self, call, msgspec.structs.replace(asked, batch=()), subject, shape)

    monkeypatch.setattr(KeyMaker, "key", broken)
    assert first_difference(40, focus="r.act.") is not None


def test_types_that_are_not_told_apart_are_found_out(monkeypatch):
    def loose(value):
        return str(value).removesuffix(".0").replace("True", "1")

    monkeypatch.setattr(key, "frozen", loose)
    assert first_difference(40, focus="metadata") is not None


def test_an_epoch_read_too_late_or_never_is_found_out(monkeypatch):
    """A change in the middle of an evaluation must not be outlived by its result."""
    world = World(1, focus="r.sub.kind")
    stale = []
    decide = type(world.snapshot).decide

    def decide_and_change(self, request, out_of_time):
        answer = decide(self, request, out_of_time)
        world.epoch.advance()
        return answer

    monkeypatch.setattr(type(world.snapshot), "decide", decide_and_change)
    for _ in range(200):
        message = world.asked_again()
        world.cached.ask(message)
        stale.append(world.cached.ask(message)[1].cached)
    assert not any(stale)
    keep = DecisionCache.keep

    def keep_under_the_epoch_now(self, snapshot, key, entry):
        entry.epoch = self.epoch
        keep(self, snapshot, key, entry)

    monkeypatch.setattr(DecisionCache, "keep", keep_under_the_epoch_now)
    hits = 0
    for _ in range(200):
        message = world.asked_again()
        world.cached.ask(message)
        hits += world.cached.ask(message)[1].cached
    assert hits, "the broken cache was expected to outlive the change"
