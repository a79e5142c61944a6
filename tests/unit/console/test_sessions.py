"""Sessions on the server's side, within bounds, and logins that leave nothing here."""

import pytest

from authz.console import login as login_module
from authz.console.login import Logins, LoginUsed
from authz.console.sessions import Person, Sessions
from authz.console.settings import SessionSettings


def person(subject="ada"):
    return Person(
        issuer="https://idp",
        subject=subject,
        person=subject,
        name=subject,
        roles=frozenset({"viewer"}),
        groups=(),
        claims={},
        token="0" * 64,
        issued_at=0.0,
    )


class Clock:
    now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def sessions(clock, **changes):
    return Sessions(SessionSettings(**changes), clock)


def test_each_has_a_name_of_its_own_that_is_not_kept(clock):
    kept = sessions(clock)
    one, two = kept.begin(person()), kept.begin(person())
    assert one != two
    assert kept.find(one) is not kept.find(two)
    assert kept.find(one).csrf != kept.find(two).csrf
    assert one not in repr(vars(kept))
    assert kept.find("") is None
    assert kept.find(one + "x") is None


def test_one_that_is_not_used_ends(clock):
    kept = sessions(clock, idle_seconds=10, absolute_seconds=100)
    name = kept.begin(person())
    clock.now += 9
    session = kept.find(name)
    clock.now += 9
    assert kept.holds(session)
    assert kept.find(name) is session
    clock.now += 10
    assert not kept.holds(session)
    assert kept.find(name) is None
    assert len(kept) == 0


def test_looking_does_not_keep_one_alive(clock):
    kept = sessions(clock, idle_seconds=10)
    name = kept.begin(person())
    session = kept.find(name)
    for _ in range(5):
        clock.now += 3
        kept.holds(session)
    assert kept.find(name) is None


def test_any_ends_however_much_it_is_used(clock):
    kept = sessions(clock, idle_seconds=10, absolute_seconds=30)
    name = kept.begin(person())
    for _ in range(5):
        clock.now += 5
        assert kept.find(name)
    clock.now += 5
    assert kept.find(name) is None


def test_their_number_is_bounded_and_nobody_pushes_others_out_alone(clock):
    kept = sessions(clock, max_sessions=4, max_per_user=2)
    other = kept.begin(person("omar"))
    names = [kept.begin(person()) for _ in range(10)]
    assert kept.find(other)
    assert [bool(kept.find(name)) for name in names] == [False] * 8 + [True] * 2
    for subject in "abcdef":
        kept.begin(person(subject))
    assert len(kept) == 4


def test_one_that_was_ended_is_over(clock):
    kept = sessions(clock)
    name = kept.begin(person())
    session = kept.find(name)
    kept.end(name)
    assert kept.find(name) is None
    assert not kept.holds(session)


def test_a_login_is_known_again_by_its_cookie_and_state(clock):
    logins = Logins(60, clock)
    login = logins.begin()
    assert logins.take(login.cookie, login.state) == login
    assert len({login.state, login.nonce, login.verifier}) == 3
    assert len(login.verifier) >= 43  # RFC 7636, 4.1
    assert login.state not in login.cookie
    assert login.verifier not in login.cookie


def test_a_login_of_another_browser_or_time_or_process_is_not(clock):
    logins = Logins(60, clock)
    login, other = logins.begin(), logins.begin()
    assert logins.take(login.cookie, other.state) is None
    assert logins.take(login.cookie, "") is None
    assert logins.take("", login.state) is None
    assert logins.take(login.cookie + "\n", login.state) is None
    later = login.cookie.replace(login.cookie.partition(".")[0], "9999999999", 1)
    assert logins.take(later, login.state) is None
    assert logins.take(login.cookie, "ü") is None
    assert Logins(60, clock).take(login.cookie, login.state) is None
    clock.now += 61
    assert logins.take(login.cookie, login.state) is None


def test_a_login_is_good_once_for_as_long_as_it_lasts(clock):
    logins = Logins(60, clock)
    login, other = logins.begin(), logins.begin()
    assert logins.take(login.cookie, login.state) == login
    for _ in range(12):
        with pytest.raises(LoginUsed):
            logins.take(login.cookie, login.state)
        clock.now += 5
    assert logins.take(login.cookie, login.state) is None  # by now it is too late as well
    late = logins.begin()
    assert logins.take(late.cookie, late.state) == late
    assert logins.take(other.cookie, other.state) is None


def test_a_login_that_was_used_late_is_remembered_until_it_is_over(clock):
    logins = Logins(60, clock)
    clock.now += 55
    login = logins.begin()
    assert logins.take(login.cookie, login.state) == login
    for _ in range(11):
        clock.now += 5
        other = logins.begin()
        assert logins.take(other.cookie, other.state) == other
        with pytest.raises(LoginUsed):
            logins.take(login.cookie, login.state)


def test_what_is_remembered_of_logins_is_bounded_and_gone_when_they_are(clock, monkeypatch):
    monkeypatch.setattr(login_module, "_MOST_USED", 3)
    logins = Logins(60, clock)
    begun = [logins.begin() for _ in range(4)]
    for login in begun[:3]:
        assert logins.take(login.cookie, login.state) == login
    assert logins.take(begun[3].cookie, begun[3].state) is None  # rather nobody than one twice
    with pytest.raises(LoginUsed):
        logins.take(begun[0].cookie, begun[0].state)
    clock.now += 121
    again = logins.begin()
    assert logins.take(again.cookie, again.state) == again
