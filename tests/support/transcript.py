"""Runs the commands of a documented session again, in one shell, and compares what they print.

A session is all `console` blocks of a page: lines behind `$ ` are commands (`> ` continues one), the others what they
printed. A line `...` stands for any number of lines. What differs from run to run is compared by its form only.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
_MARK = "--- the next command ---"
_VOLATILE = [
    (re.compile(r"\b[0-9a-f]{32}\b"), "<id>"),
    (re.compile(r"\b[0-9a-f]{16}\b"), "<version>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"), "<time>"),
    (re.compile(r"\b\d+\.\d\d s\b"), "<seconds>"),
]


def steps(page: str) -> list[tuple[str, list[str]]]:
    """Every command of a page with what it is said to print."""
    found: list[tuple[str, list[str]]] = []
    for line in (line for block in _BLOCK.findall(page) for line in block.splitlines()):
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif (line == ">" or line.startswith("> ")) and not found[-1][1]:
            found[-1] = (f"{found[-1][0]}\n{line[2:]}", [])
        else:
            found[-1][1].append(line)
    return found


def run(commands: list[str], directory: Path, timeout: float = 100) -> list[list[str]]:
    """What each command prints, errors included; all run in one shell."""
    bin_directory = directory / ".bin"
    bin_directory.mkdir()
    authz = bin_directory / "authz"
    authz.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m authz.cli.main "$@"\n')
    authz.chmod(0o755)
    script = "".join(f"{command}\necho; echo '{_MARK}'\n" for command in commands)
    root = Path(__file__).parents[2]
    environment = {
        **os.environ,
        "PATH": f"{bin_directory}:{os.environ['PATH']}",
        "PYTHONPATH": str(root),
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "120",
    }
    # Its own process group, so that a server that a failed session left behind ends with it.
    shell = subprocess.Popen(
        ["bash"], cwd=directory, env=environment, text=True, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = shell.communicate(script, timeout)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
    parts = [part.strip("\n") for part in output.split(f"\n{_MARK}\n")]
    return [part.splitlines() for part in parts[: len(commands)]]


def agree(told: list[str], printed: list[str]) -> bool:
    """Whether what is told is what was printed, as far as it can be."""
    if not told:
        return not printed
    if told[0] == "...":
        return any(agree(told[1:], printed[skipped:]) for skipped in range(len(printed) + 1))
    return bool(printed) and _formed(told[0]) == _formed(printed[0]) and agree(told[1:], printed[1:])


def _formed(line: str) -> str:
    for pattern, name in _VOLATILE:
        line = pattern.sub(name, line)
    return line.rstrip()
