"""A grant cannot be half valid."""

import pytest
from grant_kit import HOLDER, NOW, PLANNER, grant, grant_id

from authz.grants.grant import MAX_DELEGATORS, MAX_TASK_CHARS, MAX_USES, Task

JOE = "https://idp.example#joe"
PARTIES = tuple(f"spiffe://prod.example/a{n}" for n in range(MAX_DELEGATORS + 1))


def test_a_grant_of_nobody_elses_making_started_with_its_holder():
    assert grant().origin == HOLDER
    assert grant(delegators=(PLANNER, JOE)).origin == JOE


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "short"},
        {"id": "x" * 15},
        {"id": "x" * 65},
        {"id": "x" * 21 + "\n"},
        {"id": "x" * 21 + "="},
        {"issuer": ""},
        {"audience": ""},
        {"holder": ""},
        {"holder": "payer"},
        {"holder": JOE},
        {"holder": "spiffe://prod.example"},
        {"holder": HOLDER + "\n"},
        {"holder": HOLDER.replace("prod", "Prod")},
        {"issued_at": NOW + 1},
        {"issued_at": -1, "not_before": 0},
        {"not_before": NOW + 300},
        {"expires": NOW},
        {"uses": -1},
        {"uses": MAX_USES + 1},
        {"certificate": "AB" * 32},
        {"certificate": "ab" * 31},
        {"certificate": "ab" * 32 + "\n"},
        {"delegators": (HOLDER,)},
        {"delegators": (PLANNER, PLANNER)},
        {"delegators": (JOE, PLANNER)},
        {"delegators": ("joe",)},
        {"delegators": ("#joe",)},
        {"delegators": ("https://idp.example#",)},
        {"delegators": PARTIES},
        {"ancestors": (grant_id(),)},
        {"ancestors": (grant_id(2), grant_id(2))},
        {"ancestors": ("x",)},
        {"ancestors": tuple(map(grant_id, range(2, MAX_DELEGATORS + 3)))},
    ],
)
def test_what_means_nothing_or_two_things_is_no_grant(changes):
    with pytest.raises(ValueError, match=r"."):
        grant(**changes)


def test_the_bounds_are_exact():
    grant(id="x" * 16)
    grant(id="x" * 64)
    grant(uses=MAX_USES, delegators=PARTIES[1:], ancestors=tuple(map(grant_id, range(2, MAX_DELEGATORS + 2))))
    grant(issued_at=0, not_before=0, expires=1)
    Task("x" * MAX_TASK_CHARS, "é" * MAX_TASK_CHARS)


@pytest.mark.parametrize(
    ("task_id", "purpose"),
    [("", "p"), ("a b", "p"), ("a\n", "p"), ("x" * 257, "p"), ("é", "p"), ("a", "x" * 257), ("a", "x\n"), ("a", "\0")],
)
def test_a_task_has_an_id_and_a_purpose_that_prints(task_id, purpose):
    with pytest.raises(ValueError, match="task"):
        Task(task_id, purpose)
