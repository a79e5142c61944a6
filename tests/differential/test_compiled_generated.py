"""The compiled engine against pycasbin on generated models, rules and requests that are decided for a reason.

Requests are made from a rule of the policy, some of their values changed, so that most come near to a match. Where the
engine is stricter on purpose (I1), pycasbin is asked in the form that is as strict: see `expected`.
"""

from collections.abc import Callable
from typing import NamedTuple

import casbin
import pytest
from casbin.model import Model
from casbin.persist.adapters.string_adapter import StringAdapter
from hypothesis import event, given, settings
from hypothesis import strategies as st

from authz.model import Effect
from authz.policy import candidates, index
from authz.policy.compile import CompiledEngine

ALLOW_OVERRIDE = "some(where (p.eft == allow))"
DENY_OVERRIDE = "!some(where (p.eft == deny))"
ALLOW_AND_DENY = f"{ALLOW_OVERRIDE} && {DENY_OVERRIDE}"
PRIORITY = "priority(p.eft) || deny"
SUBJECT_PRIORITY = "subjectPriority(p.eft) || deny"

USERS = ("alice", "bob", "carol")
ROLES = ("reader", "writer", "owner")
THINGS = ("data1", "data2", "data3")
GROUPS = ("group1", "group2")
ACTIONS = ("read", "write")
ZONES = ("zone1", "zone2")
PATTERNS = {
    "keyMatch": ("/a/*", "/a/b/*", "/a/b", "/a/b*", "*", "/"),
    "keyMatch2": ("/a/:x", "/a/:x/c", "/a/*", "/:x/b", "/a/b", "/a/x:y", "/*", "/a/:x/*"),
    "keyMatch3": ("/a/{x}", "/a/{x}/c", "/a/*", "/{x}/b", "/a/b", "/a/x{y}", "/a/{x}-{y}"),
    "keyMatch4": ("/{x}/{x}", "/a/{x}", "/{x}/b/{x}", "/a/*", "/{x}/{y}"),
    "keyMatch5": ("/a/{x}", "/a/*", "/{x}/b", "/a/b"),
    "globMatch": ("/a/*", "/a/?", "/a/[a-c]", "/a/[!b]", "/a/b", "*"),
    "regexMatch": ("/a/.*", "/a/(b|c)", "/[ab]/.+", "/a/b$", "^/a", "/a|/b", "(/a)|(/b)", "/a/b+c?"),
    "ipMatch": ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "192.168.0.0/16", "::/0", "2001:db8::/32"),
}
PATHS = (
    "/a/b",
    "/a/c",
    "/a/bc",
    "/a/b/c",
    "/a/",
    "/a",
    "/b",
    "/b/b",
    "/a/b?q=1",
    "/a/1-2",
    "/b/b/b",
    "/",
    "",
    "a",
    "/a/xb",
)
ADDRESSES = ("10.1.2.3", "10.9.9.9", "192.168.1.1", "2001:db8::1", "::ffff:10.0.0.1", "no address")


class Case(NamedTuple):
    """One policy and what to ask it."""

    effect: str
    model: str
    """With EFFECT where the effect goes."""
    lines: list[str]
    requests: list[tuple[object, ...]]
    denies: bool


def model(request: str, policy: str, matcher: str, *roles: str) -> str:
    definitions = "[role_definition]\n" + "\n".join(roles) if roles else ""
    return (
        f"[request_definition]\nr = {request}\n[policy_definition]\np = {policy}\n{definitions}\n"
        f"[policy_effect]\ne = EFFECT\n[matchers]\nm = {matcher}\n"
    )


@st.composite
def effects(draw, *, ordered: bool = True) -> tuple[str, bool]:
    """An effect, and whether rules have a column for theirs."""
    return draw(
        st.sampled_from(
            [
                (ALLOW_OVERRIDE, False),
                (ALLOW_OVERRIDE, True),
                (DENY_OVERRIDE, True),
                (ALLOW_AND_DENY, True),
                *([(PRIORITY, True)] if ordered else []),
            ]
        )
    )


def near(draw, cells: dict[str, object], choices: dict[str, tuple[object, ...]]) -> tuple[object, ...]:
    """A request like a rule, up to two of its values changed."""
    changed = draw(st.sets(st.sampled_from(sorted(choices)), max_size=2))
    return tuple(
        draw(st.sampled_from(values)) if name in changed or name not in cells else cells[name]
        for name, values in choices.items()
    )


def policy_lines(draw, columns: dict[str, tuple[str, ...]], *, eft: bool) -> tuple[list[str], list[dict[str, str]]]:
    rules = [
        {name: draw(st.sampled_from(values)) for name, values in columns.items()}
        for _ in range(draw(st.integers(1, 12)))
    ]
    tail = [", " + draw(st.sampled_from(("allow", "allow", "deny", "indeterminate"))) if eft else "" for _ in rules]
    return [f"p, {', '.join(rule.values())}{end}" for rule, end in zip(rules, tail, strict=True)], rules


def finish(setting: tuple[str, bool], text: str, lines: list[str], requests: list[tuple[object, ...]]) -> Case:
    effect, eft = setting
    if eft:
        text = (
            text.replace("\n[role", ", eft\n[role", 1)
            if "\n[role" in text
            else text.replace("\n\n[policy_effect", ", eft\n\n[policy_effect", 1)
        )
    denies = any(line.endswith("deny") for line in lines)
    return Case(effect, text, lines, requests, denies)


@st.composite
def acl(draw) -> Case:
    effect, eft = draw(effects())
    lines, rules = policy_lines(draw, {"sub": USERS, "obj": THINGS, "act": ACTIONS}, eft=eft)
    choices = {"sub": (*USERS, "root", ""), "obj": (*THINGS, ""), "act": (*ACTIONS, "delete")}
    root = draw(st.sampled_from(("", ' || r.sub == "root"')))
    matcher = f"r.sub == p.sub && r.obj == p.obj && r.act == p.act{root}"
    requests = [near(draw, draw(st.sampled_from(rules)), choices) for _ in range(12)]
    return finish((effect, eft), model("sub, obj, act", "sub, obj, act", matcher), lines, requests)


@st.composite
def paths(draw) -> Case:
    effect, eft = draw(effects())
    function = draw(st.sampled_from(sorted(PATTERNS)))
    lines, rules = policy_lines(draw, {"sub": USERS, "obj": PATTERNS[function], "act": ACTIONS}, eft=eft)
    places = ADDRESSES if function == "ipMatch" else PATHS
    choices = {"sub": USERS, "obj": places, "act": ACTIONS}
    order = draw(st.permutations(("r.sub == p.sub", f"{function}(r.obj, p.obj)", "r.act == p.act")))
    requests = []
    for _ in range(12):
        rule = draw(st.sampled_from(rules))
        requests.append(near(draw, {"sub": rule["sub"], "act": rule["act"]}, choices))
    return finish((effect, eft), model("sub, obj, act", "sub, obj, act", " && ".join(order)), lines, requests)


def grants(draw, definition: str, names: tuple[str, ...], zones: tuple[str, ...] = ()) -> list[str]:
    """Grants without circles: a name is only granted names behind it."""
    lines = []
    for _ in range(draw(st.integers(0, 7))):
        low, high = sorted(draw(st.lists(st.integers(0, len(names) - 1), min_size=2, max_size=2, unique=True)))
        zone = f", {draw(st.sampled_from(zones))}" if zones else ""
        lines.append(f"{definition}, {names[low]}, {names[high]}{zone}")
    return lines


@st.composite
def rbac(draw) -> Case:
    effect, eft = draw(effects())
    lines, rules = policy_lines(draw, {"sub": (*USERS, *ROLES), "obj": THINGS, "act": ACTIONS}, eft=eft)
    lines += grants(draw, "g", (*USERS, *ROLES))
    order = draw(st.permutations(("g(r.sub, p.sub)", "r.obj == p.obj", "r.act == p.act")))
    choices = {"sub": (*USERS, *ROLES, "nobody"), "obj": THINGS, "act": ACTIONS}
    requests = [near(draw, draw(st.sampled_from(rules)), choices) for _ in range(12)]
    text = model("sub, obj, act", "sub, obj, act", " && ".join(order), "g = _, _")
    return finish((effect, eft), text, lines, requests)


@st.composite
def domains(draw) -> Case:
    effect, eft = draw(effects())
    columns = {"sub": (*USERS, *ROLES), "dom": ZONES, "obj": THINGS, "act": ACTIONS}
    lines, rules = policy_lines(draw, columns, eft=eft)
    lines += grants(draw, "g", (*USERS, *ROLES), ZONES)
    order = draw(st.permutations(("g(r.sub, p.sub, r.dom)", "r.dom == p.dom", "r.obj == p.obj", "r.act == p.act")))
    choices = {"sub": (*USERS, *ROLES), "dom": (*ZONES, "zone9"), "obj": THINGS, "act": ACTIONS}
    requests = [near(draw, draw(st.sampled_from(rules)), choices) for _ in range(12)]
    text = model("sub, dom, obj, act", "sub, dom, obj, act", " && ".join(order), "g = _, _, _")
    return finish((effect, eft), text, lines, requests)


@st.composite
def resource_roles(draw) -> Case:
    effect, eft = draw(effects())
    columns = {"sub": (*USERS, *ROLES, "*"), "obj": (*THINGS, *GROUPS), "act": (*ACTIONS, "*")}
    lines, rules = policy_lines(draw, columns, eft=eft)
    lines += grants(draw, "g", (*USERS, *ROLES)) + grants(draw, "g2", (*THINGS, *GROUPS))
    matcher = draw(
        st.sampled_from(
            (
                "g(r.sub, p.sub) && g2(r.obj, p.obj) && r.act == p.act",
                '(g(r.sub, p.sub) || p.sub == "*") && g2(r.obj, p.obj) && (r.act == p.act || p.act == "*")',
                'r.act == p.act && g2(r.obj, p.obj) && (p.sub == "*" || g(r.sub, p.sub))',
            )
        )
    )
    choices = {"sub": (*USERS, *ROLES), "obj": (*THINGS, *GROUPS), "act": ACTIONS}
    requests = [near(draw, draw(st.sampled_from(rules)), choices) for _ in range(12)]
    text = model("sub, obj, act", "sub, obj, act", matcher, "g = _, _", "g2 = _, _")
    return finish((effect, eft), text, lines, requests)


SUB_RULES = (
    "r.sub.age > 18",
    "r.sub.age <= 30 && r.sub.name == 'bob'",
    "r.sub.name == 'alice' || r.sub.age > 60",
    "r.sub.team in ('red', 'blue')",
    "r.sub.team == 'red' && r.sub.age > 18",
    "'staff' in r.sub.groups",
    "!(r.sub.team == 'red')",
    "r.sub.age % 2 == 0",
    "r.sub.age + 5 > 25 && r.sub.age * 2 < 100",
    "r.sub.name == r.sub.manager",
    "r.sub.clearance > 2",
    "18 < r.sub.age < 40",
    "p.obj == 'data1' || r.sub.age > 50",
    "r.sub.age > 18 && !(r.act == 'write')",
    "True",
)
PEOPLE = tuple(
    {"name": name, "age": age, "team": team, "groups": groups, "manager": "bob"}
    for name, age, team, groups in (
        ("alice", 17, "red", ["staff"]),
        ("alice", 20, "blue", []),
        ("bob", 25, "red", ["staff", "ops"]),
        ("bob", 61, "green", ("ops",)),
        ("carol", 44, "blue", ["staff"]),
    )
)
STRANGERS = ({"name": "dave"}, {"name": "erin", "age": "old", "team": "red", "groups": []})


@st.composite
def sub_rule_policies(draw) -> Case:
    effect, eft = draw(effects())
    lines, rules = policy_lines(draw, {"rule": SUB_RULES, "obj": THINGS, "act": ACTIONS}, eft=eft)
    order = draw(st.permutations(("eval(p.rule)", "r.obj == p.obj", "r.act == p.act")))
    people = draw(st.sampled_from((PEOPLE, PEOPLE, (*PEOPLE, *STRANGERS))))
    choices = {"sub": people, "obj": THINGS, "act": ACTIONS}
    requests = [
        near(draw, {"obj": rule["obj"], "act": rule["act"]}, choices)
        for rule in (draw(st.sampled_from(rules)) for _ in range(12))
    ]
    text = model("sub, obj, act", "rule, obj, act", " && ".join(order))
    return finish((effect, eft), text, lines, requests)


@st.composite
def attributes(draw) -> Case:
    effect, eft = draw(effects())
    lines, rules = policy_lines(
        draw, {"team": ("red", "blue", "green", "staff"), "obj": THINGS, "act": ACTIONS}, eft=eft
    )
    condition = draw(
        st.sampled_from(
            (
                "r.sub.team == p.team",
                "p.team in r.sub.groups",
                "(r.sub.team == p.team || p.team in r.sub.groups)",
                "r.sub.team == p.team && r.sub.age > 18",
                "r.sub.name == r.sub.manager && r.sub.team != p.team",
                "r.sub.clearance > 2 && r.sub.team == p.team",
            )
        )
    )
    order = draw(st.permutations((condition, "r.obj == p.obj", "r.act in ('read', 'write')", "r.act == p.act")))
    choices = {"sub": (*PEOPLE, STRANGERS[0]), "obj": THINGS, "act": (*ACTIONS, "delete")}
    requests = [
        near(draw, {"obj": rule["obj"], "act": rule["act"]}, choices)
        for rule in (draw(st.sampled_from(rules)) for _ in range(12))
    ]
    text = model("sub, obj, act", "team, obj, act", " && ".join(order))
    return finish((effect, eft), text, lines, requests)


@st.composite
def priorities(draw) -> Case:
    columns = {"priority": ("1", "2", "3", "10", "20"), "sub": (*USERS, *ROLES), "obj": THINGS[:2], "act": ACTIONS}
    lines, rules = policy_lines(draw, columns, eft=True)
    lines += grants(draw, "g", (*USERS, *ROLES))
    effect = draw(st.sampled_from((PRIORITY, ALLOW_AND_DENY)))
    choices = {"sub": (*USERS, *ROLES), "obj": THINGS, "act": ACTIONS}
    requests = [near(draw, draw(st.sampled_from(rules)), choices) for _ in range(12)]
    matcher = "g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act"
    text = model("sub, obj, act", "priority, sub, obj, act", matcher, "g = _, _")
    return finish((effect, True), text, draw(st.permutations(lines)), requests)


@st.composite
def subject_priorities(draw) -> Case:
    zoned = draw(st.booleans())
    columns = {"sub": (*USERS, *ROLES), **({"dom": ZONES} if zoned else {}), "obj": THINGS[:2], "act": ACTIONS[:1]}
    lines, rules = policy_lines(draw, columns, eft=True)
    lines += grants(draw, "g", (*USERS, *ROLES), ZONES if zoned else ())
    choices = {"sub": (*USERS, *ROLES), **({"dom": ZONES} if zoned else {}), "obj": THINGS[:2], "act": ACTIONS}
    names = ", ".join(choices)
    requests = [near(draw, draw(st.sampled_from(rules)), choices) for _ in range(12)]
    inside = ", r.dom) && r.dom == p.dom" if zoned else ")"
    matcher = f"g(r.sub, p.sub{inside} && r.obj == p.obj && r.act == p.act"
    text = model(names, names, matcher, "g = _, _, _" if zoned else "g = _, _")
    return finish((SUBJECT_PRIORITY, True), text, draw(st.permutations(lines)), requests)


def oracle(case: Case, effect: str) -> casbin.Enforcer:
    parsed = Model()
    parsed.load_model_from_text(case.model.replace("EFFECT", effect))
    return casbin.Enforcer(parsed, StringAdapter("\n".join(case.lines)))


def asked(enforcer: casbin.Enforcer, request: tuple[object, ...]) -> tuple[bool | None, list[str]]:
    """pycasbin's answer and the rule that it names; None when it raises."""
    try:
        return enforcer.enforce_ex(*request)
    except Exception:  # noqa: BLE001 - whatever pycasbin raises
        return None, []


def expected(case: Case) -> Callable[[tuple[object, ...]], tuple[bool | None, list[str]]]:
    """What pycasbin says, in the form that is as strict as I1: nothing is allowed that no rule allows, an explicit deny
    and an error count wherever they stand. That form is its own effect allow-and-deny, which looks at every rule."""
    plain = oracle(case, case.effect)
    if case.effect in (PRIORITY, SUBJECT_PRIORITY):
        return lambda request: asked(plain, request)
    strict = oracle(case, ALLOW_AND_DENY)

    def answer(request: tuple[object, ...]) -> tuple[bool | None, list[str]]:
        decided, rule = asked(strict, request)
        if decided and case.effect == ALLOW_OVERRIDE:
            return asked(plain, request)  # which also names the rule
        if decided is False and case.effect == ALLOW_OVERRIDE and not case.denies:
            assert asked(plain, request)[0] is False
        return decided, rule

    return answer


KINDS = {
    "acl": acl(),
    "paths and patterns": paths(),
    "rbac": rbac(),
    "rbac with domains": domains(),
    "resource roles and wildcards": resource_roles(),
    "abac with sub-rules": sub_rule_policies(),
    "abac": attributes(),
    "priority": priorities(),
    "subject priority": subject_priorities(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_and_the_rule_are_pycasbins(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(candidates, "_FEW", 0)
    monkeypatch.setattr(index, "_FEW", 1)

    @given(KINDS[kind])
    @settings(max_examples=max(settings.default.max_examples // 4, 1))
    def agree(case: Case) -> None:
        text = case.model.replace("EFFECT", case.effect)
        engine = CompiledEngine.load(text, "model.conf", [("policy.csv", "\n".join(case.lines))])
        answer = expected(case)
        for request in case.requests:
            verdict = engine.evaluate(request, lambda: False)
            decided, rule = answer(request)
            event(f"{kind}: {decided}")
            if decided is None:
                assert verdict.effect is Effect.DENY
                assert verdict.error
                continue
            assert (verdict.effect is Effect.ALLOW, verdict.error) == (decided, ""), request
            if rule:
                assert verdict.rule is not None
                assert verdict.rule.text == ", ".join(("p", *rule)), request

    agree()
