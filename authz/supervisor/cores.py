"""How many cores this process may use: what `server.workers = "auto"` means."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MOST = 256


def cores(cgroup: Path = _CGROUP) -> int:
    """Answer the cores that the scheduler gives us, or the container's CPU limit, rounded up, where that is less."""
    given = len(os.sched_getaffinity(0))
    return max(1, min(given, _limit(cgroup) or given, _MOST))


def _limit(cgroup: Path) -> int | None:
    """What cgroup v2 (`cpu.max`), else v1, allows; None: everything, or it cannot be told."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return math.ceil(share) if share > 0 else None
