"""The stages of a decision in one process: what each costs, and what the whole of `Checker.check` does.

    python -m bench.stages ROUNDS        one process' samples, as JSON

The suite runs several such processes, one after the other, and puts their samples together: a figure that depends on
how one process happens to lie in memory shows as a wide spread.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from authz.extauthz.request import Decoder
from authz.model import Outcome
from bench.inside import Inside, messages
from bench.stats import spread
from bench.timing import Piece, onward, over, sample
from bench.traffic import as_map
from bench.world import ROOT, Setup, make_identities

PRINCIPALS = 200
ASKED = 256
MISSES = 25_000
"""More than all samples ask for: none is asked for twice."""
STAGES = "stage"
WHOLE = "check"


def _never() -> bool:
    return False


def pieces(directory: Path) -> dict[str, Piece]:
    """Everything that is timed, each with its answers checked once beforehand."""
    identities = make_identities(directory / "pki", PRINCIPALS)
    plain = Inside(Setup(cache=False), identities, directory / "plain", PRINCIPALS)
    cached = Inside(Setup(), identities, directory / "cached", PRINCIPALS)
    hot, denied = messages("hit", identities, ASKED), messages("denial", identities, ASKED)
    found = _stages(cached, [one for one in hot if one[1] == 0])
    wholes = {
        "hit, allowed": (cached, hot),
        "hit, denied": (cached, denied),
        "no cache, allowed": (plain, hot),
        "no cache, denied": (plain, denied),
    }
    for name, (inside, asked) in wholes.items():
        for message, expect in asked[:ASKED]:
            inside.demand(message, expect)
        found[f"{WHOLE}: {name}"] = over(inside.check, [(message,) for message, _ in asked])
    own = Inside(Setup(by_id=True), identities, directory / "own", PRINCIPALS)
    for message, expect in messages("hit", identities, ASKED):
        own.demand(message, expect)
    found[f"{WHOLE}: miss, allowed"] = onward(own.check, [(one,) for one, _ in messages("miss", identities, MISSES)])
    return found


def _stages(inside: Inside, asked_for: list[tuple[bytes, int]]) -> dict[str, Piece]:
    """The steps of the path, one by one, each given what the step before it made."""
    snapshot, codec, cache = inside.snapshot, inside.composition.codec, inside.parts.cache
    outcomes: list[Outcome] = []
    for message, expect in asked_for:
        cache.clear()  # what is answered from the cache has no request to make a response from
        inside.demand(message, expect)
        assert inside.keeper.outcome is not None
        outcomes.append(inside.keeper.outcome)
    for message, expect in asked_for * 4:  # what comes again is known at the fifth time
        inside.demand(message, expect)
    reused: list[Outcome] = []
    for message, expect in asked_for:
        inside.demand(message, expect)
        assert inside.keeper.outcome is not None
        reused.append(inside.keeper.outcome)
    now, epoch = inside.parts.clock(), cache.epoch
    thorough = Decoder(inside.composition.config.check_request)
    texts = [message for message, _ in asked_for]
    calls = [codec.decode(message) for message in texts]
    subjects = [snapshot.resolver.identify(call, now) for call in calls]
    targets = [snapshot.canonicalise(call) for call in calls]
    asked = [snapshot.binder.name(call, target) for call, target in zip(calls, targets, strict=True)]
    asking = list(zip(calls, asked, subjects, strict=True))
    shapes = [codec.shape(call) for call in calls]
    keyed = [(*one, shape) for one, shape in zip(asking, shapes, strict=True)]
    keys = [snapshot.keys.key(*one) for one in keyed]
    requests = [snapshot.binder.bind(*one, now) for one in asking]
    observe, questions = inside.parts.sharing.observe, inside.checker.questions
    recalled = [
        (snapshot, call, subject, None, observe(call, subject, now))
        for call, subject in zip(calls, subjects, strict=True)
    ]
    if not all(questions.recall(*one) for one in recalled):
        raise AssertionError("a request that was asked again and again is not recalled")
    for key in keys:
        if key is None or cache.find(snapshot, key, epoch, now) is None:
            raise AssertionError("a request that was decided a moment ago is not in the cache")
    return {
        f"{STAGES}: {name}": piece
        for name, piece in {
            "decode": over(codec.decode, [(message,) for message in texts]),
            "decode, field by field": over(thorough.decode, [(message,) for message in texts]),
            "decode, field by field, a map": over(thorough.decode, [(as_map(message),) for message in texts]),
            "identity": over(snapshot.resolver.identify, [(call, now) for call in calls]),
            "canonicalise": over(snapshot.canonicalise, [(call,) for call in calls]),
            "recall": over(questions.recall, recalled),
            "name what is asked": over(snapshot.binder.name, list(zip(calls, targets, strict=True))),
            "key": over(snapshot.keys.key, keyed),
            "cache, hit": over(cache.find, [(snapshot, key, epoch, now) for key in keys]),
            "bind": over(snapshot.binder.bind, [(*one, now) for one in asking]),
            "policy": over(snapshot.decide, [(request, _never) for request in requests]),
            "response, allow": over(codec.allow, [(outcome,) for outcome in outcomes]),
            "audit record, decided": over(inside.keeper.recorder.line, [(outcome,) for outcome in outcomes]),
            "audit record, used again": over(inside.keeper.recorder.line, [(outcome,) for outcome in reused]),
            "decision id": over(inside.parts.new_id, [()]),
        }.items()
    }


def measure(processes: int, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Samples of several processes, put together."""
    together: dict[str, list[float]] = {}
    for number in range(processes):
        say(f"in process: {number + 1} of {processes}")
        done = subprocess.run(
            [sys.executable, "-m", "bench.stages", str(rounds)],
            cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"the stages could not be timed: {done.stderr[-2000:]}")
        for name, values in json.loads(done.stdout).items():
            together.setdefault(name, []).extend(values)
    return {name: {**spread(values), "samples": len(values)} for name, values in together.items()}


def main(rounds: int) -> None:
    """One process' samples."""
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
        print(json.dumps(sample(pieces(Path(name)), rounds)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
