"""`make demo-agents`' script: the story comes out as told, with real agents, and leaves nothing behind."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.envoy

STORY = Path(__file__).parents[2] / "envoy" / "demo_agents.py"


def play(directory: Path, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-u", str(STORY), "--once"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "TMPDIR": str(directory), **environment},
    )
    return done.returncode, done.stdout


@pytest.fixture
def short_tmp():
    with tempfile.TemporaryDirectory(prefix="az-") as made:  # a socket's path may have 107 bytes, pytest's is long
        yield Path(made)


def test_the_story_comes_out_as_told_and_nothing_is_left(short_tmp):
    code, output = play(short_tmp)
    assert code == 0, output
    assert "Every call came out as expected." in output
    assert list(short_tmp.iterdir()) == []


def test_a_brake_that_is_off_is_noticed_and_a_machine_without_a_browser_will_do(short_tmp):
    code, output = play(short_tmp, AUTHZ__BUDGETS="[]", PATH=str(short_tmp))
    assert code == 1, output
    assert "given, with an HTTP client" in output
    assert "NOT AS EXPECTED: crawler: search 30 times" in output
