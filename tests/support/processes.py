"""What the kernel tells of other processes, and they themselves."""

import contextlib
import pathlib


def whole_lines(file):
    """Answer the lines of a file that another process may be writing, without one that has not ended yet."""
    return file.read_text().rpartition("\n")[0].splitlines()


def listens(pid, port):
    """Answer whether a process has a socket that listens at this TCP port."""
    inodes = set()
    tables = (pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:] for table in ("tcp", "tcp6"))
    for fields in (line.split() for table in tables for line in table):
        if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    found = False
    for each in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found = found or str(each.readlink()) in inodes
    return found
