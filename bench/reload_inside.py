"""What reloads cost requests, in this process: one thread decides at a fixed pace while another loads, over and over.

    python -m bench.reload_inside [--rules 1000] [--rate 1000] [--seconds 5] [--rounds 3]

Latencies count from when a request was due. On a machine with other work they tell of that work. Less so `cpu us`, the
CPU time that the deciding thread took for a request, and `load cpu s`, what the loading thread took for a reload.
"""

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from authz.stores.holder import SnapshotHolder
from authz.stores.quiet import Pacer, settle
from bench.inside import Inside, messages
from bench.stats import spread
from bench.world import PRINCIPALS, Setup, make_identities

_ASKED = 20_000
_BETWEEN_SECONDS = 0.3


class Reloading:
    """Changes the rules and builds a snapshot of them, again and again; the deciding thread puts it in force."""

    def __init__(self, inside: Inside) -> None:
        self._composition = inside.composition
        self._policy = inside.composition.base / "policies" / "policy.csv"
        self._text = self._policy.read_text()
        self._over = threading.Event()
        self._taken = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.built = False
        """Whether a snapshot waits to be put in force."""
        self.cpu_seconds: list[float] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def take(self) -> None:
        """Let the next one be made: the last is in force."""
        self.built = False
        self._taken.set()

    def stop(self) -> None:
        """End, once the reload under way is done."""
        self._over.set()
        self._taken.set()
        self._thread.join()
        self._policy.write_text(self._text)

    def _run(self) -> None:
        while not self._over.wait(_BETWEEN_SECONDS):
            self._policy.write_text(self._text.replace("/v0/team-", f"/v{time.monotonic_ns()}/team-"))
            begin = time.thread_time()
            self._composition.build_to_serve()
            self.built = True
            self._taken.wait()
            self._taken.clear()
            self._composition.policies.trim([])
            self.cpu_seconds.append(time.thread_time() - begin)


def decide(
    inside: Inside, asked: list[tuple[bytes, int]], rate: float, seconds: float, reloading: Reloading | None
) -> dict[str, Any]:
    """Latencies and CPU time of requests that fall due at that rate."""
    composition, holder = inside.composition, inside.parts.snapshots
    assert isinstance(holder, SnapshotHolder)
    clock, waited = time.perf_counter, []
    cpu, begin = time.thread_time(), clock()
    for turn in range(int(rate * seconds)):
        due = begin + turn / rate
        time.sleep(max(0.0, due - clock()))
        if reloading is not None and reloading.built:
            composition.commit()
            holder.current = composition.assemble()
            reloading.take()
        message, expect = asked[turn % len(asked)]
        inside.demand(message, expect)
        waited.append(clock() - due)
    cpu = time.thread_time() - cpu
    waited.sort()
    found = {name: waited[int(len(waited) * share)] for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))}
    found |= {"max": waited[-1], "cpu": cpu / len(waited)}
    return {f"{name} us": round(value * 1e6, 1) for name, value in found.items()}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rules", type=int, default=1_000)
    options.add_argument("--rate", type=float, default=1_000.0, help="requests a second")
    options.add_argument("--seconds", type=float, default=5.0, help="of each half of a round")
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
        identities = make_identities(Path(name) / "pki", PRINCIPALS)
        inside = Inside(Setup(rules=chosen.rules), identities, Path(name) / "pdp", PRINCIPALS)
        inside.composition.commit()
        inside.composition.policies.pause = Pacer().step_aside
        asked = messages("mixed", identities, _ASKED)
        for message, expect in asked:
            inside.demand(message, expect)
        settle()
        for _ in range(chosen.rounds):
            rest = decide(inside, asked, chosen.rate, chosen.seconds, None)
            reloading = Reloading(inside)
            reloading.start()
            try:
                busy = decide(inside, asked, chosen.rate, chosen.seconds, reloading)
            finally:
                reloading.stop()
            busy |= {"reloads": len(reloading.cpu_seconds)}
            if reloading.cpu_seconds:
                busy |= {"load cpu s": round(spread(reloading.cpu_seconds)["median"], 3)}
            print(json.dumps({"at rest": rest, "reloading": busy}), flush=True)
            ratios.append({name: busy[name] / rest[name] for name in rest})
    medians = {name: round(spread([one[name] for one in ratios])["median"], 2) for name in ratios[0]}
    print("reloading beside at rest, median of the rounds:", medians)


if __name__ == "__main__":
    main()
