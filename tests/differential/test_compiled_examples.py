"""The compiled engine on Casbin's own example models: the answers and rules of pycasbin, differences on both sides."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import casbin
import pytest
from casbin import util
from casbin.core_enforcer import EnforceContext
from casbin.model import Model
from casbin.persist.adapters.string_adapter import StringAdapter

from authz.errors import PolicyError
from authz.model import Effect
from authz.policy import candidates, index
from authz.policy.compile import CompiledEngine
from authz.policy.functions import UserFunction
from authz.policy.roles import RoleSettings
from authz.policy.source import CompileSettings, Sections

CORPUS = Path(__file__).parents[1] / "corpus" / "casbin"
NOW = 1_800_000_000.0
PLAIN, FIRST = RoleSettings(), Sections()

ACL = (
    ("alice", "bob", "root", "", "data2_admin", "admin"),
    ("data1", "data2", "data3", "/data", "data_group", ""),
    ("read", "write", "GET", ""),
)
PATHS = (
    ("alice", "bob", "cathy", "root@localhost", "root"),
    (
        "/alice_data/1",
        "/alice_data/resource1",
        "/alice_data/x/y",
        "/alice_data2/myid/using/res_id",
        "/alice_data/hello",
        "/alice_data/abc",
        "/alice_data/",
        "/alice_data",
        "/bob_data/resource1",
        "/bob_data/x",
        "/bob_data/1",
        "/cathy_data",
        "/book/1",
        "/book2/7",
        "/pen/1",
        "/pen2/1",
        "book_group",
        "",
    ),
    ("GET", "POST", "DELETE", "GETTING", "*.read", "a.read", "x.update", "owner"),
)
DOMAINS = (
    ("alice", "bob", "admin", "role:global_admin", "user"),
    ("domain1", "domain2", "domain3", "*", ""),
    ("data1", "data2", "book_group", "/book/1", "/book/:id"),
    ("read", "write"),
)
PEOPLE = (
    {"name": "alice", "age": 17},
    {"name": "alice", "age": 20},
    {"name": "bob", "age": 59},
    {"name": "bob", "age": 70},
    {"name": "carol"},
    {"age": "20"},
    "alice",
)


def nothing(_: casbin.Enforcer) -> None:
    """The oracle as it is."""


def with_matching(**functions: Callable[[str, str], bool]) -> Callable[[casbin.Enforcer], None]:
    def prepare(oracle: casbin.Enforcer) -> None:
        for definition, function in functions.items():
            if definition.endswith("_domain"):
                oracle.add_named_domain_matching_func(definition.removesuffix("_domain"), function)
            else:
                oracle.add_named_matching_func(definition, function)

    return prepare


def temporal(oracle: casbin.Enforcer) -> None:
    for number in range(2, 9):
        oracle.add_named_link_condition_func("g", "alice", f"data{number}_admin", util.time_match_func)


def temporal_domains(oracle: casbin.Enforcer) -> None:
    for number in range(2, 9):
        link = ("g", "alice", f"data{number}_admin", f"domain{number}")
        oracle.add_named_domain_link_condition_func(*link, util.time_match_func)


def custom(oracle: casbin.Enforcer) -> None:
    oracle.add_function("keyMatchCustom", custom_match)


def custom_match(key: str, pattern: str) -> bool:
    return key == pattern or (key == "/alice_data/resource1" and pattern == "/alice_data/*")


class Example(NamedTuple):
    """One model with one policy, and values for its request tokens; every combination of them is asked."""

    model: str
    policy: str
    values: tuple[Sequence[object], ...]
    prepare: Callable[[casbin.Enforcer], None] = nothing
    roles: RoleSettings = RoleSettings()


TEMPORAL = (("alice", "bob"), [f"data{n}" for n in range(1, 9)], ("read", "write"))
TEMPORAL_DOMAINS = (
    ("alice", "bob"),
    [f"domain{n}" for n in range(1, 9)],
    [f"data{n}" for n in range(1, 9)],
    ("read", "write"),
)
EXAMPLES = [
    Example("abac_rule_model.conf", "abac_rule_policy.csv", (PEOPLE, ("/data1", "/data2"), ("read", "write"))),
    Example(
        "abac_multiple_rules_model.conf",
        "abac_multiple_rules_policy.csv",
        (PEOPLE, ("/data1", "/data2"), ("read", "write")),
    ),
    Example("basic_model.conf", "basic_policy.csv", ACL),
    Example("basic_model.conf", "basic_inverse_policy.csv", ACL),
    Example("basic_model_without_spaces.conf", "basic_policy.csv", ACL),
    Example("basic_with_root_model.conf", "basic_policy.csv", ACL),
    Example("basic_without_resources_model.conf", "basic_without_resources_policy.csv", (ACL[0], ACL[2])),
    Example("basic_without_users_model.conf", "basic_without_users_policy.csv", ACL[1:]),
    Example("globmatch_model.conf", "globmatch_policy.csv", PATHS),
    Example(
        "ipmatch_model.conf",
        "ipmatch_policy.csv",
        (("192.168.2.123", "192.168.3.1", "10.0.0.1", "10.1.0.1", "::1", "::ffff:10.0.0.1", "alice", ""), *ACL[1:]),
    ),
    Example("keymatch_model.conf", "keymatch_policy.csv", PATHS),
    Example("keymatch2_model.conf", "keymatch2_policy.csv", PATHS),
    Example("keymatch_custom_model.conf", "keymatch_policy.csv", PATHS, custom),
    Example("multiple_policy_definitions_model.conf", "multiple_policy_definitions_policy.csv", ACL),
    Example("priority_model.conf", "priority_policy.csv", ACL),
    Example("priority_model_explicit.conf", "priority_policy_explicit.csv", ACL),
    Example("rbac_model.conf", "rbac_policy.csv", ACL),
    Example("rbac_model.conf", "rbac_with_hierarchy_policy.csv", ACL),
    Example("rbac_model_matcher_using_in_op_bracket.conf", "rbac_policy.csv", ACL),
    Example(
        "rbac_with_all_pattern_model.conf",
        "rbac_with_all_pattern_policy.csv",
        (DOMAINS[0], DOMAINS[1], ("/book/1", "/book/2", "book_group", "data1"), DOMAINS[3]),
        with_matching(g=util.key_match2_func, g_domain=util.key_match2_func),
        RoleSettings(role_matching={"g": "keyMatch2"}, domain_matching={"g": "keyMatch2"}),
    ),
    Example("rbac_with_deny_model.conf", "rbac_with_deny_policy.csv", ACL),
    Example(
        "rbac_with_domain_pattern_model.conf",
        "rbac_with_domain_pattern_policy.csv",
        DOMAINS,
        with_matching(g_domain=util.key_match2_func),
        RoleSettings(domain_matching={"g": "keyMatch2"}),
    ),
    Example("rbac_with_domains_model.conf", "rbac_with_domains_policy.csv", DOMAINS),
    Example("rbac_with_domains_model.conf", "rbac_with_domains_policy2.csv", DOMAINS),
    Example("rbac_with_domains_model.conf", "rbac_with_hierarchy_with_domains_policy.csv", DOMAINS),
    Example("rbac_with_domains_without_policy_matcher.conf", "rbac_with_hierarchy_without_policy_domains.csv", DOMAINS),
    Example(
        "rbac_with_multiple_policy_model.conf",
        "rbac_with_multiple_policy_policy.csv",
        (("alice", "admin", "user", "bob"), ("/data", "/other"), ("GET", "POST", "view", "create")),
    ),
    Example(
        "rbac_with_pattern_model.conf",
        "rbac_with_pattern_policy.csv",
        PATHS,
        with_matching(g2=util.key_match2_func),
        RoleSettings(role_matching={"g2": "keyMatch2"}),
    ),
    Example("rbac_with_resource_roles_model.conf", "rbac_with_resource_roles_policy.csv", ACL),
    Example("rbac_with_temporal_roles_model.conf", "rbac_with_temporal_roles_policy.csv", TEMPORAL, temporal),
    Example("rbac_with_temporal_roles_model.conf", "rbac_with_temporal_roles_condition_policy.csv", TEMPORAL, temporal),
    Example(
        "rbac_with_domain_temporal_roles_model.conf",
        "rbac_with_domain_temporal_roles_policy.csv",
        TEMPORAL_DOMAINS,
        temporal_domains,
    ),
    Example(
        "rbac_with_domain_temporal_roles_model.conf",
        "rbac_with_domain_temporal_roles_condition_policy.csv",
        TEMPORAL_DOMAINS,
        temporal_domains,
    ),
    Example(
        "subject_priority_model.conf",
        "subject_priority_policy.csv",
        (("jane", "alice", "root", "editor", "subscriber", "bob"), *ACL[1:]),
    ),
    Example(
        "subject_priority_model_with_domain.conf",
        "subject_priority_policy_with_domain.csv",
        (("alice", "bob", "admin"), ("data1", "data2"), ("domain1", "domain2"), ("write", "read")),
    ),
]
SHOWN_BELOW = {
    "abac_model.conf",
    "rbac_with_domain_and_policy_pattern_model.conf",
    "rbac_with_multiply_matched_pattern.conf",
    "rbac_with_not_deny_model.conf",
}


def never() -> bool:
    return False


def corpus(name: str) -> str:
    return (CORPUS / name).read_text(encoding="utf-8")


def ours(model: str, policy: str, roles: RoleSettings = PLAIN, sections: Sections = FIRST):
    return CompiledEngine.load(
        model,
        "model.conf",
        [("policy.csv", policy)],
        settings=CompileSettings(roles=roles),
        functions={"keyMatchCustom": UserFunction(custom_match, (str, str), bool)},
        clock=lambda: NOW,
        sections=sections,
    )


def theirs(model: str, policy: str) -> casbin.Enforcer:
    parsed = Model()
    parsed.load_model_from_text(model)
    lines = "\n".join(line.strip() for line in policy.splitlines())
    return casbin.Enforcer(parsed, StringAdapter(lines)) if lines.strip() else casbin.Enforcer(parsed)


@pytest.fixture(params=[0, 8], ids=["indexed", "scanned where few"], autouse=True)
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "_FEW", request.param)
    monkeypatch.setattr(index, "_FEW", request.param)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.model}-{example.policy}")
def test_casbins_own_examples_get_pycasbins_answer_and_rule(example: Example):
    engine = ours(corpus(example.model), corpus(example.policy), example.roles)
    oracle = theirs(corpus(example.model), corpus(example.policy))
    example.prepare(oracle)
    allowed = 0
    for request in itertools.product(*example.values):
        verdict = engine.evaluate(request, never)
        try:
            expected, rule = oracle.enforce_ex(*request)
        except Exception:  # noqa: BLE001 - whatever pycasbin raises
            assert verdict.effect is Effect.DENY, request
            assert verdict.error, request
            assert verdict.rule is not None, request
            continue
        assert (verdict.effect is Effect.ALLOW, verdict.error) == (expected, ""), request
        if rule:
            assert verdict.rule is not None, request
            assert verdict.rule.text == ", ".join(("p", *rule)), request
        allowed += expected
    assert allowed or "priority_policy_with_domain" in example.policy


def test_every_example_model_is_compared():
    models = {path.name for path in CORPUS.glob("*.conf")}
    compared = {example.model for example in EXAMPLES}
    assert models - compared == SHOWN_BELOW
    assert not compared & SHOWN_BELOW


def test_deny_override_needs_a_rule_that_allows_but_is_else_as_there():
    model, policy = corpus("rbac_with_not_deny_model.conf"), corpus("rbac_with_deny_policy.csv")
    # pycasbin's allow-and-deny is what I1 makes of its deny-override.
    strict = theirs(corpus("rbac_with_deny_model.conf"), policy)
    engine, oracle = ours(model, policy), theirs(model, policy)
    for request in itertools.product(*ACL):
        allowed = engine.evaluate(request, never).effect is Effect.ALLOW
        assert allowed is strict.enforce(*request)
        assert oracle.enforce(*request) or not allowed


def test_a_matcher_without_columns_needs_a_rule():
    model = corpus("abac_model.conf")
    request = ("alice", {"Owner": "alice"}, "read")
    assert theirs(model, "").enforce(*request)
    assert ours(model, "").evaluate(request, never).effect is Effect.DENY
    engine, oracle = ours(model, "p, x, y, z"), theirs(model, "p, x, y, z")
    for who, owner in itertools.product(("alice", "bob"), repeat=2):
        request = (who, {"Owner": owner}, "read")
        assert (engine.evaluate(request, never).effect is Effect.ALLOW) is oracle.enforce(*request)


def test_a_keymatch2_pattern_that_relies_on_live_regular_expressions_is_refused():
    model = corpus("rbac_with_domain_and_policy_pattern_model.conf")
    policy = corpus("rbac_with_domain_and_policy_pattern_policy.csv")
    assert theirs(model, policy).enforce("bob", "domain.3", "data1", "read")
    with pytest.raises(PolicyError, match=r"'domain\.\*'"):
        ours(model, policy)
    # What its author means is a regular expression.
    meant = model.replace("keyMatch2(r.dom, p.dom)", "regexMatch(r.dom, p.dom)")
    engine = ours(meant, policy, RoleSettings(domain_matching={"g": "keyMatch"}))
    oracle = theirs(meant, policy)
    oracle.add_named_domain_matching_func("g", util.key_match_func)
    values = (
        ("alice", "bob", "user"),
        ("domain.1", "domain.3", "other"),
        ("data1", "data2", "data3"),
        ("read", "write"),
    )
    for request in itertools.product(*values):
        assert (engine.evaluate(request, never).effect is Effect.ALLOW) is oracle.enforce(*request), request


def test_role_patterns_with_globs_match_as_documented_not_as_pycasbin_swallows_a_character():
    model = corpus("rbac_with_multiply_matched_pattern.conf")
    policy = corpus("rbac_with_multiply_matched_pattern.csv")
    oracle = theirs(model, policy)
    oracle.add_named_matching_func("g2", util.glob_match_func)
    engine = ours(model, policy, RoleSettings(role_matching={"g2": "globMatch"}))
    request = ("root@localhost", "/", "org.create")
    assert oracle.enforce(*request)
    assert engine.evaluate(request, never).effect is Effect.ALLOW
    # No dot in it, so *.* cannot match; pycasbin's function skips the character behind the first star.
    request = ("root@localhost", "/", "orgcreate")
    assert oracle.enforce(*request)
    assert engine.evaluate(request, never).effect is Effect.DENY


def test_a_misspelt_effect_is_refused_where_pycasbin_passes_over_the_rule():
    model, policy = corpus("priority_model.conf"), corpus("priority_indeterminate_policy.csv")
    assert not theirs(model, policy).enforce("alice", "data1", "read")
    with pytest.raises(PolicyError, match="not 'intdeterminate'"):
        ours(model, policy)
    spelt = policy.replace("intdeterminate", "indeterminate")
    assert ours(model, spelt).evaluate(("alice", "data1", "read"), never).effect is Effect.DENY


@pytest.mark.parametrize("age", [17, 18, 30, 60, 70, 100])
def test_a_request_context_chooses_the_second_definitions(age: int):
    model = corpus("multiple_policy_definitions_model.conf")
    policy = corpus("multiple_policy_definitions_policy.csv")
    context = EnforceContext("r2", "p2", "e", "m2")
    sections = Sections(request="r2", policy="p2", matcher="m2")
    engine, oracle = ours(model, policy, sections=sections), theirs(model, policy)
    for thing, action in itertools.product(("/data1", "data2"), ("read", "write")):
        request = ({"age": age}, thing, action)
        verdict = engine.evaluate(request, never)
        assert (verdict.effect is Effect.ALLOW) is oracle.enforce(context, *request)
    assert ours(model, policy).under(sections).evaluate(({"age": 30}, "/data1", "read"), never).effect is Effect.ALLOW


def test_a_request_context_can_mix_definitions():
    model, policy = corpus("rbac_with_multiple_policy_model.conf"), corpus("rbac_with_multiple_policy_policy.csv")
    context, sections = EnforceContext("r", "p2", "e", "m2"), Sections(policy="p2", matcher="m2")
    # As it stands, Casbin's example takes one column from the other definition: there, every request raises.
    with pytest.raises(Exception, match="'p' is not defined"):
        theirs(model, policy).enforce(context, "alice", "x", "view")
    with pytest.raises(PolicyError, match="unknown name 'p'"):
        ours(model, policy, sections=sections)
    mended = model.replace(
        "m2 = g(r.user, p2.role) && r.action == p.action", "m2 = g(r.user, p2.role) && r.action == p2.action"
    )
    engine, oracle = ours(mended, policy, sections=sections), theirs(mended, policy)
    for request in itertools.product(("alice", "admin", "user", "bob"), ("x",), ("view", "create", "GET")):
        assert (engine.evaluate(request, never).effect is Effect.ALLOW) is oracle.enforce(context, *request)
