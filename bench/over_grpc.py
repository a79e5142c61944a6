"""authz over gRPC beside the do-nothing floor: which setups, traffic and loads are measured."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bench.rounds import Cell, Suite, told
from bench.servers import Server, Servers
from bench.world import Setup

MANY_RULES = 10_000
WORKER_CONNECTIONS = 4
SHARES = (0.25, 0.5, 0.75, 0.9)
"""Rates of the open loop, of the peak that was measured."""
SHARED, OWN = Setup(), Setup(by_id=True)
UNCACHED, RULES = Setup(cache=False), Setup(cache=False, rules=MANY_RULES)


def beside_floor(
    asked: Sequence[tuple[Server, str]], in_flight: int, connections: int = 1, rate: float = 0.0
) -> list[Cell]:
    """The floor of the first server, then each server with its traffic."""
    first = asked[0][0]
    assert first.floor is not None
    floor = Cell(server=first.floor, traffic="hit", in_flight=in_flight, connections=connections, rate=rate)
    return [
        floor,
        *(
            Cell(server=one, traffic=kind, in_flight=in_flight, connections=connections, rate=rate, beside=floor)
            for one, kind in asked
        ),
    ]


def loads(servers: Servers, *, quick: bool) -> list[Cell]:
    """Kinds of traffic by calls in flight: one worker, h2corn, a Unix socket."""
    cells: list[Cell] = []
    shared, own = servers.authz(SHARED), servers.authz(OWN)
    for in_flight in (1, 32) if quick else (1, 8, 32, 256):
        asked = [(shared, "hit"), (own, "miss"), (shared, "mixed"), (shared, "denial")]
        if in_flight in (1, 32):
            asked.append((servers.authz(RULES), "hit"))
            asked.append((servers.authz(UNCACHED), "hit"))
        cells += beside_floor(asked, in_flight)
    return cells


def ways(servers: Servers, *, quick: bool) -> list[Cell]:
    """Sockets, mutual TLS and the other transport, with what is cached."""
    setups = [Setup(listen="tcp"), Setup(listen="mtls"), Setup(transport="grpc.aio")]
    flights = (32,) if quick else (1, 32)
    return [
        cell for one in setups for flight in flights for cell in beside_floor([(servers.authz(one), "hit")], flight)
    ]


def workers(servers: Servers, *, quick: bool) -> list[Cell]:
    """One worker and two, over some connections and over the fewest that an Envoy opens."""
    cells: list[Cell] = []
    for flight in (64,) if quick else (64, 256):
        for count, connections in ((1, WORKER_CONNECTIONS), (2, WORKER_CONNECTIONS), (2, 2)):
            if connections == WORKER_CONNECTIONS or not quick:
                hit, miss = Setup(workers=count), Setup(workers=count, by_id=True)
                cells += beside_floor([(servers.authz(hit), "hit"), (servers.authz(miss), "miss")], flight, connections)
    return cells


def at_rates(servers: Servers, peak: float, *, quick: bool) -> list[Cell]:
    """The open loop, at shares of authz' own peak; the floor at the same rates."""
    server = servers.authz(SHARED)
    cells: list[Cell] = []
    for share in (0.5,) if quick else SHARES:
        kinds = ("mixed",) if quick else ("hit", "mixed")
        cells += beside_floor([(server, kind) for kind in kinds], 0, rate=max(10.0, peak * share))
    return cells


def among_peers(servers: Servers, peers: Sequence[Server], *, quick: bool) -> list[Cell]:
    """authz and the peers, with the same requests; the same answers are demanded of all."""
    ours, cells = servers.authz(Setup(listen="tcp")), []
    for flight in (1, 32):
        for kind in ("mixed",) if quick else ("hit", "mixed", "denial"):
            cells += beside_floor([(one, kind) for one in (ours, *peers)], flight)
    return cells


def measure(
    suite: Suite, servers: Servers, peers: Sequence[Server], *, quick: bool
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Measure group after group; yields (name, cells)."""
    cells = loads(servers, quick=quick)
    suite.run(cells)
    yield "loads", [told(cell) for cell in cells]
    rated = at_rates(servers, peak_of(cells, servers.authz(SHARED)), quick=quick)
    suite.run(rated)
    yield "rates", [told(cell) for cell in rated]
    servers.stop_all()  # what idles still wakes up now and then
    groups: dict[str, Callable[[], list[Cell]]] = {
        "ways": lambda: ways(servers, quick=quick),
        "workers": lambda: workers(servers, quick=quick),
    }
    if peers:
        groups["peers"] = lambda: among_peers(servers, peers, quick=quick)
    for name, make in groups.items():
        cells = make()
        suite.run(cells)
        yield name, [told(cell) for cell in cells]
        servers.stop_all()


def peak_of(cells: Sequence[Cell], server: Server) -> float:
    """The most mixed calls a second that the server answered, as the median over the rounds."""
    return max(
        statistics.median(one["per_second"] for one in cell.rounds)
        for cell in cells
        if cell.server is server and cell.traffic == "mixed"
    )
