"""Grants in one process: the first sight of a token, and what looking up revocations costs, in time and memory.

    python -m bench.grants_inside sight COUNT | lookup ENTRIES | load ENTRIES

Each answers JSON; `bench.grants` runs each in a process of its own, so that its memory can be told.
"""

import asyncio
import gc
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from sqlalchemy import insert

from authz.composition import Composition
from authz.config.file import load as load_config
from authz.config.settings import Config
from authz.decision.check import Checker
from authz.grants.changes import RevocationKind, Revoke
from authz.grants.grant import Grant, Task
from authz.grants.revoked import Revoked
from authz.grants.scope import Scope, access
from authz.grants.token import sign_grant
from authz.jose.jwk import KeySet
from authz.jose.signing import SigningKey
from authz.model import Credential, Subject
from authz.stores.database import schema
from authz.stores.database.connect import connect, prepare
from authz.stores.database.settings import StoreSettings
from authz.stores.database.store import Store
from authz.stores.holder import SnapshotHolder
from authz.stores.shared_view import SharedView
from bench.frames import ID_SLOT, REQUEST_SLOT, verdict
from bench.inside import BUDGET_SECONDS, Keeper
from bench.processes import resident_bytes
from bench.stats import spread
from bench.traffic import PATHS, message, with_headers
from bench.world import ROOT, Setup, agent, configuration, make_identities

ISSUER = "https://authz.demo.internal"
HEADER = "authz-grant"
ASKED = 1_000
ROUNDS = 7
_VALUES = (
    (RevocationKind.GRANT, "%022d"),
    (RevocationKind.COMPLETED_TASK, "revoked-%d"),
    (RevocationKind.PRINCIPAL, "spiffe://demo.internal/revoked/%d"),
    (RevocationKind.CREDENTIAL, "%064x"),
)


def with_grant(checked: bytes, token: str) -> bytes:
    """A CheckRequest that presents a grant."""
    return with_headers(checked, {HEADER: token})


def filled(checked: bytes, number: int) -> bytes:
    """A CheckRequest with its placeholders filled."""
    return checked.replace(REQUEST_SLOT, b"%012d" % number).replace(ID_SLOT, b"%08d" % number)


def a_grant(number: int, now: int) -> Grant:
    """A grant of the agent 1 that covers what the benchmark asks for."""
    return Grant(
        id=f"{number:022d}",
        issuer=ISSUER,
        audience=ISSUER,
        holder=agent(1),
        task=Task(f"task-{number}", "bench"),
        scope=Scope((access(["GET"], ["*"], ["/v1/accounts/*"]),)),
        issued_at=now,
        not_before=now,
        expires=now + 600,
    )


def sight(count: int) -> dict[str, Any]:
    """What a whole check takes with a token that was never seen, and with it again, by algorithm."""
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
        base = Path(name)
        identities = make_identities(base / "pki", 2)
        config = base / "authz.toml"
        text = configuration(Setup(), identities, base, f"unix:{base}/none.sock", principals=2)
        config.write_text(f'{text}\n[grants]\nissuer = "{ISSUER}"\n')
        keys = {
            "EdDSA": SigningKey("ed", ed25519.Ed25519PrivateKey.generate()),
            "ES256": SigningKey("ec", ec.generate_private_key(ec.SECP256R1())),
        }
        composition = Composition(load_config(config, Config, {}), base)
        composition.own_grant_keys = KeySet({key.kid: key.verification_key for key in keys.values()})
        keeper = Keeper(composition.config.audit)
        checker = Checker(composition.parts(SnapshotHolder(composition.build_snapshot()), keeper, keeper))
        plain = message(identities.agents[1], agent(1), PATHS[0])
        _timed(checker, [filled(plain, number) for number in range(100)])
        told["without a grant, warm"] = _summary(_timed(checker, [filled(plain, n) for n in range(count)]))
        for algorithm, key in keys.items():
            now = int(time.time())
            base_number = 0 if algorithm == "EdDSA" else 10_000_000
            tokens = [sign_grant(a_grant(base_number + number, now), key) for number in range(count)]
            asked = [filled(with_grant(plain, token), 7) for token in tokens]
            told[f"{algorithm}, first sight"] = _summary(_timed(checker, asked))
            told[f"{algorithm}, again"] = _summary(_timed(checker, asked))
    return told


def _timed(checker: Checker, asked: list[bytes]) -> list[tuple[float, float]]:
    """By the clock, and of the CPU: what else runs on the machine shows in the one, and hardly in the other."""
    seconds = []
    gc.collect()
    gc.disable()
    for one in asked:
        begin, used = time.perf_counter(), time.thread_time()
        answer = checker.check(one, BUDGET_SECONDS)
        seconds.append((time.perf_counter() - begin, time.thread_time() - used))
        if not isinstance(answer, bytes) or verdict(answer) != 0:
            raise AssertionError("a check that should be allowed was not")
    gc.enable()
    return seconds


def _summary(seconds: list[tuple[float, float]]) -> dict[str, float]:
    told: dict[str, float] = {"count": len(seconds)}
    for name, values in zip(("clock", "cpu"), zip(*seconds, strict=True), strict=True):
        quantiles = statistics.quantiles(values, n=100)
        for share in (50, 90, 99):
            told[f"{name}_p{share}_us"] = round(quantiles[share - 1] * 1e6, 1)
    return told


def lookup(entries: int) -> dict[str, Any]:
    """What one look-up takes for callers that are not revoked, and what so many entries weigh."""
    now = time.time()
    before = resident_bytes(["self"])
    revoked = Revoked(5.0, max(entries, 1))
    for number in range(entries):
        kind, value = _VALUES[number % len(_VALUES)]
        revoked.take(Revoke(kind, value % number, now + 60 + number % 900))
    gc.collect()
    grown = resident_bytes(["self"]) - before
    credentials = (Credential("x509-svid", f"{n:064x}", now - 60, now + 600, "CN=ca") for n in itertools.count())
    subjects = [Subject(id=agent(n), trust_domain="demo.internal", credential=next(credentials)) for n in range(ASKED)]
    asked = [(subject, a_grant(number, int(now))) for number, subject in enumerate(subjects)]
    rounds = []
    for _ in range(ROUNDS + 1):
        begin = time.perf_counter()
        for subject, grant in asked:
            revoked.refusal(subject, grant, now)
        rounds.append((time.perf_counter() - begin) / ASKED * 1e6)
    return {"entries": entries, "lookup_us": spread(rounds[1:]), "memory_mb": round(grown / 1e6, 1)}


def load(entries: int) -> dict[str, Any]:
    """How long a replica takes to load so many revocations from SQLite at its start, and what it needs for that."""
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
        settings = StoreSettings(url="sqlite:///bench.db")
        _fill(settings, Path(name), entries)
        return asyncio.run(_loaded(settings, Path(name), entries))


_EMPTY = {"cut_off": "", "before": None, "undone_at": None, "undone_by": "", "undo_reason": ""}


def _fill(settings: StoreSettings, base: Path, entries: int) -> None:
    database = connect(settings, base)
    prepare(database, settings)
    now = time.time()
    rows = (
        {
            "id": f"r{number}",
            "kind": "principal",
            "value": f"spiffe://demo.internal/revoked/{number}",
            "reason": "",
            "author": "bench",
            "created_at": now,
            "expires_at": now + 3_600,
            **_EMPTY,
        }
        for number in range(entries)
    )
    with database.engine.begin() as connection:
        while chunk := list(itertools.islice(rows, 10_000)):
            connection.execute(insert(schema.revocations), chunk)
    database.close()


async def _loaded(settings: StoreSettings, base: Path, entries: int) -> dict[str, Any]:
    gc.collect()
    before = resident_bytes(["self"])
    async with Store.opened(settings, base) as store:
        view = SharedView(store, 5.0, entries + 1, time.time)
        peak = 0
        done = asyncio.Event()

        async def watch() -> None:
            nonlocal peak
            while not done.is_set():
                peak = max(peak, resident_bytes(["self"]))
                await asyncio.sleep(0.02)

        watching = asyncio.create_task(watch())
        begin = time.perf_counter()
        await view.load()
        took = time.perf_counter() - begin
        done.set()
        await watching
        if len(view.revocations) != entries:
            raise AssertionError(f"{len(view.revocations)} of {entries} were loaded")
        peak = max(peak, resident_bytes(["self"]))
    return {
        "entries": entries,
        "seconds": round(took, 2),
        "peak_mb": round((peak - before) / 1e6, 1),
        "load": list(os.getloadavg()),
    }


def apart(what: str, *arguments: int) -> dict[str, Any]:
    """Run one of these in a process of its own."""
    command = [sys.executable, "-m", "bench.grants_inside", what, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(f"{what} could not be measured: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    print(json.dumps({"sight": sight, "lookup": lookup, "load": load}[sys.argv[1]](int(sys.argv[2]))))
