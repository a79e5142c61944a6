"""The epoch between processes: what is raised in one is seen by all, and nobody is waited for in vain."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading

import pytest

from authz.errors import AuthzError
from authz.stores.epoch import SharedEpoch
from authz.stores.epoch_watch import EpochWatch


@pytest.fixture
def supervisor():
    epoch = SharedEpoch.create(3)
    yield epoch
    epoch.close()


def worker(epoch, index):
    return SharedEpoch(*epoch.descriptors, index)


CHILD = """
import sys
from authz.stores import epoch as shared_epoch
from authz.stores.epoch import SharedEpoch
shared_epoch._LOCK_SECONDS = 60.0  # whoever has the lock may have to wait for a processor
epoch = SharedEpoch(int(sys.argv[1]), tuple(map(int, sys.argv[2].split(","))), int(sys.argv[3]))
epoch.join()
epoch.serve()
print("serving", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        epoch.advance()
    print(epoch.current, flush=True)
"""


@pytest.fixture
def child(supervisor):
    """Starts processes that map the same epoch, serve, and advance it as often as they are told to."""
    started = []

    def start(index):
        memory, wakers = supervisor.descriptors
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(memory), ",".join(map(str, wakers)), str(index)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=(memory, *wakers),
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "serving\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_it_rises_by_one_and_everybody_sees_it(supervisor):
    one, two = worker(supervisor, 0), worker(supervisor, 1)
    before = two.counter.current
    assert one.advance() == before + 1
    assert two.current == two.counter.current == supervisor.current == before + 1


def test_no_rise_is_lost_between_processes_and_threads(supervisor, child, monkeypatch):
    monkeypatch.setattr("authz.stores.epoch._LOCK_SECONDS", 60.0)
    processes = [child(0), child(1)]
    before = supervisor.current
    for process in processes:
        process.stdin.write("2000\n")
        process.stdin.flush()
    threads = [threading.Thread(target=lambda: [supervisor.advance() for _ in range(1000)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        process.stdout.readline()
    assert supervisor.current == before + 6000


def test_a_process_that_stopped_within_the_lock_does_not_stop_the_others(supervisor, monkeypatch):
    monkeypatch.setattr("authz.stores.epoch._LOCK_SECONDS", 0.05)
    memory, _ = supervisor.descriptors
    holder = subprocess.Popen(
        [sys.executable, "-c", f"import fcntl; fcntl.lockf({memory}, fcntl.LOCK_EX); print(flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(memory,),
    )  # fmt: skip
    with holder:
        holder.stdout.readline()
        before = supervisor.current
        with pytest.raises(AuthzError, match="does not go on"):
            supervisor.advance()
        assert supervisor.current == before
        assert supervisor.laggards(before) == ()  # who replaces it does not need the lock
        supervisor.forget(0)
        holder.kill()
        holder.wait()
        assert supervisor.advance() == before + 1  # the kernel has let go of it


async def test_waiting_ends_when_every_worker_that_serves_has_acknowledged(supervisor):
    one, two = worker(supervisor, 0), worker(supervisor, 1)
    for each in (one, two):
        each.join()
        each.serve()
    watch = EpochWatch(two)
    await watch.start(two.current)
    epoch = one.advance()
    one.acknowledge(epoch)
    loop = asyncio.get_running_loop()
    loop.add_reader(one.waker, one.woken)
    assert await one.wait_applied(epoch, 30) == ()
    loop.remove_reader(one.waker)
    watch.stop()


async def test_who_does_not_acknowledge_is_named(supervisor):
    one = worker(supervisor, 0)
    one.join()
    one.serve()
    epoch = supervisor.advance()
    (late,) = await supervisor.wait_applied(epoch, 0.01)
    assert (late.index, late.pid, late.applied) == (0, os.getpid(), epoch - 1)
    one.acknowledge(epoch)
    assert await supervisor.wait_applied(epoch, 0.01) == ()


async def test_a_worker_that_died_is_not_waited_for(supervisor, child):
    process = child(1)
    epoch = supervisor.advance()
    assert [late.pid for late in supervisor.laggards(epoch)] == [process.pid]
    process.kill()
    process.wait()
    assert supervisor.laggards(epoch) == ()


async def test_forgetting_a_worker_ends_the_wait_for_it(supervisor, child):
    child(1)
    epoch = supervisor.advance()
    loop = asyncio.get_running_loop()
    loop.add_reader(supervisor.waker, supervisor.woken)
    waiting = asyncio.create_task(supervisor.wait_applied(epoch, 60))
    await asyncio.sleep(0)
    supervisor.forget(1)
    assert await waiting == ()
    loop.remove_reader(supervisor.waker)


async def test_a_worker_on_its_way_up_is_not_waited_for_and_applies_what_it_missed(supervisor):
    one = worker(supervisor, 0)
    known = one.join()
    epoch = supervisor.advance()  # between reading its files and serving
    assert supervisor.laggards(epoch) == ()
    applied = []

    async def apply(to):
        applied.append(to)

    watch = EpochWatch(one)
    watch.subscribe(apply)
    await watch.start(known)
    assert applied == [epoch]
    assert supervisor.laggards(epoch) == ()
    watch.stop()


async def test_what_cannot_be_applied_is_not_acknowledged(supervisor):
    one = worker(supervisor, 0)
    tried = asyncio.Event()

    async def fail(_):
        tried.set()
        raise OSError("the store is gone")

    watch = EpochWatch(one)
    await watch.start(one.join())
    watch.subscribe(fail)
    epoch = supervisor.advance()
    await asyncio.wait_for(tried.wait(), 30)
    while watch._applying is not None:
        await asyncio.sleep(0)
    assert [late.index for late in supervisor.laggards(epoch)] == [0]
    watch.stop()


async def test_rises_while_one_is_applied_are_applied_too(supervisor):
    one = worker(supervisor, 0)
    applied, go = [], asyncio.Event()

    async def apply(to):
        applied.append(to)
        await go.wait()

    watch = EpochWatch(one)
    watch.subscribe(apply)
    await watch.start(one.join())
    loop = asyncio.get_running_loop()
    loop.add_reader(supervisor.waker, supervisor.woken)
    first = supervisor.advance()
    while not applied:
        await asyncio.sleep(0.001)
    last = supervisor.advance()
    go.set()
    assert await supervisor.wait_applied(last, 30) == ()
    assert applied == [first, last]
    loop.remove_reader(supervisor.waker)
    watch.stop()


def test_a_worker_that_takes_a_dead_ones_place_does_not_inherit_what_it_said(supervisor):
    one = worker(supervisor, 0)
    one.join()
    one.serve()
    one.beat(3, 100)
    supervisor.forget(0)
    assert supervisor.pulse(0).pid == 0
    again = worker(supervisor, 0)
    again.join()
    pulse = supervisor.pulse(0)
    assert (pulse.serving, pulse.connections, pulse.calls) == (False, 0, 0)


def test_nobody_can_cut_the_memory_under_us(supervisor):
    memory, _ = supervisor.descriptors
    for size in (0, 8, 1 << 20):
        with pytest.raises(PermissionError):
            os.ftruncate(memory, size)
    assert supervisor.current >= 1


def _memory(content):
    memory = os.memfd_create("not-an-epoch", os.MFD_ALLOW_SEALING)
    os.write(memory, content)
    return memory


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"\0" * 100_000])
def test_memory_that_is_no_epoch_is_refused(supervisor, content):
    memory = _memory(content)
    with contextlib.closing(os.fdopen(memory, "wb")), pytest.raises(AuthzError, match="size and the seals"):
        SharedEpoch(memory, supervisor.descriptors[1], 0)


def test_an_epoch_of_another_layout_is_refused(supervisor):
    memory, wakers = supervisor.descriptors
    os.pwrite(memory, b"authzep0", 0)
    with pytest.raises(AuthzError, match="another version"):
        SharedEpoch(memory, wakers, 0)


def test_a_slot_that_there_is_not_is_refused(supervisor):
    with pytest.raises(AuthzError, match="no slot 4"):
        SharedEpoch(*supervisor.descriptors, 4)


@pytest.mark.parametrize("workers", [0, 257])
def test_there_is_a_most_and_a_least_number_of_workers(workers):
    with pytest.raises(AuthzError, match="1 to 256"):
        SharedEpoch.create(workers)
