"""How fast a policy decides on this machine: latencies of single decisions, what loading costs, what slows it down."""

import resource
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from authz.authoring.cases import Case
from authz.authoring.dry_run import DryRun
from authz.errors import Refusal

_WARM_UP_SHARE = 0.2
_MAX_MEASURED = 500_000
_NOWHERE = "/~nowhere~/~nothing~"
_STATM = Path("/proc/self/statm")


class Latency(msgspec.Struct, frozen=True):
    """How long single decisions took, in microseconds."""

    count: int
    median: float
    p90: float
    p99: float
    most: float


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured."""

    requests: int
    """How many different ones were asked again and again."""
    rules: int
    engine: Latency | None
    """The rules alone, for the requests that come to them; None: none does."""
    check: Latency
    """From CheckRequest bytes to CheckResponse bytes, without transport, record and cache."""
    candidates_mean: float
    """How many rules were evaluated for a request."""
    always_scanned: tuple[str, ...]
    """The rules that are evaluated whatever is asked: no condition of theirs lets the index leave them out."""
    load_seconds: float
    memory_bytes: int
    """By how much the process grew while it loaded."""


class Load(msgspec.Struct, frozen=True):
    """What came of loading, and what it cost."""

    run: DryRun
    seconds: float
    bytes_grown: int


def load(make: Callable[[], DryRun]) -> Load:
    """Load, and measure it."""
    before = _resident_bytes()
    started = time.perf_counter()
    run = make()
    return Load(run, time.perf_counter() - started, max(0, _resident_bytes() - before))


def measure(loaded: Load, cases: Sequence[Case], seconds: float) -> Speed:
    """Ask all cases again and again, for so many seconds altogether, warm-up included."""
    run = loaded.run
    evaluations: list[Callable[[], object]] = []
    candidates = []
    strange: tuple[object, ...] = ()
    for case in cases:
        request = run.ask(case.message, case.at, case.attributes).outcome.request
        if request is None:
            continue
        try:
            values = run.values(request)
        except Refusal:
            continue
        strange = tuple(_strange(value) for value in values)
        candidates.append(len(run.engine.candidates(values)))
        evaluations.append(_evaluation(run, values))
    share = seconds / 2
    engine = _latency(_timed(evaluations, share)) if evaluations else None
    check = _latency(_timed([_check(run, case) for case in cases], share, _preparations(run, cases)))
    return Speed(
        requests=len(cases),
        rules=run.engine.rule_count,
        engine=engine,
        check=check,
        candidates_mean=sum(candidates) / len(candidates) if candidates else 0.0,
        always_scanned=tuple(rule.row.reference.id for rule in run.engine.candidates(strange)) if strange else (),
        load_seconds=loaded.seconds,
        memory_bytes=loaded.bytes_grown,
    )


def _strange(value: object) -> object:
    """Answer a value of the same kind that no rule mentions."""
    if isinstance(value, str):
        return _NOWHERE
    if isinstance(value, Mapping):
        return {key: _strange(item) for key, item in value.items()}
    return () if isinstance(value, tuple | list) else value


def _evaluation(run: DryRun, values: Sequence[object]) -> Callable[[], object]:
    evaluate = run.engine.evaluate
    return lambda: evaluate(values, _in_time)


def _check(run: DryRun, case: Case) -> Callable[[], object]:
    check, message = run.check, case.message
    return lambda: check(message)


def _preparations(run: DryRun, cases: Iterable[Case]) -> list[Callable[[], object]]:
    return [lambda case=case: run.prepare(case.at, case.attributes) for case in cases]  # type: ignore[misc]  # bound now


def _in_time() -> bool:
    return False


def _timed(
    calls: Sequence[Callable[[], object]], seconds: float, preparations: Sequence[Callable[[], object]] = ()
) -> list[int]:
    """Answer how long each call took, in nanoseconds, in rounds over all of them."""
    clock = time.perf_counter_ns
    prepare = preparations or [lambda: None] * len(calls)
    started = time.perf_counter()
    warm = started + seconds * _WARM_UP_SHARE
    measured: list[int] = []
    rounds = 0
    while not rounds or (time.perf_counter() < started + seconds and len(measured) < _MAX_MEASURED):
        if time.perf_counter() < warm:
            measured = []
        rounds += 1
        for call, before in zip(calls, prepare, strict=True):
            before()
            begun = clock()
            call()
            measured.append(clock() - begun)
    return measured


def _latency(nanoseconds: list[int]) -> Latency:
    ordered = sorted(nanoseconds)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1000

    return Latency(len(ordered), at(0.5), at(0.9), at(0.99), ordered[-1] / 1000)


def _resident_bytes() -> int:
    try:
        return int(_STATM.read_text("ascii").split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):  # not Linux: the most that it ever was
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
