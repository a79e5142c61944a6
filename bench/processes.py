"""Server processes of a benchmark: started, waited for, measured from /proc, and surely ended."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS, STOP_SECONDS = 90.0, 15.0


class ProcessError(Exception):
    """A process did not do what it was started for; the message holds the end of its log."""


def tree(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                with contextlib.suppress(OSError):
                    found += map(int, (task / "children").read_text().split())
    return found


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU time, user and system, that these processes have used with all their threads."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def resident_bytes(pids: Sequence[int | str]) -> int:
    """Memory that these processes hold, shared pages counted in each; "self" is this one."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    """A TCP port on loopback that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(address: str) -> bool:
    """Whether somebody accepts connections there."""
    try:
        if address.startswith("unix:"):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1)
                probe.connect(address[5:])
        else:
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


class Process:
    """One process with its descendants, in a session of its own."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def pids(self) -> list[int]:
        """It and its descendants."""
        return tree(self.pid)

    def wait(self, condition: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
        """Wait until `condition` holds.

        Raises:
            ProcessError: it ended before, or the time is over.
        """
        end = time.monotonic() + seconds
        while not condition():
            if self._process.poll() is not None:
                raise ProcessError(f"ended ({self._process.returncode}) before {what}: {self._tail()}")
            if time.monotonic() > end:
                raise ProcessError(f"no {what} within {seconds:g} s: {self._tail()}")
            time.sleep(0.02)

    def demand_alive(self) -> None:
        """Raise ProcessError when it has ended."""
        if self._process.poll() is not None:
            raise ProcessError(f"ended ({self._process.returncode}) under load: {self._tail()}")

    def stop(self) -> None:
        """Ask it to end, and insist; what it leaves behind in its session is ended, too."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]
