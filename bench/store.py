"""The shared state: issue, complete and consume a second, with many concurrent callers, on SQLite and PostgreSQL.

    python bench/store.py [--seconds 4] [--callers 64] [--name store]

Both write to the disk as in production (SQLite synchronous=full, PostgreSQL fsync=on). Also: how long after
a revocation was acknowledged a second replica has it, while a third keeps writing. Prints a table and writes every
figure to bench/results/NAME.json.
"""

import argparse
import asyncio
import itertools
import json
import os
import pathlib
import platform
import sqlite3
import statistics
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests" / "support")]

from postgres import PostgresServer  # noqa: E402 - needs the path

from authz.stores.database.records import GrantRecord, Revocation, Task  # noqa: E402 - likewise
from authz.stores.database.settings import StoreSettings  # noqa: E402 - likewise
from authz.stores.database.store import Store  # noqa: E402 - likewise

_SCOPE = ({"type": "authz_access", "actions": ["GET"], "locations": ["*"], "resources": ["/v1/accounts/*"]},)
_WRITER_PAUSE_SECONDS = 0.002


def grant(number, **fields):
    now = time.time()
    return GrantRecord(
        id=f"grant-{number:012}",
        task_id=f"task-{number:012}",
        issuer="https://issuer.demo.internal",
        audience="fleet",
        holder="spiffe://demo.internal/agent/planner",
        issued_at=now,
        not_before=now,
        expires_at=now + 60,
        scope=_SCOPE,
        **fields,
    )


async def issue(store, number):
    task = Task(id=f"task-{number:012}", owner="spiffe://demo.internal/o", purpose="bench", created_at=time.time())
    await store.issue(grant(number, max_uses=1), task)


async def consume(store, number):
    assert await store.consume(f"grant-{number:012}", f"decision-{number:012}")


async def complete(store, number):
    assert (await store.complete(f"task-{number:012}", "bench")).state == "completed"


async def load(store, operation, numbers, arguments, at_most):
    """Callers that each wait for an answer before they ask again; answers how many were answered, and how long each."""
    latencies = []
    until = time.perf_counter() + arguments.seconds
    started = time.perf_counter()

    async def caller():
        while time.perf_counter() < until and len(latencies) < at_most:
            try:
                number = next(numbers)
            except StopIteration:
                return
            before = time.perf_counter()
            await operation(store, number)
            latencies.append(time.perf_counter() - before)

    await asyncio.gather(*[caller() for _ in range(arguments.callers)])
    took = time.perf_counter() - started
    quantiles = statistics.quantiles(latencies, n=1000)
    return {
        "operations": len(latencies),
        "seconds": round(took, 3),
        "per_second": round(len(latencies) / took, 1),
        "p50_ms": round(quantiles[499] * 1000, 3),
        "p99_ms": round(quantiles[989] * 1000, 3),
        "p999_ms": round(quantiles[998] * 1000, 3),
    }


async def propagation(settings, base, count):
    """How long after the call that revoked returned a second replica was told, while a third writes."""
    async with (
        Store.opened(settings, base) as one,
        Store.opened(settings, base) as two,
        Store.opened(settings, base) as three,
    ):
        seen = {}
        all_seen = asyncio.Event()

        async def follow():
            async for changes in two.watch(two.head):
                now = time.perf_counter()
                seen.update({change.about: now for change in changes})
                if f"r{count - 1}" in seen:
                    all_seen.set()

        async def write():
            for number in itertools.count(10_000_000):
                await issue(three, number)
                await asyncio.sleep(_WRITER_PAUSE_SECONDS)

        others = [asyncio.create_task(follow()), asyncio.create_task(write())]
        returned = {}
        for number in range(count):
            revocation = Revocation(
                id=f"r{number}", kind="principal", value=f"p{number}", reason="", author="", created_at=0
            )
            await one.revoke(revocation)
            returned[revocation.id] = time.perf_counter()
        await all_seen.wait()
        others[1].cancel()
        delays = [max(0.0, seen[key] - returned[key]) * 1000 for key in returned]
        others[0].cancel()
        await asyncio.gather(*others, return_exceptions=True)
    quantiles = statistics.quantiles(delays, n=100)
    figures = {"p50_ms": quantiles[49], "p99_ms": quantiles[98], "max_ms": max(delays)}
    return {"revocations": count} | {name: round(value, 3) for name, value in figures.items()}


async def measure(settings, base, arguments):
    results = {}
    async with Store.opened(settings, base) as store:
        numbers = itertools.count()
        results["issue"] = await load(store, issue, numbers, arguments, 1e9)
        done = results["issue"]["operations"]
        for operation in (consume, complete):
            results[operation.__name__] = await load(store, operation, iter(range(done)), arguments, done)
    results["propagation"] = await propagation(settings, base, arguments.revocations)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--revocations", type=int, default=300)
    parser.add_argument("--name", default="store")
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as directory:
        base = pathlib.Path(directory)
        results["sqlite"] = asyncio.run(measure(StoreSettings(url="sqlite:///bench.db"), base, arguments))
    server = PostgresServer(durable=True)
    try:
        version = server.execute("SHOW server_version")[0][0]
        settings = StoreSettings(url=server.new_database())
        results["postgresql"] = asyncio.run(measure(settings, pathlib.Path(), arguments))
    finally:
        server.close()
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    machine |= {"sqlite": sqlite3.sqlite_version, "postgresql": version, "load": os.getloadavg()}
    report = {"callers": arguments.callers, "machine": machine, "results": results}
    path = HERE / "results" / f"{arguments.name}.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    for database, figures in results.items():
        for name, values in figures.items():
            print(f"{database:<12}{name:<14}" + "  ".join(f"{key} {value}" for key, value in values.items()))
    print(f"load average {os.getloadavg()}; written to {path}")


if __name__ == "__main__":
    main()
