"""Who is signed in, when very many are."""

import pytest
from console_kit import Browser

from authz.console import opening
from authz.console.sessions import Person, Sessions
from authz.console.settings import SessionSettings


def person(number):
    return Person(
        issuer="https://idp.example",
        subject=f"u{number}",
        person=f"u{number}",
        name="N",
        roles=frozenset({"viewer"}),
        groups=("viewers",),
        claims={},
        token="0",
        issued_at=0.0,
    )


@pytest.fixture
def clock():
    class Clock:
        now = 1_000.0

        def __call__(self):
            return self.now

    return Clock()


def test_a_session_is_held_until_it_ends_whoever_signs_in_besides(clock):
    sessions = Sessions(SessionSettings(max_sessions=3, max_per_user=2, idle_seconds=60), clock)
    first = sessions.begin(person(1))
    session = sessions.find(first)
    assert sessions.holds(session)
    sessions.begin(person(1))
    assert sessions.holds(session)
    sessions.begin(person(1))
    assert not sessions.holds(session), "one too many of this user"
    kept = sessions.find(sessions.begin(person(2)))
    clock.now += 59
    assert sessions.holds(kept)
    clock.now += 1
    assert not sessions.holds(kept), "not used for too long"
    ended = sessions.begin(person(3))
    session = sessions.find(ended)
    sessions.end(ended)
    assert not sessions.holds(session)
    for number in range(10):
        sessions.begin(person(number + 10))
    assert len(sessions) == 3


async def test_to_find_one_of_many_makes_one_caller(world, provider, monkeypatch):
    """When a change is confirmed, the control plane looks for who asked: decisions must not wait for that."""
    made = []
    whole = opening.caller_of
    monkeypatch.setattr(opening, "caller_of", lambda *given: made.append(1) or whole(*given))
    name = f"{provider.issuer}#omar"
    async with Browser(world, provider) as one, Browser(world, provider) as two:
        await one.sign_in("omar")
        await two.sign_in("vera")
        made.clear()
        assert world.server._callers.signed_in(name).operator == name
        assert world.server._callers.signed_in("nobody") is None
    assert len(made) == 1
