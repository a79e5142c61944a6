"""Child processes that are waited for by a condition and surely stopped."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

_POLL_SECONDS = 0.02
_START_SECONDS = 90.0
_STOP_SECONDS = 30.0
_LOG_TAIL_CHARACTERS = 2000

Found = TypeVar("Found")


class ChildError(Exception):
    """A child did not do what it was started for; the message holds the end of its log."""


class Child:
    """One child process; standard output and error go to a log file."""

    def __init__(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        """Start it, in a session of its own: Ctrl-C reaches only the parent, which then stops it in order.

        `environment`: what it gets besides the parent's.
        """
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self._name = Path(arguments[0]).name

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def wait_for(self, condition: Callable[[], Found | None], what: str, seconds: float = _START_SECONDS) -> Found:
        """Answer the condition's first answer that is not None.

        Raises:
            ChildError: the child ended before, or the time is over.
        """
        end = time.monotonic() + seconds
        while True:
            found = condition()
            if found is not None:
                return found
            if not self.running:
                raise ChildError(f"{self._name} ended ({self._process.returncode}) before {what}\n{self._tail()}")
            if time.monotonic() > end:
                raise ChildError(f"{self._name}: no {what} within {seconds:g} s\n{self._tail()}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> int:
        """Ask it to end, insist if it does not, and answer its return code."""
        self._process.terminate()
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it as a crash would."""
        self._process.kill()
        return self._process.wait()

    def _tail(self) -> str:
        return self.log[-_LOG_TAIL_CHARACTERS:]
