"""`authz policy graph`: the table in its forms, the drawing, and the bounds."""

import csv
import io
import json
import pathlib
import xml.etree.ElementTree as ET

import pytest
from click.testing import CliRunner

from authz.cli.main import cli
from authz.cli.policy.graph_svg import draw
from authz.decision.access_table import Answer, Cell, TableResource, TableSubject
from authz.errors import AuthzError

ROOT = pathlib.Path(__file__).parents[3]
POLICIES = ROOT / "policies"
PLANNER = "spiffe://demo.internal/ns/agents/sa/planner"


def graph(*options, config=POLICIES / "authz.toml"):
    return CliRunner().invoke(cli, ["policy", "graph", "-c", str(config), *map(str, options)])


def answers(*options, **more):
    told = json.loads(graph("--json", *options, **more).stdout)["answers"]
    return {(each["subject"]["id"], each["resource"]["name"], each["method"]): each["answer"] for each in told}


def test_the_table_says_who_can_do_what_by_which_rule():
    result = graph()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{PLANNER}  (inventory)"
    assert lines[1].split() == ["yes", "GET", "/v1/accounts/*", "(account,", "internal)", "policy.csv:6"]
    assert "by one example path and host" in result.stderr


def test_the_answers_are_those_of_the_shipped_policy():
    found = answers("--all")
    assert found[PLANNER, "/v1/accounts/*", "GET"] == "yes"
    assert found[PLANNER, "/v1/accounts/{account}/cards/*", "GET"] == "no"
    assert found["spiffe://demo.internal/ns/payments/sa/billing", "tcp:5432", "CONNECT"] == "yes"
    assert found["spiffe://demo.internal/ns/payments/sa/billing", "/v1/payments", "POST"] == "yes"
    assert len(answers()) < len(found)


@pytest.fixture
def config(tmp_path):
    (tmp_path / "p.csv").write_text(
        "p, a, r.sub.id == 'spiffe://d/x' && r.env.sni == '<b>&\"', /a/*, PURGE, allow,\n"
        "p, b, r.sub.id == 'spiffe://d/b' && r.sub.owner == 'o', /b, *, allow,\n"
        "p, c, 'x' in r.sub.sources && r.sub.id == 'user', /a/*, GET, allow,\n"
    )
    (tmp_path / "inventory.toml").write_text('[workloads."spiffe://d/b/*"]\nowner = "o"\n')
    file = tmp_path / "authz.toml"
    file.write_text(
        f'[identity]\ntrust_domain = "d"\ninventory.file = "inventory.toml"\n'
        f'[policy]\nmodel = "{POLICIES}/model.conf"\npolicies = ["p.csv"]\n'
    )
    return file


def test_what_rules_name_is_asked_about_and_prefixes_are_sampled(config):
    found = answers("--all", config=config)
    assert found["spiffe://d/x", "/a/*", "PURGE"] == "depends"
    assert found["spiffe://d/x", "/a/*", "GET"] == "no"
    assert ("spiffe://d/b/example", "/b", "GET") in found
    assert found["user", "/a/*", "GET"] == "depends"
    needs = [need for each in json.loads(graph("--json", config=config).stdout)["answers"] for need in each["needs"]]
    assert "r.env.sni == '<b>&\"' (allow, p.csv:1)" in needs


def test_those_to_whom_roles_are_granted_are_asked_about_and_roles_are_not(tmp_path):
    (tmp_path / "model.conf").write_text((ROOT / "tests/corpus/casbin/rbac_model.conf").read_text())
    (tmp_path / "p.csv").write_text("p, admin, /a, GET\ng, spiffe://d/alice, staff\ng, staff, admin\n")
    file = tmp_path / "authz.toml"
    file.write_text(
        '[identity]\ntrust_domain = "d"\n[policy]\nmodel = "model.conf"\npolicies = ["p.csv"]\n'
        '[attributes.request]\nsub = "sub.id"\nobj = "obj.path"\nact = "act.method"\n'
    )
    found = answers("--all", config=file)
    assert {subject for subject, _, _ in found} == {"spiffe://d/alice"}
    assert found["spiffe://d/alice", "/a", "GET"] == "yes"
    assert found["spiffe://d/alice", "/a", "POST"] == "no"


def test_programs_and_spreadsheets_get_every_answer(config):
    rows = list(csv.DictReader(io.StringIO(graph("--csv", "--all", config=config).stdout)))
    assert len(rows) == len(answers("--all", config=config))
    assert {"subject", "resource", "path", "method", "answer", "rule", "needs"} <= set(rows[0])


def test_subjects_and_methods_can_be_chosen(config):
    found = answers("--all", "--subject", "spiffe://d/b", "--only", "--method", "GET", config=config)
    assert {(subject, method) for subject, _, method in found} == {("spiffe://d/b", "GET")}
    assert graph("--only").exit_code == 2
    assert graph("--json", "--csv").exit_code == 2


def test_what_is_beyond_a_bound_is_left_out_and_told(config):
    result = graph("--max-subjects", 1, config=config)
    assert "subjects: the first 1 of" in result.stderr
    assert json.loads(graph("--max-resources", 1, "--json", config=config).stdout)["left_out"]


def test_a_table_that_would_take_too_long_is_refused(config, monkeypatch):
    monkeypatch.setattr("authz.cli.policy.graph._MAX_WORK", 3)
    assert isinstance(graph(config=config).exception, AuthzError)


def test_the_drawing_is_a_document_with_a_line_for_each_pair(config, tmp_path):
    assert graph("--svg", tmp_path / "g.svg").exit_code == 0
    root = ET.fromstring((tmp_path / "g.svg").read_text())
    lines = [each for each in root.iter() if each.tag.endswith("line")]
    assert len(lines) == 4
    assert {each.get("class") for each in lines} == {"yes"}
    assert isinstance(graph("--svg", tmp_path / "no" / "g.svg").exception, AuthzError)


def test_nothing_in_a_policy_becomes_markup():
    evil = '</text><script>alert("1")</script>\x00\x1b'
    cell = Cell(
        TableSubject(evil, evil),
        TableResource(evil, evil, evil, (evil,), evil, evil),
        evil,
        Answer.DEPENDS,
        None,
        (evil,),
    )
    root = ET.fromstring(draw([cell], evil))
    assert {each.tag.rpartition("}")[2] for each in root.iter()} == {"svg", "title", "style", "rect", "text", "line"}
    assert {name for each in root.iter() for name in each.attrib} <= {
        "width",
        "height",
        "viewBox",
        "role",
        "fill",
        "x",
        "y",
        "x1",
        "x2",
        "y1",
        "y2",
        "class",
        "text-anchor",
    }


def test_a_long_name_is_cut_and_kept_as_a_hint():
    cell = Cell(TableSubject("s" * 300, ""), TableResource("r", "h", "/", (), ""), "GET", Answer.YES)
    drawn = draw([cell], "t")
    root = ET.fromstring(drawn)
    assert f"<title>{'s' * 300}</title>" in drawn
    assert int(root.get("width")) < 1500


def test_an_empty_table_says_so():
    assert draw([], "t").startswith("<svg")
