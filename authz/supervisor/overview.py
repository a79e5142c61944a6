"""Metrics and readiness of all workers as one."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from authz.stores.epoch import Pulse, SharedEpoch
from authz.telemetry.merge import Totals
from authz.transport.readiness import Readiness
from authz.worker.messages import Ask, State, Told, ToWorker

ASK_SECONDS: Final = 1.0
"""How long a scrape waits for a worker; then what it told last stands."""
CAUSES: Final = ("crashed", "could_not_start", "hung", "not_acknowledged", "not_started_in_time")
"""Why a worker was replaced."""


class Overview:
    """What `/metrics` and `/readyz` answer."""

    def __init__(self, workers: int, epoch: SharedEpoch) -> None:
        """Begin with no worker there."""
        self.readiness = Readiness([_name(index) for index in range(workers)])
        self._workers = workers
        self._epoch = epoch
        self._totals = Totals()
        self._restarts = Counter(dict.fromkeys(CAUSES, 0))
        self._answered = Counter(dict.fromkeys(range(workers), 0))
        self._number = 0
        self._asked: dict[tuple[int, int], asyncio.Future[None]] = {}
        self.ask: Callable[[int, ToWorker], None] = lambda _index, _message: None
        """How to reach a worker."""

    def told(self, index: int, message: Told) -> None:
        """Take a worker's metrics."""
        self._totals.tell(index, message.text.decode())
        waiting = self._asked.pop((index, message.number), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def changed(self, index: int, state: State | None) -> None:
        """Take a worker's readiness; None: it is not there."""
        if state is None:
            self.readiness.fail(_name(index), "not running")
        elif state.failing:
            self.readiness.fail(_name(index), "; ".join(f"{name}: {why}" for name, why in state.failing.items()))
        else:
            self.readiness.hold(_name(index))

    def gone(self, index: int, pulse: Pulse) -> None:
        """Keep what a worker that ended has counted."""
        self._totals.bury(index)
        self._answered[index] += pulse.calls
        for key in [key for key in self._asked if key[0] == index]:
            self._asked.pop(key).cancel()

    def replaced(self, cause: str) -> None:
        """Count one worker that ended and was not told to."""
        self._restarts[cause] += 1

    async def render(self) -> bytes:
        """Ask every worker, and answer the sum."""
        self._number += 1
        number, loop = self._number, asyncio.get_running_loop()
        asked = {
            (index, number): loop.create_future() for index in range(self._workers) if self._epoch.pulse(index).pid
        }
        self._asked.update(asked)
        for index, _ in asked:
            self.ask(index, Ask(number))
        if asked:
            await asyncio.wait(asked.values(), timeout=ASK_SECONDS)
        for key in asked:
            self._asked.pop(key, None)
        return self._totals.render(self._own())

    def _own(self) -> Iterator[Metric]:
        pulses = {index: self._epoch.pulse(index) for index in range(self._workers)}
        serving = sum(pulse.serving for pulse in pulses.values())
        states = GaugeMetricFamily("authz_workers", "Worker processes, by state.", labels=("state",))
        states.add_metric(("configured",), self._workers)
        states.add_metric(("serving",), serving)
        yield states
        restarts = CounterMetricFamily("authz_worker_restarts", "Workers replaced, by cause.", labels=("cause",))
        for cause, count in self._restarts.items():
            restarts.add_metric((cause,), count)
        yield restarts
        label = ("worker",)
        connections = GaugeMetricFamily("authz_worker_connections", "Open connections, by worker.", labels=label)
        answered = CounterMetricFamily("authz_worker_decisions", "Decisions, by worker.", labels=label)
        for index, pulse in pulses.items():
            connections.add_metric((str(index),), pulse.connections)
            answered.add_metric((str(index),), self._answered[index] + pulse.calls)
        yield connections
        yield answered
        yield GaugeMetricFamily(
            "authz_epoch", "Rises whenever what workers remember is of no use any more.", self._epoch.current
        )


def _name(index: int) -> str:
    return f"worker {index}"
