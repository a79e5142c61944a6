"""Key sets and bundles kept current in the background: the last good ones stay, up to an age, and then go."""

import asyncio
import json
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from authz.errors import ConfigError
from authz.stores.daemon_thread import in_daemon_thread
from authz.stores.key_files import KeySource, KeyStore, KeyStoreSettings

ONE, TWO = b'{"keys": ["one"]}', b'{"keys": ["two"]}'


def parse(content: bytes) -> str:
    try:
        return "".join(json.loads(content)["keys"])
    except (ValueError, KeyError):
        raise ConfigError("not a key set") from None


class Bench:
    """A store with what it told, on a clock of its own."""

    def __init__(self, locations: Mapping[str, str], **settings: object) -> None:
        self.now = 1_000.0
        self.told: list[dict[str, str]] = []
        self.failures: list[tuple[str, str]] = []
        self.parsed = 0
        self.store: KeyStore[str] = KeyStore(
            {name: KeySource(location, self.parse) for name, location in locations.items()},
            KeyStoreSettings(**settings),  # type: ignore[arg-type]
            lambda current: self.told.append(dict(current)),
            lambda name, problem: self.failures.append((name, problem)),
            lambda: self.now,
        )

    def parse(self, content: bytes) -> str:
        self.parsed += 1
        return parse(content)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_bytes(ONE)
    return path


async def test_a_file_is_read_and_a_change_of_it_told_once(keys: Path):
    bench = Bench({"issuer": str(keys)})
    assert bench.store.current == {}
    await bench.store.refresh()
    await bench.store.refresh()
    assert bench.store.current == {"issuer": "one"}
    assert (bench.told, bench.parsed) == ([{"issuer": "one"}], 1)
    before = bench.store.current
    keys.write_bytes(TWO)
    await bench.store.refresh()
    assert bench.told[1:] == [{"issuer": "two"}]
    assert before == {"issuer": "one"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"nonsense", "not a key set"),
        (b" " * 2_000, "larger than max_file_bytes (1024)"),
        (None, "No such file"),
    ],
)
async def test_the_last_good_keys_stay_while_the_file_is_broken(keys: Path, content: bytes | None, problem: str):
    bench = Bench({"issuer": str(keys)}, max_bytes=1_024)
    await bench.store.refresh()
    if content is None:
        keys.unlink()
    else:
        keys.write_bytes(content)
    await bench.store.refresh()
    assert bench.store.current == {"issuer": "one"}
    assert bench.failures[0][0] == "issuer"
    assert problem in bench.failures[0][1]
    assert len(bench.told) == 1


async def test_keys_too_old_are_dropped_and_come_back_when_they_can_be_read(keys: Path):
    bench = Bench({"issuer": str(keys)}, max_stale_seconds=100)
    await bench.store.refresh()
    keys.rename(keys.with_name("away"))
    bench.now += 100
    await bench.store.refresh()
    assert bench.store.current == {"issuer": "one"}
    bench.now += 1
    await bench.store.refresh()
    assert bench.store.current == {}
    assert bench.told[-1] == {}
    assert bench.failures[-1] == ("issuer", "not read for max_stale_seconds (100): dropped")
    keys.with_name("away").rename(keys)
    await bench.store.refresh()
    assert bench.store.current == {"issuer": "one"}


async def test_reading_the_same_again_keeps_keys_fresh(keys: Path):
    bench = Bench({"issuer": str(keys)}, max_stale_seconds=100)
    for _ in range(5):
        await bench.store.refresh()
        bench.now += 90
    assert bench.store.current == {"issuer": "one"}
    assert not bench.failures


async def test_one_broken_source_does_not_touch_the_others(keys: Path, tmp_path: Path):
    bench = Bench({"good": str(keys), "missing": str(tmp_path / "missing")})
    await bench.store.refresh()
    assert bench.store.current == {"good": "one"}
    assert [name for name, _ in bench.failures] == ["missing"]


async def test_a_bug_in_a_parser_is_reported_by_its_kind_only(keys: Path):
    bench = Bench({"issuer": str(keys)})
    await bench.store.refresh()
    keys.write_bytes(b"[]")
    await bench.store.refresh()
    assert bench.failures == [("issuer", "internal error: TypeError")]
    assert bench.store.current == {"issuer": "one"}


async def test_a_url_is_polled_with_its_etag(server):
    server.answer = lambda handler: server.reply(handler, ONE, ETag='"1"')
    bench = Bench({"issuer": server.url}, ca_file=server.ca_file)
    await bench.store.refresh()
    server.answer = lambda handler: server.reply(handler, b"", 304)
    await bench.store.refresh()
    server.answer = lambda handler: server.reply(handler, TWO, ETag='"2"')
    await bench.store.refresh()
    await bench.store.refresh()
    assert bench.told == [{"issuer": "one"}, {"issuer": "two"}]
    assert [headers.get("if-none-match") for _, headers in server.asked] == [None, '"1"', '"1"', '"2"']
    assert not bench.failures


async def test_an_etag_of_keys_that_were_broken_or_dropped_is_not_used(server):
    server.answer = lambda handler: server.reply(handler, b"nonsense", ETag='"1"')
    bench = Bench({"issuer": server.url}, ca_file=server.ca_file, max_stale_seconds=100)
    await bench.store.refresh()
    server.answer = lambda handler: server.reply(handler, ONE, ETag='"2"')
    await bench.store.refresh()
    server.answer = lambda handler: server.reply(handler, b"", 500)
    bench.now += 101
    await bench.store.refresh()
    server.answer = lambda handler: server.reply(handler, ONE, ETag='"2"')
    await bench.store.refresh()
    assert [headers.get("if-none-match") for _, headers in server.asked] == [None, None, '"2"', None]
    assert bench.store.current == {"issuer": "one"}


async def test_a_source_that_hangs_is_asked_once_and_the_others_go_on(keys: Path):
    release = threading.Event()
    bench = Bench({"slow": str(keys), "good": str(keys)}, timeout_seconds=3)
    reading = threading.Event()

    def hang(_: str) -> None:
        reading.set()
        release.wait(30)

    bench.store._states["slow"].read = hang  # type: ignore[assignment]
    try:
        await bench.store.refresh()
        assert reading.is_set()
        assert bench.store.current == {"good": "one"}
        assert bench.failures == [("slow", "not read in time")]
        await bench.store.refresh()
        assert bench.failures[1:] == [("slow", "the read before is still going on")]
    finally:
        release.set()


async def test_the_task_reads_at_once_then_on_request(keys: Path):
    told = asyncio.Event()
    store: KeyStore[str] = KeyStore(
        {"issuer": KeySource(str(keys), parse)}, KeyStoreSettings(), lambda _: told.set(), lambda *_: None
    )
    task = asyncio.create_task(store.run())
    await asyncio.wait_for(told.wait(), 30)
    told.clear()
    keys.write_bytes(TWO)
    store.refresh_now()
    await asyncio.wait_for(told.wait(), 30)
    assert store.current == {"issuer": "two"}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("url", ["http://a.example/keys", "ftp://a.example", "https://user@a.example"])
def test_a_url_that_may_not_be_used_is_refused_at_start(url: str):
    with pytest.raises(ConfigError, match="issuer: the URL must start with https"):
        Bench({"issuer": url})


async def test_what_a_thread_answers_or_raises_reaches_the_loop():
    assert await in_daemon_thread(lambda: 42) == 42

    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await in_daemon_thread(fail)


def test_a_thread_that_outlives_its_loop_ends_in_silence():
    go = threading.Event()

    def late() -> None:
        go.wait(30)

    async def start() -> None:
        in_daemon_thread(late)

    before = set(threading.enumerate())
    asyncio.run(start())
    [thread] = set(threading.enumerate()) - before
    go.set()
    thread.join(30)
    assert not thread.is_alive()
