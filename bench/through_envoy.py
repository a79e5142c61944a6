"""What the ext_authz filter adds to a request through a real Envoy, with a PDP that does nothing and with authz.

One Envoy process with one worker thread, configured by envoy/bootstrap.yaml as shipped, its HTTP listener there several
times: once without the filter, and once for each PDP. Routes answer by themselves (`direct_response`), so that no
upstream adds noise. Callers come over mutual TLS and HTTP/2, so that the CheckRequest is a real one.
"""

import copy
import http.client
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.frames import ID_SLOT, get_card
from bench.generator import write_deck
from bench.processes import Process, ProcessError
from bench.rounds import Cell, Suite, told
from bench.servers import Server, Servers
from bench.stats import spread
from bench.traffic import HOT, PATHS
from bench.world import HOST, Identities, Setup, pki

WITHOUT, NOTHING = "no-filter", "do-nothing"
"""Names of listeners and clusters. Envoy sends a cluster's as `:authority`, so they are made like host names."""
ADMIN = "envoy.admin"
RATE_SHARE = 0.3
"""The rate of the open loop, of the peak of the slowest."""
_FILTER = "envoy.filters.http.ext_authz"


def configuration(identities: Identities, directory: Path, pdps: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The shipped bootstrap, its `edge` listener once for each (name, address) of `pdps`; "" as address: no filter."""
    import proxy  # lies beside the Envoy configuration; world put it on the path

    keys = identities.directory
    edge = proxy.Edge(
        certificate=keys / "edge.pem",
        key=keys / "edge.key",
        trust_domain=pki.TRUST_DOMAIN,
        trust_bundle=keys / "ca.pem",
        foreign_trust_domain=pki.FOREIGN_TRUST_DOMAIN,
        foreign_trust_bundle=keys / "ca.pem",
        upstream=("127.0.0.1", 1),
        access_log=directory / "access.log",
    )
    bootstrap: dict[str, Any] = yaml.safe_load(edge.render())
    static = bootstrap["static_resources"]
    shipped = next(one for one in static["listeners"] if one["name"] == "edge")
    cluster = next(one for one in static["clusters"] if one["name"] == "authz_unix")
    static["listeners"] = [_listener(shipped, name, asked=bool(address)) for name, address in pdps]
    static["clusters"] = [_cluster(cluster, name, address) for name, address in pdps if address]
    return bootstrap


def _listener(shipped: dict[str, Any], name: str, *, asked: bool) -> dict[str, Any]:
    listener = copy.deepcopy(shipped)
    listener["name"] = name
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    routes = manager["route_config"]["virtual_hosts"][0]
    routes["routes"] = [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]
    for one in list(manager["http_filters"]):
        if one["name"] == _FILTER:
            if asked:
                service = one["typed_config"]["grpc_service"]
                service["envoy_grpc"]["cluster_name"] = name
                service["timeout"] = "5s"  # on a busy machine the tail is measured, not cut off
            else:
                manager["http_filters"].remove(one)
    return listener


def _cluster(shipped: dict[str, Any], name: str, address: str) -> dict[str, Any]:
    cluster = copy.deepcopy(shipped)
    host, _, port = address.rpartition(":")
    endpoint = (
        {"pipe": {"path": address.removeprefix("unix:")}}
        if address.startswith("unix:")
        else {"socket_address": {"address": host, "port_value": int(port)}}
    )
    cluster["name"] = name
    cluster["load_assignment"] = {
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": endpoint}}]}],
    }
    return cluster


class Proxy:
    """A running Envoy."""

    def __init__(self, config: dict[str, Any], directory: Path) -> None:
        """Start it and wait until it is ready.

        Raises:
            ProcessError: there is no Envoy, or it does not start.
        """
        import proxy
        from child import ChildError

        try:
            binary = proxy.binary()
        except ChildError as error:
            raise ProcessError(str(error)) from None
        admin, file = directory / ADMIN, directory / "envoy.json"
        file.write_text(json.dumps(config))
        command = [binary, "--config-path", str(file), "--admin-address-path", str(admin)]
        command += ["--concurrency", "1", "--log-level", "warning", "--disable-hot-restart"]
        self.process = Process(command, directory / "envoy.log")
        try:
            self.process.wait(lambda: admin.exists() and admin.read_text(), "an admin address")
            self._admin = admin.read_text().strip()
            self.process.wait(lambda: self._get("/ready") is not None, "being ready")
            found = json.loads(self._get("/listeners?format=json") or "{}")["listener_statuses"]
        except BaseException:
            self.process.stop()
            raise
        self.ports = {one["name"]: one["local_address"]["socket_address"]["port_value"] for one in found}

    def _get(self, path: str) -> str | None:
        connection = http.client.HTTPConnection(self._admin, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.read().decode() if response.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


def decks(directory: Path) -> dict[str, str]:
    """GETs through the proxy: of what the caller may read, and of what it may not."""
    found = {}
    for kind, path, expect in (("allowed", PATHS[0], 200), ("denied", PATHS[2], 403), ("open", PATHS[0], 200)):
        card = get_card(HOST, path, expect)
        assert any(ID_SLOT not in part for part in card.parts)
        order = [(0, number) for number in range(HOT)]
        found[f"envoy {kind}"] = str(write_deck(directory / f"envoy-{kind}", [card], order))
    return found


def measure(
    suite: Suite, servers: Servers, identities: Identities, directory: Path, peers: Sequence[Server], *, quick: bool
) -> list[dict[str, Any]]:
    """Measure; the cells, each with what it adds to the same Envoy without the filter."""
    authz = servers.authz(Setup())
    assert authz.floor is not None
    for server in (authz, authz.floor):
        server.wait()
    pdps = [(WITHOUT, ""), (NOTHING, authz.floor.address), ("authz", authz.address)]
    pdps += [(one.name, one.address) for one in peers]
    proxy = Proxy(configuration(identities, directory, pdps), directory)
    try:
        suite.decks.update(decks(directory))
        keys = identities.directory
        tls = (str(keys / "ca.pem"), str(keys / "agent-1.pem"), str(keys / "agent-1.key"))
        servers_behind = [
            Server(name=f"Envoy, {name}", address=f"127.0.0.1:{proxy.ports[name]}", tls=tls, process=proxy.process)
            for name, _ in pdps
        ]
        cells = [cell for flight in (1, 16) for cell in _beside_plain(servers_behind, flight, 0.0, quick=quick)]
        suite.run(cells)
        # At one rate for all, which the slowest can take with ease: what a caller feels of the filter from day to day.
        peak = min(max(one["per_second"] for one in cell.rounds) for cell in cells if cell.in_flight > 1)
        rated = _beside_plain(servers_behind, 0, peak * RATE_SHARE, quick=quick)
        suite.run(rated)
        cells += rated
    except ProcessError as error:
        raise ProcessError(f"Envoy: {error}") from None
    finally:
        proxy.process.stop()
    return [_with_added(cell) for cell in cells]


def _beside_plain(behind: Sequence[Server], in_flight: int, rate: float, *, quick: bool) -> list[Cell]:
    """The Envoy without the filter, then every other, compared with it."""
    plain, nothing, *deciding = behind
    first = Cell(server=plain, traffic="envoy open", in_flight=in_flight, rate=rate)
    asked = [(nothing, "envoy open"), *((one, "envoy allowed") for one in deciding)]
    asked += [] if quick else [(one, "envoy denied") for one in deciding]
    return [
        first,
        *(Cell(server=one, traffic=kind, in_flight=in_flight, rate=rate, beside=first) for one, kind in asked),
    ]


def _with_added(cell: Cell) -> dict[str, Any]:
    found = told(cell)
    if cell.beside is not None:
        found["added"] = {
            name: spread(
                [ours[name] - theirs[name] for ours, theirs in zip(cell.rounds, cell.beside.rounds, strict=True)]
            )
            for name in ("mean_us", "p50_us", "p99_us")
        }
    return found
