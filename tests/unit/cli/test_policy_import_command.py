"""`authz policy import`: exit codes, what goes where, and that nothing is overwritten."""

import pathlib

import pytest
from click.testing import CliRunner

from authz.cli.main import cli
from authz.errors import AuthzError

ROOT = pathlib.Path(__file__).parents[3]
HEAD = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: foo}\n"
GOOD = (
    HEAD
    + "spec: {rules: [{from: [{source: {namespaces: [dev]}}], to: [{operation: {methods: [GET], paths: [/a*]}}]}]}\n"
)
BAD_ALLOW = GOOD.replace("namespaces: [dev]", "requestPrincipals: ['*']")
BAD_DENY = BAD_ALLOW.replace("spec: {", "spec: {action: DENY, ")


def run(kind, *options, text):
    return CliRunner().invoke(cli, ["policy", "import", kind, "-", *options], input=text)


def test_rules_go_to_standard_output_and_load_with_the_shipped_model(tmp_path):
    result = run("istio", text=GOOD)
    assert (result.exit_code, result.stderr) == (0, "")
    assert (
        "p, istio/foo/p/1, r.sub.namespace == 'dev' && r.sub.sources != ('token',), /a*, GET, allow," in result.stdout
    )
    (tmp_path / "p.csv").write_text(result.stdout)
    model = str(ROOT / "policies" / "model.conf")
    checked = CliRunner().invoke(cli, ["policy", "lint", "--model", model, str(tmp_path / "p.csv")])
    assert checked.exit_code == 0, checked.output
    assert (
        CliRunner().invoke(cli, ["policy", "fmt", "--check", "--model", model, str(tmp_path / "p.csv")]).exit_code == 0
    )


def test_something_left_out_is_listed_with_its_place_and_exits_1():
    result = run("istio", text=BAD_ALLOW)
    assert result.exit_code == 1
    assert "-:4:53: left out: ALLOW foo/p, rule 1: requestPrincipals is not translated" in result.stderr
    assert "allow," not in result.stdout


def test_a_denial_that_cannot_be_translated_fails_the_import_unless_partial():
    result = run("istio", text=f"{GOOD}---\n{BAD_DENY}")
    assert isinstance(result.exception, AuthzError)
    assert result.stdout == ""
    assert "denies, and cannot be translated: DENY foo/p" in result.stderr
    result = run("istio", "--partial", text=f"{GOOD}---\n{BAD_DENY}")
    assert result.exit_code == 1
    assert "allow," in result.stdout
    assert "DENIES, AND IS LEFT OUT" in result.stderr


def test_options_reach_the_translation():
    text = GOOD.replace("namespaces: [dev]", "principals: [cluster.local/x]").replace(
        "spec: {", "spec: {selector: {matchLabels: {app: web}}, "
    )
    assert "spiffe://d/x" in run("istio", "--trust-domain", "d", "--workload", "foo/app=web", text=text).stdout
    other = run("istio", "--workload", "foo/app=api", text=text)
    assert other.exit_code == 1
    assert "for other workloads" in other.stderr
    assert "allow-rest" in run("istio", "--workload", "foo", "--allow-rest", text=text).stdout
    headers = GOOD.replace("to: [", "when: [{key: 'request.headers[X-A]', values: [b]}], to: [")
    assert run("istio", text=headers).exit_code == 1
    assert run("istio", "--exposed-header", "x-a", text=headers).exit_code == 0
    assert run("istio", "--workload", "/x", text=GOOD).exit_code == 2
    assert run("istio", "--workload", "foo/x", text=GOOD).exit_code == 2


def test_a_file_is_written_but_never_over_another(tmp_path):
    target = tmp_path / "new.csv"
    assert run("istio", "-o", str(target), text=GOOD).exit_code == 0
    written = target.read_text()
    assert "istio/foo/p/1" in written
    again = run("istio", "-o", str(target), text=GOOD)
    assert "cannot be written" in str(again.exception)
    assert target.read_text() == written


def test_what_is_no_yaml_is_an_error():
    assert "not YAML" in str(run("istio", text="a: [").exception)


@pytest.fixture
def model(tmp_path):
    file = tmp_path / "model.conf"
    file.write_text((ROOT / "tests/corpus/casbin/rbac_model.conf").read_text())
    return str(file)


def test_casbin_rules_lose_their_quotes_and_are_loaded_once(model):
    text = '# rbac\np, "alice", "data1", read\ng, "alice", "admin"\n'
    result = run("casbin", "--model", model, text=text)
    assert (result.exit_code, result.stdout) == (0, "# rbac\np, alice, data1, read\ng, alice, admin\n")


def test_casbin_rules_that_cannot_be_written_are_listed(model):
    result = run("casbin", "--model", model, text='p, alice, "a,b", read\np, alice, b, read\np, x\n')
    assert result.exit_code == 1
    assert result.stdout == "p, alice, b, read\n"
    assert "-:1:1: left out: p:" in result.stderr
    assert "-:3:1: left out: p:" in result.stderr


def test_a_casbin_rule_that_denies_and_cannot_be_written_fails_the_import_unless_partial(tmp_path):
    text = 'p, "a,b", data, read, deny\np, alice, data, read, allow\n'
    result = run("casbin", text=text)
    assert isinstance(result.exception, AuthzError)
    assert (result.stdout, "-:1:1: denies" in result.stderr) == ("", True)
    result = run("casbin", "--partial", text=text)
    assert (result.exit_code, result.stdout) == (1, "p, alice, data, read, allow\n")
    grants = 'p, role, data, read, deny\ng, "a,b", role\n'
    assert isinstance(run("casbin", text=grants).exception, AuthzError)
    assert run("casbin", text=grants.replace("deny", "allow")).exit_code == 1


def test_casbin_rules_that_do_not_load_are_an_error(tmp_path):
    model = str(ROOT / "policies" / "model.conf")
    result = run("casbin", "--model", model, text="p, a, r.sub.x ==, /x, GET, allow,\n")
    assert isinstance(result.exception, AuthzError)
    assert result.stdout == ""
