"""Several processes write lines to one pipe, and every line arrives whole."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from authz.audit.shared import ProcessSharedSink, make_guard
from authz.audit.sink import DescriptorSink

WRITER = """
import sys
from authz.audit.shared import ProcessSharedSink
from authz.audit.sink import DescriptorSink
sink = ProcessSharedSink(DescriptorSink(1, "stdout"), int(sys.argv[1]))
sink.open()
letter, size, batches = sys.argv[2].encode(), int(sys.argv[3]), int(sys.argv[4])
for _ in range(batches):
    sink.write([letter * size + b"\\n" for _ in range(10)])
"""


@pytest.fixture
def guard():
    descriptor = make_guard()
    yield descriptor
    os.close(descriptor)


def writer(guard, output, letter, size, batches):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(guard), letter, str(size), str(batches)], stdout=output, pass_fds=(guard,)
    )


class Reading:
    def __init__(self):
        self.end, self.write = os.pipe()
        self.data = b""
        self.some = threading.Event()
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self):
        with os.fdopen(self.end, "rb", buffering=0) as pipe:
            while part := pipe.read(65536):
                self.data += part
                self.some.set()

    def lines(self):
        os.close(self.write)
        self.thread.join()
        return self.data.split(b"\n")


def test_lines_longer_than_a_pipe_takes_at_once_do_not_mix(guard):
    reading = Reading()
    writers = [writer(guard, reading.write, letter, 20_001, 30) for letter in "abc"]
    assert [one.wait(60) for one in writers] == [0, 0, 0]
    *lines, last = reading.lines()
    assert last == b""
    assert sorted(lines) == sorted(letter * 20_001 for letter in (b"a", b"b", b"c") for _ in range(300))


def test_a_line_that_a_killed_process_left_unfinished_is_ended_by_the_next(guard):
    ours, theirs = os.pipe()
    killed = writer(guard, theirs, "a", 1_000_000, 1)  # more than the pipe holds: it stops within the first line
    begun = os.read(ours, 10)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    rest = os.read(ours, 1 << 20)  # the pipe's room, all that there is
    sink = ProcessSharedSink(DescriptorSink(theirs, "pipe"), guard)
    sink.write([b"next\n"])
    assert os.read(ours, 100) == b"\nnext\n"
    assert set(begun + rest) == {ord("a")}
    sink.write([b"after\n"])
    assert os.read(ours, 100) == b"after\n"
    os.close(ours)
    os.close(theirs)


class Broken:
    name = "broken"

    def __init__(self, takes):
        self.takes, self.got = takes, []

    def write(self, lines):
        for _ in range(self.takes):
            self.got.append(lines.pop(0))
        raise OSError("full")


@pytest.mark.parametrize("takes", [0, 1, 2])
def test_what_was_not_written_is_left_and_nothing_else(guard, takes):
    sink = ProcessSharedSink(Broken(takes), guard)
    lines = [b"1\n", b"2\n", b"3\n"]
    with pytest.raises(OSError, match="full"):
        sink.write(lines)
    assert lines == [b"1\n", b"2\n", b"3\n"][takes:]
    with pytest.raises(OSError, match="full"):  # now with the empty line that ends what may be cut
        ProcessSharedSink(Broken(min(takes, 1)), guard).write(lines)
    assert lines == [b"1\n", b"2\n", b"3\n"][takes:]
