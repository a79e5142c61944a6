"""What a peer needs to answer the benchmark's requests as authz does: its policy, configuration and data.

python -m bench.peer_policies DIRECTORY        then as bench/peers/README.md says
"""

import json
import shutil
import sys
import tomllib
from pathlib import Path

from bench.world import PRINCIPALS, ROOT, write_policies

PEERS = ROOT / "bench" / "peers"


def opa_data(policies: Path) -> dict[str, object]:
    """The inventory that authz reads, as OPA's data document."""
    return {"workloads": tomllib.loads((policies / "inventory.toml").read_text())["workloads"]}


def write(directory: Path, principals: int = PRINCIPALS) -> None:
    """Fill `directory` with a folder for each peer."""
    policies = write_policies(directory / "authz", principals=principals, by_id=False, rules=0)
    shutil.copytree(PEERS / "opa", directory / "opa")
    (directory / "opa" / "data.json").write_text(json.dumps(opa_data(policies), indent=1))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m bench.peer_policies DIRECTORY")
    write(Path(sys.argv[1]))
