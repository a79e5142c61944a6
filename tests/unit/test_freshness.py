"""How old the policy may be: from configuration to denials and readiness, with a store and without."""

import asyncio
from types import SimpleNamespace

import pytest

from authz.composition import Composition
from authz.config.file import load
from authz.config.settings import Config
from authz.decision.standing import NOTHING_REVOKED
from authz.errors import ConfigError, Reason
from authz.model import Freshness, Subject
from authz.shared_state import NoSiblings, shared_state
from authz.transport.readiness import Readiness
from authz.turned_on import POLICY, standing_of, watch_policy_age


def composed(base, settings=""):
    (base / "authz.toml").write_text(
        '[identity]\ntrust_domain = "td"\n[policy]\nmodel = "model.conf"\npolicies = ["policy.csv"]\n'
        f'[store]\nstate_directory = "state"\n{settings}'
    )
    composition = Composition(load(base / "authz.toml", Config, {}), base)
    composition.policy_age = SimpleNamespace(seconds=0.0, behind=False)
    return composition


def refusal(standing):
    return standing.refusal(Subject(id="spiffe://td/a", trust_domain="td"), None, 1.0)


def test_nothing_is_asked_where_nothing_is_bounded(tmp_path):
    assert standing_of(None, composed(tmp_path)) is NOTHING_REVOKED


def test_a_policy_that_is_too_old_denies_everything(tmp_path):
    composition = composed(tmp_path, "[freshness]\nmax_policy_age_seconds = 60\n")
    standing = standing_of(None, composition)
    composition.policy_age.seconds = 60.0
    assert refusal(standing) is None
    assert standing.freshness() == Freshness(policy=60.0)
    composition.policy_age.seconds = 60.1
    assert refusal(standing) is Reason.STATE_STALE


async def test_with_a_store_the_applied_policy_is_as_old_as_the_last_contact(tmp_path):
    composition = composed(tmp_path, "[freshness]\nmax_policy_age_seconds = 60\n")
    async with shared_state(composition.config, tmp_path, NoSiblings()) as shared:
        standing = standing_of(shared, composition)
        composition.policy_age.seconds = 61.0
        assert refusal(standing) is Reason.STATE_STALE
        composition.applied_policy = (1, None)
        assert refusal(standing) is None, "files do not matter then"
        assert standing.freshness().policy < 10
        composition.policy_age.behind = True
        assert refusal(standing) is Reason.STATE_STALE, "what was applied last does not load"


async def test_revocations_can_be_bounded_more_tightly_than_by_the_store(tmp_path):
    composition = composed(tmp_path, "[freshness]\nmax_revocation_age_seconds = 3\n")
    async with shared_state(composition.config, tmp_path, NoSiblings()) as shared:
        assert shared.max_age_seconds == 3
        assert refusal(standing_of(shared, composition)) is None
    composition = composed(tmp_path, "[freshness]\nmax_revocation_age_seconds = 900\n")
    async with shared_state(composition.config, tmp_path, NoSiblings()) as shared:
        assert shared.max_age_seconds == 10, "never looser"


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_server_is_not_ready_while_its_policy_is_too_old(tmp_path):
    composition = composed(tmp_path, "[freshness]\nmax_policy_age_seconds = 60\n")
    readiness = Readiness(("x",))
    readiness.hold("x")
    composition.policy_age.seconds = 61.0
    watching = asyncio.create_task(watch_policy_age(composition, readiness, standing_of(None, composition)))
    await until(lambda: not readiness.ready)
    assert list(readiness.failing) == [POLICY]
    composition.policy_age.seconds = 1.0
    await until(lambda: readiness.ready)
    watching.cancel()


def test_a_class_that_bounds_nothing_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"freshness\.classes: class 1 bounds nothing"):
        composed(tmp_path, '[[freshness.classes]]\ntype = "payment"\n')
