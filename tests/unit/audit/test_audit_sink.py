"""Lines reach their file whole, through rotation, full disks and slow or absent readers."""

import errno
import os
import resource
import stat
import threading
from pathlib import Path

import pytest

from authz.audit.sink import DescriptorSink, FileSink, open_sink

LINES = [b'{"n":1}\n', b'{"n":2}\n', b'{"n":3}\n']


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


@pytest.fixture
def sink(path):
    sink = FileSink(str(path), fsync=False)
    sink.open()
    yield sink
    sink.close()


@pytest.fixture
def file_size_limit():
    """A function that limits how long a file may grow, which cuts a write short just as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))

    yield limit
    limit(None)


def write(sink, *lines):
    left = list(lines)
    sink.write(left)
    return left


def test_lines_are_appended_and_taken_off_the_list(sink, path):
    assert write(sink, *LINES) == []
    assert write(sink, b"x\n") == []
    assert path.read_bytes() == b"".join(LINES) + b"x\n"


def test_the_file_is_readable_by_owner_and_group_only(sink, path):
    before = os.umask(0)
    try:
        path.unlink()
        write(sink, *LINES)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_file_that_was_moved_away_is_followed_by_a_new_one(sink, path):
    write(sink, b"1\n")
    path.rename(path.with_suffix(".1"))
    write(sink, b"2\n")
    assert path.with_suffix(".1").read_bytes() == b"1\n"
    assert path.read_bytes() == b"2\n"


def test_a_file_that_was_replaced_by_another_is_let_go(sink, path):
    write(sink, b"1\n")
    path.rename(path.with_suffix(".1"))
    path.write_bytes(b"0\n")
    write(sink, b"2\n")
    assert path.read_bytes() == b"0\n2\n"


def test_a_file_truncated_in_place_goes_on_at_its_start(sink, path):
    write(sink, *LINES)
    os.truncate(path, 0)
    write(sink, b"2\n")
    assert path.read_bytes() == b"2\n"


def test_reopen_opens_by_name_again(sink, path):
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        sink.reopen()
        write(sink, b"1\n")
    assert path.read_bytes() == b"1\n" * 20
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_a_line_that_another_process_left_unfinished_is_ended_first(path):
    path.write_bytes(b'{"n":0}\n{"n"')
    sink = FileSink(str(path), fsync=False)
    sink.open()
    write(sink, *LINES)
    sink.close()
    assert path.read_bytes() == b'{"n":0}\n{"n"\n' + b"".join(LINES)


@pytest.mark.parametrize("room", range(len(b"".join(LINES)) + 1))
def test_a_disk_that_fills_up_loses_no_line_and_leaves_none_unfinished(sink, path, file_size_limit, room):
    file_size_limit(room)
    left = list(LINES)
    if room < len(b"".join(LINES)):
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            sink.write(left)
    else:
        sink.write(left)
    assert left == LINES[room // len(LINES[0]) :]  # the lines that are there whole, and only they, are done with
    file_size_limit(None)
    sink.write(left)
    assert left == []
    lines = path.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if line in LINES]
    assert list(dict.fromkeys(whole)) == LINES  # one cut just before its end is there twice
    assert len(lines) - len(LINES) <= 1
    assert all(line.endswith(b"\n") for line in lines)


def test_after_a_failure_the_file_itself_tells_how_it_ends(sink, path, file_size_limit):
    write(sink, LINES[0])
    file_size_limit(len(LINES[0]))
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        write(sink, LINES[1])
    file_size_limit(None)
    with path.open("ab") as file:
        file.write(b'{"n"')  # another process, that was stopped there
    write(sink, LINES[1])
    assert path.read_bytes() == LINES[0] + b'{"n"\n' + LINES[1]


def test_with_fsync_nothing_counts_as_written_before_the_disk_has_confirmed_it(path, monkeypatch):
    sink = FileSink(str(path), fsync=True)
    sink.open()

    def fail(_fd):
        raise OSError(errno.EIO, "input/output error")

    left = list(LINES)
    with monkeypatch.context() as patch:
        patch.setattr("authz.audit.sink.os.fsync", fail)
        with pytest.raises(OSError, match="input/output"):
            sink.write(left)
    assert left == LINES
    sink.write(left)
    assert left == []
    sink.close()
    assert path.read_bytes().endswith(b"".join(LINES))


def test_a_full_device_is_an_error_and_keeps_the_lines():
    sink = FileSink("/dev/full", fsync=False)
    sink.open()
    left = list(LINES)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        sink.write(left)
    assert left == LINES
    sink.close()


def test_a_pipe_that_nobody_reads_cannot_be_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=os.strerror(errno.ENXIO)):
        FileSink(str(tmp_path / "pipe"), fsync=True).open()


def test_a_directory_cannot_be_opened(tmp_path):
    with pytest.raises(OSError, match="directory"):
        FileSink(str(tmp_path), fsync=False).open()


def test_a_closed_pipe_is_an_error_and_the_next_reader_gets_whole_lines():
    reader, writer = os.pipe()
    sink = DescriptorSink(writer, "stdout")
    write(sink, LINES[0])
    assert os.read(reader, 100) == LINES[0]
    os.close(reader)
    left = [LINES[1]]
    with pytest.raises(BrokenPipeError):
        sink.write(left)
    assert left == [LINES[1]]
    os.close(writer)


def test_a_write_that_takes_nothing_is_an_error_and_no_endless_loop(sink, monkeypatch):
    left = list(LINES)
    with monkeypatch.context() as patch:
        patch.setattr("authz.audit.sink.os.write", lambda _fd, _data: 0)
        with pytest.raises(OSError, match="nothing was written"):
            sink.write(left)
    assert left == LINES


def test_a_slow_reader_of_a_descriptor_that_does_not_wait_gets_everything():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    sink = DescriptorSink(writer, "stdout")
    lines = [b"x" * 999 + b"\n"] * 500  # several times what a pipe holds
    got = bytearray()

    def read():
        while chunk := os.read(reader, 4096):
            got.extend(chunk)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        assert write(sink, *lines) == []
    finally:
        os.close(writer)
        thread.join(10)
        os.close(reader)
    assert bytes(got) == b"".join(lines)


def test_a_line_cut_by_a_reader_that_stopped_is_ended_before_the_next(monkeypatch):
    monkeypatch.setattr("authz.audit.sink._FULL_PIPE_MILLISECONDS", 1)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    sink = DescriptorSink(writer, "stdout")
    line = b"x" * 4_000_000 + b"\n"
    left = [line]
    with pytest.raises(BlockingIOError):
        sink.write(left)
    assert left == [line]
    os.set_blocking(reader, False)
    while True:
        try:
            os.read(reader, 1 << 20)
        except BlockingIOError:
            break
    left = [b"y\n"]
    sink.write(left)
    assert os.read(reader, 10) == b"\ny\n"
    os.close(reader)
    os.close(writer)


def test_standard_output_is_not_ours_to_close():
    sink = open_sink("stdout", fsync=True)
    assert sink.name == "stdout"
    sink.open()
    sink.reopen()
    sink.close()
    os.fstat(1)
