"""The linter: what it finds, where, and what it leaves in peace."""

import pathlib

import pytest

from authz.decision.bind import BindSettings
from authz.decision.catalogue import CatalogueSettings, parse_entries
from authz.decision.vocabulary import sensitive, vocabulary
from authz.policy.functions import registry
from authz.policy.lint.check import Ground, lint
from authz.policy.lint.finding import CODES, Finding, Severity
from authz.policy.lint.whole import Standing

ROOT = pathlib.Path(__file__).parents[3]
MODEL = (ROOT / "policies" / "model.conf").read_text()
TOKENS = ("sub", "obj", "act", "env")
ROLES = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
"""


def found(text: str, model: str = MODEL, *, entries=(), bind: BindSettings | None = None) -> list[Finding]:
    catalogue = parse_entries({"resources": list(entries)}, "catalogue.toml", CatalogueSettings())
    whole = model == MODEL
    ground = Ground(
        functions=registry(lambda: 0.0, {}),
        vocabulary=vocabulary(TOKENS, {}, bind or BindSettings()) if whole else {},
        standing=Standing({token: token for token in TOKENS}),
        sensitive=sensitive(catalogue, ["restricted"]),
    )
    return list(lint(("model.conf", model), [("p.csv", text)], ground))


def rule(condition: str, path: str = "/a/*", method: str = "GET", effect: str = "allow", name: str = "x") -> str:
    return f"p, {name}, {condition}, {path}, {method}, {effect},"


def marked(finding: Finding, text: str) -> str:
    """What the carets stand under."""
    return text.split("\n")[finding.line - 1][finding.column - 1 : finding.end]


@pytest.mark.parametrize(
    ("condition", "code", "under", "said"),
    [
        ("r.sub.idd == 'x'", "unknown-attribute", "r.sub.idd", "did you mean id?"),
        ("r.sub.credential.kin == 'x'", "unknown-attribute", "r.sub.credential.kin", "did you mean kind?"),
        ("r.sub.kind.x == 'x'", "unknown-attribute", "r.sub.kind.x", "r.sub.kind is a single value"),
        ("r.subject.id == 'x'", "unknown-attribute", "subject", "did you mean sub?"),
        ("r.env.headers.foo == 'x'", "unknown-attribute", "r.env.headers.foo", "attributes.expose_headers"),
        ("r.env.metadata.foo == 'x'", "unknown-attribute", "r.env.metadata.foo", "check_request.metadata_namespaces"),
        ("keymatch(r.obj.path, '/a')", "unknown-function", "keymatch", "did you mean keyMatch?"),
        ("r.obj.port == '80'", "type-mismatch", "r.obj.port == '80'", "a number stands without quotes"),
        ("r.sub.kind == 3", "type-mismatch", "r.sub.kind == 3", "a number stands without quotes"),
        ("r.sub.registered == 'true'", "type-mismatch", "r.sub.registered == 'true'", "without quotes"),
        ("r.sub.kind < 3", "type-mismatch", "r.sub.kind < 3", "a number stands without quotes"),
        ("r.obj.port in ['80', '81']", "type-mismatch", "r.obj.port in ['80', '81']", "a number stands without"),
        ("'a' in r.sub.owner", "type-mismatch", "r.sub.owner", "for a list"),
        ("r.sub.kind in 'agent'", "type-mismatch", "", ""),
        ("r.sub.owner", "type-mismatch", "r.sub.owner", "compare it"),
        ("r.sub.registered && r.sub.owner", "type-mismatch", "r.sub.owner", "compare it"),
        ("r.sub.labels == 'x'", "type-mismatch", "r.sub.labels == 'x'", "inside the map"),
        ("r.sub.kind - 1 == 0", "type-mismatch", "r.sub.kind - 1", ""),
        ("keyMatch(r.obj.port, '/a')", "type-mismatch", "r.obj.port", ""),
        ("keyMatch('/a', r.obj.path)", "request-controlled-pattern", "r.obj.path", "the value comes first"),
        ("regexMatch(r.obj.path, '(?=a)')", "unsupported-pattern", "'(?=a)'", ""),
        ("keyMatch(r.obj.path, '/a/*/b')", "unsupported-pattern", "'/a/*/b'", ""),
        ("ipMatch(r.env.source_address, 'home')", "unsupported-pattern", "'home'", ""),
        ("regexMatch(r.obj.path, '^(a+)+$')", "nested-quantifiers", "'^(a+)+$'", "backtrack"),
        ("r.sub.kind ==", "syntax", " " * 0, ""),
        ("r.sub.labels.team == 'a'", "unguarded-key", "r.sub.labels.team", "put 'team' in r.sub.labels"),
        ("r.act.args.amount <= 10", "unguarded-key", "r.act.args.amount", "put 'amount' in r.act.args"),
        ("r.act.tools == 'pay'", "unknown-attribute", "r.act.tools", "tool"),
    ],
)
def test_a_condition_that_is_wrong_is_found_at_its_place(condition, code, under, said):
    text = "# a comment\n" + rule(condition)
    (finding,) = [each for each in found(text) if each.code == code]
    assert finding.line == 2
    if under:
        assert marked(finding, text) == under
    assert finding.column > len("p, x, ") - 1
    assert said in finding.advice


@pytest.mark.parametrize(
    "condition",
    [
        "True",
        "r.act.tool == 'pay' && r.act.args.amount <= 10 && r.act.args.to.account == 'x'",
        "keyMatch(r.act.name, 'mcp:tools/*') && r.act.kind == 'mcp' && r.obj.uri == ''",
        "r.sub.id == 'x' && r.sub.clearance >= 3",
        "r.sub.clearance == 'high'",
        "r.sub.expected_instances == 1",
        "r.sub.registered == True && r.sub.registered == 1",
        "'team' in r.sub.labels && r.sub.labels.team == 'a'",
        "'team' not in r.sub.labels || r.sub.labels.team == 'a'",
        "'certificate' in r.sub.sources",
        "r.sub.kind in ['agent', 'human'] && r.obj.port not in [80, 443]",
        "r.sub.credential.age < 3600 && r.env.time > 5 && r.env.task.purpose != ''",
        "r.env.sni + 'x' == 'yx' && r.env.size + 1 < 100",
        "keyGet(r.obj.path, '/a/*') == 'b' && ipMatch(r.env.source_address, '10.0.0.0/8')",
        "r.obj.cardholder_data || !(r.obj.type == 'a')",
        "regexMatch(r.obj.path, '^/a/[0-9]+(-[a-z]{1,3})?$')",
        "timeMatch('_', '2030-01-01 00:00:00')",
    ],
)
def test_a_condition_that_is_right_is_left_in_peace(condition):
    assert found(rule(condition)) == []


def test_every_fault_of_a_run_is_told_not_only_the_first():
    text = "\n".join(
        (
            rule("r.sub.foo == 1 && bar(r.sub.baz)"),
            "p, too, few",
            rule("r.sub.kind == 'a'", effect="alow"),
            rule("("),
            "q, x",
            rule("True", path="/a/*/b"),
            f"{rule('True')} # behind",
            rule("True", effect="deny")[:-1] + ", apply=x",
        )
    )
    assert [(each.line, each.code) for each in found(text)] == [
        (1, "unknown-attribute"),
        (1, "unknown-function"),
        (1, "unknown-attribute"),
        (2, "row-refused"),
        (3, "rule-refused"),
        (4, "row-refused"),
        (5, "row-refused"),
        (6, "unsupported-pattern"),
        (7, "row-refused"),
        (8, "rule-refused"),
    ]


def test_exposed_headers_and_open_maps_are_known_but_may_be_absent():
    bind = BindSettings(expose_headers=("X-Team",))
    (finding,) = found(rule("r.env.headers['x-team'] == 'a'"), bind=bind)
    assert finding.code == "unguarded-key"
    assert found(rule("'x-team' in r.env.headers && r.env.headers['x-team'] == 'a'"), bind=bind) == []


@pytest.mark.parametrize(
    "condition",
    [
        "r.sub.kind == 'agent' && r.sub.kind == 'human'",
        "r.sub.kind == 'agent' && r.sub.kind in ['human', 'workload']",
        "r.sub.kind == 'agent' && r.sub.kind != 'agent'",
        "r.sub.clearance > 3 && r.sub.clearance <= 3",
        "r.obj.cardholder_data && !r.obj.cardholder_data",
        "r.obj.path == '/b/x'",
        "keyMatch2(r.obj.path, '/b/:id')",
        "'a' == 'b' && r.sub.registered",
    ],
)
def test_a_rule_that_can_never_match_is_found(condition):
    assert [each.code for each in found(rule(condition))] == ["never-matches"]


def test_duplicates_shadows_and_silent_rules_are_found_and_name_the_other():
    text = "\n".join(
        (
            rule("r.sub.kind == 'agent'"),
            rule("r.sub.kind == 'agent'", name="y"),
            rule("r.sub.kind == 'agent'", path="/a/b"),
            rule("r.sub.kind == 'human'", effect="indeterminate"),
        )
    )
    told = found(text)
    assert [(each.line, each.code) for each in told] == [(2, "duplicate"), (3, "shadowed"), (4, "indeterminate")]
    assert "p.csv:1" in told[0].message
    assert "p.csv:1" in told[1].message


def test_a_deny_that_overlaps_is_information_and_one_that_does_not_is_silent():
    text = "\n".join((rule("r.sub.kind == 'agent'"), rule("r.sub.registered", effect="deny")))
    (finding,) = found(text)
    assert (finding.line, finding.code, finding.severity) == (2, "overlap", Severity.INFO)
    assert "p.csv:1" in finding.message
    apart = "\n".join((rule("r.sub.kind == 'agent'"), rule("r.sub.kind == 'human'", effect="deny")))
    assert found(apart) == []
    assert found("\n".join((rule("True", "/a/*"), rule("True", "/b/*", effect="deny")))) == []


CARDS = {"host": "*", "path": "/a/{id}/cards/*", "type": "card", "sensitivity": "restricted"}
PLAIN = {"host": "*", "path": "/a/*", "type": "account", "sensitivity": "internal"}


@pytest.mark.parametrize(
    ("condition", "path", "method", "entry", "warned"),
    [
        ("True", "/a/*", "GET", CARDS, True),
        ("True", "*", "*", CARDS, True),
        ("r.sub.kind == 'agent'", "/a/*", "GET", CARDS, True),
        ("True", "/a/*", "GET", PLAIN, False),
        ("True", "/a/*", "GET", {**PLAIN, "sensitivity": "", "cardholder_data": True, "path": "/a/b/*"}, True),
        ("True", "/a/*", "GET", {**CARDS, "path": "/a/*"}, False),  # exactly that resource is meant
        ("True", "/b/*", "GET", CARDS, False),
        ("True", "/a/1/cards/2", "GET", CARDS, False),
        ("r.obj.type == 'account'", "/a/*", "GET", CARDS, False),
        ("r.obj.type == 'card'", "/a/*", "GET", CARDS, True),
        ("r.obj.sensitivity == 'restricted'", "/a/*", "GET", CARDS, False),  # the author knows
        ("True", "/a/*", "GET", {**CARDS, "methods": ["POST"]}, False),
        ("True", "/a/*", "*", {**CARDS, "methods": ["POST"]}, True),
        ("r.obj.host == 'x'", "/a/*", "GET", {**CARDS, "host": "y"}, False),
        ("True", "*", "*", {**CARDS, "path": "tcp:5432", "methods": ["connect"]}, True),
    ],
)
def test_a_wildcard_over_what_is_sensitive_is_found(condition, path, method, entry, warned):
    told = [each.code for each in found(rule(condition, path, method), entries=[entry])]
    assert told == (["wildcard-over-sensitive"] if warned else [])


def test_a_rule_that_denies_may_cover_what_is_sensitive():
    assert found(rule("True", effect="deny"), entries=[CARDS]) == []


def test_role_grants_in_a_circle_are_found():
    told = found("p, a, o, x\ng, a, b\ng, b, c\ng, c, a\ng, d, a\ng, e, e", ROLES)
    assert [(each.line, each.code) for each in told] == [(4, "role-cycle"), (6, "role-cycle")]
    assert "a, b, c" in told[0].message


def test_a_circle_through_two_domains_is_none():
    model = (
        ROLES.replace("g = _, _", "g = _, _, _").replace("r = sub", "r = dom, sub").replace("p.sub)", "p.sub, r.dom)")
    )
    assert found("p, a, o, x\ng, a, b, one\ng, b, a, two", model) == []
    assert [each.code for each in found("p, a, o, x\ng, a, b, one\ng, b, a, one", model)] == ["role-cycle"]


def test_grants_that_nest_too_deep_do_not_hide_what_is_wrong_elsewhere():
    grants = "\n".join(f"g, n{at}, n{at + 1}" for at in range(15))
    told = found(f'p, a, o, "x"\n{grants}', ROLES)
    assert {each.code for each in told} == {"rule-refused"}
    assert any("nest" in each.message for each in told)
    assert any("quotes" in each.message for each in told)


def test_the_matcher_is_checked_at_its_place_also_behind_a_continued_line():
    model = MODEL.replace(
        "m = keyMatch(r.obj.path, p.path) && ", "m = keymatch(r.obj.path, p.path) && \\\n  r.ob.x == 1 && "
    )
    told = found(rule("True"), model)
    text = model
    assert {(each.code, each.file) for each in told} >= {
        ("unknown-function", "model.conf"),
        ("unknown-attribute", "model.conf"),
    }
    places = {each.code: marked(each, text) for each in told if each.file == "model.conf"}
    assert places == {"unknown-function": "keymatch", "unknown-attribute": "ob"}


def test_a_model_that_does_not_load_is_one_finding():
    (finding,) = found(rule("True"), MODEL.replace("[matchers]", "[matcher]"))
    assert finding.code == "model-refused"
    assert finding.line


def test_rules_of_a_kind_that_the_server_does_not_ask_are_found():
    model = MODEL.replace("[policy_effect]", "p2 = sub\n[policy_effect]")
    assert [(each.line, each.code) for each in found("p2, x\np2, y", model)] == [(1, "never-asked")]


class TestExemptions:
    def test_a_comment_above_a_rule_exempts_that_rule_only(self):
        text = "\n".join(
            (
                rule("r.sub.labels.a == 'x'"),
                "# lint: allow unguarded-key - every workload is labelled",
                "# (see the inventory)",
                rule("r.sub.labels.b == 'x'", path="/b"),
                rule("r.sub.labels.c == 'x'", path="/c"),
            )
        )
        assert [(each.line, each.code) for each in found(text)] == [(1, "unguarded-key"), (5, "unguarded-key")]

    def test_a_file_can_be_exempted(self):
        text = "# lint: allow-file unguarded-key, overlap - labelled\n\n" + rule("r.sub.labels.a == 'x'")
        assert [(each.line, each.code) for each in found(text)] == [(1, "useless-exemption")]

    def test_an_exemption_that_exempts_nothing_is_a_warning(self):
        text = "# lint: allow unguarded-key - once upon a time\n" + rule("True")
        (finding,) = found(text)
        assert (finding.line, finding.code, finding.severity) == (1, "useless-exemption", Severity.WARNING)

    @pytest.mark.parametrize(
        "comment",
        [
            "# lint: allow unguarded-key",
            "# lint: allow - because",
            "# lint: allow no-such-code - because",
            "# lint: allow type-mismatch - an error cannot be allowed",
            "# lint: ignore overlap - x",
        ],
    )
    def test_a_malformed_exemption_exempts_nothing(self, comment):
        told = [each.code for each in found(f"{comment}\n" + rule("r.sub.labels.b == 'x' && r.sub.kind == 'a'"))]
        assert told == ["malformed-exemption", "unguarded-key"]

    def test_errors_stay(self):
        text = "# lint: allow-file unguarded-key - x\n" + rule("r.sub.nope == 'x'")
        assert "unknown-attribute" in [each.code for each in found(text)]


def test_findings_are_in_order_and_each_stands_once():
    text = "\n".join((rule("r.sub.x == 1 && r.sub.x == 2"), rule("r.sub.a == 1")))
    told = found(text)
    assert [(each.line, each.column) for each in told] == sorted((each.line, each.column) for each in told)
    assert len(told) == len(set(told))


def test_every_code_is_documented():
    page = (ROOT / "docs" / "policy-tools.md").read_text()
    assert [code for code in CODES if f"`{code}`" not in page] == []
