"""What a snapshot takes over from the one before: what rests on nothing that changed, and only that."""

from pathlib import Path

import pytest

from authz.composition import Composition
from authz.config.settings import Config
from authz.decision.catalogue import CatalogueSettings
from authz.decision.snapshot import Snapshot
from authz.errors import ConfigError
from authz.identity.inventory import InventorySettings
from authz.identity.resolve import IdentitySettings
from authz.jose.jwk import KeySet
from authz.stores.policy_files import PolicySettings

MODEL = """[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, path
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub.id == p.sub && r.obj.path == p.path
"""
INVENTORY = '[workloads."spiffe://td.example/a"]\nowner = "team-a"\n'
CATALOGUE = '[[resources]]\nhost = "*"\npath = "/one"\ntype = "account"\n'
RULE = "p, spiffe://td.example/a, /one\n"


@pytest.fixture
def composition(tmp_path: Path) -> Composition:
    files = {"model.conf": MODEL, "policy.csv": RULE, "inventory.toml": INVENTORY, "catalogue.toml": CATALOGUE}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return Composition(
        Config(
            identity=IdentitySettings(trust_domain="td.example", inventory=InventorySettings(file="inventory.toml")),
            catalogue=CatalogueSettings(file="catalogue.toml"),
            policy=PolicySettings(model="model.conf", policies=("policy.csv",)),
        ),
        tmp_path,
    )


def reloaded(composition: Composition) -> Snapshot:
    composition.build_to_serve()
    composition.commit()
    return composition.assemble()


def test_a_new_policy_leaves_what_was_proven_of_callers(composition: Composition):
    before = reloaded(composition)
    (composition.base / "policy.csv").write_text(RULE.replace("one", "two"))
    after = reloaded(composition)
    assert after.version != before.version
    assert after.resolver is before.resolver
    assert after.grants is before.grants
    assert after.chains is before.chains
    assert after.canonicalise is before.canonicalise


def test_a_new_policy_classes_resources_anew(composition: Composition):
    before = reloaded(composition)
    (composition.base / "policy.csv").write_text(RULE.replace("one", "two"))
    after = reloaded(composition)
    assert after.binder is not before.binder
    assert after.keys is not before.keys


def test_a_new_inventory_forgets_what_was_proven_under_the_old(composition: Composition):
    before = reloaded(composition)
    (composition.base / "inventory.toml").write_text(INVENTORY.replace("team-a", "team-b"))
    after = reloaded(composition)
    assert after.version != before.version
    assert after.resolver is not before.resolver


def test_a_new_catalogue_describes_resources_anew(composition: Composition):
    before = reloaded(composition)
    (composition.base / "catalogue.toml").write_text(CATALOGUE.replace("account", "document"))
    after = reloaded(composition)
    assert after.binder is not before.binder


@pytest.mark.parametrize("which", ["keys", "own_grant_keys"])
def test_new_keys_forget_what_the_old_ones_proved_and_leave_what_is_known_of_resources(
    composition: Composition, which: str
):
    before = reloaded(composition)
    setattr(composition, which, {} if which == "keys" else KeySet())
    after = composition.assemble()
    assert after.resolver is not before.resolver
    assert after.grants is not before.grants
    assert after.binder is before.binder


def test_an_inventory_that_broke_is_refused_each_time_and_the_good_one_comes_back(composition: Composition):
    before = reloaded(composition)
    (composition.base / "inventory.toml").write_text("workloads = 1")
    for _ in range(2):
        with pytest.raises(ConfigError):
            composition.build_to_serve()
    (composition.base / "inventory.toml").write_text(INVENTORY)
    assert reloaded(composition).version == before.version
