"""Proofs that were used, shared by the processes of one host: each counts once, whoever gets it."""

import os
import random
import subprocess
import sys

import pytest

from authz.errors import AuthzError, Reason, Refusal
from authz.identity.replay import ReplayMemory
from authz.stores.used_proofs import SLOTS, UsedProofs, make_used_proofs

NOW, ENDS = 1_000.0, 1_060.0


@pytest.fixture
def memory():
    made = make_used_proofs(2_000)
    yield made
    os.close(made)


@pytest.fixture
def small():
    """Of one bucket."""
    made = make_used_proofs(1)
    yield made
    os.close(made)


def table(memory):
    return UsedProofs(os.dup(memory))


def proof(number):
    return number.to_bytes(32, "big")


CHILD = """
import sys
from authz.stores import used_proofs
from authz.stores.used_proofs import UsedProofs
used_proofs._TURN_SECONDS = 60.0  # whoever has the turn may have to wait for a processor
table = UsedProofs(int(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
won = [n for n in range(int(sys.argv[2])) if table.claim(n.to_bytes(32, "big"), 1060.0, 1000.0)]
print(*won, flush=True)
"""
HOLDER = """
import fcntl, sys
fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX)
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def child():
    """Starts processes that map the memory."""
    started = []

    def start(code, memory, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(memory), *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=(memory,),
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def test_a_proof_counts_once_for_all_that_map_the_memory(memory):
    one, other = table(memory), table(memory)
    assert one.claim(proof(1), ENDS, NOW)
    assert not other.claim(proof(1), ENDS, NOW)
    assert not one.claim(proof(1), ENDS, NOW)
    assert other.claim(proof(2), ENDS, NOW)


def test_of_processes_that_race_for_the_same_proofs_one_gets_each(memory, child):
    processes = [child(CHILD, memory, 1_500) for _ in range(3)]
    for process in processes:
        go(process)
    won = [[*map(int, process.stdout.readline().split())] for process in processes]
    assert sorted(number for each in won for number in each) == list(range(1_500))


def test_what_a_process_used_stays_used_when_it_is_gone(memory, child):
    process = child(CHILD, memory, 10)
    go(process)
    assert process.stdout.readline() == "0 1 2 3 4 5 6 7 8 9\n"
    process.kill()
    process.wait()
    assert not table(memory).claim(proof(3), ENDS, NOW)


def test_a_process_that_is_stopped_in_between_hangs_nobody(memory, child):
    """I2: it is refused, and goes on when the kernel has taken the lock from who died."""
    holder = child(HOLDER, memory)
    with pytest.raises(Refusal) as caught:
        table(memory).claim(proof(1), ENDS, NOW)
    assert caught.value.reason is Reason.OVERLOADED
    holder.kill()
    holder.wait()
    assert table(memory).claim(proof(1), ENDS, NOW)


def test_what_there_is_no_room_for_is_refused_until_something_ends(small):
    made = table(small)
    for number in range(SLOTS):
        assert made.claim(proof(number), ENDS + number, NOW)
    with pytest.raises(Refusal) as caught:
        made.claim(proof(SLOTS), ENDS + 100, ENDS - 0.1)
    assert caught.value.reason is Reason.OVERLOADED
    assert made.claim(proof(SLOTS), ENDS + 100, ENDS)
    assert not made.claim(proof(1), ENDS + 1, ENDS)


def test_what_was_forgotten_does_not_come_again_though_the_clock_goes_back(small):
    made = table(small)
    for number in range(SLOTS + 1):
        assert made.claim(proof(number), ENDS + number, ENDS if number == SLOTS else NOW)
    assert not made.claim(proof(0), ENDS, NOW)
    with pytest.raises(Refusal):
        made.claim(proof(99), ENDS + 1, NOW)


@pytest.mark.parametrize("seed", range(5))
def test_it_answers_as_a_set_would(small, seed):
    """Many in one bucket, over time: never twice, and never refused while there is room."""
    pick, made, now, used = random.Random(seed), table(small), NOW, {}
    for _ in range(3_000):
        now += pick.choice([0, 0, 0, 1])
        number = pick.choice(list(used)) if used and pick.random() < 0.5 else pick.randrange(10_000)
        ends = used.get(number) or now + pick.randrange(1, 20)
        if sum(end > now for end in used.values()) >= SLOTS:
            now += 20
        assert made.claim(proof(number), ends, now) is (number not in used and ends > now)
        used.setdefault(number, ends)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda memory: os.pwrite(memory, b"x", 0),
        lambda memory: os.pwrite(memory, (7).to_bytes(8, "little"), 8),
    ],
)
def test_memory_that_is_none_is_not_mapped(memory, spoil):
    spoil(memory)
    with pytest.raises(AuthzError, match="another version"):
        table(memory)


def test_memory_that_could_shrink_is_not_mapped(memory):
    """Reading beyond its end would kill the process."""
    loose = os.memfd_create("loose", os.MFD_ALLOW_SEALING)
    os.write(loose, os.pread(memory, 10_000_000, 0))
    with pytest.raises(AuthzError, match="another version"):
        UsedProofs(loose)
    os.close(loose)


def test_what_is_no_such_memory_at_all_is_told(tmp_path):
    with (tmp_path / "x").open("w+b") as file, pytest.raises(AuthzError, match="cannot be mapped"):
        UsedProofs(file.fileno())


# With what each process remembers by itself


def used(memory, number, ends=ENDS, now=NOW, holder="h"):
    try:
        memory.use(proof(number), ends, now, holder)
    except Refusal as refusal:
        return refusal.reason
    return None


def test_a_process_refuses_what_another_has_used(memory):
    one, other = ReplayMemory(100, table(memory)), ReplayMemory(100, table(memory))
    assert used(one, 1) is None
    assert used(other, 1) is Reason.TOKEN_REPLAYED
    assert (len(one), len(other)) == (1, 0)
    assert used(other, 2) is None


def test_nothing_is_claimed_for_a_holder_who_has_too_many(memory):
    one, other = ReplayMemory(2, table(memory)), ReplayMemory(2, table(memory))
    assert used(one, 1) is None
    assert used(one, 2) is Reason.OVERLOADED
    assert used(other, 2) is None
