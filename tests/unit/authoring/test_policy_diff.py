"""`authz policy diff`: which decisions differ, for whom, and what counts."""

import json
import subprocess

import pytest
from author_world import BILLING, MODEL, PLANNER, POLICY, AuthorWorld

from authz.authoring.changes import MAX_GROUPS, Change, Grouping, Kind, kind_of
from authz.authoring.constants import constants, instance
from authz.authoring.ruling import Ruling
from authz.errors import AuthzError, ConfigError
from authz.policy.compile import CompiledEngine


@pytest.fixture
def old(tmp_path):
    return AuthorWorld(tmp_path / "old")


@pytest.fixture
def new(tmp_path):
    return AuthorWorld(tmp_path / "new")


def diff(old, new, *options):
    return old.run("diff", old.directory, new.directory, "--samples", "500", *options)


def test_the_same_policy_in_another_order_and_place_differs_in_nothing(old, new):
    new.write("policy.csv", "# moved\n" + "".join(reversed(POLICY.splitlines(keepends=True))))
    result = diff(old, new)
    assert result.exit_code == 0, result.output
    assert "no decisions change, of 500 samples" in result.output


def test_what_becomes_allowed_is_told_first_with_who_what_and_why(old, new):
    new.write("policy.csv", POLICY.replace("GET, allow", "*, allow"))
    result = diff(old, new)
    assert result.exit_code == 1
    assert result.output.startswith("now allowed: ")
    assert f"{PLANNER}: POST /v1/a/" in result.output
    assert "was denied (no_matching_rule)" in result.output
    assert "now allowed by reads (policy.csv:1), with apply=mark" in result.output
    assert "now denied" not in result.output


def test_what_becomes_denied_is_a_difference_but_no_gain(old, new):
    new.write("policy.csv", POLICY.replace("/v1/a/*, GET, allow", "/v1/a/b/*, GET, allow"))
    assert diff(old, new).exit_code == 1
    assert "now denied" in diff(old, new).output
    assert diff(old, new, "--fail-on-gain").exit_code == 0
    assert diff(new, old, "--fail-on-gain").exit_code == 1


def test_other_obligations_are_other_terms(old, new):
    new.write("policy.csv", POLICY.replace("apply=mark", ""))
    result = diff(old, new)
    assert result.exit_code == 1
    assert "allowed on other terms" in result.output


def test_another_reason_for_a_denial_counts_for_nothing(old, new):
    new.write("policy.csv", POLICY + "p, also, r.obj.path == '/v1/never', *, *, deny,\n")
    assert diff(old, new).exit_code == 0
    result = diff(old, new, "--all")
    assert result.exit_code == 0
    assert "denied for another reason" in result.output


def test_a_single_new_rule_among_many_is_found(old, new):
    many = "".join(f"p, r{n}, r.sub.id == 'spiffe://demo.internal/s{n}', /x{n}, GET, allow,\n" for n in range(300))
    old.write("policy.csv", many)
    new.write("policy.csv", many + "p, extra, r.sub.id == 'spiffe://demo.internal/s7', /y, GET, allow,\n")
    told = old.told("diff", old.directory, new.directory, "--samples", "400")
    assert [(group["who"], group["what"]) for group in told["changes"]] == [("spiffe://demo.internal/s7", "GET /y")]


def test_a_change_of_the_inventory_or_the_catalogue_shows(old, new):
    rule = "p, paid, r.sub.environment == 'prod' && r.sub.registered, /v1/pay, POST, allow,\n"
    old.write("policy.csv", rule)
    new.write("policy.csv", rule)
    new.write("inventory.toml", f'[workloads."{BILLING}"]\nowner = "x"\nenvironment = "staging"\n')
    told = old.told("diff", old.directory, new.directory)
    assert [(group["kind"], group["who"]) for group in told["changes"]] == [("now denied", BILLING)]


def test_cases_are_asked_of_both(old, new):
    new.write("policy.csv", POLICY.replace("GET, allow", "PUT, allow"))
    new.write("a_test.yaml", f"""\
cases:
  - name: putting
    request: {{principal: "{PLANNER}", path: /v1/a/1, method: PUT}}
    expect: allow
""")  # fmt: skip
    result = diff(old, new, "--samples", "0")
    assert result.exit_code == 1
    assert "a_test.yaml:2 (putting)" in result.output
    assert "1 decisions change, of 1 cases" in result.output


def test_the_same_seed_makes_up_the_same_requests(old, new):
    new.write("policy.csv", POLICY.replace("GET, allow", "*, allow"))
    one, again, other = (
        old.told("diff", old.directory, new.directory, "--samples", "300", "--seed", seed) for seed in ("5", "5", "6")
    )
    assert one == again != other


def test_a_policy_file_is_compared_under_the_configuration_given(old, tmp_path):
    file = tmp_path / "candidate.csv"
    file.write_text(POLICY.replace("GET, allow", "*, allow"))
    result = old.run("diff", old.config, file, "-c", old.config)
    assert result.exit_code == 1
    assert "by reads (candidate.csv:1)" in result.output
    assert isinstance(old.run("diff", old.config, file).exception, ConfigError)


def test_a_git_revision_is_a_side(old, monkeypatch):
    def git(*arguments):
        subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x@x.example", *arguments],
            cwd=old.directory, check=True, capture_output=True, timeout=30,
        )  # fmt: skip

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first", "--no-gpg-sign")
    old.write("policy.csv", POLICY.replace("GET, allow", "*, allow"))
    monkeypatch.chdir(old.directory)
    for spec in ("HEAD:.", "HEAD:", "HEAD:authz.toml"):
        result = old.run("diff", spec, ".")
        assert result.exit_code == 1, result.exception
        assert "now allowed by reads (policy.csv:1)" in result.output
    for spec in ("HEAD:nothing", "nowhere:policy.csv", "--output=x:y"):
        assert isinstance(old.run("diff", "--", spec, ".").exception, ConfigError)
    old.write("model.conf", "broken")
    git("commit", "-qam", "second", "--no-gpg-sign")
    broken = old.run("diff", "HEAD~1:.", "HEAD:.").exception
    assert isinstance(broken, AuthzError)
    assert "authz-diff-" not in str(broken)


def test_what_is_not_there_is_an_error(old):
    assert "no such file" in str(old.run("diff", old.directory / "nowhere", old.directory).exception)


def test_the_json_form_holds_counts_and_groups(old, new):
    new.write("policy.csv", POLICY.replace("GET, allow", "*, allow"))
    told = old.told("diff", old.directory, new.directory)
    assert told["asked"] == {"sample": 2000}
    first = told["changes"][0]
    assert set(first) == {"kind", "count", "who", "what", "old", "new", "example"}
    assert json.loads(first["example"])["request"]["principal"] == PLANNER


ALLOW, DENY = Ruling("allow", "allowed", "f:1"), Ruling("deny", "no_matching_rule")


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (DENY, ALLOW, Kind.GAIN),
        (ALLOW, DENY, Kind.LOSS),
        (ALLOW, Ruling("allow", "allowed", "f:2"), None),
        (ALLOW, Ruling("allow", "allowed", "f:1", (("a", "b"),)), Kind.TERMS),
        (DENY, Ruling("deny", "denied_by_rule", "f:1"), Kind.REASON),
        (DENY, DENY, None),
    ],
)
def test_the_kind_of_a_change(before, after, kind):
    assert kind_of(before, after) is kind


def test_changes_that_are_alike_are_one_group_the_gravest_first():
    grouping = Grouping()
    for number in (3, 1, 22):
        grouping.add(Change(Kind.LOSS, "a", "x", "was", "now", "e" * number))
    grouping.add(Change(Kind.GAIN, "b", "x", "was", "now", "e"))
    told = [(group.kind, group.who, group.count, group.example) for group in grouping.groups]
    assert told == [(Kind.GAIN, "b", 1, "e"), (Kind.LOSS, "a", 3, "e")]


def test_groups_without_end_are_counted_together():
    grouping = Grouping()
    for number in range(MAX_GROUPS + 3):
        grouping.add(Change(Kind.LOSS, "a", f"GET /{number}", "was", "now", "e"))
    groups = grouping.groups
    assert len(groups) == MAX_GROUPS + 1
    assert (groups[0].who, groups[0].count) == ("others", 3)


def test_constants_are_found_by_attribute_whatever_tokens_stand_for():
    engine = CompiledEngine.load(
        MODEL.replace("r = sub, obj, act, env", "r = who, obj, act, env"),
        "m",
        [
            (
                "p",
                "p, x, r.who == 'a' && r.env.hour < 6 && r.obj.type in ['s', 't'] && r.env.sni, /v/*, GET, allow,\n",
            )
        ],
    )
    found = constants(engine, {"who": "sub.id"})
    assert found["sub.id"] == ("a",)
    assert found["obj.path"] == ("/v/*",)
    assert set(found["obj.type"]) == {"s", "t"}
    assert {5, 6, 7} <= set(found["env.hour"])


def test_a_pattern_is_filled_in():
    assert instance("/v1/{id}/:name/*", "x") == "/v1/x/x/x"
