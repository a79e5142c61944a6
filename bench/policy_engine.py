"""Microseconds a decision takes, and what loading costs: the compiled engine beside pycasbin, in one run.

    python bench/policy_engine.py [--largest N] [--quick]

Access lists with paths (keyMatch2), roles with 10,000 grants, attributes with a sub-rule in every row, and the model
that ships (paths and sub-rules), at 1 to 100,000 rules; and, to be honest, sub-rules that no index can tell apart.
Questions: the first rule, the last, no rule, and a mixture of 200 different requests. Every answer is asserted.
pycasbin is asked up to 1,000 rules, and where one decision takes less than `--patience` seconds.

Loading is measured in a process of its own: seconds, growth of memory, and how long decisions take meanwhile for a
thread that goes on with the old snapshot. Results: bench/results/policy_engine.json.
"""

import argparse
import gc
import json
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import casbin
from casbin.model import Model
from casbin.persist.adapters.string_adapter import StringAdapter

from authz.model import Effect
from authz.policy.compile import CompiledEngine
from authz.policy.limits import PolicyLimits
from authz.policy.source import CompileSettings

RESULTS = Path(__file__).parent / "results" / "policy_engine.json"
SIZES = (1, 10, 100, 1_000, 10_000, 100_000)
GRANTS = 10_000
SETTINGS = CompileSettings(limits=PolicyLimits(max_rules=1_000_000))
MODEL = """[request_definition]
r = sub, obj, act
[policy_definition]
p = {columns}
{roles}
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = {matcher}
"""
MODELS = {
    "acl with paths": MODEL.format(
        columns="sub, obj, act", roles="", matcher="r.sub == p.sub && keyMatch2(r.obj, p.obj) && r.act == p.act"
    ),
    "rbac": MODEL.format(
        columns="sub, obj, act",
        roles="[role_definition]\ng = _, _",
        matcher="g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act",
    ),
    "abac with sub-rules": MODEL.format(
        columns="rule, obj, act", roles="", matcher="eval(p.rule) && r.obj == p.obj && r.act == p.act"
    ),
    # The matcher of the model that ships.
    "paths and sub-rules": MODEL.format(
        columns="rule, path, method",
        roles="",
        matcher="keyMatch(r.obj.path, p.path) && keyMatch(r.act.method, p.method) && eval(p.rule)",
    ),
    # What an index cannot help: every rule is about the same thing.
    "abac, nothing to index": MODEL.format(
        columns="rule, obj, act", roles="", matcher="eval(p.rule) && r.obj == p.obj && r.act == p.act"
    ),
}
Request = tuple[object, ...]


def policy(kind: str, size: int) -> str:
    """The rules: as many as `size`, and the grants."""
    if kind == "acl with paths":
        return "\n".join(
            f"p, svc{n % 10}, /api/v1/team{n}/:id/items/*, {'GET' if n % 2 else 'POST'}" for n in range(size)
        )
    if kind == "rbac":
        rules = [f"p, role{n % 1000}, data{n}, read" for n in range(size)]
        grants = [f"g, user{n}, role{(n * 7 + k) % 1000}" for n in range(GRANTS // 5) for k in range(5)]
        return "\n".join(rules + grants)
    if kind == "abac with sub-rules":
        return "\n".join(f"p, r.sub.age > {n % 60} && r.sub.team == 'team{n}', /data{n}, read" for n in range(size))
    if kind == "paths and sub-rules":
        who = "r.sub.id == 'spiffe://example.org/sa/svc{}' && r.sub.registered"
        return "\n".join(f"p, {who.format(n % 50)}, /v1/team{n}/*, {'GET' if n % 2 else '*'}" for n in range(size))
    return "\n".join(f"p, r.sub.age > {1000 + n} && r.sub.score < {n}, /data, read" for n in range(size - 1)) + (
        "\np, r.sub.age > 60, /data, read"
    )


def hit(kind: str, number: int) -> Request:
    """A request that rule `number` allows."""
    if kind == "acl with paths":
        return (f"svc{number % 10}", f"/api/v1/team{number}/77/items/a", "GET" if number % 2 else "POST")
    if kind == "rbac":
        # user u holds the roles 7u to 7u + 4.
        user = next(u for u in range(GRANTS // 5) if (number - u * 7) % 1000 < 5)
        return (f"user{user}", f"data{number}", "read")
    if kind == "abac with sub-rules":
        return ({"age": 70, "team": f"team{number}"}, f"/data{number}", "read")
    if kind == "paths and sub-rules":
        caller = {"id": f"spiffe://example.org/sa/svc{number % 50}", "registered": True}
        return (caller, {"path": f"/v1/team{number}/items/7"}, {"method": "GET"})
    return ({"age": 70, "score": 1e9}, "/data", "read")


def denied(kind: str, request: Request) -> Request:
    """A request like another, that no rule allows."""
    if kind == "paths and sub-rules":
        return ({"id": "spiffe://example.org/sa/stranger", "registered": True}, *request[1:])
    return (*request[:2], "delete")


def questions(kind: str, size: int) -> dict[str, tuple[list[Request], bool | None]]:
    """The requests of each sort, and whether they are allowed; None: the first half is."""
    last = hit(kind, size - 1)
    miss = denied(kind, last)
    if kind == "abac, nothing to index":
        return {"last rule": ([last], True), "no rule": ([({"age": 1, "score": 1e9}, "/data", "read")], False)}
    step = max(size // 100, 1)
    some = [hit(kind, number) for number in range(0, size, step)][:100]
    return {
        "first rule": ([hit(kind, 0)], True),
        "last rule": ([last], True),
        "no rule": ([miss], False),
        "mixed": (some + [denied(kind, request) for request in some], None),
    }


def never() -> bool:
    return False


def load(kind: str, size: int) -> CompiledEngine:
    return CompiledEngine.load(MODELS[kind], "model.conf", [("policy.csv", policy(kind, size))], settings=SETTINGS)


def measured(ask: Callable[[Request], bool], requests: Sequence[Request], allowed: object, seconds: float) -> float:
    """Microseconds a decision: the best of several rounds, every answer asserted in the first.

    `allowed` is the answer to all; None: the first half is allowed, the other denied.
    """
    for number, request in enumerate(requests):
        expected = number < len(requests) // 2 if allowed is None else allowed
        assert ask(request) is expected, request
    rounds: list[float] = []
    end = time.perf_counter() + seconds
    repeat = 1
    while not rounds or time.perf_counter() < end:
        started = time.perf_counter()
        for _ in range(repeat):
            for request in requests:
                ask(request)
        taken = time.perf_counter() - started
        rounds.append(taken / repeat / len(requests))
        repeat = max(1, min(10_000, int(repeat * 0.02 / taken)))
    return min(rounds) * 1e6


def oracle(kind: str, size: int) -> casbin.Enforcer:
    parsed = Model()
    parsed.load_model_from_text(MODELS[kind])
    return casbin.Enforcer(parsed, StringAdapter(policy(kind, size)))


def decisions(kind: str, size: int, seconds: float, patience: float) -> dict[str, dict[str, float | None]]:
    engine = load(kind, size)
    asked = questions(kind, size)
    found: dict[str, dict[str, float | None]] = {}
    enforcer = oracle(kind, size) if size <= 1_000 else None
    for name, (requests, allowed) in asked.items():
        ours = measured(
            lambda request: engine.evaluate(request, never).effect is Effect.ALLOW, requests, allowed, seconds
        )
        theirs = None
        if enforcer is not None:
            one = time.perf_counter()
            enforcer.enforce(*requests[0])
            if time.perf_counter() - one < patience:
                few = requests if len(requests) * (time.perf_counter() - one) < patience else requests[:1]
                known = allowed if len(few) == len(requests) else True if allowed is None else allowed
                theirs = measured(lambda request: enforcer.enforce(*request), few, known, seconds)
        found[name] = {
            "us": round(ours, 2),
            "pycasbin_us": theirs and round(theirs, 1),
            "ratio": theirs and round(theirs / ours),
        }
    return found


def loading(kind: str, size: int) -> dict[str, float]:
    """Seconds and megabytes of a load, measured where nothing else was loaded before."""
    text = policy(kind, size)
    gc.collect()
    before = status("VmRSS")
    started = time.perf_counter()
    engine = CompiledEngine.load(MODELS[kind], "model.conf", [("policy.csv", text)], settings=SETTINGS)
    seconds = time.perf_counter() - started
    peak = status("VmHWM")
    grown = status("VmRSS") - before
    started = time.perf_counter()
    gc.collect()
    collected = time.perf_counter() - started
    assert engine.evaluate(hit(kind, size - 1), never).effect is Effect.ALLOW
    return {
        "rules": engine.rule_count,
        "seconds": round(seconds, 2),
        "grown_mb": round(grown),
        "peak_mb": round(peak),
        "collection_ms": round(collected * 1e3),
        "expressions": engine.means.shapes,
    }


def status(name: str) -> float:
    """Megabytes, from the kernel's account of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def during_reload(kind: str, size: int) -> dict[str, float]:
    """How long a request waits for its decision while another thread loads a snapshot of the same size.

    Requests fall due every millisecond; what counts is the time from then to the decision, so that waiting for the
    interpreter is part of it. The loading thread lets others go first now and then, and without doing so.
    """
    engine, request = load(kind, size), hit(kind, size - 1)
    gc.collect()
    gc.freeze()

    def sample(until: Callable[[], bool]) -> float:
        waited = []
        due = time.perf_counter()
        while not until() or len(waited) < 100:
            due = max(due + 0.001, time.perf_counter())
            time.sleep(max(due - time.perf_counter(), 0))
            engine.evaluate(request, never)
            waited.append((time.perf_counter() - due) * 1e6)
        return round(statistics.quantiles(waited, n=100)[98], 1)

    def while_loading(pause: Callable[[], None]) -> float:
        done = threading.Event()

        def reload() -> None:
            text = policy(kind, size)
            CompiledEngine.load(MODELS[kind], "m", [("p", text)], settings=SETTINGS, pause=pause)
            done.set()

        thread = threading.Thread(target=reload)
        thread.start()
        p99 = sample(done.is_set)
        thread.join()
        return p99

    end = time.perf_counter() + 2.0
    found = {"calm_p99_us": sample(lambda: time.perf_counter() > end)}
    found["reload_p99_us"] = while_loading(lambda: time.sleep(0))
    found["reload_without_pauses_p99_us"] = while_loading(lambda: None)
    gc.disable()
    found["reload_without_collection_p99_us"] = while_loading(lambda: time.sleep(0))
    return found


def isolated(function: str, kind: str, size: int) -> dict[str, float]:
    """Run one measurement in a fresh process."""
    command = [sys.executable, __file__, "--only", function, "--kind", kind, "--largest", str(size)]
    answer: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--largest", type=int, default=100_000, help="most rules")
    options.add_argument("--quick", action="store_true", help="shorter rounds")
    options.add_argument(
        "--patience", type=float, default=1.0, help="seconds that one of pycasbin's decisions may take"
    )
    options.add_argument("--only", choices=["loading", "during_reload"], help=argparse.SUPPRESS)
    options.add_argument("--kind", choices=list(MODELS), help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.only:
        print(
            json.dumps({"loading": loading, "during_reload": during_reload}[chosen.only](chosen.kind, chosen.largest))
        )
        return
    seconds = 0.1 if chosen.quick else 0.5
    report: dict[str, object] = {"python": platform.python_version(), "machine": platform.machine()}
    for kind in MODELS:
        print(f"\n{kind}\n{'rules':>8}  {'question':<12}{'us':>10}{'pycasbin us':>14}{'ratio':>9}")
        sizes: dict[str, object] = {}
        for size in (size for size in SIZES if size <= chosen.largest):
            sizes[str(size)] = found = decisions(kind, size, seconds, chosen.patience)
            for name, row in found.items():
                theirs, ratio = row["pycasbin_us"] or "-", row["ratio"] or "-"
                print(f"{size:>8}  {name:<12}{row['us']:>10}{theirs:>14}{ratio:>9}")
        largest = isolated("loading", kind, chosen.largest)
        print("load:", ", ".join(f"{name} {value}" for name, value in largest.items()))
        report[kind] = {"decisions": sizes, "loading": largest}
    report["during reload"] = {kind: isolated("during_reload", kind, chosen.largest) for kind in list(MODELS)[:4]}
    print("\nduring a reload:", json.dumps(report["during reload"], indent=2))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
