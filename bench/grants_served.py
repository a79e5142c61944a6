"""Grants at running servers: what they cost a check, how many the control plane takes, how fast a revocation bites."""

import asyncio
import itertools
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import grpc

from authz.control.v1 import grants_pb2, revocations_pb2
from authz.control.v1.common_pb2 import Permission, Task
from bench.frames import METHOD, check_card, verdict
from bench.generator import Generator, write_deck
from bench.grants_inside import ISSUER, filled, with_grant
from bench.processes import Process, cpu_seconds, free_port, listens
from bench.rounds import Cell, Suite, told
from bench.servers import Server
from bench.stats import paired
from bench.traffic import ALLOW, DENY, PATHS, message
from bench.world import ROOT, Identities, Setup, agent, cleared, configuration

IN_FLIGHT = 32
ASKING = 100
"""Callers whose requests make up the traffic; each has a grant of its own."""
CALLERS, CHANNELS = 64, 4
LOOKS = 4
"""Connections over which the replica that was told is asked at once: its workers share them."""
_SCOPE = Permission(actions=["GET"], locations=["*"], resources=["/v1/accounts/*"])
_SECTIONS = """
[store]
url = "{url}"
[grants]
issuer = "{issuer}"
[control]
enabled = true
listen = ["unix:{directory}/control.sock", "127.0.0.1:{port}"]
[control.tls]
certificate = "{tls[0]}"
key = "{tls[1]}"
client_ca = "{tls[2]}"
[[control.operators]]
name = "bench"
uid = {uid}
"""
_MAY = """
p, operators, r.sub.kind == 'human', *, *, allow,
p, agents, r.sub.kind == 'agent' && r.sub.registered && r.obj.holder == r.sub.id, /grants/*, *, allow,
p, owners, r.sub.kind == 'agent' && r.sub.registered && r.obj.author == r.sub.id, /tasks/*, *, allow,
"""


def started(
    directory: Path, identities: Identities, *, url: str | None = "", workers: int = 1, cache: bool = True
) -> Server:
    """A server with grants, and the control plane on a Unix socket. `url`: of its store; None: without grants."""
    directory.mkdir()
    address = f"unix:{directory}/pdp.sock"
    setup = Setup(workers=workers, cache=cache)
    text = configuration(setup, identities, directory, address, principals=len(identities.agents))
    port = free_port()
    if url is not None:
        (directory / "policies" / "control.csv").write_text(_MAY)
        (directory / "control.port").write_text(str(port))
        text += _SECTIONS.format(
            url=url, issuer=ISSUER, directory=directory, uid=os.getuid(), port=port, tls=identities.server_tls
        )
    (directory / "authz.toml").write_text(text)
    name = setup.name + (", grants" if url is not None else "")
    server = Server(name=f"authz ({name})", address=address, directory=directory, setup=setup)
    command = ["-m", "authz.cli.main", "serve", "-c", str(directory / "authz.toml")]
    server.process = Process([sys.executable, *command], directory / "log", {"PYTHONPATH": str(ROOT)})
    server.wait()
    if url is not None:
        for place in (f"unix:{directory}/control.sock", f"127.0.0.1:{port}"):
            server.process.wait(partial(listens, place), "taking orders")
    return server


def stopped(*servers: Server) -> None:
    """End them."""
    for server in servers:
        if server.process is not None:
            server.process.stop()


class Orders:
    """Calls to the control plane over a few connections, in turn; answers are bytes."""

    def __init__(self, server: Server, channels: int = 1, agent_of: Identities | None = None) -> None:
        """`agent_of`: come over mutual TLS, as agent 1; else over the Unix socket, as the operator."""
        assert server.directory is not None
        # Else all channels of a process share one connection.
        options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
        if agent_of is None:
            target = f"unix:{server.directory}/control.sock"
            self._channels = [grpc.aio.insecure_channel(target, options) for _ in range(channels)]
            return
        target = f"127.0.0.1:{(server.directory / 'control.port').read_text()}"
        files = [(agent_of.directory / name).read_bytes() for name in ("ca.pem", "agent-1.key", "agent-1.pem")]
        credentials = grpc.ssl_channel_credentials(*files)
        options.append(("grpc.ssl_target_name_override", "localhost"))
        self._channels = [grpc.aio.secure_channel(target, credentials, options) for _ in range(channels)]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in self._channels:
            await channel.close()

    def method(self, name: str, channel: int = 0) -> Callable[..., Any]:
        """A method such as "Grants/Issue", of bytes."""
        return self._channels[channel % len(self._channels)].unary_unary(f"/authz.control.v1.{name}")


def issue_request(number: int, *, holder: int) -> bytes:
    """A request for a grant."""
    request = grants_pb2.IssueRequest(
        holder=agent(holder), task=Task(id=f"task-{number:012}", purpose="bench"), permissions=[_SCOPE]
    )
    request.ttl.seconds = 900
    return request.SerializeToString()


def revoke_request(principal: str) -> bytes:
    """A request to revoke a principal."""
    return revocations_pb2.CreateRevocationRequest(
        kind=revocations_pb2.REVOCATION_KIND_PRINCIPAL, value=principal, reason="bench"
    ).SerializeToString()


def agents_that_may(identities: Identities) -> list[int]:
    """The agents whom policy lets read accounts."""
    return [number for number in range(len(identities.agents)) if cleared(number)]


# What a grant costs a check


def checks(
    generator: Generator,
    identities: Identities,
    directory: Path,
    *,
    rounds: int,
    seconds: float,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Checks a second with a grant in each request, without one, and where grants are off; in turn, round by round."""
    found = {}
    for cache in (True, False):
        where = directory / f"checks-{cache}"
        where.mkdir()
        plain = started(where / "plain", identities, url=None, cache=cache)
        guarded = started(where / "guarded", identities, cache=cache)
        try:
            decks = asyncio.run(_decks(guarded, identities, where))
            suite = Suite(generator, decks, rounds, seconds, say, time.monotonic() + 60)
            off = Cell(server=plain, traffic="without", in_flight=IN_FLIGHT)
            without = Cell(server=guarded, traffic="without", in_flight=IN_FLIGHT, beside=off)
            granted = Cell(server=guarded, traffic="granted", in_flight=IN_FLIGHT, beside=without)
            suite.run([off, without, granted])
        finally:
            stopped(plain, guarded)
        measures = ("per_second", "per_cpu_second")
        found["decisions used again" if cache else "no decision cache"] = {
            "cells": [told(cell) for cell in (off, without, granted)],
            "with_a_grant_to_without": {
                name: paired([one[name] for one in granted.rounds], [one[name] for one in without.rounds])
                for name in measures
            },
            "with_a_grant_to_grants_off": {
                name: paired([one[name] for one in granted.rounds], [one[name] for one in off.rounds])
                for name in measures
            },
        }
    return found


async def _decks(server: Server, identities: Identities, directory: Path) -> dict[str, str]:
    plain, granted = [], []
    async with Orders(server) as orders:
        issue = orders.method("Grants/Issue")
        for number in agents_that_may(identities)[:ASKING]:
            answer = grants_pb2.IssueResponse.FromString(await issue(issue_request(number, holder=number), timeout=30))
            checked = message(identities.agents[number], agent(number), PATHS[0])
            plain.append(check_card(checked, ALLOW))
            granted.append(check_card(with_grant(checked, answer.token), ALLOW))
    order = [(number, number) for number in range(len(plain))]
    return {
        name: str(write_deck(directory / f"deck-{name}", cards, order))
        for name, cards in (("without", plain), ("granted", granted))
    }


# The control plane


def control(identities: Identities, directory: Path, url: str, seconds: float) -> dict[str, Any]:
    """Grants issued, and tasks completed, a second over the control plane, by callers that each wait for the answer."""
    server = started(directory, identities, url=url)
    try:
        return {
            way: asyncio.run(_control(server, seconds, first, agent_of))
            for way, first, agent_of in (("mutual TLS", 0, identities), ("unix", 10**8, None))
        }
    finally:
        stopped(server)


async def _control(server: Server, seconds: float, first: int, agent_of: Identities | None) -> dict[str, Any]:
    found = {}
    async with Orders(server, CHANNELS, agent_of) as orders:
        warm = itertools.count(first + 10**9)
        await _many(server, orders, "Grants/Issue", (issue_request(n, holder=1) for n in warm), 0.5)
        numbers = itertools.count(first)
        found["issue"] = await _many(
            server, orders, "Grants/Issue", (issue_request(n, holder=1) for n in numbers), seconds
        )
        tasks = (
            grants_pb2.CompleteRequest(task_id=f"task-{n:012}").SerializeToString()
            for n in range(first, first + found["issue"]["operations"])
        )
        found["complete"] = await _many(server, orders, "Grants/Complete", tasks, seconds)
    return found


async def _many(server: Server, orders: Orders, method: str, requests: Any, seconds: float) -> dict[str, Any]:
    latencies: list[float] = []
    until = time.perf_counter() + seconds

    async def caller(number: int) -> None:
        call = orders.method(method, number)
        while time.perf_counter() < until and (request := next(requests, None)) is not None:
            begin = time.perf_counter()
            await call(request, timeout=30)
            latencies.append(time.perf_counter() - begin)

    own, before, begin = time.process_time(), cpu_seconds(server.pids), time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    took = time.perf_counter() - begin
    theirs = cpu_seconds(server.pids) - before
    quantiles = statistics.quantiles(latencies, n=100)
    return {
        "operations": len(latencies),
        "per_second": round(len(latencies) / took, 1),
        "p50_ms": round(quantiles[49] * 1e3, 2),
        "p99_ms": round(quantiles[98] * 1e3, 2),
        "client_cpu_share": round((time.process_time() - own) / took, 3),
        "server_cpu_share": round(theirs / took, 3),
        "server_cpu_ms": round(theirs / len(latencies) * 1e3, 3),
    }


# How fast a revocation bites


def in_force(
    generator: Generator, identities: Identities, directory: Path, url: str, *, count: int, rate: float
) -> dict[str, Any]:
    """Time from the call that revokes to its return, on two workers; and to the first denial on another replica."""
    directory.mkdir()
    one = started(directory / "one", identities, url=url, workers=2)
    other = started(directory / "other", identities, url=url)
    may = agents_that_may(identities)
    cards = [check_card(message(identities.agents[n], agent(n), PATHS[0]), ALLOW) for n in may[-ASKING:]]
    deck = str(write_deck(directory / "deck", cards, [(n, n) for n in range(len(cards))]))
    over = threading.Event()
    beside: list[dict[str, Any]] = []

    def checking() -> None:
        while not over.is_set():
            beside.append(generator.measure(deck=deck, rate=rate, seconds=2.0, connections=2, **other.job()))

    thread = threading.Thread(target=checking)
    thread.start()
    try:
        found = asyncio.run(_in_force(one, other, identities, may[: min(count, len(may) - ASKING)]))
    finally:
        over.set()
        thread.join()
        stopped(one, other)
    found["beside"] = {
        "asked_rate": rate,
        "checks_per_second": round(statistics.median(each["per_second"] for each in beside), 1),
        "check_p50_us": statistics.median(each["p50_us"] for each in beside),
        "check_p99_us": statistics.median(each["p99_us"] for each in beside),
        "shed": sum(each["shed"] for each in beside),
    }
    return found


async def _in_force(one: Server, other: Server, identities: Identities, whom: Sequence[int]) -> dict[str, Any]:
    called: list[float] = []
    after_call: list[float] = []
    after_return: list[float] = []
    look: list[float] = []
    let_in = 0
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(one.address, options) for _ in range(LOOKS)]
    far = grpc.aio.insecure_channel(other.address, options)
    ask_far = far.unary_unary(METHOD)
    ask_near = [channel.unary_unary(METHOD) for channel in channels]
    async with Orders(one) as orders:
        revoke = orders.method("Revocations/Create")
        for number in whom:
            asked = filled(message(identities.agents[number], agent(number), PATHS[0]), number)
            for ask in (ask_far, *ask_near):  # so that every worker keeps the decision that the revocation must beat
                if verdict(await ask(asked, timeout=10)) != ALLOW:
                    raise AssertionError("a check that should be allowed was not")

            async def until_denied(asked: bytes = asked) -> float:
                while True:
                    begin = time.perf_counter()
                    answer = verdict(await ask_far(asked, timeout=10))
                    look.append(time.perf_counter() - begin)
                    if answer == DENY:
                        return time.perf_counter()

            begin = time.perf_counter()
            watching = asyncio.create_task(until_denied())
            await revoke(revoke_request(agent(number)), timeout=30)
            returned = time.perf_counter()
            answers = await asyncio.gather(*(ask(asked, timeout=10) for ask in ask_near))
            let_in += sum(verdict(answer) != DENY for answer in answers)
            async with asyncio.timeout(30):
                denied = await watching
            called.append(returned - begin)
            after_call.append(denied - begin)
            after_return.append(max(0.0, denied - returned))
    for channel in (*channels, far):
        await channel.close()
    return {
        "revocations": len(called),
        "call_to_return": _spread(called),
        "call_to_denied_on_the_other": _spread(after_call),
        "return_to_denied_on_the_other": _spread(after_return),
        "one_look_at_the_other": _spread(look),
        "let_in_on_this_host_after_the_return": let_in,
    }


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    quantiles = statistics.quantiles(seconds, n=100)
    return {
        "p50_ms": round(quantiles[49] * 1e3, 2),
        "p99_ms": round(quantiles[98] * 1e3, 2),
        "max_ms": round(max(seconds) * 1e3, 2),
    }
