"""`authz policy fmt`: what it writes, what it only shows, and its exit codes."""

import pathlib

import pytest
from click.testing import CliRunner

from authz.cli.main import cli
from authz.errors import PolicyError

ROOT = pathlib.Path(__file__).parents[3]
UGLY = "# who\n\n  p,a ,r.sub.kind=='a'&&  !(r.obj.port in[1,2]),/a, GET,allow ,\n\n\n"
TIDY = "# who\n\np, a, r.sub.kind == 'a' && !(r.obj.port in [1, 2]), /a, GET, allow,\n"
UGLY_MODEL = """[request_definition]
r=sub,obj ,act
# rules
[policy_definition]
p = sub,obj, act
[policy_effect]
e = some(where (p.eft == allow))


[matchers]
m=r.sub==p.sub&&\\
r.obj == p.obj && \\
      r.act==p.act
"""
TIDY_MODEL = """[request_definition]
r = sub, obj, act

# rules
[policy_definition]
p = sub, obj, act

[policy_effect]
e = some(where (p.eft == allow))


[matchers]
m = r.sub==p.sub&& \\
    r.obj == p.obj && \\
    r.act==p.act
"""


def fmt(*arguments, stdin=None):
    return CliRunner().invoke(cli, ["policy", "fmt", *map(str, arguments)], input=stdin)


@pytest.fixture
def policy(tmp_path):
    (tmp_path / "model.conf").write_text((ROOT / "policies" / "model.conf").read_text())
    file = tmp_path / "p.csv"
    file.write_text(UGLY)
    return file


def test_files_are_laid_out_in_place_and_named(policy):
    policy.chmod(0o640)
    result = fmt(policy.parent)
    assert (result.exit_code, result.output) == (0, f"{policy}\n")
    assert policy.read_text() == TIDY
    assert policy.stat().st_mode & 0o777 == 0o640
    assert sorted(each.name for each in policy.parent.iterdir()) == ["model.conf", "p.csv"]
    assert fmt(policy.parent).output == ""


def test_check_writes_nothing_shows_the_difference_and_exits_1(policy):
    result = fmt("--check", policy, "--model", policy.parent / "model.conf")
    assert result.exit_code == 1
    assert "+p, a, r.sub.kind == 'a'" in result.output
    assert policy.read_text() == UGLY
    policy.write_text(TIDY)
    assert fmt("--check", policy).exit_code == 0


def test_diff_writes_nothing_and_exits_0(policy):
    result = fmt("--diff", policy, "--model", policy.parent / "model.conf")
    assert (result.exit_code, result.output[:4]) == (0, "--- ")
    assert policy.read_text() == UGLY


def test_without_a_model_expressions_stay_as_they_are(policy):
    assert (
        fmt("-", stdin=UGLY).output.splitlines()[2] == "p, a, r.sub.kind=='a'&&  !(r.obj.port in[1,2]), /a, GET, allow,"
    )
    assert fmt("-", "--model", policy.parent / "model.conf", stdin=UGLY).output == TIDY


def test_a_model_is_known_by_its_section_and_continued_lines_stay_lines():
    result = fmt("-", stdin=UGLY_MODEL)
    assert (result.exit_code, result.output) == (0, TIDY_MODEL)


def test_a_link_stays_a_link(policy, tmp_path):
    link = tmp_path / "link.csv"
    link.symlink_to(policy)
    fmt(link)
    assert link.is_symlink()
    assert policy.read_text() != UGLY


def test_the_files_of_the_configuration_are_meant_without_files(policy):
    config = policy.parent / "authz.toml"
    config.write_text('[identity]\ntrust_domain = "d"\n[policy]\nmodel = "model.conf"\npolicies = ["p.csv"]\n')
    assert fmt("-c", config).exit_code == 0
    assert policy.read_text() == TIDY
    assert fmt().exit_code == 2


def test_what_is_no_policy_is_left_alone(policy):
    policy.write_text(UGLY + "p, (a\n")
    result = fmt(policy)
    assert isinstance(result.exception, PolicyError)
    assert "a bracket is not closed" in str(result.exception)
    assert policy.read_text() == UGLY + "p, (a\n"


def test_where_one_file_is_no_policy_none_is_touched(policy):
    (policy.parent / "z.csv").write_text("p, (a\n")
    assert isinstance(fmt(policy.parent).exception, PolicyError)
    assert policy.read_text() == UGLY


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(policy, monkeypatch):
    def refuse(self, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "replace", refuse)
    assert "cannot be written" in str(fmt(policy).exception)
    assert policy.read_text() == UGLY
    assert sorted(each.name for each in policy.parent.iterdir()) == ["model.conf", "p.csv"]


def test_the_shipped_policies_are_laid_out():
    assert fmt("--check", ROOT / "policies").exit_code == 0
    assert fmt("--check", ROOT / "policies" / "basic").exit_code == 0
