"""How old the policy in force is: how long ago it was last known to be the newest."""

from authz.stores.policy_age import PolicyAge


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def aged(seconds=10.0):
    clock = Clock()
    age = PolicyAge(clock)
    clock.now += seconds
    return age, clock


def test_it_grows_until_the_source_is_asked_and_has_nothing_new():
    age, clock = aged()
    assert age.seconds == 10
    age.looked()
    assert age.seconds == 0
    clock.now += 3
    assert age.seconds == 3


def test_what_is_new_and_not_in_force_makes_what_is_in_force_no_younger():
    age, clock = aged()
    age.changed()
    clock.now += 5
    age.looked()
    assert age.seconds == 15
    age.loaded()
    assert age.seconds == 0


def test_what_does_not_load_is_not_forgotten_by_looking_again():
    age, clock = aged()
    age.failed()
    age.looked()
    assert age.behind
    assert age.seconds == 10
    clock.now += 1
    age.looked()
    age.loaded()
    assert (age.behind, age.seconds) == (False, 0)


def test_what_was_loaded_is_as_old_as_the_answer_that_it_came_in():
    age, clock = aged()
    age.changed()
    clock.now += 4  # loading takes a while
    age.loaded()
    assert age.seconds == 4


def test_a_copy_of_earlier_is_of_unknown_age():
    age, _ = aged()
    age.unknown()
    assert age.seconds == float("inf")
    age.loaded()  # such as for the sake of another file
    assert age.seconds == float("inf")
    age.looked()
    assert age.seconds == 0
