"""Conditions: typed, and false for what is absent."""

import pytest

from authz.grants.condition import MAX_VALUE_CHARS, MAX_VALUES, Condition


def condition(**demands):
    return Condition("act.args.x", **demands).constraint


@pytest.mark.parametrize(
    ("demands", "value", "admitted"),
    [
        ({"among": ("a", "b")}, "b", True),
        ({"among": ("a",)}, "A", False),
        ({"among": ("a",)}, None, False),
        ({"among": ("a",)}, ["a"], False),
        ({"among": ("a",)}, {"a": "a"}, False),
        ({"among": (1,)}, 1, True),
        ({"among": (1,)}, 1.0, True),
        ({"among": (1,)}, True, False),
        ({"among": (1,)}, "1", False),
        ({"among": (True,)}, True, True),
        ({"among": (True,)}, 1, False),
        ({"among": (0,)}, False, False),
        ({"among": ("",)}, "", True),
        ({"max": 10}, 10, True),
        ({"max": 10}, 10.000001, False),
        ({"max": 10}, -5, True),
        ({"max": 10}, "5", False),
        ({"max": 10}, True, False),
        ({"max": 10}, None, False),
        ({"max": 10}, float("nan"), False),
        ({"max": 10}, float("inf"), False),
        ({"max": 0}, 0, True),
        ({"max": 0}, 1, False),
        ({"min": 0}, 0, True),
        ({"min": 0}, -1, False),
        ({"min": 0}, float("inf"), True),
        ({"min": 0}, float("nan"), False),
        ({"min": 1, "max": 2}, 1.5, True),
        ({"min": 1, "max": 2}, 3, False),
        ({"max": 2**53}, 2**53 + 1, False),
        ({"among": (1, 5), "max": 3}, 1, True),
        ({"among": (1, 5), "max": 3}, 5, False),
        ({"among": (1, "a"), "max": 3}, "a", False),
    ],
)
def test_what_a_condition_admits(demands, value, admitted):
    assert condition(**demands).admits(value) is admitted


@pytest.mark.parametrize(
    ("inner", "outer", "lies"),
    [
        ({"among": ("a",)}, {"among": ("a", "b")}, True),
        ({"among": ("a", "b")}, {"among": ("a",)}, False),
        ({"among": (True,)}, {"among": (1,)}, False),
        ({"among": (1,)}, {"among": (1.0,)}, True),
        ({"among": (1, 2)}, {"min": 1, "max": 2}, True),
        ({"among": (1, "a")}, {"max": 2}, False),
        ({"among": (1, 5), "max": 3}, {"among": (1,)}, True),
        ({"max": 1}, {"among": (1,)}, False),
        ({"max": 1}, {"max": 1}, True),
        ({"max": 2}, {"max": 1}, False),
        ({"min": 1}, {"max": 1}, False),
        ({"min": 1}, {"min": 1}, True),
        ({"min": 0}, {"min": 1}, False),
        ({"max": 1}, {"min": 1}, False),
        ({"min": 1, "max": 1}, {"min": 0}, True),
        ({"min": 0}, {"min": 0, "max": 1}, False),
        ({"max": 0}, {"max": 0}, True),
    ],
)
def test_which_condition_lies_within_which(inner, outer, lies):
    assert condition(**inner).within(condition(**outer)) is lies


@pytest.mark.parametrize(
    "attribute",
    ["act.method", "act.protocol", "act.args.amount", "act.args.order.amount", "obj.type", "obj.port", "obj.labels.a"],
)
def test_the_attributes_that_a_condition_may_name(attribute):
    assert Condition(attribute, among=("a",)).attribute == attribute


@pytest.mark.parametrize(
    "attribute",
    [
        "",
        "sub.id",
        "env.time",
        "act",
        "act.name",
        "act.args",
        "act.args.",
        "act.args..a",
        "act.query.x",
        "obj.path",
        "obj.type\n",
        "obj.type.x",
        "obj.labels",
        "obj.labels.a.b",
        "act.args" + ".a" * 9,
        "act.args." + "a" * 65,
    ],
)
def test_no_others(attribute):
    with pytest.raises(ValueError, match="no attribute"):
        Condition(attribute, among=("a",))


@pytest.mark.parametrize(
    "demands",
    [
        {},
        {"min": 2, "max": 1},
        {"among": ("a",), "max": 1},
        {"among": (5,), "max": 1},
        {"among": (float("nan"),)},
        {"min": float("nan")},
        {"max": float("nan")},
        {"among": tuple(range(MAX_VALUES + 1))},
        {"among": ("x" * (MAX_VALUE_CHARS + 1),)},
    ],
)
def test_a_condition_that_demands_nothing_or_the_impossible_is_refused(demands):
    with pytest.raises(ValueError, match=r"nothing|never|at most"):
        Condition("act.args.x", **demands)


def test_the_bounds_are_exact():
    Condition("act.args.x", among=tuple(range(MAX_VALUES)))
    Condition("act.args.x", among=("x" * MAX_VALUE_CHARS,))
    Condition("act.args.x", min=1, max=1)
