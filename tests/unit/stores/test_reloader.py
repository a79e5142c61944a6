"""Replacing the snapshot when files change: whole, atomically, and never by a broken one (I11)."""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from authz.errors import ConfigError, PolicyError
from authz.policy.compile import CompiledEngine
from authz.stores.fingerprint import Watch
from authz.stores.holder import Reloader, ReloadSettings, SnapshotHolder, Source
from authz.stores.policy_files import PolicyFiles, PolicySettings

MODEL = """[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub && r.obj == p.obj && r.act == p.act
"""
SETTINGS = ReloadSettings()
LONG_AGO = 1_000_000_000.0


class Bench:
    """A policy directory, what is built from it, and what was reported."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.clock = LONG_AGO
        self.builds = 0
        self.while_building: Callable[[], None] = lambda: None
        self.reloaded: list[CompiledEngine] = []
        self.failures: list[str] = []
        self.files = PolicyFiles(PolicySettings(model="model.conf", policies=("rules",)), base)
        (base / "rules").mkdir()
        self.write("model.conf", MODEL)
        self.write("rules/a.csv", "p, alice, data, read\n")
        self.source = Source(self.build, self.files.watched, SETTINGS, lambda: self.clock)
        self.holder = SnapshotHolder(self.source.build())
        self.reloader = Reloader(self.holder, self.source, SETTINGS, self.reloaded.append, self.failures.append)

    def build(self) -> CompiledEngine:
        self.builds += 1
        text = self.files.read()
        self.while_building()
        text = type(text)(model_file=text.model_file, model=text.model, policies=self.files.read().policies)
        return CompiledEngine.load(text.model, text.model_file, text.policies)

    def write(self, name: str, text: str) -> None:
        """Replace a file by renaming a finished copy over it."""
        fresh = self.base / f".{Path(name).name}.fresh"
        fresh.write_text(text)
        fresh.rename(self.base / name)

    def may(self, who: str) -> bool:
        return self.holder.current.evaluate((who, "data", "read"), lambda: False).effect.value == "allow"

    async def settle(self) -> None:
        """Two looks in a row, as the poll would make them."""
        await self.reloader.poll()
        await self.reloader.poll()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_nothing_changed_nothing_is_built(bench: Bench):
    await bench.settle()
    assert (bench.builds, bench.reloaded, bench.failures) == (1, [], [])


async def test_a_changed_file_comes_into_force_once_it_has_come_to_rest(bench: Bench):
    bench.write("rules/a.csv", "p, bob, data, read\n")
    await bench.reloader.poll()
    assert bench.may("alice")
    await bench.reloader.poll()
    assert not bench.may("alice")
    assert bench.may("bob")
    assert bench.reloaded == [bench.holder.current]
    await bench.settle()
    assert bench.builds == 2


async def test_a_file_that_keeps_changing_is_left_alone(bench: Bench):
    for number in range(4):
        bench.write("rules/a.csv", f"p, bob{number}, data, read\n")
        await bench.reloader.poll()
    assert bench.builds == 1


@pytest.mark.parametrize(
    ("name", "text", "report"),
    [
        ("rules/a.csv", "p, bob, data\n", "rules/a.csv:1: 2 columns where p has 3"),
        ("rules/a.csv", "", "rules/a.csv: the file is empty"),
        ("model.conf", MODEL.replace("[matchers]", "[matcher]"), "model.conf:7: unknown section [matcher]"),
    ],
)
async def test_a_broken_file_is_reported_once_and_the_good_policy_goes_on(
    bench: Bench, name: str, text: str, report: str
):
    good = bench.holder.current
    bench.write(name, text)
    for _ in range(3):
        await bench.settle()
    assert bench.holder.current is good
    assert len(bench.failures) == 1
    assert bench.failures[0].startswith(report)
    assert not bench.reloaded


async def test_after_a_broken_file_the_repaired_one_comes_into_force(bench: Bench):
    bench.write("rules/a.csv", "broken")
    await bench.settle()
    bench.write("rules/a.csv", "p, bob, data, read\n")
    await bench.settle()
    assert bench.may("bob")


async def test_after_a_broken_file_the_old_one_put_back_is_no_failure(bench: Bench):
    bench.write("rules/a.csv", "broken")
    await bench.settle()
    bench.write("rules/a.csv", "p, alice, data, read\n")
    await bench.settle()
    assert bench.may("alice")
    assert len(bench.failures) == 1


async def test_a_file_added_to_or_removed_from_a_directory_counts(bench: Bench):
    bench.write("rules/b.csv", "p, bob, data, read\n")
    await bench.settle()
    assert bench.may("bob")
    (bench.base / "rules" / "b.csv").unlink()
    await bench.settle()
    assert not bench.may("bob")
    assert bench.may("alice")


async def test_all_files_gone_leaves_the_policy_in_force(bench: Bench):
    (bench.base / "rules" / "a.csv").unlink()
    await bench.settle()
    assert bench.may("alice")
    assert bench.failures[0].startswith("rules: gives no policy file")


async def test_a_write_that_keeps_size_and_times_is_seen(bench: Bench):
    path = bench.base / "rules" / "a.csv"
    before = path.stat()
    path.write_text(path.read_text().replace("alice", "carol"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    await bench.settle()
    assert bench.may("carol")


async def test_a_touched_file_with_the_same_content_is_not_built_again(bench: Bench):
    os.utime(bench.base / "rules" / "a.csv", (1, 1))
    bench.write("model.conf", MODEL)
    await bench.settle()
    assert bench.builds == 1


async def test_reload_now_builds_at_once_changed_or_not(bench: Bench):
    assert await bench.reloader.reload()
    assert bench.builds == 2
    bench.write("rules/a.csv", "broken")
    assert not await bench.reloader.reload()
    assert bench.may("alice")


async def test_a_swapped_link_as_kubernetes_does_it_is_one_change(tmp_path: Path):
    def version(name: str, who: str, column: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.conf").write_text(
            MODEL.replace("p = sub, obj, act", f"p = {column}, obj, act").replace("p.sub", f"p.{column}")
        )
        (tmp_path / name / "a.csv").write_text(f"p, {who}, data, read\n")

    version("..2024", "alice", "sub")
    (tmp_path / "..data").symlink_to("..2024")
    (tmp_path / "model.conf").symlink_to("..data/model.conf")
    (tmp_path / "rules").symlink_to("..data")
    reports: list[str] = []
    files = PolicyFiles(PolicySettings(model="model.conf", policies=("rules",)), tmp_path)

    def build() -> CompiledEngine:
        text = files.read()
        return CompiledEngine.load(text.model, text.model_file, text.policies)

    source = Source(build, files.watched, SETTINGS)
    holder = SnapshotHolder(source.build())
    reloader = Reloader(holder, source, SETTINGS, lambda _: None, reports.append)
    version("..2025", "bob", "who")
    (tmp_path / "..data_tmp").symlink_to("..2025")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    await reloader.poll()
    await reloader.poll()
    assert holder.current.evaluate(("bob", "data", "read"), lambda: False).effect.value == "allow"
    assert not reports


async def test_files_swapped_while_they_are_read_are_read_again(bench: Bench):
    """The old model with the new rules would load as well, and mean something that nobody wrote."""

    def swap() -> None:
        bench.while_building = lambda: None
        bench.write("model.conf", MODEL.replace("r.sub == p.sub", "r.sub != p.sub"))
        bench.write("rules/a.csv", "p, mallory, data, read\n")

    bench.while_building = swap
    assert await bench.reloader.reload()
    assert bench.builds == 3
    assert not bench.may("mallory")
    assert bench.may("alice")


async def test_an_error_while_files_are_swapped_is_not_reported(bench: Bench):
    def swap() -> None:
        bench.while_building = lambda: None
        bench.write("model.conf", MODEL.replace("p = sub, obj, act", "p = sub, obj, act, more"))
        bench.write("rules/a.csv", "p, bob, data, read, x\n")

    bench.while_building = swap
    assert await bench.reloader.reload()
    assert bench.may("bob")
    assert not bench.failures


def test_files_that_never_come_to_rest_are_an_error(bench: Bench):
    numbers = iter(range(100))
    bench.while_building = lambda: bench.write("rules/a.csv", f"p, bob{next(numbers)}, data, read\n")
    with pytest.raises(ConfigError, match="the files keep changing while they are read"):
        bench.source.build()
    assert bench.builds == 1 + SETTINGS.max_build_attempts


async def test_a_bug_while_building_is_reported_by_its_kind_only(bench: Bench):
    def bug() -> None:
        raise KeyError("s3cret")

    bench.while_building = bug
    bench.write("rules/a.csv", "p, bob, data, read\n")
    await bench.settle()
    assert bench.failures == ["internal error: KeyError"]
    assert bench.may("alice")


async def test_a_pattern_that_cannot_be_searched_is_reported_and_polling_goes_on(bench: Bench):
    watched = bench.source._watched

    def fail() -> list[Path]:
        raise PolicyError("x", 0, "cannot be searched")

    bench.source._watched = fail
    await bench.reloader.poll()
    assert bench.failures == ["x: cannot be searched"]
    bench.source._watched = watched
    bench.write("rules/a.csv", "p, bob, data, read\n")
    await bench.settle()
    assert bench.may("bob")


async def test_readers_in_other_threads_see_one_policy_or_the_other_whole(bench: Bench):
    stop = threading.Event()
    seen: set[tuple[bool, bool]] = set()
    looked = threading.Barrier(3)

    def read() -> None:
        looked.wait()
        while not stop.is_set():
            engine = bench.holder.current
            answers = (engine.evaluate((who, "data", "read"), lambda: False).effect.value for who in ("alice", "bob"))
            seen.add(tuple(answer == "allow" for answer in answers))  # type: ignore[arg-type]

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    await asyncio.to_thread(looked.wait)
    try:
        for number in range(20):
            bench.write("rules/a.csv", f"p, {('bob', 'alice')[number % 2]}, data, read\n")
            assert await bench.reloader.reload()
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert seen <= {(True, False), (False, True)}
    assert not bench.failures


async def test_the_task_polls_and_takes_a_request_to_reload(bench: Bench):
    done = asyncio.Event()
    reloader = Reloader(
        bench.holder, bench.source, ReloadSettings(poll_seconds=0.1), lambda _: done.set(), bench.failures.append
    )
    task = asyncio.create_task(reloader.run())
    bench.write("rules/a.csv", "p, bob, data, read\n")
    await asyncio.wait_for(done.wait(), 30)
    assert bench.may("bob")
    done.clear()
    builds = bench.builds
    reloader.reload_now()
    await asyncio.wait_for(done.wait(), 30)
    assert bench.builds == builds + 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_building_does_not_hold_up_the_event_loop(bench: Bench):
    loop_ran = threading.Event()
    asyncio.get_running_loop().call_later(0.01, loop_ran.set)
    bench.while_building = lambda: None if loop_ran.wait(30) else pytest.fail("the loop stood still")
    assert await bench.reloader.reload()
    assert loop_ran.is_set()


def test_what_is_settled_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "x"
    path.write_text("one")
    changed = path.stat().st_ctime
    watch = Watch()
    reads: list[Path] = []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *args, **named: (reads.append(self), real(self, *args, **named))[1])
    first = watch.look([path], changed + 1)
    assert watch.look([path], changed + 60) == first
    assert len(reads) == 2  # changed within the last seconds: its times alone do not tell
    assert watch.look([path], changed + 61) == first
    assert len(reads) == 2
    before = path.stat()
    probe = tmp_path / "probe"
    probe.touch()
    while probe.stat().st_ctime_ns == before.st_ctime_ns:  # until the file system's clock ticks
        probe.touch()
    path.write_text("two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert watch.look([path], changed + 62) != first


def test_special_files_and_missing_ones_have_a_fingerprint_too(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    watch = Watch()
    found = watch.look([tmp_path / "pipe", tmp_path / "missing"], 0)
    assert found == watch.look([tmp_path / "pipe", tmp_path / "missing"], 9e9)
    (tmp_path / "missing").write_text("here")
    assert found != watch.look([tmp_path / "pipe", tmp_path / "missing"], 9e9)


async def test_who_wants_to_know_is_told_that_nothing_is_new(bench: Bench):
    told: list[int] = []
    bench.reloader.on_same = lambda: told.append(bench.builds)
    await bench.reloader.poll()
    assert told == [1]
    bench.write("rules/a.csv", "p, bob, data, read\n")
    await bench.reloader.poll()
    assert told == [1], "something is"
    bench.reloader.watch(False)
    await bench.reloader.poll()
    assert (bench.builds, told) == (1, [1]), "others have it read"
    bench.reloader.watch(True)
    await bench.settle()
    await bench.reloader.poll()
    assert bench.may("bob")
    assert told[-1] == 2
