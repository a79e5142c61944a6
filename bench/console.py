"""What the console costs the decisions of its process: a live view, and a flood of requests.

    python -m bench.console [--pairs N] [--flood-pairs N] [--name console]

One server, one process, its console beside it. Short slices of load with and without what is measured, in turn and the
first of each pair drawn by lot, so that what disturbs the machine disturbs both. Of the ratios of all pairs the median,
and the interval that a bootstrap gives it. CPU time is that of the whole process, to the nanosecond, for each decision.
"""

import argparse
import asyncio
import contextlib
import http.client
import http.server
import json
import os
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec

from authz.control.v1 import grants_pb2
from authz.control.v1.common_pb2 import Permission, Task
from authz.jose.signing import SigningKey, sign_compact
from bench.facts import facts
from bench.facts import load as machine_load
from bench.generator import Generator, write_deck
from bench.grants_served import Orders
from bench.processes import Process, free_port, listens, tree
from bench.servers import Server
from bench.stats import bootstrap
from bench.traffic import traffic
from bench.world import ROOT, Setup, agent, configuration, make_identities

RESULTS = ROOT / "bench" / "results"
PRINCIPALS = 200
RATE = 5_000.0
SLICE_SECONDS = 1.0
"""As long as a live view takes to tell once."""
FLOODERS = 16
GRANTS = 50
_HOST = "console.bench"
_SCOPE = Permission(actions=["GET"], locations=["*"], resources=["/v1/accounts/*"])
_MAY = "p, bench, True, /grants/*, control:grants.issue, allow,\n"
_CLIENT = "authz-console"
_SECTIONS = """
[store]
synchronous = "normal"
[grants]
issuer = "https://grants.bench"
[control]
enabled = true
listen = ["unix:{directory}/control.sock"]
[[control.operators]]
name = "bench"
uid = {uid}
oidc_subject = ""
groups = ["operators", "authors", "security"]
[console]
enabled = true
listen = "127.0.0.1:{port}"
public_url = "https://{host}"
[console.oidc]
issuer = "{issuer}"
client_id = "{client}"
[[console.oidc.members]]
claim = "all"
roles = ["viewer"]
groups = ["viewers"]
"""


class Provider:
    """An OpenID provider that signs everybody in."""

    def __init__(self) -> None:
        self._key = SigningKey("k1", ec.generate_private_key(ec.SECP256R1()))
        self.nonce = ""
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # named by http.server
                self.rfile.read(int(self.headers.get("content-length", 0)))
                content = json.dumps(provider._page(self.path)).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _page(self, path: str) -> dict[str, Any]:
        if path == "/jwks":
            return {"keys": [self._key.public_jwk()]}
        if path == "/token":
            now = int(time.time())
            claims = {"iss": self.issuer, "sub": "ann", "aud": _CLIENT, "iat": now, "exp": now + 300}
            token = sign_compact({**claims, "nonce": self.nonce, "groups": ["all"]}, "JWT", self._key)
            return {"access_token": "a", "token_type": "Bearer", "id_token": token}
        endpoints = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/jwks"}
        return {"issuer": self.issuer, **{name: f"{self.issuer}{end}" for name, end in endpoints.items()}}


class Visitor:
    """Somebody at the console, over a connection of their own."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.cookie = ""

    def get(self, path: str) -> http.client.HTTPResponse:
        """Ask for a page."""
        self._connection.request("GET", path, headers={"host": _HOST, "cookie": self.cookie})
        return self._connection.getresponse()

    def sign_in(self, provider: Provider) -> None:
        """Come in; the provider asks for nothing."""
        answer = self.get("/login")
        answer.read()
        asked = parse_qs(urlsplit(answer.headers["location"]).query)
        provider.nonce = asked["nonce"][0]
        self.cookie = answer.headers["set-cookie"].partition(";")[0]
        answer = self.get(f"/login/callback?code=c&state={asked['state'][0]}")
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"not signed in: {answer.status}")
        self.cookie = answer.headers.get_all("set-cookie")[0].partition(";")[0]  # type: ignore[index]

    def close(self) -> None:
        """Go."""
        self._connection.close()

    def hang_up(self) -> None:
        """End an answer that goes on, whoever reads it."""
        if self._connection.sock is not None:
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._connection.close()


@contextlib.contextmanager
def live_view(port: int, cookie: str, query: str) -> Iterator[None]:
    """Hold a live view open, and read what comes."""
    visitor = Visitor(port)
    visitor.cookie = cookie
    answer = visitor.get(f"/decisions/stream{query}")
    if answer.status != 200:
        raise RuntimeError(f"no live view: {answer.status}")

    def read() -> None:
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException, AttributeError):
            while answer.readline():
                pass

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    try:
        yield
    finally:
        visitor.hang_up()
        reading.join()


@contextlib.contextmanager
def flood(port: int, cookie: str, path: str, *, anew: bool) -> Iterator[list[int]]:
    """Ask for a page, so many at all times; answers the statuses that came. `anew`: over a connection for each."""
    stop = threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        visitor = Visitor(port)
        visitor.cookie = cookie
        while not stop.is_set():
            try:
                answer = visitor.get(path)
                answer.read()
                statuses.append(answer.status)
            except (OSError, http.client.HTTPException):
                statuses.append(0)
                visitor.close()
            if anew:
                visitor.close()
        visitor.close()

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(FLOODERS)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def cpu_ns(pid: int) -> int:
    """CPU time of a process with all its threads, in nanoseconds, as the scheduler counts it."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total


class World:
    """The server, its visitor, and what asks it."""

    def __init__(self, directory: Path) -> None:
        self.provider, self.port = Provider(), free_port()
        identities = make_identities(directory / "pki", PRINCIPALS)
        place = directory / "server"
        place.mkdir()
        address, setup = f"unix:{place}/pdp.sock", Setup()
        text = configuration(setup, identities, place, address, principals=PRINCIPALS) + _SECTIONS.format(
            directory=place,
            uid=os.getuid(),
            port=self.port,
            host=_HOST,
            issuer=self.provider.issuer,
            client=_CLIENT,
        )
        (place / "authz.toml").write_text(text)
        with (place / "policies" / "control.csv").open("a") as policy:
            policy.write(_MAY)
        self.server = Server(name="authz", address=address, directory=place, setup=setup)
        command = [sys.executable, "-m", "authz.cli.main", "serve", "-c", str(place / "authz.toml")]
        self.server.process = Process(command, place / "log", {"PYTHONPATH": str(ROOT)})
        self.server.wait()
        self.server.process.wait(partial(listens, f"127.0.0.1:{self.port}"), "console")
        self.pid = max(tree(self.server.process.pid))  # the one that serves
        asyncio.run(_fill(self.server))
        visitor = Visitor(self.port)
        visitor.sign_in(self.provider)
        self.cookie = visitor.cookie
        visitor.close()
        asked = traffic("hit", identities)
        self.deck = str(write_deck(directory / "deck", asked.cards, asked.order))
        self.generator = Generator(ROOT)

    def slice(self, **load: Any) -> dict[str, Any]:
        """One slice of load: with what the process used of a CPU for each decision."""
        before = cpu_ns(self.pid)
        told = self.generator.measure(address=self.server.address, deck=self.deck, seconds=SLICE_SECONDS, **load)
        told["cpu_us"] = (cpu_ns(self.pid) - before) / told["calls"] / 1e3
        self.server.forget_records()
        return told

    def stop(self) -> None:
        """End it."""
        self.generator.stop()
        if self.server.process is not None:
            self.server.process.stop()


async def _fill(server: Server) -> None:
    """Issue as many grants as a page of the console shows, each for a task of its own."""
    async with Orders(server) as orders:
        issue = orders.method("Grants/Issue")
        for number in range(GRANTS):
            request = grants_pb2.IssueRequest(
                holder=agent(number), task=Task(purpose="a page of the console"), permissions=[_SCOPE]
            )
            await issue(request.SerializeToString())


def pairs(
    number: int, plain: Callable[[], dict[str, Any]], beside: Callable[[], dict[str, Any]]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Slices in pairs, the first of each drawn by lot."""
    lot, found = random.Random(2026), []
    for _ in range(number):
        if lot.random() < 0.5:
            first = plain()
            found.append((first, beside()))
        else:
            second = beside()
            found.append((plain(), second))
    return found


def ratio(found: Sequence[tuple[dict[str, Any], dict[str, Any]]], name: str) -> dict[str, float]:
    """What the second of a pair has more of, over all pairs."""
    ratios = [with_it[name] / without[name] for without, with_it in found]
    low, high = bootstrap(ratios)
    return {
        "pairs": len(ratios),
        "without": round(statistics.median(without[name] for without, _ in found), 2),
        "with": round(statistics.median(with_it[name] for _, with_it in found), 2),
        "ratio": round(statistics.median(ratios), 4),
        "low95": round(low, 4),
        "high95": round(high, 4),
    }


def live(world: World, number: int, query: str) -> dict[str, float]:
    """CPU time of a decision at so many a second, with one live view open and without."""

    def beside() -> dict[str, Any]:
        with live_view(world.port, world.cookie, query):
            return world.slice(rate=RATE)

    return ratio(pairs(number, lambda: world.slice(rate=RATE), beside), "cpu_us")


def flooded(world: World, number: int, path: str, *, signed_in: bool, anew: bool) -> dict[str, Any]:
    """Latency of decisions at a fifth of that, closed loop at the console beside it and without."""
    answered: list[int] = []

    def beside() -> dict[str, Any]:
        with flood(world.port, world.cookie if signed_in else "", path, anew=anew) as statuses:
            told = world.slice(rate=RATE / 5)
        answered.extend(statuses)
        return told

    found = pairs(number, lambda: world.slice(rate=RATE / 5), beside)
    return {
        "answers": {str(status): answered.count(status) for status in sorted(set(answered))},
        **{name: ratio(found, name) for name in ("p50_us", "p99_us")},
    }


def main() -> None:
    """Measure, and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=120, help="of slices, for the live view")
    parser.add_argument("--flood-pairs", type=int, default=30, help="of slices, for each kind of flood")
    parser.add_argument("--name", default="console", help="of the results")
    asked = parser.parse_args()
    results: dict[str, Any] = facts() | {"command": " ".join(["python -m bench.console", *sys.argv[1:]])}
    results["load"] = machine_load()
    with tempfile.TemporaryDirectory() as place:
        world = World(Path(place))
        try:
            wanted: dict[str, Callable[[], dict[str, Any]]] = {
                "live, all": partial(live, world, asked.pairs, ""),
                "live, two filters": partial(live, world, asked.pairs, "?path=/v1/accounts/*&effect=allow"),
                "flood, strangers": partial(flooded, world, asked.flood_pairs, "/signin", signed_in=False, anew=False),
                "flood, logins, a connection each": partial(
                    flooded, world, asked.flood_pairs, "/login", signed_in=False, anew=True
                ),
                "flood, signed in": partial(flooded, world, asked.flood_pairs, "/grants", signed_in=True, anew=False),
            }
            for name, measure in wanted.items():
                results[name] = measure()
                print(name, json.dumps(results[name], indent=1), flush=True)
        finally:
            world.stop()
    (RESULTS / f"{asked.name}.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
