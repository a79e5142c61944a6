"""`make demo`'s script: comes out as told, and leaves nothing behind however it ends."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.envoy

DEMO = Path(__file__).parents[2] / "envoy" / "demo.py"


@contextmanager
def start(tmp_path: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen]:
    with subprocess.Popen(
        [sys.executable, "-u", str(DEMO), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), **environment},
    ) as demo:
        try:
            yield demo
        finally:
            if demo.poll() is None:  # the test failed; without this it would wait for the demo instead of saying so
                demo.terminate()


@pytest.fixture
def short_tmp():
    with tempfile.TemporaryDirectory(prefix="az-") as made:  # a socket's path may have 107 bytes, pytest's is long
        yield Path(made)


def children(directory: Path) -> list[int]:
    """Processes that were started with a file below `directory`."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(directory).encode() in command.read_bytes():
                found.append(int(command.parent.name))
        except OSError:
            continue
    return found


def test_every_call_comes_out_as_expected_and_nothing_is_left(short_tmp):
    with start(short_tmp, ONCE="1") as demo:
        output = demo.communicate(timeout=100)[0]
    assert demo.returncode == 0, output
    assert "Every call came out as expected." in output
    assert "trust_domain_not_allowed" in output
    assert list(short_tmp.iterdir()) == []
    assert children(short_tmp) == []


def test_a_call_that_comes_out_otherwise_fails_the_demo_and_is_named(short_tmp):
    with start(short_tmp, "--once", AUTHZ__REQUEST__PATH__PARAMETERS="strip") as demo:
        output = demo.communicate(timeout=100)[0]
    assert demo.returncode == 1
    assert "NOT AS EXPECTED: planner, GET /v1/accounts/42;x=1: expected 400 path_parameter, got 200 allowed" in output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_it_stays_up_until_it_is_ended_and_leaves_nothing(short_tmp, number, code):
    with start(short_tmp) as demo:
        output = []
        for line in demo.stdout:
            output.append(line)
            if line.startswith("Ctrl-C ends it"):
                break
        assert any("curl --cacert" in line for line in output), "".join(output)
        assert len(children(short_tmp)) == 3
        demo.send_signal(number)
        demo.communicate(timeout=60)
    assert demo.returncode == code
    assert list(short_tmp.iterdir()) == []
    assert children(short_tmp) == []


def test_a_demo_that_cannot_start_says_why_and_leaves_nothing(short_tmp):
    with start(short_tmp, AUTHZ__SERVER__TRANSPORT="carrier pigeon") as demo:
        output = demo.communicate(timeout=60)[0]
    assert demo.returncode == 1
    assert "server.transport" in output
    assert "Traceback" not in output
    assert list(short_tmp.iterdir()) == []
    assert children(short_tmp) == []
