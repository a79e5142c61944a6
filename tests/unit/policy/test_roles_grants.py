"""Role grants: who holds what, how deep, under which patterns, domains and conditions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import ConfigError, PolicyError
from authz.policy import depth
from authz.policy.functions import RuleError, registry
from authz.policy.perm import RoleDefinition
from authz.policy.roles import RoleBasis, Roles, RoleSettings
from authz.policy.rows import Row

NOW = 1_800_000_000.0
FUNCTIONS = registry(lambda: NOW, {})


def roles(
    *grants: str, domains: bool = False, parameters: int = 0, max_depth: int = 10, settings: RoleSettings | None = None
) -> Roles:
    rows = [Row("g", "p.csv", number, tuple(grant.split())) for number, grant in enumerate(grants, 1)]
    basis = RoleBasis(FUNCTIONS, settings or RoleSettings(), max_depth)
    return Roles(RoleDefinition("g", domains, parameters), rows, basis)


def test_a_name_holds_itself_and_what_is_granted_to_what_it_holds():
    graph = roles("alice editor", "editor reader", "bob reader")
    assert graph.reach("alice") == {"alice", "editor", "reader"}
    assert graph.reach("bob") == {"bob", "reader"}
    assert graph.reach("reader") == {"reader"}
    assert graph.reach("nobody") == {"nobody"}
    assert graph.holds("alice", "reader")
    assert not graph.holds("reader", "alice")


def test_a_grant_holds_in_its_own_domain_only():
    graph = roles("alice admin d1", "bob admin d2", "admin root d2", domains=True)
    assert graph.reach("alice", "d1") == {"alice", "admin"}
    assert graph.reach("alice", "d2") == {"alice"}
    assert graph.reach("bob", "d2") == {"bob", "admin", "root"}
    assert graph.reach("alice", "d9") == {"alice"}


def test_circles_end():
    graph = roles("a b", "b c", "c a", "x a")
    assert graph.reach("a") == {"a", "b", "c"}
    assert graph.reach("x") == {"x", "a", "b", "c"}


def test_ten_hops_pass_and_eleven_are_an_error_of_the_policy():
    chain = [f"r{n} r{n + 1}" for n in range(11)]
    assert "r10" in roles(*chain[:10]).reach("r0")
    with pytest.raises(PolicyError, match="nest more than 10 deep, from 'r0'") as refused:
        roles(*chain)
    assert refused.value.line == 1
    assert "r11" in roles(*chain, max_depth=11).reach("r0")


def test_a_long_way_round_does_not_matter_when_there_is_a_short_one():
    chain = [f"r{n} r{n + 1}" for n in range(12)]
    shortcuts = [f"r{n} r{m}" for n in range(12) for m in range(n + 3, 13, 3)]
    assert "r12" in roles(*chain, *shortcuts, max_depth=5).reach("r0")


def test_a_large_circle_within_the_limit_on_the_shortest_ways_is_refused_only_beyond_it():
    circle = [f"r{n} r{(n + 1) % 8}" for n in range(8)]
    assert len(roles(*circle, max_depth=7).reach("r0")) == 8
    with pytest.raises(PolicyError, match="deep"):
        roles(*circle, max_depth=6)


@pytest.mark.parametrize("name", [None, 3, True, ["alice"], {"a": 1}, ("alice",), b"alice"])
def test_what_is_no_text_holds_no_role_and_says_so(name: object):
    graph = roles("alice admin d1", domains=True)
    for question in ((name, "d1"), ("alice", name)):
        with pytest.raises(RuleError, match="no text"):
            graph.reach(*question)
    with pytest.raises(RuleError, match="no text"):
        graph.holds("alice", name, "d1")


def test_strangers_are_not_remembered():
    graph = roles("alice admin")
    before = graph.reach("alice")
    for number in range(10_000):
        graph.reach(f"stranger{number}")
    assert len(graph._kept) + len(graph._strangers) == 1
    assert graph.reach("alice") is before


def test_strangers_to_patterns_are_remembered_only_so_many():
    settings = RoleSettings(role_matching={"g": "keyMatch2"}, max_remembered_strangers=10)
    graph = roles("/book/:id books", settings=settings)
    for number in range(1000):
        assert "books" in graph.reach(f"/book/{number}")
    assert len(graph._strangers) <= 10


def test_domains_that_a_caller_makes_up_are_remembered_only_so_many():
    settings = RoleSettings(domain_matching={"g": "keyMatch"}, max_remembered_strangers=10)
    graph = roles("alice admin *", domains=True, settings=settings)
    for number in range(1000):
        assert "admin" in graph.reach("alice", f"domain{number}")
    assert len(graph._kept) + len(graph._strangers) <= 10


def test_only_so_many_roles_are_kept_ready():
    grants = [f"u{n} role{n}" for n in range(100)]
    graph = roles(*grants, settings=RoleSettings(max_remembered_roles=20))
    for number in range(100):
        assert graph.reach(f"u{number}") == {f"u{number}", f"role{number}"}
    assert sum(map(len, graph._kept.values())) <= 20


def matching(*grants: str, function: str = "keyMatch2") -> Roles:
    return roles(*grants, settings=RoleSettings(role_matching={"g": function}))


def test_a_name_holds_what_is_granted_to_the_patterns_that_it_matches():
    graph = matching("/book/:id books", "/book/1 special", "books things")
    assert graph.reach("/book/1") == {"/book/1", "special", "books", "things"}
    assert graph.reach("/book/2") == {"/book/2", "books", "things"}
    assert graph.reach("/pen/2") == {"/pen/2"}


def test_whoever_is_granted_a_pattern_holds_every_role_that_it_matches():
    graph = matching("alice /team/:id", "/team/1 members")
    graph.know(["/team/7"])
    assert graph.reach("alice") == {"alice", "/team/:id", "/team/1", "members", "/team/7"}
    assert graph.holds("alice", "/team/99")
    assert not graph.holds("alice", "/other/99")
    assert not graph.holds("bob", "/team/99")


def test_a_caller_who_names_itself_like_a_pattern_does_not_match_by_it():
    graph = matching("/book/1 special", "/book/:x books")
    assert graph.reach("*") == {"*"}
    assert graph.reach("/book/:y") == {"/book/:y", "books"}
    assert "/book/1" not in graph.reach("/book/:x")
    assert matching("alice /team/:id", "/team/1 members").reach("/team/:id") == {"/team/:id"}


def test_answers_do_not_depend_on_the_order_of_questions():
    grants = ("/book/:id books", "alice /book/:id", "books things", "/book/1 special")
    questions = ["alice", "/book/1", "/book/2", "books", "/book/:id", "nobody"]
    expected = {name: matching(*grants).reach(name) for name in questions}
    forwards, backwards = matching(*grants), matching(*reversed(grants))
    for name in questions:
        assert forwards.reach(name) == expected[name]
    for name in reversed(questions):
        assert backwards.reach(name) == expected[name]


@pytest.mark.parametrize("pattern", ["*", "domain*"])
def test_a_domain_pattern_holds_in_every_domain_that_it_matches(pattern: str):
    settings = RoleSettings(domain_matching={"g": "keyMatch"})
    graph = roles(f"alice admin {pattern}", "admin root domain1", domains=True, settings=settings)
    assert graph.reach("alice", "domain1") == {"alice", "admin", "root"}
    assert graph.reach("alice", "domain2") == {"alice", "admin"}


@pytest.mark.parametrize("name", ["(", "[", "a**"])
def test_a_name_that_is_no_pattern_matches_only_itself(name: str):
    graph = matching(f"{name} admin", function="regexMatch")
    assert "admin" in graph.reach(name)
    assert graph.reach("other") == {"other"}


def test_a_grant_with_a_condition_holds_while_its_condition_does():
    settings = RoleSettings(conditions={"g": "timeMatch"})
    rows = [
        Row("g", "p", 1, ("alice", "early", "_", "2020-01-01 00:00:00")),
        Row("g", "p", 2, ("alice", "now", "2020-01-01 00:00:00", "2040-01-01 00:00:00")),
        Row("g", "p", 3, ("now", "beyond", "_", "_")),
        Row("g", "p", 4, ("early", "never", "_", "_")),
    ]
    times = [NOW]
    functions = registry(lambda: times[0], {})
    graph = Roles(RoleDefinition("g", domains=False, parameters=2), rows, RoleBasis(functions, settings, 10))
    assert graph.timed
    assert graph.reach("alice") == {"alice", "now", "beyond"}
    times[0] = 1_000_000_000.0
    assert graph.reach("alice") == {"alice", "early", "never"}


@pytest.mark.parametrize(
    ("grant", "problem"),
    [
        (("a", "b", "soon", "_"), "not a time"),
        (("a", "b", "_", "2026-99-01 00:00:00"), "month"),
    ],
)
def test_a_condition_that_does_not_fit_is_refused_with_its_line(grant: tuple[str, ...], problem: str):
    rows = [Row("g", "p.csv", 7, grant)]
    with pytest.raises(PolicyError, match=problem) as refused:
        Roles(RoleDefinition("g", domains=False, parameters=2), rows, RoleBasis(FUNCTIONS, RoleSettings(), 10))
    assert (refused.value.file, refused.value.line) == ("p.csv", 7)


def test_a_conditional_grant_without_its_function_is_refused_not_unconditional():
    rows = [Row("g", "p.csv", 1, ("a", "b", "_", "_"))]
    basis = RoleBasis(registry(None, {}), RoleSettings(), 10)
    with pytest.raises(PolicyError, match="timeMatch of this grant is not available"):
        Roles(RoleDefinition("g", domains=False, parameters=2), rows, basis)


@pytest.mark.parametrize("function", ["nothing", "ipmatch", "keyGet", "keyGet2"])
def test_a_setting_that_names_no_pattern_function_is_refused(function: str):
    with pytest.raises(ConfigError, match="cannot match names of g"):
        roles("a b", settings=RoleSettings(role_matching={"g": function}))


names = st.sampled_from("abcdefgh")
graphs = st.lists(st.tuples(names, names), max_size=20)


def adjacency(links: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, role in links:
        if name != role:
            found.setdefault(name, []).append(role)
    return found


def distances(graph: dict[str, list[str]], start: str) -> dict[str, int]:
    found, level = {start: 0}, [start]
    while level:
        level = [
            after
            for name in level
            for after in graph.get(name, ())
            if after not in found and not found.update({after: found[name] + 1})
        ]
    return found


@given(graphs)
def test_reach_is_the_transitive_closure(links: list[tuple[str, str]]):
    graph = adjacency(links)
    compiled = roles(*(f"{name} {role}" for name, role in links), max_depth=100)
    for name in "abcdefgh":
        assert compiled.reach(name) == set(distances(graph, name))


@given(graphs, st.integers(1, 8))
def test_a_graph_is_too_deep_exactly_when_some_shortest_way_is(links: list[tuple[str, str]], limit: int):
    graph = adjacency(links)
    farthest = max((hops for name in graph for hops in distances(graph, name).values()), default=0)
    assert depth.bound(graph) >= farthest
    assert bool(depth.too_deep(graph, limit)) is (farthest > limit)


@given(graphs, st.data())
def test_the_bound_holds_whatever_grants_are_left_out(links: list[tuple[str, str]], data: st.DataObject):
    whole = depth.bound(adjacency(links))
    part = adjacency([link for link in links if data.draw(st.booleans())])
    for name in part:
        assert max(distances(part, name).values()) <= whole


def test_a_graph_too_large_to_check_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(depth, "_MAX_STEPS", 1)
    with pytest.raises(PolicyError, match="too many and too deep to check"):
        roles(*(f"r{n} r{(n + 1) % 9}" for n in range(9)), max_depth=2)
