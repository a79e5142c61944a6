"""What budgets cost: a cached decision with and without them, and the memory of many open tasks.

python -m bench.agents_budgets [--rounds 25] [--tasks 100000]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from authz.budgets.ledger import Ledger
from authz.budgets.settings import BudgetSettings, TaskSettings
from authz.composition import Composition
from authz.config.file import load
from authz.config.settings import Config
from authz.decision.check import Checker
from authz.errors import Reason
from authz.model import NO_FACTS, Asked, Subject, Target
from authz.stores.holder import SnapshotHolder
from authz.task_limits import NO_LIMITS
from authz.turned_on import spending_of
from bench.inside import BUDGET_SECONDS, Keeper
from bench.stats import paired, spread
from bench.timing import Piece, over, sample
from bench.traffic import message
from bench.world import Setup, agent, configuration, make_identities

BUDGETS = """
[[budgets]]
name = "calls-of-a-task"
per = ["task"]
limit = 1000000000
window_seconds = 60.0
[[budgets]]
name = "calls-of-a-principal"
per = ["principal"]
limit = 1000000000
window_seconds = 3600.0
"""
AT_MOST = 1.1
_CALLS_OF_A_TASK = 20


def budgets(directory: Path) -> tuple[Mapping[str, Piece], Sequence[tuple[str, str, float]]]:
    """A decision used again, charged to two budgets and not; that it costs at most a tenth more."""
    directory.mkdir(parents=True)
    identities = make_identities(directory / "pki", 2)
    asked = message(identities.agents[1], agent(1), "/v1/accounts/42", "GET")
    plain = configuration(Setup(), identities, directory, f"unix:{directory}/none.sock", principals=2)
    pieces = {}
    for name, more in (("cached", ""), ("cached, two budgets", BUDGETS)):
        config = directory / f"{len(pieces)}.toml"
        config.write_text(plain + more)
        composition = Composition(load(config, Config, {}), directory)
        if more:
            composition.ledger.share()  # as with a store: what is counted is noted, to be told
        keeper = Keeper(composition.config.audit)
        parts = composition.parts(
            SnapshotHolder(composition.build_snapshot()),
            keeper,
            keeper,
            spending=spending_of(composition.config, composition.ledger),
        )
        checker = Checker(parts)
        for _ in range(2):
            checker.check(asked, BUDGET_SECONDS)
        outcome = keeper.outcome
        if outcome is None or not outcome.decision.allowed or not outcome.cached:
            raise RuntimeError(f"{name}: {outcome and outcome.decision}")
        pieces[name] = over(checker.check, [(asked, BUDGET_SECONDS)])
    return pieces, [("cached, two budgets", "cached", AT_MOST)]


def open_tasks(count: int) -> None:
    """Open so many tasks, each with a few calls, two tools and a label, and print what they take."""
    made = [
        BudgetSettings(name="calls", per=("task",), limit=1_000, window_seconds=600.0),
        BudgetSettings(name="wide", count="resources", per=("task",), limit=100, window_seconds=600.0),
    ]
    ledger = Ledger(made, TaskSettings(max_tracked=2 * count + 100))
    subject, now, before = Subject(id=agent(1), trust_domain="bench"), time.time(), _resident()
    for number in range(count):
        task = {"id": f"t-{number:024x}", "purpose": "", "declared": False, **NO_FACTS}
        for call in range(_CALLS_OF_A_TASK):
            obj = {"host": "h", "path": f"/v1/{call % 4}", "type": "", "id": "", "sensitivity": "restricted"}
            asked = Asked(Target("GET"), obj, "http", "GET" if call % 2 else "mcp:tools/call:look", task, grant_key="k")
            asked = _until(asked, now)
            visit = ledger.enter(subject, asked, NO_LIMITS, frozenset(), "v", now + call * 30.0)
            ledger.charge(visit)
            ledger.conclude(visit, Reason.ALLOWED)
    print(json.dumps({"tasks": count, "megabytes": round((_resident() - before) / 1e6, 1), "kept": ledger.kept}))


def _until(asked: Asked, now: float) -> Asked:
    return Asked(
        asked.target, asked.obj, asked.protocol, asked.name, asked.task, grant_key=asked.grant_key, until=now + 900.0
    )


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4_096


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.agents_budgets", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--open", type=int, default=0, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.open:
        open_tasks(asked.open)
        return
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as directory:
        pieces, demands = budgets(Path(directory) / "budgets")
        samples = sample(pieces, asked.rounds)
    for name, values in samples.items():
        found = spread(values)
        print(f"{name}: {found['median']:.2f} us of CPU (MAD {found['mad']:.2f})")
    for one, other, at_most in demands:
        print(f"{one} : {other} = {paired(samples[one], samples[other])['median']:.3f} (at most {at_most})")
    command = [sys.executable, "-m", "bench.agents_budgets", "--open", str(asked.tasks)]
    print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


if __name__ == "__main__":
    main(sys.argv[1:])
