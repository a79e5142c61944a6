"""The policies that ship: they load, and decide as their comments say."""

import tomllib
from pathlib import Path

import pytest

from authz.decision.catalogue import CatalogueSettings, parse_catalogue
from authz.identity.inventory import UNREGISTERED, InventorySettings, parse_inventory
from authz.model import Effect
from authz.policy.compile import CompiledEngine
from authz.policy.engine import Verdict
from authz.spiffe import parse_spiffe_id

POLICIES = Path(__file__).parents[3] / "policies"
PLANNER = "spiffe://demo.internal/ns/agents/sa/planner"
RESEARCHER = "spiffe://demo.internal/ns/agents/sa/researcher"
BILLING = "spiffe://demo.internal/ns/payments/sa/billing"
STRANGER = "spiffe://demo.internal/ns/other/sa/stranger"


def load(model: str, policy: str) -> CompiledEngine:
    return CompiledEngine.load(
        (POLICIES / model).read_text("utf-8"), model, [(policy, (POLICIES / policy).read_text("utf-8"))]
    )


ENGINE = load("model.conf", "policy.csv")
CATALOGUE = parse_catalogue(tomllib.loads((POLICIES / "catalogue.toml").read_text("utf-8")), "c", CatalogueSettings())
INVENTORY = parse_inventory(tomllib.loads((POLICIES / "inventory.toml").read_text("utf-8")), "i", InventorySettings())


def ask(who: str, method: str, path: str) -> Verdict:
    entry = INVENTORY.find(parse_spiffe_id(who)) if who else None
    kind = entry.kind.value if entry and entry.kind else "workload" if who else "anonymous"
    sub = {**(entry.attributes if entry else UNREGISTERED), "id": who, "kind": kind}
    obj = {"host": "h", "path": path, **CATALOGUE.describe("h", path, method)}
    return ENGINE.evaluate((sub, obj, {"method": method}, {}), lambda: False)


@pytest.mark.parametrize(
    ("who", "method", "path", "rule"),
    [
        (PLANNER, "GET", "/v1/accounts/42", "planner-reads-accounts"),
        (PLANNER, "GET", "/v1/accounts/42/orders", "planner-reads-accounts"),
        (RESEARCHER, "GET", "/v1/documents/public/handbook", "researcher-reads-public-documents"),
        (BILLING, "POST", "/v1/payments", "billing-makes-payments"),
        (BILLING, "CONNECT", "tcp:5432", "billing-reaches-its-database"),
    ],
)
def test_it_is_allowed_by_that_rule(who, method, path, rule):
    verdict = ask(who, method, path)
    assert verdict.effect is Effect.ALLOW
    assert verdict.rule is not None
    assert verdict.rule.text.startswith(f"p, {rule}, ")


@pytest.mark.parametrize(
    "path", ["/v1/accounts/42/cards", "/v1/accounts/42/cards/1", "/v1/accounts/42/cards/", "/v1/payments"]
)
@pytest.mark.parametrize("who", [PLANNER, RESEARCHER])
def test_cardholder_data_is_denied_to_agents_by_a_rule_of_its_own(who, path):
    verdict = ask(who, "GET", path)
    assert verdict.effect is Effect.DENY
    assert verdict.rule is not None
    assert verdict.rule.text.startswith("p, no-cardholder-data-for-agents, ")


@pytest.mark.parametrize(
    ("who", "method", "path"),
    [
        (PLANNER, "POST", "/v1/accounts/42"),
        (PLANNER, "GET", "/v1/accounts"),
        (PLANNER, "get", "/v1/accounts/42"),
        (PLANNER, "GET", "/v1/documents/public/handbook"),
        (RESEARCHER, "GET", "/v1/documents/secret"),
        (RESEARCHER, "GET", "/v1/accounts/42"),
        (BILLING, "GET", "/v1/payments"),
        (BILLING, "POST", "/v1/payments/1"),
        (BILLING, "CONNECT", "tcp:5433"),
        (STRANGER, "GET", "/v1/accounts/42"),
        (STRANGER, "POST", "/v1/payments"),
        (BILLING + "x", "POST", "/v1/payments"),
        ("", "GET", "/v1/accounts/42"),
        ("", "GET", "/"),
    ],
)
def test_nothing_else_is_allowed_and_no_rule_errs(who, method, path):
    assert ask(who, method, path) == Verdict(Effect.DENY)


def test_the_basic_model_runs_on_plain_strings():
    engine = load("basic/model.conf", "basic/policy.csv")
    assert engine.tokens == ("sub", "obj", "act")
    assert engine.evaluate((PLANNER, "/v1/accounts", "GET"), lambda: False).effect is Effect.ALLOW
    assert engine.evaluate((PLANNER, "/v1/accounts", "POST"), lambda: False).effect is Effect.DENY
    assert engine.evaluate(("", "", ""), lambda: False).effect is Effect.DENY


def test_the_basic_model_is_casbins_own():
    ours, casbins = (
        [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
        for path in (POLICIES / "basic" / "model.conf", POLICIES.parent / "tests/corpus/casbin/basic_model.conf")
    )
    assert ours == casbins


def test_the_readme_names_every_attribute_that_the_example_reads():
    readme = (POLICIES / "README.md").read_text("utf-8")
    for path in ENGINE.reads:
        assert f"`{path.rpartition('.')[2]}`" in readme
