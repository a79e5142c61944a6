"""Policies of a serving process: an operator goes back, keys go on, and files that are broken stop neither."""

import gc
import sys
from pathlib import Path

import pytest

from authz.composition import Composition
from authz.config.settings import Config
from authz.errors import ConfigError, PolicyError
from authz.identity.resolve import IdentitySettings
from authz.live import LivePolicy
from authz.policy.compile import CompiledEngine
from authz.stores.history import HistorySettings
from authz.stores.policy_files import PolicySettings
from authz.stores.quiet import Pacer
from authz.telemetry.metrics import Metrics

MODEL = """[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, path
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub.id == p.sub && r.obj.path == p.path
"""


class Server:
    def __init__(self, base: Path, **history: int) -> None:
        self.base = base
        (base / "model.conf").write_text(MODEL)
        self.rules("one")
        policy = PolicySettings(model="model.conf", policies=("policy.csv",), history=HistorySettings(**history))
        config = Config(identity=IdentitySettings(trust_domain="td.example"), policy=policy)
        self.composition = Composition(config, base)
        self.metrics = Metrics("test")
        self.told: list[str] = []
        self.live = LivePolicy(self.composition, self.metrics, self.told.append)
        self.live.start(self.composition.build_to_serve())
        self.composition.policies.pause = lambda: None

    def rules(self, *paths: str) -> None:
        (self.base / "policy.csv").write_text("".join(f"p, spiffe://td.example/a, /{path}\n" for path in paths))

    def reload(self, *paths: str) -> None:
        self.rules(*paths)
        self.live.holder.current = self.composition.build_to_serve()
        self.live.installed()

    @property
    def decides_by(self) -> list[str]:
        engine = self.live.holder.current.engine
        assert isinstance(engine, CompiledEngine)
        return [rule.row.cells[1] for rule in engine.rules]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def test_going_back_holds_until_released(server: Server):
    old = server.live.holder.current.version
    server.reload("two")
    server.live.rollback(old)
    assert server.decides_by == ["/one"]
    server.reload("three")
    assert server.decides_by == ["/one"]
    assert b"authz_policy_pinned 1.0" in server.metrics.render()
    server.live.release()
    assert server.decides_by == ["/three"]
    assert b"authz_policy_pinned 0.0" in server.metrics.render()


def test_a_policy_gone_back_to_keeps_the_version_that_records_know(server: Server):
    old = server.live.holder.current.version
    server.reload("two")
    assert server.live.rollback(old).version == old
    assert old.encode() in server.metrics.render()


def test_going_back_does_not_need_the_files(server: Server):
    old = server.live.history()[0].version
    server.reload("two")
    (server.base / "policy.csv").write_text("broken")
    with pytest.raises(PolicyError):
        server.composition.build_to_serve()
    server.live.rollback(old)
    assert server.decides_by == ["/one"]


def test_an_unknown_version_changes_nothing(server: Server):
    server.reload("two")
    with pytest.raises(ConfigError, match="no kept policy"):
        server.live.rollback("0000000000000000")
    assert server.decides_by == ["/two"]


def test_new_keys_do_not_bring_in_a_build_that_was_refused(server: Server):
    server.rules("two")
    (server.base / "inventory.toml").write_text("workloads = 1")
    server.composition.build_to_serve()  # built, and never put in force
    server.live.renew()
    assert server.decides_by == ["/one"]


def test_the_same_rules_are_not_compiled_again(server: Server):
    before = server.live.holder.current.engine
    server.reload("one")
    assert server.live.holder.current.engine is before


def test_freeing_old_policies_leaves_the_interpreter_as_it_was(tmp_path: Path):
    server = Server(tmp_path, keep=0)
    before = sys.getswitchinterval(), gc.get_threshold()
    server.composition.policies.pause = Pacer().step_aside
    for path in ("two", "three"):
        server.reload(path)
        server.live.trim()
    assert len(server.live.history()) == 1
    assert (sys.getswitchinterval(), gc.get_threshold()) == before


def test_old_policies_are_freed(tmp_path: Path):
    server = Server(tmp_path, keep=1)
    for path in ("two", "three", "four"):
        server.reload(path)
        server.live.trim()
    server.live.count()
    assert [kept.rules for kept in server.live.history()] == [1, 1]
    assert b"authz_policies_kept 2.0" in server.metrics.render()
