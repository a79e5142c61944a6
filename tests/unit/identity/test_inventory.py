"""What is known of workloads beyond their credentials."""

import pytest

from authz.errors import ConfigError
from authz.identity.inventory import EMPTY_INVENTORY, UNREGISTERED, InventorySettings, parse_inventory
from authz.model import Kind
from authz.spiffe import parse_spiffe_id

SETTINGS = InventorySettings()
PLANNER = "spiffe://prod.example/ns/agents/sa/planner"
FULL = {
    "owner": "team-planning",
    "environment": "production",
    "purpose": "plans payments",
    "clearance": 2,
    "kind": "agent",
    "labels": {"tier": "gold"},
    "expected_instances": 3,
    "max_addresses": 5,
    "max_task_owners": 2,
}


def inventory(workloads, settings=SETTINGS):
    return parse_inventory({"workloads": workloads}, "inventory.toml", settings)


def find(entries, text):
    return entries.find(parse_spiffe_id(text))


def test_a_full_entry():
    found = find(inventory({PLANNER: FULL}), PLANNER)
    assert found.kind is Kind.AGENT
    assert found.attributes == {
        "registered": True,
        "owner": "team-planning",
        "environment": "production",
        "purpose": "plans payments",
        "clearance": 2,
        "labels": {"tier": "gold"},
        "expected_instances": 3,
        "max_addresses": 5,
        "max_task_owners": 2,
    }


def test_policies_see_the_same_names_of_everybody():
    found = find(inventory({PLANNER: {"owner": "x"}}), PLANNER)
    assert found.kind is None
    assert found.attributes.keys() == UNREGISTERED.keys()
    assert UNREGISTERED["registered"] is False
    assert UNREGISTERED["clearance"] == 0
    assert not any(value for name, value in UNREGISTERED.items() if name != "registered")


def test_clearance_may_be_a_name():
    assert (
        find(inventory({PLANNER: {"owner": "x", "clearance": "secret"}}), PLANNER).attributes["clearance"] == "secret"
    )


def test_the_exact_entry_goes_before_the_longest_prefix_and_entries_do_not_merge():
    entries = inventory(
        {
            "spiffe://prod.example/*": {"owner": "all"},
            "spiffe://prod.example/ns/agents/*": {"owner": "agents", "clearance": 5},
            PLANNER: {"owner": "planner"},
        }
    )
    assert find(entries, PLANNER).attributes["owner"] == "planner"
    assert find(entries, PLANNER).attributes["clearance"] == 0
    assert find(entries, f"{PLANNER}x").attributes["owner"] == "agents"
    assert find(entries, "spiffe://prod.example/x").attributes["owner"] == "all"
    assert len(entries) == 3
    assert find(entries, "spiffe://partner.example/x") is None


def test_an_empty_inventory_knows_nobody():
    assert len(EMPTY_INVENTORY) == 0
    assert find(EMPTY_INVENTORY, PLANNER) is None
    assert len(inventory({})) == 0


@pytest.mark.parametrize(
    ("document", "problems"),
    [
        ({}, ["workloads"]),
        ({"workloads": []}, ["workloads"]),
        ({"workload": {}}, ["'workload'", "did you mean 'workloads'?"]),
        ({"workloads": {}, "x": 1}, ["'x'"]),
        ({"workloads": {PLANNER: "x"}}, [PLANNER, "table"]),
        ({"workloads": {PLANNER: {}}}, [PLANNER, "owner"]),
        ({"workloads": {PLANNER: {"owner": ""}}}, [PLANNER, "'owner'"]),
        ({"workloads": {PLANNER: {"owner": 1}}}, [PLANNER, "'owner'", "str"]),
        ({"workloads": {PLANNER: {**FULL, "ownr": "x"}}}, [PLANNER, "'ownr'", "did you mean 'owner'?"]),
        ({"workloads": {PLANNER: {**FULL, "zzz": "x"}}}, [PLANNER, "'zzz'", "known are owner"]),
        ({"workloads": {PLANNER: {**FULL, "kind": "human"}}}, [PLANNER, "'kind'"]),
        ({"workloads": {PLANNER: {**FULL, "kind": "robot"}}}, [PLANNER, "'kind'"]),
        ({"workloads": {PLANNER: {**FULL, "clearance": -1}}}, [PLANNER, "'clearance'"]),
        ({"workloads": {PLANNER: {**FULL, "clearance": True}}}, [PLANNER, "'clearance'"]),
        ({"workloads": {PLANNER: {**FULL, "clearance": None}}}, [PLANNER, "'clearance'"]),
        ({"workloads": {PLANNER: {**FULL, "labels": {"a": 1}}}}, [PLANNER, "labels"]),
        ({"workloads": {PLANNER: {**FULL, "labels": {str(n): "" for n in range(65)}}}}, [PLANNER, "'labels'"]),
        ({"workloads": {PLANNER: {**FULL, "expected_instances": -1}}}, [PLANNER, "'expected_instances'"]),
        ({"workloads": {PLANNER: {**FULL, "purpose": "x" * 257}}}, [PLANNER, "'purpose'"]),
        ({"workloads": {"spiffe://prod.example": FULL}}, ["spiffe://prod.example", "workload"]),
        ({"workloads": {"SPIFFE://prod.example/x": FULL}}, ["SPIFFE://prod.example/x"]),
        ({"workloads": {f"{PLANNER}\n": FULL}}, [PLANNER, "segment"]),
        ({"workloads": {"spiffe://prod.example/*/x": FULL}}, ["at the end only"]),
        ({"workloads": {"*": FULL}}, ["'*'"]),
    ],
)
def test_an_error_names_file_entry_and_field(document, problems):
    with pytest.raises(ConfigError) as caught:
        parse_inventory(document, "inventory.toml", SETTINGS)
    message = str(caught.value)
    assert message.startswith("inventory.toml: ")
    for problem in problems:
        assert problem in message


def test_a_missing_field_is_named():
    with pytest.raises(ConfigError) as caught:
        inventory({PLANNER: {}})
    assert str(caught.value) == f"inventory.toml: workloads.'{PLANNER}': Object missing required field `owner`"


def test_the_number_of_entries_is_bounded():
    workloads = {f"spiffe://td/{number}": FULL for number in range(3)}
    assert len(inventory(workloads, InventorySettings(max_entries=3))) == 3
    with pytest.raises(ConfigError, match="max_entries"):
        inventory(workloads, InventorySettings(max_entries=2))
