"""Policies from a bundle: fetched or watched, never an older one, and never lost while its origin is out of reach."""

import asyncio
import stat
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from bundle_kit import KEY, NOW, STRANGER, make, public_pem

from authz.composition import Composition
from authz.config.file import load
from authz.config.settings import Config
from authz.errors import ConfigError
from authz.identity.resolve import IdentitySettings
from authz.stores.bundle_source import BundleSettings, BundleSource
from authz.stores.policy_files import PolicySettings
from authz.stores.polling import Poller
from authz.stores.revisions import RevisionMemory


class Place:
    """A directory with a bundle and a trusted key."""

    def __init__(self, base: Path, location: str = "policy.tar.gz", **settings: object) -> None:
        self.base = base
        (base / "release.pub").write_bytes(public_pem(KEY))
        fields = {"name": "demo", "trusted_keys": ("release.pub",), "state_directory": "state", **settings}
        self.settings = BundleSettings(location=location, **fields)

    def put(self, data: bytes) -> None:
        (self.base / "policy.tar.gz").write_bytes(data)

    def source(self) -> BundleSource:
        return BundleSource(self.settings, self.base, lambda: NOW)

    def into_force(self, data: bytes) -> BundleSource:
        self.put(data)
        source = self.source()
        source.read()
        source.accepted()
        return source


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_what_it_holds_goes_by_names_that_tell_the_revision(place: Place):
    place.put(make(revision=4))
    text = place.source().read()
    assert text.policies == (("demo@4/policy.csv", "p, spiffe://td.example/a, /one\n"),)
    assert (text.model_file, text.revision) == ("demo@4/model.conf", 4)


def test_the_file_and_the_keys_are_watched(place: Place):
    assert {path.name for path in place.source().watched()} == {"policy.tar.gz", "release.pub"}


def test_an_older_revision_is_refused_after_a_restart_too(place: Place):
    place.into_force(make(revision=5))
    place.put(make(revision=4))
    with pytest.raises(ConfigError, match="revision 4 is older than 5"):
        place.source().read()


def test_the_same_revision_with_another_content_is_refused(place: Place):
    place.into_force(make(revision=5))
    place.put(make(revision=5, path="two"))
    with pytest.raises(ConfigError, match="revision 5 was in force with another content"):
        place.source().read()
    place.put(make(revision=5))
    assert place.source().read().revision == 5


def test_what_was_only_read_is_not_remembered(place: Place):
    place.put(make(revision=9))
    place.source().read()
    place.put(make(revision=8))
    assert place.source().read().revision == 8


def test_a_bundle_of_another_name_is_refused(place: Place):
    place.put(make(name="staging"))
    with pytest.raises(ConfigError, match="this is the bundle 'staging', not 'demo'"):
        place.source().read()


def test_a_memory_that_is_damaged_lets_nothing_in(place: Place):
    place.into_force(make(revision=5))
    (place.base / "state/demo.revision.json").write_text("{")
    with pytest.raises(ConfigError, match="damaged, so a replay could not be told"):
        place.source().read()


def test_a_memory_that_cannot_be_written_lets_nothing_in(place: Place):
    (place.base / "state").write_text("a file")
    place.put(make())
    with pytest.raises(ConfigError, match="cannot be read: Not a directory"):
        place.source().read()


def test_a_memory_that_cannot_be_made_lets_nothing_in(tmp_path: Path):
    (tmp_path / "file").write_text("")
    place = Place(tmp_path, state_directory="state")
    place.put(make())
    source = place.source()
    source.read()
    (tmp_path / "state").write_text("a file")
    with pytest.raises(ConfigError, match="cannot be written"):
        source.accepted()


def test_the_memory_never_goes_back(tmp_path: Path):
    memory = RevisionMemory(tmp_path / "state", "demo")
    memory.remember(5, "a", None)
    with pytest.raises(ConfigError, match="older"):
        memory.remember(4, "b", None)
    memory.check(5, "a", "x")
    assert stat.S_IMODE((tmp_path / "state/demo.revision.json").stat().st_mode) == 0o600


def test_a_key_that_is_no_more_trusted(place: Place):
    place.put(make())
    source = place.source()
    source.read()
    (place.base / "release.pub").write_bytes(public_pem(STRANGER))
    with pytest.raises(ConfigError, match="no trusted key"):
        source.read()


def test_an_expired_bundle_is_refused_by_name(place: Place):
    place.put(make(created=NOW - 100, expires=NOW - 50))
    with pytest.raises(ConfigError, match=r"policy\.tar\.gz: expired 50 seconds ago"):
        place.source().read()


def test_a_server_decides_by_it_with_the_inventory_that_comes_along(place: Place):
    inventory = b'[workloads."spiffe://td.example/a"]\nowner = "team"\n'
    place.put(make(extra={"inventory.toml": inventory}, inventory="inventory.toml", created=1.0))
    config = Config(identity=IdentitySettings(trust_domain="td.example"), policy=PolicySettings(bundle=place.settings))
    snapshot = Composition(config, place.base).build_to_serve()
    assert snapshot.engine.rule_count == 1
    assert (place.base / "state/demo.revision.json").exists()


def test_a_broken_inventory_in_it_is_refused_by_name(place: Place):
    place.put(make(extra={"inventory.toml": b"x = 1"}, inventory="inventory.toml"))
    config = Config(identity=IdentitySettings(trust_domain="td.example"), policy=PolicySettings(bundle=place.settings))
    with pytest.raises(ConfigError, match=r"demo@1/inventory\.toml: unknown table"):
        Composition(config, place.base).build_snapshot()


@pytest.mark.parametrize("name", ["", "../demo", "demo\\n", "a/b", "a b", "x" * 101])
def test_names_that_could_lead_out_of_the_state_directory(tmp_path: Path, name: str):
    file = tmp_path / "authz.toml"
    fields = f'name = "{name}"\nlocation = "x"\ntrusted_keys = ["k"]\nstate_directory = "s"\n'
    file.write_text(f'[identity]\ntrust_domain = "td.example"\n[policy.bundle]\n{fields}')
    with pytest.raises(ConfigError, match=r"policy\.bundle\.name"):
        load(file, Config, {})


# From a URL


def serve(server, data: bytes, etag: str = '"1"') -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.headers.get("If-None-Match") == etag:
            handler.send_response(304)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        else:
            server.reply(handler, data, etag=etag)

    server.answer = answer


def remote(base: Path, server) -> Place:
    return Place(base, location=f"{server.url}/policy.tar.gz", ca_file=server.ca_file)


def test_it_is_fetched_and_asked_for_by_its_etag(tmp_path: Path, server):
    place = remote(tmp_path, server)
    serve(server, make())
    source = place.source()
    assert source.polled
    assert source.read().revision == 1
    assert source.look() is False
    assert server.asked[-1][1]["if-none-match"] == '"1"'
    serve(server, make(revision=2, path="two"), '"2"')
    assert source.look() is True
    assert source.read().revision == 2


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (make(revision=3)[:-9], "cut off|damaged"),
        (make(revision=3, keys=()), "not signed"),
        (make(revision=1), "older than 2"),
        (make(revision=3, keys=(STRANGER,)), "no trusted key"),
        (make(revision=3, name="other"), "this is the bundle"),
        (b"<html>", "no tar archive"),
    ],
)
def test_whatever_comes_instead_leaves_the_last_good_one(tmp_path: Path, server, bad: bytes, match: str):
    place = remote(tmp_path, server)
    serve(server, make(revision=2))
    source = place.source()
    source.read()
    source.accepted()
    serve(server, bad, '"bad"')
    with pytest.raises(ConfigError, match=match):
        source.look()
    assert source.read().revision == 2
    serve(server, make(revision=4), '"4"')
    assert source.look() is True


def test_a_server_out_of_reach_at_the_start_is_stood_in_for_by_the_copy(tmp_path: Path, server):
    place = remote(tmp_path, server)
    serve(server, make(revision=2))
    source = place.source()
    source.read()
    source.accepted()
    server.answer = lambda handler: handler.send_error(500)
    assert place.source().read().revision == 2


def test_a_copy_that_was_tampered_with_does_not(tmp_path: Path, server):
    place = remote(tmp_path, server)
    serve(server, make(revision=2))
    source = place.source()
    source.read()
    source.accepted()
    server.answer = lambda handler: handler.send_error(500)
    (tmp_path / "state/demo.bundle").write_bytes(make(revision=3, keys=(STRANGER,)))
    with pytest.raises(ConfigError, match="no trusted key"):
        place.source().read()


def test_without_a_copy_it_does_not_start(tmp_path: Path, server):
    server.answer = lambda handler: handler.send_error(500)
    with pytest.raises(ConfigError, match="HTTP status 500"):
        remote(tmp_path, server).source().read()


def test_plain_http_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"policy\.bundle\.location: the URL must start with https"):
        Place(tmp_path, location="http://127.0.0.1/policy.tar.gz").source()


# Polling


class Other:
    poll_seconds = 3_600.0

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)

    def look(self) -> bool:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)


async def test_a_poller_tells_of_changes_and_of_failures_and_goes_on():
    told: list[object] = []
    poller = Poller(
        Other(True, False, ConfigError("gone"), RuntimeError("secret"), True), lambda: told.append("new"), told.append
    )
    for _ in range(5):
        await poller.look()
    assert told == ["new", "gone", "internal error: RuntimeError", "new"]


async def test_a_poller_looks_when_asked():
    looked = asyncio.Event()
    poller = Poller(Other(True), looked.set, lambda problem: None)
    running = asyncio.create_task(poller.run())
    poller.look_now()
    await asyncio.wait_for(looked.wait(), 20)
    running.cancel()
