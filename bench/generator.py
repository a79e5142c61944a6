"""The load generator's process: measurements asked for on standard input, one JSON object a line, answered likewise.

A process of its own, so that nothing else of the suite disturbs its loop, and so that its share of the CPU can be told.
"""

import gc
import json
import pickle
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.client import Deck, Load, Result
from bench.connection import WrongAnswer
from bench.frames import Card
from bench.latency import histogram, summary
from bench.processes import cpu_seconds

_OPENING_IN_FLIGHT = 16


class Generator:
    """The process, seen from the suite."""

    def __init__(self, root: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.generator"],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def measure(self, **job: Any) -> dict[str, Any]:
        """Run one measurement; the names in `job` are those of `perform`.

        Raises:
            WrongAnswer: a server answered wrong, hung up or hung.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise WrongAnswer("the load generator ended")
        told: dict[str, Any] = json.loads(line)
        if "error" in told:
            raise WrongAnswer(told["error"])
        return told

    def stop(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def write_deck(path: Path, cards: Sequence[Card], order: Sequence[tuple[int, int]]) -> Path:
    """Keep a deck in a file of this run's own directory, for the generator to read."""
    path.write_bytes(pickle.dumps((list(cards), list(order))))
    return path


@lru_cache(maxsize=32)
def _deck(path: str) -> Deck:
    cards, order = pickle.loads(Path(path).read_bytes())
    return Deck(cards, order)


@lru_cache(maxsize=8)
def _tls(ca: str, certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    return context


def perform(
    *,
    address: str | Sequence[str],
    deck: str,
    seconds: float = 0.0,
    in_flight: int = 0,
    rate: float = 0.0,
    connections: int = 1,
    warm_seconds: float = 0.15,
    tls: Sequence[str] = (),
    expect: int | None = None,
    pids: Sequence[int] = (),
    once: bool = False,
    apart_seconds: float = 0.0,
) -> dict[str, Any]:
    """One measurement: `in_flight` calls at all times, or `rate` calls a second; or every card `once`.

    `expect`: the right answer to everything, where the server does not decide. `pids`: whose CPU time is taken.
    Several addresses are connected to in turn, `apart_seconds` between two connections.
    """
    dealt, context = _deck(deck), _tls(*tls) if tls else None
    addresses = [address] if isinstance(address, str) else address
    if once:
        return _dealt_once(Load(addresses, context, dealt.opening, connections=1, expect=expect))
    load = Load(addresses, context, dealt, connections=connections, expect=expect, apart_seconds=apart_seconds)
    try:
        warm = load.closed(in_flight or 4 * connections, warm_seconds)
        _demand_right(warm)
        gc.collect()
        gc.disable()
        server, own, begin = cpu_seconds(pids), time.process_time(), time.perf_counter()
        result = load.open(rate, seconds) if rate else load.closed(in_flight, seconds)
        passed = time.perf_counter() - begin
        server, own = cpu_seconds(pids) - server, time.process_time() - own
    finally:
        gc.enable()
        load.close()
    _demand_right(result)
    told = _told(result, server=server, own=own, passed=passed, measured=bool(pids))
    return {**told, "calls": len(warm.latencies) + told["requests"]}


def _dealt_once(load: Load) -> dict[str, Any]:
    try:
        result = load.once(_OPENING_IN_FLIGHT)
    finally:
        load.close()
    _demand_right(result)
    return {"calls": len(result.latencies), "shed": result.shed}


def _demand_right(result: Result) -> None:
    if result.wrong:
        raise WrongAnswer(f"of {len(result.latencies)} answers, wrong: {result.wrong}")


def _told(result: Result, *, server: float, own: float, passed: float, measured: bool) -> dict[str, Any]:
    count = len(result.latencies)
    told = {
        "requests": count,
        "seconds": round(result.seconds, 4),
        "per_second": round(count / result.seconds, 1),
        "shed": result.shed,
        **summary(result.latencies),
        "generator_cpu_share": round(own / passed, 3),
    }
    if measured:
        told["server_cpu_share"] = round(server / passed, 3)
        told["server_cpu_us"] = round(server / count * 1e6, 2)
        told["per_cpu_second"] = round(count / server, 1) if server else None
    if result.moved:
        told["moved"] = result.moved
    if result.late:
        told["sent_late_p99_us"] = histogram(result.late).get_value_at_percentile(99) / 1e3
    return told


def main() -> None:
    """Answer jobs until standard input ends."""
    for line in sys.stdin:
        try:
            told = perform(**json.loads(line))
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the suite's run, not this process in silence
            told = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
