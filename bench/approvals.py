"""What human approval costs: from the word to the passing retry elsewhere, in memory, and where nobody is asked.

    python -m bench.approvals [--quick] [--name approvals]

Writes every figure to bench/results/NAME.json. PostgreSQL is the system's own, on its own data, fsync on.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from authz.approvals.approval import Vote
from authz.approvals.view import ApprovalView, Known
from authz.composition import Composition
from authz.config.file import load
from authz.config.settings import Config
from authz.decision.cache import CacheSettings, DecisionCache, LocalEpoch
from authz.decision.check import Checker
from authz.decision.pending import Pending
from authz.errors import Reason
from authz.model import Decision, Effect, Outcome
from authz.shared_state import NoSiblings, SharedState, shared_state
from authz.stores.database.approving import Decide
from authz.stores.holder import SnapshotHolder
from authz.turned_on import approvals_of, spend_of, standing_of
from bench import store as at_store
from bench.facts import facts
from bench.facts import load as machine_load
from bench.world import ROOT

RESULTS = ROOT / "bench" / "results"
_PAYER = "spiffe://demo.internal/ns/agents/sa/payer"
_CALLS = 20
"""Timed together; of many such, the fastest is what other processes disturbed least."""
_MODEL = """
[request_definition]
r = sub, obj, act, env
[policy_definition]
p = rule, path, eft, obligations
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = keyMatch(r.obj.path, p.path) && eval(p.rule)
"""
_PLAIN = "p, r.sub.trust_domain == 'demo.internal', /v1/accounts*, allow,\n"
_WAITS = "p, r.sub.trust_domain == 'demo.internal', /v1/payments*, allow, require_approval=payments\n"


class Silent:
    """A trail and meter that keep nothing."""

    def offer(self, outcome: Outcome) -> bool:
        """Take a record."""
        self.last = outcome
        return True

    def decided(self, outcome: Outcome) -> None:
        """Count nothing."""


def configuration(directory: Path, *, approvals: bool, url: str = "") -> Config:
    """Write and read the configuration of one replica."""
    (directory / "model.conf").write_text(_MODEL)
    (directory / "policy.csv").write_text(_PLAIN + (_WAITS if approvals else ""))
    (directory / "idp.json").write_text('{"keys": []}')
    text = (
        '[identity]\ntrust_domain = "demo.internal"\nrequire_certificate = false\n'
        '[policy]\nmodel = "model.conf"\npolicies = ["policy.csv"]\n'
        f'[store]\nurl = "{url}"\n[control]\nenabled = true\n'
    )
    if approvals:
        text += (
            "[approvals]\nmax_opened_per_hour = 100000\nmax_open_per_principal = 10000\n"
            '[approvals.groups]\npayments = ["finance"]\n'
            '[[approvals.issuers]]\nissuer = "https://idp"\njwks = "idp.json"\naudiences = ["authz"]\n'
        )
    file = directory / "authz.toml"
    file.write_text(text)
    return load(file, Config, {})


def message(path: str, body: bytes) -> bytes:
    """One CheckRequest."""
    request = CheckRequest()
    request.attributes.source.principal = _PAYER
    http = request.attributes.request.http
    http.method, http.host, http.path, http.raw_body = "POST" if body else "GET", "bank.demo.internal", path, body
    return bytes(request.SerializeToString())


@contextlib.asynccontextmanager
async def replica(config: Config, directory: Path) -> AsyncIterator[tuple[SharedState, Checker, Silent]]:
    """One replica's data plane over the store."""
    composition = Composition(config, directory)
    holder, silent = SnapshotHolder(composition.build_snapshot()), Silent()
    async with shared_state(config, directory, NoSiblings()) as shared:
        parts = composition.parts(
            holder,
            silent,
            silent,
            standing=standing_of(shared, composition),
            spend=spend_of(shared),
            approvals=approvals_of(shared, lambda: holder.current.engine),
        )
        yield shared, Checker(parts), silent


async def decide(checker: Checker, asked: bytes) -> None:
    """Decide as a transport does."""
    answer = checker.check(asked, 5.0)
    if isinstance(answer, Pending):
        answer.conclude(await answer.spend())


async def word_to_retry(url: str, rounds: int) -> dict[str, float]:
    """Milliseconds from a human's word at one replica to the passing retry at another that tries all the time."""
    taken = []
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        config = configuration(directory, approvals=True, url=url)
        async with replica(config, directory) as (first, _, _), replica(config, directory) as (_, checker, silent):
            for number in range(rounds):
                asked = message("/v1/payments", b'{"amount": %d}' % number)
                await decide(checker, asked)
                approval_id = silent.last.decision.detail.removeprefix("approval ")
                await asyncio.sleep(0.02)
                found = (await first.store.approval(approval_id)).approval
                vote = Vote(
                    approval_id=approval_id,
                    person="https://idp#ann",
                    name="Ann",
                    group="payments",
                    approved=True,
                    at=time.time(),
                )
                began = time.perf_counter()
                deciding = asyncio.create_task(first.store.decide(Decide(vote, found.digest)))
                while not silent.last.decision.allowed:
                    await asyncio.sleep(0.001)
                    await decide(checker, asked)
                taken.append((time.perf_counter() - began) * 1e3)
                await deciding
                silent.last = replace_denied(silent.last)
    ordered = sorted(taken)
    return {
        "rounds": rounds,
        "p50_ms": round(statistics.median(ordered), 1),
        "p99_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 1),
        "max_ms": round(ordered[-1], 1),
    }


def replace_denied(outcome: Outcome) -> Outcome:
    """The last outcome, no longer an allow, so that the next round waits for its own."""
    return msgspec.structs.replace(outcome, decision=Decision(effect=Effect.DENY, reason=Reason.APPROVAL_REQUIRED))


def memory(number: int) -> dict[str, float]:
    """Megabytes that so many open requests take in each process."""
    tracemalloc.start()
    view = ApprovalView(number)
    view.replace(
        (f"{each:064x}", Known(f"a-{each:036x}", "open", f"spiffe://demo.internal/ns/a/sa/{each % 500}", 2e9))
        for each in range(number)
    )
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"open": len(view), "mb": round(taken / 1e6, 2)}


def unasked(rounds: int) -> dict[str, float]:
    """Microseconds of a decision for which nobody is asked, with approvals configured and without, in turn."""
    sides = []
    for approvals in (False, True):
        with tempfile.TemporaryDirectory() as place:
            directory = Path(place)
            composition = Composition(configuration(directory, approvals=approvals), directory)
            silent = Silent()
            parts = composition.parts(SnapshotHolder(composition.build_snapshot()), silent, silent)
            sides.append((Checker(parts), Checker(replace(parts, cache=_no_cache()))))
    asked = message("/v1/accounts/7", b"")
    times: dict[str, list[float]] = {"cached": [], "cached_with": [], "fresh": [], "fresh_with": []}
    for _ in range(rounds):
        for name, checker in zip(times, (sides[0][0], sides[1][0], sides[0][1], sides[1][1]), strict=True):
            began = time.perf_counter()
            for _ in range(_CALLS):
                checker.check(asked, 5.0)
            times[name].append((time.perf_counter() - began) / _CALLS * 1e6)
    best = {f"{name}_us": round(min(each), 2) for name, each in times.items()}
    return best | {
        "cached_ratio": round(best["cached_with_us"] / best["cached_us"], 3),
        "fresh_ratio": round(best["fresh_with_us"] / best["fresh_us"], 3),
    }


def _no_cache() -> DecisionCache:
    return DecisionCache(CacheSettings(max_allowed_entries=0, max_denied_entries=0), LocalEpoch())


def main() -> None:
    """Measure, and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--name", default="approvals", help="of the results")
    asked = parser.parse_args()
    rounds = 20 if asked.quick else 60
    results: dict[str, Any] = facts() | {"command": " ".join(["python -m bench.approvals", *sys.argv[1:]])}
    results["load"] = machine_load()
    results["memory"] = memory(10_000)
    results["nobody_asked"] = unasked(100 if asked.quick else 500)
    results["word_to_retry"] = {"sqlite": asyncio.run(word_to_retry("", rounds))}
    postgres = at_store.PostgresServer(durable=True)
    try:
        results["word_to_retry"]["postgresql"] = asyncio.run(word_to_retry(postgres.new_database(), rounds))
    finally:
        postgres.close()
    (RESULTS / f"{asked.name}.json").write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps({name: results[name] for name in ("memory", "nobody_asked", "word_to_retry")}, indent=1))


if __name__ == "__main__":
    main()
